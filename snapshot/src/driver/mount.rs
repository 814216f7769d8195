//! A mounted layer: shown with everything below it.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::dir::Dir;
use crate::error::StoreError;

/// What is going to be done with a mounted layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// It is read. Where the kernel can mount without a mount point, nothing in the data-root changes.
    ReadOnly,
    /// It is written to, as a container's layer is.
    ReadWrite,
}

/// A layer that is shown with everything below it, until this is dropped.
#[derive(Debug)]
#[must_use = "dropped, the layer is unmounted again"]
pub struct MountGuard {
    dir: Dir,
    /// The mount point, and the directory that holds it.
    point: Option<(Dir, String)>,
}

impl MountGuard {
    /// A directory that shows the layer as it is.
    pub(super) fn plain(dir: Dir) -> Self {
        Self { dir, point: None }
    }

    /// A mount at `parent`/`name`, a directory that is removed when the mount ends.
    pub(super) fn at(dir: Dir, parent: Dir, name: &str) -> Self {
        Self { dir, point: Some((parent, name.to_owned())) }
    }

    /// The same mount, of which `dir` is shown.
    pub(super) fn showing(mut self, dir: Dir) -> Self {
        self.dir = dir;
        self
    }

    /// Where the layer is. A mount without a mount point has a path that only this process can use.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The layer's root, open.
    #[must_use]
    pub fn dir(&self) -> &Dir {
        &self.dir
    }

    /// Unmounts it, as a drop does, and says what went wrong.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn unmount(mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let Some((parent, name)) = self.point.take() else { return Ok(()) };
        unmount(&parent, &name)
    }
}

impl Drop for MountGuard {
    fn drop(&mut self) {
        // Drop cannot return the error. If the mount stays, the guard of the root finds it: it looks for mounts below
        // the home.
        let _ = self.end();
    }
}

/// Unmounts `parent`/`name` and removes the mount point. Succeeds too if nothing is mounted there, or if it does not
/// exist.
pub(super) fn unmount(parent: &Dir, name: &str) -> Result<(), StoreError> {
    let path: PathBuf = parent.join(name);
    match rustix::mount::unmount(&path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
        Err(errno) => return Err(StoreError::io(path, "unmounting")(errno)),
    }
    match rustix::fs::unlinkat(parent, name, rustix::fs::AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(StoreError::io(path, "removing")(errno)),
    }
}

/// Refuses the directory `dir`/`name` of a layer if something is mounted on it.
pub(super) fn refuse_mounted(dir: &Dir, name: &str) -> Result<(), StoreError> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let found = match rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(StoreError::io(dir.join(name), "stat")(errno)),
    };
    // Kernels before 5.8 do not report MOUNT_ROOT; there, another device number shows a mount of another file system.
    let own = rustix::fs::statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS);
    let own = own.map_err(StoreError::io(dir.path(), "stat"))?;
    let other_device = (own.stx_dev_major, own.stx_dev_minor) != (found.stx_dev_major, found.stx_dev_minor);
    if other_device || found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        let reason = "something is mounted there; stop what uses it first".to_owned();
        return Err(StoreError::Invalid { path: dir.join(name), reason });
    }
    Ok(())
}
