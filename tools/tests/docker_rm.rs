//! `image rm`, `image tag` and `image prune` against a real dockerd on copies of one store: the same lines, the same exit status,
//! and in the end the same files.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod rmsupport;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use rmsupport::{GROUPS, Group, RmStore};
use testkit::dockerd::Dockerd;
use testkit::tree::walk;

/// How many stores are worked on at once: most of the time daemons are waited for.
const WORKERS: usize = 3;

fn run(mut command: Command, input: Option<&str>) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Most commands do not read it, and may have ended.
    let _ = writeln!(stdin, "{}", input.unwrap_or_default());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// What a program said, without what only one of them has: the program's own name, and who of docker's two it was.
fn said(output: &Output, sorted: bool) -> (Option<i32>, Vec<String>, Vec<String>) {
    let lines = |bytes: &[u8]| -> Vec<String> { String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect() };
    let (mut stdout, stderr) = (lines(&output.stdout), lines(&output.stderr));
    if sorted {
        stdout.sort();
    }
    let plain = |line: String| {
        let line = line.strip_prefix("layerfs: ").unwrap_or(&line);
        let line = line.strip_prefix("Error response from daemon: ").unwrap_or(line);
        line.strip_prefix("Error: ").unwrap_or(line).to_owned()
    };
    (output.status.code(), stdout, stderr.into_iter().map(plain).collect())
}

/// Every file of the image store and the layers' home that stays the same in two stores with the same images: the same
/// mode, owner, link, attributes and content. When an image was tagged is another moment in each.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for top in ["image", "overlay2"] {
        for mut entry in walk(&root.join(top)) {
            let path = format!("{top}/{}", entry.path.escape_ascii());
            if path.ends_with("/lastUpdated") {
                let time = String::from_utf8(entry.data.take().unwrap_or_default()).unwrap();
                assert!(time.parse::<jiff::Timestamp>().is_ok() && time.contains('T'), "{path}: {time:?}");
                entry.size = 0;
            }
            let (mode, owner, target) = (entry.mode, entry.owner, entry.target);
            let line = format!(
                "{} {mode:o} {owner:?} {target:?} {} {:?} {:?}",
                entry.kind, entry.size, entry.xattrs, entry.data
            );
            files.insert(path, line);
        }
    }
    files
}

fn differences(dockers: &Path, ours: &Path) -> Vec<String> {
    let (dockers, ours) = (files(dockers), files(ours));
    let mut lines = Vec::new();
    for (path, line) in &dockers {
        match ours.get(path) {
            None => lines.push(format!("docker alone has {path}")),
            Some(other) if other != line => lines.push(format!("{path}: docker {line:.200}, layerfs {other:.200}")),
            Some(_) => {}
        }
    }
    lines.extend(
        ours.keys().filter(|path| !dockers.contains_key(*path)).map(|path| format!("layerfs alone has {path}")),
    );
    lines
}

/// Runs a group on two copies; what differs.
fn compare(store: &RmStore, number: usize, group: Group) -> Vec<String> {
    let (dockers, ours) = (store.copy(&format!("docker-{number}")), store.copy(&format!("layerfs-{number}")));
    let mut report = Vec::new();
    let daemon = Dockerd::start(&dockers);
    for text in group {
        let (command, input) = text.split_once(" < ").map_or((*text, None), |(command, input)| (command, Some(input)));
        let words: Vec<String> = command.split(' ').map(|word| store.word(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let expected = said(&run(daemon.client(&words), input), text.contains("prune"));
        let mut layerfs = Command::new(testkit::program("layerfs"));
        layerfs.arg("--root").arg(&ours).args(&words);
        let found = said(&run(layerfs, input), text.contains("prune"));
        if found != expected {
            report.push(format!("{text}:\n  docker  {expected:?}\n  layerfs {found:?}"));
        }
    }
    let images = |daemon: &Dockerd| {
        daemon.ok(&[
            "images",
            "-a",
            "--no-trunc",
            "--digests",
            "--format",
            "{{.ID}} {{.Repository}} {{.Tag}} {{.Digest}}",
        ])
    };
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = sorted(images(&daemon));
    daemon.stop();
    // What a daemon does at its start and end, it does on both.
    let daemon = Dockerd::start(&ours);
    let found = sorted(images(&daemon));
    daemon.stop();
    if found != expected {
        report.push(format!("images:\n  docker  {expected:?}\n  layerfs {found:?}"));
    }
    report.extend(differences(&dockers, &ours));
    for root in [dockers, ours] {
        std::fs::remove_dir_all(root).unwrap();
    }
    report.into_iter().map(|line| format!("group {number}: {line}")).collect()
}

/// An image of a container that runs, with docker and with us: what is said and what is left, the container's id aside.
#[test]
fn docker_and_layerfs_keep_what_runs() {
    const COMMANDS: [&[&str]; 7] = [
        &["rmi", "app:2"],
        &["rmi", "-f", "{app:2/12}"],
        &["rmi", "{app:2/12}"],
        &["image", "prune", "-a", "-f", "--filter", "label!=step"],
        &["rmi", "-f", "app:2"],
        &["rmi", "-f", "{app:2/12}"],
        &["image", "prune", "-f", "--filter", "label!=step"],
    ];
    let Some(_turn) = testkit::docker() else { return };
    let store = RmStore::make();
    let (dockers, ours) = (store.copy("docker-runs"), store.copy("layerfs-runs"));
    let layerfs = |words: &[&str]| {
        let mut command = Command::new(testkit::program("layerfs"));
        command.arg("--root").arg(&ours).args(words);
        command
    };
    let start = ["run", "-d", "--network", "none", "--name", "live", "app:2", "/bin/busybox", "sleep", "600"];
    let daemon = Dockerd::start(&dockers);
    let theirs = daemon.ok(&start).trim().to_owned();
    let started = run(layerfs(&start), None);
    assert!(started.status.success(), "{started:?}");
    let own = String::from_utf8(started.stdout).unwrap().trim().to_owned();
    let mut report = Vec::new();
    for words in COMMANDS {
        let words: Vec<String> = words.iter().map(|word| store.word(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let same = |output: &Output, id: &str| {
            let (code, stdout, stderr) = said(output, true);
            let plain = |line: String| line.replace(&id[..12], "CONTAINER");
            (code, stdout, stderr.into_iter().map(plain).collect::<Vec<_>>())
        };
        let expected = same(&run(daemon.client(&words), None), &theirs);
        let found = same(&run(layerfs(&words), None), &own);
        if found != expected {
            report.push(format!("{words:?}:\n  docker  {expected:?}\n  layerfs {found:?}"));
        }
    }
    daemon.ok(&["rm", "-f", "live"]);
    assert!(run(layerfs(&["rm", "-f", "live"]), None).status.success());
    daemon.stop();
    let daemon = Dockerd::start(&ours);
    daemon.stop();
    report.extend(differences(&dockers, &ours));
    testkit::assert_none("while a container runs", &report);
}

#[test]
fn docker_and_layerfs_remove_the_same() {
    let Some(_turn) = testkit::docker() else { return };
    let commands: usize = GROUPS.iter().map(|group| group.len()).sum();
    assert!(commands >= 60, "{commands}");
    let store = RmStore::make();
    let next = AtomicUsize::new(0);
    let work = || {
        let take = || Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < GROUPS.len());
        std::iter::from_fn(take).flat_map(|number| compare(&store, number, GROUPS[number])).collect::<Vec<String>>()
    };
    let report: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    testkit::assert_none("after the same commands", &report);
}
