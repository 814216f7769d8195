//! Directories to test in.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The room in bytes for tests that do not say how much they need.
pub const USUAL_ROOM: u64 = 1 << 30;

/// A directory of the test's own.
pub fn scratch() -> TempDir {
    scratch_for(USUAL_ROOM)
}

/// A directory for `room` bytes: below `LAYERFS_TEST_DIR` if that is set; else in memory, where that holds all that a
/// layer can set; else on disk.
pub fn scratch_for(room: u64) -> TempDir {
    if let Some(base) = std::env::var_os("LAYERFS_TEST_DIR") {
        return tempdir_in(Path::new(&base)).unwrap();
    }
    let in_memory = tempdir_in(Path::new("/dev/shm")).filter(|dir| {
        let free = rustix::fs::statvfs(dir.path()).is_ok_and(|stat| stat.f_bavail * stat.f_frsize >= room);
        // User attributes came to tmpfs with Linux 6.6.
        let probe = || rustix::fs::setxattr(dir.path(), "user.probe", b"", rustix::fs::XattrFlags::empty());
        free && probe().is_ok() && rustix::fs::removexattr(dir.path(), "user.probe").is_ok()
    });
    in_memory.unwrap_or_else(|| tempdir_in(&std::env::temp_dir()).unwrap())
}

fn tempdir_in(base: &Path) -> Option<TempDir> {
    // Without the dot of tempfile's default: dockerd's paths get into messages.
    tempfile::Builder::new().prefix("layerfs-test-").tempdir_in(base).ok()
}

/// An empty directory `name` below `dir`, for a data-root.
pub fn empty_root(dir: &TempDir, name: &str) -> PathBuf {
    let root = dir.path().join(name);
    std::fs::create_dir(&root).unwrap();
    root
}
