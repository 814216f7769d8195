//! Containers whose own layers cannot be mounted: every listing names them, and dockerd indeed cannot start them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::dockerd::Dockerd;

/// What is done to the directories of a container: its writable layer's and its init layer's, in the driver's home.
type Break = fn(home: &Path, own: &str, init: &str);

const BREAKS: &[(&str, Break)] = &[
    ("nothing", |_, _, _| ()),
    ("diff", |home, own, _| fs::remove_dir_all(home.join(own).join("diff")).unwrap()),
    ("work", |home, own, _| fs::remove_dir_all(home.join(own).join("work")).unwrap()),
    ("all of it", |home, own, _| fs::remove_dir_all(home.join(own)).unwrap()),
    ("lower", |home, own, _| fs::remove_file(home.join(own).join("lower")).unwrap()),
    ("the init layer", |home, _, init| fs::remove_dir_all(home.join(init)).unwrap()),
    ("the init layer's link", |home, _, init| {
        let link = fs::read_to_string(home.join(init).join("link")).unwrap();
        fs::remove_file(home.join("l").join(link)).unwrap();
    }),
    ("a layer of lower", |home, own, _| {
        let lower = fs::read_to_string(home.join(own).join("lower")).unwrap();
        fs::write(home.join(own).join("lower"), lower.split_once(':').unwrap().1).unwrap();
    }),
];

/// Those that dockerd starts all the same: what a container sees then is not what it should.
const STARTS: &[&str] = &["nothing", "a layer of lower"];

#[test]
fn docker_names_containers_that_cannot_be_mounted() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let made = dir.path().join("made");
    fs::create_dir(&made).unwrap();
    let daemon = Dockerd::start(&made);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    let id = daemon.ok(&["create", "--name", "one", "--network", "none", "layerfs-test/busybox:1", "/bin/true"]);
    daemon.stop();
    let mount = made.join("image/overlay2/layerdb/mounts").join(id.trim());
    let [own, init] = ["mount-id", "init-id"].map(|file| fs::read_to_string(mount.join(file)).unwrap());
    let mut report = Vec::new();
    for (what, damage) in BREAKS {
        let root = dir.path().join("root");
        assert!(Command::new("cp").arg("-a").args([&made, &root]).status().unwrap().success());
        damage(&root.join("overlay2"), &own, &init);
        for listing in [&["container", "ls"][..], &["image", "ls"], &["system", "df"]] {
            let output =
                Command::new(testkit::program("layerfs")).arg("--root").arg(&root).args(listing).output().unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let lines =
                said.lines().filter(|line| line.contains("damaged container one: it cannot be mounted: ")).count();
            if !output.status.success() || lines != usize::from(*what != "nothing") || lines != said.lines().count() {
                report.push(format!("without {what}, {listing:?}: {said}"));
            }
        }
        if !STARTS.contains(what) {
            let output = testkit::layerfs_on(&root, &["container", "start", "one"]);
            let said = String::from_utf8_lossy(&output.stderr);
            let expected = format!("layerfs: container {} is damaged: it cannot be mounted: ", id.trim());
            if output.status.code() != Some(1) || !said.contains(&expected) {
                report.push(format!("without {what}, start: {:?} {said}", output.status));
            }
        }
        let daemon = Dockerd::start(&root);
        let started = daemon.docker(&["start", "one"]).status.success();
        if started != STARTS.contains(what) {
            report.push(format!("without {what}: started: {started}"));
        }
        daemon.stop();
        fs::remove_dir_all(&root).unwrap();
    }
    testkit::assert_none("writable layers", &report);
}
