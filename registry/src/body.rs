//! What a request carries, in a form that can be sent again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

/// What a request carries.
#[derive(Clone, Copy)]
pub(crate) enum Sent<'b> {
    /// Nothing.
    Nothing,
    /// `application/x-www-form-urlencoded`
    Form(&'b str),
    /// These bytes.
    Bytes {
        /// Their type.
        media_type: &'b str,
        /// The bytes.
        bytes: &'b [u8],
    },
    /// A part of a file.
    File {
        /// The file, whatever its own position is.
        file: &'b File,
        /// The first byte that is sent.
        from: u64,
        /// The byte before which it ends.
        size: u64,
        /// Is told how far the file was read, and returns whether to go on.
        advance: &'b (dyn Fn(u64) -> bool + Sync),
    },
}

impl Sent<'_> {
    pub(crate) fn media_type(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Bytes { media_type, .. } => Some(media_type),
            Self::File { .. } => Some("application/octet-stream"),
        }
    }
}

/// Reads a file from a byte on, whatever its own position is.
pub(crate) struct At<'f> {
    file: &'f File,
    at: u64,
}

impl<'f> At<'f> {
    pub(crate) fn new(file: &'f File) -> Self {
        Self::from(file, 0)
    }

    pub(crate) fn from(file: &'f File, at: u64) -> Self {
        Self { file, at }
    }
}

impl Read for At<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(output, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// Reads a file that is sent, and tells `advance` how far it has read.
pub(crate) struct Told<'f> {
    pub(crate) source: At<'f>,
    pub(crate) advance: &'f (dyn Fn(u64) -> bool + Sync),
}

impl Read for Told<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(output)?;
        if !(self.advance)(self.source.at) {
            return Err(io::Error::other("interrupted"));
        }
        Ok(read)
    }
}
