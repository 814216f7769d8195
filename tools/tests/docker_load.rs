//! `layerfs image load` says what `docker load` says, and leaves what it leaves.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;

use testkit::archive::{self, ArchiveImage};
use testkit::dockerd::Dockerd;
use testkit::live;

fn load(archive: &Path, root: &Path) -> String {
    let (archive, root) = (archive.to_str().unwrap(), root.to_str().unwrap());
    testkit::layerfs(&["image", "load", "-q", "-i", archive, "--root", root, "--no-sync"])
}

/// An image of one layer, always the same; another one with another comment.
fn image(tag: &str, comment: &str) -> ArchiveImage {
    let (layer, digest) = archive::layer("base", "base");
    ArchiveImage { tag: tag.into(), layers: vec![layer], diff_ids: vec![digest], comment: comment.into() }
}

#[test]
fn docker_load_lines() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    // One root for all, in the order of the names: tags and layers meet again.
    let (ours, dockers) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "dockers"));
    let daemon = Dockerd::start(&dockers);
    for golden in testkit::GOLDENS.iter().chain(&testkit::GOLDENS) {
        let archive = testkit::golden(golden);
        assert_eq!(load(&archive, &ours), daemon.load(&archive), "{golden}");
    }
    let told = live::report(&daemon, &dockers);
    let daemon = Dockerd::start(&ours);
    testkit::assert_none("all goldens", &live::differences(&live::report(&daemon, &ours), &told));
}

#[test]
fn docker_load_moves_tags() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (ours, dockers) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "dockers"));
    let daemon = Dockerd::start(&dockers);
    // Short and long names of the same, moved within one archive, and back.
    let steps = [
        vec![image("moved:1", "a"), image("layerfs-test/other:1", "b")],
        vec![image("docker.io/library/moved:1", "b")],
        vec![image("moved:1", "c"), image("moved:1", "a"), image("localhost:5000/moved:1", "a")],
        vec![image("index.docker.io/layerfs-test/other:1", "c")],
    ];
    for (number, images) in steps.iter().enumerate() {
        let file = dir.path().join(format!("{number}.tar"));
        archive::write(&file, images);
        assert_eq!(load(&file, &ours), daemon.load(&file), "step {number}");
    }
    let told = live::report(&daemon, &dockers);
    let daemon = Dockerd::start(&ours);
    testkit::assert_none("moved tags", &live::differences(&live::report(&daemon, &ours), &told));
    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&ours));
}

#[test]
fn docker_load_leaves_tags() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let file = dir.path().join("images.tar");
    archive::write(&file, &[image("kept:1", "old")]);
    let daemon = Dockerd::start(&root);
    daemon.load(&file);
    let old = daemon.ok(&["images", "-q", "--no-trunc", "kept:1"]);
    daemon.stop();
    archive::write(&file, &[image("kept:1", "new"), image("other:1", "new")]);
    let (archive, path) = (file.to_str().unwrap(), root.to_str().unwrap());
    testkit::layerfs(&["image", "load", "-q", "-i", archive, "--root", path, "--no-sync", "--no-retag"]);
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.ok(&["images", "-q", "--no-trunc", "kept:1"]), old);
    assert_ne!(daemon.ok(&["images", "-q", "--no-trunc", "other:1"]), old);
    assert_eq!(daemon.images().len(), 2);
}
