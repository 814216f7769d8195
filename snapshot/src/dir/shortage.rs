//! A process that has run out of descriptors or memory learns nothing about a store.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use rustix::io::Errno;

use crate::error::StoreError;

/// Remembers the first file or directory that could not be opened because this process, or the machine, had no descriptor or no
/// memory left. A directory shares its record with all directories that are opened from it.
///
/// The code that reads a store takes a single file that cannot be read for damage, and plans its repair. A file that could
/// not be opened for want of a descriptor may be sound, so nothing that was read can be trusted then. A view and the plans
/// made from it ask [`Shortage::check`] when they have read everything.
#[derive(Debug, Clone, Default)]
pub(super) struct Shortage(Arc<OnceLock<(PathBuf, Errno)>>);

impl Shortage {
    /// Takes note of a failed call, if this is why it failed.
    pub(super) fn note(&self, errno: Errno, path: impl FnOnce() -> PathBuf) {
        if layerfs::verify::is_shortage(errno) {
            self.0.get_or_init(|| (path(), errno));
        }
    }

    /// Fails if there was a shortage.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.0.get().map_or(Ok(()), |(path, errno)| Err(StoreError::io(path, "opening")(*errno)))
    }
}
