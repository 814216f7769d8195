//! Roots of other kinds: the storage driver vfs, mapped users, several drivers side by side, containerd's image store.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;
use std::process::{Command, Output};

use testkit::dockerd::Dockerd;

fn run(program: &str, root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.arg("--root").arg(root).args(arguments).output().unwrap()
}

fn layerfs(root: &Path, arguments: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_layerfs"), root, arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What differs from docker's own answers, and from what `du` says.
fn compare(daemon: &Dockerd, root: &Path, options: &[&str]) -> Vec<String> {
    let mut report = Vec::new();
    let image = "layerfs-test/busybox:1";
    // Among the names of one image docker's order is random.
    let sorted = |output: &[u8]| {
        let text = testkit::dockerd::narrow(&text(output));
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        lines.join("\n")
    };
    for question in [
        &["image", "ls", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}} {{.Size}}"][..],
        &["image", "inspect", image],
        &["image", "history", "--no-trunc", image],
        &["container", "ls", "-a", "--format", "{{.ID}} {{.Image}} {{.Names}} {{.State}}"],
        &["system", "df", "--format", "{{.Type}} {{.TotalCount}} {{.Active}}"],
    ] {
        let (theirs, ours) = (daemon.docker(question), layerfs(root, &[options, question].concat()));
        if sorted(&theirs.stdout) != sorted(&ours.stdout) || theirs.status.code() != ours.status.code() {
            let (theirs, ours, said) = (text(&theirs.stdout), text(&ours.stdout), text(&ours.stderr));
            report.push(format!("{question:?}:\n{ours}{said}docker:\n{theirs}"));
        }
    }
    let accounted = run(env!("CARGO_BIN_EXE_image-du"), root, &[options, &["--json"]].concat());
    let json: serde_json::Value = serde_json::from_slice(&accounted.stdout).unwrap();
    let du = Command::new("du").args(["-x", "-s", "-B1"]).arg(root).output().unwrap();
    let total: u64 = text(&du.stdout).split_whitespace().next().unwrap().parse().unwrap();
    if json["total_allocated"] != total || json["unaccounted"] != 0 {
        report.push(format!(
            "{} allocated, {} unaccounted; du says {total}",
            json["total_allocated"], json["unaccounted"]
        ));
    }
    report
}

/// Two images and a container.
fn fill(daemon: &Dockerd) {
    for golden in ["busybox-20.10.tar", "shared-20.10.tar"] {
        daemon.load(&testkit::golden(golden));
    }
    daemon.ok(&["create", "--name", "one", "layerfs-test/busybox:1", "/bin/true"]);
}

#[test]
fn docker_vfs_and_beside_overlay2() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let daemon = Dockerd::start_with(&root, &["--storage-driver=vfs"]);
    fill(&daemon);
    let mut report = compare(&daemon, &root, &[]);
    // Every directory of the driver's has an owner.
    let home = root.join("vfs/dir");
    for entry in std::fs::read_dir(home).unwrap() {
        let path = entry.unwrap().path();
        let owner = text(&layerfs(&root, &["system", "owner", path.to_str().unwrap()]).stdout);
        if !owner.contains("  live ") {
            report.push(owner);
        }
    }
    daemon.stop();
    // Another driver's images beside: nobody guesses.
    let daemon = Dockerd::start(&root);
    fill(&daemon);
    report.extend(compare(&daemon, &root, &["--storage-driver", "overlay2"]));
    let ours = layerfs(&root, &["image", "ls"]);
    if ours.status.code() != Some(1) || !text(&ours.stderr).contains("several storage drivers: overlay2, vfs") {
        report.push(format!("{ours:?}"));
    }
    let ours = layerfs(&root, &["--storage-driver", "btrfs", "image", "ls"]);
    if ours.status.code() != Some(1) || !text(&ours.stderr).contains("nothing of the storage driver btrfs") {
        report.push(format!("{ours:?}"));
    }
    daemon.stop();
    testkit::assert_none("vfs and overlay2", &report);
}

#[test]
fn docker_mapped_users() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    // The mapped root must be able to go there.
    let mut way = dir.path();
    while way != Path::new("/") {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(way).unwrap().permissions().mode();
        std::fs::set_permissions(way, std::fs::Permissions::from_mode(mode | 0o011)).unwrap();
        way = way.parent().unwrap();
    }
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    // A user whose subordinate ids are the mapping: dockerd makes it.
    let there = || std::fs::read_to_string("/etc/passwd").unwrap().contains("dockremap:");
    let before = there();
    let daemon = Dockerd::start_with(&root, &["--storage-driver=overlay2", "--userns-remap=default"]);
    fill(&daemon);
    // Asked about the outer directory, it finds the inner one; `du` is asked about the same.
    let mapped: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().path()).collect();
    let inner = mapped.iter().find(|path| path.join("image").exists()).unwrap();
    let mut report = compare(&daemon, &root, &[]);
    report.extend(compare(&daemon, inner, &[]));
    daemon.stop();
    if !before && there() {
        assert!(Command::new("/usr/sbin/userdel").arg("dockremap").status().unwrap().success());
    }
    testkit::assert_none("mapped users", &report);
}

/// A data-root on another disk, behind a symlink: dockerd calls it by the path that the symlink leads to, wherever it shows a path.
#[test]
fn docker_root_behind_a_symlink() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (disk, link) = (dir.path().join("disk"), dir.path().join("link"));
    std::fs::create_dir(&disk).unwrap();
    std::os::unix::fs::symlink("disk", &link).unwrap();
    let daemon = Dockerd::start(&link);
    fill(&daemon);
    daemon.ok(&["volume", "create", "kept"]);
    let mut report = Vec::new();
    let questions = [
        &["image", "inspect", "layerfs-test/busybox:1"][..],
        &["container", "inspect", "-f", "{{json .GraphDriver}}", "one"],
        &["volume", "inspect", "-f", "{{.Mountpoint}}", "kept"],
        &["info", "-f", "{{.DockerRootDir}}"],
    ];
    for question in questions {
        let theirs = daemon.ok(question);
        assert!(theirs.contains(disk.to_str().unwrap()) && !theirs.contains(link.to_str().unwrap()), "{theirs}");
        for root in [&link, &link.join("../disk/."), &disk] {
            let ours = layerfs(root, question);
            if text(&ours.stdout) != theirs {
                report.push(format!("{question:?} of {}: {ours:?}, docker {theirs}", root.display()));
            }
        }
    }
    daemon.stop();
    testkit::assert_none("a root behind a symlink", &report);
}

/// Its home has the form of overlay2's. There is no dockerd with that driver here, so its names are given to another's.
#[test]
fn docker_fuse_overlayfs() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let daemon = Dockerd::start(&root);
    fill(&daemon);
    let question = ["image", "inspect", "layerfs-test/busybox:1"];
    let theirs = daemon.ok(&question);
    daemon.stop();
    for place in ["image", "."] {
        std::fs::rename(root.join(place).join("overlay2"), root.join(place).join("fuse-overlayfs")).unwrap();
    }
    let ours = text(&layerfs(&root, &question).stdout);
    assert_eq!(ours.replace("fuse-overlayfs", "overlay2"), theirs);
    let listed = layerfs(&root, &["system", "owner", root.join("fuse-overlayfs/l").to_str().unwrap()]);
    assert!(text(&listed.stdout).contains("service"), "{listed:?}");
    let accounted = run(env!("CARGO_BIN_EXE_image-du"), &root, &["--json"]);
    let json: serde_json::Value = serde_json::from_slice(&accounted.stdout).unwrap();
    assert_eq!((json["unaccounted"].as_u64(), json["images"].as_array().unwrap().len()), (Some(0), 5));
}

#[test]
fn plain_store_of_the_systems_containerd_is_named() {
    let dir = testkit::scratch();
    std::fs::create_dir_all(dir.path().join("rootfs/overlayfs")).unwrap();
    let image_du = env!("CARGO_BIN_EXE_image-du");
    let layerfs = env!("CARGO_BIN_EXE_layerfs");
    for (program, arguments, status) in
        [(layerfs, &["image", "ls"][..], 1), (layerfs, &["system", "df"], 1), (image_du, &[], 0), (layerfs, &["ps"], 0)]
    {
        let output = run(program, dir.path(), arguments);
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        // Containers are listed as they are; what tells of images says where those are.
        let said = text(&output.stderr).contains("its images are in the store of the system's containerd");
        assert_eq!(said, arguments != ["ps"], "{output:?}");
    }
}

/// Without its database no image is known; what is not in it is listed, and the damage is named.
#[test]
fn plain_damaged_database_of_containerd_is_named() {
    let dir = testkit::scratch();
    let daemon = dir.path().join("containerd/daemon");
    std::fs::create_dir_all(daemon.join("io.containerd.snapshotter.v1.overlayfs/snapshots/1")).unwrap();
    std::fs::create_dir_all(dir.path().join("volumes/kept/_data")).unwrap();
    let database = daemon.join("io.containerd.metadata.v1.bolt/meta.db");
    std::fs::create_dir_all(database.parent().unwrap()).unwrap();
    std::fs::write(&database, b"no database".repeat(1000)).unwrap();
    let layerfs = env!("CARGO_BIN_EXE_layerfs");
    let output = run(layerfs, dir.path(), &["image", "ls"]);
    let named = "damaged: dockerd would not start";
    assert!(text(&output.stderr).contains(named) && text(&output.stderr).contains("meta.db"), "{output:?}");
    let output = run(layerfs, dir.path(), &["volume", "ls", "-q"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), "kept\n"), "{output:?}");
}

/// Blobs and snapshots whose database is gone are no empty store: containerd deletes them when dockerd deletes anything (measured).
#[test]
fn plain_missing_databases_of_containerd_are_named() {
    let dir = testkit::scratch();
    let daemon = dir.path().join("containerd/daemon");
    let snapshotter = daemon.join("io.containerd.snapshotter.v1.overlayfs");
    std::fs::create_dir_all(snapshotter.join("snapshots/1")).unwrap();
    let databases = [daemon.join("io.containerd.metadata.v1.bolt/meta.db"), snapshotter.join("metadata.db")];
    std::fs::create_dir_all(databases[0].parent().unwrap()).unwrap();
    for there in [[true, true], [false, true], [true, false], [false, false]] {
        for (database, there) in databases.iter().zip(there) {
            match there {
                true => std::fs::write(database, testkit::bolt::database(&[])).unwrap(),
                false => drop(std::fs::remove_file(database)),
            }
        }
        let output = run(env!("CARGO_BIN_EXE_layerfs"), dir.path(), &["image", "ls", "-q"]);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(0), ""), "{output:?}");
        let said = ["/meta.db is missing", " metadata.db is missing"].map(|part| text(&output.stderr).contains(part));
        assert_eq!(said, there.map(|there| !there), "{output:?}");
    }
}
