//! A tar unpacked into a directory of a container, as docker unpacks one there (moby v20.10.24 `pkg/archive/archive.go: Unpack,
//! createTarFile`). Directories on the way are found by the kernel below the container's root, and the last name by its
//! directory's descriptor, so that nothing leads out.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;

use layerfs::path::{join, split};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Uid, XattrFlags, chownat, linkat, makedev, mknodat, openat,
    setxattr, symlinkat,
};
use rustix::io::Errno;
use tarsplit::frame::{Frame, Framer};
use tarsplit::member::{Member, MemberKind};
use tarsplit::names::{clean, shown as shown_name};
use tarsplit::sparse::Spread;

use super::node::{Into, Metadata, Owner};
use super::shown::{Shown, make_directory};
use super::{invalid, lossy};
use crate::ContainerError;

/// What a tar is unpacked into.
pub(super) struct Untar<'s> {
    pub(super) shown: &'s Shown,
    /// The directory's path in the container.
    pub(super) path: &'s [u8],
    /// The directory itself.
    pub(super) dir: OwnedFd,
    /// Who owns everything, if not those whom the tar names.
    pub(super) owner: Owner,
}

/// A file whose body is being written.
struct Writing {
    file: File,
    /// Where the next bytes of the body go.
    spread: Spread,
    /// What is set once the body is written.
    metadata: Metadata,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    size: u64,
    path: Vec<u8>,
}

impl Untar<'_> {
    /// Unpacks a whole tar; what was unpacked before an error stays.
    pub(super) fn run(self, mut reader: impl Read) -> Result<(), ContainerError> {
        let into = Into(lossy(&layerfs::path::absolute(self.path)));
        let mut framer = Framer::new();
        let mut piece = vec![0; 128 << 10];
        let mut writing: Option<Writing> = None;
        let mut dirs: Vec<(Vec<u8>, Metadata)> = Vec::new();
        let damaged =
            |error: tarsplit::TarError| ContainerError::Invalid(format!("Error processing tar file: {error}"));
        loop {
            let read = reader.read(&mut piece).map_err(ContainerError::io("reading", "standard input"))?;
            if read == 0 {
                framer.finish().map_err(damaged)?;
                break;
            }
            let mut at = 0;
            loop {
                let (taken, frame) = framer.next(&piece[at..read]).map_err(damaged)?;
                at += taken;
                match frame {
                    None => break,
                    Some(Frame::Member(member)) => {
                        self.end(writing.take(), &into)?;
                        writing = self.member(*member, &into, &mut dirs)?;
                    }
                    Some(Frame::Body(mut bytes)) => {
                        if let Some(writing) = &mut writing {
                            let failed = ContainerError::io("writing", into.0.join(lossy(&writing.path)));
                            let mut write = || {
                                while let Some((at, part)) = writing.spread.next(&mut bytes) {
                                    writing.file.write_all_at(part, at)?;
                                }
                                std::io::Result::Ok(())
                            };
                            write().map_err(failed)?;
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        self.end(writing, &into)?;
        // Each change below a directory changes its time.
        for (path, metadata) in dirs {
            let failed = ContainerError::io("setting the time of", into.0.join(lossy(&path)));
            let (above, name) = self.place(&path)?;
            metadata.set_time(&above, name).map_err(failed)?;
        }
        Ok(())
    }

    /// The open directory of a path below the destination, which is made if it is missing, and the last name.
    fn place<'p>(&self, path: &'p [u8]) -> Result<(OwnedFd, &'p [u8]), ContainerError> {
        let (above, name) = split(path);
        let failed = ContainerError::io("opening", lossy(&join(self.path, above)));
        if above.is_empty() {
            let name = if name.is_empty() { b"." } else { name };
            return Ok((self.dir.try_clone().map_err(failed)?, name));
        }
        let whole = join(self.path, above);
        let opened = match self.shown.directory(&whole) {
            Err(Errno::NOENT) => self.shown.make_directory(&whole),
            opened => opened,
        };
        Ok((opened.map_err(|errno| failed(errno.into()))?, name))
    }

    /// Makes what a member describes; a file's body is still to come.
    fn member(
        &self,
        member: Member,
        into: &Into,
        dirs: &mut Vec<(Vec<u8>, Metadata)>,
    ) -> Result<Option<Writing>, ContainerError> {
        if member.kind == MemberKind::GlobalHeader {
            return Ok(None);
        }
        let cleaned = clean(&member.name).into_owned();
        let path = cleaned.strip_prefix(b"/").unwrap_or(&cleaned);
        if leads_up(path) {
            return invalid(format!("\"{}\" is outside of \"{}\"", shown_name(&member.name), into.0.display()));
        }
        let is_dir = member.kind == MemberKind::Directory;
        if path == b"." || (path.is_empty() && !is_dir) {
            return if is_dir {
                Ok(None)
            } else {
                let dir = into.0.display();
                invalid(format!("cannot overwrite directory \"{dir}\" with non-directory \"{dir}\""))
            };
        }
        let metadata = self.metadata(&member)?;
        let (to, name) = self.place(path)?;
        into.make_room(&to, name, is_dir, path)?;
        let failed = |errno: Errno| ContainerError::io("unpacking", into.0.join(lossy(path)))(errno);
        let device = || match (u32::try_from(member.device.0), u32::try_from(member.device.1)) {
            (Ok(major), Ok(minor)) => Ok(makedev(major, minor)),
            _ => invalid(format!("{}: no such device numbers", shown_name(&member.name))),
        };
        let node = |kind, device| mknodat(&to, name, kind, Mode::RUSR | Mode::WUSR, device).map_err(failed);
        match member.kind {
            MemberKind::Directory => {
                make_directory(&to, name).map_err(failed)?;
                dirs.push((path.to_vec(), metadata));
            }
            MemberKind::Regular | MemberKind::GnuSparse => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&to, name, flags, Mode::RUSR | Mode::WUSR).map_err(failed)?;
                return Ok(Some(Writing {
                    file: file.into(),
                    spread: member.spread(),
                    metadata,
                    xattrs: member.xattrs,
                    size: member.size,
                    path: path.to_vec(),
                }));
            }
            MemberKind::Symlink => {
                into.check_link(path, &member.linkname)?;
                symlinkat(member.linkname.as_slice(), &to, name).map_err(failed)?;
            }
            MemberKind::HardLink => {
                let target = clean(&member.linkname).into_owned();
                let target = target.strip_prefix(b"/").unwrap_or(&target);
                if leads_up(target) {
                    // Like docker, with the path that it leads to.
                    let led = layerfs::path::absolute(&join(self.path, &member.linkname));
                    let (led, target) = (lossy(&led), String::from_utf8_lossy(&member.linkname).into_owned());
                    return invalid(format!("invalid hardlink \"{}\" -> \"{target}\"", led.display()));
                }
                let (above, base) = split(target);
                let from = self.shown.directory(&join(self.path, above)).map_err(failed)?;
                linkat(&from, base, &to, name, AtFlags::empty()).map_err(failed)?;
                // Its mode and time are the file's own.
                let (user, group) = metadata.owner;
                chownat(&to, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW).map_err(failed)?;
                return Ok(None);
            }
            MemberKind::CharDevice => node(FileType::CharacterDevice, device()?)?,
            MemberKind::BlockDevice => node(FileType::BlockDevice, device()?)?,
            MemberKind::Fifo => node(FileType::Fifo, 0)?,
            MemberKind::GlobalHeader | MemberKind::Other(_) => {
                let number = member.kind.typeflag();
                return invalid(format!("{}: unhandled tar header type {number}", shown_name(&member.name)));
            }
        }
        metadata.set(&to, name).map_err(failed)?;
        let opened = openat(&to, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        if member.kind != MemberKind::Symlink {
            xattrs(&opened.map_err(failed)?, &member.xattrs).map_err(failed)?;
        }
        Ok(None)
    }

    fn metadata(&self, member: &Member) -> Result<Metadata, ContainerError> {
        let number = |id: i64| match u32::try_from(id) {
            Ok(id) if id != u32::MAX => Ok(id),
            _ => invalid(format!("{}: {id} is no number of an owner", shown_name(&member.name))),
        };
        let owner = match self.owner {
            Some(owner) => owner,
            None => (Uid::from_raw(number(member.uid)?), Gid::from_raw(number(member.gid)?)),
        };
        // docker takes times that the system cannot express for 1970.
        let seconds = member.mtime.seconds.max(0);
        let time = Timespec { tv_sec: seconds, tv_nsec: member.mtime.nanoseconds.into() };
        let mode = Some(member.mode & 0o7777).filter(|_| member.kind != MemberKind::Symlink);
        Ok(Metadata { owner, mode, time })
    }

    /// Sets what is left to be set on a file whose body is written.
    fn end(&self, writing: Option<Writing>, into: &Into) -> Result<(), ContainerError> {
        let Some(writing) = writing else { return Ok(()) };
        let failed = || into.0.join(lossy(&writing.path));
        writing.file.set_len(writing.size).map_err(ContainerError::io("writing", failed()))?;
        // A change of the owner takes a capability away, so the attributes come last.
        let set = writing.metadata.set_open(&writing.file).and_then(|()| xattrs(&writing.file, &writing.xattrs));
        set.map_err(ContainerError::io("setting the metadata of", failed()))
    }
}

/// Whether a cleaned path leads above where it starts.
fn leads_up(path: &[u8]) -> bool {
    path == b".." || path.starts_with(b"../")
}

/// Sets extended attributes; those that the file system does not have are left out, as docker leaves them out.
fn xattrs(node: &impl std::os::fd::AsFd, xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Errno> {
    let path = format!("/proc/self/fd/{}", node.as_fd().as_raw_fd());
    for (name, value) in xattrs {
        match setxattr(&path, name.as_slice(), value, XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => {}
            Err(Errno::PERM) if name.starts_with(b"user.") => {}
            set => set?,
        }
    }
    Ok(())
}
