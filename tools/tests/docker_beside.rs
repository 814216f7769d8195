//! layer-unpack on roots that dockerd uses or has used.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::dockerd::Dockerd;
use testkit::root::RootContents;
use testkit::{live, saved};

const BUSYBOX: &str = "busybox-20.10.tar";
const DERIVED: &str = "layerfs-test/derived:1";

/// An archive of an image that dockerd built on the one in [`BUSYBOX`].
fn derived(dir: &TempDir) -> PathBuf {
    let root = testkit::empty_root(dir, "builder");
    let archive = dir.path().join("derived.tar");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden(BUSYBOX));
    let context = dir.path().join("context");
    fs::create_dir(&context).unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM layerfs-test/busybox:1\nRUN echo derived >/etc/derived && rm /etc/motd\n",
    )
    .unwrap();
    daemon.ok(&["build", "--network", "none", "-t", DERIVED, context.to_str().unwrap()]);
    saved::save(&daemon, &[DERIVED], &archive);
    archive
}

/// Whether the derived image works, in a root that has the other one too.
fn runs(daemon: &Dockerd, dir: &TempDir) {
    let read = |image: &str, file: &str| daemon.docker(&["run", "--rm", "--network", "none", image, "cat", file]);
    assert_eq!(read(DERIVED, "/etc/derived").stdout, b"derived\n");
    assert!(!read(DERIVED, "/etc/motd").status.success(), "deleted in the derived image");
    assert_eq!(read("layerfs-test/busybox:1", "/etc/motd").stdout, b"layerfs test image\n");
    let file = dir.path().join("saved.tar");
    saved::save(daemon, &[DERIVED, "layerfs-test/busybox:1"], &file);
    assert_eq!(saved::check_layers(&file), (3 + 4, Vec::new()));
}

/// The layers' directories by chain id.
fn cache_ids(root: &Path) -> Vec<(String, String)> {
    RootContents::read(root).layers.into_iter().map(|(chain, layer)| (chain, layer.cache_id)).collect()
}

#[test]
fn docker_running_is_left_alone() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let archive = testkit::golden(BUSYBOX);
    let daemon = Dockerd::start(&root);
    for loaded in [false, true] {
        // On a daemon's first day, and with everything there already.
        if loaded {
            daemon.load(&archive);
        }
        let before = testkit::listing(&root);
        let modified = fs::metadata(root.join("overlay2")).unwrap().modified().unwrap();
        let output = testkit::layer_unpack(&archive, &root);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains("stop the daemon"), "{said}");
        assert!(output.stdout.is_empty());
        testkit::assert_none("touched", &testkit::changes(&before, &testkit::listing(&root)));
        assert_eq!(fs::metadata(root.join("overlay2")).unwrap().modified().unwrap(), modified);
    }
    // The daemon has not noticed.
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", "layerfs-test/busybox:1", "echo", "hi"]), "hi\n");
    daemon.remove_everything();
    daemon.stop();
    testkit::import(&archive, &root);
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", "layerfs-test/busybox:1", "echo", "hi"]), "hi\n");
}

#[test]
fn docker_loaded_before_is_there() {
    let Some(_turn) = testkit::docker() else { return };
    for golden in testkit::GOLDENS {
        let dir = testkit::scratch();
        let root = testkit::empty_root(&dir, "root");
        let daemon = Dockerd::start(&root);
        let loaded = daemon.load(&testkit::golden(golden));
        let told = live::report(&daemon, &root);
        daemon.stop();
        let before = testkit::listing(&root);
        let printed = testkit::import(&testkit::golden(golden), &root);
        testkit::assert_none(golden, &testkit::changes(&before, &testkit::listing(&root)));
        for tag in loaded.lines().filter_map(|line| line.strip_prefix("Loaded image: ")) {
            assert!(printed.contains(tag), "{golden}: {tag} is in\n{printed}");
        }
        let daemon = Dockerd::start(&root);
        testkit::assert_none(golden, &live::differences(&live::report(&daemon, &root), &told));
    }
}

#[test]
fn docker_layers_are_built_upon() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let derived = derived(&dir);
    let ours_on_dockers = testkit::empty_root(&dir, "ours-on-dockers");
    let daemon = Dockerd::start(&ours_on_dockers);
    daemon.load(&testkit::golden(BUSYBOX));
    daemon.stop();
    let base = cache_ids(&ours_on_dockers);
    testkit::import(&derived, &ours_on_dockers);
    let all = cache_ids(&ours_on_dockers);
    assert_eq!((base.len(), all.len()), (3, 4));
    assert!(base.iter().all(|layer| all.contains(layer)), "{base:?} of dockerd are in {all:?}");

    // The other way round: dockerd builds upon ours, as it does upon its own.
    let dockers_on_ours = testkit::empty_root(&dir, "dockers-on-ours");
    testkit::import(&testkit::golden(BUSYBOX), &dockers_on_ours);
    let base = cache_ids(&dockers_on_ours);
    let daemon = Dockerd::start(&dockers_on_ours);
    daemon.load(&derived);
    let all = cache_ids(&dockers_on_ours);
    assert!(base.iter().all(|layer| all.contains(layer)), "{base:?} of ours are in {all:?}");

    let (one, two) = (RootContents::read(&ours_on_dockers), RootContents::read(&dockers_on_ours));
    testkit::assert_none("on disk", &testkit::root::differences(&one, &two, testkit::now() - 600));
    let other = Dockerd::start(&ours_on_dockers);
    let (one, two) = (live::report(&other, &ours_on_dockers), live::report(&daemon, &dockers_on_ours));
    testkit::assert_none("in use", &live::differences(&one, &two));
    for (daemon, root) in [(other, &ours_on_dockers), (daemon, &dockers_on_ours)] {
        runs(&daemon, &dir);
        daemon.remove_everything();
        testkit::assert_none("left behind", &live::leftovers(root));
    }
}

/// BuildKit names its layers' directories in its own way, and keeps them when the image goes.
#[test]
fn docker_buildkit_layers_are_built_upon() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden(BUSYBOX));
    let context = dir.path().join("buildkit");
    fs::create_dir(&context).unwrap();
    fs::write(context.join("Dockerfile"), "FROM layerfs-test/busybox:1\nRUN echo buildkit >/etc/buildkit\n").unwrap();
    let arguments = ["build", "--network", "none", "-t", "layerfs-test/buildkit:1", context.to_str().unwrap()];
    testkit::succeeded("buildkit", daemon.client(&arguments).env("DOCKER_BUILDKIT", "1").output().unwrap());
    fs::write(context.join("Dockerfile"), "FROM layerfs-test/buildkit:1\nRUN echo derived >/etc/derived\n").unwrap();
    daemon.ok(&["build", "--network", "none", "-t", DERIVED, context.to_str().unwrap()]);
    let archive = dir.path().join("derived.tar");
    saved::save(&daemon, &[DERIVED], &archive);
    daemon.ok(&["rmi", DERIVED, "layerfs-test/buildkit:1"]);
    daemon.stop();
    let base = cache_ids(&root);
    assert!(base.iter().any(|(_, id)| id.len() == 25), "{base:?}");

    testkit::import(&archive, &root);
    let all = cache_ids(&root);
    assert_eq!(all.len(), 5, "three of busybox, and two: {all:?}");
    assert!(base.iter().all(|layer| all.contains(layer)), "{base:?} are in {all:?}");
    let daemon = Dockerd::start(&root);
    let read = ["run", "--rm", "--network", "none", DERIVED, "cat", "/etc/buildkit", "/etc/derived"];
    assert_eq!(daemon.ok(&read), "buildkit\nderived\n");
    daemon.remove_everything();
    daemon.ok(&["builder", "prune", "-af"]);
    testkit::assert_none("left behind", &live::leftovers(&root));
}
