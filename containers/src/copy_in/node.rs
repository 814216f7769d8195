//! One name in a container's directory: what may be in its way, where a link may lead, and what metadata it gets.

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chmod, chownat, fchmod, fchown, futimens, openat,
    unlinkat, utimensat,
};
use rustix::io::Errno;

use super::{invalid, kind_of, lossy};
use crate::ContainerError;

/// Who owns what is copied, if not those who own it on the host or in the tar.
pub(super) type Owner = Option<(Uid, Gid)>;

/// The directory that is copied into, by its path in the container, which messages show.
pub(super) struct Into(pub(super) PathBuf);

impl Into {
    /// Removes what is in the way (moby v20.10.24 `pkg/archive/archive.go: Unpack`). False for the destination itself.
    pub(super) fn make_room(
        &self,
        to: &OwnedFd,
        name: &[u8],
        is_dir: bool,
        path: &[u8],
    ) -> Result<bool, ContainerError> {
        if name == b"." {
            return Ok(false);
        }
        let (target, into) = (self.0.join(lossy(path)), self.0.display());
        let found = kind_of(to, name).map_err(ContainerError::io("looking at", target.clone()))?;
        match (found, is_dir) {
            (None, _) | (Some(FileType::Directory), true) => Ok(true),
            (Some(FileType::Directory), false) => {
                invalid(format!("cannot overwrite directory \"{}\" with non-directory \"{into}\"", target.display()))
            }
            (Some(_), true) => {
                invalid(format!("cannot overwrite non-directory \"{}\" with directory \"{into}\"", target.display()))
            }
            (Some(_), false) => {
                unlinkat(to, name, AtFlags::empty()).map(|()| true).map_err(ContainerError::io("removing", target))
            }
        }
    }

    /// Refuses a link that leads out of what is copied into, by its text; an absolute one stays in the container (moby v20.10.24
    /// `pkg/archive/archive.go: createTarFile`).
    pub(super) fn check_link(&self, path: &[u8], target: &[u8]) -> Result<(), ContainerError> {
        let names = |path: &[u8]| path.split(|&byte| byte == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut depth = names(path).len().saturating_sub(1);
        for name in names(target) {
            match name.as_slice() {
                b"" | b"." => {}
                b".." if depth == 0 && self.0 != Path::new("/") => {
                    let (link, target) = (self.0.join(lossy(path)), String::from_utf8_lossy(target).into_owned());
                    return invalid(format!("invalid symlink \"{}\" -> \"{target}\"", link.display()));
                }
                b".." => depth = depth.saturating_sub(1),
                _ => depth += 1,
            }
        }
        Ok(())
    }
}

/// Owner, mode and time of something that was copied.
#[derive(Clone, Copy)]
pub(super) struct Metadata {
    pub(super) owner: (Uid, Gid),
    /// `None` for what has no mode of its own: a symlink.
    pub(super) mode: Option<u32>,
    pub(super) time: Timespec,
}

impl Metadata {
    /// Sets it on a name in an open directory.
    pub(super) fn set(&self, dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        chownat(dir, name, Some(self.owner.0), Some(self.owner.1), AtFlags::SYMLINK_NOFOLLOW)?;
        if let Some(mode) = self.mode {
            // Nothing is followed: the node is held open, and its own entry leads to it.
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let node = openat(dir, name, flags, Mode::empty())?;
            chmod(format!("/proc/self/fd/{}", node.as_raw_fd()), Mode::from_raw_mode(mode))?;
        }
        self.set_time(dir, name)
    }

    /// Sets it on an open file, whatever its name leads to by now.
    pub(super) fn set_open(&self, file: &File) -> Result<(), Errno> {
        fchown(file, Some(self.owner.0), Some(self.owner.1))?;
        if let Some(mode) = self.mode {
            fchmod(file, Mode::from_raw_mode(mode))?;
        }
        futimens(file, &self.times())
    }

    /// Sets the time alone.
    pub(super) fn set_time(&self, dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
        utimensat(dir, name, &self.times(), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn times(&self) -> Timestamps {
        Timestamps { last_access: self.time, last_modification: self.time }
    }
}
