//! A step that several stages have, each on the same layers, is done by one of them, as BuildKit does it: the others take its layer. Two layers of
//! one step would differ in their times, and the next build would find only one of them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often it is looked whether the build has been stopped.
const TICK: Duration = Duration::from_millis(20);

/// The keys of the steps that are being done.
#[derive(Debug, Default)]
pub(super) struct Once {
    keys: Mutex<BTreeSet<String>>,
    changed: Condvar,
}

impl Once {
    fn keys(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while another stage does this step. Returns whether one did; otherwise the caller does it, and says so when it ends.
    pub(super) fn begin_or_wait(&self, key: &str, stopped: &AtomicBool) -> bool {
        let mut keys = self.keys();
        if keys.insert(key.to_owned()) {
            return false;
        }
        while keys.contains(key) && !stopped.load(Ordering::Relaxed) {
            keys = self.changed.wait_timeout(keys, TICK).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// The step has ended, however it has.
    pub(super) fn end(&self, key: &str) {
        self.keys().remove(key);
        self.changed.notify_all();
    }
}
