//! Removing trees by descriptor, without recursion and without following anything.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::path::{join, push};

/// What to do with an entry that is not a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryFate {
    /// Unlink it.
    Remove,
    /// Leave it, and with it the directories above it.
    Keep,
    /// The caller has already taken it away.
    Gone,
}

/// Removes `base` in `dir` and everything below it. A name that is missing is fine.
///
/// Holds only a few descriptors, whatever the depth. Never leaves the file system and never enters a mount point.
///
/// # Errors
/// The first error of a system call; `EBUSY` at a mount point.
pub fn remove_tree(dir: impl AsFd, base: &[u8]) -> Result<(), Errno> {
    remove_with(dir, base, b"", |_, _, _| Ok(EntryFate::Remove))
}

/// Like [`remove_tree`], but asks `verdict` about each entry that is not a directory: it is given the entry's
/// directory, its name, and its path, which starts with `path`, the path of `base`. Directories that are not empty
/// afterwards stay.
pub(crate) fn remove_with(
    dir: impl AsFd,
    base: &[u8],
    path: &[u8],
    verdict: impl FnMut(&OwnedFd, &[u8], &[u8]) -> Result<EntryFate, Errno>,
) -> Result<(), Errno> {
    remove_sparing(dir, base, path, verdict, |_| false)
}

/// Like [`remove_with`], but directories for whose path `stays` is true are emptied and not removed.
pub(crate) fn remove_sparing(
    dir: impl AsFd,
    base: &[u8],
    path: &[u8],
    mut verdict: impl FnMut(&OwnedFd, &[u8], &[u8]) -> Result<EntryFate, Errno>,
    stays: impl Fn(&[u8]) -> bool,
) -> Result<(), Errno> {
    let top = rustix::fs::openat(dir, ".", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    match take(&top, base, path, &mut verdict) {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        Err(errno) => return missing_is_fine(Err(errno)),
    }
    let mut levels = vec![Level { name: base.to_vec(), path_len: path.len(), children: Vec::new() }];
    let mut path = path.to_vec();
    let mut current = enter(&top, base)?;
    levels[0].children = empty(&current, &path, &mut verdict)?;
    while let Some(level) = levels.last_mut() {
        if let Some(name) = level.children.pop() {
            let path_len = path.len();
            push(&mut path, &name);
            current = insist(&current, || enter(&current, &name))?;
            let children = empty(&current, &path, &mut verdict)?;
            levels.push(Level { name, path_len, children });
            continue;
        }
        let Some(Level { name, path_len, .. }) = levels.pop() else { break };
        let stays = stays(&path);
        path.truncate(path_len);
        let parent = if levels.is_empty() {
            top.try_clone().map_err(|_| Errno::MFILE)?
        } else {
            insist(&current, || enter(&current, b".."))?
        };
        let remove = || match stays {
            true => Ok(()),
            false => rustix::fs::unlinkat(&parent, name.as_slice(), AtFlags::REMOVEDIR),
        };
        // The permissions of the directory that holds the tree must not be changed.
        match if levels.is_empty() { remove() } else { insist(&parent, remove) } {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        current = parent;
    }
    Ok(())
}

/// One directory on the way down.
struct Level {
    name: Vec<u8>,
    /// Length of the path above it.
    path_len: usize,
    /// Its subdirectories that are still to be emptied.
    children: Vec<Vec<u8>>,
}

/// Opens a directory that is on the same mount as `dir`; [`Errno::BUSY`] if it is not.
pub(crate) fn enter(dir: &OwnedFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let same_mount = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let open = || match rustix::fs::openat2(dir, name, flags, Mode::empty(), same_mount) {
        Err(Errno::NOSYS) => enter_unaided(dir, name, flags),
        Err(Errno::XDEV) => Err(Errno::BUSY),
        opened => opened,
    };
    match open() {
        // Without root, even a directory that belongs to this user may deny access.
        Err(Errno::ACCESS) if name != b".." => {
            super::node::Node::open(dir, name)?.chmod(Mode::RWXU)?;
            open()
        }
        opened => opened,
    }
}

/// Like [`enter`], on a kernel without `openat2` (before 5.6). It does not notice a bind mount of the same file system.
fn enter_unaided(dir: &OwnedFd, name: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let opened = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let same = rustix::fs::fstat(dir)?.st_dev == rustix::fs::fstat(&opened)?.st_dev;
    if same { Ok(opened) } else { Err(Errno::BUSY) }
}

/// Removes all entries of `dir` that are not directories. Returns the names of those that are.
fn empty(
    dir: &OwnedFd,
    path: &[u8],
    verdict: &mut impl FnMut(&OwnedFd, &[u8], &[u8]) -> Result<EntryFate, Errno>,
) -> Result<Vec<Vec<u8>>, Errno> {
    let mut directories = Vec::new();
    for entry in insist(dir, || Dir::read_from(dir))? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let path = join(path, name);
        let is_directory = match entry.file_type() {
            FileType::Directory => true,
            FileType::Unknown => !insist(dir, || take(dir, name, &path, verdict))?,
            _ => !insist(dir, || remove_file(dir, name, &path, verdict))?,
        };
        if is_directory {
            directories.push(name.to_vec());
        }
    }
    Ok(directories)
}

/// Deals with one entry that may be a directory. Returns false if it is one.
fn take(
    dir: &OwnedFd,
    name: &[u8],
    path: &[u8],
    verdict: &mut impl FnMut(&OwnedFd, &[u8], &[u8]) -> Result<EntryFate, Errno>,
) -> Result<bool, Errno> {
    if super::node::file_type(&super::node::stat(dir, name)?) == FileType::Directory {
        return Ok(false);
    }
    remove_file(dir, name, path, verdict)
}

/// Deals with one entry that is no directory. Returns false if it is one by now.
fn remove_file(
    dir: &OwnedFd,
    name: &[u8],
    path: &[u8],
    verdict: &mut impl FnMut(&OwnedFd, &[u8], &[u8]) -> Result<EntryFate, Errno>,
) -> Result<bool, Errno> {
    if verdict(dir, name, path)? != EntryFate::Remove {
        return Ok(true);
    }
    match insist(dir, || rustix::fs::unlinkat(dir, name, AtFlags::empty())) {
        Err(Errno::ISDIR) => Ok(false),
        removed => missing_is_fine(removed).map(|()| true),
    }
}

/// Calls `call`, which does something in the directory `dir`. Where that is denied, sets all permissions of the owner
/// on the directory, which only its owner can do, and calls again.
pub(crate) fn insist<T>(dir: &OwnedFd, mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match call() {
        Err(Errno::ACCESS) => {
            rustix::fs::chmod(format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(dir)), Mode::RWXU)?;
            call()
        }
        result => result,
    }
}

fn missing_is_fine(result: Result<(), Errno>) -> Result<(), Errno> {
    match result {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}
