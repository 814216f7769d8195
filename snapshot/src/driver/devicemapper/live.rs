//! A pool that this process works with: set up in files of the data-root, and taken down again at the end.
//!
//! ```text
//! devicemapper/devicemapper/data, metadata    shown as loop devices, of which the kernel makes the pool
//! docker-<major>:<minor>-<inode>-pool         the pool, by the device and inode of `devicemapper/`
//! docker-<major>:<minor>-<inode>-<cache id>   a thin device, while somebody has it mounted
//! ```
//!
//! A device is mounted without a mount point and marked at once to be removed when it is closed. So it ends with the
//! last descriptor of its file system, also if this process is killed. What a kill leaves is the pool; the next writer
//! finds it by its name.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dm::{
    DeviceName, DeviceNumber, LoopDevice, Mapper, MapperError, PoolMode, PoolTable, Problem, Removal, SECTOR, Table,
    ThinTable, cancel_removal,
};
use rustix::fs::{Mode, OFlags, major, minor};

use super::NAME;
use super::file_system::{FileSystem, UNKNOWN, Writing};
use super::patience::{PATIENCE, PAUSE, while_busy};
use super::pool::{DATA, METADATA};
use super::protocol::{Origin, Protocol};
use super::records::Records;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::devicemapper::{BASE, DeviceFile};

/// Bytes of the file that holds the data of a new pool; it takes up room only as it is written to. This and what follows
/// are dockerd's defaults (moby v20.10.24 `daemon/graphdriver/devmapper/deviceset.go: defaultDataLoopbackSize` and the
/// lines after it).
const DATA_SIZE: u64 = 100 << 30;

/// Bytes of the file that holds the metadata of a new pool.
const METADATA_SIZE: u64 = 2 << 30;

/// Bytes of a new base device, which every layer begins with.
const BASE_SIZE: u64 = 10 << 30;

/// Sectors of a block of the data. A pool keeps the size that it was made with.
const BLOCK: u64 = 128;

/// Percent of the pool's blocks that must be free for a new device.
const MIN_FREE: u64 = 10;

/// Blocks free below which the kernel gives an event, which nobody waits for; dockerd's number.
const LOW_WATER: u64 = 32768;

/// A pool that is active.
#[derive(Debug)]
pub(super) struct Live {
    mapper: Arc<dyn Mapper>,
    records: Arc<Records>,
    own: Dir,
    prefix: String,
    number: DeviceNumber,
    pub(super) protocol: Protocol,
    /// Held from the moment a device is made active until it is mounted: nobody else may remove it meanwhile.
    activation: Mutex<()>,
    /// Whether the pool was found to be the one of the records. Before that nothing is written.
    is_ready: bool,
    /// Takes the pool down, after everything else.
    _pool: ActivePool,
}

/// Removes the pool from the kernel when it is dropped, as soon as no device of it is open any more.
#[derive(Debug)]
struct ActivePool {
    mapper: Arc<dyn Mapper>,
    name: DeviceName,
}

impl Drop for ActivePool {
    fn drop(&mut self) {
        // If it stays, reading says so, and the next writer takes it over.
        let _ = self.mapper.remove(&self.name, Removal::WhenClosed);
    }
}

/// How the names of the devices of a data-root begin (`deviceset.go: initDevmapper`).
pub(super) fn prefix(own: &Dir) -> Result<String, StoreError> {
    let stat = rustix::fs::fstat(own).map_err(StoreError::io(own.path(), "stat"))?;
    Ok(format!("docker-{}:{}-{}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino))
}

impl Live {
    /// Sets the pool up, or takes over the one that is active; makes it and its base device in a new data-root.
    pub(super) fn open(mapper: Arc<dyn Mapper>, own: &Dir, home: &Dir) -> Result<Self, StoreError> {
        let own = own.duplicate()?;
        let records = Arc::new(Records::new(home.duplicate()?));
        let prefix = prefix(&own)?;
        let name = device_name(&own, &prefix, "pool")?;
        let number = match gone_or_staying(&*mapper, &name)? {
            Some(number) => number,
            None => make_pool(&*mapper, &own, &records, &name)?,
        };
        let pool = ActivePool { mapper: Arc::clone(&mapper), name: name.clone() };
        let protocol = Protocol::new(Arc::clone(&mapper), name, Arc::clone(&records));
        let activation = Mutex::new(());
        let mut live =
            Self { mapper, records, own, prefix, number, protocol, activation, is_ready: false, _pool: pool };
        // In another pool, a change that seems to be open is about another device.
        let has_base = live.check_base()?;
        live.protocol.recover()?;
        live.is_ready = true;
        if !has_base {
            live.make_base_if_new()?;
        }
        Ok(live)
    }

    fn invalid(&self, reason: String) -> StoreError {
        StoreError::Invalid { path: self.own.path().to_path_buf(), reason }
    }

    /// The name of a device while it is active.
    pub(super) fn name(&self, of: &str) -> Result<DeviceName, StoreError> {
        device_name(&self.own, &self.prefix, of)
    }

    /// What is to be told of an error while a layer was written: that the pool is full, if it is, else the error. The
    /// kernel only says that an input or output has failed.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        match self.protocol.status() {
            Ok(pool) if pool.mode != PoolMode::ReadWrite || pool.data.free() == 0 => self.invalid(format!(
                "its pool is full: {} of {} blocks of data and {} of {} of metadata are in use ({error})",
                pool.data.used, pool.data.total, pool.metadata.used, pool.metadata.total
            )),
            _ => error,
        }
    }

    /// Checks that the pool still takes what is written: what it did not take is lost when a file system is unmounted, and
    /// no later call fails for it.
    pub(super) fn check_taken(&self) -> Result<(), StoreError> {
        match self.protocol.status()?.mode {
            PoolMode::ReadWrite => Ok(()),
            mode => Err(self.invalid(format!("the pool is in the mode {mode}"))),
        }
    }

    /// Makes the device of a layer: a snapshot of `parent`'s, or of the base.
    pub(super) fn make_layer(&self, id: &str, parent: Option<&str>) -> Result<(), StoreError> {
        let from = parent.unwrap_or(BASE);
        let file = self.records.existing(from)?;
        if file.deleted {
            return Err(StoreError::Invalid { path: self.records.home().join(from), reason: "missing".into() });
        }
        let pool = self.protocol.status()?;
        for (what, used) in [("data", pool.data), ("metadata", pool.metadata)] {
            let wanted = (used.total * MIN_FREE / 100).max(1);
            if used.free() < wanted {
                return Err(self.invalid(format!(
                    "its pool has {} free blocks of {what}, of {}; a new layer needs {wanted} ({MIN_FREE} %), so that the pool does \
                     not fill up while it is written",
                    used.free(),
                    used.total
                )));
            }
        }
        let active = self.name(from)?;
        self.protocol.create(id, &Origin::Device { file: &file, active: &active }).map(drop)
    }

    /// Mounts the file system of a device without a mount point.
    pub(super) fn mount(&self, of: &str, writing: Writing) -> Result<OwnedFd, StoreError> {
        let file = self.records.existing(of)?;
        self.with_active(of, &file, |path, device| {
            let kind = FileSystem::detect(device).map_err(StoreError::io(path, "reading"))?;
            let kind = kind.ok_or_else(|| self.invalid(format!("device {} {UNKNOWN}", file.id)))?;
            kind.mount(path, writing).map_err(StoreError::io(path, "mounting the file system of a layer from"))
        })
    }

    /// Makes a device active, uses it, and lets it go as soon as it is closed.
    fn with_active<T>(
        &self,
        of: &str,
        file: &DeviceFile,
        use_it: impl FnOnce(&Path, &File) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _alone = self.activation.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.name(of)?;
        let id = self.records.thin_id(of, file)?;
        let table = Table::Thin(ThinTable { length: file.size / SECTOR, pool: self.number, id });
        let number = self.activate(&name, &table)?;
        let opened = self.mapper.open(number);
        let used = match opened {
            Ok((path, device)) => use_it(&path, &device),
            Err(error) => Err(StoreError::io(format!("/dev/dm-{}", number.minor), "opening")(error)),
        };
        let let_go = self.mapper.remove(&name, Removal::WhenClosed);
        let used = used?;
        let_go?;
        Ok(used)
    }

    fn activate(&self, name: &DeviceName, table: &Table) -> Result<DeviceNumber, MapperError> {
        while_busy(|| match self.mapper.info(name)? {
            Some(info) if !info.is_being_removed || cancel_removal(&*self.mapper, name).unwrap_or(false) => {
                Ok(info.number)
            }
            // It is busy as long as one of that name is going.
            _ => self.mapper.create(name, table),
        })
    }

    /// Removes the device of a layer, with its content. Does nothing if there is none.
    pub(super) fn remove(&self, id: &str) -> Result<(), StoreError> {
        let Some(file) = self.records.device(id)? else { return Ok(()) };
        self.deactivate(id)?;
        // The blocks that no other device has go back to the file system that holds the pool's file. dockerd does so,
        // too, and passes over a pool that cannot do that.
        let discarded = self.with_active(id, &file, |path, device| {
            dm::discard(device, file.size).map_err(StoreError::io(path, "discarding"))
        });
        if let Err(error) = discarded
            && !matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::Unsupported)
            && !matches!(&error, StoreError::Mapper(MapperError { problem: Problem::NoThinDevice, .. }))
        {
            return Err(error);
        }
        self.deactivate(id)?;
        self.protocol.delete(id, &file)
    }

    /// Removes an active device from the kernel; an error if somebody has it open.
    fn deactivate(&self, of: &str) -> Result<(), StoreError> {
        const OPEN: Duration = Duration::from_secs(1);
        let _alone = self.activation.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.name(of)?;
        let start = Instant::now();
        let is_gone = while_busy(|| match self.mapper.info(&name)? {
            Some(info) if info.open > 0 && start.elapsed() > OPEN => Ok(false),
            _ => self.mapper.remove(&name, Removal::Now).map(|()| true),
        })?;
        if is_gone {
            return Ok(());
        }
        let reason = format!("its device {name} is mounted; stop what uses it first");
        Err(StoreError::Invalid { path: self.records.home().join(of), reason })
    }

    /// Whether there is a base device that is ready; an error if it is not the one of the records.
    fn check_base(&self) -> Result<bool, StoreError> {
        let base = self.records.device(BASE)?.filter(|base| base.initialized && !base.deleted);
        let Some(base) = base else { return Ok(false) };
        let known = self.records.device_set()?.uuid;
        let found = self.base_uuid(&base)?;
        if known.is_empty() || found == known {
            return Ok(true);
        }
        let reason = format!("the file system of the base has the UUID {found}, not {known}: this is another pool");
        Err(StoreError::Invalid { path: self.records.home().join(BASE), reason })
    }

    /// Makes the base device of a new pool; an error if the pool is in use.
    fn make_base_if_new(&self) -> Result<(), StoreError> {
        let path = || self.records.home().join(BASE);
        let base = self.records.device(BASE)?;
        let others = self.records.devices()?.keys().any(|name| name != BASE);
        let pool = self.protocol.status()?;
        if others || base.is_none() && (pool.transaction > 0 || pool.data.used > 0) {
            let reason =
                "the base of all layers is missing, but the pool is in use. A new one would not fit the layers";
            return Err(StoreError::Invalid { path: path(), reason: reason.into() });
        }
        if let Some(unfinished) = base {
            self.deactivate(BASE)?;
            self.protocol.delete(BASE, &unfinished)?;
        }
        self.make_base()
    }

    /// In dockerd's order: the kind of file system, the device, its file system, that it is ready, its UUID
    /// (`deviceset.go: setupBaseImage, createBaseImage`).
    fn make_base(&self) -> Result<(), StoreError> {
        let kind = FileSystem::choose();
        let mut set = self.records.device_set()?;
        set.file_system = kind.name().to_owned();
        self.records.write_device_set(&set)?;
        let mut base = self.protocol.create(BASE, &Origin::Empty { size: BASE_SIZE })?;
        self.with_active(BASE, &base, |path, device| {
            kind.make(path).map_err(StoreError::io(path, "making a file system on"))?;
            device.sync_all().map_err(StoreError::io(path, "syncing"))
        })?;
        base.initialized = true;
        self.records.write_device(BASE, &base)?;
        set.uuid = self.base_uuid(&base)?;
        set.next = self.protocol.last_number().next().into();
        self.records.write_device_set(&set)
    }

    fn base_uuid(&self, base: &DeviceFile) -> Result<String, StoreError> {
        let found = self.with_active(BASE, base, |path, device| {
            FileSystem::uuid(device).map_err(StoreError::io(path, "reading"))
        })?;
        found.ok_or_else(|| self.invalid(format!("its base device {UNKNOWN}")))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.is_ready {
            return;
        }
        // As dockerd does when it is shut down. The number is only a hint, so a failure does no harm.
        if let Ok(mut set) = self.records.device_set() {
            let next = self.protocol.last_number().next().into();
            if set.next != next {
                set.next = next;
                let _ = self.records.write_device_set(&set);
            }
        }
    }
}

fn device_name(own: &Dir, prefix: &str, of: &str) -> Result<DeviceName, StoreError> {
    let invalid =
        |error: dm::InvalidName| StoreError::Invalid { path: own.path().to_path_buf(), reason: error.to_string() };
    format!("{prefix}-{of}").parse().map_err(invalid)
}

/// The number of a device that stays active; waits for one that is about to go.
fn gone_or_staying(mapper: &dyn Mapper, name: &DeviceName) -> Result<Option<DeviceNumber>, StoreError> {
    let start = Instant::now();
    loop {
        let Some(info) = mapper.info(name)? else { return Ok(None) };
        let stays = !info.is_being_removed || start.elapsed() > PATIENCE && cancel_removal(mapper, name)?;
        if stays {
            return Ok(Some(info.number));
        }
        std::thread::sleep(PAUSE);
    }
}

/// Makes the kernel's pool of the two files, which are made if there are none.
fn make_pool(mapper: &dyn Mapper, own: &Dir, records: &Records, name: &DeviceName) -> Result<DeviceNumber, StoreError> {
    let invalid = |reason: &str| StoreError::Invalid { path: own.path().to_path_buf(), reason: reason.into() };
    let dir = own.sub_or_create(NAME, 0o700)?;
    let there = [dir.stat(METADATA)?.is_some(), dir.stat(DATA)?.is_some()];
    match there {
        [true, true] => {}
        [false, false] if records.devices()?.is_empty() => {
            for (file, size) in [(DATA, DATA_SIZE), (METADATA, METADATA_SIZE)] {
                let made = dir.write_new(file, b"", 0o600)?;
                made.set_len(size).map_err(StoreError::io(dir.join(file), "truncating"))?;
            }
            dir.sync_file_system()?;
        }
        [false, false] => {
            return Err(invalid(
                "it has devices, but its pool is not in files here: layers on block devices are only read",
            ));
        }
        _ => return Err(invalid("only one of the two files of its pool is there, so the pool is lost")),
    }
    let attach = |file: &str| -> Result<LoopDevice, StoreError> {
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&dir, file, flags, Mode::empty());
        let opened = File::from(opened.map_err(StoreError::io(dir.join(file), "opening"))?);
        if let Some(device) = dm::shown_by(&opened).map_err(StoreError::io("/sys/block", "reading"))? {
            let reason = format!("{} shows it, so another pool may be using it", device.display());
            return Err(StoreError::Invalid { path: dir.join(file), reason });
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
        block: BLOCK,
        low_water: LOW_WATER,
        features: vec!["skip_block_zeroing".to_owned()],
    };
    // The pool has the loop devices open from here on; they go with it.
    Ok(mapper.create(name, &Table::Pool(table))?)
}
