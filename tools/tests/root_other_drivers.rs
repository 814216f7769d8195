//! Roots of storage drivers that are not implemented here, made by hand after the layout that docker gives them: what is claimed
//! is attributed, and nothing is called an orphan.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[path = "driversupport/commands.rs"]
mod commands;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};

const CONTAINER: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";
const WRITABLE: &str = "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd";
/// In the home without a record: perhaps this driver needs it.
const NOBODYS: &str = "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee";

/// A driver, and where it keeps something of each layer (moby v20.10.24 `daemon/graphdriver`): `{}` is the layer.
struct Case {
    driver: &'static str,
    files: &'static [&'static str],
    directories: &'static [&'static str],
    /// The driver's own.
    own: &'static [&'static str],
}

const CASES: [Case; 5] = [
    Case {
        driver: "aufs",
        files: &["aufs/layers/{}", "aufs/diff/{}/file"],
        directories: &["aufs/mnt/{}", "aufs/diff/{}"],
        own: &[],
    },
    Case {
        driver: "devicemapper",
        files: &["devicemapper/metadata/{}"],
        directories: &["devicemapper/mnt/{}"],
        own: &[
            "devicemapper/devicemapper/data",
            "devicemapper/devicemapper/metadata",
            "devicemapper/metadata/base",
            "devicemapper/metadata/deviceset-metadata",
            "devicemapper/metadata/transaction-metadata",
        ],
    },
    Case { driver: "zfs", files: &[], directories: &["zfs/graph/{}"], own: &[] },
    Case { driver: "btrfs", files: &["btrfs/subvolumes/{}/file"], directories: &["btrfs/subvolumes/{}"], own: &[] },
    Case { driver: "overlay", files: &["overlay/{}/root/file"], directories: &["overlay/{}"], own: &[] },
];

fn run(program: &str, root: &Path, arguments: &[&str]) -> Output {
    Command::new(program).arg("--root").arg(root).args(arguments).output().unwrap()
}

fn layerfs(root: &Path, arguments: &[&str]) -> Output {
    run(env!("CARGO_BIN_EXE_layerfs"), root, arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn write(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Images and a container of this driver, and a layer that no record names; returns the cache ids.
fn make(case: &Case, dir: &Path) -> (PathBuf, Vec<String>) {
    let root = dir.join(case.driver);
    testkit::import(&testkit::golden("shared-20.10.tar"), &root);
    let images = root.join("image").join(case.driver);
    fs::rename(root.join("image/overlay2"), &images).unwrap();
    fs::remove_dir_all(root.join("overlay2")).unwrap();
    let mut layers: Vec<String> = fs::read_dir(images.join("layerdb/sha256"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path().join("cache-id")).unwrap())
        .collect();
    let mount = images.join("layerdb/mounts").join(CONTAINER);
    write(&mount.join("mount-id"), WRITABLE);
    write(&mount.join("init-id"), &format!("{WRITABLE}-init"));
    let config = json!({"ID": CONTAINER, "Name": "/one", "Driver": case.driver, "State": {}, "Config": {"Image": "x"}});
    write(&root.join("containers").join(CONTAINER).join("config.v2.json"), &config.to_string());
    layers.extend([WRITABLE.to_owned(), format!("{WRITABLE}-init")]);
    for layer in layers.iter().map(String::as_str).chain([NOBODYS]) {
        for directory in case.directories {
            fs::create_dir_all(root.join(directory.replace("{}", layer))).unwrap();
        }
        for file in case.files {
            write(&root.join(file.replace("{}", layer)), &"x".repeat(5000));
        }
    }
    for own in case.own {
        write(&root.join(own), &"z".repeat(20_000));
    }
    (root, layers)
}

/// The driver among them that is implemented here.
const KNOWN: &str = "devicemapper";

#[test]
fn root_other_drivers_have_owners_and_no_orphans() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let mut report = Vec::new();
    for case in &CASES {
        let (root, layers) = make(case, dir.path());
        let listed = layerfs(&root, &["container", "ls", "-a", "--format", "{{.Names}}"]);
        let images = layerfs(&root, &["image", "ls", "-q"]);
        if text(&listed.stdout) != "one\n" || text(&images.stdout).lines().count() != 4 {
            report.push(format!("{}: {listed:?} {images:?}", case.driver));
        }
        let owner = |path: &str| text(&layerfs(&root, &["system", "owner", root.join(path).to_str().unwrap()]).stdout);
        for place in case.files.iter().chain(case.directories) {
            let wrong = layers.iter().map(|layer| owner(&place.replace("{}", layer)));
            report.extend(wrong.filter(|said| !said.contains("\n  live ")));
            let said = owner(&place.replace("{}", NOBODYS));
            // How devicemapper keeps layers is known, so what has no owner there is an orphan.
            if case.driver == KNOWN {
                report.extend((!said.contains("\n  orphan ")).then_some(said));
                continue;
            }
            let honest = format!("what the storage driver {} keeps is not all known here", case.driver);
            if !said.contains("\n  unknown ") || !said.contains(&honest) {
                report.push(said);
            }
        }
        let own = case.own.iter().map(|path| owner(path));
        report.extend(own.filter(|said| !said.contains("driver's")));
        let account = run(env!("CARGO_BIN_EXE_image-du"), &root, &["--json"]);
        let account: Value = serde_json::from_slice(&account.stdout).unwrap();
        let du = Command::new("du").args(["-x", "-s", "-B1"]).arg(&root).output().unwrap();
        let total: u64 = text(&du.stdout).split_whitespace().next().unwrap().parse().unwrap();
        assert_eq!((&account["total_allocated"], &account["unaccounted"]), (&json!(total), &json!(0)));
        let lines = account["unowned"].as_array().unwrap();
        let count = |kind: &str| -> u64 {
            lines.iter().filter(|line| line["kind"] == kind).filter_map(|line| line["count"].as_u64()).sum()
        };
        let (orphans, unknown) = (count("orphans"), count("unknown"));
        if (orphans, unknown) != if case.driver == KNOWN { (1, 0) } else { (0, 1) } {
            report.push(format!("{}: {orphans} orphans, {unknown} things are unknown", case.driver));
        }
    }
    testkit::assert_none("other drivers", &report);
}

/// What was taken for a root is named, with what is there and what to do, by all that reads.
#[test]
fn no_root_is_said_in_these_words() {
    let dir = testkit::scratch();
    fs::write(dir.path().join("file"), "x").unwrap();
    fs::create_dir(dir.path().join("other")).unwrap();
    fs::write(dir.path().join("other/notes"), "x").unwrap();
    std::os::unix::fs::symlink("loop", dir.path().join("loop")).unwrap();
    for (name, reason) in [
        ("nosuch", "there is no such directory"),
        ("file", "it is not a directory"),
        ("loop", "it is a symlink that leads back to itself"),
        ("other", "it does not look like a Docker data-root"),
    ] {
        let root = dir.path().join(name);
        let expected = format!("{}: {reason}; --root names the data-root, which `docker info` shows\n", root.display());
        for (program, arguments) in [
            (env!("CARGO_BIN_EXE_layerfs"), &["image", "ls"][..]),
            (env!("CARGO_BIN_EXE_layerfs"), &["container", "ls"]),
            (env!("CARGO_BIN_EXE_layerfs"), &["inspect", "x"]),
            (env!("CARGO_BIN_EXE_layerfs"), &["system", "df"]),
            (env!("CARGO_BIN_EXE_image-du"), &[]),
        ] {
            let output = run(program, &root, arguments);
            assert_eq!(output.status.code(), Some(1), "{output:?}");
            assert!(text(&output.stderr).ends_with(&expected), "{}", text(&output.stderr));
        }
    }
}

/// Those that Docker 1.10 would have converted, and what is left of them after it has.
#[test]
fn root_before_content_addresses_is_refused_by_name() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("old");
    fs::create_dir_all(root.join("aufs/diff").join(NOBODYS)).unwrap();
    fs::create_dir_all(root.join("graph").join(NOBODYS)).unwrap();
    write(&root.join("repositories-aufs"), "{\"Repositories\":{}}");
    for (program, arguments) in [
        (env!("CARGO_BIN_EXE_layerfs"), &["image", "ls"][..]),
        (env!("CARGO_BIN_EXE_layerfs"), &["container", "ls", "--storage-driver", "aufs"]),
        (env!("CARGO_BIN_EXE_layerfs"), &["system", "owner", NOBODYS]),
        (env!("CARGO_BIN_EXE_image-du"), &[]),
    ] {
        let output = run(program, &root, arguments);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
        assert!(said.contains("before version 1.10 (repositories-aufs)"), "{said}");
    }
    // Its images alone tell it, too.
    fs::remove_file(root.join("repositories-aufs")).unwrap();
    let said = text(&layerfs(&root, &["image", "ls"]).stderr);
    assert!(said.contains("before version 1.10 (graph)"), "{said}");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &dir.path().join("new"));
    // What Docker 1.10 has converted is a root like any other, with what it left where it was.
    let new = dir.path().join("new");
    write(&new.join("repositories-overlay"), "{}");
    fs::create_dir_all(new.join("graph").join(NOBODYS)).unwrap();
    for arguments in [&["image", "ls"][..], &["image", "tag", "layerfs-test/busybox:1", "more:1"]] {
        let output = layerfs(&new, arguments);
        assert!(output.status.success(), "{output:?}");
    }
}

/// What the README says of each command and driver; of devicemapper it is tried in a virtual machine.
#[test]
fn root_each_command_works_on_drivers_with_directories() {
    if !testkit::is_root() {
        return;
    }
    for driver in ["overlay2", "vfs"] {
        let dir = testkit::scratch();
        let layerfs = testkit::program("layerfs");
        commands::check_commands(layerfs.parent().unwrap(), dir.path(), driver, &[]);
    }
}
