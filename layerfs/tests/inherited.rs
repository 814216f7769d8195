//! Set-group-ID directories hand their group down, and to directories the bit, and on some mounts all directories hand
//! down their group: what a layer says holds all the same, wherever and whenever the bit or the group is set.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use layerfs::apply::{WhiteoutMode, XattrNamespace};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use support::{How, unpack};
use testkit::{is_root, tree};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    File,
    Directory,
    Symlink,
    Whiteout,
}

const MEMBERS: [(What, &str); 14] = [
    (What::Directory, "d"),
    (What::Directory, "d/e"),
    (What::Directory, "d/e/g"),
    (What::Directory, "other"),
    (What::File, "f"),
    (What::File, "d/f"),
    (What::File, "d/e/f"),
    (What::File, "d/e/g/f"),
    (What::File, "other/f"),
    (What::Symlink, "d/s"),
    (What::Symlink, "d/e/s"),
    (What::Whiteout, "d/w"),
    (What::Whiteout, "d/e/w"),
    (What::Whiteout, "other/w"),
];

const MODES: [u32; 4] = [0o755, 0o2775, 0o2755, 0o700];

/// A member, its mode and its group.
type Op = (usize, usize, u32);

fn tar(ops: &[Op]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for &(member, mode, gid) in ops {
        let (what, path) = MEMBERS[member];
        let mut header = tar::Header::new_gnu();
        header.set_mode(MODES[mode]);
        header.set_uid(0);
        header.set_gid(gid.into());
        header.set_mtime(1_600_000_000);
        header.set_size(0);
        header.set_entry_type(match what {
            What::File | What::Whiteout => tar::EntryType::Regular,
            What::Directory => tar::EntryType::Directory,
            What::Symlink => tar::EntryType::Symlink,
        });
        if what == What::Symlink {
            header.set_link_name("nowhere").unwrap();
        }
        let name = if what == What::Whiteout { path.replace("/w", "/.wh.w") } else { path.to_owned() };
        builder.append_data(&mut header, name, &[][..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The type, mode and group that each path must have.
fn model(ops: &[Op]) -> BTreeMap<String, (char, u32, u32)> {
    let mut tree = BTreeMap::new();
    for &(member, mode, gid) in ops {
        let (what, path) = MEMBERS[member];
        for (at, _) in path.match_indices('/') {
            tree.entry(path[..at].to_owned()).or_insert(('d', 0o755, 0));
        }
        let node = match what {
            What::File => ('f', MODES[mode], gid),
            What::Directory => ('d', MODES[mode], gid),
            What::Symlink => ('l', 0o777, gid),
            What::Whiteout => {
                // The first whiteout of a path stays.
                tree.entry(path.to_owned()).or_insert(('c', 0, gid));
                continue;
            }
        };
        tree.insert(path.to_owned(), node);
    }
    tree
}

/// Unpacks into a directory below `base`, and compares with the model.
fn check(base: &Path, ops: &[Op]) -> Result<(), TestCaseError> {
    for threads in [1, 2] {
        let dir = tempfile::tempdir_in(base).unwrap();
        let how = How { threads, whiteouts: WhiteoutMode::Overlay(XattrNamespace::Trusted), stream: false };
        unpack(&tar(ops), dir.path(), how).unwrap();
        let found: BTreeMap<_, _> = tree::walk(&dir.path().join("diff"))
            .into_iter()
            .filter(|entry| entry.path != b".")
            .map(|entry| (String::from_utf8(entry.path).unwrap(), (entry.kind, entry.mode, entry.owner.1)))
            .collect();
        prop_assert_eq!(found, model(ops), "{} threads", threads);
    }
    Ok(())
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    prop::collection::vec((0..MEMBERS.len(), 0..MODES.len(), 0u32..3), 1..40)
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(300))]

    #[test]
    fn root_nothing_is_inherited(ops in ops()) {
        if is_root() {
            check(Path::new("/dev/shm"), &ops)?;
        }
    }
}

/// An ext4 in memory on which every directory hands its group down, gone when dropped.
struct Grpid(tempfile::TempDir);

impl Grpid {
    fn mount() -> Self {
        let grpid = Self(tempfile::tempdir_in("/dev/shm").unwrap());
        let image = grpid.0.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(16 << 20).unwrap();
        std::fs::create_dir(grpid.point()).unwrap();
        let run = |program: &str, arguments: &[&OsStr]| {
            let output = Command::new(program).args(arguments).output().unwrap();
            assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        };
        run(MKFS, &["-q".as_ref(), "-F".as_ref(), image.as_ref()]);
        run("mount", &["-o".as_ref(), "loop,grpid".as_ref(), image.as_ref(), grpid.point().as_ref()]);
        grpid
    }

    fn point(&self) -> PathBuf {
        self.0.path().join("mounted")
    }
}

impl Drop for Grpid {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.point(), rustix::mount::UnmountFlags::DETACH);
    }
}

const MKFS: &str = "/usr/sbin/mkfs.ext4";

#[test]
fn root_nothing_is_inherited_where_all_directories_hand_down() {
    let available = Path::new(MKFS).exists() && Path::new("/dev/loop-control").exists();
    if !is_root() || !testkit::tier("root", available, "install e2fsprogs, and have loop devices") {
        return;
    }
    let grpid = Grpid::mount();
    let base = grpid.point();
    // A file on this mount gets the group of its directory: otherwise the test would show nothing.
    std::fs::create_dir(base.join("d")).unwrap();
    std::os::unix::fs::chown(base.join("d"), None, Some(2)).unwrap();
    std::fs::write(base.join("d/f"), "").unwrap();
    assert_eq!(std::fs::metadata(base.join("d/f")).unwrap().gid(), 2);
    TestRunner::new(config(100)).run(&ops(), |ops| check(&base, &ops)).unwrap();
}
