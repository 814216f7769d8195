//! The tools as a user who is not root, with subordinate ids and without.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use testkit::cases::TreeEntry;
use testkit::image::DockerArchive;
use testkit::run::{self, Input, Ran, layer_unpack, run, until};
use testkit::store::{StoreFiles, names};
use testkit::user::User;
use testkit::{TreeState, synthetic, tarfile};

fn ready() -> bool {
    let need = "install passwd, util-linux and uidmap";
    testkit::is_root() && testkit::tier("root", testkit::user::available(), need)
}

/// Layers with all that a user cannot have, and with directories that deny their own user.
fn layers() -> Vec<Vec<u8>> {
    let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let base = [
        tarfile::dir("closed/").mode(0),
        tarfile::file("closed/f", "f").mode(0),
        tarfile::dir("closed/sub/").mode(0o100).mtime(1_500_000_000),
        tarfile::file("closed/sub/g", "g"),
        tarfile::dir("read/").mode(0o555).owner(3, 4),
        tarfile::file("read/f", "f").owner(3, 4).mode(0o640),
        tarfile::hard_link("read/hard", "read/f").owner(3, 4).mode(0o640),
        tarfile::dir("gone/").mode(0o000),
        tarfile::file("gone/f", "f"),
        tarfile::dir("opaque/").mode(0o700),
        tarfile::file("opaque/old", "old"),
        tarfile::file("suid", "s").mode(0o4755).owner(33, 33),
        tarfile::file("sgid", "s").mode(0o2755),
        tarfile::dir("sticky/").mode(0o1777),
        tarfile::dir("sgid-dir/").mode(0o2775).owner(5, 6),
        tarfile::file("sgid-dir/f", "f"),
        tarfile::symlink("link", "suid").owner(7, 7),
        tarfile::fifo("pipe").owner(8, 9).mode(0o600),
        tarfile::file("attributes", "a").record("SCHILY.xattr.user.a", "1").record("SCHILY.xattr.trusted.b", "2"),
        tarfile::file("capable", "c").record("SCHILY.xattr.security.capability", capability),
        tarfile::file("implied/a/b", "b"),
    ];
    let top = [
        tarfile::file("closed/new", "new"),
        tarfile::file("closed/.wh.f", ""),
        tarfile::file("read/f", "changed").mode(0o444),
        tarfile::file(".wh.gone", "").owner(5, 5),
        tarfile::dir("opaque/").mode(0o500),
        tarfile::file("opaque/.wh..wh..opq", ""),
        tarfile::file("opaque/new", "new"),
    ];
    let device =
        [tarfile::char_device("null", (1, 3)), tarfile::block_device("sda", (8, 0)), tarfile::dir("read/").mode(0o555)];
    [&base[..], &top[..], &device[..]].map(|members| tarfile::tar(members.iter())).to_vec()
}

/// Writes an archive where the user can read it.
fn archive(user: &User, layers: &[Vec<u8>]) -> PathBuf {
    let path = user.at("archive.tar");
    std::fs::write(&path, DockerArchive::new("layerfs-test/user:1", layers).build()).unwrap();
    path
}

/// As root, beside the user's.
fn as_root(archive: &Path, way: &str, to: &Path) {
    run(layer_unpack(&[archive.as_os_str(), way.as_ref(), to.as_os_str(), "--no-sync".as_ref()]), Input::Nothing).ok();
}

fn unpack(user: &User, archive: &Path, way: &str, to: &Path, options: &[&str]) -> Ran {
    let (archive, to) = (archive.to_str().unwrap(), to.to_str().unwrap());
    run(user.tool("layer-unpack", &[&[archive, way, to, "--no-sync"], options].concat()), Input::Nothing)
}

/// A walk of both trees, that of root changed by `change`, which may leave entries out.
fn differences(root: &Path, users: &Path, since: i64, change: impl Fn(&mut TreeEntry) -> bool) -> Vec<String> {
    let mut want = testkit::lasting_walk(root, since);
    want.retain_mut(change);
    // The kernel marks an attribute with the user namespace it is from.
    let mut have = testkit::lasting_walk(users, since);
    for entry in want.iter_mut().chain(&mut have) {
        if let Some(capability) = entry.xattrs.get_mut("security.capability") {
            capability.clear();
        }
    }
    testkit::tree_changes(&want, &have)
}

fn warned(ran: &Ran, words: &[&str]) -> Vec<String> {
    let unsaid = words.iter().filter(|word| !ran.stderr.lines().any(|line| line.contains(*word)));
    unsaid.map(|word| format!("no warning of {word}: {}", ran.stderr)).collect()
}

#[test]
fn root_user_unpacks_a_tree() {
    if !ready() {
        return;
    }
    let (user, since) = (User::new(false), testkit::now() - 1);
    let archive = archive(&user, &layers());
    let (root, to) = (user.at("as-root"), user.at("to/tree"));
    as_root(&archive, "--rootfs", &root);
    std::fs::create_dir(user.at("to")).unwrap();
    std::os::unix::fs::chown(user.at("to"), Some(user.uid), Some(user.gid)).unwrap();
    let ran = unpack(&user, &archive, "--rootfs", &to, &[]).ok();
    let mut report = warned(&ran, &["null: device node left out", "sda: device node left out", "trusted.b left out"]);
    report.extend(differences(&root, &to, since, |entry| {
        entry.owner = (user.uid, user.gid);
        entry.mode &= 0o1777;
        entry.xattrs.retain(|name, _| name.starts_with("user."));
        entry.device.is_none()
    }));
    // A golden with everything that a layer can hold.
    let golden = user.at("golden.tar");
    std::fs::copy(testkit::golden("layers-20.10.tar"), &golden).unwrap();
    let (root, to) = (user.at("golden-as-root"), user.at("golden"));
    as_root(&golden, "--rootfs", &root);
    unpack(&user, &golden, "--rootfs", &to, &[]).ok();
    report.extend(differences(&root, &to, since, |entry| {
        entry.owner = (user.uid, user.gid);
        entry.mode &= 0o1777;
        entry.xattrs.retain(|name, _| name.starts_with("user."));
        entry.device.is_none()
    }));
    testkit::assert_none("a user's tree", &report);
}

#[test]
fn root_user_has_nothing_left_of_a_failure() {
    if !ready() {
        return;
    }
    let user = User::new(true);
    let mut bad = layers();
    bad.push(tarfile::tar(&[
        tarfile::dir("closed/").mode(0),
        tarfile::file("closed/x", "x"),
        tarfile::hard_link("h", "nothing"),
    ]));
    let archive = archive(&user, &bad);
    let before = TreeState::read(user.home()).without_directory_times();
    let mut report = Vec::new();
    for (way, options) in [
        ("--rootfs", &[][..]),
        ("--rootfs", &["--rootless"]),
        ("--layers", &["--rootless"]),
        ("--root", &["--rootless"]),
    ] {
        // Directories above a data-root are not made.
        let to = user.at(if way == "--root" { "new" } else { "new/directory" });
        let mut found = unpack(&user, &archive, way, &to, options).complaints(&["\"h\""]);
        found.extend(before.changes(&TreeState::read(user.home()).without_directory_times()));
        report.extend(found.into_iter().map(|line| format!("{way} {options:?}: {line}")));
        let _ = std::fs::remove_dir_all(user.at("new"));
    }
    let ran = unpack(&user, &archive, "--rootfs", Path::new("/usr/not-yours"), &[]);
    report.extend(ran.complaints(&["/usr/not-yours", "Permission denied"]));
    testkit::assert_none("a user's failures", &report);
}

/// Status 2 and one line with the words.
fn usage(ran: &Ran, words: &[&str]) -> Vec<String> {
    let mut report: Vec<String> = words
        .iter()
        .filter(|word| !ran.stderr.contains(**word))
        .map(|word| format!("says nothing of {word}"))
        .collect();
    if ran.code != Some(2) || ran.stderr.lines().count() != 1 {
        report.push(format!("{:?}: {}", ran.code, ran.stderr));
    }
    report
}

#[test]
fn root_user_is_told_what_is_missing() {
    if !ready() {
        return;
    }
    let user = User::new(false);
    let archive = archive(&user, &layers());
    let before = TreeState::read(user.home());
    let to = user.at("new");
    let mut report = Vec::new();
    for way in ["--root", "--layers"] {
        let found = usage(&unpack(&user, &archive, way, &to, &[]), &["root", "--rootless"]);
        report.extend(found.into_iter().map(|line| format!("{way}: {line}")));
    }
    for way in ["--root", "--layers", "--rootfs"] {
        let ran = unpack(&user, &archive, way, &to, &["--rootless"]);
        let found = usage(&ran, &["--rootless needs subordinate ids", "/etc/subuid"]);
        report.extend(found.into_iter().map(|line| format!("{way} --rootless without ids: {line}")));
    }
    let (archive, to_text) = (archive.to_str().unwrap(), to.to_str().unwrap());
    let load = run(user.tool("layerfs", &["image", "load", "-i", archive, "--root", to_text]), Input::Nothing);
    report.extend(usage(&load, &["needs root"]).into_iter().map(|line| format!("layerfs image load: {line}")));
    if load.stderr.contains("--rootless") {
        let again = run(user.tool("layerfs", &["image", "load", "--rootless", "--help"]), Input::Nothing);
        if again.code != Some(0) {
            report.push("layerfs image load: --rootless is recommended, and there is no such option".into());
        }
    }
    // Nothing needs rights that only looks.
    let ran = unpack(&user, Path::new(archive), "--root", &to, &["--dry-run"]);
    if ran.code != Some(0) {
        report.push(format!("--dry-run: {}", ran.stderr));
    }
    report.extend(before.changes(&TreeState::read(user.home())));
    drop(user);

    let user = User::new(true);
    let archive = self::archive(&user, &layers());
    let mut command = user.tool("layer-unpack", &[archive.to_str().unwrap(), "--rootless", "--layers", "new"]);
    command.env("PATH", "/nowhere");
    let mut found = run(command, Input::Nothing).complaints(&["newuidmap", "package uidmap"]);
    found.extend(user.processes());
    report.extend(found.into_iter().map(|line| format!("without newuidmap: {line}")));
    testkit::assert_none("what a user is told", &report);
}

#[test]
fn root_user_with_subordinate_ids() {
    if !ready() {
        return;
    }
    let (user, since) = (User::new(true), testkit::now() - 1);
    let archive = archive(&user, &layers());
    let mapped = |entry: &mut TreeEntry| {
        entry.owner = (User::mapped(user.uid, entry.owner.0), User::mapped(user.gid, entry.owner.1));
        if let Some(opaque) = entry.xattrs.remove("trusted.overlay.opaque") {
            entry.xattrs.insert("user.overlay.opaque".into(), opaque);
        }
        entry.xattrs.retain(|name, _| !name.starts_with("trusted."));
        entry.device.is_none_or(|device| device == (0, 0))
    };
    let mut report = Vec::new();

    as_root(&archive, "--layers", &user.at("root-layers"));
    let ran = unpack(&user, &archive, "--layers", &user.at("layers"), &["--rootless"]).ok();
    report.extend(warned(&ran, &["null: device node left out", "sda: device node left out"]));
    let directories = names(&user.at("root-layers"));
    assert_eq!(directories, names(&user.at("layers")));
    for directory in directories.iter().filter(|name| *name != "layers.json") {
        let diff = |made: &str| user.at(made).join(directory).join("diff");
        let found = differences(&diff("root-layers"), &diff("layers"), since, mapped);
        report.extend(found.into_iter().map(|line| format!("--layers {directory}: {line}")));
    }
    let opaque = |path: &Path| {
        testkit::tree::walk(path).iter().filter(|entry| entry.xattrs.contains_key("user.overlay.opaque")).count()
    };
    assert_eq!(opaque(&user.at("layers")), 1, "one opaque directory");

    as_root(&archive, "--rootfs", &user.at("root-tree"));
    unpack(&user, &archive, "--rootfs", &user.at("tree"), &["--rootless"]).ok();
    let found = differences(&user.at("root-tree"), &user.at("tree"), since, mapped);
    report.extend(found.into_iter().map(|line| format!("--rootfs: {line}")));

    as_root(&archive, "--root", &user.at("root-store"));
    unpack(&user, &archive, "--root", &user.at("store"), &["--rootless"]).ok();
    let (theirs, ours) = (StoreFiles::read(&user.at("root-store")), StoreFiles::read(&user.at("store")));
    assert_eq!(theirs.tags, ours.tags);
    for (chain, diff) in ours.diffs() {
        let found = differences(&theirs.diffs()[&chain], &diff, since, mapped);
        report.extend(found.into_iter().map(|line| format!("--root {chain}: {line}")));
    }
    report.extend([ours.not_replayable(), ours.unreferenced(), ours.wrong.clone()].concat());
    let owner = format!("{:?}", (user.uid, user.gid));
    report.extend(ours.outline().into_iter().filter(|line| !line.contains("/diff ") && !line.ends_with(&owner)));
    report.extend(user.processes());
    testkit::assert_none("subordinate ids", &report);
}

#[test]
fn root_user_with_too_few_ids() {
    if !ready() {
        return;
    }
    let user = User::new(true);
    let archive = archive(&user, &[tarfile::tar(&[tarfile::file("f", "f").owner(70_000, 0)])]);
    let before = TreeState::read(user.home()).without_directory_times();
    let mut report = Vec::new();
    for way in ["--layers", "--rootfs", "--root"] {
        let ran = unpack(&user, &archive, way, &user.at("new"), &["--rootless"]);
        let mut found = ran.complaints(&["\"f\"", "70000"]);
        found.extend(before.changes(&TreeState::read(user.home()).without_directory_times()));
        report.extend(found.into_iter().map(|line| format!("{way}: {line}")));
    }
    testkit::assert_none("too few ids", &report);
}

/// The child in the user namespace, once it is there.
fn child_of(parent: &Child) -> Option<Pid> {
    let pid = parent.id();
    let mut found = None;
    until(|| {
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let maps = |child: &&str| std::fs::read_to_string(format!("/proc/{child}/gid_map")).unwrap_or_default();
        let child = children.split_whitespace().find(|child| maps(child).lines().count() == 2);
        found = child.and_then(|child| Pid::from_raw(child.parse().unwrap()));
        found.is_some()
    });
    found
}

/// A request to stop reaches the process that works, however it comes: to the parent, to both as from a terminal or a
/// service manager, or as the parent's death.
#[test]
fn root_user_stops_what_was_started() {
    if !ready() {
        return;
    }
    let user = User::new(true);
    let archive = user.at("archive.tar");
    std::fs::write(&archive, synthetic::archive(48 << 20, 3000)).unwrap();
    let before = TreeState::read(user.home()).without_directory_times();
    let mut report = Vec::new();
    let ways = [
        ("SIGTERM", vec![(false, Signal::TERM)]),
        ("SIGHUP", vec![(false, Signal::HUP)]),
        ("Ctrl-C", vec![(false, Signal::INT), (true, Signal::INT)]),
        ("SIGTERM to all", vec![(true, Signal::TERM), (false, Signal::TERM)]),
        ("SIGKILL", vec![(false, Signal::KILL)]),
    ];
    for (title, signals) in ways {
        let started = Instant::now();
        let (from, to) = (archive.to_str().unwrap(), user.at("new"));
        let command = user.tool("layer-unpack", &[from, "--rootless", "--root", to.to_str().unwrap()]);
        let parent = run::start(command, Input::Nothing);
        let Some(child) = child_of(&parent) else { panic!("{title}: no child: {:?}", run::finish(parent, started)) };
        until(|| to.exists());
        for (to_child, signal) in &signals {
            let _ = kill_process(if *to_child { child } else { Pid::from_child(&parent) }, *signal);
        }
        let ran = run::finish(parent, started);
        let killed = signals.iter().any(|(_, signal)| *signal == Signal::KILL);
        until(|| user.processes().is_empty());
        let mut found = user.processes();
        if ran.code != if killed { None } else { Some(130) } || !ran.stderr.contains("nothing was changed") {
            found.push(format!("{ran:?}"));
        }
        found.extend(before.changes(&TreeState::read(user.home()).without_directory_times()));
        report.extend(found.into_iter().map(|line| format!("{title}: {line}")));
        let _ = std::fs::remove_dir_all(user.at("new"));
    }
    testkit::assert_none("requests to stop", &report);
}
