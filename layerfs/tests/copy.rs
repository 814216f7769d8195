//! A copied tree is the same tree, on file systems that share blocks between files and on those that do not.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod support;

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use layerfs::apply::{WhiteoutMode, XattrNamespace};
use support::{How, open_dir};
use testkit::tree;

fn copied(from: &Path, to: &Path) -> Vec<String> {
    std::fs::create_dir(to).unwrap();
    layerfs::copy_tree(open_dir(from), open_dir(to)).unwrap();
    tree::differences(&tree::walk(from), &tree::walk(to))
}

/// Whiteouts are unpacked as overlayfs has them, so that devices and attributes are in the trees, too.
#[test]
fn root_copies_of_all_layer_cases() {
    if !testkit::is_root() {
        return;
    }
    let how = How { threads: 1, whiteouts: WhiteoutMode::Overlay(XattrNamespace::Trusted), stream: false };
    let (mut report, mut nodes) = (String::new(), 0);
    for case in testkit::cases::load() {
        let dir = tempfile::tempdir().unwrap();
        // The paths of case 162 are longer than the walk in this test can name.
        if case.number == 162 || support::unpack(&case.archive, dir.path(), how).is_err() {
            continue;
        }
        let from = dir.path().join("diff");
        nodes += tree::walk(&from).len();
        for line in copied(&from, &dir.path().join("copy")) {
            report += &format!("{} {}: {line}\n", case.number, case.title);
        }
    }
    assert!(report.is_empty(), "{report}");
    assert!(nodes > 400, "{nodes}");
}

#[test]
fn root_copies_keep_what_layers_seldom_have() {
    if !testkit::is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("from");
    std::fs::create_dir_all(from.join("deep/er")).unwrap();
    rustix::fs::chmod(&from, 0o1751.into()).unwrap();
    // A file of holes with data in the middle and at the end.
    let sparse = std::fs::File::create(from.join("sparse")).unwrap();
    sparse.write_all_at(b"middle", 100 << 20).unwrap();
    sparse.write_all_at(b"end", (200 << 20) - 3).unwrap();
    std::fs::File::create(from.join("hole")).unwrap().set_len(1 << 40).unwrap();
    std::fs::write(from.join("secret"), "x").unwrap();
    rustix::fs::chmod(from.join("secret"), 0.into()).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, from.join("deep/socket"), rustix::fs::FileType::Socket, 0o600.into(), 0)
        .unwrap();
    std::fs::hard_link(from.join("deep/socket"), from.join("socket too")).unwrap();
    std::os::unix::fs::symlink("nowhere", from.join("link")).unwrap();
    std::fs::hard_link(from.join("link"), from.join("deep/er/link too")).unwrap();
    let set = |path: &str, name: &str| {
        rustix::fs::lsetxattr(from.join(path), name, &[7; 3000], rustix::fs::XattrFlags::empty()).unwrap();
    };
    set("secret", "user.large");
    set("link", "trusted.of-a-link");
    set("", "trusted.of-the-root");
    // Capabilities of a file go when its owner changes.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    std::fs::write(from.join("tool"), "x").unwrap();
    std::os::unix::fs::chown(from.join("tool"), Some(1000), Some(1000)).unwrap();
    rustix::fs::chmod(from.join("tool"), 0o4755.into()).unwrap();
    rustix::fs::setxattr(from.join("tool"), "security.capability", &capability, rustix::fs::XattrFlags::empty())
        .unwrap();
    let to = dir.path().join("to");
    // Reading a hole of a terabyte would never end; its length and its blocks are looked at below.
    let big = dir.path().join("hole");
    std::fs::create_dir(&to).unwrap();
    layerfs::copy_tree(open_dir(&from), open_dir(&to)).unwrap();
    let stat = |path: &Path| std::fs::symlink_metadata(path).unwrap();
    for name in ["hole", "sparse"] {
        let (a, b) = (stat(&from.join(name)), stat(&to.join(name)));
        assert_eq!((a.len(), a.mtime()), (b.len(), b.mtime()));
        assert!(b.blocks() <= a.blocks() + 64, "{name}: {} blocks, {} in the copy", a.blocks(), b.blocks());
    }
    let same = stat(&to.join("link")).ino() == stat(&to.join("deep/er/link too")).ino();
    assert!(same, "one symlink of two names");
    std::fs::rename(from.join("hole"), &big).unwrap();
    std::fs::remove_file(to.join("hole")).unwrap();
    // That changed the times of the root.
    let touch = |path: &Path| rustix::fs::utimensat(rustix::fs::CWD, path, &times(), rustix::fs::AtFlags::empty());
    touch(&from).unwrap();
    touch(&to).unwrap();
    let differences = tree::differences(&tree::walk(&from), &tree::walk(&to));
    assert!(differences.is_empty(), "{differences:#?}");
}

fn times() -> rustix::fs::Timestamps {
    let spec = rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 5 };
    rustix::fs::Timestamps { last_access: spec, last_modification: spec }
}
