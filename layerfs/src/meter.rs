//! What the stages of unpacking cost, in wall and CPU time, for benchmarks.
//!
//! A thread that is attached to a [`Meter`] is in one stage at any time; entering another one stops the clocks of the
//! first. So the wall times of all stages of a thread add up to the time it was attached. A thread that is not attached
//! pays one look at a thread-local variable.
//!
//! Asking for a thread's CPU time is a system call, and each file makes the thread switch stages several times. So a
//! stay that is shorter than `SHORT` counts as busy from beginning to end, unless the stage is a wait. A longer stay
//! asks the CPU clock, and so does a short one once short stays of `MOST_AHEAD` were counted in this way. The stay that
//! asks gets what the clock shows beyond the time already counted, so that the CPU times of a thread add up as well.

use std::cell::RefCell;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::time::ClockId;

/// What a thread is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnpackStage {
    /// Reading a layer, and decompressing it where it is compressed.
    Decode,
    /// SHA-256.
    Hash,
    /// Framing, resolving members, CRC-64, and writing the journal.
    Journal,
    /// Work on names: paths, nodes, links, whiteouts, times of directories.
    Create,
    /// Writing file bodies.
    Write,
    /// Owner, attributes, mode and times of files, and closing them.
    Metadata,
    /// Making the layer durable.
    Sync,
    /// All else: planning, committing, handing out work.
    Other,
    /// Waiting for a piece that another thread is reading.
    Input,
    /// Waiting for another thread that hashes the same stream.
    Digest,
    /// Waiting for work, or for bodies that other threads write.
    Idle,
}

impl UnpackStage {
    /// All stages, in the order in which a layer passes them; the last three are waits.
    pub(crate) const ALL: [Self; 11] = [
        Self::Decode,
        Self::Hash,
        Self::Journal,
        Self::Create,
        Self::Write,
        Self::Metadata,
        Self::Sync,
        Self::Other,
        Self::Input,
        Self::Digest,
        Self::Idle,
    ];

    /// The stage's name, in lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Decode => "decode",
            Self::Hash => "hash",
            Self::Journal => "journal",
            Self::Create => "create",
            Self::Write => "write",
            Self::Metadata => "metadata",
            Self::Sync => "sync",
            Self::Other => "other",
            Self::Input => "wait-input",
            Self::Digest => "wait-hash",
            Self::Idle => "wait-work",
        }
    }

    /// Whether a thread in this stage only waits for others.
    #[must_use]
    pub fn is_wait(self) -> bool {
        matches!(self, Self::Input | Self::Digest | Self::Idle)
    }
}

/// What one stage cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Time passed, the sum over all threads.
    pub wall: Duration,
    /// Processor time, user and system, of all threads.
    pub cpu: Duration,
    /// Bytes that went through the stage, where that means something.
    pub bytes: u64,
    /// Bytes that the stage moved from one place in memory to another, or between memory and files. Incidental copies
    /// do not count.
    pub copied: u64,
}

type Costs = [Cost; UnpackStage::ALL.len()];

/// Adds up the costs of all threads that were attached to this meter.
#[derive(Debug, Default)]
pub struct Meter {
    costs: Mutex<Costs>,
}

/// Stays in a stage shorter than this are not timed by the CPU clock. Creating a file takes some microseconds; a thread
/// that loses the processor to another one gets it back after a millisecond or more, so it was busy during a short
/// stay.
const SHORT: Duration = Duration::from_micros(50);

/// When short stays of this time together have counted as busy, the next stay asks the CPU clock.
const MOST_AHEAD: Duration = Duration::from_millis(1);

/// The clocks of an attached thread.
struct Running {
    stage: UnpackStage,
    wall: Instant,
    /// The CPU clock when it was last asked.
    cpu: Duration,
    /// CPU time that was counted since then for short stays, and that the clock has not yet shown.
    ahead: Duration,
    costs: Costs,
}

thread_local! {
    static RUNNING: RefCell<Option<Running>> = const { RefCell::new(None) };
}

impl Running {
    fn switch(&mut self, stage: UnpackStage) -> UnpackStage {
        let wall = Instant::now();
        let passed = wall - self.wall;
        let cost = &mut self.costs[self.stage as usize];
        cost.wall += passed;
        if passed < SHORT && self.ahead < MOST_AHEAD && !self.stage.is_wait() {
            cost.cpu += passed;
            self.ahead += passed;
        } else {
            let cpu = thread_cpu();
            // What was counted ahead took each short stay for busy. Take back what the clock now shows to be too much.
            let known = cost.cpu + cpu.saturating_sub(self.cpu);
            cost.cpu = known.saturating_sub(self.ahead);
            self.ahead = self.ahead.saturating_sub(known);
            self.cpu = cpu;
        }
        self.wall = wall;
        std::mem::replace(&mut self.stage, stage)
    }
}

fn thread_cpu() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

impl Meter {
    /// Starts this thread's clocks, in [`UnpackStage::Other`]; they stop when the guard is dropped. A thread that is
    /// attached already stays with its first meter.
    #[must_use]
    pub fn attach(&self) -> ThreadClocks<'_> {
        let fresh = RUNNING.with_borrow_mut(|running| {
            let fresh = running.is_none();
            running.get_or_insert_with(|| Running {
                stage: UnpackStage::Other,
                wall: Instant::now(),
                cpu: thread_cpu(),
                ahead: Duration::ZERO,
                costs: Costs::default(),
            });
            fresh
        });
        ThreadClocks(fresh.then_some(self))
    }

    /// What each stage has cost so far, without the costs of threads that are still attached.
    #[must_use]
    pub fn costs(&self) -> Vec<(UnpackStage, Cost)> {
        let costs = self.costs.lock().unwrap_or_else(PoisonError::into_inner);
        UnpackStage::ALL.into_iter().zip(costs.iter().copied()).collect()
    }
}

/// Stops a thread's clocks.
#[derive(Debug)]
pub struct ThreadClocks<'m>(Option<&'m Meter>);

impl Drop for ThreadClocks<'_> {
    fn drop(&mut self) {
        let Some(meter) = self.0 else { return };
        let Some(mut running) = RUNNING.take() else { return };
        running.switch(UnpackStage::Other);
        let mut costs = meter.costs.lock().unwrap_or_else(PoisonError::into_inner);
        for (sum, cost) in costs.iter_mut().zip(running.costs) {
            sum.wall += cost.wall;
            sum.cpu += cost.cpu;
            sum.bytes += cost.bytes;
            sum.copied += cost.copied;
        }
    }
}

/// Enters `stage`, until the guard is dropped.
#[must_use]
pub fn enter(stage: UnpackStage) -> Entered {
    Entered(RUNNING.with_borrow_mut(|running| running.as_mut().map(|running| running.switch(stage))))
}

/// Counts bytes that went through `stage`.
pub(crate) fn count(stage: UnpackStage, bytes: usize) {
    RUNNING.with_borrow_mut(|running| {
        if let Some(running) = running {
            running.costs[stage as usize].bytes += bytes as u64;
        }
    });
}

/// Counts bytes that this program moved, in the stage the thread is in.
pub fn copied(bytes: usize) {
    RUNNING.with_borrow_mut(|running| {
        if let Some(running) = running {
            running.costs[running.stage as usize].copied += bytes as u64;
        }
    });
}

/// Returns to the stage before.
#[derive(Debug)]
pub struct Entered(Option<UnpackStage>);

impl Drop for Entered {
    fn drop(&mut self) {
        let Some(before) = self.0 else { return };
        RUNNING.with_borrow_mut(|running| {
            if let Some(running) = running {
                running.switch(before);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_of_a_thread_add_up_to_its_time() {
        let meter = Meter::default();
        let outside = Instant::now();
        let attached = meter.attach();
        let inside = Instant::now();
        {
            let _hash = enter(UnpackStage::Hash);
            let spun = Instant::now();
            while spun.elapsed() < Duration::from_millis(20) {}
            let _idle = enter(UnpackStage::Idle);
            std::thread::sleep(Duration::from_millis(30));
            count(UnpackStage::Hash, 7);
        }
        let inner = Meter::default();
        drop(inner.attach());
        let inside = inside.elapsed();
        drop(attached);
        let (outside, costs) = (outside.elapsed(), meter.costs());
        let of = |stage| costs.iter().find(|(found, _)| *found == stage).unwrap().1;
        let wall: Duration = costs.iter().map(|(_, cost)| cost.wall).sum();
        assert!(inside <= wall && wall <= outside, "{inside:?} {wall:?} {outside:?}");
        assert!(of(UnpackStage::Hash).wall >= Duration::from_millis(20) && of(UnpackStage::Hash).bytes == 7);
        assert!(of(UnpackStage::Idle).wall >= Duration::from_millis(30));
        assert!(of(UnpackStage::Idle).cpu < Duration::from_millis(15), "{:?}", of(UnpackStage::Idle));
        assert!(inner.costs().iter().all(|(_, cost)| *cost == Cost::default()));
    }

    #[test]
    fn short_stays_cost_what_the_processor_says() {
        let meter = Meter::default();
        let attached = meter.attach();
        let before = thread_cpu();
        while thread_cpu() - before < Duration::from_millis(30) {
            // These stays are far too short for the meter to ask the CPU clock about them.
            let _create = enter(UnpackStage::Create);
            copied(3);
            let _write = enter(UnpackStage::Write);
        }
        std::thread::sleep(Duration::from_millis(20));
        let spent = thread_cpu() - before;
        drop(attached);
        let costs = meter.costs();
        let cpu: Duration = costs.iter().map(|(_, cost)| cost.cpu).sum();
        assert!(cpu.abs_diff(spent) < Duration::from_millis(5), "{cpu:?} of {spent:?}");
        let of = |stage| costs.iter().find(|(found, _)| *found == stage).unwrap().1;
        assert!(of(UnpackStage::Create).cpu > Duration::from_millis(1) && of(UnpackStage::Create).copied % 3 == 0);
        assert!(of(UnpackStage::Other).wall >= Duration::from_millis(20) && of(UnpackStage::Write).copied == 0);
    }

    #[test]
    fn a_thread_that_is_not_attached_counts_nothing() {
        let meter = Meter::default();
        drop(enter(UnpackStage::Write));
        count(UnpackStage::Write, 1);
        assert!(meter.costs().iter().all(|(_, cost)| *cost == Cost::default()));
    }
}
