//! Why a store was not migrated.

use layerfs::{DiffId, Digest};
use snapshot::StoreError;
use snapshot::ids::ContainerId;

use crate::load::ImportError;
use crate::save::{SaveError, SelectError};
use crate::source::ArchiveError;

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
    /// A source of layers' files cannot be read.
    #[error(transparent)]
    Source(#[from] ArchiveError),
    /// A layer's file cannot be had of its source.
    #[error(transparent)]
    Blob(Box<ImportError>),
    /// A layer's file cannot be decompressed.
    #[error("decompressing {blob}")]
    Packed {
        /// The file.
        blob: Digest,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A layer's file holds another layer than the image has.
    #[error("{blob}: its content has the digest {found}, and the image has {expected}")]
    OtherLayer {
        /// The file.
        blob: Digest,
        /// The image's layer.
        expected: DiffId,
        /// What the file holds.
        found: DiffId,
    },
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
