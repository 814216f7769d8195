//! Moves work from threads that have much to threads that have none.

use std::ffi::CStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::node::Node;

/// A list of names in one buffer, each ended by a NUL.
#[derive(Debug, Default)]
pub(super) struct Names(Vec<u8>);

impl Names {
    pub(super) fn push(&mut self, name: &CStr) {
        self.0.extend(name.to_bytes_with_nul());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Moves the last name to `to`.
    pub(super) fn pop(&mut self, to: &mut Vec<u8>) -> bool {
        let Some((_, before)) = self.0.split_last() else { return false };
        let start = before.iter().rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
        to.clear();
        to.extend_from_slice(&self.0[start..]);
        self.0.truncate(start);
        true
    }

    /// Takes away about half of the names, but at least one. A single name is taken only with `all`.
    pub(super) fn split(&mut self, all: bool) -> Self {
        let middle = self.0.len() / 2;
        let end = self.0[middle..].iter().position(|byte| *byte == 0).map_or(self.0.len(), |nul| middle + nul + 1);
        if end < self.0.len() {
            let rest = self.0.split_off(end);
            return Self(std::mem::replace(&mut self.0, rest));
        }
        // The last name begins before the middle: take the names before it, if there are any.
        let start = self.0[..end.saturating_sub(1)].iter().rposition(|byte| *byte == 0).map_or(0, |nul| nul + 1);
        if start > 0 {
            let rest = self.0.split_off(start);
            return Self(std::mem::replace(&mut self.0, rest));
        }
        if all { std::mem::take(self) } else { Self::default() }
    }
}

/// Subdirectories of one directory, to be read.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) node: Arc<Node>,
    pub(super) names: Names,
}

/// The work that threads hand to each other.
#[derive(Debug)]
pub(super) struct WorkPool {
    state: Mutex<PoolState>,
    wake: Condvar,
    /// How many threads are without work.
    hungry: AtomicUsize,
}

#[derive(Debug, Default)]
struct PoolState {
    batches: Vec<Batch>,
    waiting: usize,
    /// How many threads take part, or soon will.
    threads: usize,
    /// No thread has work left, so none will get any.
    over: bool,
}

impl WorkPool {
    pub(super) fn new(threads: usize) -> Self {
        let state = PoolState { threads, ..PoolState::default() };
        Self { state: Mutex::new(state), wake: Condvar::new(), hungry: AtomicUsize::new(0) }
    }

    /// Corrects the number of threads. It is called by a thread that still works, so the others cannot yet have
    /// concluded that all threads wait.
    pub(super) fn set_threads(&self, threads: usize) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).threads = threads;
    }

    /// Whether somebody waits for work.
    pub(super) fn hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0
    }

    /// Hands work over.
    pub(super) fn give(&self, batch: Option<Batch>) {
        let Some(batch) = batch else { return };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.batches.push(batch);
        self.hungry.store(state.waiting.saturating_sub(state.batches.len()), Ordering::Relaxed);
        self.wake.notify_one();
    }

    /// Waits for work; `None` when all is done.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.waiting += 1;
        loop {
            if let Some(batch) = state.batches.pop() {
                state.waiting -= 1;
                self.hungry.store(state.waiting.saturating_sub(state.batches.len()), Ordering::Relaxed);
                return Some(batch);
            }
            if state.over || state.waiting == state.threads {
                state.over = true;
                self.wake.notify_all();
                return None;
            }
            self.hungry.store(state.waiting, Ordering::Relaxed);
            state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Called when a thread ends by a panic, so that the others do not wait for it.
    pub(super) fn give_up(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.wake.notify_all();
    }
}
