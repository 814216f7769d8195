//! `layer-unpack --bench` into data-roots and overlay directories, and stopped in the middle.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::image::DockerArchive;
use testkit::run::{Input, finish, layer_unpack, run, start, until};
use testkit::user::{self, User};
use testkit::{Random, TreeState, synthetic, tarfile};

const TARGETS: [&str; 3] = ["--root", "--layers", "--rootfs"];

/// How long a process may take to end, the time of taking things back included.
const SOON: Duration = Duration::from_secs(20);

/// What the benchmark makes in `to`, once there is something.
fn made(to: &Path) -> Option<PathBuf> {
    let entry = std::fs::read_dir(to).ok()?.next()?.ok()?;
    std::fs::read_dir(entry.path()).ok()?.next()?.ok().map(|run| run.path())
}

#[test]
fn root_every_target_is_measured_and_left_as_it_was() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let to = dir.path().join("to");
    std::fs::create_dir(&to).unwrap();
    let before = TreeState::read(dir.path());
    let archive = testkit::golden("layers-20.10.tar");
    for target in TARGETS {
        let arguments = [archive.to_str().unwrap(), target, to.to_str().unwrap(), "--bench", "2", "--json"];
        let ran = run(layer_unpack(&arguments), Input::Nothing).ok();
        let report: Value = serde_json::from_str(&ran.stdout).unwrap();
        assert_eq!(report["target"], target.trim_start_matches('-'));
        assert_eq!(report["synced"], true);
        assert_eq!(report["runs"][0]["samples"].as_array().unwrap().len(), 2);
        assert!(report["entries"].as_u64().unwrap() > 0);
        assert_eq!(before.changes(&TreeState::read(dir.path())), [""; 0], "{target}");
    }
}

#[test]
fn root_a_signal_in_the_middle_leaves_nothing() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
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
            let before = TreeState::read(dir.path()).without_directory_times();
            let arguments =
                [archive.to_str().unwrap(), target, to.to_str().unwrap(), "--bench", "1000", "--threads", "1,2"];
            let started = Instant::now();
            let child = start(layer_unpack(&arguments), Input::Nothing);
            assert!(until(|| made(to).is_some()), "nothing is made");
            // In the first run, between two, or in a later one.
            std::thread::sleep(Duration::from_millis(random.below(400)));
            kill_process(Pid::from_child(&child), signal).unwrap();
            let asked = Instant::now();
            let ran = finish(child, started);
            let took = asked.elapsed();
            let changes = before.changes(&TreeState::read(dir.path()).without_directory_times());
            report.extend(changes.into_iter().map(|change| format!("{target} {signal:?}: {change}")));
            if ran.code != Some(130) || !ran.stderr.ends_with(": interrupted, nothing was changed\n") || took > SOON {
                report.push(format!("{target} {signal:?} {took:?}: {ran:?}"));
            }
        }
    }
    testkit::assert_none("signals", &report);
}

/// Directories that deny their own user make what is in them no less removable.
#[test]
fn root_a_user_can_measure_too() {
    let need = "install passwd, util-linux and uidmap";
    if !testkit::is_root() || !testkit::tier("root", user::available(), need) {
        return;
    }
    let user = User::new(true);
    let members = [
        tarfile::dir("closed/").mode(0),
        tarfile::file("closed/f", "f").mode(0),
        tarfile::dir("fixed/").mode(0o555),
        tarfile::dir("fixed/sub/").mode(0o555),
        tarfile::dir("fixed/sub/sub/"),
        tarfile::dir("seen/").mode(0o400),
        tarfile::file("seen/f", "f"),
        tarfile::dir("seen/sub/"),
    ];
    let archive = user.at("archive.tar");
    std::fs::write(&archive, DockerArchive::new("layerfs-test/user:1", &[tarfile::tar(&members)]).build()).unwrap();
    let before = TreeState::read(user.home()).without_directory_times();
    let mut report = Vec::new();
    for (target, more) in [("--rootfs", None), ("--layers", Some("--rootless")), ("--root", Some("--rootless"))] {
        let arguments = [archive.to_str().unwrap(), target, "new/directory", "--bench", "2", "--json"];
        let ran = run(user.tool("layer-unpack", &[&arguments[..], more.as_slice()].concat()), Input::Nothing);
        let entries = serde_json::from_str::<Value>(&ran.stdout).ok().and_then(|found| found["entries"].as_u64());
        if ran.code != Some(0) || entries != Some(members.len() as u64) {
            report.push(format!("{target}: {ran:?}"));
        }
        report.extend(before.changes(&TreeState::read(user.home()).without_directory_times()));
    }
    testkit::assert_none("a user's benchmark", &report);
}
