//! Names in `RepoTags`: what dockerd takes, refuses, and loads without the name, and that we do the same.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use testkit::dockerd::Dockerd;
use testkit::image::DockerArchive;
use testkit::tarfile;

#[test]
fn docker_takes_and_refuses_the_same_names() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let daemon = Dockerd::start(&testkit::empty_root(&dir, "dockers"));
    let digest = "a".repeat(64);
    let names = [
        "app:1".to_owned(),
        "localhost:5000/a/b:1".into(),
        "index.docker.io/library/app:1".into(),
        "App:1".into(),
        "bazel/MyImage:tag".into(),
        "<none>:<none>".into(),
        String::new(),
        "app".into(),
        "a:1,b:2".into(),
        " a:1".into(),
        "a:".into(),
        format!("{}:1", "n".repeat(255)),
        format!("{}:1", "n".repeat(238)),
        format!("{}:1", "n".repeat(237)),
        format!("a:{}", "t".repeat(128)),
        format!("a:{}", "t".repeat(129)),
        format!("a@sha256:{digest}"),
        format!("a:1@sha256:{digest}"),
        format!("a:1@sha256:{}", &digest[1..]),
        format!("a:1@sha512:{digest}{digest}"),
        format!("a:1@sha512:{digest}"),
        "sha256:1".into(),
        digest.clone(),
        format!("{digest}:1"),
    ];
    let layer = tarfile::tar(&[tarfile::file("f", "x")]);
    let archive = dir.path().join("archive.tar");
    let mut report = Vec::new();
    for (number, name) in names.iter().enumerate() {
        std::fs::write(&archive, DockerArchive::new(name, std::slice::from_ref(&layer)).build()).unwrap();
        let root = dir.path().join(format!("ours-{number}"));
        let loaded = daemon.docker(&["load", "-i", archive.to_str().unwrap()]).status.success();
        let ours = testkit::layer_unpack(&archive, &root);
        if ours.status.success() != loaded {
            let said = String::from_utf8_lossy(&ours.stderr).into_owned();
            report.push(format!("{name:.40}: dockerd takes it: {loaded}; we: {said}"));
        }
        let format = "{{.Repository}}:{{.Tag}}";
        let told = daemon.ok(&["images", "--format", format]);
        if loaded {
            let root = root.to_str().unwrap();
            let listed = testkit::layerfs(&["--root", root, "image", "ls", "--format", format]);
            if listed != told {
                report.push(format!("{name:.40}: dockerd lists {told:?}, we {listed:?}"));
            }
        }
        daemon.remove_everything();
    }
    testkit::assert_none("names", &report);
}
