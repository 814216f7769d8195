//! Shows whether reading has left a store as it was, times of access included.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, Stat};

/// What would show that something was written or read.
#[derive(Debug, PartialEq, Eq)]
struct State {
    inode: (u64, u64),
    mode: u32,
    links: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
    accessed: (i64, i64),
}

/// Everything below a directory, on its file system, by path.
#[derive(Debug)]
pub struct Stamps(BTreeMap<PathBuf, State>);

impl Stamps {
    /// Reads the state of everything below `root`, without leaving a trace itself.
    pub fn take(root: &Path) -> Self {
        let mut found = BTreeMap::new();
        let fd = open(CWD, root);
        let device = rustix::fs::fstat(&fd).unwrap().st_dev;
        walk(&fd, device, Path::new(""), &mut found);
        Self(found)
    }

    /// The number of names.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What is different later on, a line each.
    pub fn changes(&self, later: &Self) -> Vec<String> {
        let gone = self.0.keys().filter(|path| !later.0.contains_key(*path));
        let gone = gone.map(|path| format!("gone: {}", path.display()));
        let new = later.0.iter().filter_map(|(path, state)| match self.0.get(path) {
            None => Some(format!("new: {}", path.display())),
            Some(before) if before == state => None,
            Some(before) if (before.modified, before.changed) == (state.modified, state.changed) => {
                Some(format!("read with a trace: {}", path.display()))
            }
            Some(_) => Some(format!("written: {}", path.display())),
        });
        gone.chain(new).collect()
    }
}

fn open(dir: impl AsFd, name: impl rustix::path::Arg) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NOATIME;
    rustix::fs::openat(dir, name, flags, Mode::empty()).unwrap()
}

/// Mounts below, such as those of running containers, are not entered.
fn walk(dir: &OwnedFd, device: u64, path: &Path, found: &mut BTreeMap<PathBuf, State>) {
    found.insert(path.to_owned(), state(&rustix::fs::fstat(dir).unwrap()));
    for entry in Dir::read_from(dir).unwrap() {
        let entry = entry.unwrap();
        let name: &CStr = entry.file_name();
        if [c".", c".."].contains(&name) {
            continue;
        }
        let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        let path = path.join(OsStr::from_bytes(name.to_bytes()));
        if stat.st_dev != device {
            continue;
        }
        if stat.st_mode & 0o170_000 == 0o040_000 {
            walk(&open(dir, name), device, &path, found);
        } else {
            found.insert(path, state(&stat));
        }
    }
}

fn state(stat: &Stat) -> State {
    // There is no way to read a symlink without a trace.
    let symlink = stat.st_mode & 0o170_000 == 0o120_000;
    let accessed = if symlink { (0, 0) } else { (stat.st_atime, stat.st_atime_nsec as i64) };
    State {
        inode: (stat.st_dev, stat.st_ino),
        mode: stat.st_mode,
        links: stat.st_nlink,
        size: stat.st_size,
        modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
        changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        accessed,
    }
}
