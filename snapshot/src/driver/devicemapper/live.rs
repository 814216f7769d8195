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
    DeviceName, DeviceNumber, Mapper, MapperError, Problem, Removal, SECTOR, Table, ThinTable, Used, cancel_removal,
};

use super::file_system::{FileSystem, UNKNOWN, Writing};
use super::lvm;
use super::options::PoolOptions;
use super::patience::while_busy;
use super::protocol::{Origin, Protocol};
use super::records::Records;
use super::setup::{active_pool, device_name, gone_or_staying, make_pool, pool_name, prefix};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::devicemapper::{BASE, DeviceFile};

/// Percent of the pool's blocks that must be free for a new device.
const MIN_FREE: u64 = 10;

/// A pool that is active.
#[derive(Debug)]
pub(super) struct Live {
    mapper: Arc<dyn Mapper>,
    pub(super) records: Arc<Records>,
    own: Dir,
    prefix: String,
    number: DeviceNumber,
    pub(super) protocol: Protocol,
    /// Held from the moment a device is made active until it is mounted: nobody else may remove it meanwhile.
    activation: Mutex<()>,
    /// Whether the pool was found to be the one of the records. Before that nothing is written.
    is_ready: bool,
    /// Takes the pool down, after everything else; `None` for a pool that others have set up.
    pool: Option<ActivePool>,
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

impl Live {
    /// Sets the pool up, or takes over the one that is active; makes it and its base device in a new data-root.
    pub(super) fn open(mapper: Arc<dyn Mapper>, own: &Dir, home: &Dir) -> Result<Self, StoreError> {
        let own = own.duplicate()?;
        let records = Arc::new(Records::new(home.duplicate()?));
        lvm::set_up_if_new(&own)?;
        let (name, is_ours) = pool_name(&own)?;
        let number = match gone_or_staying(&*mapper, &name)? {
            Some(number) => number,
            None if is_ours => make_pool(&*mapper, &own, &records, &name)?,
            None => {
                let how = if name.as_str() == lvm::POOL { " (`vgchange -ay docker` makes it active)" } else { "" };
                let reason = format!("its pool {name} is not active; it was not set up here{how}");
                return Err(StoreError::Invalid { path: own.path().to_path_buf(), reason });
            }
        };
        let pool = is_ours.then(|| ActivePool { mapper: Arc::clone(&mapper), name: name.clone() });
        let mut live = Self::over(mapper, own, records, (name, number), pool)?;
        live.protocol.status()?;
        // In another pool, a change that seems to be open is about another device.
        let has_base = live.check_base()?;
        live.protocol.recover()?;
        live.is_ready = true;
        if !has_base {
            live.make_base_if_new()?;
        }
        live.grow_base()?;
        Ok(live)
    }

    /// Looks into a pool that is active, to read layers; `None` if it is not. Nothing is recovered and no record is
    /// written, since a writer may be at work.
    pub(super) fn join(mapper: Arc<dyn Mapper>, own: &Dir, home: &Dir) -> Result<Option<Self>, StoreError> {
        let Some(name) = active_pool(&*mapper, own)? else { return Ok(None) };
        let Some(info) = mapper.info(&name)? else { return Ok(None) };
        let records = Arc::new(Records::new(home.duplicate()?));
        let live = Self::over(mapper, own.duplicate()?, records, (name, info.number), None)?;
        // The kernel only says of a failed pool that something is invalid.
        live.protocol.status()?;
        live.check_base()?;
        Ok(Some(live))
    }

    fn over(
        mapper: Arc<dyn Mapper>,
        own: Dir,
        records: Arc<Records>,
        (name, number): (DeviceName, DeviceNumber),
        pool: Option<ActivePool>,
    ) -> Result<Self, StoreError> {
        let prefix = prefix(&own)?;
        match mapper.table(&name) {
            Ok(Table::Pool(_)) => {}
            // A target of another kind has a table that is not known here.
            Ok(Table::Thin(_)) | Err(MapperError { problem: Problem::Answer, .. }) => {
                let reason = format!("the device {name} is no thin pool");
                return Err(StoreError::Invalid { path: own.path().to_path_buf(), reason });
            }
            Err(error) => return Err(error.into()),
        }
        let protocol = Protocol::new(Arc::clone(&mapper), name, Arc::clone(&records));
        let activation = Mutex::new(());
        Ok(Self { mapper, records, own, prefix, number, protocol, activation, is_ready: false, pool })
    }

    /// The free bytes of the pool, without those that must stay free.
    pub(super) fn free(&self) -> Result<u64, StoreError> {
        let data = self.protocol.status()?.data;
        let Table::Pool(table) = self.mapper.table(self.protocol.pool())? else { return Ok(0) };
        Ok(data.free().saturating_sub(least_free(data)).saturating_mul(table.block).saturating_mul(SECTOR))
    }

    pub(super) fn invalid(&self, reason: String) -> StoreError {
        StoreError::Invalid { path: self.own.path().to_path_buf(), reason }
    }

    /// The name of a device while it is active.
    pub(super) fn name(&self, of: &str) -> Result<DeviceName, StoreError> {
        device_name(&self.own, &self.prefix, of)
    }

    /// What is to be told of an error while a layer was written: what is wrong with the pool, if anything is, else the error. The
    /// kernel only says that an input or output has failed.
    pub(super) fn explain(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Io { .. } | StoreError::Mapper(_) => self.protocol.trouble().unwrap_or(error),
            other => other,
        }
    }

    /// Checks that the pool still takes what is written: what it did not take is lost when a file system is unmounted, and
    /// no later call fails for it.
    pub(super) fn check_taken(&self) -> Result<(), StoreError> {
        self.protocol.writable_status().map(drop)
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
            let wanted = least_free(used);
            if used.free() < wanted {
                let percent = min_free();
                return Err(self.invalid(format!(
                    "its pool has {} free blocks of {what}, of {}; a new layer needs {wanted} ({percent} %), so that the pool does \
                     not fill up while it is written",
                    used.free(),
                    used.total
                )));
            }
        }
        let active = self.name(from)?;
        let made = self.protocol.create(id, &Origin::Device { file: &file, active: &active });
        made.map(drop).map_err(|error| self.explain(error))
    }

    /// Mounts the file system of a device without a mount point.
    pub(super) fn mount(&self, of: &str, writing: Writing) -> Result<OwnedFd, StoreError> {
        let file = self.records.existing(of)?;
        let mounted = self.with_active(of, &file, |path, device| {
            let kind = FileSystem::detect(device).map_err(StoreError::io(path, "reading"))?;
            let kind = kind.ok_or_else(|| self.invalid(format!("device {} {UNKNOWN}", file.id)))?;
            let mounted =
                kind.mount(path, writing).map_err(StoreError::io(path, "mounting the file system of a layer from"))?;
            if let (Some(retries), FileSystem::Xfs) = (&PoolOptions::chosen().xfs_retries, kind) {
                let name = path.file_name().unwrap_or_default().display();
                let setting = format!("/sys/fs/xfs/{name}/error/metadata/ENOSPC/max_retries");
                std::fs::write(&setting, retries).map_err(StoreError::io(&setting, "writing"))?;
            }
            Ok(mounted)
        });
        mounted.map_err(|error| self.explain(error))
    }

    /// Has the file system of a device give back to the pool what it does not use. Returns whether it can do that.
    pub(super) fn trim(&self, of: &str) -> Result<bool, StoreError> {
        let mounted = Dir::unnamed(self.mount(of, Writing::Here)?);
        // The descriptor of the mount itself is an `O_PATH` one, of which nothing can be asked.
        let Some(content) = mounted.sub(".")? else { return Ok(false) };
        match dm::trim(content.owned_fd()?) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => Ok(false),
            Err(error) => Err(StoreError::io(self.records.home().join(of), "trimming the file system of")(error)),
        }
    }

    /// Makes a device active, uses it, and lets it go as soon as it is closed.
    pub(super) fn with_active<T>(
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
        // Of a pool on block devices that takes long and gives nobody anything, so there it has to be asked for.
        let discards =
            PoolOptions::chosen().discard.unwrap_or(self.pool.is_some() && PoolOptions::chosen().devices.is_none());
        let discarded = if discards {
            self.with_active(id, &file, |path, device| {
                dm::discard(device, file.size).map_err(StoreError::io(path, "discarding"))
            })
        } else {
            Ok(())
        };
        if let Err(error) = discarded
            && !matches!(&error, StoreError::Io { source, .. } if source.kind() == std::io::ErrorKind::Unsupported)
            && !matches!(&error, StoreError::Mapper(MapperError { problem: Problem::NoThinDevice, .. }))
        {
            return Err(error);
        }
        self.deactivate(id)?;
        self.protocol.delete(id, &file).map_err(|error| self.explain(error))
    }

    /// Removes an active device from the kernel; an error if somebody has it open.
    pub(super) fn deactivate(&self, of: &str) -> Result<(), StoreError> {
        const OPEN: Duration = Duration::from_secs(1);
        let _alone = self.activation.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.name(of)?;
        let start = Instant::now();
        let held = while_busy(|| match self.mapper.info(&name)? {
            Some(info) if info.open > 0 && start.elapsed() > OPEN => Ok(info.open),
            _ => self.mapper.remove(&name, Removal::Now).map(|()| 0),
        })?;
        if held == 0 {
            return Ok(());
        }
        let times = if held == 1 { "once".to_owned() } else { format!("{held} times") };
        let reason = format!("its device {name} is mounted or open otherwise, {times}; stop what uses it first");
        Err(StoreError::Invalid { path: self.records.home().join(of), reason })
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

/// Percent of a pool's blocks that must be free for a new device.
fn min_free() -> u64 {
    PoolOptions::chosen().min_free.unwrap_or(MIN_FREE)
}

fn least_free(used: Used) -> u64 {
    // With 0 percent, nothing is looked at, as in dockerd.
    let percent = min_free();
    if percent == 0 { 0 } else { (used.total.saturating_mul(percent) / 100).max(1) }
}
