//! What BuildKit, as dockerd embeds it, keeps in a data-root. Read only.
//!
//! ```text
//! buildkit/
//!   snapshots.db       which directories of the driver and which layers it uses        snapshots.rs
//!   metadata_v2.db     the records of the build cache                                  cache.rs
//!   cache.db           which build step has which result                               not read
//!   containerdmeta.db  leases, which only a running daemon acts upon                   not read
//! ```
//!
//! All are bbolt databases (the crate `bolt`). A database that does not exist was never written, so it holds nothing. A
//! database that cannot be read is an error, and the caller must treat its contents as unknown: the directories that it
//! names would otherwise look as if nobody owned them.

pub(crate) mod cache;
pub(crate) mod snapshots;

pub use cache::{BuildCache, CacheRecord, CacheSize, CacheSummary};
pub use snapshots::Snapshots;

use std::path::PathBuf;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::database;
use bolt::{Bolt, BoltError};

pub(crate) const BUILDKIT: &str = "buildkit";
/// The database of the results of build steps. We read nothing from it; we look at its lock, which a running dockerd holds,
/// and at whether dockerd could open it.
pub(crate) const CACHE_DATABASE: &str = "cache.db";
/// The database of contents and leases of the containerd store in BuildKit.
pub(crate) const CONTENT_DATABASE: &str = "containerdmeta.db";
pub(crate) use cache::FILE as METADATA_DATABASE;
pub(crate) use snapshots::FILE as SNAPSHOTS_DATABASE;

/// Why a database cannot be used.
enum Unreadable {
    Bolt(BoltError),
    /// A key or value that BuildKit would not have written.
    Content(String),
}

impl From<BoltError> for Unreadable {
    fn from(error: BoltError) -> Self {
        Self::Bolt(error)
    }
}

impl Unreadable {
    /// As an error of the database at `path`.
    fn at(self, path: PathBuf) -> StoreError {
        match self {
            Self::Bolt(source) => StoreError::Database { path, source },
            Self::Content(reason) => StoreError::Invalid { path, reason },
        }
    }
}

/// Runs `read` on a database below `buildkit`; `None` if it does not exist.
fn with_database<T>(
    root: &Dir,
    name: &str,
    read: impl Fn(&Bolt<'_>) -> Result<T, Unreadable>,
) -> Result<Option<T>, StoreError> {
    let Some(dir) = root.sub(BUILDKIT)? else { return Ok(None) };
    let Some(found) = database::read(&dir, name, read)? else { return Ok(None) };
    found.map(Some).map_err(|error| error.at(dir.join(name)))
}
