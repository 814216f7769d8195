//! What layerfs writes of containerd's store, judged by Docker 28.5: it starts on it, and finds the images that it would have
//! loaded itself, by their ids; it runs them, builds on them, saves them, and removes them without a rest.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD, Engine};
use testkit::fault_registry::{FaultRegistry, Served};
use testkit::image::pack;
use testkit::run::until;
use testkit::{layerfs_on, store, synthetic};

const DAEMON: &str = "containerd/daemon";

fn engine(engines: &[Engine]) -> &Engine {
    engines.iter().find(|engine| engines::version(engine).starts_with("28.")).unwrap()
}

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
    let engine = engine(&engines);
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
    let engine = engine(&engines);
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let busybox = testkit::golden("busybox-20.10.tar");
    let said = load(&root, &busybox);
    let name = said.trim().strip_prefix("Loaded image: ").unwrap().to_owned();
    // A store with something in it is not written.
    let again = layerfs_on(&root, &["--store", "containerd", "load", "-q", "-i", busybox.to_str().unwrap()]);
    assert_eq!(again.status.code(), Some(1));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(
        said.contains("containerd's store in it holds names of images (1), and only an empty one is written"),
        "{said}"
    );
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
    daemon.stop();
    daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(listed(&daemon), before);
    assert_eq!(daemon.ok(&["start", "-a", "ran"]), "");
    saved(&daemon, dir.path());
    daemon.ok(&["rm", "ran"]);
    daemon.remove_everything();
    daemon.ok(&["builder", "prune", "-af"]);
    assert_nothing_left(&root);
    daemon.stop();
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
    let engine = engine(&engines);
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
    // Only an empty store is written.
    let again = String::from_utf8(unpack().stderr).unwrap();
    assert!(again.contains("only an empty one is written"), "{again}");
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
