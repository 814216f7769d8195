//! `rm`, `tag` and `prune` that are killed or whose calls fail, at any moment: what is to stay is whole, dockerd starts on what is
//! left, and the second run completes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::process::Command;

use testkit::cases::TreeEntry;
use testkit::dockerd::Dockerd;
use testkit::mounts::Mounted;
use testkit::run::{Input, layerfs, run};
use testkit::store::StoreFiles;
use testkit::tree::walk;
use testkit::{Random, assert_none, golden, import, kill, tree_changes};

const GOLDENS: [&str; 3] = ["busybox-20.10.tar", "shared-20.10.tar", "layers-20.10.tar"];

/// Commands, each with the names that images must have afterwards.
const COMMANDS: [(&[&str], &[&str]); 5] = [
    (&["image", "prune", "-a", "-f"], &[]),
    (&["image", "rm", "layerfs-test/app:1", "layerfs-test/twice:1"], &[BUSYBOX, LAYERS, BASE]),
    (&["image", "rm", "-f", LAYERS], &[BUSYBOX, BASE, "layerfs-test/app:1", "layerfs-test/twice:1"]),
    (&["tag", LAYERS, BUSYBOX], &[BUSYBOX, LAYERS, BASE, "layerfs-test/app:1", "layerfs-test/twice:1"]),
    (&["image", "prune", "-f"], &[BUSYBOX, LAYERS, BASE, "layerfs-test/app:1", "layerfs-test/twice:1"]),
];

const BUSYBOX: &str = "layerfs-test/busybox:1";
const LAYERS: &str = "layerfs-test/layers:1";
const BASE: &str = "layerfs-test/shared-base:1";

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn command(root: &Path, words: &[&str]) -> Command {
    let mut command = layerfs(&["--root"]);
    command.arg(root).args(words);
    command
}

/// Under strace with these of its flags.
fn traced(command: &Command, flags: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq"]).args(flags).arg(command.get_program()).args(command.get_args());
    strace
}

/// All there is, without what differs from run to run: times, and the time of a tag.
fn tree(root: &Path) -> Vec<TreeEntry> {
    let mut tree = walk(root);
    // dockerd makes the directory of its notes on registries.
    let is_store = |path: &[u8]| path.starts_with(b"image/") || path.starts_with(b"overlay2/");
    tree.retain(|entry| is_store(&entry.path) && entry.path != b"image/overlay2/distribution");
    for entry in &mut tree {
        entry.mtime = None;
        if entry.path.ends_with(b"/lastUpdated") {
            (entry.data, entry.size) = (None, 0);
        }
    }
    tree
}

/// What of the images that are named, or of any image, is not as it must be.
fn wrong(root: &Path, names: &[&str]) -> Vec<String> {
    let store = StoreFiles::read(root);
    let mut wrong = store.not_replayable();
    let missing = names.iter().filter(|name| !store.tags.contains_key(**name));
    wrong.extend(missing.map(|name| format!("the name {name} is gone")));
    wrong.extend(store.wrong);
    wrong
}

/// A failure of a command: where, and what becomes of the call.
struct Fault {
    call: &'static str,
    what: &'static str,
    number: u64,
}

/// How often a command makes a call on a store like this.
fn count(original: &Path, trial: &Path, words: &[&str], call: &str) -> u64 {
    copy(original, trial);
    let log = trial.with_extension("log");
    let trace = format!("trace={call}");
    let ran = run(traced(&command(trial, words), &["-o", log.to_str().unwrap(), "-e", &trace]), Input::Nothing);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    std::fs::remove_dir_all(trial).unwrap();
    std::fs::read_to_string(log).unwrap().lines().count().try_into().unwrap()
}

/// Runs a command with a fault, and then again. `look` is called in between.
fn survive(
    root: &Path,
    (words, names): (&[&str], &[&str]),
    fault: &Fault,
    expected: &[TreeEntry],
    look: impl FnOnce(&Path) -> Vec<String>,
) -> (bool, Vec<String>) {
    let inject = format!("inject={}:{}:when={}", fault.call, fault.what, fault.number);
    let trace = format!("trace={}", fault.call);
    let flags = ["-o", "/dev/null", "-e", &trace, "-e", &inject];
    let first = run(traced(&command(root, words), &flags), Input::Nothing);
    let mut report = wrong(root, names);
    if !fault.what.starts_with("signal") && !matches!(first.code, Some(0 | 1)) {
        report.push(format!("{:?} {}", first.code, first.stderr));
    }
    report.extend(look(root));
    // Who writes next finishes it or takes it back; then there is nothing to do, or all of it.
    let second = run(command(root, words), Input::Nothing);
    let is_gone = second.stderr.lines().all(|line| line.contains("No such image"));
    if second.code != Some(0) && !(second.code == Some(1) && is_gone) {
        report.push(format!("the second run: {:?} {}", second.code, second.stderr));
    }
    report.extend(wrong(root, names));
    report.extend(tree_changes(expected, &tree(root)));
    (first.code.is_none(), report)
}

fn faults(rounds: u64, look: impl Fn(&Path) -> Vec<String>) {
    let dir = testkit::scratch();
    let original = dir.path().join("original");
    GOLDENS.iter().for_each(|name| drop(import(&golden(name), &original)));
    let mut random = Random::new(23);
    let (mut report, mut killed) = (Vec::new(), 0);
    for round in 0..rounds {
        let (words, names) = COMMANDS[usize::try_from(round).unwrap() % COMMANDS.len()];
        let call = ["unlinkat", "renameat", "fsync", "unlinkat"][usize::try_from(random.below(4)).unwrap()];
        let what = if round % 3 < 2 { "signal=SIGKILL" } else { "error=EIO" };
        let calls = count(&original, &dir.path().join("trial"), words, call);
        let fault = Fault { call, what, number: 1 + random.below(calls.max(1)) };
        let (whole, root) = (dir.path().join("whole"), dir.path().join("root"));
        copy(&original, &whole);
        assert_eq!(run(command(&whole, words), Input::Nothing).code, Some(0));
        copy(&original, &root);
        let (is_killed, found) = survive(&root, (words, names), &fault, &tree(&whole), &look);
        killed += u64::from(is_killed);
        let title = format!("{words:?}, {what} at {call} {} of {calls}", fault.number);
        report.extend(found.into_iter().map(|line| format!("{title}: {line}")));
        std::fs::remove_dir_all(&whole).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
    }
    assert_none("after kills and failures", &report);
    assert!(killed * 3 > rounds, "{killed} killed of {rounds}");
}

#[test]
fn root_removals_that_are_killed_or_fail_are_finished_by_the_next_run() {
    if !testkit::is_root() || !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    faults(if testkit::full_sweep() { 200 } else { 20 }, |_| Vec::new());
}

/// A disk that is full from the beginning, or becomes so at the first blocks that are written: all is done, or nothing, and once there
/// is room the second run completes.
#[test]
fn root_a_full_disk_at_any_block_changes_nothing_by_halves() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let original = dir.path().join("original");
    GOLDENS.iter().for_each(|name| drop(import(&golden(name), &original)));
    let (mut report, mut refused) = (Vec::new(), 0);
    for (words, names) in COMMANDS {
        let whole = dir.path().join("whole");
        copy(&original, &whole);
        assert_eq!(run(command(&whole, words), Input::Nothing).code, Some(0));
        for blocks in [0, 1, 3] {
            let mounted = Mounted::tmpfs("size=16m");
            let root = mounted.path().join("root");
            copy(&original, &root);
            mounted.fill(blocks * 4096);
            let ran = run(command(&root, words), Input::Nothing);
            let full = ran.code == Some(1) && ran.stderr.contains("No space left on device");
            let expected = if full { &original } else { &whole };
            let mut found = wrong(&root, names);
            found.extend(tree_changes(&tree(expected), &tree(&root)));
            if !full && ran.code != Some(0) {
                found.push(format!("{:?} {}", ran.code, ran.stderr));
            }
            refused += u32::from(full);
            mounted.empty();
            if full {
                let again = run(command(&root, words), Input::Nothing);
                if again.code != Some(0) {
                    found.push(format!("the second run: {:?} {}", again.code, again.stderr));
                }
                found.extend(tree_changes(&tree(&whole), &tree(&root)));
            }
            report.extend(found.into_iter().map(|line| format!("{words:?}, {blocks} blocks: {line}")));
        }
        std::fs::remove_dir_all(&whole).unwrap();
    }
    assert_none("on a full disk", &report);
    assert!(refused >= 4, "{refused}");
}

/// A dockerd may come before our next run.
#[test]
fn docker_starts_where_a_removal_was_killed() {
    let Some(_turn) = testkit::docker() else { return };
    if !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    faults(if testkit::full_sweep() { 50 } else { 5 }, |root| {
        let daemon = Dockerd::start(root);
        let listed = daemon.images();
        let there = StoreFiles::read(root).images;
        let mut wrong: Vec<String> = there
            .keys()
            .filter(|id| !listed.iter().any(|one| one.contains(*id)))
            .map(|id| format!("dockerd does not show {id}"))
            .collect();
        wrong.extend(daemon.errors());
        daemon.stop();
        wrong
    });
}
