//! Thin pools of Linux's device mapper: read from their metadata and data without the kernel, and worked with through
//! the [kernel](Control).
//!
//! This crate knows nothing of Docker. A pool has two files or block devices: one holds the metadata, the other the
//! data of all thin devices in blocks of one size. [`ThinPool::open`] reads the metadata, [`ThinVolume`] shows one
//! device.
//!
//! ```text
//! metadata    blocks of 4096 bytes, little-endian; each begins with the CRC-32C of its other bytes, mixed with a number
//!             for its kind, and holds its own number
//! superblock  block 0: crc u32, flags u32, number u64, uuid 16, magic u64, version u32, time u32, transaction u64,
//!             metadata snapshot u64, space map of the data 128, space map of the metadata 128, mapping tree u64,
//!             details tree u64, data block size u32 (sectors), metadata block size u32 (sectors), metadata blocks u64
//! node        of a B-tree: crc u32, kind u32 (1 internal, 2 leaf), number u64, entries u32, most entries u32, value
//!             size u32, 4 bytes unused; then the keys, u64, with room for the most entries; then the values
//!             an internal node's values are the numbers of its children; a child's keys begin at its key there
//! mapping     tree of trees: thin id -> root of a tree: block of the device -> block of the data << 24 | time
//! details     thin id -> mapped blocks u64, transaction u64, time of creation u32, time of the last snapshot u32
//! space map   of the data: blocks u64, allocated u64, root of the bitmaps u64, root of the counts u64
//! ```
//!
//! The format is that of the kernel's `dm-thin` target, version 2; what is written here follows its documentation
//! (`Documentation/admin-guide/device-mapper/thin-provisioning.rst`) and the files that `thin_restore` makes.
//!
//! Snapshots share whole subtrees, so a block of the metadata may belong to many devices. A damaged block is named with
//! the keys that are lost with it, and everything else is still read.
//!
//! # Examples
//!
//! The first device of a pool that is not active, as a file that a loop device can show:
//!
//! ```no_run
//! use std::fs::File;
//!
//! use dm::{ThinPool, ThinVolume};
//!
//! let (metadata, data) = (File::open("devicemapper/metadata")?, File::open("devicemapper/data")?);
//! let pool = ThinPool::open(&metadata)?;
//! let devices = pool.devices();
//! if let Some(device) = devices.by_id.values().next() {
//!     let volume = ThinVolume::read(&pool, device, 10 << 30);
//!     println!("device {}: {} bytes are mapped, {} parts are lost", device.id, volume.mapped(), volume.lost().len());
//!     volume.copy_to(&data, &File::create_new("device.img")?)?;
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blocks;
mod control;
mod devices;
mod error;
mod file_systems;
mod loops;
mod mapper;
mod mappings;
mod names;
mod node;
mod semaphore;
mod sharing;
mod superblock;
mod target;
#[cfg(test)]
mod tests;
mod tree;
mod udev;
mod volume;

use std::fs::File;

pub use blocks::BLOCK as METADATA_BLOCK;
use blocks::Blocks;
pub use control::Control;
pub use devices::{Details, Devices, ThinDevice};
pub use error::{BlockProblem, MetadataDamage, PoolError};
pub use file_systems::{grow_ext4, grow_xfs, trim};
pub use loops::{LoopDevice, discard, read_size_again, shown_by};
pub use mapper::{Info, Mapper, MapperError, Problem, Removal, cancel_removal};
pub use mappings::{MappedRun, Mappings};
pub use names::{DeviceName, DeviceNumber, InvalidName, InvalidNumber, ThinId};
pub use sharing::{Share, Sharing};
pub use superblock::Superblock;
pub use target::{InvalidLine, PoolMode, PoolStatus, PoolTable, Table, ThinStatus, ThinTable, Used, WorkingPool};
pub use udev::{SilentUdev, when_udev_is_silent};
pub use volume::ThinVolume;

/// Bytes of a sector, the unit of sizes in the device mapper.
pub const SECTOR: u64 = 512;

/// The metadata of a thin pool.
///
/// Nothing else may be writing to the metadata. If the pool is active, read a copy of a reserved metadata snapshot.
#[derive(Debug)]
pub struct ThinPool<'a> {
    blocks: Blocks<'a>,
    superblock: Superblock,
}

impl<'a> ThinPool<'a> {
    /// Reads the superblock of a pool whose metadata is in `metadata`, a file or a block device.
    ///
    /// # Errors
    /// [`PoolError`] if the superblock cannot be read, is damaged, or is not that of a thin pool.
    pub fn open(metadata: &'a File) -> Result<Self, PoolError> {
        let blocks = Blocks::open(metadata)?;
        let superblock = Superblock::read(&blocks)?;
        Ok(Self { blocks, superblock })
    }

    /// What the superblock says.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The thin devices that the pool has.
    #[must_use]
    pub fn devices(&self) -> Devices {
        devices::read(&self.blocks, &self.superblock)
    }

    /// The mapped blocks of a device, in the order of the device's blocks. Ends at once for a device without a tree.
    #[must_use]
    pub fn mappings(&self, device: &ThinDevice) -> Mappings<'_> {
        Mappings::new(&self.blocks, device.root)
    }

    /// Which blocks of the data only one device uses. Reads the mappings of all `devices`.
    #[must_use]
    pub fn sharing(&self, devices: &Devices) -> Sharing {
        sharing::count(self, devices)
    }
}
