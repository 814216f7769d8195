//! Makes the nodes in `/dev`, and covers the files of the kernel that the specification hides. Which ones these are is said in
//! `spec`: `spec/mod.rs` has the hidden paths, `spec/devices.rs` the devices.
//!
//! Everything is made relative to the file system in memory that was mounted at `/dev` a moment ago, never by a path: an image
//! may hold a link there (CVE-2026-41579), and another container may exchange what is hidden (CVE-2025-31133).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Uid, chmodat, chownat, major, makedev, minor, mknodat, openat, statat,
    symlinkat,
};
use rustix::io::Errno;

use super::filesystems::{empty_dir, make_readonly};
use super::tree::{Point, Tree, attach, copy_of, kind_of, make_dir};
use crate::oci;

/// The devices that every container has.
const USUAL: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// A device to be made.
struct Node {
    path: String,
    kind: FileType,
    number: u64,
    mode: u32,
    owner: (u32, u32),
}

/// Fills `/dev`. With `nodes` the devices are made; without, the host's nodes are mounted in their places, and no other
/// mount of the container has devices that work.
pub(super) fn fill(tree: &Tree, dev: &OwnedFd, wanted: &[oci::LinuxDevice], nodes: bool) -> io::Result<()> {
    let usual = USUAL.iter().map(|&(name, major, minor)| Node {
        path: format!("/dev/{name}"),
        kind: FileType::CharacterDevice,
        number: makedev(major, minor),
        mode: 0o666,
        owner: (0, 0),
    });
    let more = wanted.iter().map(|device| Node {
        path: device.path().to_string_lossy().into_owned(),
        kind: match device.typ() {
            oci::LinuxDeviceType::B => FileType::BlockDevice,
            oci::LinuxDeviceType::P => FileType::Fifo,
            _ => FileType::CharacterDevice,
        },
        number: makedev(number(device.major()), number(device.minor())),
        mode: device.file_mode().unwrap_or(0o666),
        owner: (device.uid().unwrap_or(0), device.gid().unwrap_or(0)),
    });
    let mut made: Vec<String> = Vec::new();
    // Of several devices with one path the first is made, so the specification goes before the usual ones.
    for node in more.chain(usual) {
        if made.contains(&node.path) || node.path == "/dev/ptmx" {
            continue;
        }
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", node.path));
        place(tree, dev, &node, nodes).map_err(named)?;
        made.push(node.path);
    }
    for (name, target) in LINKS {
        match symlinkat(target, dev, name) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

fn number(number: i64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn place(tree: &Tree, dev: &OwnedFd, node: &Node, make: bool) -> io::Result<()> {
    let (parent, name) = match node.path.strip_prefix("/dev/") {
        Some(below) => below_dev(dev, Path::new(below))?,
        None => tree.parent(&node.path)?,
    };
    if make {
        let _ = rustix::fs::unlinkat(&parent, &name, AtFlags::empty());
        mknodat(&parent, &name, node.kind, Mode::empty(), node.number)?;
        let (uid, gid) = (Uid::from_raw(node.owner.0), Gid::from_raw(node.owner.1));
        chownat(&parent, &name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        chmodat(&parent, &name, Mode::from_raw_mode(node.mode), AtFlags::empty())?;
        return Ok(());
    }
    // Without nodes of our own, the host's node is shown: it must be the device that is meant.
    let host = openat(CWD, node.path.as_str(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let found = statat(&host, "", AtFlags::EMPTY_PATH)?;
    if FileType::from_raw_mode(found.st_mode) != node.kind || found.st_rdev != node.number {
        let (major, minor) = (major(node.number), minor(node.number));
        return Err(io::Error::other(format!(
            "the host's is not the device {major}:{minor}, and no other can be made here"
        )));
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    drop(openat(&parent, &name, flags, Mode::from_raw_mode(0o666))?);
    let point = openat(&parent, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    attach(copy_of(&host, false)?, point)
}

/// The directory below `/dev` in which a device is, without a link.
fn below_dev(dev: &OwnedFd, path: &Path) -> io::Result<(OwnedFd, std::path::PathBuf)> {
    let mut at = dev.try_clone()?;
    let name = path.file_name().ok_or(Errno::INVAL)?;
    for part in path.parent().into_iter().flat_map(Path::components) {
        let std::path::Component::Normal(part) = part else { return Err(Errno::INVAL.into()) };
        at = make_dir(at.as_fd(), Path::new(part))?;
    }
    Ok((at, name.into()))
}

/// Hides files and directories of the kernel: a file is the null device, a directory is empty. What does not exist needs no
/// hiding.
pub(super) fn hide(tree: &Tree, dev: Option<&OwnedFd>, paths: &[String]) -> io::Result<()> {
    for path in paths {
        let Some(found) = tree.find_plain(path)? else { continue };
        if kind_of(&found)? == Point::Directory {
            attach(empty_dir()?, found)?;
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let null = match dev {
            Some(dev) => openat(dev, "null", flags, Mode::empty())?,
            None => openat(CWD, "/dev/null", flags, Mode::empty())?,
        };
        let is = statat(&null, "", AtFlags::EMPTY_PATH)?;
        if FileType::from_raw_mode(is.st_mode) != FileType::CharacterDevice || is.st_rdev != makedev(1, 3) {
            return Err(io::Error::other("/dev/null is not the null device"));
        }
        attach(copy_of(&null, false)?, found)?;
    }
    Ok(())
}

/// Where a stream is the host's null device, the container's takes its place, to be read and written, as runc does it
/// (v1.1.5 `libcontainer/rootfs_linux.go: reOpenDevNull`). A container without one keeps the host's.
pub(super) fn open_null_again(stream: OwnedFd) -> io::Result<OwnedFd> {
    let is_null = |file: &OwnedFd| -> io::Result<bool> {
        let found = rustix::fs::fstat(file)?;
        let is_device = FileType::from_raw_mode(found.st_mode) == FileType::CharacterDevice;
        Ok(is_device && found.st_rdev == makedev(1, 3))
    };
    if !is_null(&stream)? {
        return Ok(stream);
    }
    // Anything may stand at this path. At a named pipe, an open without this flag would wait.
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match rustix::fs::open("/dev/null", OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
        Ok(found) if is_null(&found)? => {}
        _ => return Ok(stream),
    }
    let own = rustix::fs::open("/dev/null", flags, Mode::empty())?;
    if !is_null(&own)? {
        return Ok(stream);
    }
    rustix::fs::fcntl_setfl(&own, OFlags::empty())?;
    Ok(own)
}

/// Makes files and directories of the kernel read-only.
pub(super) fn protect(tree: &Tree, paths: &[String]) -> io::Result<()> {
    for path in paths {
        let Some(found) = tree.find_plain(path)? else { continue };
        let copy = copy_of(&found, true)?;
        make_readonly(&copy)?;
        attach(copy, found)?;
    }
    Ok(())
}
