//! What can be wrong with a file of a layer, compared with what the layer's tar says.

use std::fmt;

use tarsplit::names::shown;

/// A file of a layer that is not as the layer's journal describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileFault {
    /// Its path in the layer, as bytes.
    pub path: Vec<u8>,
    /// What is wrong.
    pub kind: FaultKind,
    /// Whether the layer's tar says nothing of this path, so that the fault is judged by what the layer below has.
    pub by_below: bool,
}

/// What is wrong with a file of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FaultKind {
    /// It is not there.
    Missing,
    /// The journal does not know it.
    Extra,
    /// It has a length other than the journal's.
    Size {
        /// Bytes as the journal has it.
        expected: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// It has the right length and different content.
    Content,
    /// It is of another type: a directory, a link, a device.
    Type,
    /// It has permissions other than the journal's.
    Mode {
        /// The permissions in the journal.
        expected: u32,
        /// The permissions that were found.
        found: u32,
    },
    /// It has an owner or a group other than the journal's.
    Owner {
        /// User and group as the journal has it.
        expected: (u32, u32),
        /// User and group that were found.
        found: (u32, u32),
    },
    /// It has a time of modification other than the journal's.
    Time {
        /// Seconds since 1970 as the journal has it.
        expected: i64,
        /// The seconds that were found.
        found: i64,
    },
    /// A symlink leads elsewhere, a device has another number, or a hard link is a file of its own.
    Target,
    /// A directory is not opaque any more: it shows what it must hide of the layers below.
    NotOpaque,
    /// Its capabilities are not those in the journal, or only one of the two has any: running the file gives other
    /// rights.
    Capability,
    /// It cannot be read.
    Unreadable {
        /// The system's answer.
        cause: String,
    },
}

impl FaultKind {
    /// A word for programs, which does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Extra => "extra",
            Self::Size { .. } => "size",
            Self::Content => "content",
            Self::Type => "type",
            Self::Mode { .. } => "mode",
            Self::Owner { .. } => "owner",
            Self::Time { .. } => "time",
            Self::Target => "target",
            Self::NotOpaque => "not-opaque",
            Self::Capability => "capability",
            Self::Unreadable { .. } => "unreadable",
        }
    }
}

impl fmt::Display for FileFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", shown(&self.path), self.kind)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("missing"),
            Self::Extra => f.write_str("not in the journal"),
            Self::Size { expected, found } => write!(f, "{found} bytes, not {expected}"),
            Self::Content => f.write_str("its content has changed"),
            Self::Type => f.write_str("it is something else"),
            Self::Mode { expected, found } => write!(f, "mode {found:04o}, not {expected:04o}"),
            Self::Owner { expected, found } => {
                write!(f, "owner {}:{}, not {}:{}", found.0, found.1, expected.0, expected.1)
            }
            Self::Time { expected, found } => write!(f, "modified at {found}, not at {expected}"),
            Self::Target => f.write_str("it leads elsewhere"),
            Self::NotOpaque => f.write_str("it is not opaque: files of the layers below show"),
            Self::Capability => f.write_str("its capabilities are not those of the layer"),
            Self::Unreadable { cause } => f.write_str(cause),
        }
    }
}
