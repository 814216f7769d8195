//! What layerfs writes of containerd's store, judged by Docker 28.5: it starts on it, and finds the images that it would have
//! loaded itself, by their ids; it runs them, builds on them, saves them, and removes them without a rest.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD};
use testkit::fault_registry::{FaultRegistry, Served};
use testkit::image::pack;
use testkit::run::until;
use testkit::{layerfs_on, store, synthetic};

const DAEMON: &str = "containerd/daemon";

fn load(root: &Path, archive: &Path) -> String {
    let loaded = layerfs_on(root, &["--store", "containerd", "image", "load", "-q", "-i", archive.to_str().unwrap()]);
    assert!(loaded.status.success(), "{}: {}", archive.display(), String::from_utf8_lossy(&loaded.stderr));
    String::from_utf8(loaded.stdout).unwrap()
}

/// Names, ids and sizes of all images, sorted.
fn listed(daemon: &Dockerd) -> Vec<String> {
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let mut lines: Vec<String> =
        daemon.ok(&["images", "--no-trunc", "--format", format]).lines().map(str::to_owned).collect();
    lines.sort();
    // docker lists an image twice that has a name and a record that says it has none.
    lines.dedup();
    lines
}

/// The digests that `docker save` of all images has in its index.
fn saved(daemon: &Dockerd, dir: &Path) -> Vec<String> {
    let path = dir.join("saved.tar");
    let names: Vec<String> = listed(daemon).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    let mut words = vec!["save", "-o", path.to_str().unwrap()];
    words.extend(names.iter().map(String::as_str).filter(|name| *name != "<none>:<none>"));
    daemon.ok(&words);
    let unpacked = dir.join("saved");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = std::process::Command::new("tar").arg("-xf").arg(&path).arg("-C").arg(&unpacked).status().unwrap();
    assert!(tar.success());
    let index: Value = serde_json::from_slice(&std::fs::read(unpacked.join("index.json")).unwrap()).unwrap();
    let digest = |descriptor: &Value| descriptor["digest"].as_str().unwrap().to_owned();
    let digests = index["manifests"].as_array().unwrap().iter().map(digest).collect();
    // Each blob is what its name says.
    for name in store::names(&unpacked.join("blobs/sha256")) {
        let bytes = std::fs::read(unpacked.join("blobs/sha256").join(&name)).unwrap();
        assert_eq!(layerfs::Digest::hash(&bytes).hex(), name);
    }
    std::fs::remove_dir_all(&unpacked).unwrap();
    digests
}

fn blobs(root: &Path) -> Vec<String> {
    store::names(&root.join(DAEMON).join("io.containerd.content.v1.content/blobs/sha256"))
}

fn snapshots(root: &Path) -> Vec<String> {
    store::names(&root.join(DAEMON).join("io.containerd.snapshotter.v1.overlayfs/snapshots"))
}

/// Waits until containerd has deleted what nobody needs.
fn assert_nothing_left(root: &Path) {
    let is_empty = until(|| blobs(root).is_empty() && snapshots(root).is_empty());
    assert!(is_empty, "left: {:?} {:?}", blobs(root), snapshots(root));
}

#[test]
fn engines_containerd_finds_what_it_would_have_loaded() {
    let Some((engines, _turn)) = engines::engines() else { return };
    let engine = engines::docker_28(&engines);
    let dir = testkit::scratch();
    let reference = dir.path().join("reference");
    // A docker archive with layers that images share, one that is an OCI layout as well, and layouts with compressed layers.
    let archives = ["shared-20.10.tar", "hybrid-26.tar", "oci-skopeo-gzip.tar", "oci-skopeo-zstd.tar"];
    let daemon = Dockerd::start_engine(engine, &reference, CONTAINERD);
    let mut expected = BTreeMap::new();
    for archive in archives {
        daemon.load(&testkit::golden(archive));
        expected.insert(archive, listed(&daemon));
        daemon.remove_everything();
    }
    daemon.stop();
    for archive in archives {
        let root = dir.path().join(archive);
        // What is foretold, with nothing written.
        let golden = testkit::golden(archive);
        let foretold = Command::new(testkit::program("layer-unpack"))
            .arg(&golden)
            .args(["--store", "containerd", "--dry-run", "--json", "--root"])
            .arg(&root)
            .output()
            .unwrap();
        assert!(foretold.status.success() && !root.exists(), "{archive}: {foretold:?}");
        let foretold: Value = serde_json::from_slice(&foretold.stdout).unwrap();
        for image in foretold["images"].as_array().unwrap() {
            let id = image["id"].as_str().unwrap();
            assert!(expected[archive].iter().any(|line| line.ends_with(id)), "{archive}: {id} {expected:?}");
        }
        load(&root, &testkit::golden(archive));
        let before = (blobs(&root), snapshots(&root));
        let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
        assert_eq!(listed(&daemon), expected[archive], "{archive}");
        // The garbage collection a moment after the start keeps everything.
        std::thread::sleep(Duration::from_millis(1500));
        assert_eq!((blobs(&root), snapshots(&root)), before, "{archive}");
        let ids = listed(&daemon);
        for digest in saved(&daemon, dir.path()) {
            assert!(ids.iter().any(|line| line.ends_with(&digest)), "{archive}: {digest} {ids:?}");
        }
        let name = ids[0].split(' ').nth(1).unwrap();
        daemon.ok(&["create", "--name", "made", name, "true"]);
        assert_eq!(snapshots(&root).len(), before.1.len() + 2, "{archive}: it was unpacked once more");
        daemon.ok(&["rm", "made"]);
        daemon.remove_everything();
        assert_nothing_left(&root);
        daemon.stop();
    }
}

#[test]
fn engines_containerd_works_on_with_what_was_loaded() {
    let Some((engines, _turn)) = engines::engines() else { return };
    let engine = engines::docker_28(&engines);
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let busybox = testkit::golden("busybox-20.10.tar");
    let said = load(&root, &busybox);
    let name = said.trim().strip_prefix("Loaded image: ").unwrap().to_owned();
    // What is there is used again.
    let before = (blobs(&root), snapshots(&root));
    load(&root, &busybox);
    assert_eq!((blobs(&root), snapshots(&root)), before);
    // We read what we wrote.
    let own = layerfs_on(&root, &["image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}"]);
    let own = String::from_utf8(own.stdout).unwrap();
    let check = layerfs_on(&root, &["system", "check", "--deep"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));

    let mut daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    assert_eq!(listed(&daemon).join("\n") + "\n", own);
    let run =
        ["run", "--network", "none", "--name", "ran", &name, "sh", "-c", "rm -f /etc/passwd; echo here > /etc/motd"];
    daemon.ok(&run);
    daemon.ok(&["commit", "ran", "built:1"]);
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), format!("FROM {name}\nCOPY Dockerfile /here\nENV A=b\n")).unwrap();
    daemon.ok(&["build", "--network", "none", "-t", "built:2", context.to_str().unwrap()]);
    let shown = daemon.ok(&["run", "--rm", "--network", "none", "built:2", "cat", "/here"]);
    assert!(shown.starts_with("FROM "), "{shown}");
    // After a restart, and the garbage collection that comes with it, all of it is still there.
    let before = listed(&daemon);
    let theirs = daemon.ok(&["inspect", "built:1"]);
    daemon.stop();
    add(&root, dir.path(), &name);
    let ours = listed_by_us(&root);
    let held = (blobs(&root), snapshots(&root));
    daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((blobs(&root), snapshots(&root)), held, "the collector has something to delete");
    assert_eq!(listed(&daemon), ours);
    assert!(before.iter().all(|line| line.starts_with(&name) || ours.contains(line)), "{before:?} {ours:?}");
    judge_what_was_added(&daemon, &theirs, dir.path());
    assert_eq!(daemon.ok(&["start", "-a", "ran"]), "");
    saved(&daemon, dir.path());
    daemon.ok(&["rm", "ran"]);
    daemon.remove_everything();
    daemon.ok(&["builder", "prune", "-af"]);
    assert_nothing_left(&root);
    daemon.stop();
}

/// Names and ids of all images as we list them, sorted as [`listed`] sorts them.
fn listed_by_us(root: &Path) -> Vec<String> {
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let own = layerfs_on(root, &["image", "ls", "--no-trunc", "--format", format]);
    let mut lines: Vec<String> = String::from_utf8(own.stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Adds to a store that dockerd has written, by each command that can. The image `name` loses its name on the way.
fn add(root: &Path, dir: &Path, name: &str) {
    let ok = |words: &[&str]| {
        let ran = layerfs_on(root, words);
        assert!(ran.status.success(), "{words:?}: {}", String::from_utf8_lossy(&ran.stderr));
    };
    let (files, tar) = (dir.join("files"), dir.join("files.tar"));
    std::fs::create_dir(&files).unwrap();
    std::fs::write(files.join("imported"), "from a tar\n").unwrap();
    assert!(Command::new("tar").arg("-cf").arg(&tar).arg("-C").arg(&files).arg("imported").status().unwrap().success());
    ok(&["image", "tag", "built:2", "tagged:1"]);
    for archive in ["shared-20.10.tar", "oci-skopeo-gzip.tar", "oci-skopeo-gzip.tar"] {
        ok(&["image", "load", "-q", "-i", testkit::golden(archive).to_str().unwrap()]);
    }
    ok(&["container", "commit", "ran", "ours:1"]);
    ok(&["image", "flatten", "ours:1", "-t", "flat:1"]);
    ok(&["image", "import", "-m", "files", tar.to_str().unwrap(), "imported:1"]);
    ok(&["image", "tag", "imported:1", name]);
    ok(&["system", "check", "--deep"]);
    assert_eq!(store::names(&root.join("containerd")), ["daemon"]);
}

/// What [`add`] has made does in docker what it should; `theirs` is what docker says of the image that it made of the same container.
fn judge_what_was_added(daemon: &Dockerd, theirs: &str, dir: &Path) {
    let run = |image: &str, words: &[&str]| daemon.ok(&[&["run", "--rm", "--network", "none", image], words].concat());
    assert!(run("tagged:1", &["cat", "/here"]).starts_with("FROM "));
    daemon.ok(&["create", "--name", "of-app", "layerfs-test/app:1", "x"]);
    let out = dir.join("out");
    daemon.ok(&["export", "-o", out.to_str().unwrap(), "of-app"]);
    daemon.ok(&["rm", "of-app"]);
    for image in ["ours:1", "flat:1"] {
        assert_eq!(run(image, &["cat", "/etc/motd"]), "here\n", "{image}");
        assert_eq!(run(image, &["sh", "-c", "test ! -e /etc/passwd && echo gone"]), "gone\n", "{image}");
    }
    daemon.ok(&["create", "--name", "of-imported", "imported:1", "x"]);
    daemon.ok(&["cp", "of-imported:/imported", out.to_str().unwrap()]);
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "from a tar\n");
    daemon.ok(&["rm", "of-imported"]);
    let (ours, theirs): (Value, Value) =
        (serde_json::from_str(&daemon.ok(&["inspect", "ours:1"])).unwrap(), serde_json::from_str(theirs).unwrap());
    for (key, value) in theirs[0].as_object().unwrap() {
        let differs = ["Id", "RepoTags", "RepoDigests", "Created", "Size", "RootFS", "Metadata", "Descriptor"];
        assert!(differs.contains(&key.as_str()) || ours[0][key] == *value, "{key}: {} {value}", ours[0][key]);
    }
    let layers = |image: &Value| image[0]["RootFS"]["Layers"].as_array().unwrap().clone();
    let (ours, theirs) = (layers(&ours), layers(&theirs));
    assert_eq!((ours.len(), &ours[..ours.len() - 1]), (theirs.len(), &theirs[..theirs.len() - 1]));
}

/// Killed before any of its system calls, a change leaves the store as it was or whole; and what it leaves beside it goes with the
/// next one.
#[test]
fn root_containerd_change_is_killed() {
    if !testkit::is_root() || !testkit::kill::can_count_calls() {
        return;
    }
    let dir = testkit::scratch();
    let root: PathBuf = dir.path().join("root");
    load(&root, &testkit::golden("layers-20.10.tar"));
    let first = listed_by_us(&root);
    let complete = dir.path().join("complete");
    let copy = |to: &Path| assert!(Command::new("cp").arg("-a").arg(&root).arg(to).status().unwrap().success());
    copy(&complete);
    let archive = testkit::golden("shared-20.10.tar");
    load(&complete, &archive);
    let (second, held) = (listed_by_us(&complete), (blobs(&complete), snapshots(&complete)));
    let before = (blobs(&root), snapshots(&root));
    let (mut kills, mut unchanged) = (0, 0);
    for (call, step) in [("pwrite64", 13), ("renameat", 11), ("fdatasync", 4), ("unlinkat", 3)] {
        let step = if testkit::full_sweep() { 1 } else { step };
        for number in (1..).step_by(step) {
            let killed = dir.path().join("killed");
            copy(&killed);
            let mut command = Command::new(testkit::program("layerfs"));
            command.arg("--root").arg(&killed).args(["image", "load", "-q", "--threads", "1", "-i"]).arg(&archive);
            let ran = testkit::kill::killed_before(call, number, &command).output().unwrap();
            let ended = ran.status.success();
            kills += u32::from(!ended);
            let now = listed_by_us(&killed);
            assert!(now == first || now == second, "{call} {number}: {now:?}");
            unchanged += u32::from(!ended && now == first);
            let tagged = layerfs_on(&killed, &["image", "tag", "layerfs-test/layers:1", "layerfs-test/layers:1"]);
            assert!(tagged.status.success(), "{call} {number}: {}", String::from_utf8_lossy(&tagged.stderr));
            let check = layerfs_on(&killed, &["system", "check", "--deep"]);
            assert!(check.status.success(), "{call} {number}: {}", String::from_utf8_lossy(&check.stdout));
            let expected = if now == first { &before } else { &held };
            assert_eq!(blobs(&killed), expected.0, "{call} {number}");
            let numbers = if now == first { before.1.len() } else { held.1.len() };
            assert_eq!(snapshots(&killed).len(), numbers, "{call} {number}");
            assert_eq!(store::names(&killed.join("containerd")), ["daemon"], "{call} {number}");
            load(&killed, &archive);
            assert_eq!((listed_by_us(&killed), blobs(&killed)), (second.clone(), held.0.clone()), "{call} {number}");
            std::fs::remove_dir_all(&killed).unwrap();
            if ended {
                break;
            }
        }
    }
    eprintln!("killed {kills} times, {unchanged} of them before the commit point");
    assert!(unchanged > 3 && kills > unchanged, "{kills} {unchanged}");
}

/// Whatever a crash before the commit point leaves is removed by the next writer, and an error leaves nothing.
#[test]
fn root_containerd_store_is_made_in_one_step() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root: PathBuf = dir.path().join("root");
    let archive = testkit::golden("layers-20.10.tar");
    // A layer that is cut off is found while it is unpacked.
    let bytes = std::fs::read(&archive).unwrap();
    let cut = dir.path().join("cut.tar");
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let failed = layerfs_on(&root, &["--store", "containerd", "load", "-q", "-i", cut.to_str().unwrap()]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(!root.exists());
    // What containerd leaves of an empty store, and what a crash leaves of ours.
    std::fs::create_dir_all(root.join("containerd/daemon/io.containerd.metadata.v1.bolt")).unwrap();
    std::fs::create_dir_all(root.join("containerd/.layerfs-new/io.containerd.content.v1.content/blobs/sha256"))
        .unwrap();
    std::fs::write(root.join("containerd/.layerfs-new/io.containerd.content.v1.content/blobs/sha256/x"), "x").unwrap();
    load(&root, &archive);
    assert_eq!(store::names(&root.join("containerd")), ["daemon"]);
    assert_eq!(store::names(&root), ["containerd"]);
    assert!(!blobs(&root).is_empty() && !blobs(&root).contains(&"x".to_owned()));
}

/// An image of a registry, straight into containerd's store: the one that docker pulls into its own.
#[test]
fn engines_containerd_finds_what_it_would_have_pulled() {
    let Some((engines, _turn)) = engines::engines() else { return };
    let engine = engines::docker_28(&engines);
    let dir = testkit::scratch();
    let plain = synthetic::layers(1 << 18, 20);
    let layers: Vec<_> = plain.into_iter().map(|plain| (plain.clone(), pack("gzip", &plain))).collect();
    let served = Served::new(&layers);
    let registry = FaultRegistry::start(move |asked| served.answer(asked));
    let name = format!("{}/t/image:1", registry.host);
    let root = dir.path().join("root");
    let unpack = || {
        let mut command = Command::new(testkit::program("layer-unpack"));
        command.arg(format!("docker://{name}")).args(["--no-sync", "--store", "containerd", "--root"]).arg(&root);
        command.env("DOCKER_CONFIG", dir.path().join("no-config")).output().unwrap()
    };
    let unpacked = unpack();
    assert!(unpacked.status.success(), "{unpacked:?}");
    assert_eq!(store::names(&root), ["containerd"], "left of the pull");
    let held = (blobs(&root), snapshots(&root));
    let again = unpack();
    assert!(again.status.success(), "{again:?}");
    assert_eq!((blobs(&root), snapshots(&root)), held);
    let check = layerfs_on(&root, &["system", "check", "--deep"]);
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let before = (blobs(&root), snapshots(&root));
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!((blobs(&root), snapshots(&root)), before);
    let ours = listed(&daemon);
    daemon.ok(&["create", "--name", "made", &name, "true"]);
    daemon.ok(&["rm", "made"]);
    daemon.remove_everything();
    assert_nothing_left(&root);
    daemon.ok(&["pull", &name]);
    assert_eq!((listed(&daemon), blobs(&root)), (ours, before.0));
    daemon.stop();
}
