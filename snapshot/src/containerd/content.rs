//! The blobs, by their digests.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use layerfs::{Digest, Hasher};
use rustix::fs::FileType;

use crate::catalog::with_causes;
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
    /// It has no record, so it is not there for containerd.
    NoRecord,
    /// Its content has another digest than the one that it is named after.
    DigestDiffers {
        /// The digest of the content.
        found: Digest,
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
            Self::NoRecord => "blob-record-missing",
            Self::DigestDiffers { .. } => "blob-digest-differs",
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
            Self::NoRecord => f.write_str("it has no record"),
            Self::DigestDiffers { found } => write!(f, "its content has the digest {found}"),
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

    /// What is wrong with a blob's file, as far as that can be told without reading it. Its record says that it has `size`
    /// bytes.
    pub(crate) fn fault(&self, digest: Digest, size: u64) -> Option<BlobFault> {
        let stat = self.0.as_ref().map_or(Ok(None), |dir| dir.stat(&digest.hex()));
        match stat {
            Err(error) => Some(BlobFault::Unreadable { cause: with_causes(&error) }),
            Ok(None) => Some(BlobFault::FileMissing),
            Ok(Some(stat)) if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile => {
                Some(BlobFault::Unreadable { cause: "not a regular file".into() })
            }
            Ok(Some(stat)) => {
                let found = u64::try_from(stat.st_size).unwrap_or_default();
                (found != size).then_some(BlobFault::OtherLength { found, recorded: size })
            }
        }
    }

    /// Reads a blob to its end, and compares it with its digest. `advance` is told of the bytes that were read, and says
    /// whether to go on; if not, nothing is found.
    pub(crate) fn verify(&self, digest: Digest, advance: impl Fn(u64) -> bool) -> Option<BlobFault> {
        let unreadable = |cause| Some(BlobFault::Unreadable { cause });
        let mut file = match self.open(digest) {
            Ok(Some(file)) => file,
            Ok(None) => return Some(BlobFault::FileMissing),
            Err(error) => return unreadable(with_causes(&error)),
        };
        let (mut hasher, mut piece) = (Hasher::default(), vec![0; 256 << 10]);
        loop {
            match file.read(&mut piece) {
                Ok(0) => break,
                Ok(length) => {
                    hasher.update(&piece[..length]);
                    if !advance(length as u64) {
                        return None;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return unreadable(error.to_string()),
            }
        }
        let found = hasher.finish();
        (found != digest).then_some(BlobFault::DigestDiffers { found })
    }

    /// The names of all files.
    pub(crate) fn names(&self) -> Result<Vec<String>, StoreError> {
        self.0.as_ref().map_or(Ok(Vec::new()), Dir::names)
    }

    /// The path of a file.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.as_ref().map_or_else(|| name.into(), |dir| dir.join(name))
    }

    /// Reads a manifest or an index, whose record says that it has `size` bytes; otherwise as a view is read.
    ///
    /// # Errors
    /// [`BlobFault`]
    pub fn read_document(&self, digest: Digest, size: u64) -> Result<Vec<u8>, BlobFault> {
        self.read(digest, size, MAX_DOCUMENT)
    }

    /// Reads a blob of at most `limit` bytes, whose record says that it has `size` bytes. The content is not checked against
    /// the digest, since docker does not check it either.
    ///
    /// # Errors
    /// [`BlobFault`]
    pub(super) fn read(&self, digest: Digest, size: u64, limit: usize) -> Result<Vec<u8>, BlobFault> {
        let unreadable = |error: StoreError| BlobFault::Unreadable { cause: with_causes(&error) };
        let bytes = self.0.as_ref().map_or(Ok(None), |dir| dir.read(&digest.hex(), limit)).map_err(unreadable)?;
        let bytes = bytes.ok_or(BlobFault::FileMissing)?;
        let found = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if found != size {
            return Err(BlobFault::OtherLength { found, recorded: size });
        }
        Ok(bytes)
    }
}
