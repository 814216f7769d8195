//! The locks that tell who is using a data-root: our own, and those of a running daemon.
//!
//! A process of ours that writes holds `flock(2)` on the root directory itself, so no lock file has to be made and none
//! is left behind. A reader takes no lock. It may ask whether somebody writes, for which it takes a shared lock for an
//! instant.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::linux::fs::MetadataExt;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Refusal;
use super::guard::refused;
use crate::dir::Dir;
use crate::driver::HomeLayout;
use crate::error::StoreError;
use crate::schema::paths::DAEMON_DATABASES;

/// How often we try to take our own lock, and the pause between two tries: a process that only asks holds it for less
/// time.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(5);

/// A process of ours that is writing to a root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriterInfo {
    /// Its process id; `None` if it cannot be known, as for a process of another PID namespace.
    pub pid: Option<u32>,
}

impl fmt::Display for WriterInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another layerfs process")?;
        self.pid.map_or(Ok(()), |pid| write!(f, " ({pid})"))
    }
}

/// The other process of ours that is writing to `root` now, if there is one. Nothing is written, and nobody waits.
///
/// # Errors
/// [`StoreError::Io`] if the root cannot be opened or locked.
pub(crate) fn writer(root: &Dir) -> Result<Option<WriterInfo>, StoreError> {
    let own = File::from(root.reopen()?);
    match rustix::fs::flock(&own, FlockOperation::NonBlockingLockShared) {
        // The lock was free. It is released at once, when the file is closed.
        Ok(()) => Ok(None),
        Err(Errno::WOULDBLOCK) => {
            Ok(Some(WriterInfo { pid: holder(&own) }).filter(|writer| writer.pid != Some(std::process::id())))
        }
        Err(errno) => Err(StoreError::io(root.path(), "locking")(errno)),
    }
}

/// The locks that keep others away as long as this value lives.
#[derive(Debug)]
pub(super) struct Locks {
    _own: File,
    /// The driver's home, where it exists: it may be a symlink or a mount that several roots share.
    _home: Option<File>,
    /// The locked databases, by their index in [`DAEMON_DATABASES`].
    databases: BTreeMap<usize, File>,
}

impl Locks {
    /// Takes our own lock, on the root and on the home of the driver that is written, and the locks that a running
    /// daemon would hold.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if somebody holds one.
    pub(super) fn take(root: &Dir, driver: &str) -> Result<Self, StoreError> {
        let own = take_own(root, root)?;
        let home = root.descend(&HomeLayout::home_path(driver))?.map(|home| take_own(&home, root)).transpose()?;
        let mut locks = Self { _own: own, _home: home, databases: BTreeMap::new() };
        locks.extend(root)?;
        Ok(locks)
    }

    /// Takes the locks that a running daemon would hold on those databases that exist now and that we have not locked
    /// yet.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if the daemon holds one.
    pub(super) fn extend(&mut self, root: &Dir) -> Result<(), StoreError> {
        for (number, path) in DAEMON_DATABASES.iter().enumerate() {
            if !self.databases.contains_key(&number)
                && let Some(file) = lock_database(root, path)?
            {
                self.databases.insert(number, file);
            }
        }
        Ok(())
    }
}

/// Takes our lock on a directory of a root.
fn take_own(dir: &Dir, root: &Dir) -> Result<File, StoreError> {
    // Open the directory once more: a duplicated descriptor would share the lock with the directory that the caller
    // keeps open.
    let own = File::from(dir.reopen()?);
    for _ in 1..TRIES {
        if lock(&own, root)? {
            return Ok(own);
        }
        std::thread::sleep(PAUSE);
    }
    if lock(&own, root)? { Ok(own) } else { Err(refused(root, Refusal::Busy(WriterInfo { pid: holder(&own) }))) }
}

/// Locks one database as dockerd or containerd does; `None` if it does not exist.
pub(super) fn lock_database(root: &Dir, path: &[&str]) -> Result<Option<File>, StoreError> {
    let [parents @ .., name] = path else { return Ok(None) };
    let Some(dir) = root.descend(parents)? else { return Ok(None) };
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&dir, *name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(StoreError::io(dir.join(name), "opening")(errno)),
    };
    if lock(&file, root)? {
        return Ok(Some(file));
    }
    Err(refused(root, Refusal::DaemonRuns { database: path.join("/") }))
}

/// Whether the lock was free and is ours now.
fn lock(file: &File, root: &Dir) -> Result<bool, StoreError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(errno) => Err(StoreError::io(root.path(), "locking")(errno)),
    }
}

/// The process that holds a lock, for a message: `None` wherever that cannot be told.
fn holder(file: &File) -> Option<u32> {
    let metadata = file.metadata().ok()?;
    let (device, inode) = (metadata.st_dev(), metadata.st_ino());
    let place = format!("{:02x}:{:02x}:{inode}", rustix::fs::major(device), rustix::fs::minor(device));
    (0..TRIES).find_map(|_| holder_in(&all_locks().ok()?, &place))
}

/// The lines of `/proc/locks`. The kernel goes on by counting lines from one read to the next, so a line is missing when
/// somebody gives a lock back in between: reads are as large as they can be, and whoever misses a line asks again.
fn all_locks() -> std::io::Result<String> {
    let mut locks = String::with_capacity(64 << 10);
    File::open("/proc/locks")?.read_to_string(&mut locks)?;
    Ok(locks)
}

/// Finds the holder in the lines of `/proc/locks`: `<number>: FLOCK ADVISORY WRITE <pid> <device>:<inode> 0 EOF`
/// (proc_locks(5)). `place` is `<device>:<inode>`.
fn holder_in(locks: &str, place: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let is_own = fields.next()? == "FLOCK" && fields.next()? == "ADVISORY" && fields.next()? == "WRITE";
        let pid = fields.next().filter(|_| is_own)?;
        (fields.next()? == place).then(|| pid.parse().ok())?.filter(|&pid| pid != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_database_is_a_running_daemon() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("volumes")).unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let held = File::create(temp.path().join("volumes/metadata.db")).unwrap();
        rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
        let error = Locks::take(&dir, "overlay2").unwrap_err();
        assert!(error.to_string().contains("stop the daemon"), "{error}");
        drop(held);
        assert_eq!(writer(&dir).unwrap(), None);
        let locks = Locks::take(&dir, "overlay2").unwrap();
        assert_eq!(locks.databases.len(), 1);
        assert!(Locks::take(&dir, "overlay2").unwrap_err().to_string().contains("another layerfs process"));
        // The process that holds the lock does not report itself as another writer.
        assert_eq!(writer(&dir).unwrap(), None);
        drop(locks);
        assert_eq!(writer(&dir).unwrap(), None);
    }

    #[test]
    fn who_only_looks_keeps_nobody_from_writing() {
        let temp = tempfile::tempdir().unwrap();
        let dir = Dir::open(temp.path()).unwrap();
        let looking = File::from(dir.reopen().unwrap());
        rustix::fs::flock(&looking, FlockOperation::LockShared).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(PAUSE * 3);
                drop(looking);
            });
            assert!(Locks::take(&dir, "overlay2").is_ok());
        });
    }

    #[test]
    fn the_holder_is_found_while_others_come_and_go() {
        let temp = tempfile::tempdir().unwrap();
        let held = File::open(temp.path()).unwrap();
        rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            for name in ["one", "two"] {
                let file = File::create(temp.path().join(name)).unwrap();
                let done = &done;
                scope.spawn(move || {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        rustix::fs::flock(&file, FlockOperation::LockExclusive).unwrap();
                        rustix::fs::flock(&file, FlockOperation::Unlock).unwrap();
                    }
                });
            }
            let missed = (0..2000).filter(|_| holder(&held) != Some(std::process::id())).count();
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            assert_eq!(missed, 0);
        });
    }

    #[test]
    fn the_holder_is_found_among_all_locks() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 00:1b:42 0 EOF\n2: FLOCK  ADVISORY  READ 8 00:1b:42 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 00:1b:41 0 EOF\n3: -> FLOCK ADVISORY WRITE 10 00:1b:42 0 EOF\n\
                     4: FLOCK  ADVISORY  WRITE 11 00:1b:42 0 EOF\n";
        assert_eq!(holder_in(locks, "00:1b:42"), Some(11));
        assert_eq!(holder_in(locks, "00:1b:43"), None);
        assert_eq!(holder_in("4: FLOCK  ADVISORY  WRITE 0 00:1b:42 0 EOF\n", "00:1b:42"), None);
    }
}
