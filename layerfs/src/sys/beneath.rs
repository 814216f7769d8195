//! Opening directories below a root without following any symlink.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

const PATH_MAX: usize = 4095;

/// A directory as an anchor for other calls: cheap, and needs no read permission.
const ANCHOR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `name` in `dir`, or the one above it for `..`.
///
/// # Errors
/// `ELOOP` or `ENOTDIR` for what is no directory, and what `openat(2)` returns.
pub(crate) fn enter(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, ANCHOR, Mode::empty())
}

/// Opens the directory `path` below `root`; an empty path is the root. Paths may be longer than `PATH_MAX`.
///
/// # Errors
/// `ELOOP` if a component is a symlink, `ENOTDIR`, `ENOENT`, and what `openat2(2)` returns.
pub(crate) fn open_dir(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let mut rest = path;
    let mut dir: Option<OwnedFd> = None;
    loop {
        let (now, later) = split_at_limit(rest);
        let anchor = dir.as_ref().map_or(root.as_fd(), AsFd::as_fd);
        let opened = open_below(anchor, if now.is_empty() { b"." } else { now })?;
        if later.is_empty() {
            return Ok(opened);
        }
        (dir, rest) = (Some(opened), later);
    }
}

fn open_below(anchor: rustix::fd::BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);
    match rustix::fs::openat2(anchor, path, ANCHOR, Mode::empty(), resolve) {
        // Kernels before 5.6, and sandboxes that hide the call.
        Err(Errno::NOSYS | Errno::PERM) => {
            let mut dir = enter(anchor, b".")?;
            for component in path.split(|&b| b == b'/') {
                dir = enter(&dir, component)?;
            }
            Ok(dir)
        }
        opened => opened,
    }
}

/// Cuts `path` at the last slash within the limit of one call.
fn split_at_limit(path: &[u8]) -> (&[u8], &[u8]) {
    if path.len() <= PATH_MAX {
        return (path, b"");
    }
    let slash = path[..PATH_MAX].iter().rposition(|&b| b == b'/').unwrap_or(PATH_MAX);
    (&path[..slash], path.get(slash + 1..).unwrap_or_default())
}
