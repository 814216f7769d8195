//! What cannot be read, and therefore might name anything.

use std::fmt;

use super::Claim;
use crate::catalog::MountDamage;
use crate::ids::{ImageId, MountName};
use crate::root::lock::WriterInfo;

/// Why it cannot be told who needs what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// The record of a layer, or of one whose removal was begun, does not tell its directory or its parent.
    LayerRecord {
        /// Its place in `layerdb/sha256`.
        record: String,
        /// Why.
        cause: String,
    },
    /// An entry of `layerdb/mounts` does not tell its directories or its layer.
    Mount {
        /// Its name.
        mount: MountName,
        /// Why.
        cause: MountDamage,
    },
    /// A directory of the driver's home belongs to a layer and to somebody else: one of their records is wrong.
    Shared {
        /// Its name.
        entry: String,
        /// Whose it is.
        claims: Vec<Claim>,
    },
    /// An image does not tell its layers.
    Image {
        /// The image.
        image: ImageId,
        /// Why.
        cause: String,
    },
    /// BuildKit's records cannot be read.
    BuildCache {
        /// Why.
        cause: String,
    },
    /// An entry of the driver's home does not tell what it stands on.
    Parents {
        /// Its name.
        entry: String,
        /// Why.
        cause: String,
    },
    /// What is mounted cannot be found out.
    Mounts {
        /// Why.
        cause: String,
    },
    /// Another process of ours is writing to the root now, and not all that it makes is registered yet.
    Writer(WriterInfo),
    /// The config of a container does not tell what it uses.
    Container {
        /// Its id.
        container: String,
        /// Why.
        cause: String,
    },
    /// The names of images cannot be read.
    Names {
        /// Why.
        cause: String,
    },
    /// It is not known here how this storage driver keeps layers.
    Driver {
        /// The driver.
        name: String,
    },
}

impl Doubt {
    /// A name of this kind of doubt for programs. It does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::LayerRecord { .. } => "layer-record",
            Self::Mount { .. } => "mount",
            Self::Shared { .. } => "shared-directory",
            Self::Image { .. } => "image",
            Self::BuildCache { .. } => "build-cache",
            Self::Parents { .. } => "parents",
            Self::Mounts { .. } => "mounts",
            Self::Writer(_) => "writer",
            Self::Container { .. } => "container",
            Self::Names { .. } => "names",
            Self::Driver { .. } => "driver",
        }
    }
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LayerRecord { record, cause } => write!(f, "layerdb/sha256/{record}: {cause}"),
            Self::Mount { mount, cause } => write!(f, "layerdb/mounts/{mount}: {cause}"),
            Self::Shared { entry, claims } => {
                let claims: Vec<String> = claims.iter().map(ToString::to_string).collect();
                write!(f, "the directory {entry} has several owners: {}", claims.join("; "))
            }
            Self::Image { image, cause } => write!(f, "image {image}: {cause}"),
            Self::BuildCache { cause } => write!(f, "the build cache's records cannot be read: {cause}"),
            Self::Parents { entry, cause } => write!(f, "what the directory {entry} stands on is not known: {cause}"),
            Self::Mounts { cause } => write!(f, "what is mounted: {cause}"),
            Self::Writer(writer) => write!(f, "{writer} is writing now"),
            Self::Container { container, cause } => write!(f, "the container {container}: {cause}"),
            Self::Names { cause } => write!(f, "the names of images cannot be read: {cause}"),
            Self::Driver { name } => write!(f, "what the storage driver {name} keeps is not all known here"),
        }
    }
}
