//! What is free on a file system.

use crate::dir::Dir;
use crate::error::StoreError;

/// What is free on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Bytes of a block: files take up whole blocks.
    pub block: u64,
    /// Bytes that may be written.
    pub bytes: u64,
    /// Inodes that may be made; `u64::MAX` where the file system makes them as needed.
    pub inodes: u64,
}

impl Room {
    /// What is free on the file system of `dir`, for users without privileges.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn measure(dir: &Dir) -> Result<Self, StoreError> {
        let stat = rustix::fs::fstatvfs(dir).map_err(StoreError::io(dir.path(), "statvfs"))?;
        Ok(Self {
            block: stat.f_frsize.max(512),
            bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            // Zero inodes in all: the file system makes them as needed.
            inodes: if stat.f_files == 0 { u64::MAX } else { stat.f_favail },
        })
    }
}
