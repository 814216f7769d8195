//! The tree of a layer from its directory in the store: all of it for a container's layer, which has no journal, or
//! what is wanted of any layer.
//!
//! ```text
//! character device 0:0                  what is below is gone
//! trusted.overlay.opaque = y            a directory that hides what is below
//! trusted.overlay.redirect, .metacopy   a directory or a file that is elsewhere, too: refused
//! ```
//!
//! In stores of daemons without privileges, the attributes are `user.overlay.*`. Sockets are left out, as dockerd
//! leaves them out of every tar.

use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use layerfs::path::MAX_PATH;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use tarsplit::pax::PaxTime;

use super::node::{Body, Node, NodeId, NodeKind};
use super::wanted::{Part, WantedPaths};
use super::{Tree, TreeError};

/// What a directory is, and so how its files are to be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holds {
    /// A layer, as overlayfs has written it: it lies in one file system, and some of its files are words about layers below.
    Layer,
    /// Files that somebody else writes to as well, and other file systems that are mounted there.
    Files,
}

/// Names and values of extended attributes.
type Xattrs = Vec<(Vec<u8>, Vec<u8>)>;

/// What the names of overlayfs's own attributes begin with.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Reads everything in the directory of a layer. No symlink is followed, and no other file system is entered.
///
/// # Errors
/// [`TreeError::File`] where something cannot be read, or is of a kind that a layer cannot hold.
pub(crate) fn read_directory(root: &OwnedFd, layer: usize) -> Result<Tree, TreeError> {
    let mut everything = WantedPaths::default();
    everything.add_layer(&Tree::opaque());
    read_part(root, layer, &everything, Holds::Layer)
}

/// Like [`read_directory`], but only looks up what is wanted.
///
/// # Errors
/// [`TreeError::File`]
pub(super) fn read_part(root: &OwnedFd, layer: usize, wanted: &WantedPaths, holds: Holds) -> Result<Tree, TreeError> {
    let mut tree = Tree::empty();
    let mut links: HashMap<(u64, u64), NodeId> = HashMap::new();
    // Directories to be read: each is opened by its path from the root, so that as few are open as there can be.
    let mut left: Vec<(Vec<u8>, NodeId, Part)> = vec![(Vec::new(), Tree::ROOT, wanted.root())];
    while let Some((path, id, part)) = left.pop() {
        let failed = |errno: Errno| TreeError::File { path: path.clone(), source: errno.into() };
        let dir = match open_dir(root, &path, holds) {
            Err(Errno::NOENT | Errno::NOTDIR) if holds == Holds::Files && !path.is_empty() => continue,
            dir => dir.map_err(failed)?,
        };
        let names = match wanted.names(part) {
            Some(names) => names.cloned().collect(),
            None => names_in(&dir).map_err(failed)?,
        };
        for name in names {
            let below = if path.is_empty() { name.clone() } else { [path.as_slice(), b"/", &name].concat() };
            let failed = |errno: Errno| TreeError::File { path: below.clone(), source: errno.into() };
            let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
            let stat = match rustix::fs::statx(&dir, name.as_slice(), flags, StatxFlags::BASIC_STATS) {
                // A wanted name need not exist. A name that was listed must, unless somebody else removes files here.
                Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::INVAL) if part != Part::All => continue,
                Err(Errno::NOENT) if holds == Holds::Files => continue,
                stat => stat.map_err(failed)?,
            };
            let inode = ((u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor), stat.stx_ino);
            if let Some(&known) = links.get(&inode) {
                tree.nodes[known].names += 1;
                tree.put(id, &name, known);
                continue;
            }
            let Some(node) = read_node(&dir, &name, &stat, holds)
                .map_err(|source| TreeError::File { path: below.clone(), source })?
            else {
                continue;
            };
            let is_dir = node.children().is_some();
            let several = stat.stx_nlink > 1 && !is_dir && node.kind != NodeKind::Whiteout;
            let new = tree.add(Node { layer, parent: id, ..node });
            tree.put(id, &name, new);
            if several {
                links.insert(inode, new);
            }
            if is_dir && let Some(part) = wanted.below(part, &name) {
                if below.len() > MAX_PATH {
                    return Err(failed(Errno::NAMETOOLONG));
                }
                left.push((below, new, part));
            }
        }
    }
    Ok(tree)
}

/// What a file or directory is and has; `None` for a socket. With an empty name, `dir` itself is meant.
///
/// # Errors
/// The system's answer; also where overlayfs keeps a part of it elsewhere.
pub(super) fn read_node(dir: &OwnedFd, name: &[u8], stat: &Statx, holds: Holds) -> std::io::Result<Option<Node>> {
    let mut xattrs = read_xattrs(dir, name)?;
    let mut opaque = false;
    if holds == Holds::Layer {
        let special = |what: &[u8]| {
            let is = |name: &[u8]| OVERLAY.iter().any(|prefix| name.strip_prefix(*prefix) == Some(what));
            xattrs.iter().find(|(name, _)| is(name)).map(|(_, value)| value.clone())
        };
        opaque = special(b"opaque").is_some_and(|value| value == b"y");
        if special(b"redirect").is_some() || special(b"metacopy").is_some() {
            let reason = "overlayfs has only a part of it here (redirect_dir or metacopy); such layers are not read";
            return Err(std::io::Error::other(reason));
        }
        xattrs.retain(|(name, _)| !OVERLAY.iter().any(|prefix| name.starts_with(prefix)));
    }
    let device = (i64::from(stat.stx_rdev_major), i64::from(stat.stx_rdev_minor));
    let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::Directory => {
            NodeKind::Directory { children: std::collections::BTreeMap::new(), opaque, explicit: true }
        }
        FileType::RegularFile => NodeKind::File { size: stat.stx_size, body: Body::default() },
        FileType::Symlink => NodeKind::Symlink { target: rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes() },
        FileType::CharacterDevice if device == (0, 0) && holds == Holds::Layer => NodeKind::Whiteout,
        FileType::CharacterDevice => NodeKind::CharDevice(device.0, device.1),
        FileType::BlockDevice => NodeKind::BlockDevice(device.0, device.1),
        FileType::Fifo => NodeKind::Fifo,
        _ => return Ok(None),
    };
    Ok(Some(Node {
        kind,
        mode: u32::from(stat.stx_mode) & 0o7777,
        uid: stat.stx_uid.into(),
        gid: stat.stx_gid.into(),
        mtime: PaxTime { seconds: stat.stx_mtime.tv_sec, nanoseconds: stat.stx_mtime.tv_nsec },
        xattrs,
        ..Node::implied(0, Tree::ROOT)
    }))
}

/// The names in a directory.
fn names_in(dir: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    for entry in rustix::fs::Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Opens a directory below `root`, through no symlink, and of a layer on its file system.
fn open_dir(root: &OwnedFd, path: &[u8], holds: Holds) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let resolve = if holds == Holds::Layer { resolve | ResolveFlags::NO_XDEV } else { resolve };
    rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
}

/// The extended attributes of something in a directory, itself and not what it leads to, or of `dir` itself, if the name is empty.
fn read_xattrs(dir: &OwnedFd, name: &[u8]) -> Result<Xattrs, Errno> {
    let mut path = PathBuf::from(format!("/proc/self/fd/{}", dir.as_raw_fd()));
    if !name.is_empty() {
        path.push(OsString::from_vec(name.to_vec()));
    }
    let path = path.as_os_str().as_bytes();
    let mut names = vec![0; 64 << 10];
    // The path of a descriptor is a link to what it is open for.
    let listed = match name {
        [] => rustix::fs::listxattr(path, &mut names[..]),
        _ => rustix::fs::llistxattr(path, &mut names[..]),
    };
    let length = match listed {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(errno) => return Err(errno),
    };
    let mut found = Vec::new();
    let mut value = vec![0; 64 << 10];
    for attribute in names[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let read = match name {
            [] => rustix::fs::getxattr(path, attribute, &mut value[..]),
            _ => rustix::fs::lgetxattr(path, attribute, &mut value[..]),
        };
        match read {
            Ok(length) => found.push((attribute.to_vec(), value[..length].to_vec())),
            // The attribute was removed meanwhile, or this process may not read it.
            Err(Errno::NODATA | Errno::PERM | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(found)
}
