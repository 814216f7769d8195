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
//! All are bbolt databases (the crate `bolt`). A database that is not there was never written: there is nothing in it. One that
//! cannot be read is an error, and whoever asks has to take it for "unknown": the directories it names look like
//! nobody's.

pub mod cache;
pub mod snapshots;

pub use cache::{BuildCache, CacheRecord, CacheSize, CacheSummary};
pub use snapshots::Snapshots;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::database;
use bolt::{Bolt, BoltError};

pub(crate) const BUILDKIT: &str = "buildkit";
/// Which build step has which result: looked at only for its lock.
pub(crate) const CACHE_DATABASE: &str = "cache.db";
pub(crate) use snapshots::FILE as SNAPSHOTS_DATABASE;

/// Why a database is of no use.
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
    fn at(self, root: &Dir, name: &str) -> StoreError {
        let path = root.join(BUILDKIT).join(name);
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
    found.map(Some).map_err(|error| error.at(root, name))
}
