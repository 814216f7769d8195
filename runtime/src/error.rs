//! Why a container could not be made, started or asked, and at which stage.

use std::io;
use std::path::PathBuf;

/// How far a container came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// It could not be set up: Docker's exit status 125.
    Setup,
    /// The program is there and cannot be run: 126.
    NotExecutable,
    /// The program is not there: 127.
    NotThere,
}

impl Stage {
    /// The exit status of `docker run`.
    #[must_use]
    pub(crate) fn status(self) -> u8 {
        match self {
            Self::Setup => 125,
            Self::NotExecutable => 126,
            Self::NotThere => 127,
        }
    }

    /// What Docker concludes from the text of an error (moby v20.10.24 `daemon/start.go`, `translateContainerdStartErr`).
    pub(crate) fn of_text(text: &str) -> Self {
        // crun begins the system's words with a capital letter, which moby does not look at either.
        let text = text.to_lowercase();
        let has = |part: &str| text.contains(part);
        if has("executable file not found") || has("no such file or directory") || has("system cannot find the file") {
            Self::NotThere
        } else if has("permission denied") || has("is a directory") {
            Self::NotExecutable
        } else {
            Self::Setup
        }
    }
}

/// What can go wrong with a container.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// No runtime of this name is installed.
    #[error("Unknown runtime specified {0}")]
    NotFound(String),
    /// The container could not be created or started.
    #[error("{message}")]
    Start {
        /// How far it came.
        stage: Stage,
        /// What the runtime says.
        message: String,
    },
    /// The specification asks for something that the built-in runtime does not do.
    #[error("the built-in runtime does not do this: {0}; use crun or runc")]
    Refused(String),
    /// The runtime's program failed.
    #[error("{program} {command}: {message}")]
    Program {
        /// Its path.
        program: PathBuf,
        /// Which of its commands.
        command: String,
        /// What it says.
        message: String,
    },
    /// No container of this id is known.
    #[error("container {0} does not exist")]
    Unknown(String),
    /// The container has ended.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The bundle's specification cannot be used.
    #[error("{path}: {message}")]
    Spec {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// A system call failed.
    #[error("{doing}: {}", crate::words(cause))]
    Io {
        /// What was tried.
        doing: String,
        /// What the system says. Its words are part of the message, so that it is no source of the error besides.
        cause: io::Error,
    },
}

impl RuntimeError {
    /// Names what was tried.
    pub(crate) fn io<E: Into<io::Error>>(doing: impl Into<String>) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |cause| Self::Io { doing, cause: cause.into() }
    }

    /// The exit status of `docker run` after this error.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Start { stage, .. } => stage.status(),
            _ => Stage::Setup.status(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What runc 1.1.5 and crun 1.8.1 say.
    #[test]
    fn the_words_of_runtimes_are_understood() {
        for (text, stage) in [
            ("exec: \"nosuch\": executable file not found in $PATH", Stage::NotThere),
            ("exec: \"/nosuch\": stat /nosuch: no such file or directory", Stage::NotThere),
            ("executable file `nosuch` not found in $PATH: No such file or directory", Stage::NotThere),
            ("exec: \"/etc\": permission denied", Stage::NotExecutable),
            ("open executable: Permission denied", Stage::NotExecutable),
            ("open executable: Operation not permitted", Stage::Setup),
        ] {
            assert_eq!(Stage::of_text(text), stage, "{text}");
        }
    }
}
