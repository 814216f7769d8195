//! Counts a tree: every inode once, by several threads, into buckets that the caller chooses.
//!
//! It counts what `du -x` counts: everything with the device number of the root, including directories and the root
//! itself, and an inode with several links once. No symlink is followed. A mount of another file system is left out
//! with its mount point; what is mounted from the same file system is counted where it is mounted, as `du` does.
//!
//! - allocated: blocks of 512 bytes that the file system has given it (`st_blocks`)
//! - apparent: the length of regular files and symlinks; for other types the length says nothing about space
//!
//! Memory: a few bytes for each directory that waits to be read, and a record for each inode with several links.
//! Descriptors are few, however deep the tree is (`node.rs`).

mod links;
mod node;
mod pool;
mod worker;

use std::ffi::CString;
use std::sync::Arc;

use rustix::fd::BorrowedFd;
use rustix::fs::Stat;
use rustix::io::Errno;

pub(crate) use links::Links;

use crate::dir::Dir;
use crate::error::StoreError;
use node::{Node, Slots};
use pool::WorkPool;
use worker::Worker;

/// Where an entry is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BucketChoice {
    /// The bucket.
    pub bucket: u32,
    /// Whether the entries below are decided one by one. Otherwise they are all in the same bucket.
    pub ask_below: bool,
}

/// Decides where an entry is counted: its path below the root, and whether it is a directory.
pub(crate) type Decide<'a> = dyn Fn(&[u8], bool) -> BucketChoice + Sync + 'a;

/// What something takes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Usage {
    /// Bytes allocated.
    pub allocated: u64,
    /// Bytes long.
    pub apparent: u64,
    /// Names of everything but directories.
    pub files: u64,
    /// Directories.
    pub directories: u64,
    /// Inodes, directories included.
    pub inodes: u64,
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.allocated += other.allocated;
        self.apparent += other.apparent;
        self.files += other.files;
        self.directories += other.directories;
        self.inodes += other.inodes;
    }
}

impl std::iter::Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |mut sum, one| {
            sum += one;
            sum
        })
    }
}

/// Something that could not be counted, or not completely.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Its path below the root.
    pub path: Vec<u8>,
    /// The system's answer.
    pub errno: Errno,
}

/// What a walk has counted.
#[derive(Debug, Default)]
pub(crate) struct Walked {
    /// What each bucket takes up. An inode with links in several buckets is counted in the lowest of them.
    pub buckets: Vec<Usage>,
    /// Inodes that no single bucket has all links of.
    pub links: Links,
    /// What could not be read: the first [`MAX_REPORTED`].
    pub errors: Vec<Unreadable>,
    /// How many could not be read.
    pub error_count: u64,
    /// Entries that disappeared while they were read.
    pub vanished: u64,
}

/// How many errors are kept; further ones are only counted.
pub(crate) const MAX_REPORTED: usize = 1000;

/// Is called for the entries of the tree; `path` returns an entry's path below the root.
pub trait Visit: Send {
    /// Called for each name of everything that is not a directory.
    fn file(&mut self, _stat: &Stat, _path: &dyn Fn() -> Vec<u8>) {}

    /// Called for each directory that can be read, except the root, before the entries in it.
    fn directory(&mut self, _dir: BorrowedFd<'_>, _path: &dyn Fn() -> Vec<u8>) {}
}

impl Visit for () {}

/// The bytes that a tree takes up on the file system, its root included.
///
/// # Errors
/// [`StoreError::Io`] if the root cannot be read.
pub(crate) fn allocated(root: &Dir) -> Result<u64, StoreError> {
    let (walked, _) = walk(root, 1, &|_, _| BucketChoice { bucket: 0, ask_below: false }, || ())?;
    Ok(walked.buckets.iter().map(|bucket| bucket.allocated).sum())
}

/// Counts the tree at `root` with `threads` threads. Nothing is written, not even access times where the kernel allows
/// it.
///
/// Each thread has a visitor of its own, made by `visitor`; all are handed back.
///
/// # Errors
/// [`StoreError::Io`] if the root itself cannot be read. What is wrong below is in [`Walked::errors`].
pub(crate) fn walk<V: Visit>(
    root: &Dir,
    threads: usize,
    decide: &Decide<'_>,
    visitor: impl Fn() -> V,
) -> Result<(Walked, Vec<V>), StoreError> {
    walk_as(root, b"", threads, decide, visitor)
}

/// Counts a tree as [`walk()`] does, for a directory that has another place in the whole: all paths begin with `path`.
///
/// # Errors
/// Those of [`walk()`].
pub(crate) fn walk_as<V: Visit>(
    root: &Dir,
    path: &[u8],
    threads: usize,
    decide: &Decide<'_>,
    visitor: impl Fn() -> V,
) -> Result<(Walked, Vec<V>), StoreError> {
    let stat = rustix::fs::fstat(root).map_err(StoreError::io(root.path(), "stat"))?;
    let threads = threads.max(1);
    let slots = Arc::new(Slots::new());
    let pool = WorkPool::new(threads);
    let place = decide(path, true);
    let path = CString::new(path).map_err(|_| StoreError::io(root.path(), "naming")(Errno::INVAL))?;
    let node = Node::root(root.owned_fd()?, path, place, &slots);
    let mut first = Worker::new(stat.st_dev, decide, &pool, &slots, visitor());
    first.count_directory(place.bucket, &stat);
    pool.give(first.read_root(&node));
    let found: Vec<_> = std::thread::scope(|scope| {
        let mut others = Vec::new();
        for _ in 1..threads {
            let worker = Worker::new(stat.st_dev, decide, &pool, &slots, visitor());
            let Ok(other) = std::thread::Builder::new().spawn_scoped(scope, || worker.run()) else { break };
            others.push(other);
        }
        // If the system refuses to start more threads, the existing ones count the whole tree.
        pool.set_threads(1 + others.len());
        let own = first.run();
        let joined = others.into_iter().map(|other| match other.join() {
            Ok(found) => found,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        std::iter::once(own).chain(joined).collect()
    });
    drop(node);
    Ok(merge(found))
}

/// What one thread has found.
#[derive(Debug)]
struct FoundByThread<V> {
    walked: Walked,
    links: links::Seen,
    visitor: V,
}

fn merge<V>(found: Vec<FoundByThread<V>>) -> (Walked, Vec<V>) {
    let mut all = Walked::default();
    let mut seen = links::Seen::default();
    let mut visitors = Vec::new();
    for one in found {
        if all.buckets.len() < one.walked.buckets.len() {
            all.buckets.resize(one.walked.buckets.len(), Usage::default());
        }
        for (sum, usage) in all.buckets.iter_mut().zip(&one.walked.buckets) {
            *sum += *usage;
        }
        all.errors.extend(one.walked.errors);
        all.error_count += one.walked.error_count;
        all.vanished += one.walked.vanished;
        seen.append(one.links);
        visitors.push(one.visitor);
    }
    all.errors.sort_by(|a, b| a.path.cmp(&b.path));
    all.errors.truncate(MAX_REPORTED);
    all.links = seen.count(&mut all.buckets);
    (all, visitors)
}

#[cfg(test)]
mod tests;
