//! What even root cannot delete stays, is named, and keeps nothing else from going.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::fs::{create_dir, create_dir_all, write};
use std::path::Path;
use std::process::Command;

use layerfs::delete::{DeleteError, Deletion, Obstacle};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use testkit::mounts::{Bound, Mounted};

fn delete(dir: &Path, threads: usize) -> Result<(), DeleteError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Deletion::new(threads).delete(rustix::fs::open(dir, flags, Mode::empty()).unwrap(), b"gone")
}

fn is_ready() -> bool {
    testkit::tier("root", testkit::is_root(), "run as root")
}

/// Forty directories of forty files.
fn plant(gone: &Path) {
    for directory in 0..40 {
        let inner = gone.join(format!("d{directory}"));
        create_dir_all(&inner).unwrap();
        (0..40).for_each(|file| write(inner.join(format!("f{file}")), "").unwrap());
    }
}

/// All paths that are left.
fn left(dir: &Path) -> Vec<String> {
    let found = Command::new("find").arg(dir).args(["-mindepth", "1", "-printf", "%P\n"]).output().unwrap();
    let mut lines: Vec<String> = String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn root_mounts_are_not_entered() {
    if !is_ready() {
        return;
    }
    for threads in [1, 3] {
        let dir = Mounted::tmpfs("size=64m");
        let gone = dir.path().join("gone");
        plant(&gone);
        let outside = dir.path().join("outside");
        plant(&outside);
        let planted = left(&outside);
        // Mounts of another file system, of a directory of the same one, and of a single file.
        let other = Mounted::tmpfs("size=1m");
        write(other.path().join("precious"), "").unwrap();
        create_dir_all(gone.join("d7/deeper/mounted")).unwrap();
        create_dir(gone.join("d8/same")).unwrap();
        let mounts = [
            Bound::new(other.path(), &gone.join("d7/deeper/mounted")),
            Bound::new(&outside, &gone.join("d8/same")),
            Bound::new(&outside.join("d1/f1"), &gone.join("d9/f9")),
        ];
        let error = delete(dir.path(), threads).unwrap_err();
        assert_eq!(error.obstacle, Some(Obstacle::Mounted), "{error}");
        assert_eq!((error.errno, error.others), (Errno::BUSY, 2));
        assert!(error.to_string().contains("something is mounted there (2 more entries stay as well)"), "{error}");
        assert!(other.path().join("precious").exists());
        assert_eq!(left(&outside), planted);
        drop(mounts);
        let expected = ["d7", "d7/deeper", "d7/deeper/mounted", "d8", "d8/same", "d9", "d9/f9"];
        assert_eq!(left(&gone), expected);
        delete(dir.path(), threads).unwrap();
        assert_eq!(left(dir.path()).len(), planted.len() + 1);
        // A mount on the tree itself.
        create_dir(&gone).unwrap();
        let mount = Bound::new(&outside, &gone);
        let error = delete(dir.path(), threads).unwrap_err();
        assert_eq!((error.path.as_slice(), error.obstacle), (&b"gone"[..], Some(Obstacle::Mounted)));
        drop(mount);
        assert_eq!(left(&outside), planted);
    }
}

fn chattr(change: &str, path: &Path) {
    assert!(Command::new("chattr").arg(change).arg(path).status().unwrap().success());
}

#[test]
fn root_protected_files_are_named() {
    if !is_ready() {
        return;
    }
    let disk = Mounted::ext4(64 << 20);
    let gone = disk.path().join("gone");
    let cases = [
        ("+i", "d3/f3", "gone/d3/f3", Obstacle::Immutable, vec!["d3", "d3/f3"]),
        ("+a", "d3/f3", "gone/d3/f3", Obstacle::AppendOnly, vec!["d3", "d3/f3"]),
        // A protected directory stays with what it holds.
        ("+i", "d4", "gone/d4", Obstacle::Immutable, vec!["d4", "d4/f0", "d4/f1"]),
        ("+a", "d4", "gone/d4", Obstacle::AppendOnly, vec!["d4", "d4/f0", "d4/f1"]),
    ];
    for (change, protected, named, obstacle, expected) in cases {
        for threads in [1, 2] {
            plant(&gone);
            (2..40).for_each(|number| std::fs::remove_file(gone.join(format!("d4/f{number}"))).unwrap());
            chattr(change, &gone.join(protected));
            let error = delete(disk.path(), threads).unwrap_err();
            assert_eq!(error.path.escape_ascii().to_string(), named, "{change} {protected}");
            assert_eq!((error.obstacle, error.errno), (Some(obstacle), Errno::PERM));
            assert_eq!(left(&gone), expected, "{change} {protected}");
            chattr(&change.replace('+', "-"), &gone.join(protected));
            delete(disk.path(), threads).unwrap();
        }
    }
    plant(&gone);
    disk.remount("ro");
    let error = delete(disk.path(), 2).unwrap_err();
    assert_eq!((error.errno, error.others), (Errno::ROFS, 40 * 40 - 1));
    disk.remount("rw");
    delete(disk.path(), 2).unwrap();
}
