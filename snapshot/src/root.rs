//! A data-root: what is in it, and whether it may be written to.

pub(crate) mod containerd;
mod contents;
mod guard;
mod locate;
pub(crate) mod lock;
mod locked;
pub(crate) mod mounts;
mod refusal;
mod writable;

use std::path::{Path, PathBuf};

use layerfs::DiffId;
use rustix::fs::FileType;

pub use crate::schema::paths::PULLED_BLOBS;
pub use containerd::Containerd;
pub use guard::{Guard, Permit};
pub use locked::LockedRoot;
pub use mounts::{Propagation, propagation_at};
pub use refusal::{Foreign, Refusal};
pub use writable::{WritableRoot, open_or_create};

use crate::containerd::Store;
use crate::containerd::gc::Records;
use crate::dir::Dir;
use crate::driver::{AnyDriver, Driver, HomeEntries, HomeLayout, Stacked};
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId};
use crate::schema::buildkit::BUILDKIT;
use crate::schema::container::CONTAINERS;
use crate::schema::distribution::{self, BlobSource};
use crate::schema::image::ImageStore;
use crate::schema::layer::LayerStore;
use crate::schema::mount;
use crate::schema::paths::CONTAINERD_METADATA;
pub(crate) use crate::schema::paths::IMAGE;
use crate::schema::references::References;
use crate::schema::volume::VOLUMES;

/// An existing data-root, for reading. Reading locks nothing and writes nothing.
///
/// # Examples
///
/// ```no_run
/// use std::path::Path;
///
/// use snapshot::catalog::Catalog;
/// use snapshot::root::DataRoot;
///
/// let root = DataRoot::find(Path::new("/var/lib/docker"), None)?;
/// println!("{} has {} images", root.dir().path().display(), Catalog::read(&root)?.images().len());
/// # Ok::<(), snapshot::StoreError>(())
/// ```
#[derive(Debug)]
pub struct DataRoot {
    /// The root itself; for a daemon that maps users, the directory `<uid>.<gid>` in it.
    pub(crate) dir: Dir,
    /// The storage driver's name.
    pub(crate) driver_name: String,
    /// `image/<driver>`; `None` if there are no images.
    pub(crate) images_dir: Option<Dir>,
    /// The directory of the driver's layers; `None` if it was never used.
    pub(crate) home: Option<Dir>,
    /// The driver; `None` if it was never used, or is not implemented here.
    pub(crate) driver: Option<AnyDriver>,
    /// containerd's image store, if it was ever used here. If the root has no storage driver beside it, `driver_name`
    /// is the snapshotter's name.
    pub(crate) containerd: Option<Containerd>,
}

/// An entry of the root whose content is elsewhere: a symlink, or a mount point of another file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Elsewhere {
    /// The path of the entry.
    pub place: PathBuf,
    /// Where the symlink leads; `None` for a mount point.
    pub leads_to: Option<PathBuf>,
    /// Whether the disk usage of the root includes that content.
    pub counted: bool,
}

impl DataRoot {
    /// Opens the data-root at `path`, for reading. If its daemon maps users, opens the directory for the mapping. If it
    /// has several storage drivers, `driver` chooses, which may be a snapshotter in a namespace of containerd's, as `moby/overlayfs`; without a choice, the only driver that has images or layers is
    /// taken.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::NoRoot`] if there is no data-root; [`StoreError::SeveralDrivers`] if the user
    /// must choose a driver; [`StoreError::Unreadable`] for a data-root that cannot be read, has nothing of `driver`, or
    /// holds a root for each of several mappings.
    pub fn find(path: &Path, driver: Option<&str>) -> Result<Self, StoreError> {
        let found = locate::locate(Dir::open(path).map_err(locate::missing)?, driver)?;
        Self::with_driver(found.dir, &found.driver, found.containerd)
    }

    fn with_driver(dir: Dir, name: &str, containerd: Option<Containerd>) -> Result<Self, StoreError> {
        let images_dir = dir.descend(&[IMAGE, name])?;
        let mut driver = AnyDriver::open(&dir, name)?;
        let home = dir.descend(&HomeLayout::home_path(name))?;
        if let (None, None, Some(containerd)) = (&images_dir, &home, &containerd)
            && let Some(snapshotter) = containerd.snapshots(&dir)?
        {
            driver = AnyDriver::of_snapshotter(name, &snapshotter)?;
        }
        Ok(Self { dir, driver_name: name.to_owned(), images_dir, home, driver, containerd })
    }

    /// The root itself; for a daemon that maps users, the directory `<uid>.<gid>` in it.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// The storage driver's name.
    #[must_use]
    pub fn driver_name(&self) -> &str {
        &self.driver_name
    }

    /// `image/<driver>`; `None` if there are no images.
    #[must_use]
    pub fn images_dir(&self) -> Option<&Dir> {
        self.images_dir.as_ref()
    }

    /// The directory of the driver's layers; `None` if it was never used.
    #[must_use]
    pub fn home(&self) -> Option<&Dir> {
        self.home.as_ref()
    }

    /// The driver; `None` if it was never used, or is not implemented here.
    #[must_use]
    pub fn driver(&self) -> Option<&AnyDriver> {
        self.driver.as_ref()
    }

    /// containerd's image store, if it was ever used here. If the root has no storage driver beside it, `driver_name` is
    /// the snapshotter's name.
    #[must_use]
    pub fn containerd(&self) -> Option<&Containerd> {
        self.containerd.as_ref()
    }

    /// Whether the images are those of containerd's store, and not a storage driver's.
    #[must_use]
    pub fn is_containerd_only(&self) -> bool {
        self.containerd.is_some() && self.images_dir.is_none() && self.home.is_none()
    }

    /// The storage drivers that have images or layers here beside the store that is read, sorted.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn other_drivers(&self) -> Result<Vec<String>, StoreError> {
        let mut drivers = locate::drivers(&self.dir)?;
        drivers.retain(|driver| *driver != self.driver_name);
        Ok(drivers)
    }

    /// Fails if the images cannot be read. Commands about images call this first.
    ///
    /// # Errors
    /// [`StoreError::InContainerd`] if all images are in the store of the system's containerd.
    pub fn expect_images(&self) -> Result<(), StoreError> {
        let elsewhere = self.containerd.as_ref().is_some_and(|containerd| containerd.store.is_none());
        if self.is_containerd_only() && elsewhere {
            return Err(StoreError::InContainerd { root: self.dir.path().to_path_buf() });
        }
        Ok(())
    }

    /// Fails if the images are not a storage driver's. Commands that work only with storage drivers call this first.
    ///
    /// # Errors
    /// [`StoreError::OnlyListed`] if the images are in containerd's store.
    pub fn expect_storage_driver(&self) -> Result<(), StoreError> {
        self.expect_images()?;
        match self.is_containerd_only() {
            true => Err(StoreError::OnlyListed { root: self.dir.path().to_path_buf() }),
            false => Ok(()),
        }
    }

    /// Reads containerd's store, if the images are there; `None` if they are not, or if the store is elsewhere.
    ///
    /// # Errors
    /// [`StoreError`] where a database cannot be read.
    pub(crate) fn containerd_store(&self) -> Result<Option<Store>, StoreError> {
        let Some(containerd) = self.containerd.as_ref().filter(|_| self.is_containerd_only()) else { return Ok(None) };
        let Some(daemon) = containerd.daemon(&self.dir)? else { return Ok(None) };
        let snapshotter = containerd.snapshots(&self.dir)?;
        let name = &containerd.snapshotter;
        Store::read(&daemon, snapshotter.as_ref(), name, &containerd.namespace).map(Some)
    }

    /// Reads what containerd's garbage collector looks at, if the images are in containerd's store.
    ///
    /// # Errors
    /// [`StoreError`] where the database cannot be read.
    pub(crate) fn containerd_records(&self) -> Result<Option<Records>, StoreError> {
        let Some(containerd) = self.containerd.as_ref().filter(|_| self.is_containerd_only()) else { return Ok(None) };
        let Some(daemon) = containerd.daemon(&self.dir)? else { return Ok(None) };
        daemon.sub(CONTAINERD_METADATA)?.map_or(Ok(None), |dir| Records::read(&dir).map(Some))
    }

    /// The entries directly in the root whose content is elsewhere: symlinks, and mount points of other file systems.
    /// dockerd follows them, and so do we when we read.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn elsewhere(&self) -> Result<Vec<Elsewhere>, StoreError> {
        let device = rustix::fs::fstat(&self.dir).map_err(StoreError::io(self.dir.path(), "stat"))?.st_dev;
        let counted: Vec<String> = self.outside()?.into_iter().map(|(_, name)| name).collect();
        let mut names = self.dir.names()?;
        names.sort();
        let mut found = Vec::new();
        for name in names {
            let Some(stat) = self.dir.stat(&name)? else { continue };
            let leads_to = match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => self.dir.read_link(&name)?,
                FileType::Directory if stat.st_dev != device => None,
                _ => continue,
            };
            found.push(Elsewhere { place: self.dir.join(&name), leads_to, counted: counted.contains(&name) });
        }
        Ok(found)
    }

    /// Docker's directories that a walk over the root's file system does not reach, each with its name in the root.
    /// None of them lies in another one, and no symlink among them leads into the root.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn outside(&self) -> Result<Vec<(Dir, String)>, StoreError> {
        let device = rustix::fs::fstat(&self.dir).map_err(StoreError::io(self.dir.path(), "stat"))?.st_dev;
        let root = self.dir.real_path()?;
        let home = HomeLayout::home_path(&self.driver_name)[0];
        let mut found: Vec<(PathBuf, Dir, String)> = Vec::new();
        for name in [IMAGE, CONTAINERS, VOLUMES, BUILDKIT, home] {
            let Some(stat) = self.dir.stat(name)? else { continue };
            // A symlink that leads nowhere has no content to count.
            let Ok(Some(dir)) = self.dir.sub(name) else { continue };
            let (real, symlink) = (dir.real_path()?, FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
            if symlink && !real.starts_with(&root) && !root.starts_with(&real) || !symlink && stat.st_dev != device {
                found.push((real, dir, name.to_owned()));
            }
        }
        // After sorting, a directory comes before those that lie in it.
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let mut kept: Vec<(PathBuf, Dir, String)> = Vec::new();
        for (real, dir, name) in found {
            if !kept.iter().any(|(above, ..)| real.starts_with(above)) {
                kept.push((real, dir, name));
            }
        }
        Ok(kept.into_iter().map(|(_, dir, name)| (dir, name)).collect())
    }

    /// The form of the driver's home; `None` if it is not known.
    #[must_use]
    pub fn home_layout(&self) -> Option<HomeLayout> {
        HomeLayout::of_driver(&self.driver_name)
    }

    /// What the driver's home holds.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the home cannot be listed.
    pub(crate) fn entries(&self) -> Result<HomeEntries, StoreError> {
        match (&self.driver, &self.home) {
            (Some(driver), _) => driver.entries(),
            (None, Some(home)) => HomeEntries::named(&self.driver_name, home),
            (None, None) => Ok(HomeEntries::default()),
        }
    }

    /// What the driver's home holds, and which of these layers the driver can certainly mount.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the home cannot be listed.
    pub(crate) fn entries_and_sound(&self, layers: &[Stacked<'_>]) -> Result<(HomeEntries, Vec<bool>), StoreError> {
        match &self.driver {
            Some(driver) => driver.entries_and_sound(layers),
            None => Ok((self.entries()?, vec![false; layers.len()])),
        }
    }

    /// The directory of a layer's own files, in the driver's form; `None` if it is not there, or a file is in its place.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn content(&self, id: &CacheId) -> Result<Option<Dir>, StoreError> {
        let Some(home) = &self.home else {
            let snapshots = self.driver.as_ref().filter(|_| self.is_containerd_only());
            return snapshots.map(|driver| driver.content(id)).transpose();
        };
        if let Some(driver) = self.driver.as_ref().filter(|driver| !driver.keeps_directories()) {
            return if home.stat(id.as_str())?.is_some() { driver.content(id).map(Some) } else { Ok(None) };
        }
        let Some(layer) = home.sub_unless_file(id.as_str())? else { return Ok(None) };
        match self.home_layout().map_or(&[][..], |layout| layout.content) {
            [own] => layer.sub_unless_file(own),
            path => layer.descend(path),
        }
    }

    /// Opens the records of its layers; `None` if it has no images.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn layers(&self) -> Result<Option<LayerStore>, StoreError> {
        self.images_dir.as_ref().map(LayerStore::open).transpose()
    }

    /// The directory of a container's writable layer in the driver's home; `None` if no record says which it is.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn writable_layer(&self, container: &ContainerId) -> Result<Option<CacheId>, StoreError> {
        mount::mount_id(self.layers()?.as_ref().and_then(LayerStore::mounts), container)
    }

    /// The directories of a container in the driver's home, the lowest first: its init files, and what it writes. None if no record
    /// says which they are.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn directories_of(&self, container: &ContainerId) -> Result<Vec<CacheId>, StoreError> {
        let layers = self.layers()?;
        let record = layers.as_ref().and_then(LayerStore::mounts).and_then(|mounts| mount::get(mounts, container));
        Ok(record.map(|record| record.init_id.into_iter().chain(record.mount_id).collect()).unwrap_or_default())
    }

    /// Opens its images; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn images(&self) -> Result<Option<ImageStore>, StoreError> {
        self.images_dir.as_ref().map(ImageStore::open).transpose()
    }

    /// The blobs of registries that held a layer, the youngest last. Docker notes them at a pull or push, as a cache.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn blob_sources(&self, diff_id: DiffId) -> Result<Vec<BlobSource>, StoreError> {
        self.images_dir.as_ref().map_or_else(|| Ok(Vec::new()), |images| distribution::sources_of(images, diff_id))
    }

    /// Reads the names of its images.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn references(&self) -> Result<References, StoreError> {
        self.images_dir.as_ref().map_or_else(|| Ok(References::default()), References::load)
    }
}

/// `<uid>.<gid>`, the name of the directory for a mapping of users inside the root.
fn id_pair(name: &str) -> Option<(u32, u32)> {
    let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
    let (uid, gid) = name.split_once('.')?;
    Some((number(uid)?, number(gid)?))
}

/// Whether a directory of this name and group is for a mapping of users. dockerd gives it to the mapped group at once.
/// A directory that was copied without its owner is recognised by numbers of at least 10,000; smaller ones, such as
/// `20.10`, may be a version.
fn is_mapping(name: &str, group: u32) -> bool {
    const NO_VERSION: u32 = 10_000;
    id_pair(name).is_some_and(|(uid, gid)| gid == group && gid != 0 || uid >= NO_VERSION && gid >= NO_VERSION)
}
