//! What a request carries, in a form that can be sent again.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;

use crate::error::RegistryError;

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
    /// A part of something larger, or its rest.
    Part {
        /// All of it.
        content: &'b dyn Content,
        /// The first byte that is sent.
        from: u64,
        /// The byte before which it ends.
        to: u64,
        /// Is told how far it was read, and returns whether to go on.
        advance: &'b (dyn Fn(u64) -> bool + Sync),
    },
}

impl Sent<'_> {
    pub(crate) fn media_type(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Form(_) => Some("application/x-www-form-urlencoded"),
            Self::Bytes { media_type, .. } => Some(media_type),
            Self::Part { .. } => Some("application/octet-stream"),
        }
    }
}

/// Bytes that can be read from any of them on, so that a request can be made again.
pub(crate) trait Content: Sync {
    /// Begins to read at a byte.
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + '_>>;

    /// Why reading has failed, if it has.
    fn fault(&self) -> Option<RegistryError> {
        None
    }
}

impl Content for File {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(At::from(self, from)))
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

/// Reads what is sent, and tells `advance` how far it has read.
pub(crate) struct Told<'f> {
    pub(crate) source: Box<dyn Read + 'f>,
    pub(crate) at: u64,
    pub(crate) advance: &'f (dyn Fn(u64) -> bool + Sync),
}

impl Read for Told<'_> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(output)?;
        self.at += read as u64;
        if !(self.advance)(self.at) {
            return Err(io::Error::other("interrupted"));
        }
        Ok(read)
    }
}
