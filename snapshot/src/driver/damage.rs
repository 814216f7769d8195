//! What can be wrong with a layer in a driver's home.

use std::path::PathBuf;

use crate::ids::CacheId;

/// A part of a layer in a driver's home.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayerPart {
    /// The directory with the layer's own files.
    Content,
    /// The file with the layer's short name.
    Link,
    /// The directory of all short names.
    Links,
    /// The file that lists what the layer stands on.
    Lower,
    /// The directory that the kernel needs to mount the layer for writing.
    Work,
    /// The file that marks a layer on which other layers stand.
    Committed,
}

/// Why a layer cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerDamage {
    /// The layer's directory, or a part of it that must be there, does not exist.
    #[error("{} is missing", .path.display())]
    Missing {
        /// What is missing.
        path: PathBuf,
        /// Which part that is.
        part: LayerPart,
    },
    /// A part of the layer has the wrong type or content.
    #[error("{}: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Which part that is.
        part: LayerPart,
        /// What is wrong with it.
        reason: String,
    },
    /// The layer has a short name that does not lead back to it.
    #[error("{} does not lead to it", .link.display())]
    WrongLink {
        /// The link that must lead to the layer.
        link: PathBuf,
    },
    /// The layer stands on a short name that leads to no layer.
    #[error("{} stands on {link}, which leads to no layer", .path.display())]
    Dangling {
        /// The file that lists what the layer stands on.
        path: PathBuf,
        /// The short name.
        link: String,
    },
    /// The layer stands on the short name of another one, which leads elsewhere: that layer has the damage.
    #[error("{} stands on {link}, which does not lead to {layer}", .path.display())]
    Misled {
        /// The file that lists what the layer stands on.
        path: PathBuf,
        /// The short name.
        link: String,
        /// The layer that it must lead to.
        layer: CacheId,
    },
    /// The layer stands on itself.
    #[error("{} stands on itself", .path.display())]
    OnItself {
        /// The file that lists what the layer stands on.
        path: PathBuf,
    },
    /// The layer stands on another one twice.
    #[error("{} stands on {layer} more than once", .path.display())]
    Doubled {
        /// The file that lists what the layer stands on.
        path: PathBuf,
        /// The layer that is named more than once.
        layer: CacheId,
    },
    /// The layer stands on fewer layers than its chain has.
    #[error("{} names {found} of the {expected} layers below", .path.display())]
    Short {
        /// The file that lists what the layer stands on.
        path: PathBuf,
        /// Layers below by the records.
        expected: usize,
        /// Layers that the file names.
        found: usize,
    },
    /// The layer stands on the layers of its chain, but not in their order.
    #[error("{} names the layers below in another order", .path.display())]
    Reordered {
        /// The file that lists what the layer stands on.
        path: PathBuf,
    },
    /// The layer has more layers below it than the driver stacks.
    #[error("it lies on more than {most} layers, the most that are stacked")]
    TooDeep {
        /// The most layers below one layer.
        most: usize,
    },
    /// The layer stands on another layer than its chain says.
    #[error("{} names {found} where the records have {expected}", .path.display())]
    OnAnother {
        /// The file that lists what the layer stands on.
        path: PathBuf,
        /// The layer that the records have at this place; empty if they have none.
        expected: String,
        /// The layer that the file names.
        found: CacheId,
    },
}

impl LayerDamage {
    /// A word for the kind of damage that never changes, for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "driver-missing",
            Self::Invalid { .. } => "driver-invalid",
            Self::WrongLink { .. } => "link-wrong",
            Self::Dangling { .. } => "lower-dangling",
            Self::Misled { .. } => "lower-misled",
            Self::OnItself { .. } => "lower-self",
            Self::Doubled { .. } => "lower-doubled",
            Self::Short { .. } => "lower-short",
            Self::Reordered { .. } => "lower-reordered",
            Self::TooDeep { .. } => "layer-too-deep",
            Self::OnAnother { .. } => "lower-other",
        }
    }
}
