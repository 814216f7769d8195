//! The driver of a data-root, as one type for all drivers.

use std::path::{Path, PathBuf};

use layerfs::apply::XattrNamespace;
use layerfs::delete::Deletion;

use super::devicemapper::DeviceMapper;
use super::overlay2::Overlay2;
use super::overlayfs::Overlayfs;
use super::vfs::Vfs;
use super::{
    Access, Driver, HomeEntries, LayerDamage, LayerOrder, LayerPart, MountGuard, Prepared, Restacking, Room, Stack,
    Stacked,
};
use crate::dir::{CreatedDirectories, Dir};
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::Dead;
use crate::root::Refusal;

/// One of the drivers that are implemented here.
#[derive(Debug, Clone)]
pub enum AnyDriver {
    /// `overlay2`, and `fuse-overlayfs`, whose home has the same form.
    Overlay2(Overlay2),
    /// `vfs`.
    Vfs(Vfs),
    /// `devicemapper`.
    DeviceMapper(DeviceMapper),
    /// The snapshotter `overlayfs` of containerd, which is only read.
    Overlayfs(Overlayfs),
}

impl AnyDriver {
    /// Opens the home of the driver of this name in a data-root; `None` if it was never used, or is not implemented.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn open(root: &Dir, name: &str) -> Result<Option<Self>, StoreError> {
        // A reader sets no attributes, so any namespace will do if the right one cannot be found out.
        let namespace = xattr_namespace().unwrap_or(XattrNamespace::Trusted);
        match name {
            "overlay2" => Ok(Overlay2::open("overlay2", root, namespace)?.map(Self::Overlay2)),
            "fuse-overlayfs" => Ok(Overlay2::open("fuse-overlayfs", root, namespace)?.map(Self::Overlay2)),
            "vfs" => Ok(Vfs::open(root)?.map(Self::Vfs)),
            "devicemapper" => Ok(DeviceMapper::open(root)?.map(Self::DeviceMapper)),
            _ => Ok(None),
        }
    }

    /// Opens the snapshots of the snapshotter of this name in its directory; `None` if it is not implemented.
    pub(crate) fn of_snapshotter(name: &str, snapshotter: &Dir) -> Result<Option<Self>, StoreError> {
        if name != super::overlayfs::NAME {
            return Ok(None);
        }
        Ok(Overlayfs::open(snapshotter)?.map(Self::Overlayfs))
    }

    /// Opens the home of the driver of this name for writing, creating what is missing of it.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::Refused`] for a driver that cannot be written.
    pub fn create(root: &Dir, name: &str, created: &mut CreatedDirectories) -> Result<Self, StoreError> {
        match name {
            "overlay2" => Ok(Self::Overlay2(Overlay2::create(root, xattr_namespace()?, created)?)),
            "vfs" => Ok(Self::Vfs(Vfs::create(root, created)?)),
            "devicemapper" => Ok(Self::DeviceMapper(DeviceMapper::create(root, created)?)),
            other => Err(StoreError::Refused {
                root: root.path().to_path_buf(),
                refusal: Refusal::UnknownDriver { driver: other.to_owned() },
            }),
        }
    }

    fn driver(&self) -> &dyn Driver {
        match self {
            Self::Overlay2(driver) => driver,
            Self::Vfs(driver) => driver,
            Self::DeviceMapper(driver) => driver,
            Self::Overlayfs(driver) => driver,
        }
    }
}

/// The namespace of the extended attributes of overlayfs: `user.` inside a user namespace, which may not set
/// `trusted.`.
///
/// # Errors
/// [`StoreError::Io`] if it cannot be found out whether this process is in a user namespace.
pub fn xattr_namespace() -> Result<XattrNamespace, StoreError> {
    const MAP: &str = "/proc/self/uid_map";
    let map = match std::fs::read_to_string(MAP) {
        Ok(map) => map,
        // A kernel without user namespaces has no `uid_map`, but it has the other files of `/proc/self`.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && Path::new("/proc/self/status").exists() => {
            return Ok(XattrNamespace::Trusted);
        }
        Err(error) => return Err(StoreError::io(MAP, "reading")(error)),
    };
    let initial = map.split_whitespace().eq(["0", "0", "4294967295"]);
    Ok(if initial { XattrNamespace::Trusted } else { XattrNamespace::User })
}

impl Driver for AnyDriver {
    fn name(&self) -> &'static str {
        self.driver().name()
    }

    fn order(&self) -> LayerOrder {
        self.driver().order()
    }

    fn prepare(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<Prepared, StoreError> {
        self.driver().prepare(id, parent)
    }

    fn mount(&self, id: &CacheId, access: Access) -> Result<MountGuard, StoreError> {
        self.driver().mount(id, access)
    }

    fn content(&self, id: &CacheId) -> Result<Dir, StoreError> {
        self.driver().content(id)
    }

    fn keeps_directories(&self) -> bool {
        self.driver().keeps_directories()
    }

    fn is_mounted_by_readers(&self) -> bool {
        self.driver().is_mounted_by_readers()
    }

    fn entries(&self) -> Result<HomeEntries, StoreError> {
        self.driver().entries()
    }

    fn room(&self) -> Result<Room, StoreError> {
        self.driver().room()
    }

    fn get_ready(&self) -> Result<(), StoreError> {
        self.driver().get_ready()
    }

    fn trouble(&self) -> Option<StoreError> {
        self.driver().trouble()
    }

    fn remove(&self, dead: &Dead<CacheId>, deletion: &Deletion) -> Result<(), StoreError> {
        self.driver().remove(dead, deletion)
    }

    fn is_stale_link(&self, link: &str) -> Result<bool, StoreError> {
        self.driver().is_stale_link(link)
    }

    fn belongings(&self, id: &CacheId) -> Result<Vec<PathBuf>, StoreError> {
        self.driver().belongings(id)
    }

    fn last_stood_on(&self, id: &CacheId) -> Result<Option<i64>, StoreError> {
        self.driver().last_stood_on(id)
    }

    fn most_parents(&self) -> Option<usize> {
        self.driver().most_parents()
    }

    fn damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        self.driver().damage(id, parents)
    }

    fn certainly_sound(&self, layers: &[Stacked<'_>]) -> Vec<bool> {
        self.driver().certainly_sound(layers)
    }

    fn entries_and_sound(&self, layers: &[Stacked<'_>]) -> Result<(HomeEntries, Vec<bool>), StoreError> {
        self.driver().entries_and_sound(layers)
    }

    fn writable_damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        self.driver().writable_damage(id, parents)
    }

    fn lacks(&self, id: &CacheId, parents: bool, children: bool) -> Result<Vec<LayerPart>, StoreError> {
        self.driver().lacks(id, parents, children)
    }

    fn written(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<u64, StoreError> {
        self.driver().written(id, parent)
    }

    fn metadata(&self, id: &CacheId) -> Result<Option<Vec<(&'static str, String)>>, StoreError> {
        self.driver().metadata(id)
    }

    fn restacking(&self, stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError> {
        self.driver().restacking(stacks)
    }

    fn restack(&self, what: &Restacking, sync: bool) -> Result<(), StoreError> {
        self.driver().restack(what, sync)
    }

    fn exchange(&self, id: &CacheId, with: &CacheId) -> Result<(), StoreError> {
        self.driver().exchange(id, with)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.driver().sync()
    }

    fn home(&self) -> &Dir {
        self.driver().home()
    }
}
