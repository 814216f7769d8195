//! What can be wrong with an image archive.

use std::io;
use std::path::{Path, PathBuf};

use super::namespace::NameError;

/// An archive that cannot be read, or that we refuse. `file` is always a name inside the archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// The archive cannot be opened.
    #[error("opening {}", path.display())]
    Open {
        /// Its path.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file of the archive cannot be read.
    #[error("reading {file}")]
    Read {
        /// The file.
        file: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The file is empty. Docker takes an empty file for an empty layer, but an empty file that a person names is most likely
    /// a failed download.
    #[error("{}: is empty: neither an image archive nor a layer", path.display())]
    Empty {
        /// Its path.
        path: PathBuf,
    },
    /// The device that gives zeros without end.
    #[error("{}: zeros without end: neither an image archive nor a layer", path.display())]
    Zeros {
        /// Its path.
        path: PathBuf,
    },
    /// The file starts with neither a tar header nor the magic of a compression that we know.
    #[error("{}: neither a tar archive nor compressed in a known way", path.display())]
    NotATar {
        /// Its path.
        path: PathBuf,
        /// Why its beginning is no header.
        #[source]
        source: tarsplit::TarError,
    },
    /// A file of the archive that is named as a layer is none.
    #[error("{file}: is not a layer: neither a tar archive nor compressed in a known way")]
    NotALayer {
        /// The file.
        file: String,
    },
    /// The outer tar is damaged.
    #[error("{}: damaged tar archive", path.display())]
    Tar {
        /// Its path.
        path: PathBuf,
        /// What is wrong, and where.
        #[source]
        source: tarsplit::TarError,
    },
    /// The outer tar ends inside a member.
    #[error("{}: truncated: entry {entry} ends at byte {end}, the file at byte {length}", path.display())]
    Truncated {
        /// The archive's path.
        path: PathBuf,
        /// The member that is cut.
        entry: String,
        /// Where its content would end.
        end: u64,
        /// Where the file ends.
        length: u64,
    },
    /// The archive describes no images.
    #[error(
        "{}: neither manifest.json nor index.json: not an image archive (docker save before 1.10, or a plain root file system)",
        path.display()
    )]
    NotAnImageArchive {
        /// Its path.
        path: PathBuf,
    },
    /// A name cannot be resolved inside the archive.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A JSON file is larger than we read.
    #[error("{file}: {size} bytes are more than the {limit} allowed for a JSON file")]
    TooLarge {
        /// The file.
        file: String,
        /// Its size, as far as it is known.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// The JSON files of the archive are larger together than we read.
    #[error("{file}: the JSON files of this archive have more than {limit} bytes together")]
    TooLargeTogether {
        /// The file that was one too much.
        file: String,
        /// The limit.
        limit: u64,
    },
    /// A file is not the JSON it must be.
    #[error("{file}: {reason}")]
    Json {
        /// The file.
        file: String,
        /// What is wrong, with line and column.
        reason: String,
    },
    /// `manifest.json` holds `null`.
    #[error("manifest.json: cannot be null (but can be [])")]
    NullManifest,
    /// A field has a value that it must not have.
    #[error("{file}: {field}: {reason}")]
    Field {
        /// The file.
        file: String,
        /// The field, with the number of its item where it is one of many.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A document of a version that we do not know.
    #[error("{file}: {field}: {found} is not supported, only {supported}")]
    Version {
        /// The file.
        file: String,
        /// The field that tells the version.
        field: &'static str,
        /// What it says.
        found: String,
        /// The version that we know.
        supported: &'static str,
    },
    /// A layer of a kind that we do not know, such as an encrypted one.
    #[error("{file}: layers: item {number}: media type {media_type:?} is not supported")]
    LayerKind {
        /// The manifest.
        file: String,
        /// The place of the layer in it, from 0.
        number: usize,
        /// What the manifest says it is.
        media_type: String,
    },
    /// A blob is not as long as its descriptor says.
    #[error("{file}: {found} bytes, its descriptor says {expected}")]
    Size {
        /// The blob.
        file: String,
        /// What the descriptor says.
        expected: u64,
        /// What it has.
        found: u64,
    },
    /// A blob does not have the digest by which it is named.
    #[error("{file}: digest is {found}, its descriptor says {expected}")]
    Digest {
        /// The blob.
        file: String,
        /// What the descriptor says.
        expected: layerfs::Digest,
        /// What it has.
        found: layerfs::Digest,
    },
    /// A layer that archives leave out by licence.
    #[error("{file}: not in the archive: a foreign layer, to be fetched from {url}")]
    ForeignLayer {
        /// The blob.
        file: String,
        /// Where it can be had.
        url: String,
    },
    /// Indexes are nested too deeply.
    #[error("{file}: more than {limit} levels of indexes")]
    TooDeep {
        /// The index at which we stop.
        file: String,
        /// The limit.
        limit: usize,
    },
    /// The archive has descriptors, but no image among them that can be used.
    #[error("{file}: no usable image: {}", reasons.join("; "))]
    NoImage {
        /// The file with the descriptors.
        file: String,
        /// Why each was left out.
        reasons: Vec<String>,
        /// Whether an image for another platform is among them.
        other_platforms: bool,
    },
}

impl ArchiveError {
    /// Whether something is named that the archive does not have.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Name(NameError::Missing { .. }) | Self::ForeignLayer { .. })
    }

    /// Whether the message says what is wrong inside `archive` without naming the archive.
    #[must_use]
    pub fn is_inside(&self, archive: &Path) -> bool {
        // Where an archive is read as a whole, as a compressed one is, the file named in the message is the archive.
        let is_whole = matches!(self, Self::Read { file, .. } if Path::new(file) == archive);
        !is_whole
            && !matches!(
                self,
                Self::Open { .. }
                    | Self::Empty { .. }
                    | Self::Zeros { .. }
                    | Self::NotATar { .. }
                    | Self::Tar { .. }
                    | Self::Truncated { .. }
                    | Self::NotAnImageArchive { .. }
            )
    }
}
