//! `layer-unpack --bench` into data-roots and overlay directories, and stopped in the middle.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod faultsupport;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use faultsupport::run::{Input, finish, layer_unpack, run, start};
use faultsupport::{Random, Snapshot, synthetic};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const TARGETS: [&str; 3] = ["--root", "--layers", "--rootfs"];

/// How long a process may take to end, the time of taking things back included.
const SOON: Duration = Duration::from_secs(2);

/// What the benchmark makes in `to`, once there is something.
fn made(to: &Path) -> Option<PathBuf> {
    let entry = std::fs::read_dir(to).ok()?.next()?.ok()?;
    std::fs::read_dir(entry.path()).ok()?.next()?.ok().map(|run| run.path())
}

#[test]
fn root_every_target_is_measured_and_left_as_it_was() {
    if !faultsupport::is_root() {
        return;
    }
    let dir = faultsupport::scratch();
    let to = dir.path().join("to");
    std::fs::create_dir(&to).unwrap();
    let before = Snapshot::of(dir.path());
    let archive = faultsupport::golden("layers-20.10.tar");
    for target in TARGETS {
        let arguments = [archive.to_str().unwrap(), target, to.to_str().unwrap(), "--bench", "2", "--json"];
        let ran = run(layer_unpack(&arguments), Input::Nothing).ok();
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["target"], target.trim_start_matches('-'));
        assert_eq!(report["synced"], true);
        assert_eq!(report["runs"][0]["samples"].as_array().unwrap().len(), 2);
        assert!(report["entries"].as_u64().unwrap() > 0);
        assert_eq!(before.changes(&Snapshot::of(dir.path())), [""; 0], "{target}");
    }
}

#[test]
fn root_a_signal_in_the_middle_leaves_nothing() {
    if !faultsupport::is_root() {
        return;
    }
    let dir = faultsupport::scratch();
    let archive = dir.path().join("archive.tar");
    std::fs::write(&archive, synthetic::archive(24 << 20, 1500)).unwrap();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let mut random = Random::new(7);
    let mut report = Vec::new();
    for target in TARGETS {
        for (signal, to) in
            [(Signal::INT, &empty), (Signal::TERM, &dir.path().join("new/directory")), (Signal::HUP, &empty)]
        {
            let before = Snapshot::of(dir.path()).without_directory_times();
            let arguments =
                [archive.to_str().unwrap(), target, to.to_str().unwrap(), "--bench", "1000", "--threads", "1,2"];
            let started = Instant::now();
            let child = start(layer_unpack(&arguments), Input::Nothing);
            while made(to).is_none() {
                assert!(started.elapsed() < Duration::from_secs(30), "nothing is made");
                std::thread::sleep(Duration::from_millis(1));
            }
            // In the first run, between two, or in a later one.
            std::thread::sleep(Duration::from_millis(random.below(400)));
            kill_process(Pid::from_child(&child), signal).unwrap();
            let asked = Instant::now();
            let ran = finish(child, started);
            let took = asked.elapsed();
            let changes = before.changes(&Snapshot::of(dir.path()).without_directory_times());
            report.extend(changes.into_iter().map(|change| format!("{target} {signal:?}: {change}")));
            if ran.code != Some(130) || !ran.stderr.ends_with(": interrupted, nothing was changed\n") || took > SOON {
                report.push(format!("{target} {signal:?} {took:?}: {ran:?}"));
            }
        }
    }
    faultsupport::assert_none("signals", &report);
}
