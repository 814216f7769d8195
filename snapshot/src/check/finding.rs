//! What a check finds: one finding for each cause, with everything that it affects.

use std::fmt;
use std::path::PathBuf;

use layerfs::verify::FileFault;
use layerfs::{ChainId, DiffId, Digest};

use super::repair::{RecordField, Repair};
use super::stored::StoredCause;
use crate::catalog::Damage;
use crate::containerd::content::BlobFault;
use crate::ids::{ContainerId, ImageId, MountName, VolumeName};
use crate::view::LeftoverKind;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Something is lost, wrong, or fails when it is used.
    Damage,
    /// It could not be found out whether something is damaged.
    Unknown,
    /// Nothing fails, but something only takes up room, or is not as dockerd writes it.
    Note,
}

impl Severity {
    /// A word for programs, which does not change between versions.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Unknown => "unknown",
            Self::Note => "note",
        }
    }
}

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The names of all images, `repositories.json`.
    References,
    /// An image.
    Image(ImageId),
    /// A layer.
    Layer(ChainId),
    /// A blob of containerd's store.
    Blob(Digest),
    /// A container, by its id.
    Container(ContainerId),
    /// An entry of `layerdb/mounts`, by its name.
    Mount(MountName),
    /// A local volume, by its name.
    Volume(VolumeName),
    /// BuildKit's records.
    BuildCache,
    /// An entry of the driver's home, by its name.
    Directory(String),
    /// A link of the driver's home, by its name.
    Link(String),
    /// A record in `layerdb` of a layer that is being removed or registered, by the record's name.
    Record(String),
    /// A lease of containerd's, by its id.
    Lease(String),
    /// The thin pool of devicemapper.
    Pool,
    /// A device of the thin pool, by its number.
    Device(u64),
    /// Some other file, by its path.
    File(PathBuf),
}

impl Place {
    /// A word for the kind of thing, and its id or name, for programs.
    #[must_use]
    pub fn kind_and_name(&self) -> (&'static str, Option<String>) {
        match self {
            Self::References => ("references", None),
            Self::Image(id) => ("image", Some(id.to_string())),
            Self::Layer(id) => ("layer", Some(id.to_string())),
            Self::Blob(digest) => ("blob", Some(digest.to_string())),
            Self::Container(id) => ("container", Some(id.to_string())),
            Self::Mount(name) => ("mount", Some(name.to_string())),
            Self::Volume(name) => ("volume", Some(name.to_string())),
            Self::BuildCache => ("build_cache", None),
            Self::Directory(name) => ("directory", Some(name.clone())),
            Self::Link(name) => ("link", Some(name.clone())),
            Self::Record(name) => ("record", Some(name.clone())),
            Self::Lease(id) => ("lease", Some(id.clone())),
            Self::Pool => ("pool", None),
            Self::Device(id) => ("device", Some(id.to_string())),
            Self::File(path) => ("file", Some(path.display().to_string())),
        }
    }
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// Damage that every command meets when it reads the store.
    Damage(Damage),
    /// Images, containers or layers need a layer that has no record.
    LayerMissing,
    /// A layer's record has no files, or only empty ones: its registration was interrupted.
    RecordEmpty,
    /// A file of a layer's record is missing or wrong.
    Field {
        /// Which.
        field: RecordField,
        /// What is wrong with it.
        reason: String,
    },
    /// A layer's journal cannot be read to its end, or is no journal at all.
    JournalInvalid {
        /// Why.
        reason: String,
    },
    /// The content of a layer does not match its journal and its diff id.
    Content {
        /// The first files that do not match the journal.
        files: Vec<FileFault>,
        /// How many more there are.
        more: u64,
        /// The digest that journal and files make together; `None` if they could not all be read, or if `files` says
        /// enough.
        found: Option<DiffId>,
    },
    /// A blob of containerd's store cannot be used.
    Blob {
        /// What it is for.
        used_as: BlobUse,
        /// What is wrong with it.
        fault: BlobFault,
    },
    /// A file among containerd's blobs is named after no digest.
    BlobName,
    /// A snapshot of containerd's that one of its two databases does not know.
    SnapshotRecordMissing,
    /// A snapshot stands on itself, by way of others or at once: containerd does not come to an end with it.
    SnapshotLoop {
        /// The key of the snapshot below.
        below: String,
    },
    /// The snapshot below has no record.
    SnapshotBelowMissing {
        /// Its key.
        below: String,
    },
    /// Something that decides about the future of containerd's store.
    Stored(StoredCause),
    /// A file or directory of containerd's store that none of its records names.
    Unrecorded,
    /// The directory of the writable layer of a container cannot be used.
    WritableLayer {
        /// Why.
        damage: crate::driver::LayerDamage,
    },
    /// Two layers' records name the same directory: one of them has the other's files.
    DirectoryShared {
        /// The other layer.
        with: ChainId,
    },
    /// A layer's record names the directory of a container.
    DirectoryOfMount {
        /// The container's mount.
        mount: MountName,
    },
    /// The build cache has a record of a directory that is gone: a build that needs it fails.
    BuildCacheDirectoryMissing {
        /// The directory.
        directory: String,
    },
    /// A layer's directory lacks `work`, without which it cannot be mounted for writing.
    WorkMissing,
    /// A layer's directory lacks `committed`, although others stand on it.
    CommittedMissing,
    /// `repositories.json` is missing although there are images, so none of them has a name.
    ReferencesMissing,
    /// A name of an image is listed, but cannot be resolved or removed.
    NameUnusable {
        /// The name.
        name: String,
    },
    /// `metadata/parent` of an image is no id, or the id of an image that does not exist.
    ImageParent {
        /// The content of the file.
        found: String,
    },
    /// `metadata/lastUpdated` of an image is no time: `docker inspect` fails.
    ImageTime {
        /// The content of the file.
        found: String,
    },
    /// The history of an image has more steps that made layers than there are layers: `docker history` fails.
    ImageHistory,
    /// Metadata of an image that does not exist.
    MetadataWithoutImage,
    /// A container's mount has no `parent`: nothing keeps the layers below it from being removed.
    MountParentMissing,
    /// A container's mount has no `init-id` although there is an init layer.
    MountInitMissing,
    /// A mount that no container has. The layers below it are kept for it.
    MountWithoutContainer,
    /// A layer that no image, container or build cache needs.
    LayerUnused,
    /// A directory that nobody claims.
    Orphan,
    /// A directory that no record names, but that may be the writable layer of a container that has lost its mount.
    LostByContainer {
        /// The container, or one of them.
        container: ContainerId,
    },
    /// A link that leads nowhere.
    StaleLink,
    /// Something that a crash has left behind.
    Leftover(LeftoverKind),
    /// A cache entry of `distribution` that cannot be decoded.
    Distribution,
    /// The metadata of the thin pool is damaged.
    PoolUnreadable {
        /// Where, and what is lost with it.
        reason: String,
    },
    /// The kernel wants the thin pool checked before it takes changes.
    PoolNeedsCheck,
    /// The thin pool does not have a device that a file names.
    DeviceMissing,
    /// A part of the blocks of a device is lost.
    DeviceDamaged {
        /// What is wrong in the metadata.
        reason: String,
    },
    /// Several files name one device: what is written to one layer changes the other.
    DeviceShared {
        /// The names of the files.
        names: Vec<String>,
    },
    /// No file names a device of the thin pool.
    DeviceUnnamed,
    /// A change of a device was begun and not finished.
    DeviceChangeOpen,
    /// The thing could not be checked.
    Unknown {
        /// Why.
        reason: String,
    },
}

/// What a blob of containerd's store is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlobUse {
    /// An index or a manifest that docker fails to read when it lists images.
    Listing,
    /// An index or a manifest, which docker reads to list images.
    Document,
    /// The config of an image.
    Config,
    /// A layer, as it was pulled or loaded.
    Layer,
    /// No image has it.
    Other,
}

impl BlobUse {
    /// What fails where the blob cannot be used.
    fn consequence(self) -> &'static str {
        match self {
            Self::Listing => {
                ": it is an index or a manifest, without which docker lists no image at all, not even the others"
            }
            Self::Document => ": it is an index or a manifest, without which docker may list no image at all",
            Self::Config => ": it is a config, without which no container can be made",
            Self::Layer => ": it is a layer: what has it cannot be saved or pushed",
            Self::Other => "",
        }
    }
}

/// The images and containers that a cause makes unusable, incomplete or wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Affected {
    /// Images, sorted.
    pub images: Vec<ImageId>,
    /// Containers by their ids, sorted.
    pub containers: Vec<ContainerId>,
}

/// One thing that is wrong, or worth a note.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about.
    pub place: Place,
    /// What is wrong.
    pub cause: Cause,
    /// Whom it affects.
    pub affected: Affected,
    /// What would mend it, if anything would.
    pub repair: Option<Repair>,
}

impl Finding {
    /// A word for the cause, for programs, which does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.cause.code()
    }
}

impl Cause {
    /// The word that [`Finding::code`] returns.
    #[must_use]
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Damage(damage) => damage.code(),
            Self::LayerMissing => "layer-record-missing",
            Self::RecordEmpty => "layer-record-empty",
            Self::Field { field, .. } => match field {
                RecordField::Size => "layer-size-invalid",
                RecordField::Diff => "layer-diff-invalid",
                RecordField::CacheId => "layer-cache-id-invalid",
                RecordField::Parent => "layer-parent-invalid",
                RecordField::Descriptor => "layer-descriptor-invalid",
            },
            Self::JournalInvalid { .. } => "layer-journal-invalid",
            Self::Content { files, .. } if files.is_empty() => "layer-digest-differs",
            Self::Content { .. } => "layer-content-differs",
            Self::Blob { fault, .. } => fault.code(),
            Self::BlobName => "blob-name-invalid",
            Self::SnapshotRecordMissing => "snapshot-record-missing",
            Self::SnapshotLoop { .. } => "snapshot-loop",
            Self::SnapshotBelowMissing { .. } => "snapshot-below-missing",
            Self::Stored(cause) => cause.code(),
            Self::Unrecorded => "file-unrecorded",
            Self::WritableLayer { .. } => "container-layer-unusable",
            Self::DirectoryShared { .. } => "layer-directory-shared",
            Self::DirectoryOfMount { .. } => "layer-directory-of-container",
            Self::BuildCacheDirectoryMissing { .. } => "build-cache-directory-missing",
            Self::WorkMissing => "work-missing",
            Self::CommittedMissing => "committed-missing",
            Self::ReferencesMissing => "references-missing",
            Self::NameUnusable { .. } => "name-unusable",
            Self::ImageParent { .. } => "image-parent-invalid",
            Self::ImageTime { .. } => "image-time-invalid",
            Self::ImageHistory => "image-history-invalid",
            Self::MetadataWithoutImage => "metadata-without-image",
            Self::MountParentMissing => "mount-parent-missing",
            Self::MountInitMissing => "mount-init-missing",
            Self::MountWithoutContainer => "mount-without-container",
            Self::LayerUnused => "layer-unused",
            Self::Orphan => "directory-orphan",
            Self::LostByContainer { .. } => "directory-lost",
            Self::StaleLink => "link-stale",
            Self::Leftover(LeftoverKind::Registration) => "registration-unfinished",
            Self::Leftover(LeftoverKind::Removal) => "removal-unfinished",
            Self::Leftover(LeftoverKind::TemporaryFile) => "temporary-file",
            Self::Distribution => "distribution-invalid",
            Self::PoolUnreadable { .. } => "pool-unreadable",
            Self::PoolNeedsCheck => "pool-needs-check",
            Self::DeviceMissing => "device-missing",
            Self::DeviceDamaged { .. } => "device-damaged",
            Self::DeviceShared { .. } => "device-shared",
            Self::DeviceUnnamed => "device-unnamed",
            Self::DeviceChangeOpen => "device-change-unfinished",
            Self::Unknown { .. } => "not-checked",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damage(damage) => fmt_damage(damage, f),
            Self::LayerMissing => f.write_str("it has no record"),
            Self::RecordEmpty => {
                f.write_str("its record is empty: loading or pulling it again fails with \"file exists\"")
            }
            Self::Field { field, reason } => write!(f, "{} of its record: {reason}", field.file()),
            Self::JournalInvalid { reason } => {
                write!(f, "tar-split.json.gz: {reason}: it cannot be saved or pushed")
            }
            Self::Content { files, more, found } => match (files.as_slice(), found) {
                ([], Some(found)) => write!(f, "its files and its journal make {found}, not its diff id"),
                ([], None) => f.write_str("its files and its journal do not make its diff id"),
                ([one], _) if *more == 0 => write!(f, "{one}"),
                (files, _) => {
                    write!(f, "{} files are not as they were unpacked", (files.len() as u64).saturating_add(*more))
                }
            },
            Self::Blob { used_as, fault } => write!(f, "{fault}{}", used_as.consequence()),
            Self::BlobName => {
                f.write_str("its name is no digest: while it is there, containerd deletes no content that nobody needs")
            }
            Self::SnapshotRecordMissing => f.write_str("containerd's two databases do not both know its snapshot"),
            Self::SnapshotLoop { below } => {
                write!(
                    f,
                    "it stands on itself, by way of {below}: containerd takes memory without end where it follows this"
                )
            }
            Self::SnapshotBelowMissing { below } => write!(f, "the snapshot below it, {below}, has no record"),
            Self::Stored(cause) => write!(f, "{cause}"),
            Self::Unrecorded => f.write_str("no record of containerd's names it"),
            Self::WritableLayer { damage } => write!(f, "its writable layer cannot be used: {damage}"),
            Self::DirectoryShared { with } => write!(f, "its record names the directory of the layer {with}, too"),
            Self::DirectoryOfMount { mount } => write!(f, "its record names the directory of container {mount}"),
            Self::BuildCacheDirectoryMissing { directory } => {
                write!(f, "its directory {directory} is gone: a build that needs it fails")
            }
            Self::WorkMissing => f.write_str("work is missing: it cannot be mounted to be written to"),
            Self::CommittedMissing => {
                f.write_str("committed is missing: dockerd mounts it to be written to when it saves the image")
            }
            Self::ReferencesMissing => f.write_str("it is missing: no image has a name"),
            Self::NameUnusable { name } => write!(f, "the name {name:?} is listed, and cannot be used or removed"),
            Self::ImageParent { found } => {
                write!(f, "metadata/parent names no image: {found:?}; removing the image ends with an error")
            }
            Self::ImageTime { found } => {
                write!(f, "metadata/lastUpdated is no time: {found:?}; it cannot be inspected until it is tagged again")
            }
            Self::ImageHistory => {
                f.write_str("its history has more steps that made layers than it has layers: docker history fails")
            }
            Self::MetadataWithoutImage => f.write_str("metadata of an image that is not there"),
            Self::MountParentMissing => {
                f.write_str("its mount names no layer: the image's layers can be removed while it stands on them")
            }
            Self::MountInitMissing => f.write_str(
                "its mount names no init layer: docker diff shows its files, docker rm leaves its directory",
            ),
            Self::MountWithoutContainer => f.write_str("no container has this mount: its layers are never removed"),
            Self::LayerUnused => {
                f.write_str("no image, container or build cache needs it, and dockerd never removes it")
            }
            Self::Orphan => f.write_str("nobody owns it"),
            Self::LostByContainer { container } => {
                write!(f, "it may hold what container {container} has written, whose entry in layerdb/mounts is gone")
            }
            Self::StaleLink => f.write_str("it leads nowhere"),
            Self::Leftover(kind) => write!(f, "{kind}, left by a crash"),
            Self::Distribution => f.write_str("it cannot be decoded; dockerd passes over it"),
            Self::PoolUnreadable { reason } => f.write_str(reason),
            Self::PoolNeedsCheck => {
                f.write_str("the kernel takes no changes before `thin_check --clear-needs-check-flag` has checked it")
            }
            Self::DeviceMissing => f.write_str("a file names it, but the pool does not have it"),
            Self::DeviceDamaged { reason } => write!(f, "some of its blocks are lost: {reason}"),
            Self::DeviceShared { names } => write!(f, "several files name it: {}", names.join(", ")),
            Self::DeviceUnnamed => f.write_str("no file names it, so nothing can use it"),
            Self::DeviceChangeOpen => {
                f.write_str("its making or its removal was not finished: the next command that writes does that")
            }
            Self::Unknown { reason } => f.write_str(reason),
        }
    }
}

/// Writes a damage without the name of the thing that it is about.
fn fmt_damage(damage: &Damage, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match damage {
        Damage::References { cause } | Damage::Volume { cause, .. } | Damage::Database { cause, .. } => {
            write!(f, "dockerd would not start: {cause}")
        }
        Damage::Misplaced { use_of, .. } => write!(f, "{use_of}"),
        Damage::NameRecord { .. } => write!(f, "{damage}"),
        Damage::DatabaseMissing { .. } => f.write_str("it is missing, and what it recorded is still there"),
        Damage::Image { cause, .. } => write!(f, "{cause}"),
        Damage::Blob { blob, fault, .. } => write!(f, "blob {blob}: {fault}"),
        Damage::Layer { cause, .. } => write!(f, "{cause}"),
        Damage::LayerFault { fault, .. } => write!(f, "{fault}"),
        Damage::Container { cause, .. } => write!(f, "{cause}"),
        Damage::WritableLayer { cause, .. } => write!(f, "it cannot be mounted: {cause}"),
        Damage::Mount { cause, .. } => write!(f, "{cause}"),
        Damage::BuildCache { cause } => write!(f, "the build cache's records cannot be read: {cause}"),
    }
}
