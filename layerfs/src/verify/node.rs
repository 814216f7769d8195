//! One node of a layer's directory, compared with the member that describes it, or with the same node of the layer below.

use rustix::fd::AsFd;
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use tarsplit::{Member, MemberKind};

use super::fault::FaultKind;
use crate::apply::bounded;
use crate::sys::node::{file_type, get_xattr};

/// The differences between a member and the node in its place, but for the content.
pub(super) fn differences(
    member: &Member,
    dir: impl AsFd,
    base: &[u8],
    found: &Stat,
    owners: bool,
) -> Result<Vec<FaultKind>, Errno> {
    let mut faults = Vec::new();
    let kind = file_type(found);
    let expected = match member.kind {
        MemberKind::Regular | MemberKind::GnuSparse | MemberKind::Other(_) => Some(FileType::RegularFile),
        MemberKind::Directory => Some(FileType::Directory),
        MemberKind::Symlink => Some(FileType::Symlink),
        MemberKind::CharDevice => Some(FileType::CharacterDevice),
        MemberKind::BlockDevice => Some(FileType::BlockDevice),
        MemberKind::Fifo => Some(FileType::Fifo),
        // A hard link has the type of the file that it links to.
        MemberKind::HardLink | MemberKind::GlobalHeader => None,
    };
    if expected.is_some_and(|expected| expected != kind) {
        return Ok(vec![FaultKind::Type]);
    }
    match member.kind {
        MemberKind::Regular if u64::try_from(found.st_size).ok() != Some(member.size) => {
            let found = u64::try_from(found.st_size).unwrap_or_default();
            faults.push(FaultKind::Size { expected: member.size, found });
        }
        MemberKind::Symlink => {
            let target = rustix::fs::readlinkat(&dir, base, Vec::new())?;
            if target.as_bytes() != member.linkname {
                faults.push(FaultKind::Target);
            }
        }
        MemberKind::CharDevice | MemberKind::BlockDevice => {
            let number = |part: i64| u32::try_from(part).unwrap_or(u32::MAX);
            let (major, minor) = member.device;
            if rustix::fs::makedev(number(major), number(minor)) != found.st_rdev {
                faults.push(FaultKind::Target);
            }
        }
        _ => {}
    }
    if kind != FileType::Symlink {
        let (expected, found) = (member.mode & 0o7777, found.st_mode & 0o7777);
        if expected != found {
            faults.push(FaultKind::Mode { expected, found });
        }
    }
    if owners {
        // An owner of -1 means, for `chown` and so for Docker, that the owner is not changed.
        let id = |id: i64, found: u32| u32::try_from(id).ok().filter(|id| *id != u32::MAX).unwrap_or(found);
        let expected = (id(member.uid, found.st_uid), id(member.gid, found.st_gid));
        if expected != (found.st_uid, found.st_gid) {
            faults.push(FaultKind::Owner { expected, found: (found.st_uid, found.st_gid) });
        }
    }
    // The header of a hard link says nothing of attributes. Who may not set owners may not set capabilities, either.
    if owners && kind == FileType::RegularFile && member.kind != MemberKind::HardLink {
        let expected =
            member.xattrs.iter().find(|(name, _)| name == CAPABILITY.as_bytes()).map(|(_, value)| value.as_slice());
        if let Some(found) = capability(&dir, base)?
            && found.as_deref() != expected
        {
            faults.push(FaultKind::Capability);
        }
    }
    // A hard link to a symlink leaves the symlink's times.
    let timed = kind != FileType::Directory && !(member.kind == MemberKind::HardLink && kind == FileType::Symlink);
    let expected = bounded(member.mtime);
    if timed && !same_time(expected, time_of(found)) {
        faults.push(FaultKind::Time { expected: expected.0, found: found.st_mtime });
    }
    Ok(faults)
}

/// The attribute that holds a program's capabilities.
const CAPABILITY: &str = "security.capability";

/// The capabilities of a file. The outer `None` means that they cannot be compared: the file system has
/// none, or they cannot be asked for.
fn capability(dir: impl AsFd, base: &[u8]) -> Result<Option<Option<Vec<u8>>>, Errno> {
    let mut value = [0; 64];
    match get_xattr(dir, base, CAPABILITY, &mut value) {
        Ok(length) => Ok(Some(Some(value[..length].to_vec()))),
        Err(Errno::NODATA) => Ok(Some(None)),
        Err(Errno::OPNOTSUPP | Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// The differences between a node and the node of which it is a copy, but for the content of files.
pub(super) fn copy_differences(expected: &Stat, found: &Stat) -> Vec<FaultKind> {
    let kind = file_type(found);
    if kind != file_type(expected) {
        return vec![FaultKind::Type];
    }
    let mut faults = Vec::new();
    if kind == FileType::RegularFile && expected.st_size != found.st_size {
        let size = |stat: &Stat| u64::try_from(stat.st_size).unwrap_or_default();
        faults.push(FaultKind::Size { expected: size(expected), found: size(found) });
    }
    if matches!(kind, FileType::CharacterDevice | FileType::BlockDevice) && expected.st_rdev != found.st_rdev {
        faults.push(FaultKind::Target);
    }
    if kind != FileType::Symlink && expected.st_mode & 0o7777 != found.st_mode & 0o7777 {
        faults.push(FaultKind::Mode { expected: expected.st_mode & 0o7777, found: found.st_mode & 0o7777 });
    }
    let owner = |stat: &Stat| (stat.st_uid, stat.st_gid);
    if owner(expected) != owner(found) {
        faults.push(FaultKind::Owner { expected: owner(expected), found: owner(found) });
    }
    if kind != FileType::Directory && !same_time(time_of(expected), time_of(found)) {
        faults.push(FaultKind::Time { expected: expected.st_mtime, found: found.st_mtime });
    }
    faults
}

fn time_of(stat: &Stat) -> (i64, u32) {
    (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default())
}

/// Whether two times are the same. A header or a file system may have whole seconds only.
fn same_time(one: (i64, u32), other: (i64, u32)) -> bool {
    one.0 == other.0 && (one.1 == other.1 || one.1 == 0 || other.1 == 0)
}
