//! What a build says while it goes.

use std::io::{self, Write};

use crate::BuildError;

/// Where a build writes its lines to, and what its commands write. docker's client has both on standard output.
pub(crate) struct Talk<'t> {
    out: &'t mut dyn Write,
}

impl<'t> Talk<'t> {
    pub(crate) fn new(out: &'t mut dyn Write) -> Self {
        Self { out }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: &str) -> Result<(), BuildError> {
        self.bytes(format!("{text}\n").as_bytes())
    }

    /// Passes on what a command has written.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BuildError::io("writing the output")(error)),
            _ => Ok(()),
        }
    }

    /// Passes on what a command has written to standard error: in red, as docker does it.
    pub(crate) fn errors(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.bytes(&[b"\x1b[91m", bytes, b"\x1b[0m"].concat())
    }
}
