//! The room of a pool in files: what the sparse file wastes is given back, and both files grow.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use dm::{Mapper, SECTOR, Table, ThinId, ThinPool};
use rustix::fs::{FallocateFlags, Mode, OFlags, SeekFrom, fallocate, seek};
use rustix::io::Errno;

use super::pool::{DATA, METADATA};
use super::setup::{self, active_pool};
use super::{DeviceMapper, NAME};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::devicemapper::BASE;

/// Bytes in which `st_blocks` counts.
const UNIT: u64 = 512;

/// The largest metadata that the kernel can use (`drivers/md/dm-thin-metadata.h: THIN_METADATA_MAX_SECTORS`), rounded up.
const MOST_METADATA: u64 = 16 << 30;

/// What a trim has given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Bytes that the data's file had allocated, and that it has now.
    pub allocated: (u64, u64),
    /// Bytes in use in the pool before and after.
    pub used: (u64, u64),
    /// Devices that no file named, and that are gone.
    pub devices: u64,
    /// File systems of layers that have given back what they do not use.
    pub file_systems: u64,
}

/// A file of a pool that has grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grown {
    /// Bytes before and now.
    pub size: (u64, u64),
    /// Whether the pool was active, and has taken the new size at once.
    pub is_active: bool,
}

fn files(own: &Dir) -> Result<Dir, StoreError> {
    let missing = || StoreError::Invalid {
        path: own.path().to_path_buf(),
        reason: "its pool is not in files here: the volumes of a pool on block devices are LVM's to grow and to trim"
            .into(),
    };
    let dir = own.sub(NAME)?.ok_or_else(missing)?;
    if dir.stat(METADATA)?.is_none() || dir.stat(DATA)?.is_none() {
        return Err(missing());
    }
    Ok(dir)
}

fn open(dir: &Dir, name: &str) -> Result<File, StoreError> {
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty());
    Ok(File::from(opened.map_err(StoreError::io(dir.join(name), "opening"))?))
}

/// The loop device that shows a file of the pool.
fn shown(dir: &Dir, name: &str) -> Result<Option<PathBuf>, StoreError> {
    dm::shown_by(&open(dir, name)?).map_err(StoreError::io("/sys/block", "reading"))
}

impl DeviceMapper {
    /// Gives back to the file system of the data-root what the file of the pool's data has allocated and the pool does not
    /// use; before that, to the pool what the file systems of layers do not use. Needs a writer; the pool must not be
    /// active otherwise.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is given back of a pool whose metadata is damaged.
    pub fn trim(&self) -> Result<Trimmed, StoreError> {
        let dir = files(&self.0.own)?;
        let before = self.sizes(&dir)?;
        let unnamed = self.unnamed()?;
        let (mut devices, mut file_systems) = (0, 0);
        let pool = self.0.pool()?;
        for id in unnamed {
            devices += u64::from(pool.protocol.delete_unnamed(id)?);
        }
        for (name, file) in self.0.records.devices()? {
            // The base has nothing that was deleted, and each mount writes to it.
            if name != BASE && !file.deleted {
                file_systems += u64::from(pool.trim(&name)?);
            }
        }
        drop(pool);
        self.0.let_go();
        // What devices had been deleted left in the file before that, and what the kernel did not pass on.
        self.punch(&dir)?;
        let after = self.sizes(&dir)?;
        Ok(Trimmed { allocated: (before.0, after.0), used: (before.1, after.1), devices, file_systems })
    }

    /// Devices of the pool, which is not active, that no file names: a power cut, or a daemon, has left them. None if parts of the
    /// pool's lists are lost.
    fn unnamed(&self) -> Result<Vec<ThinId>, StoreError> {
        let inactive = self.pool()?;
        let devices = match inactive.thin() {
            Ok(pool) => pool.devices(),
            // A new pool.
            Err(_) => return Ok(Vec::new()),
        };
        if !devices.lost_mappings.is_empty() || !devices.lost_details.is_empty() {
            return Ok(Vec::new());
        }
        let named = self.0.records.ids()?;
        let ids = devices.by_id.into_keys().filter_map(ThinId::new);
        Ok(ids.filter(|id| !named.contains(id)).collect())
    }

    /// Bytes that the data's file has allocated, and bytes in use in the pool.
    fn sizes(&self, dir: &Dir) -> Result<(u64, u64), StoreError> {
        let metadata = open(dir, METADATA)?;
        let pool = ThinPool::open(&metadata).map_err(|source| StoreError::Pool { path: dir.join(METADATA), source })?;
        let superblock = pool.superblock();
        let found = open(dir, DATA)?.metadata().map_err(StoreError::io(dir.join(DATA), "stat"))?;
        Ok((found.blocks() * UNIT, superblock.data_used.saturating_mul(superblock.block_size)))
    }

    /// Makes holes in the data's file where no device has a block.
    fn punch(&self, dir: &Dir) -> Result<(), StoreError> {
        let invalid = |reason: String| StoreError::Invalid { path: dir.join(METADATA), reason };
        let prefix = setup::prefix(&self.0.own)?;
        let name = setup::device_name(&self.0.own, &prefix, "pool")?;
        if let Some(writer) = &self.0.writer
            && !setup::goes(&*writer.mapper, &name)?
        {
            return Err(invalid("its pool is active; stop the containers that use it".into()));
        }
        let inactive = self.pool()?;
        let pool = inactive.thin()?;
        if pool.superblock().needs_check {
            return Err(invalid("the kernel asks for a check of the pool: thin_check does it".into()));
        }
        let devices = pool.devices();
        if let Some(lost) = devices.lost_mappings.first().or(devices.lost_details.first()) {
            return Err(invalid(format!("nothing is given back, for devices may be lost: {lost}")));
        }
        let mut used: Vec<(u64, u64)> = Vec::new();
        for device in devices.by_id.values() {
            for run in pool.mappings(device) {
                let run =
                    run.map_err(|lost| invalid(format!("nothing is given back, for blocks may be lost: {lost}")))?;
                used.push((run.data, run.data.saturating_add(run.length)));
            }
        }
        used.sort_unstable();
        let block = pool.superblock().block_size;
        let data = open(dir, DATA)?;
        let end = data.metadata().map_err(StoreError::io(dir.join(DATA), "stat"))?.len();
        let mut from = 0;
        for (first, last) in used.into_iter().chain([(end / block, end / block)]) {
            let until = first.saturating_mul(block).min(end);
            if until > from {
                make_hole(&data, from, until).map_err(StoreError::io(dir.join(DATA), "making holes in"))?;
            }
            from = from.max(last.saturating_mul(block));
        }
        data.sync_all().map_err(StoreError::io(dir.join(DATA), "syncing"))
    }

    /// Lets the pool's files grow to so many bytes; also while the pool is active, even by a daemon.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] for a size that is not greater: a pool never shrinks.
    pub fn grow(&self, data: Option<u64>, metadata: Option<u64>) -> Result<[Option<Grown>; 2], StoreError> {
        let dir = files(&self.0.own)?;
        let mapper = super::kernel()?;
        let active = match &mapper {
            Some(mapper) => active_pool(mapper, &self.0.own)?,
            None => None,
        };
        let mut grown = [None; 2];
        let wanted = [(DATA, data), (METADATA, metadata)];
        // Both sizes are looked at before one file is changed.
        for (name, size) in wanted {
            let Some(size) = size else { continue };
            let now = open(&dir, name)?.metadata().map_err(StoreError::io(dir.join(name), "stat"))?.len();
            let invalid = |reason: String| StoreError::Invalid { path: dir.join(name), reason };
            if size <= now {
                return Err(invalid(format!("it has {now} bytes, and {size} are no more: a pool only grows")));
            }
            if active.is_some() && shown(&dir, name)?.is_none() {
                // A table that is larger than its device would leave the pool suspended.
                return Err(invalid("its pool is active, but no loop device is found that shows it".into()));
            }
            if name == METADATA && size > MOST_METADATA {
                return Err(invalid(format!("the kernel uses no more than {MOST_METADATA} bytes of metadata")));
            }
        }
        for (at, (name, size)) in wanted.into_iter().enumerate() {
            let Some(size) = size.map(|size| size.next_multiple_of(1 << 20)) else { continue };
            let failed = |call: &'static str| StoreError::io(dir.join(name), call);
            let file = open(&dir, name)?;
            let before = file.metadata().map_err(failed("stat"))?.len();
            file.set_len(size).map_err(failed("truncating"))?;
            file.sync_all().map_err(failed("syncing"))?;
            if active.is_some()
                && let Some(path) = shown(&dir, name)?
            {
                let device =
                    File::options().read(true).write(true).open(&path).map_err(StoreError::io(&path, "opening"))?;
                dm::read_size_again(&device).map_err(StoreError::io(&path, "growing"))?;
            }
            grown[at] = Some(Grown { size: (before, size), is_active: active.is_some() });
        }
        if let (Some(mapper), Some(name)) = (&mapper, active) {
            let Table::Pool(mut table) = mapper.table(&name)? else {
                let reason = format!("the device {name} is no thin pool");
                return Err(StoreError::Invalid { path: dir.path().to_path_buf(), reason });
            };
            if let Some(grown) = &grown[0] {
                table.length = grown.size.1 / SECTOR;
            }
            // The kernel looks at the size of the metadata's device whenever the pool is resumed.
            mapper.reload(&name, &Table::Pool(table))?;
        }
        Ok(grown)
    }
}

/// Makes a hole, but only where there is something: a call for each gap of a large pool would take long.
fn make_hole(file: &File, from: u64, until: u64) -> Result<(), Errno> {
    let start = match seek(file.as_fd(), SeekFrom::Data(from)) {
        Ok(start) if start < until => start,
        // There is nothing from there to the end of the file, or to the end of the gap.
        Ok(_) | Err(Errno::NXIO) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let start = start.max(from);
    fallocate(file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, start, until - start)
}
