//! The entries of a plan: what is removed and why, and what was looked at and stays.

use std::fmt;
use std::path::PathBuf;

use layerfs::ChainId;

use crate::edit::Remains;
use crate::ids::{CacheId, ImageId};
use crate::liveness::{Doubt, StillAlive};

/// Something in a store that may be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// An image, with its names.
    Image {
        /// The image.
        id: ImageId,
        /// Its names, in docker's order.
        names: Vec<String>,
    },
    /// A registered layer, with its directory.
    Layer {
        /// The layer with all below it.
        chain_id: ChainId,
        /// Its directory.
        cache_id: CacheId,
        /// The last of the removed images that needed it; `None` if none did.
        with: Option<ImageId>,
    },
    /// What is left of something that is gone.
    Remains(Remains),
    /// A transaction of ours that was not finished, by its record in `layerdb/tmp`. The next command that writes to the
    /// store first finishes it or takes it back.
    Change(String),
    /// Something in the driver's home that is not a directory, or has a name that Docker gives to no layer's directory.
    Odd(String),
}

impl Thing {
    /// What kind of thing it is, for programs. These words do not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Image { .. } => "image",
            Self::Layer { .. } => "layer",
            Self::Remains(Remains::Mount(_)) => "mount",
            Self::Remains(Remains::Removal(_)) => "removal",
            Self::Remains(Remains::Registration(_)) => "registration",
            Self::Remains(Remains::Directory(_)) => "directory",
            Self::Remains(Remains::Link(_)) => "link",
            Self::Remains(Remains::Metadata(_)) => "metadata",
            Self::Remains(Remains::Sources(_)) => "sources",
            Self::Remains(Remains::Blob(_)) => "blob",
            Self::Remains(Remains::Temporary { .. }) => "temporary-file",
            Self::Change(_) => "change",
            Self::Odd(_) => "odd",
        }
    }
}

/// Why something is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The image has no name, and nothing uses it.
    Dangling,
    /// No container uses the image.
    Unused,
    /// All images that were built from this image are removed.
    Parent,
    /// All images that have the layer are removed.
    WithImage,
    /// No image, container or build has the layer.
    Unneeded,
    /// There is no container that the mount belongs to.
    NoContainer,
    /// The removal of the layer was begun and not finished.
    RemovalBegun,
    /// The registration of the layer was begun and not finished.
    RegistrationBegun,
    /// Nobody claims the directory.
    Orphan,
    /// The link leads to no layer.
    Stale,
    /// There is no such image.
    NoImage,
    /// There is no such layer.
    NoLayer,
    /// The file was to replace another one.
    Temporary,
    /// A change was not finished.
    Unfinished,
}

impl Reason {
    /// A name for programs, which does not change between versions.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Dangling => "dangling",
            Self::Unused => "unused",
            Self::Parent => "parent",
            Self::WithImage => "with-image",
            Self::Unneeded => "unneeded",
            Self::NoContainer => "no-container",
            Self::RemovalBegun => "removal-begun",
            Self::RegistrationBegun => "registration-begun",
            Self::Orphan => "orphan",
            Self::Stale => "stale",
            Self::NoImage => "no-image",
            Self::NoLayer => "no-layer",
            Self::Temporary => "temporary",
            Self::Unfinished => "unfinished",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dangling => "it has no name, and nothing uses it",
            Self::Unused => "no container uses it",
            Self::Parent => "all images that were built from it are removed as well",
            Self::WithImage => "all images that have it are removed as well",
            Self::Unneeded => "no image, container or build has it",
            Self::NoContainer => "no container has it",
            Self::RemovalBegun => "its removal was begun and not finished",
            Self::RegistrationBegun => "its registration was begun and not finished",
            Self::Orphan => "nobody claims it",
            Self::Stale => "it leads to no layer",
            Self::NoImage => "there is no such image",
            Self::NoLayer => "there is no such layer",
            Self::Temporary => "it was to replace another file",
            Self::Unfinished => "a change was not finished",
        })
    }
}

/// Something that is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GcItem {
    /// What is removed.
    pub thing: Thing,
    /// Why it is removed.
    pub reason: Reason,
    /// Bytes that the file system gets back when this is removed after the items before it in the plan. A file with
    /// several links is counted where its last link is removed, and not at all if a link stays.
    pub bytes: u64,
    /// Where it is, below the data-root.
    pub paths: Vec<PathBuf>,
    /// When an image was used last, in seconds since 1970; `None` if the store does not tell.
    pub last_used: Option<i64>,
}

/// Something that was looked at and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spared {
    /// What stays.
    pub thing: Thing,
    /// Why it stays.
    pub cause: StayCause,
}

/// Why something stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StayCause {
    /// Containers were made from the image: the name or the id of the first.
    UsedBy(String),
    /// A container whose config cannot be read may have been made from the image.
    MayBeUsedBy(String),
    /// Images that stay were built from it.
    Children,
    /// It has a name, and the policy does not remove images with names.
    Named,
    /// It has a name or an id that is to be kept, by this pattern.
    Kept(String),
    /// It has this label, which is to be kept.
    Label(String),
    /// A line of the file of excludes matches it.
    Excluded,
    /// It is among the newest images of this repository.
    AmongLast(String),
    /// It was made after the time that the policy names.
    TooNew,
    /// It was used after the time that the policy names.
    UsedRecently,
    /// The target is reached without removing it.
    EnoughGoes,
    /// It has a name that no reference can have.
    OddName(String),
    /// It changed so many seconds ago.
    Young(u64),
    /// This directory stands on it. Nobody claims the directory, but it changed a short time ago.
    BelowYoung(String),
    /// A layer or a container stands on it.
    Needed(StillAlive),
    /// It cannot be told who needs what.
    Doubt(Doubt),
    /// A layer that stays stands on this link, although the link leads to nothing.
    WantedLink,
    /// It is no directory, or it has a name that Docker gives to no layer's directory.
    NotOfDocker,
}

impl StayCause {
    /// A name for programs, which does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::UsedBy(_) => "used-by-container",
            Self::MayBeUsedBy(_) => "may-be-used-by-container",
            Self::Children => "children",
            Self::Named => "named",
            Self::Kept(_) => "kept",
            Self::Label(_) => "label",
            Self::Excluded => "excluded",
            Self::AmongLast(_) => "among-last",
            Self::TooNew => "too-new",
            Self::UsedRecently => "used-recently",
            Self::EnoughGoes => "enough-goes",
            Self::OddName(_) => "odd-name",
            Self::Young(_) => "young",
            Self::BelowYoung(_) => "below-young",
            Self::Needed(_) => "needed",
            Self::Doubt(_) => "doubt",
            Self::WantedLink => "wanted-link",
            Self::NotOfDocker => "not-of-docker",
        }
    }
}

impl fmt::Display for StayCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UsedBy(container) => write!(f, "the container {container} uses it"),
            Self::MayBeUsedBy(container) => {
                write!(f, "the container {container} may use it, whose config cannot be read")
            }
            Self::Children => f.write_str("images that stay were built from it"),
            Self::Named => f.write_str("it has a name"),
            Self::Kept(pattern) => write!(f, "it is to be kept: {pattern}"),
            Self::Label(label) => write!(f, "it has a label that is to be kept: {label}"),
            Self::Excluded => f.write_str("the file of excludes has it"),
            Self::AmongLast(repository) => write!(f, "it is among the newest of {repository}"),
            Self::TooNew => f.write_str("it was made too recently"),
            Self::UsedRecently => f.write_str("it was used too recently"),
            Self::EnoughGoes => f.write_str("enough is freed without it"),
            Self::OddName(name) => write!(f, "it has a name that is no reference: {name}"),
            Self::Young(seconds) => write!(f, "it changed {seconds} seconds ago"),
            Self::BelowYoung(name) => write!(f, "{name} stands on it, which changed lately"),
            Self::Needed(reason) => reason.fmt(f),
            Self::Doubt(doubt) => write!(f, "it cannot be told who needs what: {doubt}"),
            Self::WantedLink => f.write_str("a layer stands on it, although it leads to nothing"),
            Self::NotOfDocker => f.write_str("it is not what Docker makes there"),
        }
    }
}
