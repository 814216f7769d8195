//! Where a copy goes on the host: what the user wrote, with the symlinks that were there before.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::{CopyError, CopySource};
use crate::tree::Tree;

/// docker's bound on the symlinks that it follows from a destination; its loop, and the one here, follow one more.
const MAX_LINKS: usize = 10;

/// A directory that exists, and the name in it; `.` where the content goes into the directory itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyDestination {
    /// The directory.
    pub dir: PathBuf,
    /// The name of the copy.
    pub name: Vec<u8>,
}

/// An absolute path on the host, without `..` and doubled slashes. A `/` or `/.` at its end is kept, because it asks
/// for a directory.
#[derive(Debug, Clone)]
struct HostPath(Vec<u8>);

impl HostPath {
    fn new(dir: &Path, given: &[u8]) -> Self {
        let whole =
            if given.starts_with(b"/") { given.to_vec() } else { [dir.as_os_str().as_bytes(), b"/", given].concat() };
        let mut path = layerfs::path::absolute(&whole);
        let dot = given.rsplit(|&byte| byte == b'/').find(|name| !name.is_empty()) == Some(b".");
        // The root needs no dot behind it: it is a directory that is always there.
        if dot && path != b"/" {
            path.extend_from_slice(b"/.");
        }
        if given.ends_with(b"/") && !path.ends_with(b"/") {
            path.push(b'/');
        }
        Self(path)
    }

    fn path(&self) -> PathBuf {
        OsString::from_vec(self.0.clone()).into()
    }

    fn asserts_directory(&self) -> bool {
        self.0.ends_with(b"/") || self.0.ends_with(b"/.")
    }

    /// The directory and the name in it; the name of `DIR/.` is the dot.
    fn split(&self) -> (PathBuf, Vec<u8>) {
        let path = self.0.strip_suffix(b"/").unwrap_or(&self.0);
        let slash = path.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
        let dir = if slash == 0 { b"/".to_vec() } else { path[..slash].to_vec() };
        (OsString::from_vec(dir).into(), path.get(slash + 1..).unwrap_or_default().to_vec())
    }
}

/// A place on the host that a copy may go to, before anybody knows what is copied.
#[derive(Debug, Clone)]
struct Place {
    path: HostPath,
    /// Whether it is a directory, if it exists.
    is_dir: Option<bool>,
}

impl CopyDestination {
    /// Checks what can be said of `given` before anything is read, as the client does first.
    ///
    /// # Errors
    /// [`CopyError::NoDirectory`], [`CopyError::Device`], [`CopyError::Io`]
    pub fn check(given: &Path) -> Result<(), CopyError> {
        let path = absolute(given)?;
        let (dir, _) = HostPath(layerfs::path::absolute(&path.0)).split();
        if matches!(dir.metadata(), Err(error) if error.kind() == ErrorKind::NotFound) {
            return Err(CopyError::NoDirectory { path: dir });
        }
        match path.path().metadata() {
            Ok(found) if found.file_type().is_block_device() || found.file_type().is_char_device() => {
                Err(CopyError::Device { path: path.path() })
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(CopyError::io(path.path(), "stat")(error)),
        }
    }

    /// Where `source` goes if the user asks for `given`.
    ///
    /// # Errors
    /// [`CopyError`]
    pub fn new(given: &Path, tree: &Tree, source: &CopySource) -> Result<Self, CopyError> {
        Self::check(given)?;
        let place = Place::find(absolute(given)?)?;
        let (dir, name) = place.path.split();
        match (place.is_dir, source.is_dir(tree)) {
            (Some(true), _) => {
                let name = if source.is_content() { b".".to_vec() } else { source.name.clone() };
                Ok(Self { dir: place.path.path(), name })
            }
            (Some(false), true) => Err(CopyError::OntoFile),
            (None, false) if place.path.asserts_directory() => Err(CopyError::NoSuchDirectory),
            _ => Ok(Self { dir, name }),
        }
    }
}

fn absolute(given: &Path) -> Result<HostPath, CopyError> {
    let dir = if given.is_absolute() {
        PathBuf::new()
    } else {
        std::env::current_dir().map_err(CopyError::io(".", "finding"))?
    };
    Ok(HostPath::new(&dir, given.as_os_str().as_bytes()))
}

impl Place {
    /// Follows the symlinks at the end of a path, because the copy goes to what they lead to, even if that does not
    /// exist.
    fn find(original: HostPath) -> Result<Self, CopyError> {
        let mut path = original.clone();
        let mut links = 0;
        loop {
            match path.path().symlink_metadata() {
                Ok(found) if found.is_symlink() => {
                    links += 1;
                    if links > MAX_LINKS + 1 {
                        return Err(CopyError::TooManyLinks { path: original.path() });
                    }
                    let target = std::fs::read_link(path.path()).map_err(CopyError::io(path.path(), "readlink"))?;
                    path = HostPath::new(&path.split().0, target.as_os_str().as_bytes());
                }
                Ok(found) => return Ok(Self { path, is_dir: Some(found.is_dir()) }),
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(CopyError::io(path.path(), "lstat")(error)),
            }
        }
        let (dir, _) = path.split();
        match dir.metadata() {
            Ok(found) if found.is_dir() => Ok(Self { path, is_dir: None }),
            Ok(_) => Err(CopyError::NotADirectory),
            Err(error) => Err(CopyError::io(dir, "stat")(error)),
        }
    }
}
