//! The devicemapper driver: each layer is a thin device with a file system, a snapshot of its parent's.
//!
//! ```text
//! devicemapper/                        0700
//!   metadata/                          0700
//!     <cache id>                       0600  which device holds the layer (`schema/devicemapper.rs`)
//!     base                             0600  the device that all layers without a parent were made from
//!     transaction-metadata, deviceset-metadata
//!   devicemapper/data, metadata        0600  the pool, where it is in files ("loop-lvm")
//!   mnt/<cache id>/                    0755  while a container's layer is mounted
//! <file system of a device>/
//!   rootfs/                            0755  everything that the layer shows
//!   id                                 0600  the first layer of the chain that was mounted
//! ```
//!
//! Readers of a pool that is not active do without the kernel's device mapper: the device is rebuilt from the pool's blocks
//! in a temporary file, which is mounted read-only, and nothing in the data-root changes. A pool that is active, because a
//! container runs or because LVM keeps it so, is read through the kernel. A writer makes the [pool](live) active when it
//! needs it, and everything goes through the [protocol].
//!
//! Follows moby v20.10.24 `daemon/graphdriver/devmapper`.

mod base;
mod file_system;
mod live;
mod lvm;
mod options;
mod patience;
mod pool;
mod protocol;
mod records;
mod setup;
mod shown;
mod space;
mod trouble;
mod unfinished;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use dm::{Control, Mapper};
use layerfs::delete::Deletion;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::mount::refuse_mounted;
use super::restack::{Restacking, Stack};
use super::{Access, Driver, HomeEntries, LayerDamage, LayerOrder, LayerPart, MountGuard, Prepared, Room};
use crate::dir::{CreatedDirectories, Dir};
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::Dead;
use crate::schema::devicemapper::{DEVICES, DeviceFile};
use file_system::Writing;
use live::Live;
pub use options::{FileSystem as PoolFileSystem, LvmOptions, PoolOptions};
use pool::{CONTENT, content_of};
pub use pool::{DataFile, InactivePool};
use records::Records;
use shown::Shown;
pub use space::{Grown, Trimmed};
pub use trouble::PoolTrouble;
use unfinished::Unfinished;

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
    records: Records,
    shown: Shown,
    /// The pool that a reader has found active.
    joined: Mutex<Option<Arc<Live>>>,
    /// Directories of layers that were begun, open since before anything was written: whoever asks them to be written out
    /// hears of every error since.
    begun: Mutex<BTreeMap<CacheId, Dir>>,
    /// The pool that a reader was told to read, where it is not in files here.
    named: OnceLock<InactivePool>,
    /// What a writer has; `None` for a reader.
    writer: Option<Writer>,
}

/// The device mapper, and the pool once it is needed.
#[derive(Debug)]
struct Writer {
    mapper: Arc<dyn Mapper>,
    live: Mutex<Option<Arc<Live>>>,
}

/// The directory of mount points in the driver's own.
const MOUNTS: &str = "mnt";

impl DeviceMapper {
    /// Opens the home in a data-root, for reading; `None` if there is none.
    pub(super) fn open(root: &Dir) -> Result<Option<Self>, StoreError> {
        let Some(own) = root.sub(NAME)? else { return Ok(None) };
        let Some(home) = own.sub(DEVICES)? else { return Ok(None) };
        Ok(Some(Self::over(own, home, None)))
    }

    /// Opens or creates the home, for writing. The pool is made active when it is needed.
    pub(super) fn create(root: &Dir, created: &mut CreatedDirectories) -> Result<Self, StoreError> {
        let explain = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => std::io::Error::new(
                source.kind(),
                "this kernel has no device mapper, so stores of the storage driver devicemapper can only be read here",
            ),
            _ => source,
        };
        let mapper =
            Control::open().map_err(|source| StoreError::io("/dev/mapper/control", "opening")(explain(source)))?;
        let own = created.ensure(root, NAME, 0o700)?;
        let home = created.ensure(&own, DEVICES, 0o700)?;
        let writer = Writer { mapper: Arc::new(mapper), live: Mutex::default() };
        Ok(Self::over(own, home, Some(writer)))
    }

    fn over(own: Dir, home: Dir, writer: Option<Writer>) -> Self {
        Self(Arc::new(OpenHome {
            own,
            records: Records::new(home),
            shown: Shown::default(),
            joined: Mutex::default(),
            begun: Mutex::default(),
            named: OnceLock::new(),
            writer,
        }))
    }

    /// The pool, where it is in files of the data-root.
    ///
    /// # Errors
    /// [`StoreError`], also if the pool is active, or is not in files.
    pub fn pool(&self) -> Result<InactivePool, StoreError> {
        InactivePool::in_files(&self.0.own)
    }

    /// Reads the layers from `pool` from now on, and not from files of the data-root. The first pool that is named stays.
    pub fn read_from(&self, pool: InactivePool) {
        let _ = self.0.named.set(pool);
    }

    /// The thin device of a layer, by the layer's file; `None` if there is no file.
    ///
    /// # Errors
    /// [`StoreError`], also if dockerd could not decode the file.
    pub fn device(&self, id: &str) -> Result<Option<DeviceFile>, StoreError> {
        self.0.records.device(id)
    }

    /// The files of all layers, by their names: cache ids, and [`BASE`](crate::schema::devicemapper::BASE) for the
    /// device that others were made from.
    ///
    /// # Errors
    /// [`StoreError`], also for a file that dockerd could not decode.
    pub fn files(&self) -> Result<BTreeMap<String, DeviceFile>, StoreError> {
        self.0.records.devices()
    }

    /// The device whose making or removal was begun and not finished, if the pool is at transaction `pool`.
    ///
    /// # Errors
    /// [`StoreError`], also if dockerd could not decode the record.
    pub fn open_change(&self, pool: u64) -> Result<Option<u64>, StoreError> {
        let open = self.0.records.transaction()?.filter(|open| open.transaction > pool);
        Ok(open.and_then(|open| open.thin_id()).map(Into::into))
    }

    fn not_done(&self, what: &str) -> StoreError {
        let reason = format!("{what} is not done with the storage driver devicemapper");
        StoreError::Invalid { path: self.0.own.path().to_path_buf(), reason }
    }
}
/// The kernel's device mapper; `None` where there is none, or for a user who may not use it.
fn kernel() -> Result<Option<Control>, StoreError> {
    match Control::open() {
        Ok(control) => Ok(Some(control)),
        // There is no node, or a node and no driver, or this user may not open it.
        Err(error)
            if matches!(
                Errno::from_io_error(&error),
                Some(Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::ACCESS | Errno::PERM)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(StoreError::io("/dev/mapper/control", "opening")(error)),
    }
}

impl OpenHome {
    /// The pool of a writer, which is made active now if it was not needed before.
    fn live(&self, writer: &Writer) -> Result<Arc<Live>, StoreError> {
        let mut live = writer.live.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = &*live {
            return Ok(Arc::clone(live));
        }
        let mapper = Arc::clone(&writer.mapper);
        let opened = Arc::new(Live::open(mapper, &self.own, self.records.home())?);
        Ok(Arc::clone(live.insert(opened)))
    }

    /// The pool that a reader finds active; `None` if none is, or if this process may not ask.
    fn joined(&self) -> Result<Option<Arc<Live>>, StoreError> {
        let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(live) = &*joined {
            return Ok(Some(Arc::clone(live)));
        }
        let Some(mapper) = kernel()? else { return Ok(None) };
        let live = Live::join(Arc::new(mapper), &self.own, self.records.home())?;
        Ok(live.map(|live| Arc::clone(joined.insert(Arc::new(live)))))
    }

    /// Lets go of a writer's pool. It is taken down when nobody else has it.
    fn let_go(&self) {
        if let Some(writer) = &self.writer {
            drop(writer.live.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<CacheId, Dir>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until what was written to a layer is on the device, and says what was not. Does nothing for a layer that was
    /// not begun here, or that was written out already.
    fn write_out(&self, id: &CacheId) -> Result<(), StoreError> {
        let begun = self.begun().remove(id);
        begun.map_or(Ok(()), |content| content.sync_file_system())
    }

    /// The pool of a writer; an error for a reader.
    fn pool(&self) -> Result<Arc<Live>, StoreError> {
        let reader =
            || StoreError::Invalid { path: self.own.path().to_path_buf(), reason: "it was opened for reading".into() };
        self.live(self.writer.as_ref().ok_or_else(reader)?)
    }
}

impl Driver for DeviceMapper {
    fn name(&self) -> &'static str {
        NAME
    }

    fn order(&self) -> LayerOrder {
        LayerOrder::ParentFirst
    }

    fn prepare(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<Prepared, StoreError> {
        let path = || self.0.records.home().join(id.as_str());
        if self.device(id.as_str())?.is_some() {
            return Err(StoreError::Invalid { path: path(), reason: "a layer of this name is there already".into() });
        }
        let pool = self.0.pool()?;
        if let Some(parent) = parent {
            // The parent is complete. What its device did not take would be missing in this layer, too.
            self.0.write_out(parent).map_err(|error| pool.explain(error))?;
        }
        pool.make_layer(id.as_str(), parent.map(CacheId::as_str))?;
        Ok(Prepared::new(Unfinished { state: Arc::clone(&self.0), id: id.clone(), parent: parent.cloned() }))
    }

    fn mount(&self, id: &CacheId, access: Access) -> Result<MountGuard, StoreError> {
        if access == Access::ReadOnly {
            return self.content(id).map(MountGuard::plain);
        }
        unfinished::make_content(&self.0, id)?;
        let mounts = self.0.own.sub_or_create(MOUNTS, 0o755)?;
        // A mount goes with the last process of its namespace; the empty directory that it was on stays.
        refuse_mounted(&mounts, id.as_str())?;
        let remove_point = || {
            // A runtime works in the directory of the content; who was killed has left it.
            let _ = rustix::fs::unlinkat(&mounts, format!("{id}/{CONTENT}"), AtFlags::REMOVEDIR);
            rustix::fs::unlinkat(&mounts, id.as_str(), AtFlags::REMOVEDIR)
        };
        match remove_point() {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(StoreError::io(mounts.join(id.as_str()), "removing")(errno)),
        }
        let mounted = self.0.pool()?.mount(id.as_str(), Writing::Here)?;
        drop(mounts.create(id.as_str(), 0o755)?);
        let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        if let Err(errno) = rustix::mount::move_mount(&mounted, "", &mounts, id.as_str(), flags) {
            let _ = remove_point();
            return Err(StoreError::io(mounts.join(id.as_str()), "mounting")(errno));
        }
        let guard = MountGuard::at(mounts.duplicate()?, mounts, id.as_str());
        let missing = || StoreError::Invalid { path: guard.path().join(id.as_str()), reason: "missing".into() };
        let content = guard.dir().descend(&[id.as_str(), CONTENT])?.ok_or_else(missing)?;
        Ok(guard.showing(content))
    }

    /// What was written to a layer through another mount is seen, as all mounts of a device are one file system.
    fn content(&self, id: &CacheId) -> Result<Dir, StoreError> {
        let device = self.0.records.existing(id.as_str())?;
        if let Some(writer) = &self.0.writer {
            let mounted = self.0.live(writer)?.mount(id.as_str(), Writing::Elsewhere)?;
            return content_of(mounted, &device, &self.0.records.home().join(id.as_str()));
        }
        if let Some(pool) = self.0.named.get() {
            return self.0.shown.layer(id, || pool.show(&device));
        }
        if let Some(live) = self.0.joined()? {
            let mounted = live.mount(id.as_str(), Writing::Elsewhere)?;
            return content_of(mounted, &device, &self.0.records.home().join(id.as_str()));
        }
        self.0.shown.layer(id, || self.pool()?.show(&device))
    }

    fn keeps_directories(&self) -> bool {
        false
    }

    fn is_mounted_by_readers(&self) -> bool {
        false
    }

    fn entries(&self) -> Result<HomeEntries, StoreError> {
        HomeEntries::named(NAME, self.0.records.home())
    }

    /// What the pool has left; of a pool in files, no more than their file system has.
    fn room(&self) -> Result<Room, StoreError> {
        let mut room = Room::measure(self.0.records.home())?;
        let in_files = self.0.own.sub(NAME)?.is_some();
        // A pool that is still to be made is as large as anybody needs.
        if self.0.writer.is_some() && (in_files || setup::is_elsewhere(&self.0.own)?) {
            let free = self.0.pool()?.free()?;
            (room.bytes, room.inodes) = (if in_files { room.bytes.min(free) } else { free }, u64::MAX);
        }
        Ok(room)
    }

    fn get_ready(&self) -> Result<(), StoreError> {
        self.0.pool()?.protocol.status_for_deletion().map(drop)
    }

    fn trouble(&self) -> Option<StoreError> {
        let live = self.0.writer.as_ref()?.live.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        live.protocol.trouble()
    }

    /// What a layer consists of is in the pool, so it cannot be moved elsewhere.
    fn belongings(&self, _id: &CacheId) -> Result<Vec<PathBuf>, StoreError> {
        Err(self.not_done("moving layers into a quarantine"))
    }

    fn remove(&self, dead: &Dead<CacheId>, _deletion: &Deletion) -> Result<(), StoreError> {
        let id = dead.get().as_str();
        // A layer that was begun here and not taken back would still be mounted.
        drop(self.0.begun().remove(dead.get()));
        if self.0.records.home().stat(id)?.is_none() {
            return Ok(());
        }
        self.0.pool()?.remove(id)
    }

    /// Whether the layer's file is there and can be decoded. Whether the pool has the device is not looked at: that
    /// takes the whole pool.
    fn damage(&self, id: &CacheId, _parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        let path = self.0.records.home().join(id.as_str());
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
        let device = self.0.records.existing(id.as_str())?;
        Ok(Some(vec![
            ("DeviceId", device.id.to_string()),
            ("DeviceName", format!("{}-{id}", setup::prefix(&self.0.own)?)),
            ("DeviceSize", device.size.to_string()),
        ]))
    }

    fn restacking(&self, _stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError> {
        Ok(Vec::new())
    }

    fn restack(&self, _what: &Restacking, _sync: bool) -> Result<(), StoreError> {
        Err(self.not_done("putting layers on others"))
    }

    fn exchange(&self, _id: &CacheId, _with: &CacheId) -> Result<(), StoreError> {
        Err(self.not_done("exchanging the contents of layers"))
    }

    /// The records are durable already, and so are the file systems of layers once they are unmounted; this makes the
    /// pool's own files so.
    fn sync(&self) -> Result<(), StoreError> {
        self.0.records.home().sync_file_system()
    }

    fn home(&self) -> &Dir {
        self.0.records.home()
    }
}
