//! The devicemapper driver, for reading: each layer is a thin device with a file system, a snapshot of its parent's.
//!
//! ```text
//! devicemapper/                        0700
//!   metadata/<cache id>                0600  which device holds the layer (`schema/devicemapper.rs`)
//!   metadata/base                      0600  the device that all layers without a parent were made from
//!   devicemapper/data, metadata        0600  the pool, where it is in files ("loop-lvm")
//! ```
//!
//! A layer's file system has everything that the layer shows in its directory `rootfs`. The pool is read without the
//! kernel's device mapper: the device is rebuilt from the pool's blocks in a temporary file, which is mounted read-only.
//! So the pool must not be active, and nothing in the data-root changes. Nothing is written with this driver.
//!
//! Follows moby v20.10.24 `daemon/graphdriver/devmapper`.

mod pool;
mod shown;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use layerfs::delete::Deletion;
use rustix::fs::{major, minor};

use super::restack::{Restacking, Stack};
use super::{Access, Driver, HomeEntries, HomeLayout, LayerDamage, LayerOrder, LayerPart, MountGuard, Prepared, Room};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::Dead;
use crate::schema::devicemapper::{BASE, DEVICES, DeviceFile, MAX_DEVICE};
pub use pool::InactivePool;
use shown::Shown;

/// Docker's name for the driver, and the name of its directory.
pub(super) const NAME: &str = "devicemapper";

/// The driver of one `devicemapper` directory.
#[derive(Debug, Clone)]
pub struct DeviceMapper(Arc<OpenHome>);

#[derive(Debug)]
struct OpenHome {
    /// `devicemapper`.
    own: Dir,
    /// `devicemapper/metadata`.
    home: Dir,
    shown: Shown,
}

impl DeviceMapper {
    /// Opens the home in a data-root; `None` if there is none.
    pub(super) fn open(root: &Dir) -> Result<Option<Self>, StoreError> {
        let Some(own) = root.sub(NAME)? else { return Ok(None) };
        let Some(home) = own.sub(DEVICES)? else { return Ok(None) };
        Ok(Some(Self(Arc::new(OpenHome { own, home, shown: Shown::default() }))))
    }

    /// The pool, where it is in files of the data-root.
    ///
    /// # Errors
    /// [`StoreError`], also if the pool is active, or is not in files.
    pub fn pool(&self) -> Result<InactivePool, StoreError> {
        InactivePool::in_files(&self.0.own)
    }

    /// The thin device of a layer, by the layer's file; `None` if there is no file.
    ///
    /// # Errors
    /// [`StoreError`], also if dockerd could not decode the file.
    pub fn device(&self, id: &str) -> Result<Option<DeviceFile>, StoreError> {
        let Some(bytes) = self.0.home.read(id, MAX_DEVICE)? else { return Ok(None) };
        let invalid = |reason: String| StoreError::Invalid { path: self.0.home.join(id), reason };
        let device = DeviceFile::decode(&bytes).map_err(|error| invalid(error.to_string()))?;
        match device.thin_id() {
            Some(_) => Ok(Some(device)),
            None => Err(invalid(format!("device_id {} is no number that a thin pool gives a device", device.id))),
        }
    }

    /// The files of all layers, by their names: cache ids, and [`BASE`] for the device that others were made from.
    ///
    /// # Errors
    /// [`StoreError`], also for a file that dockerd could not decode.
    pub fn files(&self) -> Result<BTreeMap<String, DeviceFile>, StoreError> {
        let mut files = BTreeMap::new();
        for name in self.0.home.names()? {
            if name != BASE && HomeLayout::is_service(NAME, &name) {
                continue;
            }
            if let Some(file) = self.device(&name)? {
                files.insert(name, file);
            }
        }
        Ok(files)
    }

    /// The thin device of a layer that must have one.
    fn layer(&self, id: &CacheId) -> Result<DeviceFile, StoreError> {
        let missing = || StoreError::Invalid { path: self.0.home.join(id.as_str()), reason: "missing".into() };
        self.device(id.as_str())?.ok_or_else(missing)
    }

    /// The name that dockerd gives to the device of a layer while it is active (`deviceset.go: devicePrefix`).
    fn device_name(&self, id: &CacheId) -> Result<String, StoreError> {
        let stat = rustix::fs::fstat(&self.0.own).map_err(StoreError::io(self.0.own.path(), "stat"))?;
        Ok(format!("docker-{}:{}-{}-{id}", major(stat.st_dev), minor(stat.st_dev), stat.st_ino))
    }

    fn only_read(&self) -> StoreError {
        let reason = "layers of the storage driver devicemapper are only read".to_owned();
        StoreError::Invalid { path: self.0.own.path().to_path_buf(), reason }
    }
}

impl Driver for DeviceMapper {
    fn name(&self) -> &'static str {
        NAME
    }

    fn order(&self) -> LayerOrder {
        LayerOrder::ParentFirst
    }

    fn prepare(&self, _id: &CacheId, _parent: Option<&CacheId>) -> Result<Prepared, StoreError> {
        Err(self.only_read())
    }

    fn mount(&self, id: &CacheId, access: Access) -> Result<MountGuard, StoreError> {
        match access {
            Access::ReadOnly => self.content(id).map(MountGuard::plain),
            Access::ReadWrite => Err(self.only_read()),
        }
    }

    fn content(&self, id: &CacheId) -> Result<Dir, StoreError> {
        let device = self.layer(id)?;
        self.0.shown.layer(id, || self.pool()?.show(&device))
    }

    fn keeps_directories(&self) -> bool {
        false
    }

    fn entries(&self) -> Result<HomeEntries, StoreError> {
        HomeEntries::named(NAME, &self.0.home)
    }

    fn room(&self) -> Result<Room, StoreError> {
        Room::measure(&self.0.home)
    }

    fn belongings(&self, _id: &CacheId) -> Result<Vec<PathBuf>, StoreError> {
        Err(self.only_read())
    }

    fn remove(&self, _dead: &Dead<CacheId>, _deletion: &Deletion) -> Result<(), StoreError> {
        Err(self.only_read())
    }

    /// Whether the layer's file is there and can be decoded. Whether the pool has the device is not looked at: that takes
    /// the whole pool.
    fn damage(&self, id: &CacheId, _parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        let path = self.0.home.join(id.as_str());
        match self.device(id.as_str()) {
            Ok(Some(_)) => Ok(None),
            Ok(None) => Ok(Some(LayerDamage::Missing { path, part: LayerPart::Content })),
            Err(StoreError::Invalid { path, reason }) => {
                Ok(Some(LayerDamage::Invalid { path, part: LayerPart::Content, reason }))
            }
            Err(error) => Err(error),
        }
    }

    fn writable_damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        self.damage(id, parents)
    }

    fn lacks(&self, _id: &CacheId, _parents: bool, _children: bool) -> Result<Vec<LayerPart>, StoreError> {
        Ok(Vec::new())
    }

    fn written(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<u64, StoreError> {
        let content = self.content(id)?;
        let size = match parent {
            Some(parent) => layerfs::changed_size(&content, self.content(parent)?),
            None => layerfs::tree_size(&content),
        };
        size.map_err(StoreError::io(content.path(), "measuring"))
    }

    /// `deviceset.go: exportDeviceMetadata`.
    fn metadata(&self, id: &CacheId) -> Result<Option<Vec<(&'static str, String)>>, StoreError> {
        let device = self.layer(id)?;
        Ok(Some(vec![
            ("DeviceId", device.id.to_string()),
            ("DeviceName", self.device_name(id)?),
            ("DeviceSize", device.size.to_string()),
        ]))
    }

    fn restacking(&self, _stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError> {
        Ok(Vec::new())
    }

    fn restack(&self, _what: &Restacking, _sync: bool) -> Result<(), StoreError> {
        Err(self.only_read())
    }

    fn exchange(&self, _id: &CacheId, _with: &CacheId) -> Result<(), StoreError> {
        Err(self.only_read())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn home(&self) -> &Dir {
        &self.0.home
    }
}
