//! Which layers and containers hold the blocks of a thin pool.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;

use dm::{Details, MetadataDamage, Share, Superblock};

use crate::driver::{DeviceMapper, InactivePool};
use crate::error::StoreError;
use crate::schema::devicemapper::DeviceFile;

/// A thin pool and its devices.
#[derive(Debug)]
pub struct PoolUsage {
    /// What the pool says of itself.
    pub superblock: Superblock,
    /// Bytes of the file that holds the data, and how many of them the file system has allocated; `None` for a block
    /// device.
    pub data_file: Option<(u64, u64)>,
    /// The devices by their numbers, those that only a file names included.
    pub devices: BTreeMap<u64, PoolDevice>,
    /// Blocks of the data that at least one device uses.
    pub mapped: u64,
    /// Parts of the pool's own lists that are lost; the keys are numbers of devices.
    pub lost: Vec<MetadataDamage>,
}

/// One device of a pool.
#[derive(Debug, Default)]
pub struct PoolDevice {
    /// The files that name it, by the cache ids that are their names. There should be one.
    pub files: BTreeMap<String, DeviceFile>,
    /// Whether the pool has it.
    pub exists: bool,
    /// What the pool notes about it; `None` if that is lost.
    pub details: Option<Details>,
    /// Its blocks.
    pub share: Share,
}

impl PoolUsage {
    /// Reads a whole pool. `driver` says which layer each device holds; without it, the devices have only numbers.
    ///
    /// # Errors
    /// [`StoreError`], also for a file of a layer that cannot be decoded.
    pub fn read(pool: &InactivePool, driver: Option<&DeviceMapper>) -> Result<Self, StoreError> {
        let thin = pool.thin()?;
        let found = thin.devices();
        let mut sharing = thin.sharing(&found);
        let mut devices: BTreeMap<u64, PoolDevice> = BTreeMap::new();
        for (id, device) in &found.by_id {
            let share = sharing.by_device.remove(id).unwrap_or_default();
            let files = BTreeMap::new();
            devices.insert(*id, PoolDevice { files, exists: true, details: device.details, share });
        }
        for (name, file) in driver.map(DeviceMapper::files).transpose()?.unwrap_or_default() {
            if let Some(id) = file.thin_id() {
                devices.entry(id.into()).or_default().files.insert(name, file);
            }
        }
        let mut lost = found.lost_mappings;
        lost.extend(found.lost_details);
        let data_file = allocated(pool.data()).map_err(StoreError::io(pool.data_path(), "stat"))?;
        Ok(Self { superblock: thin.superblock().clone(), data_file, devices, mapped: sharing.mapped, lost })
    }
}

/// Bytes of a file, and how many are allocated.
fn allocated(file: &File) -> std::io::Result<Option<(u64, u64)>> {
    /// Bytes in which `st_blocks` counts.
    const UNIT: u64 = 512;
    let found = file.metadata()?;
    Ok(found.is_file().then(|| (found.len(), found.blocks() * UNIT)))
}
