//! What can be wrong with a tar or a journal, and at which byte.

use crate::names::shown;

/// A tar stream that Go's `archive/tar` would refuse too, or that breaks one of our [limits](crate::limits).
#[derive(Debug, thiserror::Error)]
#[error("at byte {position}: {kind}")]
pub struct TarError {
    /// Offset in the uncompressed stream of the block or record that is wrong.
    pub position: u64,
    /// What is wrong there.
    pub kind: TarErrorKind,
}

/// What is wrong with a tar stream.
///
/// The variants whose message starts with `invalid tar header` are Go's `ErrHeader`, split by cause; `UnexpectedEof` is
/// Go's `io.ErrUnexpectedEOF`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TarErrorKind {
    /// The checksum field matches neither the unsigned nor the signed sum of the block.
    #[error("invalid tar header: checksum does not match")]
    Checksum,
    /// A numeric field holds neither octal digits nor a base-256 number of at most 63 bits.
    #[error("invalid tar header: field {field} is not a number")]
    Number {
        /// The header field's name.
        field: &'static str,
    },
    /// The size of a member is negative.
    #[error("invalid tar header: size {found} is negative")]
    NegativeSize {
        /// The size as read.
        found: i64,
    },
    /// A zero block is followed by a block that is not zero.
    #[error("invalid tar header: a zero block is followed by data")]
    LoneZeroBlock,
    /// A PAX record does not follow `LENGTH KEY=VALUE\n`, or its key or value may not stand there.
    #[error("invalid tar header: malformed PAX record")]
    PaxRecord,
    /// A PAX record that must hold a number or a time does not.
    #[error("invalid tar header: PAX record {key} is not valid")]
    PaxValue {
        /// The record's key.
        key: String,
    },
    /// A sparse map is malformed, out of order or beyond the file's size.
    #[error("invalid tar header: malformed sparse map")]
    SparseMap,
    /// A sparse map has more entries or bytes than [`crate::limits`] allows.
    #[error("sparse map too long")]
    SparseMapTooLong,
    /// A sparse file's stored data is shorter than its map says.
    #[error("sparse file references non-existent data")]
    SparseMissingData,
    /// A sparse file's stored data is longer than its map says.
    #[error("sparse file contains unreferenced data")]
    SparseUnreferencedData,
    /// An extension header (`x`, `g`, `L`, `K`) is larger than [`crate::limits::MAX_EXTENSION`].
    #[error("header field too long: {found} bytes in an extension header, {limit} allowed")]
    ExtensionTooLong {
        /// The size it claims.
        found: u64,
        /// The limit it breaks.
        limit: u64,
    },
    /// One member has more extension headers than [`crate::limits::MAX_EXTENSIONS_PER_MEMBER`].
    #[error("too many extension headers before one member")]
    TooManyExtensions,
    /// The input ends inside a header, an extension or a body.
    #[error("unexpected end of the archive in {what}")]
    UnexpectedEof {
        /// What was being read.
        what: &'static str,
    },
}

/// A journal that cannot be read, written or replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The gzip stream is damaged or the file cannot be read.
    #[error("reading the tar-split journal")]
    Read {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A line is not a journal entry.
    #[error("tar-split journal, entry {entry}: {reason}")]
    Entry {
        /// Zero-based number of the entry.
        entry: u64,
        /// Why it is not valid.
        reason: String,
    },
    /// An entry is longer than [`crate::limits::MAX_JOURNAL_ENTRY`].
    #[error("tar-split journal, entry {entry}: longer than {limit} bytes")]
    EntryTooLong {
        /// Zero-based number of the entry.
        entry: u64,
        /// The limit it breaks.
        limit: usize,
    },
    /// Two entries name the same path; Go's reader refuses such a journal.
    #[error("tar-split journal names {} twice", shown(.name))]
    DuplicateName {
        /// The cleaned name.
        name: Vec<u8>,
    },
    /// A file that the journal refers to cannot be opened or read.
    #[error("file {} of the layer", shown(.name))]
    File {
        /// The name as journalled.
        name: Vec<u8>,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file's length is not the one journalled.
    #[error("file {}: {found} bytes on disk, {expected} in the journal", shown(.name))]
    Size {
        /// The name as journalled.
        name: Vec<u8>,
        /// Bytes in the journal.
        expected: u64,
        /// Bytes on disk.
        found: u64,
    },
    /// A file's content does not have the CRC-64 journalled.
    #[error("file integrity checksum failed for {:?}", shown(.name))]
    Checksum {
        /// The name as journalled.
        name: Vec<u8>,
    },
    /// The journal or the tar cannot be written.
    #[error("writing")]
    Write {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}
