//! Files and directories out of a tree, as `docker cp` copies them: to the host, or as a tar.
//!
//! ```text
//! IMAGE:PATH -> Source (in the tree, symlinks followed there)
//! DEST       -> Destination (on the host, as the user wrote it)  -> extract
//! ```
//!
//! Both follow docker's rules of names: docker/cli v20.10.24 `cli/command/container/cp.go`, moby v20.10.24
//! `daemon/archive.go: containerArchivePath` and `pkg/archive/copy.go`.

mod destination;
mod extract;

use std::io::{self, Write};
use std::path::PathBuf;

pub use destination::CopyDestination;
pub use extract::extract;
use tarsplit::names::shown;

use crate::export::{ExportError, Exporter};
use crate::tree::{Layers, LookupError, Mounted, NodeId, NodeKind, Tree, TreeError};

/// Why something was not copied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// There is nothing at the path. docker's message also names the container in front of it; the caller has to add
    /// that.
    #[error("no such path: {}", shown(.path))]
    NoSource {
        /// The path as dockerd cleans it.
        path: Vec<u8>,
    },
    /// The path leads through something that is no directory, or round in circles.
    #[error("lstat {}: {cause}", shown(.path))]
    Source {
        /// The path as dockerd cleans it.
        path: Vec<u8>,
        /// What is wrong.
        cause: &'static str,
    },
    /// The path is empty.
    #[error("bad parameter: path cannot be empty")]
    EmptySource,
    /// There is no directory for the copy.
    #[error("invalid output path: directory {path:?} does not exist")]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The destination is a device.
    #[error("invalid output path: {path:?} must be a directory or a regular file: got a device")]
    Device {
        /// The destination.
        path: PathBuf,
    },
    /// The destination is a symlink that leads to another one, and so on, without an end.
    #[error("too many symlinks in {}", .path.display())]
    TooManyLinks {
        /// The destination.
        path: PathBuf,
    },
    /// What is copied is a directory, and the destination exists and is none.
    #[error("cannot copy directory")]
    OntoFile,
    /// What is copied is no directory, and the destination asks for a directory that does not exist.
    #[error("no such directory")]
    NoSuchDirectory,
    /// What the destination would be in is no directory.
    #[error("not a directory")]
    NotADirectory,
    /// A symlink that would lead out of the directory that is copied into. Nothing has been written.
    #[error("invalid symlink {path:?} -> \"{}\"", shown(.target))]
    Symlink {
        /// The symlink on the host.
        path: PathBuf,
        /// Where it would lead.
        target: Vec<u8>,
    },
    /// A directory is where something else would be.
    #[error("cannot overwrite directory {path:?} with non-directory {into:?}")]
    OverDirectory {
        /// The directory.
        path: PathBuf,
        /// What is copied into.
        into: PathBuf,
    },
    /// Something else is where a directory would be.
    #[error("cannot overwrite non-directory {path:?} with directory {into:?}")]
    OverOther {
        /// What is there.
        path: PathBuf,
        /// What is copied into.
        into: PathBuf,
    },
    /// A system call failed.
    #[error("{call} {}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was being done.
        call: &'static str,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The content cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file is longer or shorter than its layer says.
    #[error("file {}: {found} bytes, expected {expected}", shown(.path))]
    Size {
        /// Its path in the tree.
        path: Vec<u8>,
        /// The bytes that the tree says.
        expected: u64,
        /// The bytes that were read before the difference was noticed.
        found: u64,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

impl CopyError {
    fn io<E: Into<io::Error>>(path: impl Into<PathBuf>, call: &'static str) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |source| Self::Io { path, call, source: source.into() }
    }
}

/// Reads layers with what is mounted over them, as much as it takes to find and to copy what `given` means.
///
/// # Errors
/// [`CopyError::EmptySource`], [`CopyError::Tree`]
pub fn read_mounted<L: Layers>(layers: &mut Mounted<'_, L>, given: &[u8], follow: bool) -> Result<Tree, CopyError> {
    Ok(layers.read(&clean_source(given)?.0, follow)?)
}

/// What is to be copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopySource {
    /// Its path in the tree, without symlinks and without a slash in front.
    pub path: Vec<u8>,
    /// What it is.
    pub id: NodeId,
    /// What it is called on the host, in a directory: `.` stands for its content alone, as does `/`.
    pub name: Vec<u8>,
    /// What the members of a tar begin with: a link that is followed lends its name to a copy, but not to a tar.
    pub name_in_tar: Vec<u8>,
}

impl CopySource {
    /// Finds what `given` means: absolute or from the root. A link at its end is copied itself, unless `follow` is
    /// true, or `/` or `/.` comes behind it.
    ///
    /// # Errors
    /// [`CopyError::NoSource`], [`CopyError::Source`], [`CopyError::EmptySource`]
    pub fn find(tree: &Tree, given: &[u8], follow: bool) -> Result<Self, CopyError> {
        let (cleaned, name) = clean_source(given)?;
        let failed = |error| match error {
            LookupError::Missing => CopyError::NoSource { path: cleaned.clone() },
            LookupError::NotADirectory => CopyError::Source { path: cleaned.clone(), cause: "not a directory" },
            LookupError::Circle => CopyError::Source { path: cleaned.clone(), cause: "too many links" },
        };
        let (path, id) = tree.find(&cleaned, false).map_err(failed)?;
        if !follow || !matches!(tree.node(id).kind, NodeKind::Symlink { .. }) {
            return Ok(Self { path, id, name_in_tar: name.clone(), name });
        }
        let (path, id) = tree.find(&cleaned, true).map_err(failed)?;
        let last = path.rsplit(|&byte| byte == b'/').next().filter(|last| !last.is_empty());
        let name_in_tar = last.map_or_else(|| b"/".to_vec(), <[u8]>::to_vec);
        Ok(Self { path, id, name, name_in_tar })
    }

    /// Whether it is a directory.
    #[must_use]
    pub(crate) fn is_dir(&self, tree: &Tree) -> bool {
        tree.node(self.id).children().is_some()
    }

    /// Whether the name stands for the content of a directory, and not for the directory.
    fn is_content(&self) -> bool {
        self.name == b"." || self.name == b"/"
    }

    /// Writes it as the tar that `docker cp SOURCE -` writes.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn write_tar<W: Write>(
        &self,
        exporter: &mut Exporter<'_, W>,
        tree: &Tree,
        layers: &dyn Layers,
    ) -> Result<(), ExportError> {
        // The exporter puts a slash behind a directory.
        let name = if self.name_in_tar == b"/" { &b""[..] } else { &self.name_in_tar };
        exporter.one(tree, layers, &self.path, self.id, name)?;
        if !self.is_dir(tree) {
            return Ok(());
        }
        // What comes behind a path begins with a slash, but not what comes behind the root.
        let shown = if self.path.is_empty() { [name, b"/"].concat() } else { name.to_vec() };
        exporter.below(tree, layers, self.id, &self.path, &shown)
    }
}

/// A path of a user as dockerd cleans it, by its text alone, and the name of what it means: `..` stops at the root, and
/// a slash or a dot at the end is kept, because it says that a directory is meant.
fn clean_source(given: &[u8]) -> Result<(Vec<u8>, Vec<u8>), CopyError> {
    if given.is_empty() {
        return Err(CopyError::EmptySource);
    }
    let mut cleaned = layerfs::path::absolute(given);
    let last = match cleaned.rsplit(|&byte| byte == b'/').next() {
        None | Some(b"") => b"/".to_vec(),
        Some(name) => name.to_vec(),
    };
    let dot = given.rsplit(|&byte| byte == b'/').find(|name| !name.is_empty()) == Some(b".");
    if dot {
        cleaned.extend_from_slice(if cleaned.ends_with(b"/") { b"." } else { b"/." });
    } else if given.ends_with(b"/") && !cleaned.ends_with(b"/") {
        cleaned.push(b'/');
    }
    Ok((cleaned, if dot { b".".to_vec() } else { last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What dockerd 20.10.24 shows in the names of `docker cp cc:PATH -`, and in its errors.
    #[test]
    fn sources_are_cleaned_by_their_text() {
        for (given, cleaned, name) in [
            ("/s/d", "/s/d", "d"),
            ("s/d/", "/s/d/", "d"),
            ("/s/d/.", "/s/d/.", "."),
            ("/s/d/./", "/s/d/.", "."),
            ("/s/link/..", "/s", "s"),
            ("../../s/f", "/s/f", "f"),
            ("/", "/", "/"),
            ("/.", "/.", "."),
            ("/s/..", "/", "/"),
        ] {
            let (path, called) = clean_source(given.as_bytes()).unwrap();
            assert_eq!((path.as_slice(), called.as_slice()), (cleaned.as_bytes(), name.as_bytes()), "{given}");
        }
        assert!(matches!(clean_source(b""), Err(CopyError::EmptySource)));
    }

    #[test]
    fn a_path_that_is_not_there_is_named_as_dockerd_cleans_it() {
        let error = CopySource::find(&Tree::empty(), b"s/../x/", false).unwrap_err();
        assert_eq!(error.to_string(), "no such path: /x/");
    }
}
