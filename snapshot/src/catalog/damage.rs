//! What is wrong with the records of a data-root: the thing, and the cause, for people and for programs alike.
//!
//! Nothing decides by the text of a cause. [`Damage::code`] is stable: scripts may match on it.

use std::fmt;
use std::sync::Arc;

use layerfs::ChainId;

use crate::driver::LayerDamage;
use crate::ids::{ContainerId, ImageId, MountName, VolumeName};
use crate::schema::container::Crash;

/// The thing that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The names of all images, `repositories.json`.
    References,
    /// An image.
    Image(ImageId),
    /// A layer.
    Layer(ChainId),
    /// A container, by its id.
    Container(ContainerId),
    /// An entry of `layerdb/mounts`, by its name.
    Mount(MountName),
    /// A local volume, by its name.
    Volume(VolumeName),
    /// BuildKit's records.
    BuildCache,
    /// A database of the daemon's, by its path below the root.
    Database(String),
}

/// Something that is wrong with the records of a data-root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// dockerd would not start: the names of images cannot be read.
    References {
        /// What is wrong with the file.
        cause: String,
    },
    /// dockerd would not show this image.
    Image {
        /// The image.
        image: ImageId,
        /// Why.
        cause: ImageDamage,
    },
    /// dockerd would not load this layer.
    Layer {
        /// The layer.
        layer: ChainId,
        /// Why.
        cause: RecordDamage,
    },
    /// dockerd loads this layer, and something fails later.
    LayerFault {
        /// The layer.
        layer: ChainId,
        /// What fails.
        fault: LayerFault,
    },
    /// dockerd would not show this container.
    Container {
        /// Its id.
        container: ContainerId,
        /// Why.
        cause: ContainerDamage,
    },
    /// dockerd shows this container, and cannot mount what it writes to: it does not start.
    WritableLayer {
        /// Its id.
        container: ContainerId,
        /// What is wrong with its writable layer, or with its layer of init files.
        cause: LayerDamage,
    },
    /// An entry of `layerdb/mounts` is odd.
    Mount {
        /// Its name.
        mount: MountName,
        /// How.
        cause: MountDamage,
    },
    /// dockerd would not start: this volume's options cannot be decoded.
    Volume {
        /// Its name.
        volume: VolumeName,
        /// What is wrong with them.
        cause: String,
    },
    /// BuildKit's records cannot be read: what they name is not known.
    BuildCache {
        /// Why.
        cause: String,
    },
    /// dockerd would not start: it cannot open one of its databases.
    Database {
        /// The database, by its path below the root.
        database: String,
        /// What is wrong with it.
        cause: String,
    },
}

/// Why dockerd would not show an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageDamage {
    /// It has a name or metadata, and no config.
    ConfigMissing,
    /// The config is not the one the image is named after.
    DigestDiffers,
    /// The config cannot be read.
    ConfigUnreadable {
        /// The system's answer.
        cause: String,
    },
    /// The config is longer than what is read of such files, alone or with the others. dockerd, which has no bound, may read it.
    ConfigNotRead {
        /// The file, and its length.
        cause: String,
    },
    /// The config is none that dockerd can decode.
    ConfigInvalid {
        /// The field, and what is wrong with it.
        cause: String,
    },
    /// It is for another operating system.
    OtherSystem {
        /// Which.
        os: String,
    },
    /// Its operating system is spelled so that dockerd 20.10 crashes.
    SystemSpelling {
        /// How.
        os: String,
    },
    /// Its topmost layer cannot be used.
    TopLayer(UnusableLayer),
}

/// A layer that an image or a container needs, and that dockerd would not load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnusableLayer {
    /// It has no record.
    Missing {
        /// The layer.
        layer: ChainId,
    },
    /// Its record, or that of a layer below it, is damaged.
    Damaged {
        /// The layer.
        layer: ChainId,
        /// How.
        cause: RecordDamage,
    },
}

/// Why dockerd would not load a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecordDamage {
    /// A file of its record is missing or wrong.
    Record {
        /// Which, and how.
        cause: String,
    },
    /// The record of a layer below it is missing.
    BelowMissing {
        /// That layer.
        below: ChainId,
    },
    /// A layer below it cannot be loaded.
    BelowDamaged {
        /// The lowest such layer.
        below: ChainId,
        /// Why that one cannot be loaded.
        cause: Arc<Self>,
    },
    /// Its `parent` files lead back to itself.
    Circle,
}

/// What fails with a layer that dockerd loads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerFault {
    /// Its record is not at the place that its content says.
    WrongName,
    /// The journal is missing.
    JournalMissing,
    /// The journal has no content.
    JournalEmpty,
    /// The driver could not mount it.
    CannotMount {
        /// Why.
        cause: LayerDamage,
    },
    /// It cannot be found out whether the driver could mount it.
    MountUnknown {
        /// Why.
        cause: String,
    },
}

/// Why dockerd would not show a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ContainerDamage {
    /// Its directory has no `config.v2.json`.
    ConfigMissing,
    /// One of its files cannot be read, or `config.v2.json` is none that dockerd can decode.
    ConfigInvalid {
        /// Which, and what is wrong with it.
        cause: String,
    },
    /// `hostconfig.json` is there, and none that dockerd can decode.
    HostConfigInvalid {
        /// What is wrong with it.
        cause: String,
    },
    /// Its config has another id than its directory.
    OtherId {
        /// The id in the config.
        found: String,
    },
    /// It is for another operating system.
    OtherSystem {
        /// Which.
        os: String,
    },
    /// dockerd does not even start with it.
    Crash {
        /// What is missing of it.
        crash: Crash,
    },
    /// It was made with another storage driver.
    OtherDriver {
        /// Which.
        driver: String,
    },
    /// It has no entry in `layerdb/mounts`.
    MountMissing,
    /// The entry in `layerdb/mounts` does not say which directory is its own.
    MountInvalid {
        /// What is wrong.
        cause: MountDamage,
    },
    /// The layer it stands on cannot be used.
    LayerBelow(UnusableLayer),
}

/// What is odd about an entry of `layerdb/mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountDamage {
    /// It is not a directory; dockerd passes over it.
    NotADirectory,
    /// It is an empty directory, which names nothing; dockerd passes over it.
    Empty,
    /// It cannot be opened.
    Unreadable {
        /// The system's answer.
        cause: String,
    },
    /// One of its files is missing that must be there.
    FileMissing {
        /// The file's name.
        file: &'static str,
    },
    /// One of its files cannot be read.
    FileUnreadable {
        /// The file's name.
        file: &'static str,
        /// The system's answer.
        cause: String,
    },
    /// One of its files holds what dockerd does not take.
    FileInvalid {
        /// The file's name.
        file: &'static str,
        /// What it holds, or its beginning.
        found: String,
    },
}

impl Damage {
    /// What is damaged.
    #[must_use]
    pub fn subject(&self) -> Subject {
        match self {
            Self::References { .. } => Subject::References,
            Self::Image { image, .. } => Subject::Image(*image),
            Self::Layer { layer, .. } | Self::LayerFault { layer, .. } => Subject::Layer(*layer),
            Self::Container { container, .. } | Self::WritableLayer { container, .. } => {
                Subject::Container(container.clone())
            }
            Self::Mount { mount, .. } => Subject::Mount(mount.clone()),
            Self::Volume { volume, .. } => Subject::Volume(volume.clone()),
            Self::BuildCache { .. } => Subject::BuildCache,
            Self::Database { database, .. } => Subject::Database(database.clone()),
        }
    }

    /// A name of the cause for programs. It does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::References { .. } => "references-invalid",
            Self::Image { cause, .. } => cause.code(),
            Self::Layer { cause, .. } => cause.code(),
            Self::LayerFault { fault, .. } => fault.code(),
            Self::Container { cause, .. } => cause.code(),
            Self::WritableLayer { cause, .. } => cause.code(),
            Self::Mount { cause, .. } => cause.code(),
            Self::Volume { .. } => "volume-options-invalid",
            Self::BuildCache { .. } => "build-cache-unreadable",
            Self::Database { .. } => "database-invalid",
        }
    }
}

impl ImageDamage {
    /// As [`Damage::code`].
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::ConfigMissing => "image-config-missing",
            Self::DigestDiffers => "image-digest-differs",
            Self::ConfigUnreadable { .. } => "image-config-unreadable",
            Self::ConfigNotRead { .. } => "image-config-not-read",
            Self::ConfigInvalid { .. } => "image-config-invalid",
            Self::OtherSystem { .. } => "image-other-system",
            Self::SystemSpelling { .. } => "image-system-spelling",
            Self::TopLayer(UnusableLayer::Missing { .. }) => "image-layer-missing",
            Self::TopLayer(UnusableLayer::Damaged { .. }) => "image-layer-damaged",
        }
    }
}

impl RecordDamage {
    /// As [`Damage::code`].
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Record { .. } => "layer-record-invalid",
            Self::BelowMissing { .. } => "layer-below-missing",
            Self::BelowDamaged { .. } => "layer-below-damaged",
            Self::Circle => "layer-circle",
        }
    }
}

impl LayerFault {
    /// As [`Damage::code`].
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::WrongName => "layer-wrong-name",
            Self::JournalMissing => "layer-journal-missing",
            Self::JournalEmpty => "layer-journal-empty",
            Self::CannotMount { cause } => cause.code(),
            Self::MountUnknown { .. } => "layer-mount-unknown",
        }
    }
}

impl ContainerDamage {
    /// As [`Damage::code`].
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ConfigMissing => "container-config-missing",
            Self::ConfigInvalid { .. } => "container-config-invalid",
            Self::OtherSystem { .. } => "container-other-system",
            Self::Crash { .. } => "container-crashes-dockerd",
            Self::HostConfigInvalid { .. } => "container-hostconfig-invalid",
            Self::OtherId { .. } => "container-other-id",
            Self::OtherDriver { .. } => "container-other-driver",
            Self::MountMissing => "container-mount-missing",
            Self::MountInvalid { .. } => "container-mount-invalid",
            Self::LayerBelow(UnusableLayer::Missing { .. }) => "container-layer-missing",
            Self::LayerBelow(UnusableLayer::Damaged { .. }) => "container-layer-damaged",
        }
    }
}

impl MountDamage {
    /// As [`Damage::code`].
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::NotADirectory => "mount-not-a-directory",
            Self::Empty => "mount-empty",
            Self::Unreadable { .. } => "mount-unreadable",
            Self::FileMissing { .. } => "mount-file-missing",
            Self::FileUnreadable { .. } => "mount-file-unreadable",
            Self::FileInvalid { .. } => "mount-file-invalid",
        }
    }
}

impl MountDamage {
    /// The file that it is about, if it is about one.
    #[must_use]
    pub(crate) fn file(&self) -> Option<&'static str> {
        match self {
            Self::FileMissing { file } | Self::FileUnreadable { file, .. } | Self::FileInvalid { file, .. } => {
                Some(file)
            }
            Self::NotADirectory | Self::Empty | Self::Unreadable { .. } => None,
        }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::References { cause } => write!(f, "dockerd would not start: {cause}"),
            Self::Image { image, cause } => write!(f, "image {image}: {cause}"),
            Self::Layer { layer, cause } => write!(f, "layer {layer}: {cause}"),
            Self::LayerFault { layer, fault } => write!(f, "layer {layer}: {fault}"),
            Self::Container { container, cause } => write!(f, "container {container}: {cause}"),
            Self::WritableLayer { container, cause } => {
                write!(f, "container {container}: it cannot be mounted: {cause}")
            }
            Self::Mount { mount, cause } => write!(f, "layerdb/mounts/{mount}: {cause}"),
            Self::Volume { volume, cause } => write!(f, "volume {volume}: dockerd would not start: {cause}"),
            Self::BuildCache { cause } => write!(f, "the build cache's records cannot be read: {cause}"),
            Self::Database { database, cause } => write!(f, "{database}: dockerd would not start: {cause}"),
        }
    }
}

impl fmt::Display for ImageDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMissing => f.write_str("its config is missing"),
            Self::DigestDiffers => {
                f.write_str("its config is damaged: the content does not have the digest it is named after")
            }
            Self::ConfigUnreadable { cause } | Self::ConfigNotRead { cause } | Self::ConfigInvalid { cause } => {
                f.write_str(cause)
            }
            Self::OtherSystem { os } => write!(f, "it is for the operating system {os}"),
            Self::SystemSpelling { os } => {
                write!(f, "os is {os:?}, not \"linux\": dockerd 20.10 crashes at its start")
            }
            Self::TopLayer(layer) => write!(f, "its layer {layer}"),
        }
    }
}

impl fmt::Display for UnusableLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { layer } => write!(f, "{layer} is missing"),
            Self::Damaged { layer, cause } => write!(f, "{layer} is damaged: {cause}"),
        }
    }
}

impl fmt::Display for RecordDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record { cause } => f.write_str(cause),
            Self::BelowMissing { below } => write!(f, "the layer below it, {below}, is missing"),
            Self::BelowDamaged { below, cause } => write!(f, "the layer below it, {below}, is damaged: {cause}"),
            Self::Circle => f.write_str("its parents form a circle, so that dockerd does not start"),
        }
    }
}

impl fmt::Display for LayerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongName => f.write_str(
                "its name is not the chain id of what diff and parent say: one of the two files is wrong or missing",
            ),
            Self::JournalMissing => f.write_str("tar-split.json.gz is missing: it cannot be saved or pushed"),
            Self::JournalEmpty => f.write_str("tar-split.json.gz is empty: it cannot be saved or pushed"),
            Self::CannotMount { cause } => write!(f, "it cannot be mounted: {cause}"),
            Self::MountUnknown { cause } => write!(f, "whether it can be mounted is not known: {cause}"),
        }
    }
}

impl fmt::Display for ContainerDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConfigMissing => f.write_str("config.v2.json is missing"),
            Self::ConfigInvalid { cause } | Self::HostConfigInvalid { cause } => f.write_str(cause),
            Self::OtherSystem { os } => write!(f, "it is for the operating system {os}"),
            Self::Crash { crash } => write!(f, "{crash}"),
            Self::OtherId { found } => write!(f, "its config has the id {found:?}"),
            Self::OtherDriver { driver } => write!(f, "it belongs to the storage driver {driver}"),
            Self::MountMissing => f.write_str("it has no writable layer (layerdb/mounts)"),
            Self::MountInvalid { cause } => write!(f, "its mount cannot be loaded: {cause}"),
            Self::LayerBelow(UnusableLayer::Missing { layer }) => {
                write!(f, "the layer it stands on, {layer}, is missing")
            }
            Self::LayerBelow(UnusableLayer::Damaged { layer, cause }) => {
                write!(f, "the layer it stands on, {layer}, is damaged: {cause}")
            }
        }
    }
}

impl fmt::Display for MountDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADirectory => f.write_str("it is not a directory"),
            Self::Empty => f.write_str("it is an empty directory"),
            Self::Unreadable { cause } => f.write_str(cause),
            Self::FileMissing { file } => write!(f, "{file} is missing"),
            Self::FileUnreadable { file, cause } => write!(f, "{file}: {cause}"),
            Self::FileInvalid { file, found } => write!(f, "{file} is {found:?}"),
        }
    }
}
