//! Who else uses a data-root, and whether writing overlay2 state to it would harm them.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::IMAGE;
use crate::dir::Dir;
use crate::driver::DEFAULT;
use crate::error::StoreError;

/// Databases that a running dockerd holds locked with `flock(2)` (bbolt).
const DAEMON_DATABASES: [&[&str]; 4] = [
    &["volumes", "metadata.db"],
    &["network", "files", "local-kv.db"],
    &["buildkit", "snapshots.db"],
    &["buildkit", "cache.db"],
];

/// Drivers whose directory in the root makes dockerd use them (moby `daemon/graphdriver/driver.go`). `vfs` never does.
const PRIOR_STATE: [&str; 6] = ["btrfs", "zfs", "fuse-overlayfs", "aufs", "overlay", "devicemapper"];

/// containerd's snapshots, in a root whose daemon runs its own containerd.
const CONTAINERD_SNAPSHOTS: &[&str] = &["containerd", "daemon", "io.containerd.snapshotter.v1.overlayfs", "snapshots"];

fn refused(root: &Dir, reason: impl Into<String>) -> StoreError {
    StoreError::Refused { root: root.path().to_path_buf(), reason: reason.into() }
}

/// The locks that keep others away as long as this lives.
#[derive(Debug)]
pub(super) struct Locks {
    _own: File,
    /// By their number in [`DAEMON_DATABASES`].
    databases: BTreeMap<usize, File>,
}

impl Locks {
    /// Takes the locks of a running daemon on the databases that are not locked yet, as far as they exist.
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

/// Takes our own lock, and those of a running daemon.
///
/// # Errors
/// [`StoreError::Refused`] if somebody holds one.
pub(super) fn lock(root: &Dir) -> Result<Locks, StoreError> {
    let own = File::from(root.owned_fd()?);
    // A descriptor of its own: a duplicate would share the lock with the directory that the caller keeps.
    let own = rustix::fs::openat(&own, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let own = File::from(own.map_err(StoreError::io(root.path(), "opening"))?);
    take(&own, root, "another layerfs process is writing to it; wait for it to end")?;
    let mut locks = Locks { _own: own, databases: BTreeMap::new() };
    locks.extend(root)?;
    Ok(locks)
}

/// Locks one database as dockerd does; `None` if it does not exist.
fn lock_database(root: &Dir, path: &[&str]) -> Result<Option<File>, StoreError> {
    let [parents @ .., name] = path else { return Ok(None) };
    let Some(dir) = root.descend(parents)? else { return Ok(None) };
    let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = match rustix::fs::openat(&dir, *name, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno) => return Err(StoreError::io(dir.join(name), "opening")(errno)),
    };
    take(&file, root, &format!("a running dockerd uses it ({} is locked); stop the daemon first", path.join("/")))?;
    Ok(Some(file))
}

fn take(file: &File, root: &Dir, reason: &str) -> Result<(), StoreError> {
    match rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(()),
        Err(Errno::WOULDBLOCK) => Err(refused(root, reason)),
        Err(errno) => Err(StoreError::io(root.path(), "locking")(errno)),
    }
}

/// Checks that a dockerd that starts on the root afterwards finds its own things as before, and ours.
///
/// # Errors
/// [`StoreError::Refused`]
pub(super) fn check(root: &Dir, insist: bool) -> Result<(), StoreError> {
    check_mounts(root)?;
    if let Some(ids) = root.names()?.into_iter().find(|name| is_remapped(root, name)) {
        return Err(refused(
            root,
            format!("its daemon maps users ({ids}/ holds its images), so it would not see what is written here"),
        ));
    }
    if root.path().file_name().and_then(|name| name.to_str()).is_some_and(is_id_pair) {
        return Err(refused(root, "it belongs to a daemon that maps users; ids are not mapped on import"));
    }
    let own_state = has_entries(root, &[DEFAULT])?;
    for driver in PRIOR_STATE {
        if has_entries(root, &[driver])? {
            return Err(refused(
                root,
                format!("it belongs to the storage driver {driver}; with overlay2 beside it dockerd would not start"),
            ));
        }
    }
    if !own_state && has_entries(root, &[IMAGE, "vfs", "imagedb", "content", "sha256"])? {
        return Err(refused(root, "its images belong to the storage driver vfs; dockerd would no longer show them"));
    }
    if is_containerd(root)? && !insist {
        return Err(refused(
            root,
            "its images are in containerd's store; an overlay2 directory would change what dockerd starts with \
             (--storage-driver overlay2 writes it all the same)",
        ));
    }
    Ok(())
}

/// Checks that no layer is mounted, as a running container's would be.
///
/// # Errors
/// [`StoreError::Refused`]
pub(super) fn check_mounts(root: &Dir) -> Result<(), StoreError> {
    match mounted_layer(root.path()) {
        None => Ok(()),
        Some(mount) => {
            Err(refused(root, format!("a layer of it is mounted at {mount}; stop its containers and the daemon first")))
        }
    }
}

/// Whether containerd keeps the images.
pub(super) fn is_containerd(root: &Dir) -> Result<bool, StoreError> {
    Ok(has_entries(root, CONTAINERD_SNAPSHOTS)? || has_entries(root, &["rootfs"])?)
}

pub(super) fn has_entries(root: &Dir, path: &[&str]) -> Result<bool, StoreError> {
    root.descend(path)?.map_or(Ok(false), |dir| Ok(!dir.is_empty()?))
}

/// `<uid>.<gid>`, the name of a remapped root inside the root.
fn is_id_pair(name: &str) -> bool {
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    name.split_once('.').is_some_and(|(uid, gid)| number(uid) && number(gid))
}

pub(super) fn is_remapped(root: &Dir, name: &str) -> bool {
    is_id_pair(name) && root.descend(&[name, IMAGE]).is_ok_and(|dir| dir.is_some())
}

/// The first overlay mounted below the root's `overlay2`.
fn mounted_layer(root: &Path) -> Option<String> {
    let home = std::fs::canonicalize(root).ok()?.join(DEFAULT);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let point = |line: &str| line.split(' ').nth(4).map(str::to_owned);
    mounts.lines().filter_map(point).find(|point| Path::new(point) != home && Path::new(point).starts_with(&home))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root_with(paths: &[&str]) -> (tempfile::TempDir, Dir) {
        let temp = tempfile::tempdir().unwrap();
        for path in paths {
            std::fs::create_dir_all(temp.path().join(path)).unwrap();
        }
        let dir = Dir::open(temp.path()).unwrap();
        (temp, dir)
    }

    #[test]
    fn roots_that_must_not_be_written() {
        let cases: [(&[&str], bool, Option<&str>); 9] = [
            (&[], false, None),
            (&["overlay2/l", "image/overlay2", "vfs"], false, None),
            (&["devicemapper/metadata"], false, Some("storage driver devicemapper")),
            (&["image/vfs/imagedb/content/sha256/x"], false, Some("storage driver vfs")),
            (&["100000.100000/image"], false, Some("maps users")),
            (
                &["containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/1"],
                false,
                Some("containerd's store"),
            ),
            (&["containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/1"], true, None),
            (&["containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots"], false, None),
            (&["rootfs/overlayfs"], false, Some("containerd's store")),
        ];
        for (paths, insist, expected) in cases {
            let (_temp, dir) = root_with(paths);
            match (check(&dir, insist), expected) {
                (Ok(()), None) => {}
                (Err(error), Some(reason)) => assert!(error.to_string().contains(reason), "{error}"),
                (result, _) => panic!("{paths:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_locked_database_is_a_running_daemon() {
        let (temp, dir) = root_with(&["volumes"]);
        let held = File::create(temp.path().join("volumes/metadata.db")).unwrap();
        rustix::fs::flock(&held, FlockOperation::LockExclusive).unwrap();
        let error = lock(&dir).unwrap_err();
        assert!(error.to_string().contains("stop the daemon"), "{error}");
        drop(held);
        let locks = lock(&dir).unwrap();
        assert_eq!(locks.databases.len(), 1);
        assert!(lock(&dir).unwrap_err().to_string().contains("another layerfs process"));
    }
}
