//! Files for users: nobody sees one until it is whole.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Why an output cannot be written. Nothing is left of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
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
    /// There is no directory for it.
    #[error("invalid output path: directory {:?} does not exist", .path.display().to_string())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// It exists and cannot be replaced.
    #[error("invalid output path: {:?} {what}", .path.display().to_string())]
    InvalidPath {
        /// The output.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl OutputError {
    /// Makes a failed system call into an error.
    pub(crate) fn output<E: Into<io::Error>>(path: &Path, call: &'static str) -> impl FnOnce(E) -> Self + use<E> {
        let path = path.to_owned();
        move |source| Self::Io { path, call, source: source.into() }
    }
}

/// The directory that a path is in.
pub(crate) fn parent(path: &Path) -> Result<&Path, OutputError> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match parent.metadata() {
        Ok(found) if found.is_dir() => Ok(parent),
        Err(error) if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::NotADirectory => {
            Err(OutputError::output(parent, "opening")(error))
        }
        _ => Err(OutputError::NoDirectory { path: parent.to_owned() }),
    }
}

/// A random name in the directory of `path`, which nothing has yet.
pub(crate) fn name_beside(path: &Path) -> Result<PathBuf, OutputError> {
    let invalid = || OutputError::InvalidPath { path: path.to_owned(), what: "has no name at its end" };
    let name = path.file_name().ok_or_else(invalid)?;
    let mut random = [0; 6];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
        .map_err(OutputError::output(path, "naming"))?;
    let digits: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    // A long name would leave no room for the digits.
    let short: Vec<u8> = name.as_encoded_bytes().iter().copied().take(100).collect();
    Ok(path.with_file_name(format!(".{}.layerfs-{digits}", String::from_utf8_lossy(&short))))
}

/// A file that has no name until it is whole; on a file system without such files, one with a temporary name.
#[derive(Debug)]
pub struct NewFile {
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// The name of the file until it is whole, if it needs one.
    temporary: Option<PathBuf>,
}

impl NewFile {
    /// Makes a file that will be called `path`.
    ///
    /// The path is checked as `docker save -o` checks it (docker/cli v20.10.24 `cli/command/utils.go: ValidateOutputPath`),
    /// except that a directory is refused before anything is saved, and not after.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn create(path: PathBuf) -> Result<Self, OutputError> {
        let dir = parent(&path)?;
        match path.metadata() {
            Ok(found) if found.is_dir() => {
                return Err(OutputError::InvalidPath { path, what: "is a directory" });
            }
            Ok(found) if found.file_type().is_block_device() || found.file_type().is_char_device() => {
                let what = "must be a directory or a regular file: got a device";
                return Err(OutputError::InvalidPath { path, what });
            }
            Ok(found) if !found.is_file() => {
                return Err(OutputError::InvalidPath {
                    path,
                    what: "is no regular file; write to standard output for a pipe",
                });
            }
            _ => {}
        }
        let failed = || OutputError::output(&path, "creating");
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let (file, temporary) = match rustix::fs::open(dir, flags | OFlags::TMPFILE, mode) {
            Ok(fd) => (File::from(fd), None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let name = name_beside(&path)?;
                let created = rustix::fs::open(&name, flags | OFlags::CREATE | OFlags::EXCL, mode);
                (File::from(created.map_err(failed())?), Some(name))
            }
            Err(errno) => return Err(failed()(errno)),
        };
        Ok(Self { path, file, temporary })
    }

    /// The file, to be written to.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Gives the file its name, in the place of what has that name.
    ///
    /// # Errors
    /// [`OutputError`]
    pub fn finish(self) -> Result<(), OutputError> {
        self.name(RenameFlags::empty())
    }

    /// Gives the file its name, if nothing has that name.
    ///
    /// # Errors
    /// [`OutputError`], also if something has the name.
    pub fn finish_new(self) -> Result<(), OutputError> {
        self.name(RenameFlags::NOREPLACE)
    }

    fn name(mut self, how: RenameFlags) -> Result<(), OutputError> {
        let path = self.path.clone();
        let failed = |call| OutputError::output::<Errno>(&path, call);
        let mode = Mode::RUSR | Mode::WUSR;
        rustix::fs::fchmod(&self.file, mode).map_err(failed("chmod"))?;
        let temporary = match &self.temporary {
            Some(name) => name.clone(),
            None => {
                use std::os::fd::AsRawFd;
                let name = name_beside(&path)?;
                let open = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                rustix::fs::linkat(CWD, open, CWD, &name, AtFlags::SYMLINK_FOLLOW).map_err(failed("naming"))?;
                self.temporary = Some(name.clone());
                name
            }
        };
        rustix::fs::renameat_with(CWD, &temporary, CWD, &path, how).map_err(failed("renaming to"))?;
        self.temporary = None;
        Ok(())
    }
}

impl io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(name) = &self.temporary {
            // The error that led here is the one to report.
            let _ = rustix::fs::unlink(name);
        }
    }
}
