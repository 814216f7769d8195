//! Why an archive was not imported.

use std::path::Path;

use layerfs::{DiffId, UnpackError};

use crate::source::{ArchiveError, SelectionError, UnusableName};
use snapshot::StoreError;
use snapshot::schema::config::InvalidConfig;

/// Why an archive was not imported, or not unpacked. The store is as it was before.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The archive cannot be read or is not an image archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An image config cannot be stored.
    #[error("image config {name}")]
    Config {
        /// Its name in the archive.
        name: String,
        /// What is wrong.
        #[source]
        source: InvalidConfig,
    },
    /// The manifest has more or fewer layers than the config.
    #[error("image config {config}: invalid manifest, layers length mismatch: expected {expected}, got {found}")]
    LayerCount {
        /// The config's name in the archive.
        config: String,
        /// Layers in the manifest.
        expected: usize,
        /// `rootfs.diff_ids` in the config.
        found: usize,
    },
    /// A layer cannot be unpacked.
    #[error("layer {layer}")]
    Layer {
        /// Its name in the archive.
        layer: String,
        /// The cause.
        #[source]
        source: UnpackError,
    },
    /// The layer of an image that is made here, not loaded, cannot be unpacked: it has no name.
    #[error("the new layer")]
    NewLayer(#[source] UnpackError),
    /// The file is itself one layer, which has no name of its own, and that layer cannot be unpacked.
    #[error("the layer")]
    BareLayer(#[source] UnpackError),
    /// A layer is not the one that the config names.
    #[error("layer {layer}: invalid diffID for layer {index}: expected \"{expected}\", got \"{found}\"")]
    DiffId {
        /// Its name in the archive.
        layer: String,
        /// Its number in the image, from the base.
        index: usize,
        /// As the config has it.
        expected: DiffId,
        /// As it is.
        found: DiffId,
    },
    /// `Parent` in the manifest does not fit.
    #[error("image config {config}: image {parent} is not a valid parent")]
    Parent {
        /// The config's name in the archive.
        config: String,
        /// The image named as its parent.
        parent: layerfs::Digest,
    },
    /// The file system has too little room.
    #[error("{}: needs at least {need} {what}, {free} are free", .path.display())]
    Space {
        /// The directory on that file system.
        path: std::path::PathBuf,
        /// Bytes or inodes.
        what: &'static str,
        /// How many are needed.
        need: u64,
        /// How many are free.
        free: u64,
    },
    /// The archive does not have exactly the image that was asked for.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The archive gives an image a name that no image can have. An image that the user chose or named is taken without that
    /// name.
    #[error(transparent)]
    Name(#[from] UnusableName),
    /// The directory to unpack into has something in it.
    #[error("{}: is not empty; unpacking needs an empty or a new directory", .path.display())]
    NotEmpty {
        /// The directory.
        path: std::path::PathBuf,
    },
    /// Only root makes overlay directories: whiteouts are devices, or have attributes that others must not set.
    #[error("{}: only root can make overlay directories", .path.display())]
    NeedsRoot {
        /// The directory.
        path: std::path::PathBuf,
    },
    /// The user asked to stop.
    #[error("interrupted, nothing was changed")]
    Interrupted,
}

impl ImportError {
    /// Whether the file system is full, or a quota on it is used up, or too little room was found before the start.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Store(error) => error.is_no_space(),
            Self::Layer { source, .. } | Self::NewLayer(source) | Self::BareLayer(source) => source.is_no_space(),
            Self::Space { .. } => true,
            _ => false,
        }
    }

    /// Whether the message says what is wrong inside `archive` without naming the archive.
    #[must_use]
    pub fn is_inside(&self, archive: &Path) -> bool {
        match self {
            Self::Archive(error) => error.is_inside(archive),
            Self::Config { .. }
            | Self::LayerCount { .. }
            | Self::Layer { .. }
            | Self::NewLayer(_)
            | Self::BareLayer(_)
            | Self::DiffId { .. }
            | Self::Parent { .. }
            | Self::Name(_) => true,
            _ => false,
        }
    }
}
