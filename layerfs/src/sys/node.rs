//! Metadata of one name in an open directory, never through a symlink.
//!
//! Owner and times have calls that take a directory and do not follow. Mode and attributes do not (before kernels 6.6
//! and 6.13): they go through the descriptor's own entry in `/proc/self/fd`, which leads to the very node that is open.

use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

/// `lstat` below an open directory.
pub(crate) fn stat(dir: impl AsFd, base: &[u8]) -> Result<Stat, Errno> {
    rustix::fs::statat(dir, base, AtFlags::SYMLINK_NOFOLLOW)
}

/// The type in a `stat` result.
pub(crate) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Whether a `stat` result is an overlay whiteout: a character device 0:0.
pub(crate) fn is_whiteout(stat: &Stat) -> bool {
    file_type(stat) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// Sets the owner; `None` leaves it.
pub(crate) fn chown(dir: impl AsFd, base: &[u8], uid: Option<Uid>, gid: Option<Gid>) -> Result<(), Errno> {
    rustix::fs::chownat(dir, base, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
}

/// Reads an attribute of `base` itself, with one call.
pub(crate) fn get_xattr(dir: impl AsFd, base: &[u8], name: &str, value: &mut [u8]) -> Result<usize, Errno> {
    let path = [format!("/proc/self/fd/{}/", dir.as_fd().as_raw_fd()).as_bytes(), base].concat();
    rustix::fs::lgetxattr(path, name, value)
}

/// Sets access and modification time.
pub(crate) fn set_times(dir: impl AsFd, base: &[u8], times: &Timestamps) -> Result<(), Errno> {
    rustix::fs::utimensat(dir, base, times, AtFlags::SYMLINK_NOFOLLOW)
}

/// Times from seconds and nanoseconds.
pub(crate) fn timestamps(access: (i64, u32), modification: (i64, u32)) -> Timestamps {
    let spec = |(tv_sec, nanoseconds): (i64, u32)| Timespec { tv_sec, tv_nsec: nanoseconds.into() };
    Timestamps { last_access: spec(access), last_modification: spec(modification) }
}

/// A node of any type, held open without access to its content.
#[derive(Debug)]
pub(crate) struct Node {
    fd: OwnedFd,
}

impl Node {
    /// Opens `base` itself, not what it may point to.
    pub(crate) fn open(dir: impl AsFd, base: &[u8]) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::openat(dir, base, flags, Mode::empty())? })
    }

    fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.fd.as_raw_fd())
    }

    /// Sets the mode. Not for symlinks.
    pub(crate) fn chmod(&self, mode: Mode) -> Result<(), Errno> {
        rustix::fs::chmod(self.path(), mode)
    }

    /// Sets an attribute.
    pub(crate) fn set_xattr(&self, name: &[u8], value: &[u8]) -> Result<(), Errno> {
        rustix::fs::setxattr(self.path(), name, value, XattrFlags::empty())
    }
}
