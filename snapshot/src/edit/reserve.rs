//! Descriptors that a transaction keeps, so that it can go back when the process has none left.

use rustix::fd::{AsFd, OwnedFd};

use crate::error::StoreError;

/// As many as a transaction needs to go back: for the directories above what it removes, and for those that it empties.
const COUNT: usize = 16;

/// Descriptors that are held for nothing but to be given back.
#[derive(Debug)]
pub(super) struct Reserve(Vec<OwnedFd>);

impl Reserve {
    /// Takes the descriptors, as copies of the open descriptor `any`.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the process may not open so many.
    pub(super) fn take(any: impl AsFd, path: &std::path::Path) -> Result<Self, StoreError> {
        let taken = (0..COUNT).map(|_| rustix::io::fcntl_dupfd_cloexec(&any, 3)).collect::<Result<_, _>>();
        taken.map(Self).map_err(StoreError::io(path, "opening"))
    }

    /// Closes the descriptors, so that the process can open as many others.
    pub(super) fn give_back(&mut self) {
        self.0.clear();
    }
}
