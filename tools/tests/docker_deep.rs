//! As many layers as dockerd takes, and one more.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use testkit::archive::{self, ArchiveImage};
use testkit::dockerd::Dockerd;
use testkit::{live, saved};

/// The most that dockerd registers on top of each other (moby `layer/layer_store.go`, `maxLayerDepth`).
const MOST: usize = 125;

/// An image of `depth` layers, busybox at the bottom.
fn image(depth: usize) -> ArchiveImage {
    let mut layers = archive::layers(&testkit::golden("busybox-20.10.tar"));
    for number in layers.len()..depth {
        layers.push(archive::layer(&format!("layer-{number}"), &number.to_string()));
    }
    let (layers, diff_ids) = layers.into_iter().unzip();
    ArchiveImage { tag: format!("deep:{depth}"), layers, diff_ids, comment: String::new() }
}

#[test]
fn docker_deepest_image() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let (deep, deeper) = (dir.path().join("deep.tar"), dir.path().join("deeper.tar"));
    archive::write(&deep, &[image(MOST)]);
    archive::write(&deeper, &[image(MOST + 1)]);
    let daemon = Dockerd::start(&root);
    let refused = daemon.docker(&["load", "-i", deeper.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("max depth exceeded"), "{refused:?}");
    daemon.stop();

    let refused = testkit::layer_unpack(&deeper, &root);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{} layers: {said}", MOST + 1);
    assert!(said.contains("depth"), "{said}");
    testkit::assert_none("left by what was refused", &live::leftovers(&root));

    testkit::import(&deep, &root);
    let daemon = Dockerd::start(&root);
    let read = ["run", "--rm", "--network", "none", "deep:125", "cat", "/layer-3", "/layer-64", "/layer-124"];
    assert_eq!(daemon.ok(&read), "364124");
    let file = dir.path().join("saved.tar");
    saved::save(&daemon, &["deep:125"], &file);
    assert_eq!(saved::check_layers(&file), (MOST, Vec::new()));
    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&root));
}
