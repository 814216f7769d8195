//! Containers and builds on images that layer-unpack imported.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use testkit::dockerd::Dockerd;
use testkit::{live, saved};

const IMAGE: &str = "layerfs-test/busybox:1";

/// `docker run --rm IMAGE COMMAND`
fn run(daemon: &Dockerd, image: &str, command: &[&str]) -> String {
    daemon.ok(&[&["run", "--rm", "--network", "none", image], command].concat())
}

#[test]
fn docker_runs_builds_and_commits() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let daemon = Dockerd::start(&root);

    assert_eq!(run(&daemon, IMAGE, &["echo", "hi"]), "hi\n");
    // From every layer of the image, and not what the last one deletes.
    let listed = run(&daemon, IMAGE, &["ls", "/etc/group", "/etc/motd", "/var/log/build"]);
    assert_eq!(listed, "/etc/group\n/etc/motd\n/var/log/build\n");
    assert!(!daemon.docker(&["run", "--rm", "--network", "none", IMAGE, "ls", "/etc/removed"]).status.success());

    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("copied"), "copied\n").unwrap();
    let recipe = format!("FROM {IMAGE}\nCOPY copied /srv/copied\nRUN echo built >/built && rm /etc/motd\n");
    std::fs::write(context.join("Dockerfile"), recipe).unwrap();
    daemon.ok(&["build", "--network", "none", "-t", "layerfs-test/built:1", context.to_str().unwrap()]);
    assert_eq!(run(&daemon, "layerfs-test/built:1", &["cat", "/srv/copied", "/built"]), "copied\nbuilt\n");
    assert_eq!(
        run(&daemon, "layerfs-test/built:1", &["ls", "/etc"]),
        "group\nhostname\nhosts\nmtab\npasswd\nresolv.conf\n"
    );

    let script = "echo data >/root/data && rm /etc/passwd && echo more >>/etc/motd";
    daemon.ok(&["run", "--name", "edit", "--network", "none", IMAGE, "sh", "-c", script]);
    let changed = daemon.ok(&["diff", "edit"]);
    for line in ["A /root/data", "D /etc/passwd", "C /etc/motd"] {
        assert!(changed.lines().any(|found| found == line), "{line} is in\n{changed}");
    }
    daemon.ok(&["commit", "edit", "layerfs-test/committed:1"]);
    let read = run(&daemon, "layerfs-test/committed:1", &["cat", "/root/data", "/etc/motd"]);
    assert_eq!(read, "data\nlayerfs test image\nmore\n");

    let file = dir.path().join("saved.tar");
    saved::save(&daemon, &[IMAGE, "layerfs-test/built:1", "layerfs-test/committed:1"], &file);
    // Three, and two and one more on top of them.
    assert_eq!(saved::check_layers(&file), (3 + 5 + 4, Vec::new()));

    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&root));
    daemon.stop();
    testkit::assert_none("left behind after the end", &live::leftovers(&root));
}

#[test]
fn docker_finds_its_containers_after_an_import() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    let daemon = Dockerd::start(&root);
    daemon.ok(&["run", "--name", "kept", "--network", "none", IMAGE, "sh", "-c", "date >>/root/log; wc -l </root/log"]);
    daemon.ok(&["tag", IMAGE, "layerfs-test/mine:1"]);
    daemon.stop();

    testkit::import(&testkit::golden("shared-20.10.tar"), &root);
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.ok(&["start", "--attach", "kept"]).trim(), "2");
    let tags = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let mut tags: Vec<&str> = tags.lines().collect();
    tags.sort_unstable();
    let expected = ["<none>:<none>", "layerfs-test/app:1", IMAGE, "layerfs-test/mine:1"];
    let expected = [&expected[..], &["layerfs-test/shared-base:1", "layerfs-test/twice:1"]].concat();
    assert_eq!(tags, expected);
    daemon.remove_everything();
    testkit::assert_none("left behind", &live::leftovers(&root));
}
