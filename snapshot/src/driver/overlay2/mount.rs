//! Overlay mounts of a layer and everything below it.
//!
//! With the new mount API every lower directory is a call of its own, so no page-size limit on the options applies;
//! where the kernel lacks `lowerdir+` (before 6.8) the classic option string is used.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use layerfs::apply::XattrNamespace;
use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount as classic_mount, move_mount, unmount as umount,
};

use super::layout;
use crate::dir::Dir;
use crate::error::StoreError;

/// The option string must fit a page.
const MAX_OPTIONS: usize = 4095;

/// Mounts `layer` at its `merged`. A layer without any below is shown as it is, without a mount.
///
/// Read-only where others stand on the layer, as dockerd has it.
pub(super) fn mount(home: &Dir, layer: &Dir, namespace: XattrNamespace) -> Result<PathBuf, StoreError> {
    let lower = layout::lower(layer)?;
    if lower.is_empty() {
        return Ok(layer.join(layout::DIFF));
    }
    let links = home.join(layout::LINKS);
    let mut lower: Vec<PathBuf> = lower.iter().map(|link| links.join(link.as_str())).collect();
    let upper = if layout::is_committed(layer)? {
        lower.insert(0, layer.join(layout::DIFF));
        None
    } else {
        Some((layer.join(layout::DIFF), layer.join(layout::WORK)))
    };
    let merged = layer.join(layout::MERGED);
    if layer.sub(layout::MERGED)?.is_none() {
        layer.create(layout::MERGED, 0o700)?;
    }
    let user = namespace == XattrNamespace::User;
    let mounted = match with_calls(&lower, upper.as_ref(), user, &merged) {
        Err(Errno::NOSYS | Errno::INVAL | Errno::PERM) => with_string(&lower, upper.as_ref(), user, &merged),
        result => result,
    };
    if let Err(errno) = mounted {
        // The mount's error is the one to report.
        let _ = rustix::fs::unlinkat(layer, layout::MERGED, rustix::fs::AtFlags::REMOVEDIR);
        return Err(StoreError::io(merged, "mounting an overlay at")(errno));
    }
    Ok(merged)
}

type Upper = (PathBuf, PathBuf);

fn with_calls(lower: &[PathBuf], upper: Option<&Upper>, user: bool, merged: &Path) -> Result<(), Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for dir in lower {
        fsconfig_set_string(&fs, "lowerdir+", dir)?;
    }
    if let Some((upper, work)) = upper {
        fsconfig_set_string(&fs, "upperdir", upper)?;
        fsconfig_set_string(&fs, "workdir", work)?;
    }
    fsconfig_set_string(&fs, "index", "off")?;
    if user {
        fsconfig_set_flag(&fs, "userxattr")?;
    }
    fsconfig_create(&fs)?;
    let mounted = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
    move_mount(&mounted, "", CWD, merged, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
}

fn with_string(lower: &[PathBuf], upper: Option<&Upper>, user: bool, merged: &Path) -> Result<(), Errno> {
    let mut options = vec!["index=off".to_owned()];
    if user {
        options.push("userxattr".into());
    }
    let lower: Vec<String> = lower.iter().map(|dir| dir.display().to_string()).collect();
    options.push(format!("lowerdir={}", lower.join(":")));
    if let Some((upper, work)) = upper {
        options.push(format!("upperdir={},workdir={}", upper.display(), work.display()));
    }
    let options = options.join(",");
    if options.len() > MAX_OPTIONS {
        return Err(Errno::NAMETOOLONG);
    }
    let options = CString::new(options).map_err(|_| Errno::INVAL)?;
    classic_mount("overlay", merged, "overlay", MountFlags::empty(), options.as_c_str())
}

/// Unmounts `merged` and removes it; not mounted is fine.
pub(super) fn unmount(layer: &Dir) -> Result<(), StoreError> {
    let merged = layer.join(layout::MERGED);
    if layer.sub(layout::MERGED)?.is_none() {
        return Ok(());
    }
    match umount(&merged, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(StoreError::io(merged, "unmounting")(errno)),
    }
    match rustix::fs::unlinkat(layer, layout::MERGED, rustix::fs::AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(StoreError::io(merged, "removing")(errno)),
    }
}
