//! The thin devices of a pool.

use std::collections::BTreeMap;

use crate::blocks::{Blocks, u32_at, u64_at};
use crate::error::MetadataDamage;
use crate::superblock::Superblock;
use crate::tree::Entries;

/// One thin device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThinDevice {
    /// Its number in the pool.
    pub id: u64,
    /// What the pool notes about it; `None` if that is lost.
    pub details: Option<Details>,
    /// The root of its mappings; `None` if it is lost.
    pub(crate) root: Option<u64>,
}

impl ThinDevice {
    /// Whether the pool knows which blocks the device has.
    #[must_use]
    pub fn is_mapped(&self) -> bool {
        self.root.is_some()
    }
}

/// What a pool notes about a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Details {
    /// How many blocks are mapped.
    pub mapped_blocks: u64,
    /// The pool's transaction when the device was made.
    pub transaction: u64,
    /// The pool's time when the device was made.
    pub created: u32,
    /// The pool's time when a snapshot was last taken of the device.
    pub snapshotted: u32,
}

/// All devices, and what could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Devices {
    /// By their number.
    pub by_id: BTreeMap<u64, ThinDevice>,
    /// Parts of the tree of mappings that are lost; the keys are numbers of devices.
    pub lost_mappings: Vec<MetadataDamage>,
    /// Parts of the tree of details that are lost; the keys are numbers of devices.
    pub lost_details: Vec<MetadataDamage>,
}

pub(crate) fn read(blocks: &Blocks<'_>, superblock: &Superblock) -> Devices {
    let mut devices = Devices::default();
    for entry in Entries::<8>::new(blocks, Some(superblock.mapping_root)) {
        match entry {
            Ok((id, root)) => {
                devices.by_id.insert(id, ThinDevice { id, details: None, root: Some(u64_at(&root, 0)) });
            }
            Err(damage) => devices.lost_mappings.push(damage),
        }
    }
    for entry in Entries::<24>::new(blocks, Some(superblock.details_root)) {
        match entry {
            Ok((id, value)) => {
                let details = Details {
                    mapped_blocks: u64_at(&value, 0),
                    transaction: u64_at(&value, 8),
                    created: u32_at(&value, 16),
                    snapshotted: u32_at(&value, 20),
                };
                devices.by_id.entry(id).or_insert(ThinDevice { id, details: None, root: None }).details = Some(details);
            }
            Err(damage) => devices.lost_details.push(damage),
        }
    }
    devices
}
