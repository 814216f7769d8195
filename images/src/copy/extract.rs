//! Puts a part of a tree onto the host. Everything is done below one open directory, name by name, and no symlink is
//! followed there: neither one that the copy has made nor one that was there before.
//!
//! A file is written under another name beside its own and renamed when it is whole. Directories get their mode and time last.
//! As with docker (moby v20.10.24 `pkg/archive/archive.go: Unpack` with `NoLchown` and `NoOverwriteDirNonDir`), the
//! caller owns all files; modes, times in whole seconds and, of the extended attributes, `security.capability` are
//! kept.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::path::split;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use tarsplit::pax::PaxTime;

use super::{CopyDestination, CopyError, CopySource};
use crate::export::{CAPABILITY, without_namespace};
use crate::tree::{Layers, Node, NodeId, NodeKind, Tree, TreeError, rest_below};

const DIR: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Of the directories on the way to the last one, every one whose depth is a multiple of this number stays open. So going up
/// from a deep directory is cheap, and descriptors do not run out.
const KEPT: usize = 32;

/// Copies `source` to `destination`.
///
/// A symlink that would lead out of the destination's directory is refused, as docker refuses it, but before anything
/// is written.
///
/// # Errors
/// [`CopyError`]; what was written before stays, whole.
pub fn extract(
    tree: &Tree,
    layers: &dyn Layers,
    source: &CopySource,
    destination: &CopyDestination,
    interrupted: &AtomicBool,
) -> Result<(), CopyError> {
    check_links(tree, source, destination)?;
    let flags = DIR.difference(OFlags::NOFOLLOW);
    let base = rustix::fs::open(&destination.dir, flags, Mode::empty());
    let base = base.map_err(CopyError::io(&destination.dir, "opening"))?;
    let mut random = [0; 6];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(CopyError::io(&destination.dir, "naming"))?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut extraction = Extraction {
        tree,
        layers,
        into: &destination.dir,
        base,
        open: Vec::new(),
        directories: Vec::new(),
        written: HashMap::new(),
        temporary: format!(".layerfs-{digits}").into_bytes(),
        piece: vec![0; 256 << 10],
        interrupted,
    };
    let copied = extraction.all(source, destination);
    // Give directories their times and modes even if the copy has failed.
    let finished = extraction.finish();
    copied.and(finished)
}

/// Calls `visit` for each node to be copied, with its path in the tree, its path below the destination's directory, and
/// its id.
fn each(
    tree: &Tree,
    source: &CopySource,
    destination: &CopyDestination,
    mut visit: impl FnMut(&[u8], &[u8], NodeId) -> Result<(), CopyError>,
) -> Result<(), CopyError> {
    let name = if destination.name == b"." { &b""[..] } else { &destination.name };
    // The directory that is copied into keeps its own metadata.
    if !name.is_empty() {
        visit(&source.path, name, source.id)?;
    }
    let mut walk = tree.walk_below(source.id, &source.path);
    while let Some((path, id)) = walk.next() {
        let rest = &path[source.path.len()..];
        let rest = rest.strip_prefix(b"/").unwrap_or(rest);
        let to = if name.is_empty() { rest.to_vec() } else { [name, b"/", rest].concat() };
        visit(path, &to, id)?;
    }
    Ok(())
}

/// Refuses symlinks that lead out of the destination's directory. As in docker, the text of a link decides, and an
/// absolute one is read as if it began where the link is.
fn check_links(tree: &Tree, source: &CopySource, destination: &CopyDestination) -> Result<(), CopyError> {
    let into = layerfs::path::absolute(destination.dir.as_os_str().as_bytes());
    each(tree, source, destination, |_, to, id| {
        let NodeKind::Symlink { target } = &tree.node(id).kind else { return Ok(()) };
        let dir = split(to).0;
        let leads = layerfs::path::absolute(&[into.as_slice(), b"/", dir, b"/", target].concat());
        let rest = leads.strip_prefix(into.as_slice());
        let within = into == b"/" || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"));
        if within {
            return Ok(());
        }
        Err(CopyError::Symlink { path: on_host(&destination.dir, to), target: target.clone() })
    })
}

fn on_host(into: &Path, below: &[u8]) -> PathBuf {
    let into = PathBuf::from(OsString::from_vec(layerfs::path::absolute(into.as_os_str().as_bytes())));
    if below.is_empty() { into } else { into.join(OsString::from_vec(below.to_vec())) }
}

struct Extraction<'e> {
    tree: &'e Tree,
    layers: &'e dyn Layers,
    into: &'e Path,
    base: OwnedFd,
    /// The directory that was used last, by its path, and some of those above it, the topmost first.
    open: Vec<(Vec<u8>, OwnedFd)>,
    /// Directories whose mode and time are still to be set, parents first.
    directories: Vec<(Vec<u8>, NodeId)>,
    /// Where files of several names are.
    written: HashMap<NodeId, Vec<u8>>,
    temporary: Vec<u8>,
    piece: Vec<u8>,
    interrupted: &'e AtomicBool,
}

impl Extraction<'_> {
    fn all(&mut self, source: &CopySource, destination: &CopyDestination) -> Result<(), CopyError> {
        let tree = self.tree;
        each(tree, source, destination, |path, to, id| self.one(path, to, id))
    }

    fn failed(&self, path: &[u8], call: &'static str) -> impl FnOnce(Errno) -> CopyError + use<> {
        CopyError::io(on_host(self.into, path), call)
    }

    /// The directory at a path below, opened name by name, beginning with the last open one on the way.
    fn dir(&mut self, path: &[u8]) -> Result<OwnedFd, CopyError> {
        let failed = |errno: Errno| CopyError::io(on_host(self.into, path), "opening")(errno);
        let again = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 0).map_err(failed);
        while self.open.last().is_some_and(|(at, _)| rest_below(path, at).is_none()) {
            self.open.pop();
        }
        let (mut at, mut dir) = match self.open.last() {
            Some((at, fd)) => (at.clone(), again(fd)?),
            None => (Vec::new(), again(&self.base)?),
        };
        let mut depth = at.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).count();
        let left = rest_below(path, &at).unwrap_or(path);
        for name in left.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            dir = rustix::fs::openat(&dir, name, DIR, Mode::empty()).map_err(failed)?;
            // Of the directories on the way, every few levels one stays open, and the last one.
            if depth % KEPT != 0 {
                self.open.pop_if(|(kept, _)| *kept == at);
            }
            if !at.is_empty() {
                at.push(b'/');
            }
            at.extend_from_slice(name);
            depth += 1;
            if depth % KEPT == 0 || at == path {
                self.open.push((at.clone(), again(&dir)?));
            }
        }
        Ok(dir)
    }

    fn one(&mut self, path: &[u8], to: &[u8], id: NodeId) -> Result<(), CopyError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(CopyError::Interrupted);
        }
        let (above, name) = split(to);
        let dir = self.dir(above)?;
        let node = self.tree.node(id);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let there = match rustix::fs::statat(&dir, name, flags) {
            Ok(stat) => Some(FileType::from_raw_mode(stat.st_mode)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(self.failed(to, "lstat")(errno)),
        };
        if node.children().is_some() {
            if there.is_some_and(|there| there != FileType::Directory) {
                return Err(CopyError::OverOther { path: on_host(self.into, to), into: on_host(self.into, b"") });
            }
            if there.is_none() {
                rustix::fs::mkdirat(&dir, name, Mode::RWXU).map_err(self.failed(to, "mkdir"))?;
            }
            self.directories.push((to.to_vec(), id));
            return Ok(());
        }
        if there == Some(FileType::Directory) {
            return Err(CopyError::OverDirectory { path: on_host(self.into, to), into: on_host(self.into, b"") });
        }
        let temporary = self.temporary.clone();
        let made = self.make(&dir, &temporary, path, to, id).and_then(|()| {
            rustix::fs::renameat(&dir, temporary.as_slice(), &dir, name).map_err(self.failed(to, "renaming"))
        });
        if made.is_err() {
            // The error that led here is the one to report.
            let _ = rustix::fs::unlinkat(&dir, temporary.as_slice(), AtFlags::empty());
        }
        made?;
        if node.names > 1 {
            self.written.entry(id).or_insert_with(|| to.to_vec());
        }
        Ok(())
    }

    /// Makes a file, symlink or device with the name `name`.
    fn make(&mut self, dir: &OwnedFd, name: &[u8], path: &[u8], to: &[u8], id: NodeId) -> Result<(), CopyError> {
        let node = self.tree.node(id);
        if let Some(first) = self.written.get(&id).cloned() {
            let (above, base) = split(&first);
            let from = self.dir(above)?;
            return rustix::fs::linkat(&from, base, dir, name, AtFlags::empty()).map_err(self.failed(to, "linking"));
        }
        let special = |kind, major: i64, minor: i64| {
            let number = |value: i64| u32::try_from(value).map_err(|_| Errno::INVAL);
            let device = rustix::fs::makedev(number(major)?, number(minor)?);
            rustix::fs::mknodat(dir, name, kind, Mode::RUSR | Mode::WUSR, device)
        };
        match &node.kind {
            NodeKind::File { size, .. } => return self.file(dir, name, (path, to), node, *size, id),
            NodeKind::Symlink { target } => {
                rustix::fs::symlinkat(target.as_slice(), dir, name).map_err(self.failed(to, "symlink"))?;
            }
            NodeKind::CharDevice(major, minor) => {
                special(FileType::CharacterDevice, *major, *minor).map_err(self.failed(to, "mknod"))?;
            }
            NodeKind::BlockDevice(major, minor) => {
                special(FileType::BlockDevice, *major, *minor).map_err(self.failed(to, "mknod"))?;
            }
            NodeKind::Fifo => special(FileType::Fifo, 0, 0).map_err(self.failed(to, "mkfifo"))?,
            NodeKind::Directory { .. } | NodeKind::Whiteout => return Ok(()),
        }
        if !matches!(node.kind, NodeKind::Symlink { .. }) {
            // The name was drawn by this process, so the file with it was made just now.
            rustix::fs::chmodat(dir, name, mode(node), AtFlags::empty()).map_err(self.failed(to, "chmod"))?;
        }
        rustix::fs::utimensat(dir, name, &times(node), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(self.failed(to, "setting times"))
    }

    fn file(
        &mut self,
        dir: &OwnedFd,
        name: &[u8],
        (path, to): (&[u8], &[u8]),
        node: &Node,
        expected: u64,
        id: NodeId,
    ) -> Result<(), CopyError> {
        let mut body = self.tree.open(self.layers, path, id)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file =
            rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(self.failed(to, "creating"))?;
        let mut file = File::from(file);
        let mut found = 0;
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(CopyError::Interrupted);
            }
            let read = body.read(&mut self.piece);
            let read = read.map_err(|source| TreeError::File { path: path.to_vec(), source })?;
            found += read as u64;
            if read == 0 || found > expected {
                break;
            }
            file.write_all(&self.piece[..read]).map_err(CopyError::io(on_host(self.into, to), "writing"))?;
        }
        if found != expected {
            return Err(CopyError::Size { path: path.to_vec(), expected, found });
        }
        set_capability(&file, node).map_err(self.failed(to, "setting security.capability of"))?;
        rustix::fs::fchmod(&file, mode(node)).map_err(self.failed(to, "chmod"))?;
        rustix::fs::futimens(&file, &times(node)).map_err(self.failed(to, "setting times"))
    }

    /// Gives directories their mode and time: what is in them first.
    fn finish(&mut self) -> Result<(), CopyError> {
        let mut result = Ok(());
        while let Some((path, id)) = self.directories.pop() {
            let node = self.tree.node(id);
            let set = self.dir(&path).and_then(|dir| {
                rustix::fs::fchmod(&dir, mode(node)).map_err(self.failed(&path, "chmod"))?;
                rustix::fs::futimens(&dir, &times(node)).map_err(self.failed(&path, "setting times"))
            });
            result = result.and(set);
        }
        result
    }
}

/// Sets the capability. Like docker, this leaves the attribute out where the user may not set it or the file system has
/// none.
fn set_capability(file: impl AsFd, node: &Node) -> Result<(), Errno> {
    let Some((_, value)) = node.xattrs.iter().find(|(name, _)| name == CAPABILITY) else { return Ok(()) };
    match rustix::fs::fsetxattr(file, CAPABILITY, &without_namespace(value), XattrFlags::empty()) {
        Ok(()) | Err(Errno::PERM | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn mode(node: &Node) -> Mode {
    Mode::from_raw_mode(node.mode & 0o7777)
}

fn times(node: &Node) -> Timestamps {
    let PaxTime { seconds, .. } = node.mtime;
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}
