//! Which pool a store has, and how one of its own is made.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use dm::{DeviceName, DeviceNumber, LoopDevice, Mapper, PoolTable, SECTOR, Table, cancel_removal};
use rustix::fs::{FileType, Mode, OFlags, major, minor};

use super::options::PoolOptions;
use super::patience::PAUSE;
use super::pool::{DATA, METADATA};
use super::records::Records;
use super::trouble::check_parts;
use super::{NAME, lvm};
use crate::dir::Dir;
use crate::error::StoreError;

/// Bytes of the file that holds the data of a new pool; it takes up room only as it is written to. This and what follows
/// are dockerd's defaults (moby v20.10.24 `daemon/graphdriver/devmapper/deviceset.go: defaultDataLoopbackSize` and the
/// lines after it).
const DATA_SIZE: u64 = 100 << 30;

/// Bytes of the file that holds the metadata of a new pool.
const METADATA_SIZE: u64 = 2 << 30;

/// Bytes of a block of the data. A pool keeps the size that it was made with.
const BLOCK: u64 = 64 << 10;

/// Blocks free below which the kernel gives an event, which nobody waits for; dockerd's number.
const LOW_WATER: u64 = 32768;

/// How the names of the devices of a data-root begin (`deviceset.go: initDevmapper`).
pub(super) fn prefix(own: &Dir) -> Result<String, StoreError> {
    let stat = rustix::fs::fstat(own).map_err(StoreError::io(own.path(), "stat"))?;
    Ok(format!("docker-{}:{}-{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino))
}

/// The name of the pool, and whether it is made and taken down here.
pub(super) fn pool_name(own: &Dir) -> Result<(DeviceName, bool), StoreError> {
    let given = PoolOptions::chosen().thin_pool.clone();
    let given = if given.is_none() && has_lvm(own)? { Some(lvm::POOL.to_owned()) } else { given };
    let Some(given) = given else { return Ok((device_name(own, &prefix(own)?, "pool")?, true)) };
    let name = given.parse().map_err(|error: dm::InvalidName| StoreError::Invalid {
        path: own.path().to_path_buf(),
        reason: error.to_string(),
    })?;
    Ok((name, false))
}

/// Whether the pool is not in files of the data-root.
pub(super) fn is_elsewhere(own: &Dir) -> Result<bool, StoreError> {
    Ok(PoolOptions::chosen().devices.is_some() || !pool_name(own)?.1)
}

/// Whether LVM was set up for this store, or is to be.
fn has_lvm(own: &Dir) -> Result<bool, StoreError> {
    Ok(PoolOptions::chosen().lvm.is_some() || lvm::noted(own)?.is_some())
}

/// The name of the store's pool, if it is active and stays so.
pub(super) fn active_pool(mapper: &dyn Mapper, own: &Dir) -> Result<Option<DeviceName>, StoreError> {
    let (name, _) = pool_name(own)?;
    Ok(mapper.info(&name)?.map(|_| name))
}

pub(super) fn device_name(own: &Dir, prefix: &str, of: &str) -> Result<DeviceName, StoreError> {
    let invalid =
        |error: dm::InvalidName| StoreError::Invalid { path: own.path().to_path_buf(), reason: error.to_string() };
    format!("{prefix}-{of}").parse().map_err(invalid)
}

/// The number of a device that stays active; waits for one that is about to go.
pub(super) fn gone_or_staying(mapper: &dyn Mapper, name: &DeviceName) -> Result<Option<DeviceNumber>, StoreError> {
    const SHORT: Duration = Duration::from_millis(200);
    let start = Instant::now();
    loop {
        let Some(info) = mapper.info(name)? else { return Ok(None) };
        // What holds it is a container of ours that runs, or a process that is about to end.
        let stays = !info.is_being_removed || start.elapsed() > SHORT && info.open > 0 && cancel_removal(mapper, name)?;
        if stays {
            return Ok(Some(info.number));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Whether a pool that was let go of goes: the last device may take a moment.
pub(super) fn goes(mapper: &dyn Mapper, name: &DeviceName) -> Result<bool, StoreError> {
    const MOMENT: Duration = Duration::from_secs(5);
    let start = Instant::now();
    while mapper.info(name)?.is_some() {
        if start.elapsed() > MOMENT {
            return Ok(false);
        }
        std::thread::sleep(PAUSE);
    }
    Ok(true)
}

/// Makes the kernel's pool of two block devices.
fn make_pool_of_devices(
    mapper: &dyn Mapper,
    name: &DeviceName,
    (data, metadata): (&Path, &Path),
    block: Option<u64>,
) -> Result<DeviceNumber, StoreError> {
    let metadata_path = metadata;
    let open = |path: &Path| -> Result<(DeviceNumber, u64, File), StoreError> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::EXCL;
        let opened = rustix::fs::open(path, flags, Mode::empty()).map_err(StoreError::io(path, "opening"))?;
        let stat = rustix::fs::fstat(&opened).map_err(StoreError::io(path, "stat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::BlockDevice {
            return Err(StoreError::Invalid { path: path.to_path_buf(), reason: "not a block device".into() });
        }
        let end =
            rustix::fs::seek(&opened, rustix::fs::SeekFrom::End(0)).map_err(StoreError::io(path, "seeking in"))?;
        Ok((DeviceNumber::from(stat.st_rdev), end, opened.into()))
    };
    let ((data, length, held), (metadata, _, records)) = (open(data)?, open(metadata)?);
    let known = check_parts((metadata_path, &records), length, block)?;
    // The kernel wants both for itself.
    drop((held, records));
    let block = known.or(block).unwrap_or(BLOCK) / SECTOR;
    let features = vec!["skip_block_zeroing".to_owned()];
    let table = PoolTable { length: length / SECTOR, metadata, data, block, low_water: LOW_WATER, features };
    Ok(mapper.create(name, &Table::Pool(table))?)
}

/// Makes the kernel's pool of the two files, which are made if there are none.
pub(super) fn make_pool(
    mapper: &dyn Mapper,
    own: &Dir,
    records: &Records,
    name: &DeviceName,
) -> Result<DeviceNumber, StoreError> {
    let invalid = |reason: &str| StoreError::Invalid { path: own.path().to_path_buf(), reason: reason.into() };
    let options = PoolOptions::chosen();
    if let Some((data, metadata)) = &options.devices {
        return make_pool_of_devices(mapper, name, (data, metadata), options.block);
    }
    let dir = own.sub_or_create(NAME, 0o700)?;
    let lost = |missing: &str| StoreError::Invalid {
        path: dir.join(missing),
        reason: "missing: only one of the two files of its pool is there, and each is of no use without the other"
            .into(),
    };
    let sizes = [(DATA, options.data_size, DATA_SIZE), (METADATA, options.metadata_size, METADATA_SIZE)];
    let there = [dir.stat(METADATA)?.is_some(), dir.stat(DATA)?.is_some()];
    match there {
        [true, true] => {}
        [false, false] if records.devices()?.is_empty() => {
            for (file, size, usual) in sizes {
                let made = dir.write_new(file, b"", 0o600)?;
                made.set_len(size.unwrap_or(usual)).map_err(StoreError::io(dir.join(file), "truncating"))?;
            }
            dir.sync_file_system()?;
        }
        [false, false] => {
            return Err(invalid(
                "it has layers, but both files of its pool are missing: a pool on block devices, or made by LVM, has to be named",
            ));
        }
        [true, false] => return Err(lost(DATA)),
        [false, true] => return Err(lost(METADATA)),
    }
    let open = |file: &str| -> Result<File, StoreError> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&dir, file, flags, Mode::empty());
        let opened = opened.map(File::from).map_err(StoreError::io(dir.join(file), "opening"))?;
        if let Some(device) = dm::shown_by(&opened).map_err(StoreError::io("/sys/block", "reading"))? {
            let reason = format!("{} shows it, so another pool may be using it", device.display());
            return Err(StoreError::Invalid { path: dir.join(file), reason });
        }
        Ok(opened)
    };
    let there = open(DATA)?.metadata().map_err(StoreError::io(dir.join(DATA), "stat"))?.len();
    let known = check_parts((&dir.join(METADATA), &open(METADATA)?), there, options.block)?;
    let block = known.or(options.block).unwrap_or(BLOCK) / SECTOR;
    let attach = |file: &str| -> Result<LoopDevice, StoreError> {
        let opened = open(file)?;
        let wanted = sizes.iter().find(|(name, ..)| *name == file).and_then(|(_, size, _)| *size);
        let now = opened.metadata().map_err(StoreError::io(dir.join(file), "stat"))?.len();
        if let Some(size) = wanted.filter(|size| *size > now) {
            opened.set_len(size).map_err(StoreError::io(dir.join(file), "truncating"))?;
        }
        LoopDevice::attach(&opened).map_err(StoreError::io("/dev/loop-control", "making a loop device by"))
    };
    let (data, metadata) = (attach(DATA)?, attach(METADATA)?);
    let number = |device: &LoopDevice| device.number().map_err(StoreError::io(device.path(), "stat"));
    let length = dir.stat(DATA)?.map_or(0, |stat| stat.st_size.unsigned_abs()) / SECTOR;
    let table = PoolTable {
        length,
        metadata: number(&metadata)?,
        data: number(&data)?,
        block,
        low_water: LOW_WATER,
        features: vec!["skip_block_zeroing".to_owned()],
    };
    // The pool has the loop devices open from here on; they go with it.
    Ok(mapper.create(name, &Table::Pool(table))?)
}
