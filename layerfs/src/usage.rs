//! What a layer's tree holds, by Docker's rule.

use std::collections::HashSet;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::sys::beneath::open_dir;
use crate::sys::node;

/// The sum of `lstat` sizes of everything but directories, each inode once: what dockerd stores in a layer's `size`
/// after a native overlay2 unpack (moby 20.10.24 `pkg/directory/directory_unix.go`).
///
/// # Errors
/// The first error of a system call.
pub fn tree_size(root: impl AsFd) -> Result<u64, Errno> {
    let root = root.as_fd();
    let mut seen = HashSet::new();
    let mut total = 0;
    let mut directories = vec![Vec::new()];
    while let Some(path) = directories.pop() {
        let dir = readable(&open_dir(root, &path)?)?;
        for entry in Dir::read_from(&dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = node::stat(&dir, name)?;
            if node::file_type(&stat) == FileType::Directory {
                directories.push(crate::path::join(&path, name));
            } else if stat.st_nlink == 1 || seen.insert(stat.st_ino) {
                total += u64::try_from(stat.st_size).unwrap_or_default();
            }
        }
    }
    Ok(total)
}

/// Without a trace in its access time, where the kernel allows it: to its owner, and to root.
fn readable(anchor: &OwnedFd) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat(anchor, ".", flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(anchor, ".", flags, Mode::empty()),
        opened => opened,
    }
}
