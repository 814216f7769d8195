//! Why a thin pool cannot be worked with: by its status, or by what its parts say before the kernel is asked.

use std::fmt;
use std::fs::File;
use std::path::Path;

use dm::{BlockProblem, PoolError, PoolMode, PoolStatus, ThinPool, Used};

use crate::error::StoreError;

/// Why a thin pool cannot be worked with.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoolTrouble {
    /// It has no block of data left.
    Full {
        /// Its blocks of data.
        data: Used,
        /// Its blocks of metadata.
        metadata: Used,
    },
    /// It does not take changes any more, as its metadata is full or the kernel could not write it.
    ReadOnly {
        /// Its blocks of data.
        data: Used,
        /// Its blocks of metadata.
        metadata: Used,
    },
    /// The kernel has found an error in its metadata, and takes no changes before somebody has checked it.
    NeedsCheck,
    /// It neither reads nor writes: the kernel could not read or write its metadata, or the metadata was full.
    Failed,
    /// It was made with blocks of another size.
    BlockSize {
        /// Bytes of its blocks.
        found: u64,
        /// Bytes that were asked for.
        wanted: u64,
    },
    /// The file or device of its data is shorter than it was.
    Short {
        /// Bytes that are there.
        found: u64,
        /// Bytes that the pool has.
        expected: u64,
    },
}

impl fmt::Display for PoolTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { data, metadata } => write!(
                f,
                "its pool is full: {} of {} blocks of data and {} of {} of metadata are in use",
                data.used, data.total, metadata.used, metadata.total
            ),
            Self::ReadOnly { data, metadata } => write!(
                f,
                "its pool takes no changes (mode {}): {} of {} blocks of metadata and {} of {} of data are in use",
                PoolMode::ReadOnly,
                metadata.used,
                metadata.total,
                data.used,
                data.total
            ),
            Self::NeedsCheck => f.write_str(
                "its pool takes no changes: the kernel has found an error in its metadata, and wants it checked",
            ),
            Self::Failed => {
                f.write_str("its pool has failed: the kernel could not read or write its metadata, or has filled it")
            }
            Self::BlockSize { found, wanted } => {
                write!(f, "its pool has blocks of {found} bytes, and keeps them: {wanted} were asked for")
            }
            Self::Short { found, expected } => {
                write!(f, "its pool has {expected} bytes of data, but only {found} are there: the rest is lost")
            }
        }
    }
}

impl PoolTrouble {
    /// What keeps a pool with this status from taking changes; `None` if nothing does.
    pub(super) fn of_status(status: &PoolStatus) -> Option<Self> {
        let PoolStatus::Working(pool) = status else { return Some(Self::Failed) };
        let (data, metadata) = (pool.data, pool.metadata);
        match pool.mode {
            _ if pool.needs_check => Some(Self::NeedsCheck),
            PoolMode::ReadOnly => Some(Self::ReadOnly { data, metadata }),
            PoolMode::OutOfDataSpace => Some(Self::Full { data, metadata }),
            PoolMode::ReadWrite => None,
        }
    }

    /// Why something that was written to the pool has failed, as far as its status tells.
    pub(super) fn of_failure(status: &PoolStatus) -> Option<Self> {
        Self::of_status(status).or_else(|| match status {
            PoolStatus::Working(pool) if pool.data.free() == 0 => {
                Some(Self::Full { data: pool.data, metadata: pool.metadata })
            }
            _ => None,
        })
    }
}

/// Compares a pool that was made before with what it is to be made active with, since the kernel only says that something is
/// invalid. Returns the size of its blocks; `None` for a pool that was never used.
pub(super) fn check_parts(
    (path, metadata): (&Path, &File),
    data: u64,
    wanted: Option<u64>,
) -> Result<Option<u64>, StoreError> {
    let trouble = |trouble| StoreError::ThinPool { path: path.to_path_buf(), trouble };
    let pool = match ThinPool::open(metadata) {
        Ok(pool) => pool,
        Err(PoolError { problem: BlockProblem::Empty, .. }) => return Ok(None),
        Err(source) => return Err(StoreError::Pool { path: path.to_path_buf(), source }),
    };
    let found = pool.superblock();
    let size = found.block_size;
    if let Some(wanted) = wanted.filter(|wanted| *wanted != size) {
        return Err(trouble(PoolTrouble::BlockSize { found: size, wanted }));
    }
    let expected = found.data_blocks.saturating_mul(size);
    if data < expected {
        return Err(trouble(PoolTrouble::Short { found: data, expected }));
    }
    if found.needs_check {
        return Err(trouble(PoolTrouble::NeedsCheck));
    }
    Ok(Some(size))
}
