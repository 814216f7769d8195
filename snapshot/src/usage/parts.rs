//! What a data-root consists of: every inode is in one of these parts.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use layerfs::ChainId;

use crate::ids::{ContainerId, ImageId, MountName, VolumeName};

/// A part of a data-root. Where an inode has links in several, the first in this order counts it, names beyond the records
/// last.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Directories of the stores, their indices, names of images.
    Store,
    /// An image's config and metadata.
    Image(ImageId),
    /// A layer's directory, its link and its record.
    Layer(ChainId),
    /// A container's directory, init layer and record, and its writable layer but for the content.
    Container(ContainerId),
    /// What a container has written.
    Writable(ContainerId),
    /// What a container has logged.
    Log(ContainerId),
    /// A writable layer that no container has, or what is left of one.
    Mount(MountName),
    /// A volume's directory.
    Volume(VolumeName),
    /// A volume's content.
    VolumeData(VolumeName),
    /// Databases and content of the build cache.
    BuildKit,
    /// A directory of the build cache that is in no layer, but for its content.
    Cache(String),
    /// The content of a directory of the build cache that is in no layer.
    CacheData(String),
    /// What is left of a layer whose deletion was begun: the record's name or the directory's.
    Removing(String),
    /// A layer on its way, or what a crash has left of one: the write-set's name.
    Unfinished(String),
    /// A directory that nobody claims.
    Orphan(String),
    /// A directory that has no record of its own; others are above it, or it is mounted.
    Referred(String),
    /// Links that lead nowhere.
    StaleLinks,
    /// Something in a place of layers or records of which it cannot be told what it is.
    Unknown(Vec<u8>),
    /// Everything else, by its place below the root.
    Other(Vec<u8>),
}

/// What parts there are, each with the number of its bucket.
#[derive(Debug, Default)]
pub(super) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    numbers: HashMap<Part, u32>,
    parts: Vec<Part>,
}

impl Registry {
    /// The number of a part, a new one if it has none.
    pub(super) fn number(&self, part: Part) -> u32 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let next = u32::try_from(inner.parts.len()).expect("parts are fewer than four thousand millions");
        if let Some(number) = inner.numbers.get(&part) {
            return *number;
        }
        inner.numbers.insert(part.clone(), next);
        inner.parts.push(part);
        next
    }

    /// All parts, by number.
    pub(super) fn into_parts(self) -> Vec<Part> {
        self.inner.into_inner().unwrap_or_else(PoisonError::into_inner).parts
    }
}
