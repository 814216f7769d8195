//! Cost grows straight: twice the images take at most twice the system calls, whatever the command.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[path = "../../snapshot/tests/support/big_store.rs"]
mod big_store;

use std::path::Path;
use std::process::Command;

const LAYERFS: &str = env!("CARGO_BIN_EXE_layerfs");
const IMAGE_GC: &str = env!("CARGO_BIN_EXE_image-gc");
const IMAGE_DU: &str = env!("CARGO_BIN_EXE_image-du");

/// How many system calls a command makes, with all its threads.
fn calls(program: &str, root: &Path, arguments: &[&str]) -> f64 {
    calls_named("all", program, root, arguments)
}

/// How many system calls of these names a command makes.
fn calls_named(names: &str, program: &str, root: &Path, arguments: &[&str]) -> f64 {
    let log = root.with_extension("strace");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-c", "-U", "calls", "-e", &format!("trace={names}"), "-o"])
        .arg(&log)
        .arg(program)
        .arg("--root")
        .arg(root)
        .args(arguments);
    let output = strace.output().unwrap();
    // 1 says that something was found.
    let done = matches!(output.status.code(), Some(0 | 1)) && !output.stdout.is_empty();
    assert!(done, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&log).unwrap();
    let mut numbers = text.lines().filter_map(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    // The last line is the sum.
    numbers.next_back().unwrap()
}

#[test]
fn root_calls_grow_straight() {
    let strace = Command::new("strace").arg("--version").output().is_ok();
    if !testkit::is_root() || !testkit::tier("root", strace, "install strace") {
        return;
    }
    let dir = testkit::scratch();
    let (small, large) = (dir.path().join("small"), dir.path().join("large"));
    // The shared layers are the same in both, so that less than twice is right.
    big_store::write(&small, 30, 10).unwrap();
    big_store::write(&large, 60, 10).unwrap();
    let listings: [&[&str]; 8] = [
        &["image", "ls", "-q"],
        &["image", "tree", "--json"],
        &["container", "ls", "-a"],
        &["system", "df"],
        &["system", "owner", "big/app3:1"],
        &["system", "check"],
        &["system", "check", "--quick"],
        &["system", "repair"],
    ];
    let one: [&[&str]; 2] = [&["image", "inspect", "big/app3:1"], &["image", "history", "big/app3:1"]];
    let mut report = Vec::new();
    let mut grows = |program: &str, arguments: &[&str], most: f64| {
        let counts = testkit::two_at_a_time(&[&small, &large], |root| calls(program, root, arguments));
        let (few, many) = (counts[0], counts[1]);
        if many > few * most {
            report.push(format!("{arguments:?}: {few} calls for 30 images, {many} for 60"));
        }
    };
    for arguments in listings {
        grows(LAYERFS, arguments, 2.1);
    }
    for arguments in one {
        grows(LAYERFS, arguments, 1.1);
    }
    grows(IMAGE_DU, &["--threads", "1", "--json"], 2.1);
    grows(IMAGE_GC, &["--all"], 2.1);
    grows(IMAGE_GC, &["--json"], 2.1);
    grows(IMAGE_DU, &["--files", "--threads", "1", "--json"], 2.1);
    // What a listing reads of a layer is bounded: four small files, and the link and the stack that the driver has of it.
    let layers = 60.0 * 10.0 + 300.0;
    let each = calls(LAYERFS, &large, &["image", "ls"]) / layers;
    assert!(each < 40.0, "{each} calls for each layer");
    assert!(report.is_empty(), "{}", report.join("\n"));
    // Who has an image is asked of records alone, four small files of each layer, and not of the driver's directories.
    let each = calls(LAYERFS, &large, &["system", "owner", "big/app3:1"]) / layers;
    assert!(each < 25.0, "{each} calls for each layer");
    // A plan looks closer at directories that nobody needs, not at those of the layers.
    let looks = calls_named("newfstatat", IMAGE_GC, &large, &["--json"]);
    assert!(looks < layers / 2.0, "{looks} looks at {layers} layers");
}

/// A change of one image looks neither through the directories of all layers nor through the stores of all images' layers.
#[test]
fn root_a_change_lists_no_layers() {
    let strace = Command::new("strace").arg("--version").output().is_ok();
    if !testkit::is_root() || !testkit::tier("root", strace, "install strace") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    big_store::write(&root, 30, 0).unwrap();
    let log = dir.path().join("log");
    let mut strace = Command::new("strace");
    strace.args(["-f", "-y", "-e", "trace=getdents64", "-o"]).arg(&log).arg(LAYERFS).arg("--root").arg(&root);
    let output = strace.args(["image", "tag", "big/app3:1", "other:1"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = std::fs::read_to_string(&log).unwrap();
    let home = format!("<{}>", root.join("overlay2").display());
    let entries = text.lines().filter(|line| line.contains(&home)).filter_map(|line| {
        let (before, _) = line.split_once(" entries */")?;
        before.rsplit_once(' ')?.1.parse::<u32>().ok()
    });
    let listed: Vec<u32> = entries.collect();
    assert!(!listed.is_empty(), "no look into the driver's home at all: {text}");
    assert!(listed.iter().sum::<u32>() < 40, "entries of the driver's home were read: {listed:?}");
}

/// `--files` opens no directory for each layer: a store may have more layers than a process has descriptors.
#[test]
fn root_files_of_more_layers_than_descriptors() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    big_store::write(&root, 30, 0).unwrap();
    // The same content in all layers, so that all are compared.
    let home = root.join("overlay2");
    for entry in std::fs::read_dir(&home).unwrap() {
        let diff = entry.unwrap().path().join("diff");
        if diff.is_dir() {
            std::fs::write(diff.join("same"), "the same in all of them").unwrap();
        }
    }
    let mut command = Command::new("prlimit");
    command.args(["--nofile=128:128", IMAGE_DU, "--root"]).arg(&root).args(["--files", "--json"]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["files"]["unread"], 0);
    assert_eq!(report["files"]["identical"][0]["places"].as_array().unwrap().len(), 600);
}
