//! What can be wrong with a data-root.

use std::path::PathBuf;

use rustix::io::Errno;

use crate::driver::PoolTrouble;
use crate::root::Refusal;

/// A store that cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// A system call failed.
    #[error("{call} {}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done with it.
        call: &'static str,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Some files cannot be deleted; everything else that was to be deleted is gone.
    #[error(transparent)]
    Undeletable(layerfs::delete::DeleteError),
    /// A file does not hold what Docker would read from it.
    #[error("{}: {reason}", .path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A database is damaged, or of a kind that this crate cannot read.
    #[error("{}", .path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: bolt::BoltError,
    },
    /// A file or block device that should hold the metadata of a thin pool holds none, or damaged metadata.
    #[error("{}", .path.display())]
    Pool {
        /// The file or block device.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: dm::PoolError,
    },
    /// A thin pool cannot be worked with.
    #[error("{}: {trouble}", .path.display())]
    ThinPool {
        /// The directory of the storage driver, or the pool's metadata.
        path: PathBuf,
        /// Why.
        trouble: PoolTrouble,
    },
    /// The kernel's device mapper refuses.
    #[error(transparent)]
    Mapper(#[from] dm::MapperError),
    /// Writing is refused: it would harm the root, or a daemon that uses it.
    #[error("{} is not written to: {refusal}", .root.display())]
    Refused {
        /// The data-root.
        root: PathBuf,
        /// Why, and what to do about it.
        refusal: Refusal,
    },
    /// The path does not lead to a data-root.
    #[error("{}: {reason}", .path.display())]
    NoRoot {
        /// Its path.
        path: PathBuf,
        /// What is there, if anything.
        reason: &'static str,
    },
    /// The directory exists, but no data-root can be read there, or it is not clear which one.
    #[error("{}: {reason}", .root.display())]
    Unreadable {
        /// The data-root.
        root: PathBuf,
        /// What it is, and what to do about it.
        reason: String,
    },
    /// The root has images of several storage drivers, and nobody said which are meant.
    #[error("{}: it holds images of several storage drivers: {}", .root.display(), .drivers.join(", "))]
    SeveralDrivers {
        /// The data-root.
        root: PathBuf,
        /// The drivers.
        drivers: Vec<String>,
    },
    /// All images of the root are in the store of the system's containerd, which is in another directory.
    #[error("{}: its images are in the store of the system's containerd, usually /var/lib/containerd, which is not read", .root.display())]
    InContainerd {
        /// The data-root.
        root: PathBuf,
    },
    /// All images of the root are in containerd's image store, and what was asked for works only with storage drivers.
    #[error(
        "{}: its images are in containerd's store, with which this cannot be done: layerfs reads such a store, and adds to it",
        .root.display()
    )]
    OnlyListed {
        /// The data-root.
        root: PathBuf,
    },
    /// A layer is registered but cannot be used. Registering it again is no way out: in dockerd that would fail for
    /// ever.
    #[error("layer {chain_id} is in the store but damaged: {reason}")]
    DamagedLayer {
        /// The layer.
        chain_id: layerfs::ChainId,
        /// What is wrong with it.
        reason: String,
    },
    /// The change was made, but clearing away what it left behind failed.
    #[error("the change was made, but cleaning up after it failed; the next command that writes finishes it")]
    Unfinished {
        /// What failed.
        #[source]
        source: Box<Self>,
    },
}

impl StoreError {
    /// The error of a change that was made, although a later step has failed.
    pub(crate) fn unfinished(source: Self) -> Self {
        Self::Unfinished { source: Box::new(source) }
    }

    /// Makes a failed system call into an error: `call` says what was being done with `path`.
    pub fn io<E: Into<std::io::Error>>(path: impl Into<PathBuf>, call: &'static str) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { path, call, source: source.into() }
    }

    /// Whether the file system, or a quota on it, is full.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        let Self::Io { source, .. } = self else { return false };
        layerfs::is_no_space(source.kind())
    }

    /// Whether it is still unknown what is there, so that another try may read it. Where something was read and found
    /// wrong, it is known.
    pub(crate) fn leaves_open(&self) -> bool {
        match self {
            Self::Io { source, .. } => leaves_open(source),
            Self::Invalid { .. } | Self::DamagedLayer { .. } => false,
            _ => true,
        }
    }
}

/// Whether a system call has failed without telling what is there. An errno that says that nothing is there, or
/// something of another kind, does tell.
pub(crate) fn leaves_open(error: &std::io::Error) -> bool {
    const ANSWERS: [Errno; 6] =
        [Errno::NOENT, Errno::NOTDIR, Errno::ISDIR, Errno::LOOP, Errno::NXIO, Errno::NAMETOOLONG];
    Errno::from_io_error(error).is_some_and(|errno| !ANSWERS.contains(&errno))
}
