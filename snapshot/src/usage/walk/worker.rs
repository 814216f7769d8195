//! One thread of a walk: reads directories, deepest first.

use std::collections::VecDeque;
use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, RawDir, Stat};
use rustix::io::Errno;

use super::node::{self, Node, Slots};
use super::pool::{Batch, Names, WorkPool};
use super::{BucketChoice, Decide, FoundByThread, MAX_REPORTED, Unreadable, Usage, Visit, Walked, links};

/// Bytes of the buffer that the kernel fills with directory entries.
const BUFFER: usize = 64 << 10;

/// A directory whose subdirectories are still to be read.
struct Level {
    node: Arc<Node>,
    names: Names,
    /// Its descriptor, if the node has not kept it, while it is the deepest level.
    fd: Option<OwnedFd>,
}

pub(super) struct Worker<'w, 'd, V> {
    device: u64,
    decide: &'w Decide<'d>,
    pool: &'w WorkPool,
    slots: &'w Arc<Slots>,
    /// The levels, the deepest last. Each has at least one name left.
    levels: VecDeque<Level>,
    buffer: Vec<MaybeUninit<u8>>,
    found: FoundByThread<V>,
}

/// Tells the others when a thread ends by a panic.
struct Alarm<'p>(&'p WorkPool);

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.give_up();
        }
    }
}

impl<'w, 'd, V: Visit> Worker<'w, 'd, V> {
    pub(super) fn new(
        device: u64,
        decide: &'w Decide<'d>,
        pool: &'w WorkPool,
        slots: &'w Arc<Slots>,
        visitor: V,
    ) -> Self {
        Self {
            device,
            decide,
            pool,
            slots,
            levels: VecDeque::new(),
            buffer: vec![MaybeUninit::uninit(); BUFFER],
            found: FoundByThread { walked: Walked::default(), links: links::Seen::default(), visitor },
        }
    }

    /// Works until there is nothing left for anybody.
    pub(super) fn run(mut self) -> FoundByThread<V> {
        let _alarm = Alarm(self.pool);
        let mut name = Vec::new();
        while let Some(Batch { node, names }) = self.pool.take() {
            self.levels.push_back(Level { node, names, fd: None });
            while self.step(&mut name) {
                if self.pool.hungry() {
                    self.share();
                }
            }
        }
        self.found
    }

    /// Reads the root, and returns its subdirectories as work for the first thread that takes it.
    pub(super) fn read_root(&mut self, root: &Arc<Node>) -> Option<Batch> {
        let fd = root.fd()?;
        // Open the directory once more: reading its entries moves the offset of the descriptor.
        match node::open(fd, c".") {
            Ok(fd) => {
                let names = self.read(fd.as_fd(), root.place, &|| root.path());
                Some(Batch { node: Arc::clone(root), names })
            }
            Err(errno) => {
                self.fail(errno, || root.path());
                None
            }
        }
    }

    /// Reads one directory; false if there is none.
    fn step(&mut self, name: &mut Vec<u8>) -> bool {
        let Some(mut level) = self.levels.pop_back() else { return false };
        if !level.names.pop(name) {
            return true;
        }
        let name = CStr::from_bytes_with_nul(name).expect("names are stored with their NUL");
        if level.node.fd().is_none() && level.fd.is_none() {
            match level.node.open_again() {
                Ok(fd) => level.fd = Some(fd),
                Err(errno) => {
                    // The directory cannot be opened again, so its remaining subdirectories are not counted.
                    self.fail(errno, || level.node.path());
                    return true;
                }
            }
        }
        let parent = level.node.fd().or(level.fd.as_ref().map(AsFd::as_fd)).expect("it was opened above");
        let below = self.enter(&level.node, parent, name);
        if below.is_some() {
            // This level is no longer the deepest one.
            level.fd = None;
        }
        if !level.names.is_empty() {
            self.levels.push_back(level);
        }
        self.levels.extend(below);
        true
    }

    /// Counts a subdirectory and reads it.
    fn enter(&mut self, parent: &Arc<Node>, dir: BorrowedFd<'_>, name: &CStr) -> Option<Level> {
        let opened = node::open(dir, name).and_then(|fd| Ok((rustix::fs::fstat(&fd)?, fd)));
        let path = || parent.path_of(name);
        let (stat, fd) = match opened {
            Ok((stat, fd)) => (stat, Some(fd)),
            Err(errno) => match self.stat(dir, name, path) {
                // It exists, but it cannot be opened.
                Some(stat) => {
                    if stat.st_dev == self.device && is_directory(&stat) {
                        self.fail(errno, path);
                    }
                    (stat, None)
                }
                None => return None,
            },
        };
        if stat.st_dev != self.device {
            return None;
        }
        let place = self.place(parent.place, true, path);
        if !is_directory(&stat) {
            self.count_file(place.bucket, &stat, &path);
            return None;
        }
        self.count_directory(place.bucket, &stat);
        let fd = fd?;
        self.found.visitor.directory(fd.as_fd(), &path);
        let names = self.read(fd.as_fd(), place, &path);
        if names.is_empty() {
            return None;
        }
        let (node, fd) = Node::below(parent, name, fd, place, self.slots);
        Some(Level { node, names, fd })
    }

    /// Counts all entries of a directory but its subdirectories, whose names it returns.
    fn read(&mut self, dir: BorrowedFd<'_>, place: BucketChoice, path: &dyn Fn() -> Vec<u8>) -> Names {
        let mut names = Names::default();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut entries = RawDir::new(dir, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                Ok(entry) => entry,
                Err(Errno::NOENT) => break,
                Err(errno) => {
                    self.fail(errno, path);
                    break;
                }
            };
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            if entry.file_type() == FileType::Directory {
                names.push(name);
                continue;
            }
            let path = || joined(path(), name);
            let Some(stat) = self.stat(dir, name, path) else { continue };
            if is_directory(&stat) {
                names.push(name);
            } else if stat.st_dev == self.device {
                let place = self.place(place, false, path);
                self.count_file(place.bucket, &stat, &path);
            }
        }
        self.buffer = buffer;
        names
    }

    fn place(&self, above: BucketChoice, directory: bool, path: impl Fn() -> Vec<u8>) -> BucketChoice {
        if above.ask_below { (self.decide)(&path(), directory) } else { above }
    }

    fn stat(&mut self, dir: BorrowedFd<'_>, name: &CStr, path: impl Fn() -> Vec<u8>) -> Option<Stat> {
        match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => {
                self.found.walked.vanished += 1;
                None
            }
            Err(errno) => {
                self.fail(errno, path);
                None
            }
        }
    }

    pub(super) fn count_directory(&mut self, bucket: u32, stat: &Stat) {
        let usage = self.usage(bucket);
        usage.allocated += allocated(stat);
        usage.directories += 1;
        usage.inodes += 1;
    }

    fn count_file(&mut self, bucket: u32, stat: &Stat, path: &dyn Fn() -> Vec<u8>) {
        let (allocated, apparent) = (allocated(stat), apparent(stat));
        let usage = self.usage(bucket);
        usage.files += 1;
        if stat.st_nlink > 1 {
            self.found.links.add(bucket, stat, (allocated, apparent));
        } else {
            usage.allocated += allocated;
            usage.apparent += apparent;
            usage.inodes += 1;
        }
        self.found.visitor.file(stat, path);
    }

    fn usage(&mut self, bucket: u32) -> &mut Usage {
        let buckets = &mut self.found.walked.buckets;
        let index = bucket as usize;
        if index >= buckets.len() {
            buckets.resize(index + 1, Usage::default());
        }
        &mut buckets[index]
    }

    fn fail(&mut self, errno: Errno, path: impl Fn() -> Vec<u8>) {
        let walked = &mut self.found.walked;
        walked.error_count += 1;
        if walked.errors.len() < MAX_REPORTED {
            walked.errors.push(Unreadable { path: path(), errno });
        }
    }

    /// Gives away the names nearest to the root, since most of the work is below them.
    fn share(&mut self) {
        let only = self.levels.len() == 1;
        let Some(first) = self.levels.front_mut() else { return };
        let names = first.names.split(!only);
        let node = Arc::clone(&first.node);
        if first.names.is_empty() {
            self.levels.pop_front();
        }
        if !names.is_empty() {
            self.pool.give(Some(Batch { node, names }));
        }
    }
}

fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// `st_blocks` counts blocks of 512 bytes, whatever the block size of the file system.
fn allocated(stat: &Stat) -> u64 {
    u64::try_from(stat.st_blocks).unwrap_or_default() * 512
}

fn apparent(stat: &Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile | FileType::Symlink => u64::try_from(stat.st_size).unwrap_or_default(),
        _ => 0,
    }
}

fn joined(mut path: Vec<u8>, name: &CStr) -> Vec<u8> {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend(name.to_bytes());
    path
}
