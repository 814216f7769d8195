//! Why something was not deleted.

use std::fmt;

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;

/// An entry that was not deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("removing {}: {}", .path.escape_ascii(), Reason(self))]
pub struct DeleteError {
    /// The entry, as a path from the directory that the deletion was given.
    pub path: Vec<u8>,
    /// The system's answer.
    pub errno: Errno,
    /// What stands in the way, where the system tells.
    pub obstacle: Option<Obstacle>,
    /// How many more entries could not be deleted.
    pub others: u64,
}

/// What keeps an entry from being deleted, even by root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Obstacle {
    /// The file is immutable: `chattr +i`.
    Immutable,
    /// The file can only be appended to: `chattr +a`.
    AppendOnly,
    /// Something is mounted there.
    Mounted,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Immutable => "it is immutable (chattr +i)",
            Self::AppendOnly => "it can only be appended to (chattr +a)",
            Self::Mounted => "something is mounted there",
        })
    }
}

struct Reason<'e>(&'e DeleteError);

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.obstacle {
            Some(obstacle) => obstacle.fmt(f)?,
            None => std::io::Error::from(self.0.errno).fmt(f)?,
        }
        match self.0.others {
            0 => Ok(()),
            others => write!(f, " ({others} more entries stay as well)"),
        }
    }
}

/// What keeps `name` in `dir` from being deleted. The second value is true if it is a property of `dir` and not of `name`.
pub(super) fn obstacle(dir: impl AsFd, name: &[u8], errno: Errno) -> Option<(Obstacle, bool)> {
    match errno {
        Errno::BUSY | Errno::XDEV => Some((Obstacle::Mounted, false)),
        Errno::PERM => {
            let own = flag(&dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|obstacle| (obstacle, false));
            own.or_else(|| flag(&dir, b"", AtFlags::EMPTY_PATH).map(|obstacle| (obstacle, true)))
        }
        _ => None,
    }
}

fn flag(dir: impl AsFd, name: &[u8], how: AtFlags) -> Option<Obstacle> {
    let attributes = rustix::fs::statx(dir, name, how, StatxFlags::empty()).ok()?.stx_attributes;
    if attributes.contains(StatxAttributes::IMMUTABLE) {
        Some(Obstacle::Immutable)
    } else if attributes.contains(StatxAttributes::APPEND) {
        Some(Obstacle::AppendOnly)
    } else {
        None
    }
}
