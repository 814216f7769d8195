//! What people read of damage. Programs read the codes.

use std::fmt;

use super::{
    ContainerDamage, Damage, ImageDamage, LayerFault, MountDamage, RecordDamage, UnusableLayer, UseOfDirectory,
};

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::References { cause } => write!(f, "dockerd would not start: {cause}"),
            Self::NameRecord { name, cause } => {
                write!(f, "the record of the name {name}: {cause}")
            }
            Self::Image { image, cause } => write!(f, "image {image}: {cause}"),
            Self::Layer { layer, cause } => write!(f, "layer {layer}: {cause}"),
            Self::LayerFault { layer, fault } => write!(f, "layer {layer}: {fault}"),
            Self::Blob { image, blob, fault } => write!(f, "image {image}: blob {blob}: {fault}"),
            Self::Container { container, cause } => write!(f, "container {container}: {cause}"),
            Self::WritableLayer { container, cause } => {
                write!(f, "container {container}: it cannot be mounted: {cause}")
            }
            Self::Mount { mount, cause } => write!(f, "layerdb/mounts/{mount}: {cause}"),
            Self::Volume { volume, cause } => write!(f, "volume {volume}: dockerd would not start: {cause}"),
            Self::BuildCache { cause } => write!(f, "the build cache's records cannot be read: {cause}"),
            Self::DatabaseMissing { database } => write!(
                f,
                "{database} is missing: what it recorded is still there, and containerd deletes that after the next change. \
                 Put the file back before a daemon starts"
            ),
            Self::Misplaced { directory, use_of } => write!(f, "{directory}: {use_of}"),
            Self::Database { database, cause } => write!(f, "{database}: dockerd would not start: {cause}"),
        }
    }
}

impl fmt::Display for UseOfDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let then = match self {
            Self::Start => "dockerd would not start",
            Self::StoreLayers => "no layer can be stored",
        };
        write!(f, "{then}: it is no directory; move it away, and dockerd makes one")
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
            Self::Blob { blob, fault } => write!(f, "blob {blob}: {fault}"),
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
