//! What a layer's tree holds, by Docker's rule.

use std::collections::HashSet;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::sys::beneath::open_dir;
use crate::sys::node;

/// The sum of `lstat` sizes of everything but directories, each inode once: what dockerd stores in a layer's `size`
/// after a native overlay2 unpack (moby 20.10.24 `pkg/directory/directory_unix.go`).
///
/// # Errors
/// The first error of a system call.
pub fn tree_size(root: impl AsFd) -> Result<u64, Errno> {
    sum_sizes(root.as_fd(), |_| Ok(()), |(), _, _| Ok(true))
}

/// Bytes of the blocks of everything in the tree and of its root, each inode once, and how many inodes these are: what
/// containerd records of a snapshot (containerd v2.1.9 `core/snapshots`, continuity `fs/du_unix.go`).
///
/// # Errors
/// The first error of a system call.
pub fn tree_blocks(root: impl AsFd) -> Result<(u64, u64), Errno> {
    /// Bytes in which `st_blocks` counts.
    const UNIT: u64 = 512;
    let root = root.as_fd();
    let blocks = |stat: &Stat| u64::try_from(stat.st_blocks).unwrap_or_default() * UNIT;
    let (mut seen, mut directories) = (HashSet::new(), vec![Vec::new()]);
    let (mut bytes, mut inodes) = (blocks(&rustix::fs::fstat(root)?), 1);
    while let Some(path) = directories.pop() {
        let dir = readable(&open_dir(root, &path)?)?;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = node::stat(&dir, name)?;
            let is_directory = node::file_type(&stat) == FileType::Directory;
            if is_directory || stat.st_nlink == 1 || seen.insert((stat.st_dev, stat.st_ino)) {
                bytes += blocks(&stat);
                inodes += 1;
            }
            if is_directory {
                directories.push(crate::path::join(&path, name));
            }
        }
    }
    Ok((bytes, inodes))
}

/// The sum of the sizes of what is not in the tree `old`, or differs from it: what Docker says that a container has written,
/// where layers are whole trees (moby 20.10.24 `pkg/archive/changes.go: ChangesSize`). Contents are not looked at.
///
/// # Errors
/// The first error of a system call.
pub fn changed_size(new: impl AsFd, old: impl AsFd) -> Result<u64, Errno> {
    let old = old.as_fd();
    let below = |path: &[u8]| match open_dir(old, path) {
        Ok(below) => Ok(Some(below)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(errno),
    };
    sum_sizes(new.as_fd(), below, |below, name, stat| {
        match below.as_ref().map_or(Err(Errno::NOENT), |below| node::stat(below, name)) {
            Ok(before) => Ok(differs(&before, stat)),
            Err(Errno::NOENT) => Ok(true),
            Err(errno) => Err(errno),
        }
    })
}

/// The sum of the sizes of everything but directories that `counts`, each inode once. `enter` is called for each directory's
/// path, and what it returns is given to `counts` with the names in that directory.
fn sum_sizes<T>(
    root: BorrowedFd<'_>,
    enter: impl Fn(&[u8]) -> Result<T, Errno>,
    counts: impl Fn(&T, &[u8], &Stat) -> Result<bool, Errno>,
) -> Result<u64, Errno> {
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut directories = vec![Vec::new()];
    while let Some(path) = directories.pop() {
        let dir = readable(&open_dir(root, &path)?)?;
        let entered = enter(&path)?;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = node::stat(&dir, name)?;
            if node::file_type(&stat) == FileType::Directory {
                directories.push(crate::path::join(&path, name));
            } else if counts(&entered, name, &stat)? && (stat.st_nlink == 1 || seen.insert(stat.st_ino)) {
                total += u64::try_from(stat.st_size).unwrap_or_default();
            }
        }
    }
    Ok(total)
}

/// Whether a node that is no directory differs from what it was. A time without a fraction of a second may have lost
/// it, and equals any time in that second.
fn differs(old: &Stat, new: &Stat) -> bool {
    let times = old.st_mtime == new.st_mtime
        && (old.st_mtime_nsec == new.st_mtime_nsec || old.st_mtime_nsec == 0 || new.st_mtime_nsec == 0);
    let of = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev, stat.st_size);
    of(old) != of(new) || !times
}

/// Opens the directory `anchor` again, to read its entries, without a trace in its access time where the kernel allows
/// it: to its owner, and to root.
fn readable(anchor: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(anchor, ".", flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(anchor, ".", flags, Mode::empty()),
        opened => opened,
    }
}
