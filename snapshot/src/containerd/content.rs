//! The blobs, by their digests.

use std::fs::File;

use layerfs::Digest;

use crate::dir::Dir;
use crate::error::StoreError;

/// Bytes of the longest index or manifest that is read. containerd has no limit; registries accept 4 MiB.
pub(crate) const MAX_DOCUMENT: usize = 8 << 20;

/// Why a blob that is needed cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum BlobFault {
    /// It has a record, and no file. If it is an index or a manifest, docker lists no image at all.
    FileMissing,
    /// Its file has another length than its record says.
    OtherLength {
        /// Of the file, in bytes.
        found: u64,
        /// Of the record, in bytes.
        recorded: u64,
    },
    /// It cannot be read.
    Unreadable {
        /// Why.
        cause: String,
    },
    /// Its content is not what it should be.
    Invalid {
        /// What is wrong.
        cause: String,
    },
}

impl BlobFault {
    /// A name of the fault for programs. It does not change between versions.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::FileMissing => "blob-missing",
            Self::OtherLength { .. } => "blob-other-length",
            Self::Unreadable { .. } => "blob-unreadable",
            Self::Invalid { .. } => "blob-invalid",
        }
    }
}

impl std::fmt::Display for BlobFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FileMissing => f.write_str("its file is missing"),
            Self::OtherLength { found, recorded } => {
                write!(f, "its file has {found} bytes, and its record says {recorded}")
            }
            Self::Unreadable { cause } | Self::Invalid { cause } => f.write_str(cause),
        }
    }
}

/// The directory of the blobs.
#[derive(Debug)]
pub struct Content(Option<Dir>);

impl Content {
    pub(crate) fn new(dir: Option<Dir>) -> Self {
        Self(dir)
    }

    /// Opens a blob's file; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`], also for what is no regular file.
    pub fn open(&self, digest: Digest) -> Result<Option<File>, StoreError> {
        self.0.as_ref().map_or(Ok(None), |dir| dir.open_file(&digest.hex()))
    }

    /// Reads a blob of at most `limit` bytes, whose record says that it has `size` bytes. The content is not checked against
    /// the digest, since docker does not check it either.
    ///
    /// # Errors
    /// [`BlobFault`]
    pub(super) fn read(&self, digest: Digest, size: u64, limit: usize) -> Result<Vec<u8>, BlobFault> {
        let unreadable = |error: StoreError| BlobFault::Unreadable { cause: crate::catalog::with_causes(&error) };
        let bytes = self.0.as_ref().map_or(Ok(None), |dir| dir.read(&digest.hex(), limit)).map_err(unreadable)?;
        let bytes = bytes.ok_or(BlobFault::FileMissing)?;
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found != size {
            return Err(BlobFault::OtherLength { found, recorded: size });
        }
        Ok(bytes)
    }
}
