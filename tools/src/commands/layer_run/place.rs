//! Where everything is while a command runs: a file system in memory that only this process and the container see.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use nix::mount::{MntFlags, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::Uid;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount,
};
use snapshot::dir::Dir;
use snapshot::edit::fill_init_layer;

use super::fuse::{self, Fuse};

/// Directories that nearly every system has. The file system hides what is in one of them, for this process only.
const POINTS: [&str; 8] = ["/mnt", "/media", "/srv", "/opt", "/run", "/var/tmp", "/tmp", "/dev/shm"];

#[derive(Debug)]
pub(super) struct Place {
    base: PathBuf,
    /// What shows directories in the kernel's stead.
    fuse: RefCell<Vec<Fuse>>,
}

impl Place {
    /// Makes a place that hides none of the paths `used`.
    pub(super) fn make(used: &[PathBuf]) -> anyhow::Result<Self> {
        let used: Vec<PathBuf> = used.iter().filter_map(|path| existing(path)).collect();
        let is_free = |point: &&&str| {
            let Ok(point) = fs::canonicalize(**point) else { return false };
            point.is_dir() && !used.iter().any(|path| path.starts_with(&point))
        };
        let Some(point) = POINTS.iter().find(is_free) else { bail!("there is no directory to mount on: make /mnt") };
        unshare(CloneFlags::CLONE_NEWNS).context("making a name space of mounts")?;
        let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
        mount_change("/", flags).context("separating the mounts from the host's")?;
        let memory = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).context("making a file system in memory")?;
        fsconfig_set_string(&memory, "source", NAME)?;
        fsconfig_set_string(&memory, "mode", "0711")?;
        // Large enough for every image; what is not written takes up nothing.
        fsconfig_set_string(&memory, "size", "90%")?;
        fsconfig_create(&memory).context("making a file system in memory")?;
        let mount = fsmount(&memory, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?;
        attach(&mount, Path::new(point))?;
        Ok(Self { base: PathBuf::from(point), fuse: RefCell::default() })
    }

    /// A directory of this name in it.
    pub(super) fn dir(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.base.join(name);
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// Shows `lower` with a layer above it that is written to: in `keep`, or in memory.
    pub(super) fn above(&self, lower: &Path, keep: Option<&Path>) -> anyhow::Result<PathBuf> {
        let Some(keep) = keep else { return self.overlay(&[lower], &self.dir("layer")?) };
        // What has to exist for mounts of the host's is not kept: it is in a layer below, as docker has it.
        let init = self.dir("init")?;
        let filled = self.overlay(&[lower], &init)?;
        fill_init_layer(&Dir::open(&filled)?)?;
        umount2(&filled, MntFlags::MNT_DETACH).context("unmounting the init layer")?;
        self.overlay(&[&init.join("diff"), lower], keep)
    }

    /// Shows directories, the topmost first, with `layer` above them.
    fn overlay(&self, lower: &[&Path], layer: &Path) -> anyhow::Result<PathBuf> {
        let (upper, work) = (layer.join("diff"), layer.join("work"));
        for dir in [&upper, &work] {
            fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        }
        let root = self.dir("root")?;
        match kernel_overlay(lower, &upper, &work).and_then(|mount| attach(&mount, &root)) {
            // Some kernels let only root of the host mount an overlay, and some file systems cannot be written to by one.
            Err(error) if in_user_namespace() => {
                let shown = fuse::mount(&list(lower), &upper, &work, &root);
                let shown = shown
                    .with_context(|| format!("{error:#}; without the kernel's overlay, another program is needed"))?;
                self.fuse.borrow_mut().push(shown);
            }
            mounted => mounted?,
        }
        Ok(root)
    }
}

/// An overlay of the kernel's, which is nowhere yet.
fn kernel_overlay(lower: &[&Path], upper: &Path, work: &Path) -> anyhow::Result<OwnedFd> {
    let overlay = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context("mounting an overlay")?;
    let set = |key: &str, value: &Path| {
        fsconfig_set_string(&overlay, key, value)
            .with_context(|| format!("mounting an overlay with {}", value.display()))
    };
    // Before Linux 6.7 there is one list, in which colons and backslashes need a backslash.
    if lower.iter().any(|dir| fsconfig_set_string(&overlay, "lowerdir+", *dir).is_err()) {
        set("lowerdir", &list(lower))?;
    }
    set("source", Path::new("overlay"))?;
    set("upperdir", upper)?;
    set("workdir", work)?;
    set("index", Path::new("off"))?;
    if in_user_namespace() {
        fsconfig_set_flag(&overlay, "userxattr")?;
    }
    fsconfig_create(&overlay).with_context(|| format!("mounting an overlay on {}", list(lower).display()))?;
    Ok(fsmount(&overlay, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())?)
}

const NAME: &str = super::NAME;

/// Whether ids are mapped, or this user is not root: either way, trusted attributes cannot be had.
pub(super) fn in_user_namespace() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole = map.split_whitespace().map(str::parse::<u64>).collect::<Result<Vec<_>, _>>();
    !Uid::effective().is_root() || whole != Ok(vec![0, 0, 4_294_967_295])
}

/// Puts a mount at a path.
pub(super) fn attach(mount: impl std::os::fd::AsFd, point: &Path) -> anyhow::Result<()> {
    let failed = || format!("mounting at {}", point.display());
    let dir = rustix::fs::openat(CWD, point, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).with_context(failed)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", dir, "", flags).with_context(failed)
}

/// Directories as overlayfs has them in one text.
fn list(dirs: &[&Path]) -> PathBuf {
    let mut all = Vec::new();
    for dir in dirs {
        if !all.is_empty() {
            all.push(b':');
        }
        for &byte in dir.as_os_str().as_bytes() {
            if matches!(byte, b':' | b'\\') && dirs.len() > 1 {
                all.push(b'\\');
            }
            all.push(byte);
        }
    }
    PathBuf::from(OsString::from_vec(all))
}

/// A path without links, as far as it exists.
fn existing(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let mut rest: Vec<OsString> = Vec::new();
    for above in absolute.ancestors() {
        if let Ok(real) = fs::canonicalize(above) {
            return Some(rest.iter().rev().fold(real, |path, name| path.join(name)));
        }
        rest.push(above.file_name()?.to_owned());
    }
    None
}
