//! Roots whose images are containerd's, made by Docker 28.5: they are read, and not written; which of two stores is shown is said.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD};
use testkit::layerfs_on;

const OVERLAY2: &[&str] = &["--storage-driver=overlay2"];
const IMAGE: &str = "layerfs-test/busybox:1";

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn fill(daemon: &Dockerd) {
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["create", "--name", "made", "-v", "named:/data", IMAGE, "true"]);
    let gone = ["run", "--name", "gone", "--network", "none", IMAGE, "sh", "-c", "echo x >/x; exit 3"];
    assert_eq!(daemon.docker(&gone).status.code(), Some(3));
}

#[test]
fn engines_containerd_root_is_read_and_not_written() {
    let Some((all, _turn)) = engines::engines() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let daemon = Dockerd::start_engine(all.last().unwrap(), &root, CONTAINERD);
    fill(&daemon);
    // No other signal ends it, and dockerd would wait ten seconds.
    let up = ["run", "-d", "--name", "up", "--stop-signal", "KILL", "--network", "none", IMAGE, "sleep", "1000"];
    daemon.ok(&up);
    let mut report = Vec::new();
    let mut same = |question: &[&str], ours: &str, theirs: &str| {
        if ours != theirs {
            report.push(format!("{question:?}:\n{ours}docker:\n{theirs}"));
        }
    };
    for question in [
        &["container", "ls", "-a", "-s", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}} {{.Size}}"][..],
        &["container", "inspect", "-f", "{{.Id}} {{.State.ExitCode}} {{.Image}} {{.Driver}}", "gone", "made"],
        &["volume", "ls"],
    ] {
        let ours = layerfs_on(&root, question);
        assert!(ours.status.success(), "{ours:?}");
        same(question, &text(&ours.stdout), &daemon.ok(question));
    }
    let df = ["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}"];
    same(&df, &text(&layerfs_on(&root, &df).stdout), &daemon.ok(&df));
    // Nothing is written to it while its daemon runs.
    let store = root.join("containerd/daemon").display().to_string();
    let archive = testkit::golden("layers-20.10.tar");
    for request in [
        &["image", "tag", IMAGE, "new:1"][..],
        &["image", "rm", IMAGE],
        &["container", "rm", "made"],
        &["container", "commit", "gone"],
        &["image", "flatten", IMAGE],
        &["image", "load", "-q", "-i", archive.to_str().unwrap()],
    ] {
        let output = layerfs_on(&root, request);
        if output.status.success() || !output.stdout.is_empty() {
            report.push(format!("{request:?}: {output:?}"));
        }
    }
    daemon.stop();
    // containerd's own directory is no data-root, and only read.
    let said = text(&layerfs_on(&root.join("containerd/daemon"), &["image", "tag", IMAGE, "new:1"]).stderr);
    if !said.contains(
        "containerd's store is written where dockerd has it in its data-root, in the namespace moby, and nowhere",
    ) {
        report.push(format!("tag in containerd's own directory: {said}"));
    }
    // And nothing is taken away from it.
    for request in [&["image", "rm", IMAGE][..], &["container", "rm", "made"]] {
        let said = text(&layerfs_on(&root, request).stderr);
        if !said.contains("`layerfs system migrate --to overlay2 --into DATA_ROOT IMAGE` puts images into") {
            report.push(format!("{request:?}: {said}"));
        }
    }
    let account = Command::new(env!("CARGO_BIN_EXE_image-du")).arg("--root").arg(&root).arg("--json").output().unwrap();
    let account: Value = serde_json::from_slice(&account.stdout).unwrap();
    assert_eq!(account["docker"]["images"]["total"], 1, "{}", account["docker"]);
    assert_eq!(account["docker"]["volumes"]["total"], 1, "{}", account["docker"]);
    assert_eq!(account["containerd"]["store"], store, "{}", account["containerd"]);
    let line = |name: &str| {
        let line = account["unowned"].as_array().unwrap().iter().find(|line| line["name"] == *name);
        line.and_then(|line| line["allocated"].as_u64()).unwrap_or_default()
    };
    let du = |path: &Path| -> u64 {
        let output = Command::new("du").args(["-x", "-s", "-B1"]).arg(path).output().unwrap();
        text(&output.stdout).split_whitespace().next().unwrap().parse().unwrap()
    };
    assert_eq!((account["total_allocated"].as_u64(), account["unaccounted"].as_u64()), (Some(du(&root)), Some(0)));
    let name = "containerd/daemon/io.containerd.metadata.v1.bolt";
    assert_eq!(line(name), du(&root.join(name)), "{name}");
    // All blobs and snapshots are somebody's: what is left are the directories that they are in, and the database.
    for part in ["content.v1.content", "snapshotter.v1.overlayfs"] {
        let name = format!("containerd/daemon/io.containerd.{part}");
        let (left, all) = (line(&name), du(&root.join(&name)));
        assert!(left <= 256 << 10 && left < all / 8, "{name}: {left} of {all}");
    }
    testkit::assert_none("containerd's store", &report);
}

/// Which of the two stores dockerd uses is said by every listing, and it is so.
#[test]
fn engines_two_stores_are_told_apart() {
    let Some((all, _turn)) = engines::engines() else { return };
    let engine = all.last().unwrap();
    let dir = testkit::scratch();
    let system = dir.path().join("system");
    let root = system.join("var/lib/docker");
    std::fs::create_dir_all(&root).unwrap();
    let daemon = Dockerd::start_engine(engine, &root, OVERLAY2);
    fill(&daemon);
    daemon.stop();
    let listings = [
        &["image", "ls"][..],
        &["image", "tree"],
        &["container", "ls"],
        &["volume", "ls"],
        &["system", "df"],
        &["info"],
        &["inspect", "gone"],
        &["image", "inspect", IMAGE],
        &["image", "history", IMAGE],
        &["container", "inspect", "gone"],
        &["volume", "inspect", "named"],
    ];
    let warned = |said: &str| {
        let unsaid = listings.iter().filter(|listing| !text(&layerfs_on(&root, listing).stderr).contains(said));
        unsaid.map(|listing| format!("{listing:?} does not say {said:?}")).collect::<Vec<String>>()
    };
    assert!(!text(&layerfs_on(&root, &["image", "ls"]).stderr).contains("two image stores"));

    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    assert_eq!(daemon.ok(&["ps", "-aq"]), "", "containers of the other store are not shown");
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["create", "--name", "second", IMAGE, "true"]);
    daemon.stop();
    let mut report = warned("dockerd uses these unless its configuration has features.containerd-snapshotter");
    let listed = layerfs_on(&root, &["container", "ls", "-a", "--format", "{{.Names}}"]);
    assert_eq!(text(&listed.stdout), "gone\nmade\n");
    assert!(
        text(&listed.stderr).contains("container second is not listed: it belongs to the storage driver overlayfs")
    );
    // Without the feature a dockerd shows them again, as we have said.
    let daemon = Dockerd::start_engine(engine, &root, &[]);
    assert_eq!(daemon.ok(&["ps", "-a", "--format", "{{.Names}}"]), "gone\nmade\n");
    daemon.stop();

    std::fs::create_dir_all(system.join("etc/docker")).unwrap();
    let configure = |on: bool| {
        let config = format!("{{\"features\":{{\"containerd-snapshotter\":{on}}}}}");
        std::fs::write(system.join("etc/docker/daemon.json"), config).unwrap();
    };
    configure(true);
    report.extend(warned("etc/docker/daemon.json says that dockerd uses these"));
    let names = |flags: &[&str]| {
        let words = [flags, &["container", "ls", "-a", "--format", "{{.Names}}"]].concat();
        text(&layerfs_on(&root, &words).stdout)
    };
    // What the daemon would show is shown, and the other store where it is asked for.
    assert_eq!(
        [names(&[]), names(&["--store", "containerd"]), names(&["--store", "overlay2"])],
        ["second\n", "second\n", "gone\nmade\n"]
    );
    configure(false);
    report.extend(warned("etc/docker/daemon.json says that dockerd uses these"));
    testkit::assert_none("two stores", &report);
}
