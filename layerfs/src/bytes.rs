//! A piece of layer data that a worker can hold: part of what outlives the unpacking, or of a shared buffer.

use std::ops::Range;
use std::sync::Arc;

/// Bytes that live as long as a value of this type. Cloning one copies nothing.
#[derive(Debug, Clone)]
pub(crate) enum Bytes<'a> {
    /// Part of something that outlives the unpacking.
    Borrowed(&'a [u8]),
    /// Part of a buffer.
    Shared(Arc<Vec<u8>>, Range<usize>),
}

impl Bytes<'_> {
    /// The whole of a buffer.
    pub(crate) fn whole(buffer: Arc<Vec<u8>>) -> Self {
        let range = 0..buffer.len();
        Self::Shared(buffer, range)
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Shared(buffer, range) => &buffer[range.clone()],
        }
    }

    /// The bytes in `part`, a range within these bytes.
    pub(crate) fn slice(&self, part: Range<usize>) -> Self {
        match self {
            Self::Borrowed(bytes) => Self::Borrowed(&bytes[part]),
            Self::Shared(buffer, range) => {
                Self::Shared(Arc::clone(buffer), range.start + part.start..range.start + part.end)
            }
        }
    }
}
