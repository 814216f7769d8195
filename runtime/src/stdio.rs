//! What a container's process reads and writes.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Where the input of a process comes from, and where its output goes.
#[derive(Debug)]
pub enum Stdio {
    /// Files, pipes or whatever else can be open.
    Files {
        /// Standard input.
        stdin: OwnedFd,
        /// Standard output.
        stdout: OwnedFd,
        /// Standard error.
        stderr: OwnedFd,
    },
    /// A new terminal, whose other end is [`Created::terminal`](crate::Created::terminal).
    Terminal {
        /// Its size; `None` for that of a terminal that nobody has looked at.
        size: Option<WindowSize>,
    },
}

/// The size of a terminal, in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WindowSize {
    /// Lines.
    pub rows: u16,
    /// Characters in a line.
    pub columns: u16,
}

impl Stdio {
    /// Output that is the caller's, and input that is the caller's, or empty.
    ///
    /// # Errors
    /// If there are no descriptors left.
    pub fn inherit(input: bool) -> io::Result<Self> {
        let stdin = if input { io::stdin().as_fd().try_clone_to_owned()? } else { File::open("/dev/null")?.into() };
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Self::Files { stdin, stdout, stderr })
    }
}
