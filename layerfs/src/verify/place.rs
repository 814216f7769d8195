//! Where in a layer's directory a member is: its directory, open, and a key that is the same for all names that lead there.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::sys::in_root::open_in_root;

/// How many directories are held open. A tar goes through a tree in order, so a few are enough.
const HELD: usize = 64;

/// An open directory of the layer.
#[derive(Debug)]
pub(super) struct Parent {
    pub(super) fd: OwnedFd,
    pub(super) inode: u64,
}

impl Parent {
    /// A key of a name in it.
    pub(super) fn key(&self, base: &[u8]) -> Vec<u8> {
        key(self.inode, base)
    }
}

/// A key of a name in the directory with this inode.
pub(super) fn key(inode: u64, base: &[u8]) -> Vec<u8> {
    [&inode.to_le_bytes(), base].concat()
}

/// The directories of a layer, opened as members name them.
#[derive(Debug)]
pub(super) struct Places {
    root: OwnedFd,
    held: HashMap<Vec<u8>, Arc<Parent>>,
}

impl Places {
    pub(super) fn new(root: OwnedFd) -> Self {
        Self { root, held: HashMap::new() }
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// Opens the directory `dir`, through symlinks of the layer, and never out of it.
    pub(super) fn parent(&mut self, dir: &[u8]) -> Result<Arc<Parent>, Errno> {
        if let Some(held) = self.held.get(dir) {
            return Ok(Arc::clone(held));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let path = if dir.is_empty() { b".".as_slice() } else { dir };
        let fd = open_in_root(&self.root, path, flags)?;
        let inode = rustix::fs::fstat(&fd)?.st_ino;
        let parent = Arc::new(Parent { fd, inode });
        if self.held.len() >= HELD {
            self.held.clear();
        }
        self.held.insert(dir.to_vec(), Arc::clone(&parent));
        Ok(parent)
    }
}

/// Opens a file for reading, without a trace in its access time where the kernel allows it. If the name is a fifo or a
/// terminal by now, opening it like this neither blocks nor has side effects.
pub(super) fn open_file(dir: impl AsFd, base: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::openat(&dir, base, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(&dir, base, flags, Mode::empty()),
        opened => opened,
    }
}
