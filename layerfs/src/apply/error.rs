//! Why a member cannot be applied.

use rustix::io::Errno;
use tarsplit::names::shown;

use crate::path::{InvalidName, LayerPath, MAX_PATH};
use crate::whiteout::InvalidWhiteout;

/// What is wrong with one member of a layer, or what the system answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// The name leads out of the layer.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The path, or a hard link's target, is longer than [`MAX_PATH`].
    #[error("the path is too long: {found} bytes, {MAX_PATH} are possible")]
    PathTooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// The name is a whiteout of nothing, of its own directory or of the parent directory.
    #[error(transparent)]
    Whiteout(#[from] InvalidWhiteout),
    /// The marker of an opaque directory stands below what is a file. Docker takes it, and hides nothing by it.
    #[error("the marker of an opaque directory is below what is no directory")]
    OpaqueFile,
    /// A symlink on the way to the member leads out of the layer.
    #[error("the path leaves the layer through the symlink \"{}\"", shown(.link))]
    Escape {
        /// The link's path in the layer.
        link: Vec<u8>,
    },
    /// A type that Docker does not unpack either.
    #[error("unhandled tar header type {typeflag}")]
    UnhandledType {
        /// The type byte.
        typeflag: u8,
    },
    /// A hard link's target is empty or leads out of the layer.
    #[error("invalid hardlink target \"{}\"", shown(.target))]
    HardLinkTarget {
        /// The target as the archive has it.
        target: Vec<u8>,
    },
    /// What a hard link leads to cannot be used.
    #[error("hard link to \"{}\": {errno}", shown(.target))]
    HardLink {
        /// The target as the archive has it.
        target: Vec<u8>,
        /// The system's answer.
        errno: Errno,
    },
    /// A device number that no system has.
    #[error("device number {major}:{minor} is out of range")]
    DeviceNumber {
        /// Major number.
        major: i64,
        /// Minor number.
        minor: i64,
    },
    /// An owner that no system has.
    #[error("{field} {found} is out of range")]
    Owner {
        /// `uid` or `gid`.
        field: &'static str,
        /// As the archive has it.
        found: i64,
    },
    /// An owner that this user namespace does not have.
    #[error("owner {uid}:{gid} is not mapped in this user namespace")]
    OwnerNotMapped {
        /// Its user id.
        uid: u32,
        /// Its group id.
        gid: u32,
    },
    /// An extended attribute cannot be set.
    #[error("setting the extended attribute {:?}: {errno}", shown(.name))]
    Xattr {
        /// The attribute.
        name: Vec<u8>,
        /// The system's answer.
        errno: Errno,
    },
    /// A system call failed.
    #[error("{call}: {errno}")]
    System {
        /// What was being done.
        call: &'static str,
        /// The system's answer.
        errno: Errno,
    },
}

impl ApplyError {
    /// Refuses a path that is too long for Docker.
    pub(crate) fn check_length(path: &LayerPath) -> Result<(), Self> {
        if path.is_too_long() { Err(Self::PathTooLong { found: path.as_bytes().len() }) } else { Ok(()) }
    }

    pub(crate) fn system(call: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Self::System { call, errno }
    }

    /// The system's answer, if a system call failed.
    #[must_use]
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::System { errno, .. } | Self::Xattr { errno, .. } | Self::HardLink { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}
