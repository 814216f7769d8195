//! Small files read with few system calls and without an allocation, for passes over all layers of a store.
//!
//! These functions answer only where everything is as dockerd writes it. For anything else the caller asks again with
//! [`Dir::read`], which says what is wrong.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{Dir, open_small};

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

/// Reads a small file into `buffer`, with one read: a file that leaves room in the buffer was read whole. An empty file is
/// [`Small::Other`], since a special file may read as empty.
pub(crate) fn read<'b>(dir: impl AsFd, name: &str, buffer: &'b mut [u8]) -> Small<'b> {
    let file = match open_small(dir, name) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Small::Missing,
        Err(_) => return Small::Other,
    };
    let size = buffer.len();
    let Ok(length) = rustix::io::read(&file, &mut *buffer) else { return Small::Other };
    let whole = buffer.get(..length).filter(|text| !text.is_empty() && text.len() < size);
    whole.and_then(|text| std::str::from_utf8(text).ok()).map_or(Small::Other, Small::Text)
}
