//! Which extended attributes a layer may set.

use rustix::fd::BorrowedFd;
use rustix::fs::XattrFlags;
use rustix::io::Errno;

/// Prefixes of the attributes by which overlayfs itself decides what a directory shows. A layer that could set these
/// attributes would redirect into other layers or hide what it does not name. Docker sets them as given; this crate
/// never does.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];

/// Why an attribute of a member was not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Skipped {
    /// It would steer overlayfs.
    Overlay,
    /// The file system or the user's rights do not allow it.
    Refused(Errno),
}

/// Sets `attributes` on the file that `set` reaches, in order. Calls `skipped` with each that is left out.
///
/// # Errors
/// Every error but `EPERM` and `EOPNOTSUPP`, with the attribute's name.
pub(crate) fn set_all(
    attributes: &[(Vec<u8>, Vec<u8>)],
    set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    mut skipped: impl FnMut(&[u8], Skipped),
) -> Result<(), (Vec<u8>, Errno)> {
    for (name, value) in attributes {
        if OVERLAY.iter().any(|prefix| name.starts_with(prefix)) {
            skipped(name, Skipped::Overlay);
            continue;
        }
        match set(name, value) {
            Ok(()) => {}
            Err(errno @ (Errno::PERM | Errno::OPNOTSUPP)) => skipped(name, Skipped::Refused(errno)),
            Err(errno) => return Err((name.clone(), errno)),
        }
    }
    Ok(())
}

/// Sets an attribute on an open file.
pub(crate) fn set_on_fd(fd: BorrowedFd<'_>, name: &[u8], value: &[u8]) -> Result<(), Errno> {
    rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
}
