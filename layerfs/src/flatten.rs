//! Layers that were unpacked side by side, merged into one tree as overlayfs would show them.
//!
//! Each layer is applied alone, in [`WhiteoutMode::Record`](crate::apply::WhiteoutMode), and then moved onto the layers
//! below it: with one rename for each file, and one for each directory that no layer below has. So the meaning of a
//! whiteout, of an opaque directory and of a directory in place of a file is decided in one place, and is what a
//! container sees.

use std::collections::HashMap;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, XattrFlags};
use rustix::io::Errno;

use crate::apply::{Directory, Outcome};
use crate::path::LayerPath;
use crate::sys::beneath::{enter, open_dir};
use crate::sys::node::{self, Node};
use crate::sys::remove::remove_tree;

/// Moves the layer in `upper` onto the tree in `lower`; `upper` is left with empty directories.
///
/// Modes and times of directories are not set: see [`finish`].
///
/// # Errors
/// The first error of a system call.
pub fn merge(lower: &OwnedFd, upper: &OwnedFd, outcome: &Outcome) -> Result<(), Errno> {
    for path in &outcome.whiteouts {
        hide(lower, path)?;
    }
    for path in &outcome.opaque {
        match open_dir(lower, path) {
            Ok(dir) => {
                for name in read_names(&dir)? {
                    remove_tree(&dir, &name)?;
                }
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(errno) => return Err(errno),
        }
    }
    // Both trees at once, down by names and up by `..`: depth costs no descriptors, and no path is walked twice.
    let (mut from, mut to) = (enter(upper, b".")?, enter(lower, b".")?);
    let mut levels = vec![move_entries(&from, &to)?];
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.pop() {
            (from, to) = (enter(&from, &name)?, enter(&to, &name)?);
            levels.push(move_entries(&from, &to)?);
        } else {
            levels.pop();
            if !levels.is_empty() {
                (from, to) = (enter(&from, b"..")?, enter(&to, b"..")?);
            }
        }
    }
    Ok(())
}

/// The mode and the times that a directory gets in the end.
struct Setting {
    mode: Mode,
    times: Timestamps,
}

/// Sets modes and times of directories: those of all layers, lowest layer first. The last one named wins.
///
/// # Errors
/// The first error of a system call.
pub fn finish(root: &OwnedFd, layers: &[Vec<Directory>]) -> Result<(), Errno> {
    let mut settings: HashMap<&[u8], Setting> = HashMap::new();
    let mut longest = 0;
    for directory in layers.iter().flatten() {
        match directory {
            Directory::Member { path, mode, times } => {
                longest = longest.max(path.len());
                settings.insert(path, Setting { mode: *mode, times: times.clone() });
            }
            // Implied directories were created with the right mode; what layers below say of them does not count any
            // more.
            Directory::Implied { path, levels } => {
                let slashes = path.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
                for end in std::iter::once(path.len()).chain(slashes).take(*levels).filter(|end| *end <= longest) {
                    if let Some(setting) = settings.get_mut(&path[..end]) {
                        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
                        let times = Timestamps { last_access: now, last_modification: now };
                        *setting = Setting { mode: Mode::from_raw_mode(0o755), times };
                    }
                }
            }
        }
    }
    let mut settings: Vec<_> = settings.into_iter().collect();
    // Children, which have the longer paths, first: a mode may close a directory to its own user.
    settings.sort_unstable_by_key(|(path, _)| std::cmp::Reverse((path.len(), *path)));
    for (path, Setting { mode, times }) in settings {
        let Ok(Some(path)) = LayerPath::parse(path) else { continue };
        let (parent, base) = path.split();
        let parent = match open_dir(root, parent) {
            Ok(parent) => parent,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(errno) => return Err(errno),
        };
        match node::stat(&parent, base) {
            Ok(stat) if node::file_type(&stat) == FileType::Directory => {}
            Ok(_) | Err(Errno::NOENT) => continue,
            Err(errno) => return Err(errno),
        }
        Node::open(&parent, base)?.chmod(mode)?;
        node::set_times(&parent, base, &times)?;
    }
    Ok(())
}

/// Removes what the layers below have at `path`.
fn hide(lower: &OwnedFd, path: &[u8]) -> Result<(), Errno> {
    let Ok(Some(path)) = LayerPath::parse(path) else { return Ok(()) };
    let (parent, base) = path.split();
    match open_dir(lower, parent) {
        Ok(parent) => remove_tree(&parent, base),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Moves the entries of a directory that is in both trees. Returns the names of those that are directories in both.
fn move_entries(from: &OwnedFd, to: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut both = Vec::new();
    for name in read_names(from)? {
        if move_entry(from, to, &name)? {
            both.push(name);
        }
    }
    Ok(both)
}

/// Moves one entry. Returns true for a directory over a directory, whose entries are still to be moved.
fn move_entry(from: &OwnedFd, to: &OwnedFd, name: &[u8]) -> Result<bool, Errno> {
    let directory = |dir: &OwnedFd| match node::stat(dir, name) {
        Ok(stat) => Ok(Some(node::file_type(&stat) == FileType::Directory)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    };
    match (directory(from)?, directory(to)?) {
        (Some(true), Some(true)) => {
            copy_identity(from, to, name)?;
            return Ok(true);
        }
        (Some(true), Some(false)) => rustix::fs::unlinkat(to, name, AtFlags::empty())?,
        (Some(false), Some(true)) => remove_tree(to, name)?,
        _ => {}
    }
    rustix::fs::renameat(from, name, to, name)?;
    Ok(false)
}

/// Gives the directory `name` in `to` the owner and the attributes, all of them, of the one in `from`.
fn copy_identity(from: &OwnedFd, to: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let open = |dir: &OwnedFd| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(dir, name, flags, Mode::empty())
    };
    let (from, to) = (open(from)?, open(to)?);
    let (new, old) = (rustix::fs::fstat(&from)?, rustix::fs::fstat(&to)?);
    if (new.st_uid, new.st_gid) != (old.st_uid, old.st_gid) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(new.st_uid), rustix::fs::Gid::from_raw(new.st_gid));
        rustix::fs::fchown(&to, Some(uid), Some(gid))?;
    }
    let (wanted, present) = (attributes(&from)?, attributes(&to)?);
    for (name, _) in present.iter().filter(|(name, _)| !wanted.iter().any(|(other, _)| other == name)) {
        rustix::fs::fremovexattr(&to, name.as_slice())?;
    }
    for (name, value) in wanted.iter().filter(|wanted| !present.contains(wanted)) {
        rustix::fs::fsetxattr(&to, name.as_slice(), value, XattrFlags::empty())?;
    }
    Ok(())
}

/// The most that the kernel allows for the list of a node's attribute names, and for one value.
const MAX_XATTR: usize = 64 << 10;

/// Names and values.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

fn attributes(fd: impl AsFd) -> Result<Attributes, Errno> {
    let mut names = vec![0; MAX_XATTR];
    let length = match rustix::fs::flistxattr(&fd, &mut names) {
        Err(Errno::OPNOTSUPP) => 0,
        length => length?,
    };
    let names = names[..length].split(|&b| b == 0).filter(|name| !name.is_empty());
    names
        .map(|name| {
            let mut value = vec![0; MAX_XATTR];
            let length = rustix::fs::fgetxattr(&fd, name, &mut value)?;
            value.truncate(length);
            Ok((name.to_vec(), value))
        })
        .collect()
}

/// The names in a directory, without `.` and `..`.
///
/// # Errors
/// Those of reading it.
pub fn read_names(dir: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut names = Vec::new();
    for entry in Dir::new(rustix::fs::openat(dir, ".", flags, Mode::empty())?)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}
