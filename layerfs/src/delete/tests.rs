use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{create_dir, create_dir_all, read_dir, write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, Mode, OFlags};

use super::*;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open(path: &Path) -> rustix::fd::OwnedFd {
    rustix::fs::openat(CWD, path, DIRECTORY, Mode::empty()).unwrap()
}

/// Deletes `gone` in `dir`. Returns how many entries went.
fn delete(dir: &Path, threads: usize) -> Result<u64, DeleteError> {
    let deletion = Deletion::new(threads);
    deletion.delete(open(dir), b"gone").map(|()| deletion.deleted())
}

/// What is left in `dir`.
fn names(dir: &Path) -> BTreeSet<String> {
    read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// Makes a tree with `width` files and `width` directories in each directory, `depth` levels deep. Returns how many
/// entries it has.
fn plant(dir: &Path, width: usize, depth: usize) -> u64 {
    create_dir_all(dir).unwrap();
    let mut entries = 1;
    for number in 0..width {
        write(dir.join(format!("f{number}")), "content").unwrap();
        entries += 1;
        if depth > 0 {
            entries += plant(&dir.join(format!("d{number}")), width, depth - 1);
        }
    }
    entries
}

#[test]
fn everything_goes_and_nothing_beside_it() {
    for threads in [1, 2, 8] {
        let dir = testkit::scratch();
        write(dir.path().join("stays"), "").unwrap();
        create_dir(dir.path().join("gone2")).unwrap();
        let planted = plant(&dir.path().join("gone"), 6, 3);
        assert_eq!(delete(dir.path(), threads), Ok(planted));
        assert_eq!(names(dir.path()), BTreeSet::from(["stays".into(), "gone2".into()]));
    }
}

#[test]
fn a_file_a_link_and_nothing_are_fine() {
    let dir = testkit::scratch();
    assert_eq!(delete(dir.path(), 2), Ok(0));
    write(dir.path().join("gone"), "").unwrap();
    assert_eq!(delete(dir.path(), 2), Ok(1));
    create_dir(dir.path().join("stays")).unwrap();
    write(dir.path().join("stays/f"), "").unwrap();
    for target in ["stays", "missing", "gone", "stays/f"] {
        symlink(target, dir.path().join("gone")).unwrap();
        assert_eq!(delete(dir.path(), 2), Ok(1));
    }
    assert_eq!(names(&dir.path().join("stays")), BTreeSet::from(["f".into()]));
}

#[test]
fn links_are_not_followed_and_any_name_goes() {
    let dir = testkit::scratch();
    let (outside, gone) = (dir.path().join("outside"), dir.path().join("gone"));
    plant(&outside, 3, 1);
    let before = names(&outside);
    for number in 0..20 {
        let inner = gone.join(format!("d{number}"));
        create_dir_all(&inner).unwrap();
        for (name, target) in
            [("a", "../../outside"), ("b", "/"), ("c", "c"), ("d", "../.."), ("e", "../../outside/f1")]
        {
            symlink(target, inner.join(name)).unwrap();
        }
        for name in [&b"\xff\xfe"[..], b"new\nline", b" ", b"-rf", b"\x01", &[b'n'; 255], b"..."] {
            write(inner.join(OsStr::from_bytes(name)), "").unwrap();
        }
        for name in [&b"d\xff\xfe"[..], b"d\n", b"*", &[b'd'; 255], b".. ", b"...."] {
            create_dir(inner.join(OsStr::from_bytes(name))).unwrap();
        }
        rustix::fs::mkfifoat(CWD, inner.join("fifo"), Mode::empty()).unwrap();
        std::os::unix::net::UnixListener::bind(inner.join("socket")).unwrap();
        std::fs::hard_link(outside.join("f0"), inner.join("link")).unwrap();
    }
    assert_eq!(delete(dir.path(), 4), Ok(1 + 20 * (1 + 5 + 7 + 6 + 3)));
    assert_eq!(names(dir.path()), BTreeSet::from(["outside".into()]));
    assert_eq!(names(&outside), before);
}

/// More levels than descriptors, than a path has bytes, and than a stack has room for.
#[test]
fn a_deep_tree_goes() {
    let dir = testkit::scratch();
    for (threads, levels) in [(1, 2000), (2, 100_000)] {
        let mut current = open(dir.path());
        let mut enter = |name: &str| {
            rustix::fs::mkdirat(&current, name, Mode::RWXU).unwrap();
            current = rustix::fs::openat(&current, name, DIRECTORY, Mode::empty()).unwrap();
            rustix::fs::mkdirat(&current, "beside", Mode::RWXU).unwrap();
        };
        enter("gone");
        (0..levels).for_each(|_| enter("d"));
        drop(current);
        delete(dir.path(), threads).unwrap();
        assert_eq!(names(dir.path()), BTreeSet::new());
    }
}

/// So many names that they do not wait in memory all at once, and more files than are read at once.
#[test]
fn a_wide_directory_goes() {
    let dir = testkit::scratch();
    let count = if testkit::full_sweep() { 1_000_000 } else { 40_000 };
    create_dir(dir.path().join("gone")).unwrap();
    let top = open(&dir.path().join("gone"));
    for number in 0..count {
        rustix::fs::mkdirat(&top, format!("{number:0>250}"), Mode::RWXU).unwrap();
        rustix::fs::mknodat(&top, format!("f{number}"), rustix::fs::FileType::RegularFile, Mode::RWXU, 0).unwrap();
    }
    drop(top);
    assert_eq!(delete(dir.path(), 2), Ok(2 * count + 1));
    assert_eq!(names(dir.path()), BTreeSet::new());
}

/// The deletion ends, whoever wins.
#[test]
fn somebody_else_may_write_meanwhile() {
    let dir = testkit::scratch();
    for _ in 0..20 {
        plant(&dir.path().join("gone"), 5, 2);
        let stop = AtomicBool::new(false);
        let result = std::thread::scope(|scope| {
            let writer = || {
                for number in 0..u64::MAX {
                    let inner = dir.path().join("gone/d0");
                    if stop.load(Ordering::Relaxed) || write(inner.join(format!("new{number}")), "").is_err() {
                        return;
                    }
                }
            };
            scope.spawn(writer);
            let result = delete(dir.path(), 2);
            stop.store(true, Ordering::Relaxed);
            result
        });
        match result {
            Ok(_) => assert_eq!(names(dir.path()), BTreeSet::new()),
            Err(error) => {
                assert_eq!((error.path.as_slice(), error.errno), (&b"gone/d0"[..], rustix::io::Errno::NOTEMPTY));
                assert_eq!(names(&dir.path().join("gone")), BTreeSet::from(["d0".into()]));
                delete(dir.path(), 2).unwrap();
            }
        }
    }
}
