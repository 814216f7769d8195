//! What docker answers to a removal of images: what went, or why nothing did.

use layerfs::ChainId;

use crate::ids::{ContainerId, ImageId};
use crate::reference::ReferenceError;

/// One thing that a removal did, in docker's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemovedItem {
    /// A name was removed: the name as docker shows it.
    Untagged(String),
    /// An image was removed.
    Image(ImageId),
    /// A layer was removed, because no image or container holds it any more.
    Layer(ChainId),
}

/// Why docker would not remove an image; the texts are docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemovalError {
    /// No image has this name or id.
    #[error("No such image: {name}")]
    NotFound {
        /// What was asked for, with the tag that docker adds.
        name: String,
    },
    /// The text that was asked for is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The name is an image's only one, and a container uses the image.
    #[error(
        "conflict: unable to remove repository reference {name:?} (must force) - container {} is using its referenced \
         image {}",
        .container.short(), .image.0.short()
    )]
    NameInUse {
        /// What was asked for.
        name: String,
        /// The container.
        container: ContainerId,
        /// The image.
        image: ImageId,
    },
    /// Something needs the image.
    #[error("conflict: unable to delete {} ({}) - {conflict}", .image.0.short(), conflict.remedy())]
    Conflict {
        /// The image.
        image: ImageId,
        /// What needs it.
        conflict: Conflict,
    },
    /// The parent that an image's metadata names does not exist.
    #[error("unrecognized image ID {id}: an image names it as its parent, and the store does not have it")]
    UnknownParent {
        /// As the metadata has it.
        id: String,
    },
    /// A name that leads to an image cannot be removed as it was typed.
    #[error("reference does not exist")]
    NoSuchReference,
}

/// What needs an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// Images are built on it.
    #[error("image has dependent child images")]
    Children,
    /// It has names in several repositories, or several tags.
    #[error("image is referenced in multiple repositories")]
    Names,
    /// A container that runs uses it.
    #[error("image is being used by running container {}", .container.short())]
    Running {
        /// The container.
        container: ContainerId,
    },
    /// A container uses it.
    #[error("image is being used by stopped container {}", .container.short())]
    Container {
        /// The container.
        container: ContainerId,
    },
}

impl Conflict {
    fn remedy(&self) -> &'static str {
        match self {
            Self::Children | Self::Running { .. } => "cannot be forced",
            Self::Names | Self::Container { .. } => "must be forced",
        }
    }
}
