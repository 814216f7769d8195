//! What `image-gc` moves away comes back byte for byte, also where it was killed on the way.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::cases::TreeEntry;
use testkit::littered::Littered;
use testkit::mounts::Mounted;
use testkit::run::{Input, Ran, layerfs, run};
use testkit::tree::walk;
use testkit::{Random, assert_none, golden, kill, program, tree_changes};

const ALL: [&str; 4] = ["--apply", "--all", "--min-age", "0s"];

fn gc(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("image-gc"));
    command.arg("--root").arg(root).args(arguments);
    command
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// All there is, but for the times of directories, and of the file of names, which is written again.
fn tree(root: &Path) -> Vec<TreeEntry> {
    let mut tree = walk(root);
    let is_written = |entry: &&mut TreeEntry| entry.kind == 'd' || entry.path.ends_with(b"/repositories.json");
    for entry in tree.iter_mut().filter(is_written) {
        entry.mtime = None;
    }
    tree
}

/// The quarantines there are.
fn quarantines(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn restore(root: &Path, dir: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    for quarantine in quarantines(dir) {
        let Ran { code, stderr, .. } = run(gc(root, &["--restore", text(&quarantine)]), Input::Nothing);
        if code != Some(0) || quarantine.exists() {
            wrong.push(format!("restore: {code:?} {stderr}"));
        }
    }
    wrong
}

#[test]
fn root_what_is_moved_away_comes_back() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let mut wrong = Vec::new();
    for seed in 0..if testkit::full_sweep() { 100 } else { 8 } {
        let (root, away) = (dir.path().join(format!("store-{seed}")), dir.path().join(format!("away-{seed}")));
        let mut store = Littered::new(&root, seed);
        store.settle(true);
        let before = tree(&root);
        let ran = run(gc(&root, &[&ALL[..], &["--quarantine", text(&away)]].concat()), Input::Nothing);
        if ran.code != Some(0) {
            wrong.push(format!("store {seed}: {:?} {}", ran.code, ran.stderr));
        }
        wrong.extend(store.wrong().into_iter().map(|line| format!("store {seed}, moved: {line}")));
        wrong.extend(restore(&root, &away));
        wrong.extend(tree_changes(&before, &tree(&root)).into_iter().map(|line| format!("store {seed}: {line}")));
    }
    assert_none("quarantine and restore", &wrong);
}

#[test]
fn root_what_is_killed_on_the_way_is_moved_and_not_deleted() {
    if !testkit::is_root() || !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    let dir = testkit::scratch();
    let (mut wrong, mut random, mut killed) = (Vec::new(), Random::new(5), 0);
    let rounds = if testkit::full_sweep() { 100 } else { 14 };
    for round in 0..rounds {
        let (root, away) = (dir.path().join(format!("store-{round}")), dir.path().join(format!("away-{round}")));
        // The first rounds go through the renames from the trials of the quarantine to the commit, in a store in which the
        // removal of a layer was begun.
        let (seed, number) = if round < 7 { (26, 1 + round) } else { (round, 3 + random.below(25)) };
        Littered::new(&root, seed).settle(true);
        let before = tree(&root);
        let command = gc(&root, &[&ALL[..], &["--quarantine", text(&away)]].concat());
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat", "-e"]);
        strace.arg(format!("inject=renameat:signal=SIGKILL:when={number}"));
        strace.arg(command.get_program()).args(command.get_args());
        killed += u64::from(run(strace, Input::Nothing).code.is_none());
        // Whoever writes next finishes it, and knows of the quarantine only from the record.
        let next = run(layerfs(&["image", "rm", "--root", text(&root), "nosuch"]), Input::Nothing);
        let title = format!("store {round}, killed at {number}");
        if !next.stderr.contains("No such image") {
            wrong.push(format!("{title}: {:?} {}", next.code, next.stderr));
        }
        wrong.extend(restore(&root, &away).into_iter().map(|line| format!("{title}: {line}")));
        wrong.extend(tree_changes(&before, &tree(&root)).into_iter().map(|line| format!("{title}: {line}")));
        std::fs::remove_dir_all(&root).unwrap();
    }
    assert_none("killed on the way", &wrong);
    assert!(killed * 3 > rounds, "{killed} of {rounds} were killed");
}

#[test]
fn root_a_quarantine_is_where_things_can_be_moved_to() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let mut store = Littered::new(&root, 3);
    store.settle(true);
    let before = tree(&root);
    let other = Mounted::tmpfs("size=64m");
    let inside = root.join("overlay2/away");
    for (place, why) in [(other.path(), "must be on the file system"), (inside.as_path(), "cannot be in")] {
        let ran = run(gc(&root, &[&ALL[..], &["--quarantine", text(place)]].concat()), Input::Nothing);
        assert!(ran.code == Some(1) && ran.stderr.contains(why), "{ran:?}");
    }
    assert!(std::fs::read_dir(other.path()).unwrap().next().is_none());
    assert_none("refused", &tree_changes(&before, &tree(&root)));
    // Directly in the root there is often no other place.
    let away = root.join("kept");
    let ran = run(gc(&root, &[&ALL[..], &["--quarantine", text(&away)]].concat()), Input::Nothing);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_none("moved", &store.wrong());
    // Something has taken the place of one thing meanwhile.
    let taken = store.litter.iter().find(|path| path.starts_with("image/overlay2/layerdb/sha256")).unwrap();
    std::fs::create_dir(root.join(taken)).unwrap();
    let quarantine = quarantines(&away).pop().unwrap();
    let ran = run(gc(&root, &["--restore", text(&quarantine)]), Input::Nothing);
    assert!(ran.code == Some(1) && ran.stderr.contains("something else is there now"), "{ran:?}");
    assert!(quarantine.join(taken).exists());
    std::fs::remove_dir(root.join(taken)).unwrap();
    assert_none("restored", &restore(&root, &away));
    std::fs::remove_dir(&away).unwrap();
    assert_none("in the end", &tree_changes(&before, &tree(&root)));
}

#[test]
fn root_vfs_is_cleared_and_restored() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, away) = (dir.path().join("root"), dir.path().join("away"));
    std::fs::create_dir(&root).unwrap();
    let mut import = Command::new(program("layer-unpack"));
    import.arg(golden("shared-20.10.tar")).arg("--root").arg(&root).args(["--storage-driver", "vfs", "--no-sync"]);
    assert_eq!(run(import, Input::Nothing).code, Some(0));
    let orphan = root.join("vfs/dir").join("a".repeat(64));
    std::fs::create_dir_all(orphan.join("etc")).unwrap();
    std::fs::write(orphan.join("etc/file"), "content").unwrap();
    let before = tree(&root);
    for arguments in [&ALL[..], &[&ALL[..], &["--quarantine", text(&away)]].concat()].into_iter().rev() {
        let ran = run(gc(&root, arguments), Input::Nothing);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(std::fs::read_dir(root.join("vfs/dir")).unwrap().next().is_none(), "{}", ran.stdout);
        assert!(std::fs::read_dir(root.join("image/vfs/imagedb/content/sha256")).unwrap().next().is_none());
        if away.exists() && !quarantines(&away).is_empty() {
            assert_none("vfs", &restore(&root, &away));
            assert_none("vfs restored", &tree_changes(&before, &tree(&root)));
        }
    }
}
