//! How the figures of a report are computed from what was measured.

use layerfs::meter::{Cost, UnpackStage};

use bench_figures::Spread;

/// How much of `amount` was done in a second, in runs that took `walls` seconds.
pub(super) fn rates(amount: f64, walls: &[f64]) -> Spread {
    spread(walls.iter().map(|&wall| ratio(amount, wall)))
}

/// The spread of figures; all zeros if there are none.
pub(super) fn spread(figures: impl IntoIterator<Item = f64>) -> Spread {
    Spread::from_figures(figures).unwrap_or_default()
}

/// `part` divided by `whole`; zero if `whole` is zero.
pub(super) fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}

/// What the stages of a metered run cost.
#[derive(Debug)]
pub(super) struct Costs(pub(super) Vec<(UnpackStage, Cost)>);

impl Costs {
    /// What one stage cost.
    pub(super) fn cost_of(&self, stage: UnpackStage) -> Cost {
        self.0.iter().find(|(found, _)| *found == stage).map(|(_, cost)| *cost).unwrap_or_default()
    }

    /// The stages in which a thread works.
    pub(super) fn work(&self) -> impl Iterator<Item = (UnpackStage, Cost)> {
        self.0.iter().copied().filter(|(stage, _)| !stage.is_wait())
    }

    /// The stages in which a thread waits for another.
    pub(super) fn waits(&self) -> impl Iterator<Item = (UnpackStage, Cost)> {
        self.0.iter().copied().filter(|(stage, _)| stage.is_wait())
    }

    /// The seconds of all threads together, while they were there.
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

/// What more threads have gained: `first` seconds with `first_threads` threads have become `now` seconds with `threads`.
/// Returns how many times as fast that is, and which share that is of the most that the added threads could give.
pub(super) fn scaling((first_threads, first): (usize, f64), (threads, now): (usize, f64)) -> (f64, f64) {
    let faster = ratio(first, now);
    (faster, ratio(faster * first_threads as f64, threads as f64))
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use super::*;

    /// Costs of stages: wall and processor time in milliseconds.
    pub(in super::super) fn costs(stages: &[(UnpackStage, u64, u64)]) -> Costs {
        let cost = |&(stage, wall, cpu): &(UnpackStage, u64, u64)| {
            let (wall, cpu) = (Duration::from_millis(wall), Duration::from_millis(cpu));
            (stage, Cost { wall, cpu, bytes: 10, copied: 5 })
        };
        Costs(stages.iter().map(cost).collect())
    }

    #[test]
    fn rates_are_amounts_by_seconds() {
        // 600 in 2, 3 and 6 seconds.
        assert_eq!(rates(600.0, &[2.0, 6.0, 3.0]), Spread { median: 200.0, min: 100.0, max: 300.0, count: 3 });
        assert_eq!(rates(600.0, &[]), Spread::default());
    }

    #[test]
    fn the_bound_is_all_work_on_all_threads() {
        let costs =
            costs(&[(UnpackStage::Hash, 700, 600), (UnpackStage::Write, 500, 400), (UnpackStage::Idle, 800, 0)]);
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
