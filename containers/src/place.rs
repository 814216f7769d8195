//! The directory of a running container's lock, socket and bundle. It is in memory, so that it goes with the machine, as the
//! container does.
//!
//! ```text
//! /run/layerfs/                      0700; $XDG_RUNTIME_DIR/layerfs for others than root
//!   state/                           the runtime's own
//!   <container id>/
//!     lock                           held by the monitor as long as it lives
//!     runtime                        which runtime runs the container
//!     attach                         the monitor's socket
//!     bundle/config.json             what the runtime was told
//! ```

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use runtime::make_below;
use rustix::fs::{FlockOperation, flock};
use snapshot::ids::ContainerId;

use crate::ContainerError;

/// The directory of a running container.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
}

/// The directory of all running containers.
pub(crate) fn base() -> PathBuf {
    let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !rustix::process::geteuid().is_root());
    own.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("layerfs")
}

/// The runtime's own directory.
pub(crate) fn state() -> PathBuf {
    base().join("state")
}

impl Place {
    pub(crate) fn for_container(id: &ContainerId) -> Self {
        Self { dir: base().join(id.as_str()) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("attach")
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// Takes the place for a monitor; `None` if another monitor has it.
    ///
    /// It is made aside and renamed with its lock held, so that whoever clears away places that nobody watches never meets
    /// one that is being made. What a dead monitor left is removed.
    pub(crate) fn take(&self) -> Result<Option<File>, ContainerError> {
        let fail = |error: io::Error| ContainerError::io("making", &self.dir)(error);
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        let made = Self { dir: base().join(format!(".starting-{name}-{}", std::process::id())) };
        let lock = make_below(|| made.fill()).map_err(fail)?;
        for _ in 0..10 {
            match fs::rename(&made.dir, &self.dir) {
                Ok(()) => return Ok(Some(lock)),
                Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                    if self.is_watched() {
                        break;
                    }
                    let _ = fs::remove_dir_all(&self.dir);
                }
                Err(error) => {
                    made.remove();
                    return Err(fail(error));
                }
            }
        }
        made.remove();
        Ok(None)
    }

    /// Makes the directory and what is in it; the lock is held.
    fn fill(&self) -> io::Result<File> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.bundle())?;
        let lock = File::create(self.dir.join("lock"))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        Ok(lock)
    }

    /// Whether a monitor lives.
    pub(crate) fn is_watched(&self) -> bool {
        let Ok(lock) = File::open(self.dir.join("lock")) else { return false };
        flock(&lock, FlockOperation::NonBlockingLockShared).is_err()
    }

    /// Which runtime runs the container.
    pub(crate) fn runtime(&self) -> String {
        fs::read_to_string(self.dir.join("runtime")).unwrap_or_else(|_| "auto".into())
    }

    pub(crate) fn note_runtime(&self, runtime: &Path) -> io::Result<()> {
        fs::write(self.dir.join("runtime"), runtime.to_string_lossy().as_bytes())
    }

    /// Removes it, and the directories above it that are empty then.
    pub(crate) fn remove(&self) {
        // What cannot be removed is in a file system in memory, and is tried again by the next command.
        let _ = fs::remove_dir_all(&self.dir);
        // What a killed runtime has left of this container. The directory of another one may have been made just now, and be empty.
        let _ = self.dir.file_name().map(|id| fs::remove_dir(state().join(id)));
        let _ = fs::remove_dir(state());
        let _ = fs::remove_dir(base());
    }
}
