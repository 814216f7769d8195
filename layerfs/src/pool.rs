//! A fixed number of threads that work through layers, and through what layers hand out.
//!
//! A *task* unpacks one layer, a step at a time; between two steps it may go to another thread. Its steps hand out *jobs*
//! (bodies to write, pieces to read) and *chains* (bytes to hash). A free thread takes, in this order:
//!
//! 1. a piece to read ahead: nothing else of that layer can go on for long without it;
//! 2. a job, when at least as many wait as there are threads: what is begun is ended before more is begun, while its
//!    bytes are in the cache;
//! 3. chains of several layers, when as many wait as are worth hashing together;
//! 4. a step of a task: one not yet begun, unless enough are begun, then those begun, in turn;
//! 5. jobs, then chains, however few: what is left for a thread that would otherwise wait for a step to end.
//!
//! So no thread is idle while there is anything to do, all layers advance evenly, and what waits is bounded: by the step
//! that handed it out, and by the length of the queue, beyond which a job is done on the spot.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

use std::thread::{Builder, Scope, ScopedJoinHandle};

use crate::chain::{Chain, Extent, hash};
use crate::digest::lanes;
use crate::meter::{self, Meter, UnpackStage};

/// How many threads of this process can run at once; 1 where that is not known. It is asked once, as the answer takes reading the files of
/// control groups.
pub fn processors() -> NonZeroUsize {
    static PROCESSORS: OnceLock<NonZeroUsize> = OnceLock::new();
    *PROCESSORS.get_or_init(|| std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
}

/// A piece of work without a result.
pub(crate) type Job<'env> = Box<dyn FnOnce(&Pool<'env>) + Send + 'env>;

/// One layer's work.
pub trait Task<'env>: Send {
    /// Does the next part of the layer's work. The pool calls this again until it breaks.
    fn step(&mut self, pool: &Pool<'env>) -> ControlFlow<()>;
}

/// A task of any kind.
pub type BoxedTask<'env> = Box<dyn Task<'env> + 'env>;

/// What a thread does next.
enum Work<'env> {
    Job(Job<'env>),
    Hash(Vec<Arc<Chain<'env>>>, Extent),
    Step(BoxedTask<'env>),
}

struct Queues<'env> {
    reads: VecDeque<Job<'env>>,
    jobs: VecDeque<Job<'env>>,
    chains: VecDeque<Arc<Chain<'env>>>,
    /// Tasks begun.
    begun: VecDeque<BoxedTask<'env>>,
    /// Tasks not yet begun.
    waiting: VecDeque<BoxedTask<'env>>,
    /// Tasks begun and not ended, those that a thread holds included.
    active: usize,
    /// Threads that wait for work.
    idle: usize,
    panicked: bool,
}

/// The threads and what they share.
pub struct Pool<'env> {
    state: Mutex<Queues<'env>>,
    changed: Condvar,
    /// How many threads work for the pool, or soon will.
    threads: AtomicUsize,
}

impl std::fmt::Debug for Pool<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

impl<'env> Pool<'env> {
    /// Runs `tasks`, begun in order, on `threads` threads (at least one), this one included. Returns when all are done.
    ///
    /// Where the system refuses to make so many threads, those there are do all the work.
    ///
    /// What each stage costs is counted in `meter`, if there is one.
    ///
    /// # Panics
    /// With the panic of a task or a job, after all threads have ended.
    pub fn run(threads: usize, tasks: Vec<BoxedTask<'env>>, meter: Option<&Meter>) {
        if tasks.is_empty() {
            return;
        }
        let threads = threads.max(1);
        let state = Queues {
            reads: VecDeque::new(),
            jobs: VecDeque::new(),
            chains: VecDeque::new(),
            begun: VecDeque::new(),
            waiting: tasks.into(),
            active: 0,
            idle: 0,
            panicked: false,
        };
        let pool = Self { state: Mutex::new(state), changed: Condvar::new(), threads: AtomicUsize::new(threads) };
        std::thread::scope(|scope| {
            let helpers = spawn_helpers(scope, threads - 1, || pool.work(meter));
            pool.threads.store(1 + helpers.len(), Ordering::Relaxed);
            pool.work(meter);
        });
    }

    fn threads(&self) -> usize {
        self.threads.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Queues<'env>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and wakes a thread if one waits for work.
    fn add(&self, add: impl FnOnce(&mut Queues<'env>)) {
        let mut state = self.lock();
        add(&mut state);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.changed.notify_one();
        }
    }

    /// Hands out a job, or does it on the spot: while every thread has a layer of its own, or while many jobs wait,
    /// this thread does it best, for it has the job's bytes in the cache.
    pub(crate) fn submit(&self, job: Job<'env>) {
        let mut job = Some(job);
        self.add(|state| {
            let threads = self.threads();
            if state.layers() < threads && state.jobs.len() < 2 * threads {
                state.jobs.extend(job.take());
            }
        });
        if let Some(job) = job {
            job(self);
        }
    }

    /// Hands out the reading of a piece.
    pub(crate) fn submit_read(&self, job: Job<'env>) {
        self.add(|state| state.reads.push_back(job));
    }

    /// Hands out a chain that has bytes to hash.
    pub(crate) fn submit_chain(&self, chain: Arc<Chain<'env>>) {
        self.add(|state| state.chains.push_back(chain));
    }

    /// Whether there are more threads than layers, so that a layer's parts should be spread.
    pub(crate) fn has_spare_threads(&self) -> bool {
        self.lock().layers() < self.threads()
    }

    /// Does one waiting job, or else one waiting read. Returns false if there was none.
    pub(crate) fn help(&self) -> bool {
        self.do_one(|state| state.jobs.pop_front().or_else(|| state.reads.pop_front()))
    }

    fn do_one(&self, take: impl FnOnce(&mut Queues<'env>) -> Option<Job<'env>>) -> bool {
        let job = take(&mut self.lock());
        job.map(|job| job(self)).is_some()
    }

    /// Hashes some of what waits. Returns false if there was nothing.
    pub(crate) fn help_hashing(&self) -> bool {
        let chains = self.lock().take_chains();
        hash(&chains, Extent::Even, self);
        !chains.is_empty()
    }

    /// Does something for a thread that would otherwise wait until another one has read: a job, or hashing. Returns
    /// false if there was nothing to do.
    pub(crate) fn help_beside_reading(&self) -> bool {
        self.do_one(|state| state.jobs.pop_front()) || self.help_hashing()
    }

    fn work(&self, meter: Option<&Meter>) {
        let _metered = meter.map(Meter::attach);
        let _panic = OnPanic(self);
        while let Some(work) = self.next() {
            match work {
                Work::Job(job) => job(self),
                Work::Hash(chains, extent) => hash(&chains, extent, self),
                Work::Step(mut task) => match task.step(self) {
                    ControlFlow::Continue(()) => self.add(|state| state.begun.push_back(task)),
                    ControlFlow::Break(()) => {
                        drop(task);
                        self.lock().active -= 1;
                        // The end of the last task ends all threads, and the end of another one may let a waiting task
                        // begin.
                        self.changed.notify_all();
                    }
                },
            }
        }
    }

    /// The next work; `None` when all is done.
    fn next(&self) -> Option<Work<'env>> {
        let mut state = self.lock();
        loop {
            if state.panicked || state.is_done() {
                return None;
            }
            if let Some(work) = state.take(self.threads()) {
                return Some(work);
            }
            state.idle += 1;
            let _idle = meter::enter(UnpackStage::Idle);
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }
}

impl<'env> Queues<'env> {
    /// Layers that are not done.
    fn layers(&self) -> usize {
        self.active + self.waiting.len()
    }

    fn is_done(&self) -> bool {
        self.layers() == 0
    }

    fn take(&mut self, threads: usize) -> Option<Work<'env>> {
        if let Some(job) = self.reads.pop_front() {
            return Some(Work::Job(job));
        }
        // If there are fewer jobs than threads, leave them: a step that this thread does may hand out more.
        if self.jobs.len() >= threads
            && let Some(job) = self.jobs.pop_front()
        {
            return Some(Work::Job(job));
        }
        if self.active > 1 && self.chains.len() >= lanes().min(self.active) {
            return Some(Work::Hash(self.take_chains(), Extent::Even));
        }
        if self.active < threads.max(lanes())
            && let Some(task) = self.waiting.pop_front()
        {
            self.active += 1;
            return Some(Work::Step(task));
        }
        if let Some(task) = self.begun.pop_front() {
            return Some(Work::Step(task));
        }
        if let Some(job) = self.jobs.pop_front() {
            return Some(Work::Job(job));
        }
        (!self.chains.is_empty()).then(|| Work::Hash(self.take_chains(), Extent::All))
    }

    fn take_chains(&mut self) -> Vec<Arc<Chain<'env>>> {
        let count = self.chains.len().min(lanes());
        self.chains.drain(..count).collect()
    }
}

/// Starts up to `count` threads that run `work`; fewer where the system refuses to make more (`pids.max`,
/// `RLIMIT_NPROC`, memory for their stacks). The caller must be able to do the work alone.
pub fn spawn_helpers<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    count: usize,
    work: impl Fn() -> T + Clone + Send + 'scope,
) -> Vec<ScopedJoinHandle<'scope, T>> {
    (0..count).map_while(|_| Builder::new().spawn_scoped(scope, work.clone()).ok()).collect()
}

/// Calls `work` with each number below `count`, on up to `threads` threads of which this is one, and returns the
/// results in order. A thread whose work has no result takes no more numbers. A number that no thread took has no
/// result either.
pub fn map<R: Send>(count: usize, threads: usize, work: impl Fn(usize) -> Option<R> + Sync) -> Vec<Option<R>> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let run = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(result) = Some(at).filter(|at| *at < count).and_then(&work) else { return };
            done.lock().unwrap_or_else(PoisonError::into_inner).push((at, result));
        }
    };
    std::thread::scope(|scope| {
        spawn_helpers(scope, threads.min(count).saturating_sub(1), run);
        run();
    });
    let mut results: Vec<Option<R>> = (0..count).map(|_| None).collect();
    for (at, result) in done.into_inner().unwrap_or_else(PoisonError::into_inner) {
        results[at] = Some(result);
    }
    results
}

/// Lets the other threads end when one panics.
struct OnPanic<'pool, 'env>(&'pool Pool<'env>);

impl Drop for OnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.lock().panicked = true;
            self.0.changed.notify_all();
        }
    }
}

/// Counts jobs that are still to be done.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    count: Mutex<usize>,
    zero: Condvar,
}

impl Outstanding {
    /// Counts one more job, until the guard is dropped.
    pub(crate) fn add(self: &Arc<Self>) -> OutstandingGuard {
        *self.lock() += 1;
        OutstandingGuard(Arc::clone(self))
    }

    /// Waits until no counted job is left, and does waiting jobs of the pool meanwhile.
    pub(crate) fn wait(&self, pool: &Pool<'_>) {
        while *self.lock() > 0 {
            if pool.help() {
                continue;
            }
            // The queue is empty: other threads are at work on the jobs that are still counted.
            let _waiting = meter::enter(UnpackStage::Idle);
            let mut count = self.lock();
            while *count > 0 {
                count = self.zero.wait(count).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, usize> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One outstanding job.
#[derive(Debug)]
pub(crate) struct OutstandingGuard(Arc<Outstanding>);

impl Drop for OutstandingGuard {
    fn drop(&mut self) {
        let mut count = self.0.lock();
        *count -= 1;
        if *count == 0 {
            self.0.zero.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_nobody_goes_on_without_one() {
        for threads in [0, 1, 2, 5] {
            for count in [0, 1, 7, 300] {
                let doubled: Vec<Option<usize>> = (0..count).map(|at| Some(at * 2)).collect();
                assert_eq!(map(count, threads, |at| Some(at * 2)), doubled);
            }
            let (begun, most) = (AtomicUsize::new(0), 10);
            let some = map(1000, threads, |at| (begun.fetch_add(1, Ordering::Relaxed) < most).then_some(at));
            assert_eq!(some.iter().flatten().count(), most);
            assert!(
                begun.into_inner() <= most + threads.max(1),
                "each thread ends at its first number without a result"
            );
            assert!(some.iter().enumerate().all(|(at, found)| found.is_none_or(|found| found == at)));
        }
    }
}
