//! Files and directories of the host into a container, as `docker cp` copies them.
//!
//! ```text
//! host path -> From          lstat, links followed where `-L` or a slash says so
//! path      -> Destination   what stands there in the container (shown.rs), and the name that the copy gets
//! tree.rs   what is copied goes into an open directory, name by name
//! untar.rs  so do the members of a tar
//! node.rs   what both do with one name
//! ```
//!
//! The rules of names are those of docker/cli v20.10.24 `cli/command/container/cp.go: copyToContainer` and moby v20.10.24
//! `pkg/archive/copy.go`, `daemon/archive.go: containerExtractToDir`.

mod node;
mod shown;
mod tree;
mod untar;

use std::ffi::OsString;
use std::io::BufRead;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use layerfs::compress::Decompressor;
use layerfs::path::absolute;
use rustix::fs::{AtFlags, CWD, FileType, statat};
use rustix::io::Errno;
use snapshot::ids::ContainerId;
use snapshot::schema::container::ContainerFiles;

use node::Owner;
use shown::Shown;

use crate::create::read;
use crate::{ContainerError, Store, names};

/// How something is copied into a container.
#[derive(Debug, Clone, Copy, Default)]
pub struct CopyIn {
    /// A symlink on the host is followed.
    pub follow_link: bool,
    /// Everything belongs to the container's user, by the names that the host knows.
    pub as_user: bool,
}

fn invalid<T>(message: impl Into<String>) -> Result<T, ContainerError> {
    Err(ContainerError::Invalid(message.into()))
}

impl Store {
    /// Copies `from` of the host to `to` in a container, which may run.
    ///
    /// # Errors
    /// [`ContainerError`]; what was copied before it stays, as with docker.
    pub fn copy_in(&self, text: &str, from: &Path, to: &[u8], how: CopyIn) -> Result<(), ContainerError> {
        self.with_shown(text, how.as_user, |shown, files, owner| {
            let from = From::find(from, how.follow_link)?;
            let (dir, name) = Destination::find(shown, text, to)?.prepare(&from)?;
            let into = shown.directory(&dir).map_err(|errno| match errno {
                Errno::NOTDIR if shown.kind(&absolute(&dir)).is_ok_and(|kind| kind.is_some()) => {
                    ContainerError::Invalid("extraction point is not a directory".into())
                }
                _ => no_path(text, &dir),
            })?;
            shown.check_writable(files, &dir, &into)?;
            tree::copy(&from, &into, name.as_deref(), &dir, owner)
        })
    }

    /// Unpacks a tar, which may be compressed, into the directory `to` of a container, which may run.
    ///
    /// # Errors
    /// [`ContainerError`]; what was unpacked before it stays, as with docker.
    pub fn copy_tar_in(&self, text: &str, tar: impl BufRead, to: &[u8], as_user: bool) -> Result<(), ContainerError> {
        self.with_shown(text, as_user, |shown, files, owner| {
            let path = Destination::find(shown, text, to)?.directory(text, to)?;
            let dir = shown.directory(&path).map_err(|_| no_path(text, &path))?;
            shown.check_writable(files, &path, &dir)?;
            let tar = Decompressor::new(tar).map_err(ContainerError::io("reading", "standard input"))?;
            untar::Untar { shown, path: &path, dir, owner }.run(tar)
        })
    }

    /// Shows `copy` the files of a container, and the owner that `as_user` asks for.
    fn with_shown(
        &self,
        text: &str,
        as_user: bool,
        copy: impl FnOnce(&Shown, &ContainerFiles, Owner) -> Result<(), ContainerError>,
    ) -> Result<(), ContainerError> {
        let (mut transaction, catalog) = self.open_alone()?;
        let container = names::find(&catalog, text)?;
        let id: ContainerId = container.id.clone();
        let files = read(transaction.root().dir(), &id)?;
        let owner = if as_user { shown::user(&files)? } else { None };
        let shown = if container.status().is_up() {
            // Only the container's own mounts show what it has written: its layer must not be changed behind them.
            drop(transaction);
            shown::running(&id)?
        } else {
            Shown::mount(&mut transaction, self.driver, &id, &files)?
        };
        copy(&shown, &files, owner)?;
        shown.finish()
    }
}

/// What docker's client says of a path that the container does not have.
fn no_path(container: &str, path: &[u8]) -> ContainerError {
    ContainerError::Invalid(format!("No such container:path: {container}:{}", String::from_utf8_lossy(path)))
}

/// What is copied.
#[derive(Debug)]
struct From {
    /// Its path on the host; a link is the link itself.
    path: PathBuf,
    /// What it is called where nothing else is said; `.` for the content of a directory.
    name: Vec<u8>,
    is_dir: bool,
}

impl From {
    fn find(given: &Path, follow: bool) -> Result<Self, ContainerError> {
        let bytes = given.as_os_str().as_bytes();
        let (is_content, is_dir_asked) = (ends_with_dot(bytes), bytes.ends_with(b"/"));
        let fail = |path: &Path, error: std::io::Error| {
            ContainerError::Invalid(format!("lstat {}: {}", path.display(), words(&error)))
        };
        let whole = std::path::absolute(given).map_err(|error| fail(given, error))?;
        // The path without a slash at its end: with one, the system would follow a link.
        let whole: PathBuf = whole.components().collect();
        // The name is taken from the text: a link keeps its own name, also where it is followed.
        let called: Vec<u8> = whole.file_name().map_or_else(|| b"/".to_vec(), |name| name.as_bytes().to_vec());
        let lstat = |path: &Path| std::fs::symlink_metadata(path).map_err(|error| fail(path, error));
        let mut metadata = lstat(&whole)?;
        let mut path = whole.clone();
        if metadata.is_symlink() && (follow || is_content || is_dir_asked) {
            path = std::fs::canonicalize(&whole).map_err(|error| fail(&whole, error))?;
            metadata = lstat(&path)?;
        }
        if (is_content || is_dir_asked) && !metadata.is_dir() {
            return invalid("not a directory");
        }
        let name = if is_content || called == b"/" { b".".to_vec() } else { called };
        Ok(Self { path, name, is_dir: metadata.is_dir() })
    }
}

/// Whether the last name is `.`.
fn ends_with_dot(path: &[u8]) -> bool {
    path == b"." || path.ends_with(b"/.")
}

/// Where it is copied to.
struct Destination {
    /// Absolute in the container, with a slash or a dot at the end if they were given.
    path: Vec<u8>,
    found: Option<FileType>,
}

impl Destination {
    fn find(shown: &Shown, container: &str, given: &[u8]) -> Result<Self, ContainerError> {
        let mut path = keep_end(&absolute(given), given);
        let kind = |path: &[u8]| shown.kind(path).map_err(ContainerError::io("looking at", lossy(path)));
        let mut found = kind(&path)?;
        if found == Some(FileType::Symlink) {
            let target = shown.link(&path).map_err(ContainerError::io("reading a link", lossy(&path)))?;
            path = if target.starts_with(b"/") { target } else { [parent(&path).as_slice(), b"/", &target].concat() };
            path = keep_end(&absolute(&path), &path);
            found = kind(&path)?;
        }
        if let Some(FileType::CharacterDevice | FileType::BlockDevice) = found {
            return invalid(format!(
                "destination \"{container}:{}\" must be a directory or a regular file: got a device",
                String::from_utf8_lossy(given)
            ));
        }
        Ok(Self { path, found })
    }

    /// The directory that a tar is unpacked into; `given` is how its path was written.
    fn directory(self, container: &str, given: &[u8]) -> Result<Vec<u8>, ContainerError> {
        if self.found == Some(FileType::Directory) {
            return Ok(self.path);
        }
        let given = String::from_utf8_lossy(given);
        invalid(format!("destination \"{container}:{given}\" must be a directory"))
    }

    /// The directory to copy into, and the name there; `None` for the source's own.
    fn prepare(self, from: &From) -> Result<(Vec<u8>, Option<Vec<u8>>), ContainerError> {
        let asks_for_directory = self.path.ends_with(b"/") || ends_with_dot(&self.path);
        match self.found {
            Some(FileType::Directory) => return Ok((self.path, None)),
            Some(_) if from.is_dir => return invalid("cannot copy directory"),
            None if !from.is_dir && asks_for_directory => return invalid("no such directory"),
            _ => {}
        }
        if ends_with_dot(&self.path) {
            // Docker takes the dot for the last name, and the directory is not there.
            return Ok((absolute(&self.path), Some(b".".to_vec())));
        }
        let cleaned = absolute(&self.path);
        let name = cleaned.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
        Ok((parent(&cleaned), Some(name)))
    }
}

/// A cleaned path with the slash or the dot that `given` has at its end.
fn keep_end(cleaned: &[u8], given: &[u8]) -> Vec<u8> {
    let slash: &[u8] = if cleaned.ends_with(b"/") { b"" } else { b"/" };
    match () {
        () if ends_with_dot(given) => [cleaned, slash, b"."].concat(),
        () if given.ends_with(b"/") => [cleaned, slash].concat(),
        () => cleaned.to_vec(),
    }
}

/// The directory of a path, by its text.
fn parent(path: &[u8]) -> Vec<u8> {
    let cleaned = absolute(path);
    match cleaned.iter().rposition(|&byte| byte == b'/') {
        None | Some(0) => b"/".to_vec(),
        Some(at) => cleaned[..at].to_vec(),
    }
}

fn lossy(path: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from(String::from_utf8_lossy(path).into_owned()))
}

/// What the system says, without the number.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split_once(" (os error").map_or(text.as_str(), |(words, _)| words).to_lowercase()
}

/// The kind of something in an open directory, itself and not what it leads to; `None` if it is not there.
fn kind_of(dir: impl std::os::fd::AsFd, name: &[u8]) -> Result<Option<FileType>, Errno> {
    there(statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| FileType::from_raw_mode(stat.st_mode)))
}

/// Whether a path of the host is a directory.
fn is_directory(path: &Path) -> Result<bool, Errno> {
    statat(CWD, path, AtFlags::empty()).map(|stat| FileType::from_raw_mode(stat.st_mode).is_dir())
}

/// `None` for an error that says that there is nothing at a path. Any other leaves open what is there, and stays one.
fn there<T>(found: Result<T, Errno>) -> Result<Option<T>, Errno> {
    match found {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(None),
        found => found.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_text() {
        for (given, cleaned, above) in [
            ("tmp/x", "/tmp/x", "/tmp"),
            ("/tmp/x/", "/tmp/x/", "/tmp"),
            ("/tmp/x/.", "/tmp/x/.", "/tmp"),
            ("../../x", "/x", "/"),
            ("/", "/", "/"),
            ("/.", "/.", "/"),
            (".", "/.", "/"),
        ] {
            let kept = keep_end(&absolute(given.as_bytes()), given.as_bytes());
            assert_eq!(String::from_utf8(kept.clone()).unwrap(), cleaned, "{given}");
            assert_eq!(String::from_utf8(parent(&kept)).unwrap(), above, "{given}");
        }
    }
}
