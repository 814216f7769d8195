//! Writing back while layers are still being unpacked.
//!
//! What is unpacked is made durable at the end, before it is registered. If nothing were written before, the disk would
//! have nothing to do until then, and the processors nothing from then on. So meanwhile a thread asks the system again
//! and again to write what it has. Only the sync at the end makes the result durable. That sync also reports a write
//! that failed earlier, because each open file has its own view of a file system's errors (syncfs(2)).

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::fd::OwnedFd;

use snapshot::StoreError;
use snapshot::dir::Dir;

/// The pause between the end of one round and the beginning of the next. On a slow disk, a round takes many times as long.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

/// A thread that writes back, until this is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct WriteBack {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl WriteBack {
    /// Begins to write back the file system of `dir`, if the result is to be `durable`.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory cannot be opened once more.
    pub(crate) fn begin(dir: &Dir, durable: bool) -> Result<Self, StoreError> {
        let stop = Arc::<Stop>::default();
        if !durable {
            return Ok(Self { stop, thread: None });
        }
        // Not a duplicate: a duplicate shares its view of errors with `dir`, so the sync at the end would not see them
        // again.
        let file_system = dir.reopen()?;
        let stopping = Arc::clone(&stop);
        let write_back = move || write_back(&file_system, &stopping);
        // If no thread can be started, the sync at the end writes everything.
        let thread = std::thread::Builder::new().name("write-back".into()).spawn(write_back).ok();
        Ok(Self { stop, thread })
    }
}

fn write_back(file_system: &OwnedFd, stop: &Stop) {
    let mut asked = stop.asked.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        asked = stop.changed.wait_timeout(asked, PAUSE).unwrap_or_else(PoisonError::into_inner).0;
        if *asked {
            return;
        }
        drop(asked);
        // Ignore the error: the sync at the end reports it through its own descriptor.
        let _ = rustix::fs::syncfs(file_system);
        asked = stop.asked.lock().unwrap_or_else(PoisonError::into_inner);
    }
}

impl Drop for WriteBack {
    fn drop(&mut self) {
        *self.stop.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    use super::*;

    /// The flags of an open file show whether two descriptors are of the same one.
    #[test]
    fn errors_are_not_taken_away_from_the_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let dir = Dir::open(temporary.path()).unwrap();
        let (duplicate, reopened) = (dir.owned_fd().unwrap(), dir.reopen().unwrap());
        fcntl_setfl(&reopened, OFlags::NONBLOCK).unwrap();
        assert!(fcntl_getfl(&reopened).unwrap().contains(OFlags::NONBLOCK));
        assert!(!fcntl_getfl(&duplicate).unwrap().contains(OFlags::NONBLOCK));
        assert!(WriteBack::begin(&dir, true).unwrap().thread.is_some());
        assert!(WriteBack::begin(&dir, false).unwrap().thread.is_none());
    }
}
