//! What keeps a run from being faster, told in a sentence.
//!
//! All threads together have *thread time*: their number times the length of the metered run. What of it is not work on a
//! processor is lost, in one of four ways:
//!
//! | lost | is | because |
//! |---|---|---|
//! | input | wait-input | a thread waits for a piece that another one reads and decodes |
//! | work | wait-work, wait-hash | a thread has nothing to do, or needs a digest that another one makes |
//! | alone | what no thread was there for | before and after the layers, one thread plans and commits |
//! | held | wall less processor time of the stages that do something | the file system, or no free processor |
//!
//! If less than a twentieth is lost, all threads are busy, and the stage with the most processor time is the one to look
//! at. Otherwise the greatest loss decides. Where there is too little work, and all of the input is one compressed stream
//! whose decoding took four fifths of the run, it is still the decoding.
//!
//! Whether the file system or other work on the processors holds threads up is told by the stages that only compute. These
//! are held up only if no processor is free, and then all other stages lose the same share of their time. If the stages that
//! ask the file system for something lose more than that, and this is most of the loss, the file system is the cause.

use layerfs::meter::{Cost, UnpackStage};

use super::figures::{Costs, ratio};

/// If less than this share of the thread time is lost, nothing is.
const BUSY: f64 = 0.05;

/// If one stream was decoded for this share of the run, the run waited for the decoding.
const DECODING: f64 = 0.8;

/// A run that was measured with clocks in each stage.
#[derive(Debug)]
pub(super) struct Metered<'c> {
    pub(super) threads: usize,
    /// The number of processors that the program may use.
    pub(super) processors: usize,
    /// The length of the run in seconds.
    pub(super) wall: f64,
    pub(super) costs: &'c Costs,
    /// The archive, or the only layer, is one compressed stream.
    pub(super) one_stream: bool,
    /// The bytes of the layers' tars together, and of the longest one.
    pub(super) tar_bytes: u64,
    pub(super) longest: u64,
}

impl Metered<'_> {
    /// The seconds that all threads have together: their number times the length of the run.
    pub(super) fn thread_time(&self) -> f64 {
        self.threads as f64 * self.wall
    }

    /// The seconds for which threads were missing, since one thread alone had something to do.
    pub(super) fn alone(&self) -> f64 {
        (self.thread_time() - self.costs.attached()).max(0.0)
    }

    /// Seconds by which the stages that do something were held up.
    fn held(&self) -> f64 {
        self.costs.work().map(|(_, cost)| held(cost)).sum()
    }

    /// How many of these seconds are due to the file system, and the stage that lost the most of them.
    fn held_by_file_system(&self) -> (f64, &'static str) {
        let computing = self
            .costs
            .work()
            .filter(|(stage, _)| matches!(stage, UnpackStage::Decode | UnpackStage::Hash | UnpackStage::Journal));
        let (crowded, time) =
            computing.fold((0.0, 0.0), |(sum, wall), (_, cost)| (sum + held(cost), wall + cost.wall.as_secs_f64()));
        let crowded = ratio(crowded, time);
        let asking = |stage: &UnpackStage| {
            matches!(stage, UnpackStage::Create | UnpackStage::Write | UnpackStage::Metadata | UnpackStage::Sync)
        };
        let asking = self.costs.work().filter(|(stage, _)| asking(stage));
        let beyond = asking.map(|(stage, cost)| (held(cost) - crowded * cost.wall.as_secs_f64(), stage.name()));
        let none = (0.0, (0.0, "none"));
        let (sum, most) = beyond.fold(none, |(sum, most), one| (sum + one.0, if one.0 > most.0 { one } else { most }));
        (sum, most.1)
    }

    /// The sentence about the bottleneck.
    pub(super) fn bottleneck(&self) -> String {
        let (input, work) =
            (self.seconds(UnpackStage::Input), self.seconds(UnpackStage::Idle) + self.seconds(UnpackStage::Digest));
        let (alone, held) = (self.alone(), self.held());
        let share = |seconds: f64| format!("{:.0} % of thread time", 100.0 * ratio(seconds, self.thread_time()));
        let lost = [input, work, alone, held];
        if lost.iter().sum::<f64>() < BUSY * self.thread_time() {
            return self.busy();
        }
        let greatest = lost.iter().copied().fold(0.0, f64::max);
        let decoding = self.one_stream && self.seconds(UnpackStage::Decode) >= DECODING * self.wall;
        if greatest == input || (greatest == work && decoding) {
            let waiting = share(input + work);
            return format!(
                "reading or decoding is the bottleneck: one thread at a time does it for a layer, the others wait ({waiting})"
            );
        }
        if greatest == work {
            let longest = 100.0 * ratio(self.longest as f64, self.tar_bytes as f64);
            let (threads, idle) = (self.threads, share(work));
            return format!(
                "not enough independent work for {threads} threads, which wait for work ({idle}): \
                 the longest layer has {longest:.0} % of the bytes"
            );
        }
        if greatest == alone {
            let percent = 100.0 * ratio(alone, self.wall * (self.threads as f64 - 1.0));
            return format!("{percent:.0} % of the run pass before and after the layers, on one thread");
        }
        if self.threads > self.processors {
            let (threads, processors) = (self.threads, self.processors);
            return format!("{threads} threads wait for processors, of which there are {processors} ({})", share(held));
        }
        match self.held_by_file_system() {
            (due, stage) if due > held / 2.0 => {
                format!("threads wait for the file system, most of all in stage {stage} ({})", share(held))
            }
            _ => format!(
                "threads are held up in all stages ({}): \
                 other programs run on this machine, or the input has to be read from a disk",
                share(held)
            ),
        }
    }

    fn busy(&self) -> String {
        let most = self.costs.work().max_by_key(|(_, cost)| cost.cpu);
        let (stage, cpu) = most.map_or(("none", 0.0), |(stage, cost)| (stage.name(), cost.cpu.as_secs_f64()));
        let share = 100.0 * ratio(cpu, self.costs.cpu());
        let who = if self.threads == 1 { "the thread is busy" } else { "all threads are busy" };
        format!("{who}; the most expensive stage is {stage} ({share:.0} % of CPU)")
    }

    fn seconds(&self, stage: UnpackStage) -> f64 {
        self.costs.cost_of(stage).wall.as_secs_f64()
    }
}

/// How many seconds longer than its processor time a stage took.
fn held(cost: Cost) -> f64 {
    cost.wall.saturating_sub(cost.cpu).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::costs;
    use super::*;

    /// Two threads for one second, on two processors.
    fn sentence(stages: &[(UnpackStage, u64, u64)], change: impl FnOnce(&mut Metered<'_>)) -> String {
        let costs = costs(stages);
        let mut metered = Metered {
            threads: 2,
            processors: 2,
            wall: 1.0,
            costs: &costs,
            one_stream: false,
            tar_bytes: 400,
            longest: 300,
        };
        change(&mut metered);
        metered.bottleneck()
    }

    #[test]
    fn busy_threads_name_the_dearest_stage() {
        let stages = [(UnpackStage::Hash, 600, 600), (UnpackStage::Write, 1300, 1290), (UnpackStage::Idle, 95, 0)];
        // 0.095 idle, 0.01 held, 0.005 alone: more than a twentieth of two seconds.
        assert!(sentence(&stages, |_| {}).starts_with("not enough independent work"));
        // 0.07 idle, 0.01 held, none alone: less.
        let stages = [(UnpackStage::Hash, 600, 600), (UnpackStage::Write, 1310, 1300), (UnpackStage::Idle, 70, 0)];
        let busy = sentence(&stages, |metered| metered.wall = 0.99);
        assert_eq!(busy, "all threads are busy; the most expensive stage is write (68 % of CPU)");
        let one = [(UnpackStage::Hash, 300, 300), (UnpackStage::Write, 100, 100)];
        let one = sentence(&one, |metered| (metered.threads, metered.wall) = (1, 0.4));
        assert_eq!(one, "the thread is busy; the most expensive stage is hash (75 % of CPU)");
    }

    #[test]
    fn waits_say_who_is_waited_for() {
        let stages = [
            (UnpackStage::Decode, 950, 950),
            (UnpackStage::Hash, 250, 250),
            (UnpackStage::Input, 750, 0),
            (UnpackStage::Idle, 50, 0),
        ];
        let decoding = "reading or decoding is the bottleneck: one thread at a time does it for a layer, the others wait (40 % of thread time)";
        assert_eq!(sentence(&stages, |_| {}), decoding);
        let stages = [
            (UnpackStage::Decode, 950, 950),
            (UnpackStage::Hash, 250, 250),
            (UnpackStage::Input, 50, 0),
            (UnpackStage::Idle, 700, 0),
            (UnpackStage::Digest, 50, 0),
        ];
        assert_eq!(sentence(&stages, |metered| metered.one_stream = true), decoding);
        let work = "not enough independent work for 2 threads, which wait for work (38 % of thread time): \
                    the longest layer has 75 % of the bytes";
        assert_eq!(sentence(&stages, |_| {}), work);
    }

    #[test]
    fn time_on_one_thread_is_told() {
        let stages = [(UnpackStage::Hash, 500, 500), (UnpackStage::Sync, 900, 890)];
        let alone = "60 % of the run pass before and after the layers, on one thread";
        assert_eq!(sentence(&stages, |_| {}), alone);
        // One of four threads for half of the time: three times half a second is missing.
        let stages = [(UnpackStage::Hash, 2500, 2500)];
        let alone = sentence(&stages, |metered| (metered.threads, metered.processors) = (4, 4));
        assert_eq!(alone, "50 % of the run pass before and after the layers, on one thread");
    }

    #[test]
    fn threads_are_held_up_by_the_file_system_or_by_others() {
        // Hashing is held up for a tenth of its time, so a tenth of the sync is, too; the other 0.8 s are the disk's.
        let stages = [(UnpackStage::Hash, 1000, 900), (UnpackStage::Sync, 1000, 100)];
        let disk = "threads wait for the file system, most of all in stage sync (50 % of thread time)";
        assert_eq!(sentence(&stages, |_| {}), disk);
        // Both by half: nothing is left for the file system.
        let stages = [(UnpackStage::Hash, 1000, 500), (UnpackStage::Write, 1000, 500)];
        let others = "threads are held up in all stages (50 % of thread time): \
                      other programs run on this machine, or the input has to be read from a disk";
        assert_eq!(sentence(&stages, |_| {}), others);
        let shared = sentence(&stages, |metered| metered.processors = 1);
        assert_eq!(shared, "2 threads wait for processors, of which there are 1 (50 % of thread time)");
    }
}
