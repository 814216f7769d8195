//! Sources of good content for [`snapshot::repair`]: an archive, a layout, or another data-root. What a path holds decides
//! which it is.

mod archive;

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, Write};
use std::path::Path;

use layerfs::compress::Decompressor;
use snapshot::StoreError;
use snapshot::dir::Dir;
use snapshot::repair::{Donor, RootDonor};

use crate::source::{Archive, ArchiveError, Opened};
use archive::ArchiveDonor;

/// Why something is no source of good content.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It is no archive, or a damaged one.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It is a directory, and neither a layout nor a data-root.
    #[error("{} is neither an image archive nor a layout nor a data-root", .path.display())]
    Neither {
        /// The directory.
        path: std::path::PathBuf,
        /// Why it is no data-root.
        #[source]
        source: StoreError,
    },
    /// A compressed archive cannot be decompressed.
    #[error("decompressing {}", .path.display())]
    Decompress {
        /// The archive.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Opens whatever is at `path`. A compressed archive, or one from a pipe, is first copied, decompressed, to a file
/// without a name in the directory for temporary files, because a repair reads layers in any order.
///
/// # Errors
/// [`OpenError`]
pub fn open(path: &Path) -> Result<Box<dyn Donor>, OpenError> {
    let failed = |source| OpenError::Decompress { path: path.to_path_buf(), source };
    let opened = match Archive::open(path) {
        Err(ArchiveError::NotAnImageArchive { .. }) if path.is_dir() => {
            let neither = |source| OpenError::Neither { path: path.to_path_buf(), source };
            return Ok(Box::new(RootDonor::open(path).map_err(neither)?));
        }
        Ok(Opened::Compressed(file, _)) => {
            Archive::from_file(decompressed(BufReader::new(file)).map_err(failed)?, path)?
        }
        Ok(Opened::Pipe(file)) => Archive::from_file(decompressed(BufReader::new(file)).map_err(failed)?, path)?,
        opened => opened?,
    };
    match opened {
        Opened::Archive(archive) => Ok(Box::new(ArchiveDonor::new(archive)?)),
        _ => Err(ArchiveError::NotAnImageArchive { path: path.to_path_buf() }.into()),
    }
}

/// Copies an archive, which may be compressed, to a file without a name.
fn decompressed(archive: impl BufRead) -> std::io::Result<File> {
    let dir = Dir::open(&std::env::temp_dir()).map_err(std::io::Error::other)?;
    let mut file = dir.unnamed_file().map_err(std::io::Error::other)?;
    std::io::copy(&mut Decompressor::new(archive)?, &mut file)?;
    file.flush()?;
    file.rewind()?;
    Ok(file)
}
