//! Why images were not saved.

use std::io;
use std::path::Path;

use layerfs::{DiffId, Digest};
use snapshot::StoreError;
use snapshot::containerd::content::BlobFault;
use snapshot::ids::ImageId;
use snapshot::platform::Platform;
use tarsplit::JournalError;

use super::select::SelectError;
use crate::output::OutputError;
use crate::source::ArchiveError;

/// Why images were not saved. Nothing is left of the output then, but for what has gone through a pipe.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SaveError {
    /// An argument means nothing that can be saved.
    #[error(transparent)]
    Select(#[from] SelectError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the receiver has cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The layer's tar cannot be put together: a file differs from the one that was unpacked, or the journal is damaged.
    #[error("layer {diff_id}")]
    Layer {
        /// The layer.
        diff_id: DiffId,
        /// What is wrong.
        #[source]
        source: JournalError,
    },
    /// The layer has no journal, or none of its files are there, so that its tar cannot be put together.
    #[error("layer {diff_id}: {what} is missing")]
    Missing {
        /// The layer.
        diff_id: DiffId,
        /// What is not there.
        what: &'static str,
    },
    /// The layer's tar was put together and is another one: its journal was changed.
    #[error("layer {diff_id}: its journal and its files make {found}")]
    Differs {
        /// The layer.
        diff_id: DiffId,
        /// The digest of the tar that they make.
        found: Digest,
    },
    /// A config is gone since the store was read.
    #[error("image {image}: its config cannot be read any more")]
    ConfigGone {
        /// The image.
        image: ImageId,
    },
    /// A blob of containerd's store cannot be used.
    #[error("blob {digest}: {fault}")]
    Blob {
        /// The blob.
        digest: Digest,
        /// What is wrong with it.
        fault: BlobFault,
    },
    /// An image is not there for the platform that is asked for, or not all of it.
    #[error(
        "no suitable export target found: image with reference {image} was found but does not provide the specified platform ({platform})"
    )]
    OtherPlatform {
        /// What was asked for.
        image: String,
        /// The platform.
        platform: Platform,
    },
    /// The images are those of a storage driver.
    #[error("the images are not in containerd's store")]
    NotInContainerd,
    /// The output cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl SaveError {
    /// Makes a failed system call on the output into an error.
    pub(crate) fn output<E: Into<io::Error>>(path: &Path, call: &'static str) -> impl FnOnce(E) -> Self + use<E> {
        let failed = OutputError::output(path, call);
        move |source| Self::Output(failed(source))
    }
}
