//! Where what belongs to a running container is: gone with the machine, like the container.
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
    pub(crate) fn of(id: &ContainerId) -> Self {
        Self { dir: base().join(id.as_str()) }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.join("attach")
    }

    pub(crate) fn bundle(&self) -> PathBuf {
        self.dir.join("bundle")
    }

    /// Takes the place for a monitor; `None` if another monitor has it.
    pub(crate) fn take(&self) -> Result<Option<File>, ContainerError> {
        let fail = |error: io::Error| ContainerError::io("making", &self.dir)(error);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.dir).map_err(fail)?;
        let lock = File::create(self.dir.join("lock")).map_err(fail)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(fail(errno.into())),
        }
        fs::DirBuilder::new().recursive(true).mode(0o700).create(self.bundle()).map_err(fail)?;
        Ok(Some(lock))
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
        for entry in fs::read_dir(state()).into_iter().flatten().flatten() {
            let _ = fs::remove_dir(entry.path());
        }
        let _ = fs::remove_dir(state());
        let _ = fs::remove_dir(base());
    }
}
