//! The files of a container as it sees them: of one that runs its own mounts, of another one its layer with volumes and binds on it.
//!
//! Nothing is found by a path of the host: every path is resolved by the kernel below an open root (`RESOLVE_IN_ROOT`),
//! so that no symlink and no rename by the container leads out (CVE-2018-15664, CVE-2026-41568).

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Gid, Mode, OFlags, Uid, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, OpenTreeFlags, mount_remount, move_mount, open_tree};
use snapshot::driver::{Access, Driver, MountGuard};
use snapshot::edit::Transaction;
use snapshot::ids::ContainerId;
use snapshot::schema::container::ContainerFiles;
use snapshot::schema::containerfile::MountPointFile;

use super::{invalid, is_directory, kind_of, parent, there};
use crate::ContainerError;
use crate::covers;
use crate::inside::{self, open_at};
use crate::lifecycle::own_runtime;
use crate::place::Place;
use crate::settle::remove_mount_point;
use crate::volume_options::{Mounted, mount_volume};

/// A container's files.
pub(super) struct Shown {
    root: OwnedFd,
    /// Holds the layer of a container that does not run.
    mount: Option<MountGuard>,
    /// Volumes that were made with options are mounted for as long.
    volumes: Vec<Mounted>,
}

/// The root of a running container, through its own mounts.
pub(super) fn running(id: &ContainerId) -> Result<Shown, ContainerError> {
    let runtime = own_runtime(&Place::for_container(id))?;
    let pid = runtime.state(id.as_str())?.pid;
    let path = format!("/proc/{pid}/root");
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, &path, flags, Mode::empty()).map_err(ContainerError::io("opening", &path))?;
    // The number may have become another process's meanwhile.
    if runtime.state(id.as_str())?.pid != pid {
        return invalid(format!("container {id} has ended"));
    }
    Ok(Shown { root, mount: None, volumes: Vec::new() })
}

impl Shown {
    /// Mounts the layer of a container that does not run, with what it has mounted, for this thread alone.
    pub(super) fn mount(
        transaction: &mut Transaction,
        driver: Option<&'static str>,
        id: &ContainerId,
        files: &ContainerFiles,
    ) -> Result<Self, ContainerError> {
        let root = transaction.root();
        let root_path = root.dir().path().to_path_buf();
        let missing = || ContainerError::Invalid(format!("container {id}: mount does not exist"));
        let layer = snapshot::root::DataRoot::find(&root_path, driver)?.writable_layer(id)?.ok_or_else(missing)?;
        remove_mount_point(root.driver(), &layer);
        let mount = root.driver().mount(&layer, Access::ReadWrite)?;
        let opened = open_at(mount.dir().as_fd(), b"/", OFlags::PATH | OFlags::DIRECTORY);
        let opened = opened.map_err(ContainerError::io("opening", mount.path()))?;
        let mut shown = Self { root: opened, mount: Some(mount), volumes: Vec::new() };
        for cover in covers::list(&root_path, id, files) {
            if let Some(name) = &cover.volume {
                shown.volumes.extend(mount_volume(&root_path, name)?);
            }
            shown.bind(&cover.source, cover.at.as_bytes(), cover.writable)?;
        }
        Ok(shown)
    }

    /// Mounts a file or directory of the host at `at`. That place is made where it is missing, as docker does.
    fn bind(&self, source: &Path, at: &[u8], writable: bool) -> Result<(), ContainerError> {
        let failed = ContainerError::io("mounting", source);
        let result = (|| {
            let is_dir = is_directory(source)?;
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
            let tree = open_tree(CWD, source, flags)?;
            let point = match open_at(self.root.as_fd(), at, OFlags::PATH) {
                Err(Errno::NOENT) => {
                    self.make(at, is_dir)?;
                    open_at(self.root.as_fd(), at, OFlags::PATH)?
                }
                opened => opened?,
            };
            let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
            move_mount(&tree, "", &point, "", empty)?;
            if !writable {
                mount_remount(
                    format!("/proc/self/fd/{}", tree.as_raw_fd()),
                    MountFlags::BIND | MountFlags::RDONLY,
                    "",
                )?;
            }
            Ok::<_, Errno>(())
        })();
        result.map_err(failed)
    }

    fn make(&self, at: &[u8], is_dir: bool) -> Result<(), Errno> {
        if is_dir {
            return self.make_directory(at).map(drop);
        }
        let dir = self.make_directory(&parent(at))?;
        let name = at.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(dir, name, flags, Mode::from_raw_mode(0o755)).map(drop)
    }

    /// Opens a directory that is made, with those above it, where it is missing.
    pub(super) fn make_directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        inside::make(&self.root, path)
    }

    /// What stands at a path, itself and not what it leads to; with a slash or a dot at the end, what it leads to. `None` for nothing.
    pub(super) fn kind(&self, path: &[u8]) -> Result<Option<FileType>, Errno> {
        let follows = path.ends_with(b"/") || super::ends_with_dot(path);
        let flags = OFlags::PATH | if follows { OFlags::DIRECTORY } else { OFlags::NOFOLLOW };
        let Some(node) = there(open_at(self.root.as_fd(), path, flags))? else { return Ok(None) };
        rustix::fs::fstat(node).map(|stat| Some(FileType::from_raw_mode(stat.st_mode)))
    }

    /// Where a symlink leads.
    pub(super) fn link(&self, path: &[u8]) -> Result<Vec<u8>, Errno> {
        let node = open_at(self.root.as_fd(), path, OFlags::PATH | OFlags::NOFOLLOW)?;
        rustix::fs::readlinkat(node, "", Vec::new()).map(std::ffi::CString::into_bytes)
    }

    /// Opens a directory; links lead to where they lead inside.
    pub(super) fn directory(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        open_at(self.root.as_fd(), path, OFlags::RDONLY | OFlags::DIRECTORY)
    }

    /// A copy may go neither into a volume nor into a root file system that may only be read (moby v20.10.24
    /// `daemon/archive_unix.go: checkIfPathIsInAVolume`). Both the path as written and the directory that it leads to
    /// are checked.
    pub(super) fn check_writable(
        &self,
        files: &ContainerFiles,
        path: &[u8],
        into: &OwnedFd,
    ) -> Result<(), ContainerError> {
        let base = self.path_of(&self.root);
        let real = self.path_of(into);
        let real = match (&base, &real) {
            (Some(base), Some(real)) => real.strip_prefix(base.trim_end_matches('/')).map(str::to_owned),
            _ => None,
        };
        let holds = |point: &&MountPointFile, path: &str| {
            path.strip_prefix(point.destination.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let written = String::from_utf8_lossy(&layerfs::path::absolute(path)).into_owned();
        let points = || files.config.mount_points.values().flatten().filter(|point| point.kind != "tmpfs");
        let longest =
            |path: &str| points().filter(|point| holds(point, path)).max_by_key(|point| point.destination.len());
        let found: Vec<&MountPointFile> =
            std::iter::once(written).chain(real).filter_map(|path| longest(&path)).collect();
        if found.iter().any(|point| !point.rw) {
            return invalid("mounted volume is marked read-only");
        }
        if found.is_empty() && files.host.readonly_rootfs {
            return invalid("container rootfs is marked read-only");
        }
        Ok(())
    }

    /// Where an open directory is by the kernel's word.
    fn path_of(&self, dir: &OwnedFd) -> Option<String> {
        let path = std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).ok()?;
        path.into_os_string().into_string().ok()
    }

    /// Takes the mounts away, and says what went wrong.
    pub(super) fn finish(self) -> Result<(), ContainerError> {
        drop((self.root, self.volumes));
        self.mount.map_or(Ok(()), |mount| Ok(mount.unmount()?))
    }
}

/// The container's user by the host's names, as docker has it for `-a` (moby v20.10.24 `daemon/archive_tarcopyoptions_unix.go`).
pub(super) fn user(files: &ContainerFiles) -> Result<Option<(Uid, Gid)>, ContainerError> {
    let name = files.config.config.as_ref().map(|config| config.user.clone()).unwrap_or_default();
    if name.is_empty() {
        return Ok(None);
    }
    let text = std::fs::read_to_string("/etc/passwd").map_err(ContainerError::io("reading", "/etc/passwd"))?;
    let line = |at: usize| {
        text.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|words| words.get(at) == Some(&name.as_str()))
    };
    let found = line(0).or_else(|| line(2)).and_then(|words| {
        let number = |at: usize| words.get(at)?.parse::<u32>().ok().filter(|number| *number != u32::MAX);
        Some((Uid::from_raw(number(2)?), Gid::from_raw(number(3)?)))
    });
    match found {
        Some(found) => Ok(Some(found)),
        None => invalid(format!("getent unable to find entry \"{name}\" in passwd database")),
    }
}

/// Makes a directory, or takes one that is there.
pub(super) fn make_directory(dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    match kind_of(dir, name)? {
        Some(FileType::Directory) => Ok(()),
        _ => mkdirat(dir, name, Mode::RWXU),
    }
}
