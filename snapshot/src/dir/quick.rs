//! Small files read with few system calls and without an allocation, for passes over all layers of a store.
//!
//! These functions answer only where everything is as dockerd writes it. For anything else the caller asks again with
//! [`Dir::read`], which says what is wrong.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::{Dir, SMALL_FILE, open_small};

/// What is in the place of a small file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Small<'b> {
    /// Text that is not empty.
    Text(&'b str),
    /// Nothing of this name.
    Missing,
    /// Anything else: an empty file, one that fills the buffer, one that cannot be read or is no text.
    Other,
}

impl<'b> Small<'b> {
    /// The text, if it is one.
    pub(crate) fn text(self) -> Option<&'b str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Missing | Self::Other => None,
        }
    }
}

/// Opens the directory `name` in `dir` only to reach what is in it, which costs less than opening it to read. `None` if it is not
/// there, or no directory.
pub(crate) fn reach(dir: &Dir, name: &str) -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty());
    opened.inspect_err(|errno| dir.shortage.note(*errno, || dir.join(name))).ok()
}

/// The files of a directory in `dir`, each opened from there with one call, which costs less than to open the directory as well.
pub(crate) struct Files<'d> {
    dir: &'d Dir,
    /// The directory's name, a slash, and the name of the file.
    path: String,
    /// Where the name of the file begins.
    start: usize,
}

impl<'d> Files<'d> {
    pub(crate) fn of(dir: &'d Dir, name: &str) -> Self {
        let mut path = String::with_capacity(name.len() + 16);
        path.push_str(name);
        path.push('/');
        Self { dir, start: path.len(), path }
    }

    fn path_of(&mut self, name: &str) -> &str {
        self.path.truncate(self.start);
        self.path.push_str(name);
        &self.path
    }

    /// Reads a small file as [`read`] does. Neither the directory nor the file may be a symlink: that is [`Small::Other`], as is a file
    /// on a kernel that cannot rule it out. [`Small::Missing`] if there is no directory, either.
    pub(crate) fn read<'b>(&mut self, name: &str, buffer: &'b mut [u8]) -> Small<'b> {
        let dir = self.dir;
        let path = self.path_of(name);
        let open = |flags| rustix::fs::openat2(dir, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        let opened = match open(SMALL_FILE | OFlags::NOATIME) {
            Err(Errno::PERM) => open(SMALL_FILE),
            opened => opened,
        };
        read_opened(opened, buffer)
    }

    /// Whether a directory is there. To be asked only where a file was read: the directory that both are in is no symlink then.
    pub(crate) fn has_directory(&mut self, name: &str) -> bool {
        let dir = self.dir;
        let stat = rustix::fs::statat(dir, self.path_of(name), AtFlags::SYMLINK_NOFOLLOW);
        stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }
}

/// Reads a small file into `buffer`, with one read: a file that leaves room in the buffer was read whole. An empty file is
/// [`Small::Other`], since a special file may read as empty.
pub(crate) fn read<'b>(dir: impl AsFd, name: &str, buffer: &'b mut [u8]) -> Small<'b> {
    read_opened(open_small(dir, name).map(OwnedFd::from), buffer)
}

fn read_opened(opened: Result<OwnedFd, Errno>, buffer: &mut [u8]) -> Small<'_> {
    let file = match opened {
        Ok(file) => file,
        Err(Errno::NOENT) => return Small::Missing,
        Err(_) => return Small::Other,
    };
    let size = buffer.len();
    let Ok(length) = rustix::io::read(&file, &mut *buffer) else { return Small::Other };
    let whole = buffer.get(..length).filter(|text| !text.is_empty() && text.len() < size);
    whole.and_then(|text| std::str::from_utf8(text).ok()).map_or(Small::Other, Small::Text)
}
