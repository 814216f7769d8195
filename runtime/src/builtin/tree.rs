//! The container's root while it is made: paths in it are resolved below one open directory, and mounted on by descriptor.
//!
//! No name is resolved twice. Whoever swaps a directory for a link meanwhile (in a volume that two containers share) finds
//! that the mount went to what was there before (CVE-2021-30465, CVE-2023-27561, CVE-2024-45310).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, statat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};

use crate::again::retry;

/// A directory that is, or will be, the root of the container.
#[derive(Debug)]
pub(super) struct Tree(OwnedFd);

/// What has to be where something is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Point {
    Directory,
    File,
}

const FOUND: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

impl Tree {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self(root)
    }

    /// What is at a path, links followed as the container would follow them.
    pub(super) fn find(&self, path: &str) -> io::Result<OwnedFd> {
        let flags = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(retry(|| openat2(&self.0, relative(path), FOUND, Mode::empty(), flags))?)
    }

    /// What is at a path without any link in it; `None` if there is nothing, or a link.
    pub(super) fn find_plain(&self, path: &str) -> io::Result<Option<OwnedFd>> {
        let flags = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match retry(|| openat2(&self.0, relative(path), FOUND, Mode::empty(), flags)) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Where something is mounted. What is missing is made, as Docker's runtime makes it: directories and files of mode 0755.
    pub(super) fn point(&self, path: &str, kind: Point) -> io::Result<OwnedFd> {
        match self.find(path) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let (parent, name) = self.parent(path)?;
        if kind == Point::File {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match openat(&parent, &name, flags, Mode::from_raw_mode(0o755)) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno.into()),
            }
            return Ok(openat(&parent, &name, FOUND | OFlags::NOFOLLOW, Mode::empty())?);
        }
        make_dir(parent.as_fd(), &name)
    }

    /// The directory in which a path's last name is, made if it is missing, and that name.
    pub(super) fn parent(&self, path: &str) -> io::Result<(OwnedFd, PathBuf)> {
        let clean = clean(path);
        let (Some(dir), Some(name)) = (clean.parent(), clean.file_name()) else {
            return Err(Errno::EXIST.into());
        };
        let mut known = dir;
        let mut missing = Vec::new();
        let mut at = loop {
            match self.find(&known.to_string_lossy()) {
                Ok(found) => break found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
            let (Some(above), Some(name)) = (known.parent(), known.file_name()) else {
                return Err(Errno::NOENT.into());
            };
            missing.push(name);
            known = above;
        };
        for name in missing.into_iter().rev() {
            at = make_dir(at.as_fd(), Path::new(name))?;
        }
        Ok((at, PathBuf::from(name)))
    }
}

impl AsFd for Tree {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Makes a directory and opens it. A link with this name is not followed.
pub(super) fn make_dir(parent: BorrowedFd<'_>, name: &Path) -> io::Result<OwnedFd> {
    match mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    Ok(openat(parent, name, FOUND | OFlags::NOFOLLOW | OFlags::DIRECTORY, Mode::empty())?)
}

/// Puts a mount that is nowhere yet at what is open.
pub(super) fn attach(mount: impl AsFd, point: impl AsFd) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(mount, "", point, "", flags)?)
}

/// Another mount of what is open, which is nowhere yet.
pub(super) fn copy_of(what: impl AsFd, recursive: bool) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let flags = if recursive { flags | OpenTreeFlags::AT_RECURSIVE } else { flags };
    Ok(open_tree(what, "", flags)?)
}

pub(super) fn kind_of(what: impl AsFd) -> io::Result<Point> {
    let found = statat(what, "", AtFlags::EMPTY_PATH)?;
    let is_dir = FileType::from_raw_mode(found.st_mode) == FileType::Directory;
    Ok(if is_dir { Point::Directory } else { Point::File })
}

/// A path without `.`, `..` and leading slashes: `..` takes the name before it away.
fn clean(path: &str) -> PathBuf {
    let mut clean = PathBuf::new();
    for part in Path::new(path).components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

fn relative(path: &str) -> PathBuf {
    let clean = clean(path);
    if clean.as_os_str().is_empty() { PathBuf::from(".") } else { clean }
}
