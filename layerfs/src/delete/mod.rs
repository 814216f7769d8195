//! Deleting trees as fast as the kernel allows: several threads, a directory at a time, by descriptors only.
//!
//! No symlink is followed and no mount is entered. The number of open descriptors is bounded whatever the depth: when a few
//! hundred directories are open (`MOST_OPEN` in `work.rs`), a further subtree is deleted by one thread, which goes back up
//! through `..`. Memory is bounded whatever the width: while too many names wait, no directory is read on. An entry that
//! cannot be deleted stays, with the directories above it, and everything else goes all the same.

mod error;
mod names;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::AsFd;
use rustix::fs::{Mode, OFlags};

pub use error::{DeleteError, Obstacle};

/// More threads than this would all wait for the kernel's own locks.
const MOST_THREADS: usize = 8;

/// How to delete.
#[derive(Debug, Clone)]
pub struct Deletion {
    threads: usize,
    deleted: Arc<AtomicU64>,
}

impl Default for Deletion {
    /// Deletes with a thread for each processor, up to eight.
    fn default() -> Self {
        Self::new(crate::pool::processors().get().min(MOST_THREADS))
    }
}

impl Deletion {
    /// Deletes with `threads` threads, the calling one included, and at least one. Where the system refuses to make them,
    /// fewer delete.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self { threads: threads.max(1), deleted: Arc::default() }
    }

    /// How many entries this value and its clones have deleted so far. Another thread may ask while a deletion runs.
    #[must_use]
    pub fn deleted(&self) -> u64 {
        self.deleted.load(Ordering::Relaxed)
    }

    /// Deletes `name` in `dir` and everything below it. A name that is missing is fine.
    ///
    /// Goes on after an entry that cannot be deleted.
    ///
    /// # Errors
    /// [`DeleteError`]: the first entry that stays, and how many more do.
    pub fn delete(&self, dir: impl AsFd, name: &[u8]) -> Result<(), DeleteError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::openat(dir, ".", flags, Mode::empty());
        let top = top.map_err(|errno| DeleteError { path: name.to_vec(), errno, obstacle: None, others: 0 })?;
        work::delete(top, name, self.threads, &self.deleted)
    }
}

#[cfg(test)]
mod tests;
