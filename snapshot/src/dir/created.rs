//! Directories that were made on the way, and that a failure takes away again.

use std::ffi::{OsStr, OsString};

use rustix::fs::AtFlags;

use super::Dir;
use crate::error::StoreError;

/// Remembers directories that were made, so that a failure can remove them again.
#[derive(Debug, Default)]
pub struct CreatedDirectories {
    made: Vec<(Dir, OsString)>,
}

impl CreatedDirectories {
    /// Opens `name` in `parent`, creating it with `mode`.
    pub(crate) fn ensure(
        &mut self,
        parent: &Dir,
        name: &(impl AsRef<OsStr> + ?Sized),
        mode: u32,
    ) -> Result<Dir, StoreError> {
        let name = name.as_ref();
        if let Some(dir) = parent.sub(name)? {
            return Ok(dir);
        }
        let dir = parent.create(name, mode)?;
        self.made.push((parent.duplicate()?, name.to_owned()));
        Ok(dir)
    }

    /// Keeps the directories that were made.
    pub fn keep(mut self) {
        self.made.clear();
    }
}

impl Drop for CreatedDirectories {
    /// Removes the directories that were made and are still empty.
    fn drop(&mut self) {
        for (parent, name) in self.made.drain(..).rev() {
            let _ = rustix::fs::unlinkat(&parent, &name, AtFlags::REMOVEDIR);
        }
    }
}
