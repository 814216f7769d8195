//! Why a store was not migrated.

use snapshot::StoreError;
use snapshot::ids::ContainerId;

use crate::save::{SaveError, SelectError};

/// Why a store was not migrated. The old store is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// An argument means no image that can be migrated.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// A store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A layer's tar cannot be put together.
    #[error(transparent)]
    Save(#[from] SaveError),
    /// A container's config is no JSON object.
    #[error("container {id}: its config cannot be rewritten")]
    Config {
        /// The container.
        id: ContainerId,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}
