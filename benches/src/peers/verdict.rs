//! The arithmetic of the report: which measurements belong together, and whether a goal is reached.
//!
//! A ratio is taken between two measurements of the same round, and the median is that of these ratios: what makes a
//! round slow makes both sides slow. The ratio of the two medians may differ a little.

use std::collections::BTreeMap;

use bench_figures::Spread;

use super::record::{Measurement, Results};
use super::rows::{GOALS, GoalForm, On, Peer, SpeedGoal, Sync, Workload};
use super::stages::{BenchOutput, BenchRun};

/// A round of one file of results: what can be compared.
type Round = (usize, u32);

/// What one goal has come to, on one kind of file system.
#[derive(Debug, Clone, Copy)]
pub struct Verdict {
    /// The goal.
    pub goal: &'static SpeedGoal,
    /// Where.
    pub on: On,
    /// Whether the data had to be on the disk.
    pub sync: Sync,
    /// Their time, or CPU time; nothing where nobody else is measured.
    pub theirs: Option<Spread>,
    /// Ours.
    pub ours: Spread,
    /// The ratios round by round, or our time where the goal is a time.
    pub ratio: Spread,
    /// In how many rounds the goal was reached.
    pub rounds_reached: usize,
}

impl Verdict {
    /// Whether the median reaches the goal.
    pub fn reached(&self) -> bool {
        reaches(self.goal, self.ratio.median)
    }
}

/// Whether a figure is good enough for a goal.
fn reaches(goal: &SpeedGoal, figure: f64) -> bool {
    match goal.form {
        GoalForm::TimesAsFast => figure >= goal.must,
        GoalForm::ShareOfTime | GoalForm::ShareOfCpu | GoalForm::Seconds => figure <= goal.must,
    }
}

/// The measurements of one peer, without warm-ups, by round.
pub fn rounds(
    results: &[Results],
    workload: Workload,
    peer: Peer,
    on: On,
    sync: Sync,
) -> BTreeMap<Round, &Measurement> {
    let mut rounds = BTreeMap::new();
    for (file, results) in results.iter().enumerate() {
        let of_peer = results.measurements.iter().filter(|measurement| {
            (measurement.workload, measurement.peer) == (workload, peer)
                && (measurement.on, measurement.sync) == (on, sync)
                && measurement.round > 0
        });
        rounds.extend(of_peer.map(|measurement| ((file, measurement.round), measurement)));
    }
    rounds
}

/// The spread of a figure of one peer.
pub fn spread(
    results: &[Results],
    workload: Workload,
    peer: Peer,
    (on, sync): (On, Sync),
    figure: impl Fn(&Measurement) -> f64,
) -> Option<Spread> {
    Spread::from_figures(rounds(results, workload, peer, on, sync).values().map(|measurement| figure(measurement)))
}

/// All goals for which something was measured, in the order of the goals, file system by file system.
pub fn verdicts(results: &[Results]) -> Vec<Verdict> {
    let places =
        [On::Tmpfs, On::Ext4, On::Xfs].into_iter().flat_map(|on| on.variants().iter().map(move |sync| (on, *sync)));
    places.flat_map(|(on, sync)| GOALS.iter().filter_map(move |goal| verdict(results, goal, on, sync))).collect()
}

/// One goal in one place; nothing if not everybody was measured there.
pub fn verdict(results: &[Results], goal: &'static SpeedGoal, on: On, sync: Sync) -> Option<Verdict> {
    let workload = goal.row.workload()?;
    let figure = if goal.form == GoalForm::ShareOfCpu { Measurement::cpu } else { |one: &Measurement| one.wall };
    let of = |peer| rounds(results, workload, peer, on, sync);
    let ours = of(goal.ours);
    let others: Vec<_> = goal.against.iter().map(|peer| of(*peer)).collect();
    // Only rounds that everybody has finished make pairs.
    let pairs: Vec<(f64, f64)> = ours
        .iter()
        .filter_map(|(round, one)| {
            let theirs: Option<f64> = others.iter().map(|peer| peer.get(round).map(|other| figure(other))).sum();
            Some((figure(one), theirs?))
        })
        .collect();
    let ratio = |&(ours, theirs): &(f64, f64)| match goal.form {
        GoalForm::TimesAsFast => theirs / ours,
        GoalForm::ShareOfTime | GoalForm::ShareOfCpu => ours / theirs,
        GoalForm::Seconds => ours,
    };
    Some(Verdict {
        goal,
        on,
        sync,
        theirs: if goal.against.is_empty() { None } else { Spread::from_figures(pairs.iter().map(|pair| pair.1)) },
        ours: Spread::from_figures(pairs.iter().map(|pair| pair.0))?,
        ratio: Spread::from_figures(pairs.iter().map(ratio))?,
        rounds_reached: pairs.iter().filter(|pair| reaches(goal, ratio(pair))).count(),
    })
}

/// The medians of `layer-unpack` against the sum of its stages: how far above the least time it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Above {
    /// CPU seconds of all stages.
    pub stages: f64,
    /// Threads they are spread over.
    pub threads: u32,
    /// The least time.
    pub bound: f64,
    /// The median that was measured.
    pub measured: f64,
}

impl Above {
    /// Measured time divided by the least: 1 is the best there can be.
    pub fn ratio(&self) -> f64 {
        self.measured / self.bound
    }
}

/// What the stages of each workload cost with one thread: on tmpfs, if that was measured; of several, the last.
pub fn costs(results: &[Results]) -> Vec<(Workload, On, &BenchRun)> {
    let mut found: Vec<(Workload, On, &BenchRun)> = Vec::new();
    for costs in results.iter().flat_map(|results| &results.stages) {
        let Some(run) = costs.bench.as_ref().and_then(BenchOutput::one_thread) else { continue };
        match found.iter_mut().find(|(workload, ..)| *workload == costs.workload) {
            None => found.push((costs.workload, costs.on, run)),
            Some((_, on, _)) if *on == On::Tmpfs && costs.on != On::Tmpfs => {}
            Some(before) => *before = (costs.workload, costs.on, run),
        }
    }
    found
}

/// Compares a workload with its stages, where `--bench` was run; with one and with two threads.
pub fn above(results: &[Results], workload: Workload) -> Vec<Above> {
    let Some((_, on, run)) = costs(results).into_iter().find(|(found, ..)| *found == workload) else {
        return Vec::new();
    };
    let of = |peer: Peer| {
        let measured = spread(results, workload, peer, (on, Sync::Unsynced), |one| one.wall)?.median;
        let threads = peer.threads();
        Some(Above { stages: run.cpu(), threads, bound: run.bound(threads), measured })
    };
    [Peer::LayerUnpackOneThread, Peer::LayerUnpack].into_iter().filter_map(of).collect()
}
