//! Reading the directory of a context (docker/cli v20.10.24 `cli/command/image/build/context.go`).

use std::collections::{BTreeMap, HashMap};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use images::tree::{Body, Node, NodeId, NodeKind, Tree};
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags};
use rustix::io::Errno;
use tarsplit::pax::PaxTime;

use super::known::{KnownFiles, Stat};
use super::{ContextError, remove};
use crate::ignore::Patterns;
use crate::source::CAPABILITY;

/// Directories that are read side by side, and stay open until what is in them was taken.
const TOGETHER: usize = 64;

/// A directory that is being read.
struct Open {
    path: Vec<u8>,
    id: NodeId,
}

/// Reads the directory of a context, without what is excluded. Nothing is looked up through a symlink. A directory that is only
/// there for something that is taken back in is as docker makes one, or with BuildKit, which may have `known` files before, as it is.
pub(super) fn read_directory(
    root: &OwnedFd,
    shown: &Path,
    patterns: &Patterns,
    kept: &[&[u8]],
    mut known: Option<&mut KnownFiles>,
) -> Result<(Tree, Vec<PathBuf>), ContextError> {
    let (mut tree, mut sockets) = (Tree::empty(), Vec::new());
    let mut links: HashMap<(u64, u64), NodeId> = HashMap::new();
    let mut left = vec![Open { path: Vec::new(), id: Tree::ROOT }];
    let now = jiff::Timestamp::now().as_second();
    let modern = known.is_some();
    let mut listed = Vec::new();
    loop {
        if listed.is_empty() {
            let some = left.split_off(left.len().saturating_sub(TOGETHER));
            let read = snapshot::parallel::map_large(&some, |open| list(root, &open.path));
            listed.extend(some.into_iter().zip(read));
        }
        let Some((Open { path, id }, read)) = listed.pop() else { break };
        let at = |path: &[u8]| shown.join(std::ffi::OsStr::from_bytes(path));
        let failed = |errno: Errno| ContextError::Read { path: at(&path), source: errno.into() };
        let (dir, entries) = read.map_err(failed)?;
        for (name, stat) in entries {
            let below = layerfs::path::join(&path, &name);
            let failed = |errno: Errno| ContextError::Read { path: at(&below), source: errno.into() };
            let excluded = patterns.exclude(&below) && !kept.contains(&below.as_slice());
            let stat = match stat {
                // The file was removed meanwhile.
                Err(Errno::NOENT) => continue,
                stat => stat.map_err(failed)?,
            };
            let kind = FileType::from_raw_mode(stat.stx_mode.into());
            let may_hold_kept = kept.iter().any(|kept| kept.starts_with(&[below.as_slice(), b"/"].concat()));
            if excluded && !(kind == FileType::Directory && (patterns.may_take_back(&below) || may_hold_kept)) {
                continue;
            }
            let inode = ((u64::from(stat.stx_dev_major) << 32) | u64::from(stat.stx_dev_minor), stat.stx_ino);
            if let Some(&known) = links.get(&inode) {
                tree.link(id, &name, known);
                continue;
            }
            let device = (i64::from(stat.stx_rdev_major), i64::from(stat.stx_rdev_minor));
            let kind = match kind {
                FileType::Directory => {
                    NodeKind::Directory { children: BTreeMap::new(), opaque: false, explicit: !excluded }
                }
                FileType::RegularFile => NodeKind::File { size: stat.stx_size, body: Body::default() },
                FileType::Symlink => {
                    let target = rustix::fs::readlinkat(&dir, name.as_slice(), Vec::new()).map_err(failed)?;
                    NodeKind::Symlink { target: target.into_bytes() }
                }
                FileType::CharacterDevice => NodeKind::CharDevice(device.0, device.1),
                FileType::BlockDevice => NodeKind::BlockDevice(device.0, device.1),
                FileType::Fifo => NodeKind::Fifo,
                _ => {
                    sockets.push(at(&below));
                    continue;
                }
            };
            let is_dir = matches!(kind, NodeKind::Directory { .. });
            let is_file = matches!(kind, NodeKind::File { .. });
            let found = Stat::of(&stat);
            let recalled = known.as_mut().filter(|_| is_file).and_then(|known| known.recall(&below, &found, &dir));
            let digest = recalled.map(|known| known.digest);
            let xattrs = match recalled {
                // Setting a capability is a change of the inode.
                Some(known) if known.capability.is_empty() => Vec::new(),
                Some(known) => vec![(CAPABILITY.to_vec(), known.capability.clone())],
                None if is_dir || matches!(kind, NodeKind::Symlink { .. }) => Vec::new(),
                None => capability(&dir, &name),
            };
            // BuildKit has it as it is, though.
            let implied = is_dir && excluded && !modern;
            let node = Node {
                kind,
                mode: if implied { 0o755 } else { u32::from(stat.stx_mode) & 0o7777 },
                uid: 0,
                gid: 0,
                // A directory that the tar does not have is made when the tar is unpacked, and gets the time of that
                // moment.
                mtime: PaxTime::from_seconds(if implied { now } else { stat.stx_mtime.tv_sec }),
                xattrs,
                layer: 0,
                parent: id,
                names: 1,
            };
            let new = tree.insert(id, &name, node);
            if let Some(known) = known.as_mut().filter(|_| is_file) {
                known.note(new, found, digest);
            }
            if is_dir {
                left.push(Open { path: below, id: new });
            } else if stat.stx_nlink > 1 {
                links.insert(inode, new);
            }
        }
    }
    prune(&mut tree);
    sockets.sort();
    Ok((tree, sockets))
}

/// An open directory, and the names in it with what they are.
type Listed = (OwnedFd, Vec<(Vec<u8>, Result<Statx, Errno>)>);

/// Reads one directory below `root`.
fn list(root: &OwnedFd, path: &[u8]) -> Result<Listed, Errno> {
    let dir = open_dir(root, path)?;
    let mut entries = Vec::new();
    for entry in rustix::fs::Dir::read_from(&dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name == b"." || name == b".." {
            continue;
        }
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
        let stat = rustix::fs::statx(&dir, name.as_slice(), flags, StatxFlags::BASIC_STATS);
        entries.push((name, stat));
    }
    Ok((dir, entries))
}

/// Takes away directories that are only there because something in them might have been taken back.
fn prune(tree: &mut Tree) {
    let mut walk = tree.walk_below(Tree::ROOT, b"");
    let mut implied = Vec::new();
    while let Some((path, id)) = walk.next() {
        if matches!(tree.node(id).kind, NodeKind::Directory { explicit: false, .. }) {
            implied.push((path.to_vec(), id));
        }
    }
    for (path, id) in implied.into_iter().rev() {
        if tree.node(id).children().is_some_and(BTreeMap::is_empty) {
            remove(tree, &path);
        }
    }
}

/// Opens a directory below `root`, through no symlink.
fn open_dir(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS)
}

/// The capability of a file, if it has one.
fn capability(dir: &OwnedFd, name: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let path = [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat();
    let mut value = [0; 64];
    match rustix::fs::lgetxattr(path.as_slice(), CAPABILITY, &mut value[..]) {
        Ok(length) => vec![(CAPABILITY.to_vec(), value[..length].to_vec())],
        // There is none, or the file system knows none.
        Err(_) => Vec::new(),
    }
}
