//! From what runs took to what is said of them.

use layerfs::meter::{Cost, Stage};
use serde::Serialize;

/// The middle and the ends of what was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of `values`, of which there is at least one.
    pub(super) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (values.first().copied().unwrap_or(0.0), values.last().copied().unwrap_or(0.0));
        Self { median: median(&values), min, max }
    }

    /// How much of `amount` went through in a second, in runs that took `walls` seconds.
    pub(super) fn of_rates(amount: f64, walls: &[f64]) -> Self {
        Self::of(walls.iter().map(|&wall| ratio(amount, wall)))
    }
}

/// Of values in order: the middle one, or what lies halfway between the middle two.
fn median(sorted: &[f64]) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    f64::midpoint(sorted[last / 2], sorted[sorted.len() / 2])
}

/// `part` in units of `whole`; nothing of nothing is nothing.
pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// What the stages of a metered run cost.
#[derive(Debug)]
pub(super) struct Costs(pub(super) Vec<(Stage, Cost)>);

impl Costs {
    /// What one stage cost.
    pub(super) fn of(&self, stage: Stage) -> Cost {
        self.0.iter().find(|(found, _)| *found == stage).map(|(_, cost)| *cost).unwrap_or_default()
    }

    /// The stages in which something is done.
    pub(super) fn work(&self) -> impl Iterator<Item = (Stage, Cost)> {
        self.0.iter().copied().filter(|(stage, _)| !stage.is_wait())
    }

    /// The stages in which a thread waits for another.
    pub(super) fn waits(&self) -> impl Iterator<Item = (Stage, Cost)> {
        self.0.iter().copied().filter(|(stage, _)| stage.is_wait())
    }

    /// Seconds of all threads, while they were there.
    pub(super) fn attached(&self) -> f64 {
        self.0.iter().map(|(_, cost)| cost.wall.as_secs_f64()).sum()
    }

    /// Processor seconds of all stages.
    pub(super) fn cpu(&self) -> f64 {
        self.0.iter().map(|(_, cost)| cost.cpu.as_secs_f64()).sum()
    }

    /// Bytes that were moved.
    pub(super) fn copied(&self) -> u64 {
        self.0.iter().map(|(_, cost)| cost.copied).sum()
    }

    /// The least time in which `threads` threads on `processors` processors can do all of this: all of them busy from
    /// beginning to end.
    pub(super) fn bound(&self, threads: usize, processors: usize) -> f64 {
        ratio(self.cpu(), threads.min(processors) as f64)
    }
}

/// What becomes of a time of `first` seconds with `first_threads` threads when it is `now` seconds with `threads`: how many
/// times as fast, and which share that is of what more threads could give.
pub(super) fn scaling((first_threads, first): (usize, f64), (threads, now): (usize, f64)) -> (f64, f64) {
    let faster = ratio(first, now);
    (faster, ratio(faster * first_threads as f64, threads as f64))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// Costs of stages: wall and processor time in milliseconds.
    pub(in super::super) fn costs(stages: &[(Stage, u64, u64)]) -> Costs {
        let cost = |&(stage, wall, cpu): &(Stage, u64, u64)| {
            let (wall, cpu) = (Duration::from_millis(wall), Duration::from_millis(cpu));
            (stage, Cost { wall, cpu, bytes: 10, copied: 5 })
        };
        Costs(stages.iter().map(cost).collect())
    }

    #[test]
    fn medians_are_the_middle() {
        let spread = |values: &[f64]| Spread::of(values.iter().copied());
        assert_eq!(spread(&[3.0]), Spread { median: 3.0, min: 3.0, max: 3.0 });
        assert_eq!(spread(&[3.0, 1.0, 8.0]), Spread { median: 3.0, min: 1.0, max: 8.0 });
        assert_eq!(spread(&[8.0, 1.0, 3.0, 4.0]), Spread { median: 3.5, min: 1.0, max: 8.0 });
        assert_eq!(Spread::of([]), Spread { median: 0.0, min: 0.0, max: 0.0 });
    }

    #[test]
    fn rates_are_amounts_by_seconds() {
        // 600 in 2, 3 and 6 seconds.
        assert_eq!(Spread::of_rates(600.0, &[2.0, 6.0, 3.0]), Spread { median: 200.0, min: 100.0, max: 300.0 });
    }

    #[test]
    fn the_bound_is_all_work_on_all_threads() {
        let costs = costs(&[(Stage::Hash, 700, 600), (Stage::Write, 500, 400), (Stage::Idle, 800, 0)]);
        assert_eq!((costs.cpu(), costs.attached(), costs.copied()), (1.0, 2.0, 15));
        assert_eq!((costs.bound(1, 2), costs.bound(2, 2)), (1.0, 0.5));
        // More threads than processors make nothing faster.
        assert_eq!(costs.bound(8, 2), 0.5);
        assert_eq!((costs.work().count(), costs.waits().count()), (2, 1));
    }

    #[test]
    fn scaling_is_against_the_first() {
        assert_eq!(scaling((1, 6.0), (1, 6.0)), (1.0, 1.0));
        assert_eq!(scaling((1, 6.0), (4, 2.0)), (3.0, 0.75));
        assert_eq!(scaling((2, 6.0), (4, 4.0)), (1.5, 0.75));
    }
}
