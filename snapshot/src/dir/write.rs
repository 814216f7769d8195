//! Making, replacing, moving and removing what is in a directory of a store, and making it durable.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicU64, Ordering};

use layerfs::delete::Deletion;
use layerfs::meter::{self, UnpackStage};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{DIRECTORY, Dir};
use crate::error::StoreError;

/// The prefix of our temporary files: `.tmp-`, as dockerd's have, so that dockerd ignores them; then our name.
pub(crate) const TEMPORARY: &str = ".tmp-layerfs-";

impl Dir {
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

    /// Opens the directory `name`, or creates it with exactly `mode`.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if something else has that name.
    pub(crate) fn sub_or_create(&self, name: &(impl AsRef<OsStr> + ?Sized), mode: u32) -> Result<Self, StoreError> {
        match self.sub(name)? {
            Some(dir) => Ok(dir),
            None => self.create(name, mode),
        }
    }

    /// Creates the file `name` with exactly `mode` and fills it. The file is not durable before it is synced.
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

    /// Replaces the file `name` in one step: temporary file, fsync, rename, fsync of the directory. Without `sync`, both
    /// fsyncs are left out.
    ///
    /// With `sync`, a crash leaves the old content or the new, at worst with a temporary file beside it.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old content is then still there, unless only the last fsync has failed.
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

    /// Removes what is in the way of a rename: a directory where none belongs, or a file in place of a directory. A directory that is
    /// not empty stays, and is an error.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn clear(&self, name: &str, wanted: FileType) -> Result<(), StoreError> {
        let Some(stat) = self.stat(name)? else { return Ok(()) };
        let flags = match (FileType::from_raw_mode(stat.st_mode), wanted) {
            (FileType::Directory, FileType::Directory) => return Ok(()),
            (FileType::Directory, _) => AtFlags::REMOVEDIR,
            (_, FileType::Directory) => AtFlags::empty(),
            _ => return Ok(()),
        };
        rustix::fs::unlinkat(&self.fd, name, flags).map_err(StoreError::io(self.join(name), "removing"))
    }

    /// Removes temporary files that a crash during [`Dir::replace`] has left.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn remove_temporaries(&self) -> Result<(), StoreError> {
        self.names()?.iter().filter(|name| name.starts_with(TEMPORARY)).try_for_each(|name| self.remove_temporary(name))
    }

    /// Does what [`Dir::remove_temporaries`] does, in each directory in this one.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn remove_temporaries_below(&self) -> Result<(), StoreError> {
        for name in self.names()? {
            // Something else than a directory may have got there; it is in nobody's way.
            let stat = self.stat(&name)?;
            let is_directory = stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
            if let Some(dir) = if is_directory { self.sub(&name)? } else { None } {
                dir.remove_temporaries()?;
            }
        }
        Ok(())
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
