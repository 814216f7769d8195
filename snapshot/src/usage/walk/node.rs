//! A directory of the walk, and how it is opened again.
//!
//! A directory whose subdirectories are still to be read keeps its descriptor while few descriptors are open. When
//! there are many, only each 256th level keeps its own, and a directory between is opened again from the nearest one
//! above that has one. So a tree may be of any depth.

use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::process::Resource;

use super::BucketChoice;

/// Each directory whose depth is a multiple of this keeps its descriptor in any case.
const MILESTONE: u32 = 256;

/// Bytes of the longest path that the kernel accepts in one call.
const PATH_MAX: usize = 4096;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens a directory without changing its access time, if the kernel allows that to this process: it must be root or
/// the owner.
pub(super) fn open(dir: BorrowedFd<'_>, name: &CStr) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(dir, name, DIRECTORY | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, DIRECTORY, Mode::empty()),
        opened => opened,
    }
}

/// Counts the descriptors that are kept, up to a limit.
#[derive(Debug)]
pub(super) struct Slots {
    kept: AtomicUsize,
    /// How many descriptors may be kept for all levels together.
    limit: usize,
}

impl Slots {
    pub(super) fn new() -> Self {
        let allowed = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(1024);
        // The other half is for milestones, and for whatever else the process has open.
        Self { kept: AtomicUsize::new(0), limit: usize::try_from(allowed / 2).unwrap_or(512).min(512) }
    }
}

/// An open descriptor that is counted in its [`Slots`].
#[derive(Debug)]
struct CountedFd {
    fd: OwnedFd,
    slots: Arc<Slots>,
}

impl CountedFd {
    fn new(fd: OwnedFd, slots: &Arc<Slots>) -> Self {
        slots.kept.fetch_add(1, Ordering::Relaxed);
        Self { fd, slots: Arc::clone(slots) }
    }
}

impl Drop for CountedFd {
    fn drop(&mut self) {
        self.slots.kept.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A directory with subdirectories.
#[derive(Debug)]
pub(super) struct Node {
    parent: Option<Arc<Self>>,
    name: CString,
    depth: u32,
    pub(super) place: BucketChoice,
    kept: Option<CountedFd>,
}

impl Node {
    /// Makes the node of the directory at which a walk begins; `path` is what all paths begin with.
    pub(super) fn root(fd: OwnedFd, path: CString, place: BucketChoice, slots: &Arc<Slots>) -> Arc<Self> {
        let kept = Some(CountedFd::new(fd, slots));
        Arc::new(Self { parent: None, name: path, depth: 0, place, kept })
    }

    /// Makes the node of a subdirectory. Returns its descriptor if the node does not keep it.
    pub(super) fn below(
        parent: &Arc<Self>,
        name: &CStr,
        fd: OwnedFd,
        place: BucketChoice,
        slots: &Arc<Slots>,
    ) -> (Arc<Self>, Option<OwnedFd>) {
        let depth = parent.depth.saturating_add(1);
        let keep = depth.is_multiple_of(MILESTONE) || slots.kept.load(Ordering::Relaxed) < slots.limit;
        let (kept, left) = if keep { (Some(CountedFd::new(fd, slots)), None) } else { (None, Some(fd)) };
        (Arc::new(Self { parent: Some(Arc::clone(parent)), name: name.to_owned(), depth, place, kept }), left)
    }

    /// Its descriptor, if it has kept it.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.kept.as_ref().map(|kept| kept.fd.as_fd())
    }

    /// Its path below the root.
    pub(super) fn path(&self) -> Vec<u8> {
        let mut names = Vec::new();
        let mut at = self;
        while let Some(parent) = &at.parent {
            names.push(at.name.as_bytes());
            at = parent;
        }
        if !at.name.is_empty() {
            names.push(at.name.as_bytes());
        }
        names.reverse();
        names.join(&b'/')
    }

    /// The path of an entry.
    pub(super) fn path_of(&self, name: &CStr) -> Vec<u8> {
        let mut path = self.path();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend(name.to_bytes());
        path
    }

    /// Opens it again, from the nearest directory above that has kept its descriptor.
    pub(super) fn open_again(&self) -> Result<OwnedFd, Errno> {
        let mut names = Vec::new();
        let mut at = self;
        let from = loop {
            match (at.fd(), &at.parent) {
                (Some(fd), _) => break fd,
                (None, Some(parent)) => {
                    names.push(at.name.as_c_str());
                    at = parent;
                }
                (None, None) => unreachable!("the root keeps its descriptor"),
            }
        };
        names.reverse();
        descend(from, &names)
    }
}

/// Opens a directory far below, following no symlink.
fn descend(from: BorrowedFd<'_>, names: &[&CStr]) -> Result<OwnedFd, Errno> {
    let mut current = rustix::io::fcntl_dupfd_cloexec(from, 3)?;
    let mut left = names;
    while !left.is_empty() {
        let mut path = Vec::new();
        let mut taken = 0;
        for name in left {
            if !path.is_empty() && path.len() + 1 + name.count_bytes() >= PATH_MAX {
                break;
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend(name.to_bytes());
            taken += 1;
        }
        current = match rustix::fs::openat2(&current, path, DIRECTORY, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
            Err(Errno::NOSYS) => {
                taken = 1;
                open(current.as_fd(), left[0])?
            }
            opened => opened?,
        };
        left = &left[taken..];
    }
    Ok(current)
}

impl Drop for Node {
    /// Drops the directories above one after the other: dropping them recursively would need a stack as deep as the
    /// tree.
    fn drop(&mut self) {
        let mut next = self.parent.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.parent.take();
        }
    }
}
