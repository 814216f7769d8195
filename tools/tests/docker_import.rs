//! dockerd on roots that layer-unpack wrote, compared with dockerd on roots that it loaded the same archives into: what is
//! on disk, what it says about its images, what it saves, that it has nothing to load again and can remove everything.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use testkit::flow;

/// Checks a golden, if there is a dockerd.
fn check(golden: &str) {
    if let Some(_turn) = testkit::docker() {
        assert!(testkit::GOLDENS.contains(&golden));
        flow::check(&testkit::golden(golden));
    }
}

#[test]
fn docker_import_busybox() {
    check("busybox-20.10.tar");
}

#[test]
fn docker_import_hybrid() {
    check("hybrid-26.tar");
}

#[test]
fn docker_import_layers() {
    check("layers-20.10.tar");
}

#[test]
fn docker_import_shared() {
    check("shared-20.10.tar");
}

#[test]
fn docker_import_skopeo() {
    check("docker-archive-skopeo.tar");
}
