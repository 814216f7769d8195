//! Which of the image stores of a data-root is meant.

/// An image store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Store {
    /// That of the storage driver overlay2
    Overlay2,
    /// containerd's, with its snapshotter overlayfs
    Containerd,
}

impl Store {
    /// The storage driver, or the snapshotter in the place of one.
    pub(crate) fn driver(self) -> &'static str {
        match self {
            Self::Overlay2 => "overlay2",
            Self::Containerd => "overlayfs",
        }
    }
}
