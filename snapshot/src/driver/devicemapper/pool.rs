//! A pool that is read from its files or devices.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dm::{Devices, LoopDevice, ThinDevice, ThinPool, ThinVolume};
use rustix::fs::{CWD, OFlags};

use super::NAME;
use super::file_system::{FileSystem, UNKNOWN, Writing};
use crate::dir::{Dir, open_unseen};
use crate::error::StoreError;
use crate::schema::devicemapper::DeviceFile;

/// The files of a pool, in the directory of that name in the driver's own.
pub(super) const METADATA: &str = "metadata";
pub(super) const DATA: &str = "data";

/// The directory of everything that a layer shows, in its file system.
pub(super) const CONTENT: &str = "rootfs";

/// The file of a pool's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataFile {
    /// Bytes that the file system has allocated for it.
    pub allocated: u64,
    /// Bytes that the pool uses.
    pub used: u64,
}

/// A thin pool that is not active.
#[derive(Debug)]
pub struct InactivePool {
    metadata: File,
    metadata_path: PathBuf,
    data: File,
    data_path: PathBuf,
}

impl InactivePool {
    /// Opens the pool that dockerd keeps in two files of its directory ("loop-lvm").
    pub(super) fn in_files(own: &Dir) -> Result<Self, StoreError> {
        let missing = || StoreError::Invalid {
            path: own.path().to_path_buf(),
            reason: "its pool is not in files here but on block devices, which have to be named".into(),
        };
        let dir = own.sub(NAME)?.ok_or_else(missing)?;
        if dir.stat(METADATA)?.is_none() || dir.stat(DATA)?.is_none() {
            return Err(missing());
        }
        Self::open(&dir.join(METADATA), &dir.join(DATA))
    }

    /// Opens the pool in two files or block devices: one of metadata, one of data.
    ///
    /// # Errors
    /// [`StoreError`], also if a loop device shows one of them: then the pool may be active.
    pub fn open(metadata: &Path, data: &Path) -> Result<Self, StoreError> {
        let open = |path: &Path| -> Result<File, StoreError> {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let file = open_unseen(CWD, path, flags).map_err(StoreError::io(path, "opening"))?.into();
            if let Some(device) = dm::shown_by(&file).map_err(StoreError::io("/sys/block", "reading"))? {
                let reason = format!("{} shows it, so its pool may be active; stop the daemon first", device.display());
                return Err(StoreError::Invalid { path: path.to_path_buf(), reason });
            }
            Ok(file)
        };
        Ok(Self {
            metadata: open(metadata)?,
            metadata_path: metadata.to_path_buf(),
            data: open(data)?,
            data_path: data.to_path_buf(),
        })
    }

    /// The pool's metadata.
    ///
    /// # Errors
    /// [`StoreError::Pool`] if it is no pool, or damaged at its root.
    pub fn thin(&self) -> Result<ThinPool<'_>, StoreError> {
        ThinPool::open(&self.metadata).map_err(|source| StoreError::Pool { path: self.metadata_path.clone(), source })
    }

    /// What the file of the data takes up on the disk, and what of it the pool uses. Of a block device, nothing.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn data_file(&self) -> Result<DataFile, StoreError> {
        /// Bytes in which `st_blocks` counts.
        const UNIT: u64 = 512;
        let superblock = self.thin()?.superblock().clone();
        let found = self.data.metadata().map_err(StoreError::io(&self.data_path, "stat"))?;
        let used = superblock.data_used.saturating_mul(superblock.block_size);
        Ok(DataFile { allocated: found.blocks() * UNIT, used })
    }

    /// The file or block device that holds the data.
    pub(crate) fn data(&self) -> &File {
        &self.data
    }

    /// Where the data is.
    pub(crate) fn data_path(&self) -> &Path {
        &self.data_path
    }

    /// The thin device of a file, and its content.
    fn volume(&self, file: &DeviceFile) -> Result<ThinVolume, StoreError> {
        let pool = self.thin()?;
        let Devices { by_id, lost_mappings, .. } = pool.devices();
        let invalid = |reason: String| StoreError::Invalid { path: self.metadata_path.clone(), reason };
        let device =
            file.thin_id().and_then(|id| by_id.get(&id.into())).filter(|device: &&ThinDevice| device.is_mapped());
        let Some(device) = device else {
            let reason = match lost_mappings.first() {
                Some(damage) => format!("device {} is lost: {damage}", file.id),
                None => format!("the pool has no device {}", file.id),
            };
            return Err(invalid(reason));
        };
        Ok(ThinVolume::read(&pool, device, file.size))
    }

    /// Writes the block image of a device to `to`, an empty file. What the pool's damage has lost becomes zeros; it is
    /// returned as the volume's [`lost`](ThinVolume::lost) parts.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn copy(&self, file: &DeviceFile, to: &File) -> Result<ThinVolume, StoreError> {
        let volume = self.volume(file)?;
        volume.copy_to(&self.data, to).map_err(StoreError::io(&self.data_path, "copying a device from"))?;
        Ok(volume)
    }

    /// Mounts a layer's file system, rebuilt in a temporary file, and opens the directory of its content.
    pub(super) fn show(&self, file: &DeviceFile) -> Result<Dir, StoreError> {
        let place = std::env::temp_dir();
        let image = Dir::open(&place)?.unnamed_file()?;
        let volume = self.copy(file, &image)?;
        let invalid = |reason: String| StoreError::Invalid { path: self.data_path.clone(), reason };
        if let Some(damage) = volume.lost().first() {
            let last = damage.keys.end.saturating_sub(1);
            let what = format!("device {}, blocks {} to {last}", file.id, damage.keys.start);
            return Err(invalid(format!("{what} are lost: {damage}")));
        }
        let kind = FileSystem::detect(&image).map_err(StoreError::io(&place, "reading a temporary file in"))?;
        let kind = kind.ok_or_else(|| invalid(format!("device {} {UNKNOWN}", file.id)))?;
        let device =
            LoopDevice::attach(&image).map_err(StoreError::io("/dev/loop-control", "making a loop device by"))?;
        let mounted = kind.mount(device.path(), Writing::Never);
        let mounted = mounted.map_err(StoreError::io(device.path(), "mounting the file system of a layer from"))?;
        content_of(mounted, file, &self.data_path)
    }
}

/// The directory of a layer's content in the file system of its device. `path` is what an error names.
pub(super) fn content_of(mounted: OwnedFd, file: &DeviceFile, path: &Path) -> Result<Dir, StoreError> {
    let missing = || StoreError::Invalid {
        path: path.to_path_buf(),
        reason: format!("device {} has no directory {CONTENT}", file.id),
    };
    let content = Dir::unnamed(mounted).sub(CONTENT)?.ok_or_else(missing)?;
    Ok(Dir::unnamed(content.into()))
}
