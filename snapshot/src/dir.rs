//! An open directory of a store. Every access is relative to it, and a symlink is followed only where [`Dir`] says so.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, Stat};
use rustix::io::Errno;

use crate::error::StoreError;

mod created;
pub(crate) mod quick;
mod shortage;
mod write;

pub use created::CreatedDirectories;
use shortage::Shortage;
pub(crate) use write::TEMPORARY;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens `name` in `dir` without changing its access time, if the kernel allows that to this process: it must be root
/// or the owner.
pub(crate) fn open_unseen(
    dir: impl AsFd,
    name: impl rustix::path::Arg + Copy,
    flags: OFlags,
) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat(&dir, name, flags | OFlags::NOATIME, Mode::empty()) {
        Err(Errno::PERM) => rustix::fs::openat(dir, name, flags, Mode::empty()),
        opened => opened,
    }
}

/// The size of a buffer that holds most files of a store whole and has room left.
const SMALL: usize = 512;

/// The size of a buffer for names in a directory: a store has directories of tens of thousands.
const NAMES: usize = 64 << 10;

/// The size of a buffer that has room for `.`, `..` and one name more, so that no others are read.
const ONE_NAME: usize = 512;

/// How a small file is opened: without waiting for a special file.
const SMALL_FILE: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// Opens the file `name` in `dir` for reading, of whatever kind it is: the caller must find that out. Opening a special file
/// does not block.
pub(crate) fn open_small(dir: impl AsFd, name: &str) -> Result<File, Errno> {
    open_unseen(dir, name, SMALL_FILE).map(File::from)
}

/// An open directory, with its path for messages.
///
/// Symlinks in it are not followed, with one exception. A user may put a symlink in place of a directory of the
/// data-root (`overlay2`, `volumes`), and dockerd follows it. So in a directory that was opened by its path,
/// a symlink in place of a subdirectory is followed.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether this directory was opened by its path.
    by_path: bool,
    shortage: Shortage,
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Dir> for OwnedFd {
    fn from(dir: Dir) -> Self {
        dir.fd
    }
}

impl Dir {
    /// A directory under its path in `/proc/self/fd`, since no other path of it is known.
    #[must_use]
    pub(crate) fn unnamed(fd: OwnedFd) -> Self {
        let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)));
        Self { fd, path, by_path: false, shortage: Shortage::default() }
    }

    /// Opens a directory by its path. Symlinks in the path are followed, since the user has named it, and from then on it
    /// is called by the path without them, as dockerd calls its data-root (moby v20.10.24 `daemon/daemon.go: NewDaemon`).
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(StoreError::io(path, "opening"))?;
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let fd = open_unseen(rustix::fs::CWD, &path, flags).map_err(StoreError::io(&path, "opening"))?;
        let dir = Self { fd, path, by_path: true, shortage: Shortage::default() };
        // Where this process cannot find it by such a path, as in another mount namespace, the user's has to do.
        Ok(match dir.real_path() {
            Ok(path) => Self { path, ..dir },
            Err(_) => dir,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where it is now, from the root directory of this process, without symlinks.
    ///
    /// # Errors
    /// [`StoreError`] if it has been removed, or cannot be reached from there.
    pub(crate) fn real_path(&self) -> Result<PathBuf, StoreError> {
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let target = std::fs::read_link(&link).map_err(StoreError::io(link, "readlink"))?;
        let own = rustix::fs::fstat(&self.fd).map_err(StoreError::io(&self.path, "stat"))?;
        match rustix::fs::stat(&target) {
            Ok(found) if (found.st_dev, found.st_ino) == (own.st_dev, own.st_ino) => Ok(target),
            // The directory was removed, or this process cannot reach it.
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR) => {
                Err(StoreError::Invalid { path: self.path.clone(), reason: "its path cannot be found out".into() })
            }
            Err(errno) => Err(StoreError::io(target, "stat")(errno)),
        }
    }

    /// The type of the file that the relative path `path` leads to, symlinks followed; `None` if nothing is there.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn kind_behind(&self, path: &Path) -> Result<Option<FileType>, StoreError> {
        match rustix::fs::statat(&self.fd, path, AtFlags::empty()) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(StoreError::io(self.path.join(path), "stat")(errno)),
        }
    }

    /// Whether anything is at the relative path `path`, be it a symlink that leads nowhere.
    pub(crate) fn is_there(&self, path: &Path) -> bool {
        rustix::fs::statat(&self.fd, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// The path of `name` in it, for messages.
    #[must_use]
    pub fn join(&self, name: &(impl AsRef<OsStr> + ?Sized)) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// A directory that was opened from this one.
    fn below(&self, fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path, by_path: false, shortage: self.shortage.clone() }
    }

    /// Makes an errno into an error, and takes note of it if the process has run out of descriptors or memory.
    fn failed(&self, path: impl Into<PathBuf>, call: &'static str) -> impl FnOnce(Errno) -> StoreError {
        let path = path.into();
        move |errno| {
            self.shortage.note(errno, || path.clone());
            StoreError::io(path, call)(errno)
        }
    }

    /// Takes note of `errno`, with which something below could not be opened, if it says that the process has run out of
    /// descriptors or memory.
    pub(crate) fn note_shortage(&self, errno: Errno) {
        self.shortage.note(errno, || self.path.clone());
    }

    /// Fails if anything could not be opened for want of descriptors or memory, in this directory or in any other that was
    /// opened from the same first one. Then nothing that was read since is to be believed.
    ///
    /// # Errors
    /// [`StoreError::Io`], about the first such file or directory.
    pub(crate) fn check_shortage(&self) -> Result<(), StoreError> {
        self.shortage.check()
    }

    /// Another handle on the same directory.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn duplicate(&self) -> Result<Self, StoreError> {
        Ok(Self { by_path: self.by_path, ..self.below(self.owned_fd()?, self.path.clone()) })
    }

    /// Another descriptor of the same directory.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn owned_fd(&self) -> Result<OwnedFd, StoreError> {
        rustix::io::fcntl_dupfd_cloexec(&self.fd, 3).map_err(self.failed(&self.path, "opening"))
    }

    /// The same directory, opened once more: unlike [`owned_fd`](Self::owned_fd), with an offset and locks of its own.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn reopen(&self) -> Result<OwnedFd, StoreError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, ".", flags, Mode::empty()).map_err(self.failed(&self.path, "opening"))
    }

    /// Opens the directory `name`; `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`], also for a symlink. If this directory was opened by its path, a symlink is followed, and only
    /// one that leads nowhere is an error: [`StoreError::Invalid`].
    pub(crate) fn sub(&self, name: &(impl AsRef<OsStr> + ?Sized)) -> Result<Option<Self>, StoreError> {
        let name = name.as_ref();
        let flags = if self.by_path { DIRECTORY.difference(OFlags::NOFOLLOW) } else { DIRECTORY };
        match open_unseen(&self.fd, name, flags) {
            Ok(fd) => Ok(Some(self.below(fd, self.join(name)))),
            Err(Errno::NOENT) if self.by_path && self.stat(name)?.is_some() => {
                Err(StoreError::Invalid { path: self.join(name), reason: "a symlink that leads nowhere".into() })
            }
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(self.failed(self.join(name), "opening")(errno)),
        }
    }

    /// As [`Dir::sub`], but a regular file in its place counts as missing, too.
    pub(crate) fn sub_unless_file(&self, name: &str) -> Result<Option<Self>, StoreError> {
        let is_file = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        match self.sub(name) {
            Err(_) if self.stat(name)?.is_some_and(is_file) => Ok(None),
            opened => opened,
        }
    }

    /// Opens a chain of directories below; `None` if one does not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn descend(&self, names: &[&str]) -> Result<Option<Self>, StoreError> {
        let mut dir = self.duplicate()?;
        for name in names {
            match dir.sub(name)? {
                Some(sub) => dir = sub,
                None => return Ok(None),
            }
        }
        Ok(Some(dir))
    }

    /// As [`Dir::descend`], but a regular file in the place of the last directory counts as missing, too.
    pub(crate) fn descend_unless_file(&self, names: &[&str]) -> Result<Option<Self>, StoreError> {
        let Some((last, above)) = names.split_last() else { return self.duplicate().map(Some) };
        self.descend(above)?.map_or(Ok(None), |dir| dir.sub_unless_file(last))
    }

    /// The names in it, without `.` and `..`. Names that are not UTF-8 are left out: Docker makes none.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.all_names()?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    }

    /// All names in it, without `.` and `..`.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn all_names(&self) -> Result<Vec<OsString>, StoreError> {
        let mut names = Vec::new();
        self.each_name(|name| {
            names.push(name.to_owned());
            true
        })?;
        Ok(names)
    }

    /// Calls `more` with each name in it, without `.` and `..`, until `more` returns `false`.
    pub(crate) fn each_name(&self, more: impl FnMut(&OsStr) -> bool) -> Result<(), StoreError> {
        self.each_name_of(NAMES, more)
    }

    /// Does what [`Dir::each_name`] does, with a buffer of so many bytes.
    fn each_name_of(&self, buffer: usize, mut more: impl FnMut(&OsStr) -> bool) -> Result<(), StoreError> {
        let failed = || self.failed(&self.path, "reading");
        // Open the directory once more: reading the names moves the offset of the descriptor.
        let fd = open_unseen(&self.fd, ".", DIRECTORY).map_err(failed())?;
        let mut buffer = vec![MaybeUninit::uninit(); buffer];
        let mut entries = RawDir::new(fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = match entry {
                // The directory was removed.
                Err(Errno::NOENT) => break,
                entry => entry.map_err(failed())?,
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name != "." && name != ".." && !more(name) {
                break;
            }
        }
        Ok(())
    }

    /// Whether it has no entries, of whatever name.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn is_empty(&self) -> Result<bool, StoreError> {
        let mut empty = true;
        self.each_name_of(ONE_NAME, |_| {
            empty = false;
            false
        })?;
        Ok(empty)
    }

    /// `lstat` of `name`; `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn stat(&self, name: &(impl AsRef<OsStr> + ?Sized)) -> Result<Option<Stat>, StoreError> {
        let name = name.as_ref();
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(StoreError::io(self.join(name), "stat")(errno)),
        }
    }

    /// Whether `name` is a symlink that leads to nothing.
    pub(crate) fn leads_nowhere(&self, name: &str) -> bool {
        let is_link = rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink);
        is_link && matches!(rustix::fs::statat(&self.fd, name, AtFlags::empty()), Err(Errno::NOENT))
    }

    /// Reads the regular file `name`, of at most `limit` bytes; `None` if it does not exist.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::Invalid`] if it is longer or not a regular file.
    pub fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, StoreError> {
        // Nearly all files of a store are small, and a store has hundreds of thousands of them. If a file leaves room in this
        // buffer, all of it was read, and neither its length nor a second read is needed. A special file gives nothing or an
        // error here.
        let mut start = [0; SMALL];
        let mut file = match open_small(&self.fd, name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed(self.join(name), "opening")(errno)),
        };
        let mut filled = file.read(&mut start).unwrap_or(0);
        if (1..SMALL).contains(&filled) && filled <= limit {
            return Ok(Some(start[..filled].to_vec()));
        }
        let length = self.length(&file, name)?;
        let mut bytes = start[..filled].to_vec();
        // The buffer is one byte longer than the file, so a file that fills it has grown.
        bytes.resize(length.min(limit).max(filled) + 1, 0);
        loop {
            if filled > limit {
                let reason = format!("longer than {limit} bytes");
                return Err(StoreError::Invalid { path: self.join(name), reason });
            }
            if filled == length {
                break;
            }
            match file.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(StoreError::io(self.join(name), "reading")(error)),
            }
            if filled == bytes.len() {
                // The file has grown since its length was read.
                bytes.resize(filled.saturating_mul(2).min(limit + 1), 0);
            }
        }
        bytes.truncate(filled);
        Ok(Some(bytes))
    }

    /// Opens the regular file `name` for reading; `None` if it does not exist.
    pub(crate) fn open_file(&self, name: &str) -> Result<Option<File>, StoreError> {
        let file = match open_small(&self.fd, name) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(self.failed(self.join(name), "opening")(errno)),
        };
        self.length(&file, name)?;
        Ok(Some(file))
    }

    /// The length in bytes of the open file `name`.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if it is not a regular file.
    fn length(&self, file: &File, name: &str) -> Result<usize, StoreError> {
        let stat = rustix::fs::fstat(file).map_err(StoreError::io(self.join(name), "stat"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(StoreError::Invalid { path: self.join(name), reason: "not a regular file".into() });
        }
        Ok(usize::try_from(stat.st_size).unwrap_or_default())
    }

    /// The target of the symlink `name`; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn read_link(&self, name: &str) -> Result<Option<PathBuf>, StoreError> {
        match rustix::fs::readlinkat(&self.fd, name, Vec::new()) {
            Ok(target) => Ok(Some(PathBuf::from(OsStr::from_bytes(target.as_bytes())))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(StoreError::io(self.join(name), "readlink")(errno)),
        }
    }
}

/// When a file was written last, in seconds and nanoseconds since 1970.
pub(crate) fn modified(stat: &Stat) -> (i64, u64) {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ between platforms")]
    (stat.st_mtime as i64, stat.st_mtime_nsec as u64)
}
