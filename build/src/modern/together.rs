//! Stages that are built side by side, each by a thread: as soon as it is begun, a stage goes on until it needs one that is not there
//! yet, and waits for that one alone (as BuildKit's solver does, moby/buildkit `solver/scheduler.go`).
//!
//! Stages are begun in the order of their numbers, and need only those before them. So the first one that is not built yet never
//! waits for another, and the build goes on.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use snapshot::ids::ImageId;

use super::stage::Built;
use crate::BuildError;

/// Threads at most, most of which may wait.
const THREADS: usize = 64;

/// What a thread has for its stack: as much as a program's first one.
const STACK: usize = 8 << 20;

/// How often it is looked whether the user asks to stop.
const TICK: Duration = Duration::from_millis(20);

/// The stages of a build.
#[derive(Debug)]
pub(super) struct Together<'i> {
    state: Mutex<State>,
    changed: Condvar,
    /// Becomes true when all are to end.
    stop: &'i AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// Stages that were built, by their numbers.
    built: BTreeMap<usize, Built>,
    /// How many more may be at work.
    free: usize,
    /// How many stages were begun.
    begun: usize,
    /// Threads that have not ended.
    threads: usize,
    /// Why the first one has failed.
    failure: Option<BuildError>,
}

impl<'i> Together<'i> {
    /// None of them built yet. `stop` is what everything that a stage does looks at.
    pub(super) fn new(stop: &'i AtomicBool) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), stop }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stage, when it is built. Whoever waits lets another one work.
    ///
    /// # Errors
    /// [`BuildError::Interrupted`] if it will not be built.
    pub(super) fn wait_for(&self, number: usize) -> Result<Built, BuildError> {
        let mut state = self.state();
        if let Some(built) = state.built.get(&number) {
            return Ok(built.clone());
        }
        state.free += 1;
        self.changed.notify_all();
        loop {
            if self.stop.load(Ordering::Relaxed) {
                return Err(BuildError::Interrupted);
            }
            match state.built.get(&number).cloned() {
                Some(built) if state.free > 0 => {
                    state.free -= 1;
                    return Ok(built);
                }
                _ => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Builds the stages with these numbers, and returns the last one, and the records of the others. `interrupted` says whether the user asks to stop.
    ///
    /// # Errors
    /// That of the first stage that fails; all others have ended then.
    pub(super) fn run(
        &self,
        stages: &[usize],
        interrupted: &AtomicBool,
        build: impl Fn(usize) -> Result<Built, BuildError> + Sync,
    ) -> Result<(Built, Vec<ImageId>), BuildError> {
        let last = *stages.last().expect("there is a stage that the user asks for");
        if stages.len() == 1 {
            return Ok((build(last)?, Vec::new()));
        }
        let cores = layerfs::pool::processors().get();
        // Commands wait for disks and each other, so two may run on one processor.
        self.state().free = cores.max(2);
        std::thread::scope(|scope| {
            for thread in 0..stages.len().min(THREADS) {
                let work = || {
                    let _end = End(self);
                    containers::share_mounts();
                    self.work(stages, &build);
                };
                self.state().threads += 1;
                let begun = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work);
                if let Err(error) = begun {
                    self.state().threads -= 1;
                    // Where there are others, they do its work.
                    if thread == 0 {
                        return Err(BuildError::io("starting to build a stage")(error));
                    }
                    break;
                }
            }
            let mut state = self.state();
            while state.threads > 0 {
                if interrupted.load(Ordering::Relaxed) {
                    self.end_all();
                }
                state = self.changed.wait_timeout(state, TICK).unwrap_or_else(PoisonError::into_inner).0;
            }
            Ok(())
        })?;
        let mut state = self.state();
        if let Some(error) = state.failure.take() {
            return Err(error);
        }
        let built = state.built.remove(&last).ok_or(BuildError::Interrupted)?;
        Ok((built, state.built.values().filter_map(|built| built.record).collect()))
    }

    /// Ends all stages. The caller has the state, so that nobody begins to wait meanwhile.
    fn end_all(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// Builds one stage after the other, until all are begun.
    fn work(&self, stages: &[usize], build: &impl Fn(usize) -> Result<Built, BuildError>) {
        let mut state = self.state();
        loop {
            let Some(&number) = stages.get(state.begun) else { return };
            if self.stop.load(Ordering::Relaxed) {
                return;
            }
            if state.free == 0 {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.free -= 1;
            state.begun += 1;
            drop(state);
            let built = build(number);
            state = self.state();
            state.free += 1;
            match built {
                Ok(built) => drop(state.built.insert(number, built)),
                Err(error) => {
                    // Those that end after it have been stopped.
                    state.failure.get_or_insert(error);
                    self.end_all();
                }
            }
            self.changed.notify_all();
        }
    }
}

/// A thread has ended, however it has.
struct End<'t, 'i>(&'t Together<'i>);

impl Drop for End<'_, '_> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.threads -= 1;
        if std::thread::panicking() {
            self.0.end_all();
        }
        self.0.changed.notify_all();
    }
}
