//! `docker://REF` in the place of an archive: `layer-unpack` and `layer-run` take an image from a registry, and leave nothing of
//! one that does not come.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use layerfs::Digest;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tempfile::TempDir;
use testkit::cases::TreeEntry;
use testkit::fault_registry::{Asked, FaultRegistry, Reply, Served, Then};
use testkit::image::pack;
use testkit::registry::{Registry, layerfs_anonymous};
use testkit::run::{self, Input, Ran, run};
use testkit::synthetic;
use testkit::tree::{differences, walk};

/// A place for what is unpacked, and the name of an image at a registry.
struct Case {
    dir: TempDir,
    name: String,
}

impl Case {
    fn new(host: &str) -> Self {
        Self { dir: testkit::scratch(), name: format!("docker://{host}/t/image:1") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A program with the image, without credentials of whoever runs the test.
    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(testkit::program(program));
        command.arg(&self.name).args(arguments).env("DOCKER_CONFIG", self.path("no-config"));
        command
    }

    fn unpack(&self, arguments: &[&str]) -> Ran {
        run(self.command("layer-unpack", &[&["--no-sync"], arguments].concat()), Input::Nothing)
    }

    /// Must have failed, and left nothing.
    fn expect_nothing(&self, ran: &Ran, words: &[&str]) {
        testkit::assert_none("message", &ran.complaints(words));
        testkit::assert_none("left", &self.left());
    }

    fn left(&self) -> Vec<String> {
        walk(self.dir.path()).iter().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).skip(1).collect()
    }
}

/// An image of some layers, of which the first is the largest.
fn served() -> Option<Served> {
    if !testkit::is_root() {
        return None;
    }
    let plain = synthetic::layers(1 << 20, 20);
    Some(Served::new(&plain.into_iter().map(|plain| (plain.clone(), pack("gzip", &plain))).collect::<Vec<_>>()))
}

/// A registry of this image, with what is answered for the first layer instead of what it would answer.
fn registry(served: &Served, instead: impl Fn(&Asked, Reply) -> Reply + Send + Sync + 'static) -> FaultRegistry {
    let served = served.clone();
    FaultRegistry::start(move |asked| match asked.blob() == Some(&served.layers[0]) {
        true => instead(asked, served.answer(asked)),
        false => served.answer(asked),
    })
}

/// What was unpacked to a directory, without the list of layers, which names its source, and without the times of what layers
/// do not have: directories for layers and their whiteouts.
fn content(dir: &Path, target: &str) -> Vec<TreeEntry> {
    let mut entries = walk(dir);
    entries.retain(|entry| entry.path != b"layers.json");
    for entry in &mut entries {
        let is_outside = entry.path.iter().filter(|byte| **byte == b'/').count() < 2;
        if entry.path == b"." || entry.kind == 'c' || (target == "--layers" && is_outside) {
            entry.mtime = None;
        }
    }
    entries
}

#[test]
fn root_registry_source_gives_what_the_archive_gives() {
    if !testkit::is_root() || !Registry::installed("root") {
        return;
    }
    let files = testkit::scratch();
    let registry = Registry::start(&files.path().join("registry"));
    let (archive, store) = (testkit::golden("busybox-20.10.tar"), files.path().join("store"));
    let case = Case::new(&registry.host);
    testkit::import(&archive, &store);
    let listed = testkit::made_by_layerfs(&store, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]);
    let name = case.name.trim_start_matches("docker://");
    testkit::made_by_layerfs(&store, &["tag", listed.lines().next().unwrap(), name]);
    drop(layerfs_anonymous(&store, &["push", name]).ok());

    for target in ["--layers", "--rootfs"] {
        let (theirs, ours) = (files.path().join(target), case.path(target));
        let unpack = run::layer_unpack(&[archive.to_str().unwrap(), target, theirs.to_str().unwrap()]);
        drop(run(unpack, Input::Nothing).ok());
        let said = case.unpack(&[target, ours.to_str().unwrap()]).ok();
        assert_eq!(said.stderr, "");
        testkit::assert_none(target, &differences(&content(&theirs, target), &content(&ours, target)));
    }

    // A data-root is as after a pull.
    let (pulled, unpacked) = (files.path().join("pulled"), case.path("root"));
    drop(layerfs_anonymous(&pulled, &["pull", "-q", name]).ok());
    let said = case.unpack(&["--root", unpacked.to_str().unwrap()]).ok();
    assert!(said.stdout.contains("3 new layers, 0 present"), "{said:?}");
    let rows = |root: &Path| {
        let format = "{{.Repository}} {{.Tag}} {{.Digest}} {{.ID}}";
        testkit::made_by_layerfs(root, &["image", "ls", "--digests", "--no-trunc", "--format", format])
    };
    assert_eq!(rows(&unpacked), rows(&pulled));
    assert!(!unpacked.join("tmp/layerfs-blobs").exists());
    let again = case.unpack(&["--root", unpacked.to_str().unwrap()]).ok();
    assert!(again.stdout.contains("0 new layers, 3 present"), "{again:?}");

    let ran = run(case.command("layer-run", &["--", "sh", "-c", "echo $PATH; ls /"]), Input::Nothing).ok();
    let mut local = Command::new(testkit::program("layer-run"));
    local.arg(&archive).args(["--", "sh", "-c", "echo $PATH; ls /"]);
    let local = run(local, Input::Nothing).ok();
    assert!(ran.stdout.contains("bin\n"), "{ran:?}");
    assert_eq!(ran.stdout, local.stdout);
    let other = case.unpack(&["--image", "other:1", "--rootfs", case.path("other").to_str().unwrap()]);
    assert_eq!(other.code, Some(1), "{other:?}");
    assert!(other.stderr.contains("other:1"), "{other:?}");
    assert!(!case.path("other").exists());
    for flag in ["--dry-run", "--bench=1"] {
        let refused = case.unpack(&["--root", case.path("new").to_str().unwrap(), flag]);
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(flag.split('=').next().unwrap()), "{refused:?}");
    }
}

#[test]
fn root_registry_source_goes_on_after_cuts_and_refuses_wrong_bytes() {
    let Some(served) = served() else { return };
    let part = served.blobs[&served.layers[0]].len() / 3 + 1;
    let cutting = registry(&served, move |_, reply| reply.then(Then::Cut(part)));
    let case = Case::new(&cutting.host);
    let said = case.unpack(&["--layers", case.path("layers").to_str().unwrap()]).ok();
    assert!(said.stderr.contains(" at byte "), "an attempt that failed is told: {said:?}");
    let asked = cutting.asked();
    let starts = asked.iter().filter(|asked| asked.blob() == Some(&served.layers[0]));
    let starts: Vec<usize> = starts.map(|asked| asked.from().unwrap_or(0)).collect();
    assert_eq!(starts, [0, part, 2 * part]);

    let wrong = registry(&served, |_, mut reply| {
        let middle = reply.body.len() / 2;
        reply.body[middle] ^= 1;
        reply
    });
    let missing = registry(&served, |_, _| Reply::error(404, "BLOB_UNKNOWN", "blob unknown to registry"));
    for (registry, words) in
        [(&wrong, ["filesystem layer verification failed", &served.layers[0]]), (&missing, ["blob unknown", "Get"])]
    {
        let case = Case::new(&registry.host);
        for target in ["--layers", "--rootfs", "--root"] {
            let ran = case.unpack(&[target, case.path("new").to_str().unwrap()]);
            case.expect_nothing(&ran, &words);
        }
        let ran = run(case.command("layer-run", &["--", "true"]), Input::Nothing);
        assert_eq!(ran.code, Some(125), "{ran:?}");
        assert!(words.iter().all(|word| ran.stderr.contains(word)), "{ran:?}");
    }
}

#[test]
fn root_registry_source_takes_the_platform_that_is_asked_for() {
    let Some(served) = served() else { return };
    let manifest = Digest::hash(&served.manifest).to_string();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [{
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "size": served.manifest.len(), "digest": manifest, "platform": {"os": "linux", "architecture": "s390x"},
        }],
    });
    let index = serde_json::to_vec(&index).unwrap();
    let registry = FaultRegistry::start(move |asked| match asked.path.ends_with("/manifests/1") {
        true => Reply::new(200, &index).with("Content-Type", "application/vnd.oci.image.index.v1+json"),
        false => served.answer(asked),
    });
    let case = Case::new(&registry.host);
    let unpack = |platform| case.unpack(&["--platform", platform, "--rootfs", case.path("new").to_str().unwrap()]);
    case.expect_nothing(&unpack("linux/riscv64"), &["no matching manifest for linux/riscv64"]);
    drop(unpack("linux/s390x").ok());
    assert!(std::fs::read_dir(case.path("new")).unwrap().count() > 0);
}

#[test]
fn root_registry_source_that_is_interrupted_leaves_nothing() {
    let Some(served) = served() else { return };
    let silent = registry(&served, |_, reply| reply.then(Then::Silence(1000)));
    for target in ["--layers", "--rootfs", "--root"] {
        let case = Case::new(&silent.host);
        let before = silent.asked().len();
        let command = case.command("layer-unpack", &[target, case.path("new").to_str().unwrap()]);
        let child = run::start(command, Input::Nothing);
        let begun = Instant::now();
        while !silent.asked()[before..].iter().any(|asked| asked.blob() == Some(&served.layers[0])) {
            assert!(begun.elapsed() < Duration::from_secs(60), "the layer is not asked for");
            std::thread::sleep(Duration::from_millis(10));
        }
        kill_process(Pid::from_child(&child), Signal::INT).unwrap();
        let ran = run::finish(child, begun);
        assert_eq!(ran.code, Some(130), "{ran:?}");
        assert!(ran.stderr.contains("interrupted"), "{ran:?}");
        testkit::assert_none(target, &case.left());
    }
}
