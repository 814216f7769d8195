//! A tree of the host copied into an open directory: every name by its directory's descriptor, and no link followed.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Uid, XattrFlags, linkat, mknodat, openat,
    readlinkat, statat, symlinkat,
};
use rustix::io::Errno;

use super::node::{Into, Metadata, Owner};
use super::shown::make_directory;
use super::{From, lossy};
use crate::ContainerError;

/// The attribute that docker copies, of all there are.
const CAPABILITY: &str = "security.capability";

struct Copy {
    owner: Owner,
    /// Where the copy of a file with several names is, by the file's number.
    linked: HashMap<(u64, u64), Vec<u8>>,
    top_from: OwnedFd,
    top_to: OwnedFd,
    into: Into,
}

/// Something to be copied: its path below the source's directory and below the destination.
struct Pair {
    from: Vec<u8>,
    to: Vec<u8>,
}

/// Copies `from` into the directory `to`, under `name` or its own.
pub(super) fn copy(
    from: &From,
    to: &OwnedFd,
    name: Option<&[u8]>,
    shown: &[u8],
    owner: Owner,
) -> Result<(), ContainerError> {
    // The top is the directory that holds the source; `/` is its own top.
    let holds_it = from.path.parent().filter(|_| from.path != Path::new("/"));
    let top = holds_it.unwrap_or(Path::new("/"));
    let base = if holds_it.is_some() { from.path.file_name().unwrap_or_default().as_bytes() } else { b"." };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top_from = openat(CWD, top, flags, Mode::empty()).map_err(ContainerError::io("opening", top))?;
    let top_to = to.try_clone().map_err(ContainerError::io("opening", lossy(shown)))?;
    let mut copy = Copy { owner, linked: HashMap::new(), top_from, top_to, into: Into(lossy(shown)) };
    let target = name.unwrap_or(&from.name);
    copy.run(Pair { from: base.to_vec(), to: target.to_vec() })
}

impl Copy {
    fn run(&mut self, first: Pair) -> Result<(), ContainerError> {
        let mut left = vec![first];
        let mut directories: Vec<(Vec<u8>, Stat)> = Vec::new();
        while let Some(pair) = left.pop() {
            let fail = |errno: Errno| {
                ContainerError::io("copying", PathBuf::from(std::ffi::OsString::from_vec(pair.from.clone())))(errno)
            };
            let (from, name_from) = descend(&self.top_from, &pair.from).map_err(fail)?;
            let (to, name_to) = descend(&self.top_to, &pair.to).map_err(fail)?;
            let stat = statat(&from, name_from, AtFlags::SYMLINK_NOFOLLOW).map_err(fail)?;
            let kind = FileType::from_raw_mode(stat.st_mode);
            if kind == FileType::Socket {
                // No tar holds one, so docker leaves it out.
                continue;
            }
            if !self.into.make_room(&to, name_to, kind == FileType::Directory, &pair.to)? {
                // The destination itself: only what is in it changes.
            } else if kind == FileType::Directory {
                make_directory(&to, name_to).map_err(fail)?;
                directories.push((pair.to.clone(), stat));
            } else {
                if kind == FileType::Symlink {
                    let target = readlinkat(&from, name_from, Vec::new()).map_err(fail)?.into_bytes();
                    self.into.check_link(&pair.to, &target)?;
                }
                self.node(&from, name_from, &to, name_to, &stat, &pair.to).map_err(fail)?;
            }
            if kind == FileType::Directory {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let dir = openat(&from, name_from, flags, Mode::empty()).map_err(fail)?;
                for entry in Dir::read_from(&dir).map_err(fail)? {
                    let entry = entry.map_err(fail)?;
                    let name = entry.file_name().to_bytes();
                    if name != b"." && name != b".." {
                        left.push(Pair { from: join(&pair.from, name), to: join(&pair.to, name) });
                    }
                }
            }
        }
        // Children first: each change below a directory changes its times.
        for (path, stat) in directories.iter().rev() {
            let fail =
                |errno: Errno| ContainerError::io("setting the metadata of", self.into.0.join(lossy(path)))(errno);
            let (to, name) = descend(&self.top_to, path).map_err(fail)?;
            self.metadata(stat).set(&to, name).map_err(fail)?;
        }
        Ok(())
    }

    /// What a copy gets; the time in whole seconds, as in a tar.
    fn metadata(&self, stat: &Stat) -> Metadata {
        Metadata {
            owner: self.owner.unwrap_or((Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid))),
            mode: Some(stat.st_mode & 0o7777).filter(|_| FileType::from_raw_mode(stat.st_mode) != FileType::Symlink),
            time: Timespec { tv_sec: stat.st_mtime, tv_nsec: 0 },
        }
    }

    fn node(
        &mut self,
        from: &OwnedFd,
        name_from: &[u8],
        to: &OwnedFd,
        name_to: &[u8],
        stat: &Stat,
        path: &[u8],
    ) -> Result<(), Errno> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if stat.st_nlink > 1 {
            let number = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&number) {
                let (dir, base) = descend(&self.top_to, first)?;
                return linkat(dir, base, to, name_to, AtFlags::empty());
            }
            self.linked.insert(number, path.to_vec());
        }
        match kind {
            FileType::RegularFile => {
                // A pipe that has taken the file's place would hold us up.
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let mut source = std::fs::File::from(openat(from, name_from, flags, Mode::empty())?);
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let mut copy = std::fs::File::from(openat(to, name_to, flags, Mode::RUSR | Mode::WUSR)?);
                std::io::copy(&mut source, &mut copy)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
                self.metadata(stat).set(to, name_to)?;
                capability(&source, &copy)
            }
            FileType::Symlink => {
                symlinkat(readlinkat(from, name_from, Vec::new())?, to, name_to)?;
                self.metadata(stat).set(to, name_to)
            }
            kind => {
                mknodat(to, name_to, kind, Mode::RUSR | Mode::WUSR, stat.st_rdev)?;
                self.metadata(stat).set(to, name_to)
            }
        }
    }
}

fn capability(from: impl AsFd, to: impl AsFd) -> Result<(), Errno> {
    let mut value = [0; 64];
    match rustix::fs::fgetxattr(from, CAPABILITY, &mut value) {
        Ok(length) => rustix::fs::fsetxattr(to, CAPABILITY, &value[..length], XattrFlags::empty()),
        Err(_) => Ok(()),
    }
}

/// The directory of a path below an open one, without a link followed, and the last name.
fn descend<'p>(top: &OwnedFd, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut at = openat(top, ".", flags, Mode::empty())?;
    let mut names: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()).collect();
    let last = names.pop().unwrap_or(b".");
    for name in names {
        at = openat(&at, name, flags, Mode::empty())?;
    }
    Ok((at, last))
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir == b"." { name.to_vec() } else { [dir, b"/", name].concat() }
}
