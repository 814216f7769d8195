//! Data-roots whose parts are on other file systems, and data-roots that another process of ours writes to.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[allow(dead_code, reason = "not every test asks everything")]
mod guardsupport;

use std::path::Path;
use std::process::Command;

use guardsupport::{attempt, plant, refused, taken};
use testkit::mounts::{Bound, Mounted};
use testkit::run::{Input, Ran, run};
use testkit::{TreeState, is_root, program};

/// `layerfs` or `image-du` on a root.
fn ask(name: &str, root: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program(name));
    command.arg("--root").arg(root).args(arguments);
    run(command, Input::Nothing)
}

/// Takes the lock of a process that writes.
fn locked(dir: &Path) -> std::fs::File {
    let dir = std::fs::File::open(dir).unwrap();
    rustix::fs::flock(&dir, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    dir
}

/// Directories of a root that are symlinks to another file system, as people make them where a disk is full.
#[test]
fn root_parts_may_be_elsewhere() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let disk = Mounted::tmpfs("size=64m");
    plant(disk.path(), &["layers/", "image/", "volumes/", "containers/"]);
    let root = dir.path().join("root");
    plant(&root, &["volumes/"]);
    std::fs::remove_dir(root.join("volumes")).unwrap();
    for (name, target) in
        [("overlay2", "layers"), ("image", "image"), ("volumes", "volumes"), ("containers", "containers")]
    {
        std::os::unix::fs::symlink(disk.path().join(target), root.join(name)).unwrap();
    }
    plant(&root, &["engine-id"]);
    let mut report = taken("links", root.as_os_str(), &[], false);
    assert!(disk.path().join("layers/l").is_dir() && disk.path().join("image/overlay2/layerdb").is_dir());
    let listed = ask("layerfs", &root, &["image", "ls", "-q"]);
    if listed.code != Some(0) || listed.stdout.lines().count() == 0 {
        report.push(format!("{listed:?}"));
    }
    // What is named is named by the root's own path.
    let inspected = ask("layerfs", &root, &["image", "inspect", "layerfs-test/busybox:1"]);
    if !inspected.stdout.contains(&format!("{}/overlay2/", root.display())) {
        report.push(format!("{inspected:?}"));
    }
    let counted = ask("image-du", &root, &["--json"]);
    let account: serde_json::Value = serde_json::from_str(&counted.stdout).unwrap();
    let du = Command::new("du").args(["-x", "-s", "-B1"]).args([&root, disk.path()]).output().unwrap();
    let of_line = |line: &str| line.split_whitespace().next().and_then(|size| size.parse::<u64>().ok()).unwrap();
    // The disk's own root is nobody's.
    let total: u64 = String::from_utf8(du.stdout).unwrap().lines().map(of_line).sum();
    let said = format!("overlay2 leads to {}: what is there is counted", disk.path().join("layers").display());
    if account["total_allocated"] != total || account["unaccounted"] != 0 || !counted.stderr.contains(&said) {
        report.push(format!("{total}: {counted:?}"));
    }
    // Another root that shares the layers: one writer at a time.
    let other = dir.path().join("other");
    plant(&other, &["engine-id"]);
    std::os::unix::fs::symlink(disk.path().join("layers"), other.join("overlay2")).unwrap();
    let lock = locked(&disk.path().join("layers"));
    for root in [&root, &other] {
        report.extend(refused("locked", dir.path(), root.as_os_str(), "another layerfs process"));
    }
    drop(lock);
    // A layer is mounted where the layers are.
    std::fs::create_dir(disk.path().join("layers/top")).unwrap();
    {
        let _mounted = Bound::new(disk.path(), &disk.path().join("layers/top"));
        report.extend(refused("mounted", dir.path(), root.as_os_str(), "a layer of it is mounted"));
    }
    std::fs::remove_dir(disk.path().join("layers/top")).unwrap();
    // Only writable where everything is.
    disk.remount("ro");
    report.extend(refused("read-only", dir.path(), root.as_os_str(), "mounted read-only"));
    disk.remount("rw");
    for name in ["overlay2", "image"] {
        let broken = dir.path().join(format!("broken-{name}"));
        plant(&broken, &["engine-id", &format!("{name} -> nowhere")]);
        let before = TreeState::read(&broken);
        let ran = attempt(broken.as_os_str(), &[], false);
        report.extend(ran.complaints(&["a symlink that leads nowhere"]));
        report.extend(before.changes(&TreeState::read(&broken)));
    }
    testkit::assert_none("parts elsewhere", &report);
}

/// What a process of ours has not finished yet is not called a crash's, nor an orphan.
#[test]
fn root_a_writer_at_work_is_seen() {
    if !is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let mut report = taken("a new root", root.as_os_str(), &[], true);
    plant(&root, &["image/overlay2/layerdb/tmp/write-set-layerfs-1/cache-id", "overlay2/0123/diff/"]);
    std::fs::write(root.join("image/overlay2/layerdb/tmp/write-set-layerfs-1/cache-id"), "0123").unwrap();
    let entry = root.join("overlay2/0123");
    let owner = || ask("layerfs", &root, &["system", "owner", entry.to_str().unwrap()]);
    let writing = format!("another layerfs process ({}) is writing now", std::process::id());
    {
        let _lock = locked(&root);
        let (counted, owned) = (ask("image-du", &root, &[]), owner());
        if !counted.stderr.contains(&writing)
            || counted.stderr.contains("nobody owns it")
            || counted.stderr.contains("crash")
        {
            report.push(format!("image-du: {}", counted.stderr));
        }
        if !owned.stdout.contains(&writing) || owned.stdout.contains("orphan") {
            report.push(format!("owner: {owned:?}"));
        }
        let second = attempt(root.as_os_str(), &[], false);
        report.extend(second.complaints(&[&format!("another layerfs process ({})", std::process::id())]));
    }
    let (counted, owned) = (ask("image-du", &root, &[]), owner());
    if !counted.stderr.contains("left by a crash") || !counted.stderr.contains("nobody owns it") {
        report.push(format!("afterwards, image-du: {}", counted.stderr));
    }
    if !owned.stdout.contains("orphan") {
        report.push(format!("afterwards, owner: {owned:?}"));
    }
    testkit::assert_none("a writer at work", &report);
}
