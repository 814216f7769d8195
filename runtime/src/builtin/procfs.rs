//! Files of the kernel that are written to: what is written must be the kernel's file, whatever is mounted where.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags, fstatfs, openat2, statfs};

const PROC_SUPER_MAGIC: i64 = 0x9fa0;
const CGROUP_SUPER_MAGIC: i64 = 0x27_e0eb;
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// Fails for a path that is not in a file system of control groups.
pub(super) fn is_groups(path: &Path) -> io::Result<()> {
    let found = statfs(path)?.f_type;
    if found == CGROUP_SUPER_MAGIC || found == CGROUP2_SUPER_MAGIC {
        return Ok(());
    }
    Err(io::Error::other(format!("{} is not a file of a control group", path.display())))
}

/// Writes to a file of a process file system that was mounted by this process, or is the host's.
pub(super) fn write(proc: impl AsFd, name: &str, value: &str) -> io::Result<()> {
    let flags = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    let file: OwnedFd = openat2(proc, name, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty(), flags)?;
    if fstatfs(&file)?.f_type != PROC_SUPER_MAGIC {
        return Err(io::Error::other(format!("{name} is not a file of the process file system")));
    }
    rustix::io::write(&file, value.as_bytes())?;
    Ok(())
}

/// The host's process file system.
pub(super) fn host() -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/proc", flags, Mode::empty())?)
}
