//! A data-root in which a store is made anew, with its locks.

use std::fs::File;
use std::path::Path;

use super::containerd::Containerd;
use super::guard::{self, Guard, OpenedRoot, refused};
use super::lock::{Locks, lock_database};
use super::{DataRoot, Refusal, mounts};
use crate::catalog::with_causes;
use crate::dir::{CreatedDirectories, Dir};
use crate::driver::DEFAULT;
use crate::error::StoreError;
use crate::schema::paths::{CONTAINERD_DAEMON, CONTAINERD_METADATA};

/// The database that a running containerd holds locked.
const RECORDS: [&str; 4] = [CONTAINERD_DAEMON[0], CONTAINERD_DAEMON[1], CONTAINERD_METADATA, "meta.db"];

/// Where dockerd mounts the containers of containerd's store.
const ROOTFS: &str = "rootfs";

/// A data-root to which nobody else writes as long as this value lives. What it holds is neither read nor written by opening
/// it; a directory that had to be made for it is removed again unless it is kept.
#[derive(Debug)]
pub struct LockedRoot {
    dir: Dir,
    locks: Locks,
    /// The lock of containerd's records: containerd may have outlived its dockerd.
    records: Option<File>,
    created: CreatedDirectories,
    new: bool,
}

impl LockedRoot {
    /// Asks the guard whether the root may be written to, whichever of the two stores its daemon uses, and locks it. Makes it
    /// where there is none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where writing would do harm; nothing is changed then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let OpenedRoot { dir, locks, created, new, .. } = Guard { driver: Some(DEFAULT) }.ask(path)?.open()?;
        let records = lock_database(&dir, &RECORDS)?;
        let opened = Self { dir, locks, records, created, new };
        opened.check_mounts()?;
        Ok(opened)
    }

    /// The root itself.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Whether it was made by this process, or was empty before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// containerd's records, locked; `None` if there are none.
    pub(crate) fn records(&self) -> Option<&File> {
        self.records.as_ref()
    }

    /// Locks a database of the root, which stays locked as long as the file is open; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if a daemon has locked it.
    pub(crate) fn lock_database(&self, path: &[&str]) -> Result<Option<File>, StoreError> {
        lock_database(&self.dir, path)
    }

    /// The store of the storage driver overlay2 in it, for reading.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn overlay2(&self) -> Result<DataRoot, StoreError> {
        DataRoot::with_driver(self.dir.duplicate()?, DEFAULT, Containerd::find(&self.dir)?)
    }

    /// Makes a directory in the root, which is removed again unless the root is kept.
    pub(crate) fn ensure(&mut self, name: &str, mode: u32) -> Result<Dir, StoreError> {
        self.created.ensure(&self.dir, name, mode)
    }

    /// Looks once more whether a daemon has started. We keep a daemon away by locking its databases, so one could start if
    /// these did not exist.
    pub(crate) fn check_again(&mut self) -> Result<(), StoreError> {
        self.locks.extend(&self.dir)?;
        guard::check_mounts(&self.dir, DEFAULT)?;
        self.check_mounts()
    }

    /// Checks that no container of containerd's store is mounted.
    fn check_mounts(&self) -> Result<(), StoreError> {
        match self.dir.sub(ROOTFS)?.map_or(Ok(None), |rootfs| mounts::in_use(&rootfs)) {
            Ok(None) => Ok(()),
            Ok(Some(point)) => Err(refused(&self.dir, Refusal::LayerMounted { point })),
            Err(error) => Err(refused(&self.dir, Refusal::MountsUnknown { reason: with_causes(&error) })),
        }
    }

    /// Keeps the directories that were made.
    pub(crate) fn keep(&mut self) {
        std::mem::take(&mut self.created).keep();
    }
}
