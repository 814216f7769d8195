//! Images from OCI layouts, which dockerd 20.10 cannot load but can use once they are there; and archives in other wrappings.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::{Command, Stdio};

use testkit::dockerd::Dockerd;
use testkit::root::RootContents;
use testkit::{live, saved};

/// The only tag that a daemon lists.
fn only_tag(daemon: &Dockerd) -> String {
    let tags = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(tags.lines().count(), 1, "{tags}");
    tags.trim().to_owned()
}

#[test]
fn docker_uses_oci_images() {
    let Some(_turn) = testkit::docker() else { return };
    for golden in ["oci-skopeo-gzip.tar", "oci-skopeo-zstd.tar"] {
        let dir = testkit::scratch();
        // The same layers as in this one.
        let reference = testkit::empty_root(&dir, "reference");
        testkit::import(&testkit::golden("busybox-20.10.tar"), &reference);
        let root = testkit::empty_root(&dir, "root");
        testkit::import(&testkit::golden(golden), &root);
        let chains = |root: &Path| RootContents::read(root).layers.into_keys().collect::<Vec<_>>();
        assert_eq!(chains(&root), chains(&reference), "{golden}");

        let daemon = Dockerd::start(&root);
        let file = dir.path().join("saved.tar");
        let [id] = &daemon.images()[..] else { panic!("{golden} has one image") };
        assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", id, "cat", "/etc/motd"]), "layerfs test image\n");
        saved::save(&daemon, &[id], &file);
        assert_eq!(saved::check_layers(&file), (3, Vec::new()), "{golden}");
        // What it saves, it loads, and what it loads is there.
        let before = testkit::listing(&root);
        daemon.load(&file);
        testkit::assert_none(golden, &testkit::changes(&before, &testkit::listing(&root)));
        daemon.remove_everything();
        testkit::assert_none(golden, &live::leftovers(&root));
    }
}

#[test]
fn docker_uses_umoci_images() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    testkit::import(&testkit::golden("oci-umoci.tar"), &root);
    let daemon = Dockerd::start(&root);
    let images = daemon.images();
    assert_eq!(images.len(), 2);
    let file = dir.path().join("saved.tar");
    saved::save(&daemon, &images.iter().map(String::as_str).collect::<Vec<_>>(), &file);
    assert_eq!(saved::check_layers(&file), (1 + 3, Vec::new()));
    // skopeo made its archive from the second: dockerd has its layers already.
    daemon.load(&testkit::golden("docker-archive-skopeo.tar"));
    assert_eq!(RootContents::read(&root).layers.len(), 3);
    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&root));
}

#[test]
fn docker_archive_in_a_pipe() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let golden = testkit::golden("busybox-20.10.tar");
    let dockers = testkit::empty_root(&dir, "dockers");
    let since = testkit::now() - 1;
    let daemon = Dockerd::start(&dockers);
    daemon.load(&golden);
    let dockers = RootContents::read(&dockers);
    for (name, program) in
        [("plain", "cat"), ("gzip", "gzip -c"), ("xz", "xz -0c"), ("bzip2", "bzip2 -c"), ("zstd", "zstd -c")]
    {
        let mut words = program.split(' ');
        let command = words.next().unwrap();
        if Command::new(command).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            eprintln!("skipped: {command} is not installed");
            continue;
        }
        let root = testkit::empty_root(&dir, name);
        let mut wrapped = Command::new(command).args(words).arg(&golden).stdout(Stdio::piped()).spawn().unwrap();
        let mut import = Command::new(env!("CARGO_BIN_EXE_layer-unpack"));
        import.args(["-", "--no-sync", "--root"]).arg(&root).stdin(wrapped.stdout.take().unwrap());
        testkit::succeeded(name, import.output().unwrap());
        assert!(wrapped.wait().unwrap().success());
        testkit::assert_none(name, &testkit::root::differences(&RootContents::read(&root), &dockers, since));
    }
}

#[test]
fn docker_sees_the_tag_given() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let archive = dir.path().join("untagged.tar");
    let builder = testkit::empty_root(&dir, "builder");
    let daemon = Dockerd::start(&builder);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    let id = &daemon.images()[0];
    // By id: without a name.
    saved::save(&daemon, &[id], &archive);
    daemon.stop();
    let mut import = Command::new(env!("CARGO_BIN_EXE_layer-unpack"));
    import.arg(&archive).args(["--no-sync", "--tag", "localhost:5000/layerfs-test/named", "--root"]).arg(&root);
    testkit::succeeded("layer-unpack --tag", import.output().unwrap());
    let daemon = Dockerd::start(&root);
    let tag = only_tag(&daemon);
    assert_eq!(tag, "localhost:5000/layerfs-test/named:latest");
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", &tag, "echo", "hi"]), "hi\n");
}
