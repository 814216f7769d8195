//! An import, a tag and an rm of which one system call fails, or which are killed before one: the store is then as before or
//! complete, without leftovers; what was killed, the next command that writes puts right.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use testkit::run::{Input, Ran, layer_unpack, layerfs, run};
use testkit::store::Store;
use testkit::{Random, Snapshot, kill, synthetic};

/// Calls that open, read, change, or make durable what is in a store.
const CALLS: &[&str] = &[
    "openat",
    "mkdirat",
    "renameat",
    "unlinkat",
    "symlinkat",
    "linkat",
    "fsync",
    "syncfs",
    "fchmod",
    "write",
    "read",
    "getdents64",
    "readlinkat",
    "newfstatat",
    "fstat",
    "statx",
    "flock",
    "ftruncate",
    "fcntl",
];

/// Names change, appear and go by these calls alone.
const CHANGES: &[&str] = &["renameat", "unlinkat", "mkdirat", "symlinkat", "fsync", "syncfs"];

const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EMFILE", "EINTR"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Deed {
    /// Of an image whose name another image has.
    Import,
    /// With a name that another image has.
    Tag,
    /// Of an image with four layers.
    Remove,
}

const DEEDS: [Deed; 3] = [Deed::Import, Deed::Tag, Deed::Remove];

const BUSYBOX: &str = "layerfs-test/busybox:1";
const MOVED: &str = "moved:1";

impl Deed {
    fn command(self, archive: &Path, root: &Path) -> Command {
        let root = root.to_str().unwrap();
        match self {
            Self::Import => layer_unpack(&[archive.to_str().unwrap(), "--root", root, "--threads", "1"]),
            Self::Tag => layerfs(&["image", "tag", "--root", root, synthetic::TAG, MOVED]),
            Self::Remove => layerfs(&["image", "rm", "--root", root, synthetic::TAG]),
        }
    }
}

/// What is in a root: names, and every file's mode and owner, with lasting names for random ones.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    tags: BTreeMap<String, String>,
    references: Vec<u8>,
    outline: Vec<String>,
    leftovers: Vec<String>,
}

impl State {
    fn read(root: &Path) -> Self {
        let store = Store::read(root);
        let leftovers = [store.wrong.clone(), store.unreferenced()].concat();
        let references = std::fs::read(root.join("image/overlay2/repositories.json")).unwrap();
        Self { outline: store.outline(), tags: store.tags, references, leftovers }
    }
}

/// A deed on copies of one root.
struct Bench {
    dir: TempDir,
    archive: PathBuf,
    deed: Deed,
    before: State,
    complete: State,
    exactly: Snapshot,
}

impl Bench {
    fn new(deed: Deed) -> Self {
        let dir = testkit::scratch();
        let archive = dir.path().join("archive.tar");
        std::fs::write(&archive, synthetic::archive(1 << 20, 6)).unwrap();
        let original = dir.path().join("original");
        let busybox = testkit::golden("busybox-20.10.tar");
        run(layer_unpack(&[busybox.as_os_str(), "--root".as_ref(), original.as_os_str()]), Input::Nothing).ok();
        let tag = |name: &str| {
            let arguments = ["image", "tag", "--root", original.to_str().unwrap(), BUSYBOX, name];
            run(layerfs(&arguments), Input::Nothing).ok();
        };
        match deed {
            Deed::Import => tag(synthetic::TAG),
            Deed::Tag | Deed::Remove => {
                run(Deed::Import.command(&archive, &original), Input::Nothing).ok();
                tag(MOVED);
            }
        }
        let before = State::read(&original);
        let exactly = Snapshot::of(&original).without_directory_times();
        let mut bench = Self { dir, archive, deed, complete: before.clone(), before, exactly };
        let root = bench.copy();
        run(deed.command(&bench.archive, &root), Input::Nothing).ok();
        bench.complete = State::read(&root);
        assert!(bench.before.leftovers.is_empty() && bench.complete.leftovers.is_empty(), "{:?}", bench.complete);
        assert_ne!(bench.before, bench.complete);
        bench
    }

    fn copy(&self) -> PathBuf {
        let root = self.dir.path().join("root");
        let _ = std::fs::remove_dir_all(&root);
        let copied = Command::new("cp").arg("-a").arg(self.dir.path().join("original")).arg(&root).status();
        assert!(copied.unwrap().success());
        root
    }

    /// How often the deed makes each call.
    fn calls(&self, calls: &[&'static str]) -> Vec<(&'static str, u32)> {
        let (root, log) = (self.copy(), self.dir.path().join("log"));
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", log.to_str().unwrap(), "-e", &format!("trace={}", calls.join(","))]);
        let command = self.deed.command(&self.archive, &root);
        strace.arg(command.get_program()).args(command.get_args());
        run(strace, Input::Nothing).ok();
        let log = std::fs::read_to_string(log).unwrap();
        let count = |call: &str| log.lines().filter(|line| line.contains(&format!(" {call}("))).count();
        calls.iter().map(|call| (*call, u32::try_from(count(call)).unwrap())).collect()
    }

    /// The deed, with something injected in place of the call.
    fn faulty(&self, root: &Path, call: &str, number: u32, what: &str) -> Ran {
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
        strace.args(["-e", &format!("inject={call}:{what}:when={number}")]);
        let command = self.deed.command(&self.archive, root);
        strace.arg(command.get_program()).args(command.get_args());
        run(strace, Input::Nothing)
    }

    /// What is wrong after a call that failed.
    fn fail(&self, call: &str, number: u32, error: &str) -> Option<String> {
        let root = self.copy();
        let ran = self.faulty(&root, call, number, &format!("error={error}"));
        let now = State::read(&root);
        let title = format!("{:?}, {call} {number} fails with {error}", self.deed);
        let wrong = match (ran.code, now == self.before, now == self.complete) {
            (Some(0), _, true) => None,
            (Some(code), true, _) if code != 0 => {
                let mut changes = self.exactly.changes(&Snapshot::of(&root).without_directory_times());
                // The old names were put back, byte for byte, into a new file.
                changes.retain(|line| !line.contains(" image/overlay2/repositories.json "));
                (!changes.is_empty()).then(|| format!("not as before: {changes:?}"))
            }
            (Some(code), _, true) if code != 0 => None,
            _ => Some(format!("neither as before nor complete: {:?} {:?}", now.tags, now.leftovers)),
        };
        wrong.map(|wrong| format!("{title}: {wrong}; exit status {:?}: {}", ran.code, ran.stderr.trim_end()))
    }

    /// What is wrong after a kill, and after the command that comes next.
    fn kill(&self, call: &str, number: u32) -> Vec<String> {
        let root = self.copy();
        let ran = self.faulty(&root, call, number, "signal=SIGKILL");
        let mut report = Vec::new();
        let store = Store::read(&root);
        // What a dockerd that starts now would trip over.
        report.extend(store.wrong);
        // Any command that writes, which changes nothing itself.
        let arguments = ["image", "rm", "--root", root.to_str().unwrap(), "nosuch"];
        assert_eq!(run(layerfs(&arguments), Input::Nothing).code, Some(1));
        let now = State::read(&root);
        if now != self.before && now != self.complete {
            report.push(format!("not put right: {:?} {:?}", now.tags, now.leftovers));
        }
        if ran.code == Some(0) && now != self.complete {
            report.push("finished, and not complete".into());
        }
        report.into_iter().map(|line| format!("{:?}, killed before {call} {number}: {line}", self.deed)).collect()
    }
}

fn can_run() -> bool {
    testkit::is_root() && testkit::tier("root", kill::can_count_calls(), "install strace")
}

#[test]
fn root_is_as_before_or_complete_when_a_call_fails() {
    if !can_run() {
        return;
    }
    let mut report = Vec::new();
    for (seed, deed) in (1..).zip(DEEDS) {
        let bench = Bench::new(deed);
        let mut faults: Vec<(&str, u32, &str)> = bench
            .calls(CALLS)
            .into_iter()
            .flat_map(|(call, count)| (1..=count).flat_map(move |number| ERRORS.map(|error| (call, number, error))))
            .collect();
        let all = faults.len();
        if !testkit::full_sweep() {
            let mut random = Random::new(seed);
            faults = (0..40).map(|_| faults[random.below(all as u64) as usize]).collect();
            // Those around the commit point are always among them.
            faults.extend(bench.calls(CHANGES).into_iter().flat_map(|(call, count)| {
                (1..=count).rev().take(4).zip(ERRORS).map(move |(number, error)| (call, number, error))
            }));
        }
        report.extend(faults.iter().filter_map(|(call, number, error)| bench.fail(call, *number, error)));
        eprintln!("{deed:?}: {} of {all} failing calls", faults.len());
    }
    testkit::assert_none("after failing calls", &report);
}

#[test]
fn root_is_put_right_after_a_kill_at_each_call() {
    if !can_run() {
        return;
    }
    let mut report = Vec::new();
    for deed in [Deed::Tag, Deed::Remove] {
        let bench = Bench::new(deed);
        for (call, count) in bench.calls(CHANGES) {
            report.extend((1..=count).flat_map(|number| bench.kill(call, number)));
        }
    }
    testkit::assert_none("after kills", &report);
}
