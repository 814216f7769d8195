//! An open directory of a store: every access is relative to it and follows no symlink.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use layerfs::delete::Deletion;
use layerfs::meter::{self, UnpackStage};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::error::StoreError;

mod created;
pub(crate) mod quick;
mod shortage;

pub use created::CreatedDirectories;
use shortage::Shortage;

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

/// Bytes that hold most files of a store whole, and one more.
const SMALL: usize = 512;

/// Opens the file `name` in `dir` for reading. What it is must be found out by whoever reads it: a special file does not block.
pub(crate) fn open_small(dir: impl AsFd, name: &str) -> Result<File, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    open_unseen(dir, name, flags).map(File::from)
}

/// The prefix of our temporary files: `.tmp-`, as dockerd's have, so that dockerd ignores them; then our name.
pub(crate) const TEMPORARY: &str = ".tmp-layerfs-";

/// An open directory, with its path for messages.
///
/// Symlinks in it are not followed, with one exception. A user may put a symlink in place of a directory of the
/// data-root (`overlay2`, `volumes`), and dockerd follows it. So in a directory that was opened by its path,
/// a symlink in place of a subdirectory is followed.
#[derive(Debug)]
pub struct Dir {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether it was opened by its path.
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
    /// A directory that has no path but the one by which this process has it open.
    #[must_use]
    pub(crate) fn unnamed(fd: OwnedFd) -> Self {
        let path = PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd)));
        Self { fd, path, by_path: false, shortage: Shortage::default() }
    }

    /// Opens a directory by its path, which is made absolute. Symlinks in the path are followed, since the user has
    /// named it.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let path = std::path::absolute(path).map_err(StoreError::io(path, "opening"))?;
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        let fd = open_unseen(rustix::fs::CWD, &path, flags).map_err(StoreError::io(&path, "opening"))?;
        Ok(Self { fd, path, by_path: true, shortage: Shortage::default() })
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
            // Removed, or out of reach of this process.
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

    /// The path of `name` in it, for messages.
    #[must_use]
    pub fn join(&self, name: &(impl AsRef<OsStr> + ?Sized)) -> PathBuf {
        self.path.join(name.as_ref())
    }

    /// A directory that was opened from this one.
    fn below(&self, fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path, by_path: false, shortage: self.shortage.clone() }
    }

    /// Makes an errno into an error, and takes note of it if the process has run out of something.
    fn failed(&self, path: impl Into<PathBuf>, call: &'static str) -> impl FnOnce(Errno) -> StoreError {
        let path = path.into();
        move |errno| {
            self.shortage.note(errno, || path.clone());
            StoreError::io(path, call)(errno)
        }
    }

    /// Takes note that something below could not be opened since the process has run out of something.
    pub(crate) fn note_shortage(&self, errno: Errno) {
        self.shortage.note(errno, || self.path.clone());
    }

    /// Fails if anything below the directory that was opened first could not be opened for want of descriptors or memory: then
    /// nothing that was read since is to be believed.
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

    /// The same directory, opened once more.
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
    /// [`StoreError::Io`], also for a symlink; if this directory was opened by its path, only for a symlink that leads
    /// nowhere.
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

    /// Creates the directory `name` with exactly `mode`.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if it exists. A failure leaves no new directory behind.
    pub fn create(&self, name: &(impl AsRef<OsStr> + ?Sized), mode: u32) -> Result<Self, StoreError> {
        let name = name.as_ref();
        let mode = Mode::from_raw_mode(mode);
        let created = rustix::fs::mkdirat(&self.fd, name, mode);
        created.map_err(StoreError::io(self.join(name), "creating"))?;
        let open = || {
            let fd = rustix::fs::openat(&self.fd, name, DIRECTORY, Mode::empty());
            let fd = fd.map_err(self.failed(self.join(name), "opening"))?;
            rustix::fs::fchmod(&fd, mode).map_err(StoreError::io(self.join(name), "chmod"))?;
            Ok(self.below(fd, self.join(name)))
        };
        open().inspect_err(|_| {
            // The first error is the one to report.
            let _ = rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR);
        })
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

    /// Hands out all names in it, without `.` and `..`, until `more` says that it wants no more.
    fn each_name(&self, mut more: impl FnMut(&OsStr) -> bool) -> Result<(), StoreError> {
        let failed = || self.failed(&self.path, "reading");
        // Open the directory once more: reading the names moves the offset of the descriptor.
        let fd = open_unseen(&self.fd, ".", DIRECTORY).map_err(failed())?;
        for entry in rustix::fs::Dir::new(fd).map_err(failed())? {
            let entry = entry.map_err(failed())?;
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
        self.each_name(|_| {
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
        // Nearly all files of a store are small, and a store has hundreds of thousands of them: one that leaves room in this buffer
        // has met its end, and needs neither its length nor a second read. A special file gives nothing or an error here.
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
        // The buffer is one byte longer than the file: a read that does not fill it has met the end.
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

    /// Creates the file `name` with exactly `mode` and fills it. Not durable before a sync of the file system.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if it exists.
    pub fn write_new(&self, name: &str, bytes: &[u8], mode: u32) -> Result<File, StoreError> {
        let mode = Mode::from_raw_mode(mode);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(&self.fd, name, flags, mode);
        let mut file = File::from(opened.map_err(StoreError::io(self.join(name), "creating"))?);
        file.write_all(bytes).map_err(StoreError::io(self.join(name), "writing"))?;
        rustix::fs::fchmod(&file, mode).map_err(StoreError::io(self.join(name), "chmod"))?;
        Ok(file)
    }

    /// Creates a file without a name on its file system, to be read and written. It disappears when it is closed, and
    /// also if the process crashes.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn unnamed_file(&self) -> Result<File, StoreError> {
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let failed = || StoreError::io(&self.path, "creating a temporary file in");
        match rustix::fs::openat(&self.fd, ".", flags | OFlags::TMPFILE, mode) {
            Ok(fd) => Ok(fd.into()),
            // Some file systems cannot do that. There the file has a name for a moment, and a crash in that moment
            // leaves an empty file.
            Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
                let name = format!("{TEMPORARY}unnamed-{}", std::process::id());
                let created = flags | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW;
                let fd = rustix::fs::openat(&self.fd, &name, created, mode).map_err(failed())?;
                self.unlink(&name)?;
                Ok(fd.into())
            }
            Err(errno) => Err(failed()(errno)),
        }
    }

    /// Replaces the file `name` in one step: temporary file, fsync, rename, fsync of the directory.
    ///
    /// A crash leaves the old content or the new, at worst with a temporary file beside it.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old content is then still there.
    pub(crate) fn replace(&self, name: &str, bytes: &[u8], mode: u32, sync: bool) -> Result<(), StoreError> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary = format!("{TEMPORARY}{name}-{}-{number}", std::process::id());
        let write = || {
            let file = self.write_new(&temporary, bytes, mode)?;
            if sync {
                let _syncing = meter::enter(UnpackStage::Sync);
                file.sync_all().map_err(StoreError::io(self.join(&temporary), "fsync"))?;
            }
            self.rename(&temporary, self, name)?;
            if sync { self.sync() } else { Ok(()) }
        };
        let written = write();
        if written.is_err() {
            // The first error is the one to report.
            let _ = rustix::fs::unlinkat(&self.fd, temporary.as_str(), AtFlags::empty());
        }
        written
    }

    /// Removes temporary files that a crash during [`Dir::replace`] has left.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn remove_temporaries(&self) -> Result<(), StoreError> {
        self.names()?.iter().filter(|name| name.starts_with(TEMPORARY)).try_for_each(|name| self.remove_temporary(name))
    }

    fn remove_temporary(&self, name: &str) -> Result<(), StoreError> {
        let is_directory = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if !self.stat(name)?.is_some_and(is_directory) {
            return self.unlink(name);
        }
        // Our own directories of such names are empty.
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::BUSY) => Ok(()),
            Err(error) => Err(StoreError::io(self.join(name), "removing")(error)),
        }
    }

    /// Moves `name` to `to`/`new_name`.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn rename(&self, name: &str, to: &Self, new_name: &str) -> Result<(), StoreError> {
        let renamed = rustix::fs::renameat(&self.fd, name, &to.fd, new_name);
        renamed.map_err(StoreError::io(to.join(new_name), "renaming to"))
    }

    /// Creates a symlink.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn symlink(&self, name: &str, target: &str) -> Result<(), StoreError> {
        rustix::fs::symlinkat(target, &self.fd, name).map_err(StoreError::io(self.join(name), "creating"))
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

    /// Removes the file `name`, if it exists.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn unlink(&self, name: &str) -> Result<(), StoreError> {
        match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(StoreError::io(self.join(name), "removing")(errno)),
        }
    }

    /// Removes `name`, if it exists, and everything below it, as far as that is possible. Never enters a mount.
    ///
    /// # Errors
    /// [`StoreError::Undeletable`]
    pub fn remove_tree(&self, name: &str) -> Result<(), StoreError> {
        self.delete_tree(name, &Deletion::default())
    }

    /// Removes `name` as [`Dir::remove_tree`] does, with as many threads as `deletion` says, and counts there what was
    /// removed.
    ///
    /// # Errors
    /// [`StoreError::Undeletable`]
    pub(crate) fn delete_tree(&self, name: &str, deletion: &Deletion) -> Result<(), StoreError> {
        deletion.delete(&self.fd, name.as_bytes()).map_err(|mut error| {
            error.path = self.path.join(OsStr::from_bytes(&error.path)).into_os_string().into_encoded_bytes();
            StoreError::Undeletable(error)
        })
    }

    /// Makes its entries durable.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        let _syncing = meter::enter(UnpackStage::Sync);
        rustix::fs::fsync(&self.fd).map_err(StoreError::io(&self.path, "fsync"))
    }

    /// Makes everything on its file system durable.
    ///
    /// # Errors
    /// [`StoreError::Io`], also for a write that failed after it was accepted.
    pub fn sync_file_system(&self) -> Result<(), StoreError> {
        let _syncing = meter::enter(UnpackStage::Sync);
        rustix::fs::syncfs(&self.fd).map_err(StoreError::io(&self.path, "syncfs"))
    }
}

/// When a file was written last, in seconds and nanoseconds since 1970.
pub(crate) fn modified(stat: &Stat) -> (i64, u64) {
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ between platforms")]
    (stat.st_mtime as i64, stat.st_mtime_nsec as u64)
}
