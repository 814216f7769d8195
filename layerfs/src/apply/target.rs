//! Where a layer is applied to, and what differs between the ways of doing so.

use rustix::fd::OwnedFd;

/// What becomes of whiteouts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhiteoutMode {
    /// The directory holds this layer alone, as overlayfs wants it: a whiteout is a character device 0:0, an opaque
    /// directory has the attribute `opaque` in this namespace.
    Overlay(XattrNamespace),
    /// The directory holds this layer alone; whiteouts are left out of it and listed in the [outcome](super::Outcome).
    Record,
    /// The directory shows the layers below; a whiteout deletes what they have there, never what this layer made.
    Delete,
}

/// Where overlayfs keeps its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrNamespace {
    /// `trusted.overlay.`: for root.
    Trusted,
    /// `user.overlay.`: in user namespaces, for mounts with `userxattr`.
    User,
}

impl XattrNamespace {
    /// The attribute that makes a directory opaque.
    #[must_use]
    pub(crate) fn opaque(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }
}

/// Who owns what is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// As the layer says.
    Layer,
    /// The user who unpacks, as `tar` does without root. Set-id bits are dropped, for they would mean another owner;
    /// devices are left out.
    Caller,
}

/// A directory to apply one layer to.
#[derive(Debug)]
pub struct Target {
    /// The layer's root.
    pub root: OwnedFd,
    /// A directory for temporary files on the same file system, outside `root`: files that a later member replaces are
    /// kept there while the journal still needs them.
    pub scratch: OwnedFd,
    /// What becomes of whiteouts.
    pub whiteouts: WhiteoutMode,
    /// Who owns what is unpacked.
    pub ownership: Ownership,
    /// Leaves modes and times of directories to the caller, who finds them in the [outcome](super::Outcome): for trees
    /// that are still going to change.
    pub defer_directories: bool,
}
