//! Descriptors that a transaction keeps, so that it can go back when the process has none left.

use rustix::fd::{AsFd, OwnedFd};

use crate::error::StoreError;

/// As many as going back takes: directories on the way to what is removed, and those that are emptied.
const COUNT: usize = 16;

/// Descriptors that are held for nothing but to be given back.
#[derive(Debug)]
pub(super) struct Reserve(Vec<OwnedFd>);

impl Reserve {
    /// Takes the descriptors; `any` is one that is open.
    ///
    /// # Errors
    /// [`StoreError::Io`] if there are not as many. Nothing was written then.
    pub(super) fn take(any: impl AsFd, path: &std::path::Path) -> Result<Self, StoreError> {
        let taken = (0..COUNT).map(|_| rustix::io::fcntl_dupfd_cloexec(&any, 3)).collect::<Result<_, _>>();
        taken.map(Self).map_err(StoreError::io(path, "opening"))
    }

    /// Gives them back.
    pub(super) fn give_back(&mut self) {
        self.0.clear();
    }
}
