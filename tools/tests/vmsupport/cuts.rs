//! The machine's power is cut at any moment: what was acknowledged is there afterwards, and nothing is damaged.
//!
//! Each start of the machine first mends and checks what the last cut has left, and then works until the next one. The host
//! reads from the serial line what was begun and what was acknowledged, and tells the next start.

#![allow(clippy::print_stdout, reason = "the host reads what the machine prints")]

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use super::{BUSYBOX, check, import_file, layerfs, run};

/// How often the power is cut.
const CUTS: usize = 40;

/// Printed before the first command of a start.
const READY: &str = "@@ ready";
/// Printed before and after a command: what it does, and with which image.
const BEGIN: &str = "@@ begin ";
const DONE: &str = "@@ done ";

/// The word of the kernel's command line that begins so, without that beginning.
fn told(key: &str) -> String {
    let line = std::fs::read_to_string("/proc/cmdline").unwrap();
    let word = line.split_whitespace().find_map(|word| word.strip_prefix(&format!("layerfs.{key}="))?.into());
    word.map(str::to_owned).unwrap_or_default()
}

/// Images by their numbers.
fn numbers(text: &str) -> BTreeSet<usize> {
    text.split(',').filter(|number| !number.is_empty()).map(|number| number.parse().unwrap()).collect()
}

/// What the host knows.
#[derive(Debug, Default)]
struct History {
    /// Images that must be there.
    there: BTreeSet<usize>,
    /// Images that were being made or removed when the power was cut.
    perhaps: BTreeSet<usize>,
    last: usize,
}

impl History {
    /// Adds what one start has printed.
    fn add(&mut self, output: &str) {
        // What was uncertain before was settled by the check at the beginning, which says so.
        if let Some(found) = output.lines().find_map(|line| line.strip_prefix("@@ found ")) {
            self.there = numbers(found.trim());
            self.perhaps.clear();
        }
        for line in output.lines() {
            let (word, is_done) = match (line.strip_prefix(BEGIN), line.strip_prefix(DONE)) {
                (Some(rest), _) => (rest, false),
                (_, Some(rest)) => (rest, true),
                _ => continue,
            };
            // A line that was cut off says nothing.
            let Some((what, Ok(number))) = word.trim().split_once(' ').map(|(what, number)| (what, number.parse()))
            else {
                continue;
            };
            self.last = self.last.max(number);
            if !is_done {
                self.there.remove(&number);
                self.perhaps.insert(number);
            } else {
                self.perhaps.remove(&number);
                if what == "import" {
                    self.there.insert(number);
                }
            }
        }
    }

    fn arguments(&self, works: bool) -> String {
        let list = |numbers: &BTreeSet<usize>| numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        format!(
            "layerfs.there={} layerfs.perhaps={} layerfs.last={} layerfs.works={works}",
            list(&self.there),
            list(&self.perhaps),
            self.last
        )
    }
}

#[test]
fn vm_a_power_cut_loses_nothing() {
    if !testkit::full_sweep() {
        return;
    }
    let Some(_turn) = testkit::vm::vm() else { return };
    let machine = testkit::vm::Machine::new(768, 2, &["mkfs.ext4", "thin_check"])
        .program(&testkit::program("layerfs"))
        .program(&testkit::program("image-gc"))
        .file(&testkit::golden("busybox-20.10.tar"), "/t/busybox-20.10.tar")
        .ready("within_a_machine_whose_power_is_cut");
    let mut history = History::default();
    let mut random = testkit::Random::new(20_261_130);
    for _ in 0..CUTS {
        // A start takes some seconds to mend and to check, and each change about one.
        let after = Duration::from_millis(random.below(20_000));
        let output = machine.cut(&history.arguments(true), READY, after, Duration::from_secs(120));
        assert!(!output.contains("panicked at"), "{output}");
        eprintln!("cut {after:?} after the start: {} lines, image {}", output.lines().count(), history.last);
        history.add(&output);
    }
    machine.boot(&history.arguments(false), Duration::from_secs(240));
}

fn name(number: usize) -> String {
    format!("image{number}:1")
}

fn step(what: &str, number: usize, work: impl FnOnce()) {
    println!("{BEGIN}{what} {number}");
    work();
    println!("{DONE}{what} {number}");
}

/// The numbers of the images that are there.
fn listed(root: &Path) -> BTreeSet<usize> {
    let listed = layerfs(root, &["image", "ls", "--format", "{{.Repository}}"]);
    listed.lines().filter_map(|name| name.strip_prefix("image")).map(|number| number.parse().unwrap()).collect()
}

#[test]
#[ignore = "runs in the virtual machine"]
fn within_a_machine_whose_power_is_cut() {
    println!("{READY}");
    let root = Path::new("/d/docker");
    let options = ["--storage-opt", "dm.basesize=64M", "--storage-opt", "dm.fs=ext4"];
    let size = |number: usize| 1000 + number * 10;
    let is_new = !root.join("devicemapper/metadata/base").exists();
    if !is_new {
        let metadata = root.join("devicemapper/devicemapper/metadata");
        let checked = std::process::Command::new("thin_check").arg(&metadata).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
    // The first writer mends; then nothing may be left that nobody owns.
    let sizes = ["--storage-opt", "dm.loopdatasize=2G", "--storage-opt", "dm.loopmetadatasize=16M"];
    let load = ["image", "load", "-q", "--storage-driver", "devicemapper", "-i", "/t/busybox-20.10.tar"];
    layerfs(root, &[&options[..], &sizes[..], &load[..]].concat());
    testkit::succeeded("image-gc", run("image-gc", root, &["--apply"]));
    let found = listed(root);
    let (there, perhaps) = (numbers(&told("there")), numbers(&told("perhaps")));
    assert!(found.is_superset(&there), "{found:?} {there:?}");
    assert!(found.difference(&there).all(|number| perhaps.contains(number)), "{found:?} {there:?} {perhaps:?}");
    for number in &found {
        let content = layerfs(root, &["image", "cat", &name(*number), "/file"]);
        assert!(content.len() == size(*number) && content.bytes().all(|byte| byte == b'x'), "{number}");
    }
    check(root);
    let report: serde_json::Value = serde_json::from_str(&layerfs(root, &["system", "pool", "--json"])).unwrap();
    let unnamed =
        report["devices"].as_array().unwrap().iter().filter(|device| device["files"].as_array().unwrap().is_empty());
    println!("@@ devices without a file: {}", unnamed.count());
    println!("@@ found {}", found.iter().map(usize::to_string).collect::<Vec<_>>().join(","));
    if told("works") != "true" {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut last: usize = told("last").parse().unwrap();
    loop {
        last += 1;
        step("import", last, || {
            testkit::succeeded("import", import_file(root, dir.path(), size(last), &name(last)));
        });
        let container = layerfs(root, &["container", "create", "--network", "none", BUSYBOX, "true"]);
        layerfs(root, &["container", "rm", container.trim()]);
        if let Some(old) = listed(root).first().copied().filter(|old| *old + 2 <= last) {
            step("remove", old, || drop(layerfs(root, &["image", "rm", &name(old)])));
        }
    }
}
