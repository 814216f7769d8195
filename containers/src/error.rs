//! Why something could not be done with a container or a volume, and the exit status that Docker has for it.

use std::path::PathBuf;

use runtime::RuntimeError;
use runtime::spec::SpecError;
use snapshot::StoreError;
use snapshot::catalog::ContainerDamage;
use snapshot::platform::Platform;

/// Why something could not be done with a container or a volume. Where Docker has words for it, these are the words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// The store has no image of this name.
    #[error("No such image: {0}")]
    NoImage(String),
    /// The image is for another platform.
    #[error(
        "image with reference {image} was found but does not match the specified platform: wanted {}, actual: {}",
        platforms[0],
        platforms[1]
    )]
    Platform {
        /// The image, as it was typed.
        image: String,
        /// The platform that was asked for, and the image's.
        platforms: Box<[Platform; 2]>,
    },
    /// No container has this name or id.
    #[error("No such container: {0}")]
    NoContainer(String),
    /// dockerd would not show the container, because of something in the store.
    #[error("No such container: {text}: it is in the store but damaged: {damage}")]
    Damaged {
        /// What was asked for.
        text: String,
        /// What is wrong with it.
        damage: ContainerDamage,
    },
    /// No volume has this name.
    #[error("get {0}: no such volume")]
    NoVolume(String),
    /// Several ids begin with this text.
    #[error("Multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// What was asked for is not possible; Docker's words.
    #[error("{0}")]
    Invalid(String),
    /// The program could not be started: Docker's exit status for that.
    #[error("{message}")]
    Start {
        /// The exit status of `docker run`.
        status: u8,
        /// What the runtime says.
        message: String,
    },
    /// An error of the store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// An error of the runtime.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// The settings of the container cannot be used.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// A system call failed.
    #[error("{doing} {}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl ContainerError {
    pub(crate) fn io<E: Into<std::io::Error>>(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { doing, path, source: source.into() }
    }

    /// The exit status of `docker run` after this error.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Start { status, .. } => *status,
            Self::Runtime(error) => error.status(),
            Self::Spec(SpecError::Device { cause, .. }) if cause.kind() == std::io::ErrorKind::NotFound => 127,
            _ => 125,
        }
    }
}
