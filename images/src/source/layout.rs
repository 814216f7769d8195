//! An archive that is a directory: an OCI layout, or an unpacked `docker save`.

use std::fs::File;
use std::path::Path;

use layerfs::open_in_root;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::namespace::{NameError, clean_name};

/// A directory whose files are opened beneath it and nowhere else.
#[derive(Debug)]
pub(super) struct Layout {
    root: OwnedFd,
}

/// Why a file of a layout cannot be opened.
#[derive(Debug)]
pub(super) enum LayoutError {
    Name(NameError),
    Io(std::io::Error),
}

impl LayoutError {
    pub(super) fn into_io(self) -> std::io::Error {
        match self {
            Self::Name(error) => std::io::Error::other(error),
            Self::Io(error) => error,
        }
    }
}

impl Layout {
    pub(super) fn open(path: &Path) -> std::io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// Opens the regular file `name`. Symlinks are followed as if the directory were the root of the file system.
    pub(super) fn file(&self, name: &str) -> Result<File, LayoutError> {
        let cleaned = clean_name(name).map_err(LayoutError::Name)?;
        // Opening a named pipe must not block, and a terminal must not become the controlling one of this process.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = name.to_owned();
        let opened = open_in_root(&self.root, cleaned.as_bytes(), flags).map_err(|errno| match errno {
            Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG => LayoutError::Name(NameError::Missing { file }),
            Errno::LOOP => LayoutError::Name(NameError::Loop { file }),
            Errno::NXIO => LayoutError::Name(NameError::NotAFile { file, kind: "socket or device" }),
            errno => LayoutError::Io(errno.into()),
        })?;
        let opened = File::from(opened);
        let kind = opened.metadata().map_err(LayoutError::Io)?.file_type();
        if kind.is_file() {
            return Ok(opened);
        }
        let kind = if kind.is_dir() { "directory" } else { "device or named pipe" };
        Err(LayoutError::Name(NameError::NotAFile { file: name.to_owned(), kind }))
    }
}
