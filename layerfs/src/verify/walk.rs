//! Finds what is in a layer's directory that no member has made, and what of the layer below is missing there.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::fault::{FaultKind, FileFault};
use super::headers::Headers;
use super::place::{key, open_file};
use super::{Shows, VerifyError, node, unreadable};
use crate::path::join;
use crate::sys::beneath::open_dir;
use crate::sys::node::{file_type, stat};

/// How many faults of a walk are kept.
const MOST: usize = 20_000;

/// Ends a comparison: all faults, sorted by path.
pub(super) fn finish(mut headers: Headers<'_>, interrupted: &AtomicBool) -> Result<Vec<FileFault>, VerifyError> {
    let mut faults = headers.faults();
    let mut walk = DirectoryWalk {
        headers: &headers,
        interrupted,
        strange: Vec::new(),
        implied: HashSet::new(),
        found: Vec::new(),
    };
    walk.run()?;
    let DirectoryWalk { strange, implied, found, .. } = walk;
    faults.extend(found);
    // A directory that no member describes is there because of what is in it. If nothing of the layer is in it, the directory
    // is reported, and its content is not.
    let mut whole: Option<Vec<u8>> = None;
    let mut strange: Vec<(Vec<u8>, bool)> =
        strange.into_iter().filter(|(path, directory)| !directory || !implied.contains(path)).collect();
    strange.sort();
    for (path, directory) in strange {
        if whole.as_ref().is_some_and(|whole| path.starts_with(whole)) {
            continue;
        }
        if directory {
            whole = Some(join(&path, b""));
        }
        faults.push(FileFault { path, kind: FaultKind::Extra, by_below: true });
    }
    faults.sort_by(|a, b| (&a.path, a.kind.code()).cmp(&(&b.path, b.kind.code())));
    Ok(faults)
}

struct DirectoryWalk<'h, 'l> {
    headers: &'h Headers<'l>,
    interrupted: &'h AtomicBool,
    /// The paths that no member has made, and whether each is a directory.
    strange: Vec<(Vec<u8>, bool)>,
    /// Those of these directories that have something of the layer in them.
    implied: HashSet<Vec<u8>>,
    /// Faults of names that must be as in the layer below.
    found: Vec<FileFault>,
}

/// A directory to be looked at.
struct Left {
    path: Vec<u8>,
    /// Whether no member has made it.
    strange: bool,
    /// Whether the layer below shows here.
    below: bool,
}

impl DirectoryWalk<'_, '_> {
    fn run(&mut self) -> Result<(), VerifyError> {
        let below = match &self.headers.comparison.shows {
            Shows::Below(below) => below.as_ref(),
            Shows::LayerAlone => None,
        };
        let mut left = vec![Left { path: Vec::new(), strange: false, below: below.is_some() }];
        while let Some(at) = left.pop() {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(VerifyError::Interrupted);
            }
            self.directory(&at, below, &mut left)?;
        }
        Ok(())
    }

    fn directory(&mut self, at: &Left, below: Option<&OwnedFd>, left: &mut Vec<Left>) -> Result<(), VerifyError> {
        let failed = VerifyError::tree("reading", &at.path);
        let dir = open_dir(self.headers.places.root(), &at.path).map_err(&failed)?;
        let inode = rustix::fs::fstat(&dir).map_err(&failed)?.st_ino;
        if at.strange && self.headers.needed.contains(&inode) {
            self.imply(&at.path);
        }
        let opaque = self.headers.opaque.contains(&at.path);
        let under = match below.filter(|_| at.below && !opaque) {
            Some(below) => match open_dir(below, &at.path) {
                Ok(dir) => Some(dir),
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => None,
                Err(errno) => return Err(failed(errno)),
            },
            None => None,
        };
        let mut names = HashSet::new();
        for name in names_of(&dir).map_err(&failed)? {
            let path = join(&at.path, &name);
            let failed = VerifyError::tree("reading", &path);
            let found = stat(&dir, &name).map_err(&failed)?;
            let directory = file_type(&found) == FileType::Directory;
            let deleted = self.headers.deleted.contains(&path);
            let mut strange = false;
            if self.headers.made.contains(&key(inode, &name)) {
                if at.strange {
                    self.imply(&at.path);
                }
            } else {
                let copied = under.as_ref().filter(|_| !deleted).map(|under| stat(under, &name));
                match copied {
                    Some(Ok(original)) => {
                        self.compare(&path, (&dir, &found), (under.as_ref(), &original), &name)?;
                        if at.strange {
                            self.imply(&at.path);
                        }
                    }
                    Some(Err(Errno::NOENT)) | None => {
                        // No tar can hold a socket.
                        if file_type(&found) != FileType::Socket {
                            self.keep_strange(&path, directory);
                        }
                        strange = true;
                    }
                    Some(Err(errno)) => return Err(failed(errno)),
                }
            }
            if directory {
                left.push(Left { path, strange, below: under.is_some() && !deleted });
            }
            if under.is_some() {
                names.insert(name);
            }
        }
        let Some(under) = &under else { return Ok(()) };
        for name in names_of(under).map_err(&failed)? {
            let path = join(&at.path, &name);
            if !names.contains(&name) && !self.headers.deleted.contains(&path) {
                self.keep(path, FaultKind::Missing);
            }
        }
        Ok(())
    }

    fn keep_strange(&mut self, path: &[u8], directory: bool) {
        if self.strange.len() < MOST {
            self.strange.push((path.to_vec(), directory));
        }
    }

    fn keep(&mut self, path: Vec<u8>, kind: FaultKind) {
        if self.found.len() < MOST {
            self.found.push(FileFault { path, kind, by_below: true });
        }
    }

    /// Notes that the layer has something in a directory that no member describes: so it, and the directories above it, are
    /// needed.
    fn imply(&mut self, path: &[u8]) {
        let mut path = path;
        while !path.is_empty() && self.implied.insert(path.to_vec()) {
            path = path.iter().rposition(|&b| b == b'/').map_or(&[], |slash| &path[..slash]);
        }
    }

    /// Compares a node with the one of the layer below that it is a copy of.
    fn compare(
        &mut self,
        path: &[u8],
        (dir, found): (&OwnedFd, &Stat),
        (under, original): (Option<&OwnedFd>, &Stat),
        name: &[u8],
    ) -> Result<(), VerifyError> {
        let Some(under) = under else { return Ok(()) };
        let failed = VerifyError::tree("reading", path);
        let mut faults = node::copy_differences(original, found);
        let same_kind = !faults.contains(&FaultKind::Type);
        match file_type(found) {
            FileType::Symlink if same_kind => {
                let read = |dir: &OwnedFd| rustix::fs::readlinkat(dir, name, Vec::new());
                if read(dir).map_err(&failed)? != read(under).map_err(&failed)? {
                    faults.push(FaultKind::Target);
                }
            }
            FileType::RegularFile
                if same_kind && found.st_size == original.st_size && found.st_ino != original.st_ino =>
            {
                let same = same_content(dir, under, name);
                match same {
                    Ok(true) => {}
                    Ok(false) => {
                        faults.retain(|fault| !matches!(fault, FaultKind::Time { .. }));
                        faults.push(FaultKind::Content);
                    }
                    Err(error) => faults.push(unreadable(&error, path)?),
                }
            }
            _ => {}
        }
        for fault in faults {
            self.keep(path.to_vec(), fault);
        }
        Ok(())
    }
}

fn names_of(anchor: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = match rustix::fs::openat(&anchor, ".", flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(&anchor, ".", flags, Mode::empty())?,
        opened => opened?,
    };
    let mut names = Vec::new();
    for entry in Dir::new(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether two files of the same length have the same content.
fn same_content(one: &OwnedFd, other: &OwnedFd, name: &[u8]) -> std::io::Result<bool> {
    const PIECE: usize = 64 << 10;
    let (mut one, mut other) = (File::from(open_file(one, name)?), File::from(open_file(other, name)?));
    let (mut here, mut there) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let read = one.read(&mut here)?;
        if read == 0 {
            return Ok(other.read(&mut there)? == 0);
        }
        match other.read_exact(&mut there[..read]) {
            Ok(()) if here[..read] == there[..read] => {}
            Ok(()) => return Ok(false),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(false),
            Err(error) => return Err(error),
        }
    }
}
