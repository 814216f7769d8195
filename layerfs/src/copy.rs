//! A tree that is a copy of another one, as drivers need it that cannot stack directories.
//!
//! Follows moby v20.10.24 `daemon/graphdriver/copy/copy.go`, and keeps more: extended attributes, holes, and hard links of
//! all nodes that can have them. SELinux labels are left to the system, which gives a label by where a file is.

use std::collections::HashMap;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::path::join;
use crate::sys::beneath::open_dir;
use crate::sys::node;

/// Attributes that are not copied.
const LEFT_OUT: &[u8] = b"security.selinux";

/// Bytes copied at once, where the kernel does not do it.
const PIECE: usize = 256 << 10;

/// Copies everything below the directory `from` to the empty directory `to`, and what `from` itself has: owner, mode,
/// times, attributes. Where the file system shares blocks between files, nothing is copied but names.
///
/// # Errors
/// The first error of a system call; part of the copy is there then.
pub fn copy_tree(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    tree(from.as_fd(), to.as_fd(), How::Clone)
}

/// Does what [`copy_tree`] does, but gives each node that is no directory one more name instead of a copy: both trees have the
/// same files. A file that cannot have more names is copied.
///
/// # Errors
/// The first error of a system call; part of the tree is there then.
pub fn link_tree(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    tree(from.as_fd(), to.as_fd(), How::Link)
}

fn tree(from: BorrowedFd<'_>, to: BorrowedFd<'_>, how: How) -> Result<(), Errno> {
    let mut copy = Copy { from, to, linked: HashMap::new(), how, attributes: vec![0; 1024] };
    let mut left = vec![Vec::new()];
    let mut directories = Vec::new();
    while let Some(path) = left.pop() {
        copy.directory(&path, &mut left)?;
        directories.push(path);
    }
    // Children first: each change below a directory changes its times.
    for path in directories.iter().rev() {
        let (from, to) = (open_dir(copy.from, path)?, open_dir(copy.to, path)?);
        let stat = node::stat(&from, b".")?;
        copy.metadata((&from, &to), b".", &stat)?;
    }
    Ok(())
}

/// Ways to copy a file's content, fastest first. A way that fails is not tried again for the rest of the tree.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// The file gets one more name.
    Link,
    /// The copy shares the blocks of the original.
    Clone,
    /// The kernel copies the bytes.
    Range,
    /// This process reads and writes the bytes.
    Bytes,
}

struct Copy<'f> {
    from: BorrowedFd<'f>,
    to: BorrowedFd<'f>,
    /// The first path of each node that has several, by the node's device and inode number.
    linked: HashMap<(u64, u64), Vec<u8>>,
    how: How,
    /// Room for the names of attributes.
    attributes: Vec<u8>,
}

impl Copy<'_> {
    /// Copies what is in the directory `path`; directories in it are created, and left for later.
    fn directory(&mut self, path: &[u8], left: &mut Vec<Vec<u8>>) -> Result<(), Errno> {
        let (from, to) = (readable(open_dir(self.from, path)?)?, open_dir(self.to, path)?);
        for entry in Dir::read_from(&from)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let stat = node::stat(&from, name)?;
            if node::file_type(&stat) == FileType::Directory {
                rustix::fs::mkdirat(&to, name, Mode::RWXU)?;
                left.push(join(path, name));
                continue;
            }
            if self.how == How::Link {
                match rustix::fs::linkat(&from, name, &to, name, AtFlags::empty()) {
                    Ok(()) => continue,
                    // Another file system, or one without hard links.
                    Err(Errno::XDEV | Errno::PERM | Errno::OPNOTSUPP) => self.how = How::Clone,
                    // This file has as many names as it can have.
                    Err(Errno::MLINK) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if stat.st_nlink > 1 {
                let number = (stat.st_dev, stat.st_ino);
                if let Some(first) = self.linked.get(&number) {
                    let slash = first.iter().rposition(|&byte| byte == b'/');
                    let (dir, base) = slash.map_or((&b""[..], &first[..]), |at| (&first[..at], &first[at + 1..]));
                    rustix::fs::linkat(open_dir(self.to, dir)?, base, &to, name, AtFlags::empty())?;
                    continue;
                }
                self.linked.insert(number, join(path, name));
            }
            self.node((&from, &to), name, &stat)?;
            self.metadata((&from, &to), name, &stat)?;
        }
        Ok(())
    }

    /// Copies a node that is no directory, without its metadata.
    fn node(&mut self, (from, to): (&OwnedFd, &OwnedFd), name: &[u8], stat: &Stat) -> Result<(), Errno> {
        match node::file_type(stat) {
            FileType::RegularFile => self.file((from, to), name, stat),
            FileType::Symlink => {
                let target = rustix::fs::readlinkat(from, name, Vec::new())?;
                rustix::fs::symlinkat(target, to, name)
            }
            kind => rustix::fs::mknodat(to, name, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev),
        }
    }

    fn file(&mut self, (from, to): (&OwnedFd, &OwnedFd), name: &[u8], stat: &Stat) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = unseen(from, name, flags)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let copy = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?;
        let length = u64::try_from(stat.st_size).unwrap_or_default();
        if length == 0 {
            return Ok(());
        }
        if matches!(self.how, How::Clone | How::Link) {
            match rustix::fs::ioctl_ficlone(&copy, &source) {
                Ok(()) => return Ok(()),
                // Whatever the reason of the failure is, the file can still be copied.
                Err(_) if self.how == How::Clone => self.how = How::Range,
                Err(_) => {}
            }
        }
        rustix::fs::ftruncate(&copy, length)?;
        let (mut source, copy) = (std::fs::File::from(source), std::fs::File::from(copy));
        let mut at = 0;
        while at < length {
            let Some((start, end)) = data(&mut source, at, length)? else { break };
            self.range(&source, &copy, start, end)?;
            at = end;
        }
        Ok(())
    }

    /// Copies the bytes from `start` to `end`.
    fn range(&mut self, from: &std::fs::File, to: &std::fs::File, start: u64, end: u64) -> Result<(), Errno> {
        let mut at = start;
        while self.how != How::Bytes && at < end {
            let (mut read, mut write) = (at, at);
            let length = usize::try_from(end - at).unwrap_or(usize::MAX).min(1 << 30);
            match rustix::fs::copy_file_range(from, Some(&mut read), to, Some(&mut write), length) {
                // The file has become shorter.
                Ok(0) => return Ok(()),
                Ok(copied) => at += copied as u64,
                Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM | Errno::BADF) => {
                    self.how = How::Bytes;
                }
                Err(errno) => return Err(errno),
            }
        }
        let mut piece = vec![0; if at < end { PIECE } else { 0 }];
        while at < end {
            let most = usize::try_from(end - at).unwrap_or(PIECE).min(PIECE);
            let read = from.read_at(&mut piece[..most], at).map_err(errno)?;
            if read == 0 {
                break;
            }
            to.write_all_at(&piece[..read], at).map_err(errno)?;
            at += read as u64;
        }
        Ok(())
    }

    /// Copies owner, attributes, mode and times, in this order: a change of the owner takes mode bits and capabilities away.
    fn metadata(&mut self, (from, to): (&OwnedFd, &OwnedFd), name: &[u8], stat: &Stat) -> Result<(), Errno> {
        node::chown(to, name, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
        self.copy_attributes((from, to), name)?;
        if node::file_type(stat) != FileType::Symlink {
            node::Node::open(to, name)?.chmod(Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        }
        node::set_times(to, name, &times(stat))
    }

    fn copy_attributes(&mut self, (from, to): (&OwnedFd, &OwnedFd), name: &[u8]) -> Result<(), Errno> {
        // Before Linux 6.13 no call takes a directory and a name in it, so the path to the node leads through `/proc`.
        let path = |dir: &OwnedFd| [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat();
        let (from, to) = (path(from), path(to));
        let length = loop {
            match rustix::fs::llistxattr(&from, &mut self.attributes[..]) {
                Ok(length) => break length,
                Err(Errno::RANGE) => self.attributes.resize(self.attributes.len() * 4, 0),
                Err(Errno::OPNOTSUPP) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        };
        let names = self.attributes[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
        for attribute in names.filter(|name| *name != LEFT_OUT) {
            let mut value = vec![0; 256];
            let length = loop {
                match rustix::fs::lgetxattr(&from, attribute, &mut value[..]) {
                    Ok(length) => break Some(length),
                    Err(Errno::RANGE) => value.resize(value.len() * 4, 0),
                    // The attribute was removed after the names were listed.
                    Err(Errno::NODATA) => break None,
                    Err(errno) => return Err(errno),
                }
            };
            if let Some(length) = length {
                rustix::fs::lsetxattr(&to, attribute, &value[..length], XattrFlags::empty())?;
            }
        }
        Ok(())
    }
}

/// The next piece of `file` that is no hole, from `at` on; `None` if only a hole is left.
fn data(file: &mut std::fs::File, at: u64, length: u64) -> Result<Option<(u64, u64)>, Errno> {
    let start = match rustix::fs::seek(&*file, rustix::fs::SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        // This file system does not say where holes are, so all of the file counts as data.
        Err(Errno::INVAL) => return Ok(Some((at, length))),
        Err(errno) => return Err(errno),
    };
    let end = rustix::fs::seek(&*file, rustix::fs::SeekFrom::Hole(start)).unwrap_or(length);
    file.seek(SeekFrom::Start(0)).map_err(errno)?;
    // A file that grows meanwhile is copied up to the length it had.
    Ok((start < length).then_some((start, end.min(length))))
}

fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn times(stat: &Stat) -> Timestamps {
    let nanoseconds = |value: u64| u32::try_from(value).unwrap_or_default();
    node::timestamps((stat.st_atime, nanoseconds(stat.st_atime_nsec)), (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)))
}

/// Opens the directory `anchor` again, to read its entries.
fn readable(anchor: OwnedFd) -> Result<OwnedFd, Errno> {
    unseen(&anchor, b".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC)
}

/// Opens without a trace in the access time, where the kernel allows it: to the owner, and to root.
fn unseen(dir: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}
