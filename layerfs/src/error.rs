//! Why a layer cannot be unpacked.

use std::io::ErrorKind;

use tarsplit::names::shown;
use tarsplit::{JournalError, TarError};

use crate::apply::ApplyError;

/// A member that cannot be applied.
#[derive(Debug, thiserror::Error)]
#[error("at byte {position}, \"{}\"", shown(.name))]
pub struct MemberError {
    /// Offset in the uncompressed layer of the member's header.
    pub position: u64,
    /// The member's name as the archive has it.
    pub name: Vec<u8>,
    /// What is wrong.
    #[source]
    pub source: ApplyError,
}

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The layer cannot be read or decompressed.
    #[error("reading the layer")]
    Read {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The tar is not valid.
    #[error("reading the layer's tar")]
    Tar {
        /// The cause.
        #[source]
        source: TarError,
    },
    /// A member cannot be applied.
    #[error("unpacking")]
    Member {
        /// Which, and why.
        #[source]
        source: Box<MemberError>,
    },
    /// The journal cannot be written.
    #[error("writing the tar-split journal")]
    Journal {
        /// The cause.
        #[source]
        source: JournalError,
    },
    /// The layer's own directory cannot be used.
    #[error("{call} the layer's directory: {errno}")]
    Target {
        /// What was being done.
        call: &'static str,
        /// The system's answer.
        errno: rustix::io::Errno,
    },
}

impl UnpackError {
    /// Whether the file system is full, or a quota on it is used up.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Member { source } => source.source.errno().is_some_and(|errno| is_no_space(errno.kind())),
            Self::Journal { source: JournalError::Read { source } | JournalError::Write { source } } => {
                is_no_space(source.kind())
            }
            Self::Target { errno, .. } => is_no_space(errno.kind()),
            Self::Read { .. } | Self::Tar { .. } | Self::Journal { .. } => false,
        }
    }
}

/// Whether a call failed because the file system is full, or a quota on it is used up.
#[must_use]
pub fn is_no_space(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}
