//! `image-du` on stores that a real dockerd made: what it says adds up to what `du` says, agrees with docker, and foretells
//! what a removal frees.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::{docker, empty_root, golden, scratch, succeeded};

/// `image-du --root ROOT --json ARGUMENTS`
fn image_du(root: &Path, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_image-du"));
    let output = command.arg("--root").arg(root).arg("--json").args(arguments).output().unwrap();
    serde_json::from_str(&succeeded("image-du", output)).unwrap()
}

/// What GNU `du` says of the root.
fn du(root: &Path) -> u64 {
    let output = Command::new("du").args(["-x", "-s", "-B1"]).arg(root).output().unwrap();
    succeeded("du", output).split('\t').next().unwrap().parse().unwrap()
}

/// Builds an image of the files and the steps given.
fn build(daemon: &Dockerd, tag: &str, dockerfile: &str, kit: bool) {
    let context = tempfile::tempdir().unwrap();
    std::fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    std::fs::write(context.path().join("content"), tag.repeat(5000)).unwrap();
    let mut command = daemon.client(&["build", "--network", "none", "-q", "-t", tag, "."]);
    command.current_dir(context.path()).env("DOCKER_BUILDKIT", if kit { "1" } else { "0" }).stdin(Stdio::null());
    succeeded(&format!("docker build {tag}"), command.output().unwrap());
}

/// What docker prints for bytes, as bytes at least and at most.
fn assert_size(text: &str, bytes: u64, what: &str) {
    let text = text.split(' ').next().unwrap();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "B" => 1.0,
        "kB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        other => panic!("{what}: {other}"),
    };
    let value: f64 = digits.parse::<f64>().unwrap() * unit;
    assert!((value - bytes as f64).abs() <= value.abs() * 0.006, "{what}: docker says {text}, we {bytes}");
}

/// Images that hold each other in all ways, and containers.
fn furnish(daemon: &Dockerd, kit: bool) {
    daemon.load(&golden("busybox-20.10.tar"));
    daemon.load(&golden("layers-20.10.tar"));
    daemon.ok(&["tag", "layerfs-test/busybox:1", "base:1"]);
    // Built step by step: each step is an image, and none of them has a name.
    build(daemon, "app:1", "FROM base:1\nCOPY content /a\nENV a=b\nCOPY content /b\n", false);
    daemon.ok(&["tag", "app:1", "again:2"]);
    build(daemon, "above:1", "FROM app:1\nCOPY content /c\n", false);
    build(daemon, "beside:1", "FROM base:1\nCOPY content /a\n", false);
    build(daemon, "used:1", "FROM base:1\nCOPY content /d\n", false);
    daemon.ok(&["create", "--name", "stopped", "--network", "none", "used:1", "true"]);
    if kit {
        build(daemon, "cached:1", "FROM base:1\nCOPY content /e\nCOPY content /f\n", true);
        build(daemon, "cached:2", "FROM cached:1\nCOPY content /g\n", true);
    }
}

fn assert_adds_up(root: &Path) -> Value {
    let report = image_du(root, &[]);
    assert_eq!(report["total_allocated"], du(root));
    assert_eq!(report["unaccounted"], 0);
    report
}

#[test]
fn adds_up_and_agrees_with_docker() {
    let Some(_turn) = docker() else { return };
    let dir = scratch();
    let root = empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    furnish(&daemon, true);
    // No other signal ends a shell of number 1, and dockerd would wait ten seconds.
    let volume = ["run", "-d", "--name", "running", "--stop-signal", "KILL", "--network", "none", "-v", "kept:/v"];
    let script =
        "dd if=/dev/zero of=/v/big bs=1k count=300; dd if=/dev/zero of=/w bs=1k count=200; seq 1 5000; sleep 999";
    daemon.ok(&[&volume[..], &["base:1", "sh", "-c", script]].concat());
    let started = std::time::Instant::now();
    while !daemon.ok(&["logs", "running"]).ends_with("5000\n") {
        assert!(started.elapsed() < std::time::Duration::from_secs(60), "the container writes what it is told to");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let report = assert_adds_up(&root);

    let text = daemon.ok(&["system", "df", "--format", "{{json .}}"]);
    for (line, name) in text.lines().zip(["images", "containers", "volumes", "build_cache"]) {
        let docker: Value = serde_json::from_str(line).unwrap();
        let row = &report["docker"][name];
        assert_eq!(docker["TotalCount"], row["total"].to_string(), "{name}");
        assert_eq!(docker["Active"], row["active"].to_string(), "{name}");
        assert_size(docker["Size"].as_str().unwrap(), row["size"].as_u64().unwrap(), name);
        let reclaimable = row["reclaimable"].as_i64().unwrap();
        assert_size(docker["Reclaimable"].as_str().unwrap(), reclaimable.try_into().unwrap(), name);
    }
    let running = report["containers"].as_array().unwrap().iter().find(|one| one["name"] == "running").unwrap();
    assert!(running["logs"].as_u64().unwrap() > 100_000, "{running}");
    let kept = &report["volumes"][0];
    assert_eq!((kept["name"].as_str(), kept["containers"].as_u64()), (Some("kept"), Some(1)));
    assert!(kept["unique"].as_u64().unwrap() >= 300 << 10);
    daemon.stop();
    assert_adds_up(&root);
}

/// Removes each image by the real dockerd: what is gone afterwards is what was foretold.
#[test]
fn frees_what_it_foretells() {
    let Some(_turn) = docker() else { return };
    for kit in [false, true] {
        let dir = scratch();
        let root = empty_root(&dir, "root");
        let daemon = Dockerd::start(&root);
        furnish(&daemon, kit);
        let mut removed = 0;
        for name in ["beside:1", "used:1", "app:1", "above:1", "app:1", "cached:1", "cached:2", "base:1"] {
            if !kit && name.starts_with("cached") {
                continue;
            }
            let id = daemon.ok(&["images", "-q", "--no-trunc", name]);
            let id = id.trim();
            if id.is_empty() {
                continue;
            }
            let report = image_du(&root, &["--freed-by", name]);
            let image = report["images"].as_array().unwrap().iter().find(|image| image["id"] == id).unwrap().clone();
            assert_eq!(image["unique"], report["freed_by"]["allocated"], "{name}");
            let before = du(&root);
            let said = daemon.docker(&["rmi", "-f", id]);
            assert_eq!(said.status.success(), image["kept"].is_null(), "{name}: {image} {said:?}");
            let after = du(&root);
            assert_eq!(before - after, image["unique"], "{name}: {image}");
            assert_adds_up(&root);
            removed += 1;
        }
        assert!(removed > 4);
        // The layers that only the container holds go with it.
        let report = image_du(&root, &[]);
        let container = &report["containers"][0];
        let before = du(&root);
        daemon.ok(&["rm", "stopped"]);
        assert_eq!(before - du(&root), container["unique"], "{container}");
        daemon.stop();
    }
}

/// Several at once.
#[test]
fn a_set_frees_what_no_single_one_does() {
    let Some(_turn) = docker() else { return };
    let dir = scratch();
    let root = empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    furnish(&daemon, false);
    let report = image_du(&root, &["--freed-by", "app:1", "above:1", "beside:1"]);
    let before = du(&root);
    daemon.ok(&["rmi", "-f", "above:1"]);
    daemon.ok(&["rmi", "-f", "again:2", "app:1"]);
    daemon.ok(&["rmi", "-f", "beside:1"]);
    assert_eq!(before - du(&root), report["freed_by"]["allocated"]);
    daemon.stop();
}

/// What stays is there for those that are said to need it: it goes with the last of them.
#[test]
fn what_stays_goes_with_the_last_that_needs_it() {
    let Some(_turn) = docker() else { return };
    let dir = scratch();
    let root = empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    furnish(&daemon, false);
    let records = root.join("image/overlay2/layerdb/sha256");
    let is_there = |stay: &Value| records.join(stay["layer"].as_str().unwrap().trim_start_matches("sha256:")).exists();
    let report = image_du(&root, &["used:1"]);
    let stays = report["freed_by"]["stays"].as_array().unwrap();
    let container = daemon.ok(&["inspect", "-f", "{{.Id}}", "stopped"]);
    assert!(stays.len() >= 2 && stays.iter().all(|stay| stay["containers"] == serde_json::json!([container.trim()])));
    let (only_container, others): (Vec<_>, Vec<_>) =
        stays.iter().partition(|stay| stay["images"].as_array().unwrap().is_empty());
    assert!(!only_container.is_empty() && !others.is_empty(), "{stays:?}");
    // The same for people, by the names that people use.
    let mut command = Command::new(env!("CARGO_BIN_EXE_image-du"));
    let text = succeeded("image-du", command.arg("--root").arg(&root).arg("used:1").output().unwrap());
    assert!(
        text.contains("container stopped")
            && text.contains("images above:1, again:2, ")
            && text.contains("would stay:"),
        "{text}"
    );
    assert!(!text.contains("Build Cache"), "only the image was asked for: {text}");

    daemon.ok(&["rmi", "-f", "used:1"]);
    assert!(stays.iter().all(is_there));
    daemon.ok(&["rm", "stopped"]);
    assert!(!only_container.iter().any(|stay| is_there(stay)) && others.iter().all(|stay| is_there(stay)));
    let users: std::collections::BTreeSet<&str> =
        others.iter().flat_map(|stay| stay["images"].as_array().unwrap()).map(|id| id.as_str().unwrap()).collect();
    // Children go before their parents; a parent without a name goes with its last child.
    for _ in 0..users.len() {
        users.iter().for_each(|id| drop(daemon.docker(&["rmi", "-f", id])));
    }
    assert!(!others.iter().any(|stay| is_there(stay)));
    daemon.stop();
}

/// What upper layers replace and delete, and what is in several of them.
#[test]
fn files_and_thresholds() {
    let Some(_turn) = docker() else { return };
    let dir = scratch();
    let root = empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&golden("busybox-20.10.tar"));
    daemon.ok(&["tag", "layerfs-test/busybox:1", "base:1"]);
    // 45,000 bytes of content, replaced by another, deleted with its directory; and once more elsewhere.
    let steps =
        "FROM base:1\nCOPY content /d/a\nCOPY content /d/b\nRUN echo short > /d/b\nRUN rm -r /d\nCOPY content /e\n";
    build(&daemon, "wasteful:1", steps, false);
    daemon.stop();
    let content = "wasteful:1".len() as u64 * 5000;

    let report = image_du(&root, &["--files", "wasteful:1"]);
    let files = &report["files"];
    let image = &files["images"][0];
    assert_eq!(files["images"].as_array().unwrap().len(), 1);
    let repeated = image["repeated"].as_array().unwrap();
    let path = |name: &str| repeated.iter().find(|path| path["path"] == name).unwrap_or_else(|| panic!("{image}"));
    assert_eq!((path("d/b")["bytes"].as_u64(), path("d/b")["layers"].as_u64()), (Some(content + 6), Some(2)));
    // What the deletion hides: a, and b as it was last; and before that the first b.
    let own_hidden = 2 * content + 6;
    assert!(image["hidden_bytes"].as_u64().unwrap() >= own_hidden, "{image}");
    let same = files["identical"].as_array().unwrap();
    let same = same.iter().find(|same| same["size"] == content).unwrap();
    assert_eq!((same["places"].as_array().unwrap().len(), same["saved"].as_u64()), (3, Some(2 * content)));
    let largest = &files["largest"][0];
    assert!(largest["path"].as_str().unwrap().ends_with("/diff/bin/busybox"), "{largest}");

    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_image-du"));
        command.arg("--root").arg(&root).args(arguments).output().unwrap()
    };
    for (arguments, status) in [
        (["--lowest-efficiency", "0.5"], 0),
        (["--lowest-efficiency", "0.999"], 1),
        (["--highest-wasted-bytes", "1kB"], 1),
        (["--highest-wasted-bytes", "1GB"], 0),
        (["--highest-user-wasted-percent", "0.01"], 1),
        (["--highest-user-wasted-percent", "disabled"], 0),
        (["--highest-user-wasted-percent", "7"], 2),
    ] {
        let output = run(&[&["wasteful:1"], &arguments[..]].concat());
        assert_eq!(output.status.code(), Some(status), "{arguments:?}: {output:?}");
    }
    let config = dir.path().join("dive-ci");
    std::fs::write(&config, "rules:\n  lowestEfficiency: 0.1\n  highestUserWastedPercent: disabled\n").unwrap();
    let config = config.to_str().unwrap();
    assert_eq!(run(&["wasteful:1", "--ci-config", config]).status.code(), Some(0));
    std::fs::write(config, "rules:\n  lowestEfficiency: 0.1\n").unwrap();
    assert_eq!(
        run(&["wasteful:1", "--ci-config", config]).status.code(),
        Some(1),
        "a tenth is the rule where none is set"
    );

    let page = dir.path().join("page.html");
    assert_eq!(run(&["--html", page.to_str().unwrap()]).status.code(), Some(0));
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("wasteful:1") && page.contains("layers of several images"));
}
