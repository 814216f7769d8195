//! How thin devices are made and deleted, so that a crash at any step can be mended.
//!
//! The pool counts transactions; the number is in its metadata. Each change goes
//!
//! 1. `transaction-metadata` says which device is made or deleted, and which number the pool has afterwards,
//! 2. the pool makes or deletes the device,
//! 3. the device's file is written or removed,
//! 4. the pool gets the new number.
//!
//! After a crash before step 4 the record is one number ahead of the pool, and [`recover`](Protocol::recover) deletes
//! the device with its file: it takes back what was to be made, and finishes what was to be deleted. dockerd does the
//! same (moby v20.10.24 `daemon/graphdriver/devmapper/deviceset.go: openTransaction, closeTransaction,
//! rollbackTransaction`), but also where the record is farther ahead, or the file names another device: that happens
//! after the pool's metadata was restored from a copy, and then it deletes a device in use. Here that is an error.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use dm::{DeviceName, Mapper, MapperError, PoolStatus, Problem, ThinId, WorkingPool};

use super::patience::while_busy;
use super::records::Records;
use super::trouble::PoolTrouble;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::schema::devicemapper::{BASE, DeviceFile, TRANSACTION, TransactionFile};

/// What a device begins with.
#[derive(Debug)]
pub(super) enum Origin<'a> {
    /// Nothing.
    Empty {
        /// Bytes of the device.
        size: u64,
    },
    /// The content of another device.
    Device {
        file: &'a DeviceFile,
        /// The name that the other device has while it is active.
        active: &'a DeviceName,
    },
}

/// The devices of one pool.
#[derive(Debug)]
pub(super) struct Protocol {
    mapper: Arc<dyn Mapper>,
    pool: DeviceName,
    records: Arc<Records>,
    /// One change at a time.
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    /// Numbers that devices have, by their files or by the pool's word.
    used: BTreeSet<ThinId>,
    /// The number that was given last.
    last: ThinId,
}

impl Protocol {
    /// The protocol of a pool; nothing is changed by it before [`recover`](Self::recover).
    pub(super) fn new(mapper: Arc<dyn Mapper>, pool: DeviceName, records: Arc<Records>) -> Self {
        let last = ThinId::new(0).expect("zero is small enough");
        Self { mapper, pool, records, numbers: Mutex::new(Numbers { used: BTreeSet::new(), last }) }
    }

    /// Mends what a crash has left of a change, and gets ready for others. The pool must be the one of the records.
    pub(super) fn recover(&self) -> Result<(), StoreError> {
        let mut numbers = self.lock();
        self.mend()?;
        let used = self.records.ids()?;
        // After a crash, the number that the last shutdown recorded may be too low, so the numbers in use count too.
        let set = self.records.device_set()?.next_id();
        let last = used.last().copied().max(set).unwrap_or(numbers.last);
        *numbers = Numbers { used, last };
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The name of the pool.
    pub(super) fn pool(&self) -> &DeviceName {
        &self.pool
    }

    /// The number that was given last. dockerd records the number after it.
    pub(super) fn last_number(&self) -> ThinId {
        self.lock().last
    }

    fn any_status(&self) -> Result<PoolStatus, StoreError> {
        let invalid = |error: dm::InvalidLine| StoreError::Invalid {
            path: self.records.home().path().to_path_buf(),
            reason: error.to_string(),
        };
        self.mapper.status(&self.pool)?.parse().map_err(invalid)
    }

    fn troubled(&self, trouble: PoolTrouble) -> StoreError {
        StoreError::ThinPool { path: self.records.home().path().to_path_buf(), trouble }
    }

    /// The state of the pool, which must not have failed.
    pub(super) fn status(&self) -> Result<WorkingPool, StoreError> {
        match self.any_status()? {
            PoolStatus::Working(pool) => Ok(pool),
            PoolStatus::Failed => Err(self.troubled(PoolTrouble::Failed)),
        }
    }

    /// The state of the pool, which must take changes.
    pub(super) fn writable_status(&self) -> Result<WorkingPool, StoreError> {
        self.status_unless(|_| true)
    }

    /// The state of the pool, from which something is to be deleted. A full one takes that, and then everything else again.
    pub(super) fn status_for_deletion(&self) -> Result<WorkingPool, StoreError> {
        self.status_unless(|trouble| !matches!(trouble, PoolTrouble::Full { .. }))
    }

    fn status_unless(&self, keeps: impl Fn(&PoolTrouble) -> bool) -> Result<WorkingPool, StoreError> {
        let status = self.any_status()?;
        match (PoolTrouble::of_status(&status).filter(keeps), status) {
            (None, PoolStatus::Working(pool)) => Ok(pool),
            (trouble, _) => Err(self.troubled(trouble.unwrap_or(PoolTrouble::Failed))),
        }
    }

    /// Why something that was written to the pool has failed, if the kernel says so.
    pub(super) fn trouble(&self) -> Option<StoreError> {
        PoolTrouble::of_failure(&self.any_status().ok()?).map(|trouble| self.troubled(trouble))
    }

    fn mend(&self) -> Result<(), StoreError> {
        let pool = self.status()?.transaction;
        let Some(open) = self.records.transaction()? else { return Ok(()) };
        // No change is open if the record has the pool's own number, or a lower one because a daemon did not write the
        // record.
        if open.transaction <= pool {
            return Ok(());
        }
        let name = if open.name.is_empty() { BASE } else { open.name.as_str() };
        let file = self.records.device(name)?;
        let is_ours = file.is_none_or(|file| file.id == open.id);
        let (Some(id), true, true) = (open.thin_id(), is_ours, open.transaction == pool + 1) else {
            let reason = format!(
                "change {} of device {} was begun, but the pool is at {pool} and its devices may be others; nothing is \
                 changed",
                open.transaction, open.id
            );
            return Err(StoreError::Invalid { path: self.records.home().join(TRANSACTION), reason });
        };
        self.status_for_deletion()?;
        self.delete_from_pool(id)?;
        self.records.remove(name)?;
        self.records.remove(TRANSACTION)
    }

    /// Deletes a device from the pool, if it is there.
    fn delete_from_pool(&self, id: ThinId) -> Result<(), MapperError> {
        match while_busy(|| self.mapper.message(&self.pool, &format!("delete {id}"))) {
            Err(MapperError { problem: Problem::NoThinDevice, .. }) => Ok(()),
            deleted => deleted,
        }
    }

    /// Makes a device and its file `name`.
    pub(super) fn create(&self, name: &str, origin: &Origin<'_>) -> Result<DeviceFile, StoreError> {
        let mut numbers = self.lock();
        let pool = self.writable_status()?;
        let transaction = pool.transaction + 1;
        let id = loop {
            let id = numbers.free();
            self.begin(transaction, name, id)?;
            numbers.used.insert(id);
            match self.add_to_pool(id, origin) {
                Ok(()) => break id,
                // The pool has a device of this number that has no file: a power cut leaves such devices. The number
                // stays in use.
                Err(MapperError { problem: Problem::Exists, .. }) => {}
                Err(error) => {
                    numbers.used.remove(&id);
                    return Err(error.into());
                }
            }
        };
        let size = match origin {
            Origin::Empty { size } => *size,
            Origin::Device { file, .. } => file.size,
        };
        let device = DeviceFile { id: id.into(), size, transaction, initialized: false, deleted: false };
        self.records.write_device(name, &device)?;
        self.close(pool.transaction)?;
        Ok(device)
    }

    fn add_to_pool(&self, id: ThinId, origin: &Origin<'_>) -> Result<(), MapperError> {
        let Origin::Device { file, active } = origin else {
            return self.mapper.message(&self.pool, &format!("create_thin {id}"));
        };
        let snapshot = format!("create_snap {id} {}", file.id);
        if self.mapper.info(active)?.is_none() {
            return self.mapper.message(&self.pool, &snapshot);
        }
        // Somebody may have it mounted: what was written must be on the device before the snapshot is made of it.
        match self.mapper.suspend(active) {
            // It has gone meanwhile.
            Err(MapperError { problem: Problem::Missing, .. }) => return self.mapper.message(&self.pool, &snapshot),
            suspended => suspended?,
        }
        let made = self.mapper.message(&self.pool, &snapshot);
        self.mapper.resume(active)?;
        made
    }

    /// Deletes a device, which must not be active, and its file.
    pub(super) fn delete(&self, name: &str, device: &DeviceFile) -> Result<(), StoreError> {
        let mut numbers = self.lock();
        let transaction = self.status_for_deletion()?.transaction;
        let id = self.records.thin_id(name, device)?;
        self.begin(transaction + 1, name, id)?;
        self.delete_from_pool(id)?;
        self.records.remove(name)?;
        self.close(transaction)?;
        numbers.used.remove(&id);
        Ok(())
    }

    /// Deletes a device that no file names. Returns whether it was there.
    pub(super) fn delete_unnamed(&self, id: ThinId) -> Result<bool, StoreError> {
        let numbers = self.lock();
        if numbers.used.contains(&id) {
            return Ok(false);
        }
        let transaction = self.status_for_deletion()?.transaction;
        // A name that no file has: after a crash, the device alone is deleted.
        self.begin(transaction + 1, CacheId::random().as_str(), id)?;
        self.delete_from_pool(id)?;
        self.close(transaction)?;
        Ok(true)
    }

    /// Records a change before it is made: the device whose file is `name`, and the number that the pool has afterwards.
    fn begin(&self, transaction: u64, name: &str, id: ThinId) -> Result<(), StoreError> {
        let name = if name == BASE { "" } else { name };
        self.records.write_transaction(&TransactionFile { transaction, name: name.to_owned(), id: id.into() })
    }

    fn close(&self, transaction: u64) -> Result<(), MapperError> {
        self.mapper.message(&self.pool, &format!("set_transaction_id {transaction} {}", transaction + 1))
    }
}

impl Numbers {
    /// A number that no device has, after the last one.
    fn free(&mut self) -> ThinId {
        let mut next = self.last.next();
        // A pool has far fewer devices than there are numbers.
        while self.used.contains(&next) {
            next = next.next();
        }
        self.last = next;
        next
    }
}

#[cfg(test)]
mod tests;
