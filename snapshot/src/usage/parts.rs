//! The parts of a data-root. Every inode is in one of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use layerfs::ChainId;

use crate::ids::{ContainerId, ImageId, MountName, VolumeName};

/// A part of a data-root. If an inode has links in several parts, the first part in this order counts it; parts without
/// a record come last.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// What belongs to no single thing: the directories of the stores, their indices, the names of images.
    Store,
    /// An image's config and metadata.
    Image(ImageId),
    /// A layer's directory, its link and its record.
    Layer(ChainId),
    /// A container's directory, init layer and record, and its writable layer without its content.
    Container(ContainerId),
    /// What a container has written.
    Writable(ContainerId),
    /// What a container has logged.
    Log(ContainerId),
    /// A mount that no container has, or what is left of one.
    Mount(MountName),
    /// A volume's directory.
    Volume(VolumeName),
    /// A volume's content.
    VolumeData(VolumeName),
    /// Databases and content of the build cache.
    BuildKit,
    /// A directory of the build cache that is no layer's, without its content.
    Cache(String),
    /// The content of a directory of the build cache that is no layer's.
    CacheData(String),
    /// What is left of a layer whose removal was begun, by the name of its record or of its directory.
    Removing(String),
    /// A layer that is being registered, or what a crash has left of one, by the name of its write-set.
    Unfinished(String),
    /// A directory that nobody claims.
    Orphan(String),
    /// A directory that has no record, but is needed: another one stands on it, or it is mounted.
    Referred(String),
    /// Links that lead nowhere.
    StaleLinks,
    /// Something among the layers or records that cannot be recognised.
    Unknown(Vec<u8>),
    /// Everything else, by its place below the root.
    Other(Vec<u8>),
}

/// The parts found so far, each with the number of its bucket.
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
    /// The number of a part. A part that has none gets a new one.
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

    /// The parts that were found; no other is numbered from now on.
    pub(super) fn close(self) -> Parts {
        let Inner { numbers, parts } = self.inner.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<u32> = (0..).take(parts.len()).collect();
        order.sort_unstable_by_key(|number| &parts[*number as usize]);
        Parts { numbers, parts, order }
    }
}

/// Parts that are numbered. A report asks for the number of a part many times for each image and each layer, so that is one
/// look-up and no search.
#[derive(Debug)]
pub(super) struct Parts {
    numbers: HashMap<Part, u32>,
    /// By number.
    parts: Vec<Part>,
    /// The numbers in the order of the parts.
    order: Vec<u32>,
}

impl Parts {
    /// The number of a part.
    pub(super) fn number(&self, part: &Part) -> Option<u32> {
        self.numbers.get(part).copied()
    }

    /// All parts with their numbers, in the order of parts.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Part, u32)> {
        self.order.iter().map(|number| (&self.parts[*number as usize], *number))
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }
}
