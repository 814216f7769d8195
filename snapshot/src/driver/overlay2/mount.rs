//! Overlay mounts of a layer and everything below it.
//!
//! With the new mount API each lower directory is given in a call of its own, so the options need not fit a page. Where
//! the kernel lacks `lowerdir+` (before 6.8), the classic option string is used.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use layerfs::apply::XattrNamespace;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, mount as classic_mount, move_mount,
};

use super::layout;
use crate::dir::Dir;
use crate::driver::mount::{Access, MountGuard, unmount};
use crate::error::StoreError;

/// The option string must fit a page.
const MAX_OPTIONS: usize = 4095;

/// Shows `layer` with everything below it. A layer without any below is shown as it is, without a mount.
///
/// For reading, it is mounted without an upper directory, and without a mount point if the kernel can do that. For
/// writing, it is mounted at its `merged`, as dockerd does.
pub(super) fn mount(
    home: &Dir,
    layer: Dir,
    namespace: XattrNamespace,
    access: Access,
) -> Result<MountGuard, StoreError> {
    if access == Access::ReadWrite && layout::is_committed(&layer)? {
        let reason = "other layers stand on it, so it is not written to".to_owned();
        return Err(StoreError::Invalid { path: layer.path().to_path_buf(), reason });
    }
    let lower = layout::lower(&layer)?;
    if lower.is_empty() {
        let missing = || StoreError::Invalid { path: layer.join(layout::DIFF), reason: "missing".into() };
        return Ok(MountGuard::plain(layer.sub_unless_file(layout::DIFF)?.ok_or_else(missing)?));
    }
    let links = home.join(layout::LINKS);
    let mut overlay = Overlay {
        lower: lower.iter().map(|link| links.join(link.as_str())).collect(),
        upper: None,
        user: namespace == XattrNamespace::User,
    };
    match access {
        Access::ReadOnly => overlay.lower.insert(0, layer.join(layout::DIFF)),
        Access::ReadWrite => overlay.upper = Some((layer.join(layout::DIFF), layer.join(layout::WORK))),
    }
    let mounted = match overlay.detached() {
        Ok(mounted) if access == Access::ReadOnly => return Ok(MountGuard::plain(Dir::unnamed(mounted))),
        Ok(mounted) => Some(mounted),
        // The kernel may be older than these calls, though it has overlayfs: then use the classic mount call below.
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => None,
        Err(errno) => return Err(StoreError::io(layer.path(), "mounting")(errno)),
    };
    let point = layer.create(layout::MERGED, 0o700)?;
    let attached = match mounted {
        Some(mounted) => {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&mounted, "", &point, "", flags)
        }
        None => overlay.with_string(point.path()),
    };
    if let Err(errno) = attached {
        // The mount's error is the one to report.
        let _ = rustix::fs::unlinkat(&layer, layout::MERGED, rustix::fs::AtFlags::REMOVEDIR);
        return Err(StoreError::io(point.path(), "mounting an overlay at")(errno));
    }
    // Open the directory once more: the handle at hand shows the directory that the mount covers.
    match layer.sub(layout::MERGED) {
        Ok(Some(dir)) => Ok(MountGuard::at(dir, layer, layout::MERGED)),
        opened => {
            let _ = unmount(&layer, layout::MERGED);
            let missing = || StoreError::Invalid { path: point.path().to_path_buf(), reason: "missing".into() };
            opened?.ok_or_else(missing).map(MountGuard::plain)
        }
    }
}

/// Shows directories on top of each other, the topmost first, for reading and without a mount point. `place` is the topmost one,
/// for messages.
///
/// # Errors
/// [`StoreError::Io`], also where the kernel cannot mount without a mount point.
pub(in crate::driver) fn show(
    mut stack: Vec<Dir>,
    place: &Path,
    namespace: XattrNamespace,
) -> Result<MountGuard, StoreError> {
    if stack.len() == 1
        && let Some(only) = stack.pop()
    {
        return Ok(MountGuard::plain(only));
    }
    let lower = stack.iter().map(|dir| dir.path().to_path_buf()).collect();
    let overlay = Overlay { lower, upper: None, user: namespace == XattrNamespace::User };
    let mounted = overlay.detached().map_err(StoreError::io(place, "mounting"))?;
    Ok(MountGuard::plain(Dir::unnamed(mounted)))
}

/// What is mounted.
struct Overlay {
    /// Topmost first.
    lower: Vec<PathBuf>,
    /// The upper directory, which is written to, and the kernel's work directory.
    upper: Option<(PathBuf, PathBuf)>,
    user: bool,
}

impl Overlay {
    /// Mounts it without a mount point.
    fn detached(&self) -> Result<OwnedFd, Errno> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        // What stands in the table of mounts, as with dockerd.
        fsconfig_set_string(&fs, "source", "overlay")?;
        for dir in &self.lower {
            fsconfig_set_string(&fs, "lowerdir+", dir)?;
        }
        if let Some((upper, work)) = &self.upper {
            fsconfig_set_string(&fs, "upperdir", upper)?;
            fsconfig_set_string(&fs, "workdir", work)?;
        }
        fsconfig_set_string(&fs, "index", "off")?;
        if self.user {
            fsconfig_set_flag(&fs, "userxattr")?;
        }
        fsconfig_create(&fs)?;
        let attributes = match self.upper {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOATIME,
        };
        fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }

    /// Mounts it at `point` with the classic mount call, which all kernels have.
    fn with_string(&self, point: &Path) -> Result<(), Errno> {
        let mut options = b"index=off,".to_vec();
        if self.user {
            options.extend(b"userxattr,");
        }
        options.extend(b"lowerdir=");
        for (at, dir) in self.lower.iter().enumerate() {
            if at > 0 {
                options.push(b':');
            }
            escape(dir, &mut options);
        }
        if let Some((upper, work)) = &self.upper {
            options.extend(b",upperdir=");
            escape(upper, &mut options);
            options.extend(b",workdir=");
            escape(work, &mut options);
        }
        if options.len() > MAX_OPTIONS {
            return Err(Errno::NAMETOOLONG);
        }
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        let flags = if self.upper.is_none() { MountFlags::RDONLY } else { MountFlags::empty() };
        classic_mount("overlay", point, "overlay", flags, options.as_c_str())
    }
}

/// A path in an option string: overlayfs takes `:` and `,` for separators unless a backslash is before them.
fn escape(path: &Path, options: &mut Vec<u8>) {
    for &byte in path.as_os_str().as_bytes() {
        if matches!(byte, b':' | b',' | b'\\') {
            options.push(b'\\');
        }
        options.push(byte);
    }
}
