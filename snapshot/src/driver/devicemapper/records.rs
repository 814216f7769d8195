//! The driver's records: read, and written durably.

use std::collections::{BTreeMap, BTreeSet};

use dm::ThinId;

use super::NAME;
use crate::dir::Dir;
use crate::driver::HomeLayout;
use crate::error::StoreError;
use crate::schema::devicemapper::{
    BASE, DEVICE_SET, DeviceFile, DeviceSetFile, MAX_DEVICE, TRANSACTION, TransactionFile, encode,
};
use crate::schema::gojson::{self, Decode};

/// `devicemapper/metadata`.
#[derive(Debug)]
pub(super) struct Records(Dir);

impl Records {
    pub(super) fn new(home: Dir) -> Self {
        Self(home)
    }

    /// The directory itself.
    pub(super) fn home(&self) -> &Dir {
        &self.0
    }

    fn invalid(&self, name: &str, reason: String) -> StoreError {
        StoreError::Invalid { path: self.0.join(name), reason }
    }

    fn read<T: Decode>(&self, name: &str) -> Result<Option<T>, StoreError> {
        let Some(bytes) = self.0.read(name, MAX_DEVICE)? else { return Ok(None) };
        gojson::from_slice(&bytes).map(Some).map_err(|error| self.invalid(name, error.to_string()))
    }

    /// The device of a layer, by the name of its file; `None` if there is no file.
    pub(super) fn device(&self, name: &str) -> Result<Option<DeviceFile>, StoreError> {
        let Some(device) = self.read::<DeviceFile>(name)? else { return Ok(None) };
        self.thin_id(name, &device)?;
        Ok(Some(device))
    }

    /// The device of a layer that must have one.
    pub(super) fn existing(&self, name: &str) -> Result<DeviceFile, StoreError> {
        self.device(name)?.ok_or_else(|| self.invalid(name, "missing".into()))
    }

    /// The number of a device whose file is `name`.
    pub(super) fn thin_id(&self, name: &str, device: &DeviceFile) -> Result<ThinId, StoreError> {
        device.thin_id().ok_or_else(|| {
            self.invalid(name, format!("device_id {} is no number that a thin pool gives a device", device.id))
        })
    }

    /// The files of all devices, by their names.
    pub(super) fn devices(&self) -> Result<BTreeMap<String, DeviceFile>, StoreError> {
        let mut files = BTreeMap::new();
        for name in self.0.names()? {
            if name != BASE && HomeLayout::is_service(NAME, &name) {
                continue;
            }
            if let Some(file) = self.device(&name)? {
                files.insert(name, file);
            }
        }
        Ok(files)
    }

    /// The numbers of all devices that have files.
    pub(super) fn ids(&self) -> Result<BTreeSet<ThinId>, StoreError> {
        Ok(self.devices()?.values().filter_map(DeviceFile::thin_id).collect())
    }

    /// The last change that was begun, if the record of it is there.
    pub(super) fn transaction(&self) -> Result<Option<TransactionFile>, StoreError> {
        self.read(TRANSACTION)
    }

    /// What belongs to no single device; nothing if there is no such file.
    pub(super) fn device_set(&self) -> Result<DeviceSetFile, StoreError> {
        Ok(self.read(DEVICE_SET)?.unwrap_or_default())
    }

    pub(super) fn write_device(&self, name: &str, device: &DeviceFile) -> Result<(), StoreError> {
        self.0.replace(name, &encode(device), 0o600, true)
    }

    pub(super) fn write_transaction(&self, transaction: &TransactionFile) -> Result<(), StoreError> {
        self.0.replace(TRANSACTION, &encode(transaction), 0o600, true)
    }

    pub(super) fn write_device_set(&self, set: &DeviceSetFile) -> Result<(), StoreError> {
        self.0.replace(DEVICE_SET, &encode(set), 0o600, true)
    }

    /// Removes a file, durably.
    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.0.unlink(name)?;
        self.0.sync()
    }
}
