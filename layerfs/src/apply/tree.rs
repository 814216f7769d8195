//! From a member's path to an open parent directory.
//!
//! Rules (go-archive 0.3.3 over Go's `os.Root`): symlinks that the layer made are followed, absolute ones from the
//! layer's root; a relative one that leads above the root is an error; what is missing, a dangling link's target too, is
//! created. The fast path asks the kernel for a walk without any symlink; only what it refuses is walked by hand.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, OnceLock};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::error::ApplyError;
use crate::path::{join, push};
use crate::sys::beneath::{enter, open_dir};
use crate::sys::node;

/// Symlinks followed on one path, as in the kernel.
const MAX_LINKS: usize = 40;

/// Open parents kept. Archives go directory by directory, so a few are enough; descriptors are scarce.
const MAX_CACHED: usize = 128;

/// What a directory may give to what is made in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HandsDown {
    /// Whether it may give its group: it is set-group-ID, or its group is not that of this process and the file system
    /// may be mounted with `grpid`.
    pub(crate) group: bool,
    /// Whether it gives its set-group-ID bit.
    pub(crate) bit: bool,
}

/// An open directory of the layer.
#[derive(Debug)]
pub(crate) struct Parent {
    pub(crate) fd: OwnedFd,
    /// Its path below the root with no symlink in it.
    pub(crate) real: Vec<u8>,
    /// Looked up at the first question.
    hands_down: OnceLock<HandsDown>,
}

impl Parent {
    fn new(fd: OwnedFd, real: Vec<u8>) -> Self {
        Self { fd, real, hands_down: OnceLock::new() }
    }

    /// What new nodes of a process with the group `gid` may get from this directory. The answer holds until the tree
    /// [forgets](Tree::forget) it.
    pub(crate) fn hands_down(&self, gid: u32) -> HandsDown {
        *self.hands_down.get_or_init(|| match rustix::fs::fstat(&self.fd) {
            Err(_) => HandsDown { group: true, bit: true },
            Ok(stat) => {
                let bit = stat.st_mode & 0o2000 != 0;
                HandsDown { group: bit || stat.st_gid != gid, bit }
            }
        })
    }

    /// The real path of `base` in this directory.
    pub(crate) fn path_of(&self, base: &[u8]) -> Vec<u8> {
        join(&self.real, base)
    }
}

/// The layer's directories.
#[derive(Debug)]
pub(crate) struct Tree {
    root: OwnedFd,
    cache: HashMap<Vec<u8>, Arc<Parent>>,
    last: Option<(Vec<u8>, Arc<Parent>)>,
    /// Owner of directories that no member describes; `None` leaves the caller's.
    implied_owner: Option<(Uid, Gid)>,
    /// Implied directories since the last [`Tree::take_implied`].
    implied: Vec<Implied>,
}

/// Directories that no member describes, made for one member: a path and how many of its innermost components are new.
///
/// It does not hold a path for each of them, because the lengths of these would add up to the square of the depth.
#[derive(Debug)]
pub(crate) struct Implied {
    pub(crate) path: Vec<u8>,
    pub(crate) levels: usize,
}

impl Tree {
    pub(crate) fn new(root: OwnedFd, implied_owner: Option<(Uid, Gid)>) -> Self {
        Self { root, cache: HashMap::new(), last: None, implied_owner, implied: Vec::new() }
    }

    pub(crate) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// The directories created because a member needed them.
    pub(crate) fn take_implied(&mut self) -> Vec<Implied> {
        std::mem::take(&mut self.implied)
    }

    /// Forgets all open directories. To be called when a directory or a symlink was removed, or a directory has a new
    /// owner or mode.
    pub(crate) fn forget(&mut self) {
        self.cache.clear();
        self.last = None;
    }

    /// Opens the directory `path`, creating what is missing. An empty path is the root.
    pub(crate) fn parent(&mut self, path: &[u8]) -> Result<Arc<Parent>, ApplyError> {
        self.cached(path, true)
    }

    /// Opens the directory `path` if it exists and no symlink is in its path.
    pub(crate) fn real(&mut self, path: &[u8]) -> Option<Arc<Parent>> {
        if let Some((last, parent)) = &self.last
            && last == path
        {
            return (parent.real == path).then(|| Arc::clone(parent));
        }
        if !self.cache.contains_key(path) {
            let fd = open_dir(&self.root, path).ok()?;
            self.remember(path, Arc::new(Parent::new(fd, path.to_vec())));
        }
        let parent = Arc::clone(self.cache.get(path)?);
        self.last = Some((path.to_vec(), Arc::clone(&parent)));
        (parent.real == path).then_some(parent)
    }

    /// Opens the directory `path` if it exists.
    pub(crate) fn existing(&mut self, path: &[u8]) -> Result<Arc<Parent>, ApplyError> {
        self.cached(path, false)
    }

    fn cached(&mut self, path: &[u8], create: bool) -> Result<Arc<Parent>, ApplyError> {
        if let Some((last, parent)) = &self.last
            && last == path
        {
            return Ok(Arc::clone(parent));
        }
        let parent = match self.cache.get(path) {
            Some(parent) => Arc::clone(parent),
            None => {
                let parent = Arc::new(self.open(path, create)?);
                self.remember(path, Arc::clone(&parent));
                parent
            }
        };
        self.last = Some((path.to_vec(), Arc::clone(&parent)));
        Ok(parent)
    }

    fn remember(&mut self, path: &[u8], parent: Arc<Parent>) {
        if self.cache.len() >= MAX_CACHED {
            self.cache.clear();
        }
        self.cache.insert(path.to_vec(), parent);
    }

    fn open(&mut self, path: &[u8], create: bool) -> Result<Parent, ApplyError> {
        match open_dir(&self.root, path) {
            Ok(fd) => Ok(Parent::new(fd, path.to_vec())),
            Err(_) => self.walk(path, create),
        }
    }

    /// Walks one component after the other. Holds the descriptor of one directory, so that depth costs no descriptors.
    fn walk(&mut self, path: &[u8], create: bool) -> Result<Parent, ApplyError> {
        let open = ApplyError::system("opening the parent directory");
        let mut here = Parent::new(open_dir(&self.root, b"").map_err(&open)?, Vec::new());
        let mut left: VecDeque<Vec<u8>> = components(path);
        let mut links = 0;
        let mut through = Vec::new();
        // Whether the last step made the directory `here`.
        let mut new = false;
        while let Some(component) = left.pop_front() {
            if component == b".." {
                if here.real.is_empty() {
                    return Err(ApplyError::Escape { link: through });
                }
                let slash = here.real.iter().rposition(|&b| b == b'/').unwrap_or(0);
                here.real.truncate(slash);
                here.fd = enter(&here.fd, b"..").map_err(&open)?;
                new = false;
                continue;
            }
            match enter(&here.fd, &component) {
                Ok(fd) => {
                    here.fd = fd;
                    push(&mut here.real, &component);
                    new = false;
                }
                Err(Errno::NOENT) if create => {
                    self.create_implied(&here.fd, &component)
                        .map_err(ApplyError::system("creating the parent directory"))?;
                    here.fd = enter(&here.fd, &component).map_err(&open)?;
                    push(&mut here.real, &component);
                    match self.implied.last_mut().filter(|_| new) {
                        Some(implied) => {
                            push(&mut implied.path, &component);
                            implied.levels += 1;
                        }
                        None => self.implied.push(Implied { path: here.real.clone(), levels: 1 }),
                    }
                    new = true;
                }
                Err(errno @ (Errno::NOTDIR | Errno::LOOP)) => {
                    let stat = node::stat(&here.fd, &component).map_err(&open)?;
                    if node::file_type(&stat) != FileType::Symlink {
                        return Err(open(Errno::NOTDIR));
                    }
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(open(Errno::LOOP));
                    }
                    let target =
                        rustix::fs::readlinkat(&here.fd, component.as_slice(), Vec::new()).map_err(|_| open(errno))?;
                    let target = target.as_bytes();
                    through = here.path_of(&component);
                    new = false;
                    if target.first() == Some(&b'/') {
                        here = Parent::new(open_dir(&self.root, b"").map_err(&open)?, Vec::new());
                    }
                    for component in components(target).into_iter().rev() {
                        left.push_front(component);
                    }
                }
                Err(errno) => return Err(open(errno)),
            }
        }
        Ok(here)
    }

    /// Makes a directory that no member describes: its mode is 0755 and its owner `implied_owner`, whatever umask and
    /// parent say.
    fn create_implied(&self, dir: impl AsFd, base: &[u8]) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(&dir, base, mode)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&dir, base, flags, Mode::empty())?;
        if let Some((uid, gid)) = self.implied_owner {
            rustix::fs::fchown(&fd, Some(uid), Some(gid))?;
        }
        rustix::fs::fchmod(&fd, mode)
    }
}

fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    path.split(|&b| b == b'/').filter(|part| !part.is_empty() && *part != b".").map(<[u8]>::to_vec).collect()
}
