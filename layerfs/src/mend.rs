//! Puts single files of a fresh copy of a layer in the place of damaged ones.
//!
//! Both directories hold the layer's own files only, as overlay2 has them, and are on one file system. Each file changes
//! place with the one it replaces in one step, so after a crash each is the old one or the new one, and whatever was
//! replaced is in the directory of the fresh copy until that is removed.

use std::collections::HashMap;

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;

use crate::path::split;
use crate::sys::beneath::open_dir;
use crate::sys::node::{file_type, set_times, stat, timestamps};
use crate::verify::VerifyError;

/// Replaces the files at `paths` of the layer in `damaged` by those of the copy in `fresh`. A file that only `damaged`
/// has is moved into `fresh`. A directory that both have keeps its files, and gets the owner, mode and attributes of
/// the one in `fresh`.
///
/// Returns `false`, without having changed anything, if the files cannot be replaced one by one: a path leads through a
/// symlink, a file has several names, or a directory above it is missing in one of the two and is not among the paths.
/// It also returns `false` if the file system cannot exchange two files in one step.
///
/// # Errors
/// [`VerifyError::Tree`]. Files that were replaced by then stay replaced.
pub fn replace_files(fresh: BorrowedFd<'_>, damaged: BorrowedFd<'_>, paths: &[Vec<u8>]) -> Result<bool, VerifyError> {
    let mut paths: Vec<&[u8]> = paths.iter().map(Vec::as_slice).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut changes: Vec<Change<'_>> = Vec::new();
    for path in paths {
        // What is below a change has moved with it.
        if changes.last().is_some_and(|change| change.covers(path)) {
            continue;
        }
        match Change::plan(fresh, damaged, path)? {
            Some(Some(change)) => changes.push(change),
            Some(None) => {}
            None => return Ok(false),
        }
    }
    let mut parents: HashMap<(u64, u64), (OwnedFd, Stat)> = HashMap::new();
    for (number, change) in changes.iter().enumerate() {
        let failed = VerifyError::tree("replacing", change.path);
        let dir = open_dir(damaged, split(change.path).0).map_err(&failed)?;
        let before = rustix::fs::fstat(&dir).map_err(&failed)?;
        match change.make(fresh, &dir, number) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS) if number == 0 => return Ok(false),
            Err(errno) => return Err(failed(errno)),
        }
        parents.entry((before.st_dev, before.st_ino)).or_insert((dir, before));
    }
    for (dir, before) in parents.into_values() {
        let nanoseconds = |count| u32::try_from(count).unwrap_or_default();
        let access = (before.st_atime, nanoseconds(before.st_atime_nsec));
        let times = timestamps(access, (before.st_mtime, nanoseconds(before.st_mtime_nsec)));
        set_times(&dir, b".", &times).map_err(VerifyError::tree("setting times", b""))?;
    }
    Ok(true)
}

/// What is to be done at a path.
struct Change<'p> {
    path: &'p [u8],
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// The damaged layer has nothing there.
    Add,
    /// The fresh copy has nothing there.
    TakeAway,
    Exchange,
    /// Both are directories.
    Describe,
}

impl<'p> Change<'p> {
    /// Plans the change of a path; `Some(None)` if neither has it. `None` if it cannot be changed by itself.
    #[allow(clippy::option_option, reason = "nothing to do is not the same as something that cannot be done")]
    fn plan(
        fresh: BorrowedFd<'_>,
        damaged: BorrowedFd<'_>,
        path: &'p [u8],
    ) -> Result<Option<Option<Self>>, VerifyError> {
        let (Some(new), Some(old)) = (look(fresh, path)?, look(damaged, path)?) else { return Ok(None) };
        let is_directory = |found: &Stat| file_type(found) == FileType::Directory;
        // If one of several names of a file is replaced, the other names keep the old file.
        let has_one_name = |found: &Stat| is_directory(found) || found.st_nlink == 1;
        let kind = match (&new, &old) {
            (Look::Found(new), Look::Found(old)) if is_directory(new) && is_directory(old) => Kind::Describe,
            (Look::Found(new), Look::Found(old)) if has_one_name(new) && has_one_name(old) => Kind::Exchange,
            (Look::Found(new), Look::Absent) if has_one_name(new) => Kind::Add,
            (Look::Absent | Look::NoParent, Look::Found(_)) => Kind::TakeAway,
            (Look::Absent | Look::NoParent, Look::Absent | Look::NoParent) => return Ok(Some(None)),
            _ => return Ok(None),
        };
        Ok(Some(Some(Self { path, kind })))
    }

    /// Whether the change moves `path` as well, because that is below its own path.
    fn covers(&self, path: &[u8]) -> bool {
        let below = path.strip_prefix(self.path).is_some_and(|rest| rest.first() == Some(&b'/'));
        below && self.kind != Kind::Describe
    }

    /// Makes the change. `dir` is the directory of the path in the damaged layer.
    fn make(&self, fresh: BorrowedFd<'_>, dir: &OwnedFd, number: usize) -> Result<(), Errno> {
        let (above, base) = split(self.path);
        match self.kind {
            Kind::TakeAway => {
                // The file goes to the root of the fresh copy, which may not have the directory that the file is in.
                let aside = format!(".layerfs-extra-{number}");
                rustix::fs::renameat_with(dir, base, fresh, aside.as_bytes(), RenameFlags::NOREPLACE)
            }
            Kind::Add => rustix::fs::renameat_with(open_dir(fresh, above)?, base, dir, base, RenameFlags::NOREPLACE),
            Kind::Exchange => {
                rustix::fs::renameat_with(open_dir(fresh, above)?, base, dir, base, RenameFlags::EXCHANGE)
            }
            Kind::Describe => describe(&open_dir(fresh, above)?, dir, base),
        }
    }
}

/// Gives the directory `base` in `to` the owner, mode and attributes of the one in `from`. Attributes that only the one
/// in `to` has stay.
fn describe(from: &OwnedFd, to: &OwnedFd, base: &[u8]) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |dir: &OwnedFd| rustix::fs::openat(dir, base, flags, Mode::empty());
    let (from, to) = (open(from)?, open(to)?);
    let wanted = rustix::fs::fstat(&from)?;
    rustix::fs::fchown(&to, Some(Uid::from_raw(wanted.st_uid)), Some(Gid::from_raw(wanted.st_gid)))?;
    for name in attributes(&from)? {
        let value = attribute(&from, &name)?;
        if attribute(&to, &name).as_ref() != Ok(&value) {
            rustix::fs::fsetxattr(&to, name.as_slice(), &value, XattrFlags::empty())?;
        }
    }
    rustix::fs::fchmod(&to, Mode::from_raw_mode(wanted.st_mode & 0o7777))
}

/// The most that the kernel gives for a list of attributes, and for the value of one.
const MOST: usize = 64 << 10;

fn attributes(file: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut list = vec![0; MOST];
    let length = match rustix::fs::flistxattr(file, &mut list) {
        Err(Errno::OPNOTSUPP) => 0,
        listed => listed?,
    };
    let names = list[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty());
    Ok(names.map(<[u8]>::to_vec).collect())
}

fn attribute(file: impl AsFd, name: &[u8]) -> Result<Vec<u8>, Errno> {
    let mut value = vec![0; MOST];
    let length = rustix::fs::fgetxattr(file, name, &mut value)?;
    value.truncate(length);
    Ok(value)
}

/// What is at a path.
enum Look {
    Found(Box<Stat>),
    Absent,
    /// A directory above it is missing.
    NoParent,
}

/// Looks at a path; `None` if it leads through something that is no directory.
fn look(root: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Look>, VerifyError> {
    let (above, base) = split(path);
    let dir = match open_dir(root, above) {
        Ok(dir) => dir,
        Err(Errno::NOENT) => return Ok(Some(Look::NoParent)),
        Err(Errno::LOOP | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(VerifyError::tree("opening", above)(errno)),
    };
    match stat(&dir, base) {
        Ok(found) => Ok(Some(Look::Found(Box::new(found)))),
        Err(Errno::NOENT) => Ok(Some(Look::Absent)),
        Err(errno) => Err(VerifyError::tree("stat", path)(errno)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn replace(dir: &Path, paths: &[&str]) -> bool {
        let open = |name: &str| crate::sys::beneath::open_dir(fs::File::open(dir).unwrap(), name.as_bytes()).unwrap();
        let (fresh, damaged) = (open("fresh"), open("damaged"));
        let paths: Vec<Vec<u8>> = paths.iter().map(|path| path.as_bytes().to_vec()).collect();
        replace_files(fresh.as_fd(), damaged.as_fd(), &paths).unwrap()
    }

    fn two() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for side in ["fresh", "damaged"] {
            let at = dir.path().join(side);
            fs::create_dir_all(at.join("sub/deep")).unwrap();
            fs::write(at.join("same"), "same").unwrap();
            fs::write(at.join("sub/file"), side).unwrap();
        }
        dir
    }

    #[test]
    fn each_kind_of_change() {
        let dir = two();
        let (fresh, damaged) = (dir.path().join("fresh"), dir.path().join("damaged"));
        fs::create_dir_all(fresh.join("lost/in")).unwrap();
        fs::write(fresh.join("lost/in/file"), "found").unwrap();
        fs::create_dir_all(damaged.join("extra/in")).unwrap();
        fs::write(damaged.join("sub/more"), "extra").unwrap();
        fs::write(fresh.join("kind"), "file").unwrap();
        fs::create_dir_all(damaged.join("kind/with")).unwrap();
        symlink("right", fresh.join("link")).unwrap();
        symlink("wrong", damaged.join("link")).unwrap();
        fs::set_permissions(fresh.join("sub/deep"), fs::Permissions::from_mode(0o1750)).unwrap();
        let (inode, time) = (
            fs::metadata(damaged.join("same")).unwrap().ino(),
            fs::metadata(damaged.join("sub")).unwrap().mtime_nsec(),
        );
        let paths = [
            "sub/more",
            "sub/file",
            "sub/deep",
            "lost",
            "lost/in",
            "lost/in/file",
            "extra",
            "kind",
            "kind/with",
            "link",
        ];
        assert!(replace(dir.path(), &paths));
        assert_eq!(fs::read_to_string(damaged.join("sub/file")).unwrap(), "fresh");
        assert_eq!(fs::read_to_string(damaged.join("lost/in/file")).unwrap(), "found");
        assert_eq!(fs::read_to_string(damaged.join("kind")).unwrap(), "file");
        assert_eq!(fs::read_link(damaged.join("link")).unwrap(), Path::new("right"));
        assert!(!damaged.join("extra").exists() && !damaged.join("sub/more").exists());
        assert_eq!(fs::metadata(damaged.join("sub/deep")).unwrap().mode() & 0o7777, 0o1750);
        // What was sound is the same file, and its directory has its time.
        assert_eq!(fs::metadata(damaged.join("same")).unwrap().ino(), inode);
        assert_eq!(fs::metadata(damaged.join("sub")).unwrap().mtime_nsec(), time);
        // What was replaced is kept.
        assert_eq!(fs::read_to_string(fresh.join("sub/file")).unwrap(), "damaged");
        assert!(fresh.join("kind/with").is_dir());
        // Once more, with nothing left to be replaced but what was kept.
        assert!(replace(dir.path(), &["sub/more", "extra"]));
    }

    #[test]
    fn what_cannot_be_replaced_alone_is_not_touched() {
        for path in ["through/file", "names", "gone/file"] {
            let dir = two();
            let (fresh, damaged) = (dir.path().join("fresh"), dir.path().join("damaged"));
            symlink(dir.path(), damaged.join("through")).unwrap();
            fs::create_dir_all(fresh.join("gone")).unwrap();
            fs::write(fresh.join("gone/file"), "").unwrap();
            fs::write(fresh.join("names"), "").unwrap();
            fs::write(damaged.join("names"), "x").unwrap();
            fs::hard_link(fresh.join("names"), fresh.join("other")).unwrap();
            fs::write(dir.path().join("file"), "outside").unwrap();
            assert!(!replace(dir.path(), &["sub/file", path]), "{path}");
            assert_eq!(fs::read_to_string(damaged.join("sub/file")).unwrap(), "damaged");
            assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "outside");
        }
    }
}
