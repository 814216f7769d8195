//! `image-gc` that is killed, whose calls fail, that finds no room on the disk, or a store that somebody has made to do harm.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::littered::Littered;
use testkit::mounts::{Bound, Mounted};
use testkit::run::{Input, Ran, layerfs, run};
use testkit::tree::walk;
use testkit::{Random, assert_none, kill, program, tree_changes};

const ALL: [&str; 4] = ["--apply", "--all", "--min-age", "0s"];

fn gc(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("image-gc"));
    command.arg("--root").arg(root).args(arguments);
    command
}

/// Under strace, which does this at a call of the store's.
fn traced(command: &Command, call: &str, what: &str, number: u64) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:{what}:when={number}")]);
    strace.arg(command.get_program()).args(command.get_args());
    strace
}

fn store(root: &Path, seed: u64) -> Littered {
    let mut store = Littered::new(root, seed);
    store.settle(true);
    store
}

/// What is gone that somebody needs.
fn gone(store: &Littered) -> Vec<String> {
    store.wrong().into_iter().filter(|line| line.starts_with("gone")).collect()
}

fn is_committed(root: &Path) -> bool {
    let tmp = std::fs::read_dir(root.join("image/overlay2/layerdb/tmp")).unwrap();
    tmp.into_iter().any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("layerfs-commit-"))
}

/// How often a run makes a call.
fn count(root: &Path, call: &str) -> u64 {
    let log = root.with_extension("log");
    let command = gc(root, &ALL);
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o"]).arg(&log).args(["-e", &format!("trace={call}")]);
    strace.arg(command.get_program()).args(command.get_args());
    assert_eq!(run(strace, Input::Nothing).code, Some(0));
    std::fs::read_to_string(log).unwrap().lines().count().try_into().unwrap()
}

#[test]
fn root_what_is_killed_or_fails_is_finished_by_the_next_run() {
    if !testkit::is_root() || !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    let rounds = if testkit::full_sweep() { 200 } else { 20 };
    let dir = testkit::scratch();
    let mut random = Random::new(17);
    let (mut wrong, mut committed, mut killed) = (Vec::new(), 0, 0);
    for round in 0..rounds {
        let root = dir.path().join(format!("store-{round}"));
        let call = ["unlinkat", "renameat", "unlinkat", "fsync"][usize::try_from(round % 4).unwrap()];
        let calls = {
            let trial = dir.path().join("trial");
            store(&trial, round);
            let calls = count(&trial, call);
            std::fs::remove_dir_all(&trial).unwrap();
            calls
        };
        let store = store(&root, round);
        let is_kill = round % 8 < 4;
        let what = if is_kill { "signal=SIGKILL" } else { "error=EIO" };
        let number = 1 + random.below(calls.max(1));
        let first = run(traced(&gc(&root, &ALL), call, what, number), Input::Nothing);
        let title = format!("store {round}, {what} at {call} {number} of {calls}");
        wrong.extend(gone(&store).into_iter().map(|line| format!("{title}: {line}")));
        if !is_kill && !matches!(first.code, Some(0 | 1)) {
            wrong.push(format!("{title}: {:?} {}", first.code, first.stderr));
        }
        killed += u64::from(is_kill && first.code.is_none());
        // What was begun is finished whatever the age of what is left: the record tells of it.
        let finishes = is_committed(&root);
        committed += u64::from(finishes);
        let age = if finishes { "1h" } else { "0s" };
        let second = run(gc(&root, &["--apply", "--all", "--min-age", age]), Input::Nothing);
        if second.code != Some(0) {
            wrong.push(format!("{title}: the second run: {:?} {}", second.code, second.stderr));
        }
        wrong.extend(store.wrong().into_iter().map(|line| format!("{title}, second run: {line}")));
        std::fs::remove_dir_all(&root).unwrap();
    }
    assert_none("after kills and failures", &wrong);
    assert!(committed * 5 > rounds && killed * 4 > rounds, "{committed} committed, {killed} killed of {rounds}");
}

#[test]
fn root_a_full_disk_is_cleared() {
    if !testkit::is_root() {
        return;
    }
    let mut wrong = Vec::new();
    for seed in 0..4 {
        let mounted = Mounted::tmpfs("size=16m");
        let root = mounted.path().join("root");
        let store = store(&root, seed);
        mounted.fill(0);
        let Ran { code, stderr, .. } = run(gc(&root, &ALL), Input::Nothing);
        if code != Some(0) {
            wrong.push(format!("store {seed}: {code:?} {stderr}"));
        }
        wrong.extend(store.wrong().into_iter().map(|line| format!("store {seed}: {line}")));
    }
    assert_none("on a full disk", &wrong);
}

/// Things that lead out, in each place that gc looks at or removes. `unreadable` are records that cannot be read, so that it cannot be
/// told who needs what; without them all that is planted may go.
fn do_harm(root: &Path, outside: &Path, unreadable: bool) {
    let (home, image) = (root.join("overlay2"), root.join("image/overlay2"));
    let hex = "e".repeat(64);
    let out = outside.to_str().unwrap();
    symlink(out, home.join(&hex)).unwrap();
    symlink(out, home.join("l/OUTSIDEOUTSIDEOUTSIDEOUTSI")).unwrap();
    symlink("../../../../../../etc", home.join("l/UPWARDSUPWARDSUPWARDSUPWAR")).unwrap();
    std::fs::create_dir(home.join("l/DIRECTORYDIRECTORYDIRECTOR")).unwrap();
    let inner = home.join("d".repeat(64));
    std::fs::create_dir(&inner).unwrap();
    symlink(out, inner.join("diff")).unwrap();
    std::fs::write(inner.join("link"), "../../outside").unwrap();
    std::fs::write(inner.join("lower"), "l/../../outside:l/x").unwrap();
    // A name within for a file outside, a pipe that nobody writes to, and a device that must not be opened.
    std::fs::hard_link(outside.join("file"), inner.join("file")).unwrap();
    for (name, kind) in [("pipe", &["p"][..]), ("tape", &["c", "9", "0"])] {
        assert!(Command::new("mknod").arg(inner.join(name)).args(kind).status().unwrap().success());
    }
    symlink(out, image.join(".tmp-out")).unwrap();
    // Where a directory of an image's metadata would be: it keeps nobody from writing, and goes as a link.
    symlink(out, image.join("imagedb/metadata/sha256").join(&hex)).unwrap();
    if !unreadable {
        return;
    }
    let write = |path: PathBuf, content: &str| {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    for (number, id) in ["../../outside", "..", "/etc", "a/../../../outside", "x\0y", "l", ""].iter().enumerate() {
        write(image.join(format!("layerdb/sha256/{hex}-{number}-removing/cache-id")), id);
        write(image.join(format!("layerdb/tmp/write-set-{number}/cache-id")), id);
    }
    symlink(out, image.join("layerdb/tmp/write-set-77")).unwrap();
    symlink(out, image.join(format!("layerdb/sha256/{hex}-77-removing"))).unwrap();
}

#[test]
fn root_nothing_outside_of_a_hostile_store_is_touched() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let mut wrong = Vec::new();
    for seed in 0..6 {
        let root = dir.path().join(format!("store-{seed}"));
        let outside = dir.path().join(format!("outside-{seed}"));
        std::fs::create_dir_all(outside.join("diff")).unwrap();
        for name in ["file", "diff/file", "cache-id", "link"] {
            std::fs::write(outside.join(name), name).unwrap();
        }
        let store = store(&root, seed);
        let unreadable = seed % 2 == 1;
        do_harm(&root, &outside, unreadable);
        // Where nobody claims anything, something is mounted: a directory of somebody else's, and one within an orphan.
        let orphan = root.join("overlay2").join("f".repeat(64));
        std::fs::create_dir_all(orphan.join("diff/within")).unwrap();
        let bound = Bound::new(&outside, &orphan.join("diff/within"));
        let unlinked = || {
            let mut tree = walk(&outside);
            tree.iter_mut().for_each(|entry| entry.links = 0);
            tree
        };
        let before = unlinked();
        let mut runs: Vec<(Command, String)> = Vec::new();
        let names = layerfs(&["--root", root.to_str().unwrap(), "image", "ls", "-q"]);
        let names: Vec<String> = run(names, Input::Nothing).stdout.lines().map(str::to_owned).collect();
        let mut change = |arguments: &[&str]| {
            let mut command = layerfs(&["--root"]);
            command.arg(&root).args(arguments);
            runs.push((command, format!("{arguments:?}")));
        };
        names.first().iter().for_each(|name| change(&["image", "rm", "-f", name]));
        change(&["image", "prune", "-a", "-f"]);
        for arguments in [&["--all", "--min-age", "0s"][..], &ALL, &ALL] {
            runs.push((gc(&root, arguments), format!("{arguments:?}")));
        }
        // A mount in the store may make a writer refuse. Once it is gone, all of this is done again.
        let again = runs.iter().map(|(command, title)| {
            let mut again = Command::new(command.get_program());
            again.args(command.get_args());
            (again, title.clone())
        });
        let again: Vec<_> = again.collect();
        let mut try_all = |runs: Vec<(Command, String)>| {
            for (command, title) in runs {
                let ran = run(command, Input::Nothing);
                if !matches!(ran.code, Some(0 | 1)) {
                    wrong.push(format!("store {seed}, {title}: {:?} {}", ran.code, ran.stderr));
                }
            }
            wrong.extend(tree_changes(&before, &unlinked()));
            wrong.extend(gone(&store).into_iter().map(|line| format!("store {seed}: {line}")));
        };
        try_all(runs);
        drop(bound);
        try_all(again);
        // What was planted is gone, and not only left alone, unless it cannot be told who needs it.
        let metadata = root.join("image/overlay2/imagedb/metadata/sha256").join("e".repeat(64));
        let planted = [orphan, root.join("overlay2").join("d".repeat(64)), metadata];
        let is_left = planted.iter().any(|path| path.symlink_metadata().is_ok());
        if is_left != unreadable {
            wrong.push(format!("store {seed}: planted directories are left: {is_left}"));
        }
    }
    assert_none("outside", &wrong);
    assert!(Path::new("/etc/passwd").exists());
}
