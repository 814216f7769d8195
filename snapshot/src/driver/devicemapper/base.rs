//! The base device, of which all layers without a parent are snapshots: checked, made and grown.

use super::file_system::{FileSystem, UNKNOWN, Writing};
use super::live::Live;
use super::options::PoolOptions;
use super::protocol::Origin;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::devicemapper::{BASE, DeviceFile};

/// Bytes of a new base device, which every layer begins with.
const BASE_SIZE: u64 = 10 << 30;

impl Live {
    /// Whether there is a base device that is ready; an error if it is not the one of the records.
    pub(super) fn check_base(&self) -> Result<bool, StoreError> {
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
    pub(super) fn make_base_if_new(&self) -> Result<(), StoreError> {
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
        let options = PoolOptions::chosen();
        let kind = options.file_system.unwrap_or_else(FileSystem::choose);
        let mut set = self.records.device_set()?;
        set.file_system = kind.name().to_owned();
        self.records.write_device_set(&set)?;
        let mut base = self.protocol.create(BASE, &Origin::Empty { size: options.base_size.unwrap_or(BASE_SIZE) })?;
        self.with_active(BASE, &base, |path, device| {
            kind.make(path, &options.make_arguments).map_err(StoreError::io(path, "making a file system on"))?;
            device.sync_all().map_err(StoreError::io(path, "syncing"))
        })?;
        base.initialized = true;
        self.records.write_device(BASE, &base)?;
        set.uuid = self.base_uuid(&base)?;
        set.next = self.protocol.last_number().next().into();
        self.records.write_device_set(&set)
    }

    /// Makes the base larger, if that was asked for (`deviceset.go: checkGrowBaseDeviceFS`). The file comes first, and a file
    /// system that has not followed yet, after a crash, grows the next time.
    pub(super) fn grow_base(&self) -> Result<(), StoreError> {
        let Some(size) = PoolOptions::chosen().base_size else { return Ok(()) };
        let mut base = self.records.existing(BASE)?;
        if size < base.size {
            return Err(self.invalid(format!("Base device size cannot be smaller than {}", base.size)));
        }
        if size > base.size {
            self.deactivate(BASE)?;
            base.size = size;
            self.records.write_device(BASE, &base)?;
        }
        let mounted = Dir::unnamed(self.mount(BASE, Writing::Here)?);
        let path = || self.records.home().join(BASE);
        let Some(top) = mounted.sub(".")? else { return Ok(()) };
        let kind = self.with_active(BASE, &base, |path, device| {
            FileSystem::detect(device).map_err(StoreError::io(path, "reading"))
        })?;
        let kind = kind.ok_or_else(|| self.invalid(format!("its base device {UNKNOWN}")))?;
        kind.grow(top.owned_fd()?, base.size).map_err(StoreError::io(path(), "growing the file system of"))?;
        top.sync_file_system()
    }

    fn base_uuid(&self, base: &DeviceFile) -> Result<String, StoreError> {
        let found = self.with_active(BASE, base, |path, device| {
            FileSystem::uuid(device).map_err(StoreError::io(path, "reading"))
        })?;
        found.ok_or_else(|| self.invalid(format!("its base device {UNKNOWN}")))
    }
}
