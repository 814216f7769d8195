//! What a build says while it goes.

use std::io::{self, Write};

use crate::BuildError;

/// Who hears what a command writes.
pub(crate) trait CommandOutput {
    /// What it writes to standard output.
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), BuildError>;
    /// What it writes to standard error.
    fn errors(&mut self, bytes: &[u8]) -> Result<(), BuildError>;
}

impl CommandOutput for Talk<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.pass(bytes)
    }

    fn errors(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.in_red(bytes)
    }
}

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
        self.pass(format!("{text}\n").as_bytes())
    }

    /// Passes on what a command has written.
    fn pass(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        let written = self.out.write_all(bytes).and_then(|()| self.out.flush());
        match written {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(BuildError::io("writing the output")(error)),
            _ => Ok(()),
        }
    }

    /// Passes on what a command has written to standard error: in red, as docker does it.
    pub(crate) fn in_red(&mut self, bytes: &[u8]) -> Result<(), BuildError> {
        self.pass(&[b"\x1b[91m", bytes, b"\x1b[0m"].concat())
    }
}
