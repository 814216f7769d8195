//! What is wrong with the records of a data-root: the thing, and the cause, for people and for programs alike.
//!
//! Nothing decides by the text of a cause. [`Damage::code`] is stable: scripts may match on it.

mod codes;
mod text;

use std::sync::Arc;

use layerfs::{ChainId, Digest};

use crate::containerd::content::BlobFault;
use crate::containerd::metadata::NameFault;
use crate::driver::LayerDamage;
use crate::ids::{ContainerId, ImageId, MountName, VolumeName};
use crate::schema::container::Crash;

/// The thing that is damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// The names of all images: `repositories.json`, or the records of containerd's store.
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
    /// A directory of the daemon's, by its path below the root.
    Directory(String),
}

/// Something that is wrong with the records of a data-root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Damage {
    /// dockerd would not start: the names of images cannot be read.
    References {
        /// What is wrong with the file.
        cause: String,
    },
    /// docker lists no image at all: containerd's record of this name cannot be decoded.
    NameRecord {
        /// The name, as it is written.
        name: String,
        /// What is wrong with the record.
        cause: NameFault,
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
    /// A blob of this image cannot be used, and dockerd lists the image all the same.
    Blob {
        /// The image.
        image: ImageId,
        /// The blob.
        blob: Digest,
        /// What is wrong with it.
        fault: BlobFault,
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
    /// dockerd cannot use one of its directories, because something else is in its place.
    Misplaced {
        /// The directory, by its path below the root.
        directory: String,
        /// What dockerd needs it for.
        use_of: UseOfDirectory,
    },
    /// A database of containerd's is missing, and what it recorded is still there. dockerd starts and knows nothing of that, and
    /// once something is deleted, containerd deletes what has no record.
    DatabaseMissing {
        /// The database, by its path below containerd's root.
        database: String,
    },
}

/// What dockerd needs a directory for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UseOfDirectory {
    /// To start.
    Start,
    /// To store a layer: it starts without.
    StoreLayers,
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
    /// The config is not read, since it is too long, alone or together with the others. dockerd has no bound and may read it.
    ConfigNotRead {
        /// The file, and its length.
        cause: String,
    },
    /// dockerd cannot decode the config.
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
    /// An index or a manifest that it needs cannot be used: dockerd lists no image at all.
    Blob {
        /// The index or manifest.
        blob: Digest,
        /// What is wrong with it.
        fault: BlobFault,
    },
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
    /// One of its files cannot be read, or dockerd cannot decode `config.v2.json`.
    ConfigInvalid {
        /// Which, and what is wrong with it.
        cause: String,
    },
    /// `hostconfig.json` is there, but dockerd cannot decode it.
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
        /// What in its files makes dockerd crash.
        crash: Crash,
    },
    /// It was made with another storage driver.
    OtherDriver {
        /// Which.
        driver: String,
    },
    /// It has no entry in `layerdb/mounts`.
    MountMissing,
    /// dockerd cannot load its entry in `layerdb/mounts`.
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
    /// A file that must be there is missing.
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
    /// One of its files holds something that dockerd does not accept.
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
            Self::References { .. } | Self::NameRecord { .. } => Subject::References,
            Self::Image { image, .. } | Self::Blob { image, .. } => Subject::Image(*image),
            Self::Layer { layer, .. } | Self::LayerFault { layer, .. } => Subject::Layer(*layer),
            Self::Container { container, .. } | Self::WritableLayer { container, .. } => {
                Subject::Container(container.clone())
            }
            Self::Mount { mount, .. } => Subject::Mount(mount.clone()),
            Self::Volume { volume, .. } => Subject::Volume(volume.clone()),
            Self::BuildCache { .. } => Subject::BuildCache,
            Self::Misplaced { directory, .. } => Subject::Directory(directory.clone()),
            Self::Database { database, .. } | Self::DatabaseMissing { database } => Subject::Database(database.clone()),
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
