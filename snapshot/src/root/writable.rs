//! A data-root that may be written to, with its locks.

use std::path::Path;

use layerfs::delete::Deletion;

use super::guard::{self, Guard, OpenedRoot};
use super::lock::Locks;
use crate::dir::{CreatedDirectories, Dir};
use crate::driver::{AnyDriver, Driver};
use crate::error::StoreError;
use crate::schema::image::ImageStore;
use crate::schema::layer::LayerStore;
use crate::schema::paths::IMAGE;

/// A data-root that this process may write to. Nobody else writes to it as long as this value lives.
#[derive(Debug)]
pub struct WritableRoot {
    /// `image/<driver>`.
    pub(crate) images_dir: Dir,
    /// The storage driver.
    pub(crate) driver: AnyDriver,
    /// The records of its layers.
    pub(crate) layers: LayerStore,
    /// Its images.
    pub(crate) images: ImageStore,
    /// How layers are deleted, and how many files were deleted so far.
    pub(crate) deletion: Deletion,
    /// The directories that opening the root has made. They are removed again unless they are kept.
    pub(crate) created: CreatedDirectories,
    /// The directory `image`.
    image: Dir,
    /// The root itself.
    dir: Dir,
    locks: Locks,
    new: bool,
}

impl WritableRoot {
    /// Opens the data-root at `path` for writing, creating what is missing of it.
    ///
    /// `driver` is the driver that the user named, if any. With a named driver, a root is accepted that might belong to
    /// containerd's store.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where writing would do harm; nothing is changed then.
    pub(crate) fn open(path: &Path, driver: Option<&'static str>) -> Result<Self, StoreError> {
        let OpenedRoot { dir, locks, mut created, new, driver } = Guard { driver }.ask(path)?.open()?;
        let name = driver;
        // The driver comes first: if the kernel lacks what it needs, nothing else is to be made.
        let driver = AnyDriver::create(&dir, name, &mut created)?;
        let image = created.ensure(&dir, IMAGE, 0o700)?;
        let images_dir = created.ensure(&image, name, 0o700)?;
        let layers = LayerStore::create(&images_dir, &mut created)?;
        let images = ImageStore::create(&images_dir, &mut created)?;
        Ok(Self { images_dir, driver, layers, images, deletion: Deletion::default(), created, image, dir, locks, new })
    }

    /// `image/<driver>`.
    #[must_use]
    pub fn images_dir(&self) -> &Dir {
        &self.images_dir
    }

    /// The storage driver.
    #[must_use]
    pub fn driver(&self) -> &AnyDriver {
        &self.driver
    }

    /// The records of its layers.
    #[must_use]
    pub fn layers(&self) -> &LayerStore {
        &self.layers
    }

    /// Its images.
    #[must_use]
    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    /// How layers are deleted, and how many files were deleted so far.
    #[must_use]
    pub fn deletion(&self) -> &Deletion {
        &self.deletion
    }

    /// Whether it was made by this process, or was empty before.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// The root itself.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Looks once more whether a daemon has started. We keep a daemon away by locking its databases, so one could start
    /// if these did not exist.
    ///
    /// # Errors
    /// [`StoreError::Refused`]
    pub(crate) fn check_again(&mut self) -> Result<(), StoreError> {
        self.locks.extend(&self.dir)?;
        guard::check_mounts(&self.dir, self.driver.name())
    }

    /// Makes the directories above the stores durable.
    pub(crate) fn sync_parents(&self) -> Result<(), StoreError> {
        [&self.images_dir, &self.image, &self.dir].into_iter().try_for_each(Dir::sync)
    }
}

/// Opens a directory. If it does not exist, creates it with `mode`, and the missing directories above it with mode 755.
pub fn open_or_create(path: &Path, mode: u32, created: &mut CreatedDirectories) -> Result<Dir, StoreError> {
    let absolute = std::path::absolute(path).map_err(StoreError::io(path, "opening"))?;
    let mut missing = Vec::new();
    let mut existing = absolute.as_path();
    while !existing.try_exists().map_err(StoreError::io(existing, "opening"))? {
        let (Some(name), Some(parent)) = (existing.file_name().and_then(|name| name.to_str()), existing.parent())
        else {
            return Err(StoreError::Invalid {
                path: absolute.clone(),
                reason: "not a path that can be created".into(),
            });
        };
        missing.push(name.to_owned());
        existing = parent;
    }
    let mut dir = Dir::open(existing)?;
    while let Some(name) = missing.pop() {
        dir = created.ensure(&dir, &name, if missing.is_empty() { mode } else { 0o755 })?;
    }
    Ok(dir)
}
