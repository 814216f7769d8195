//! The files of an unpacked layer, for rebuilding its tar from the journal.

use std::fs::File;
use std::io;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use tarsplit::assemble::FileGetter;

use crate::path::LayerPath;
use crate::sys::node;

/// Opens a layer's files by the names in its journal, never anything outside its directory.
///
/// Journals by Docker may name a file through a symlink of the layer; an absolute one leads from the layer's root here,
/// where dockerd follows it on the host, where it fails.
#[derive(Debug)]
pub struct LayerFiles {
    root: OwnedFd,
}

impl LayerFiles {
    /// The files below `root`, a layer's `diff` directory.
    #[must_use]
    pub fn new(root: OwnedFd) -> Self {
        Self { root }
    }
}

impl FileGetter for LayerFiles {
    type File = File;

    fn open(&self, name: &[u8]) -> io::Result<File> {
        let path = LayerPath::parse(name).map_err(io::Error::other)?.ok_or(io::ErrorKind::IsADirectory)?;
        // Nothing but a regular file blocks or has side effects when it is opened like this.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let open = |flags| rustix::fs::openat2(&self.root, path.as_bytes(), flags, Mode::empty(), resolve);
        // Without a trace in its access time, where the kernel allows it: to its owner, and to root.
        let file = File::from(match open(flags | OFlags::NOATIME) {
            Err(Errno::PERM) => open(flags)?,
            opened => opened?,
        });
        match node::file_type(&rustix::fs::fstat(&file)?) {
            FileType::RegularFile => Ok(file),
            other => Err(io::Error::other(format!("a regular file is expected, found {other:?}"))),
        }
    }
}
