//! Opening what a path means where a directory is the root of the file system.

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Opens `path` below `root` with `flags`: symlinks lead to where they would lead if `root` were `/`, so that nothing outside is
/// reached.
///
/// # Errors
/// What `openat2(2)` returns, but not `EAGAIN`: with that the kernel asks to try again, because something was renamed or mounted
/// anywhere while a `..` was followed.
pub fn open_in_root(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match rustix::fs::openat2(&root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// The kernel counts all renames of all file systems together, so one elsewhere is enough.
    #[test]
    fn renames_elsewhere_keep_nothing_from_being_opened() {
        let temp = tempfile::tempdir().unwrap();
        let at = |name: &str| temp.path().join(name);
        std::fs::create_dir_all(at("root/a/b/c/d")).unwrap();
        std::os::unix::fs::symlink("../../../../a/b/c/../../b/c/d", at("root/a/b/c/link")).unwrap();
        for name in ["one", "other/two"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        let root = std::fs::File::open(at("root")).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Between directories: only that is counted.
                while !done.load(Ordering::Relaxed) {
                    std::fs::rename(at("one"), at("other/one")).unwrap();
                    std::fs::rename(at("other/one"), at("one")).unwrap();
                }
            });
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let failed = (0..100_000).find_map(|_| open_in_root(&root, b"a/b/c/link", flags).err());
            done.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
    }
}
