//! One member of a layer, before it is bytes.

use super::content::Class;

/// A member of a layer.
#[derive(Debug, Clone)]
pub(super) struct Entry<'a> {
    /// Without a slash at either end.
    pub(super) path: &'a str,
    pub(super) kind: EntryKind,
    /// Permissions, with setuid, setgid and sticky bits.
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) mtime: u64,
    /// Whether `security.capability` is set.
    pub(super) capable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum EntryKind {
    Directory,
    File {
        size: u64,
        class: Class,
    },
    Symlink {
        target: String,
    },
    /// The path of an earlier file of the layer.
    Hardlink {
        target: String,
    },
    Fifo,
}

/// The first second of the two years in which all files were written; files of one directory are of one day.
const EPOCH: u64 = 1_650_000_000;

/// A time for a directory, chosen by `drawn`.
pub(super) fn day(drawn: u64) -> u64 {
    EPOCH + drawn % 730 * 86_400
}

impl<'a> Entry<'a> {
    /// A member of root's with usual permissions.
    pub(super) fn new(path: &'a str, kind: EntryKind, mtime: u64) -> Self {
        let mode = match kind {
            EntryKind::Directory => 0o755,
            EntryKind::Symlink { .. } => 0o777,
            EntryKind::File { .. } | EntryKind::Hardlink { .. } | EntryKind::Fifo => 0o644,
        };
        Self { path, kind, mode, uid: 0, gid: 0, mtime, capable: false }
    }
}
