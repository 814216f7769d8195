//! Why there is no image.

use containers::ContainerError;
use images::load::ImportError;
use images::tree::TreeError;
use snapshot::StoreError;

use crate::context::ContextError;
use crate::copy::CopyError;
use crate::expand::ExpandError;
use crate::instruction::InstructionError;

/// Why there is no image. Where docker has words for it, these are the words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Dockerfile cannot be read.
    #[error(transparent)]
    Instruction(#[from] InstructionError),
    /// The context cannot be used.
    #[error(transparent)]
    Context(#[from] ContextError),
    /// A variable cannot be expanded.
    #[error(transparent)]
    Expand(#[from] ExpandError),
    /// Files that cannot be found.
    #[error("{0} failed: {1}")]
    Sources(&'static str, CopyError),
    /// Files that cannot be copied.
    #[error("failed to copy files: {0}")]
    Copy(CopyError),
    /// No stage has the name that the user asks for.
    #[error("failed to reach build target {0} in Dockerfile")]
    NoTarget(String),
    /// The Dockerfile made no image.
    #[error("No image was generated. Is your Dockerfile empty?")]
    Nothing,
    /// A flag of an instruction that only BuildKit knows.
    #[error(
        "the --{0} option requires BuildKit. Refer to https://docs.docker.com/go/buildkit/ to learn how to build images with BuildKit enabled"
    )]
    NeedsBuildKit(String),
    /// The store does not have the image that a stage stands on, and it was not fetched.
    #[error("{0}")]
    NoBase(String),
    /// An instruction that cannot be carried out; docker's words.
    #[error("{0}")]
    Invalid(String),
    /// A command has failed.
    #[error("The command '{command}' returned a non-zero code: {code}")]
    Command {
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
    },
    /// A command has failed, in BuildKit's words.
    #[error("process {} did not complete successfully: exit code: {code}", docker_format::quoted(.command))]
    Process {
        /// The command.
        command: String,
        /// Its exit code.
        code: i32,
    },
    /// The Dockerfile has no stage.
    #[error("dockerfile contains no stages to build")]
    NoStages,
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A container of a command failed.
    #[error(transparent)]
    Container(#[from] ContainerError),
    /// The store cannot be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What is in an image cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// An image cannot be stored.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A thread or a temporary file cannot be made, or the output cannot be written.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
}

impl BuildError {
    pub(crate) fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { doing, source }
    }

    /// Whether the user has asked to stop.
    #[must_use]
    pub fn is_interrupt(&self) -> bool {
        matches!(self, Self::Interrupted | Self::Import(ImportError::Interrupted))
    }

    /// The exit status of `docker build` after this error.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::Command { code, .. } => u8::try_from(code & 0xff).unwrap_or(1),
            _ => 1,
        }
    }
}
