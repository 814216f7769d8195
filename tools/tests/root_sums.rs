//! Files that are too long to be kept, alone or with the others of their kind: they are named, keep what they might need, and take no
//! memory.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::Command;

use layerfs::Digest;
use serde_json::Value;
use testkit::run::{self, Input};

const BUSYBOX: &str = "layerfs-test/busybox:1";

/// Address space of a command. Read into memory, the configs of this test would take more.
const CAGE: &str = "--as=800000000";

struct Root {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

impl Root {
    /// A root with busybox and `count` more images of the same layers, whose configs have `length` bytes and a few.
    fn new(count: usize, length: usize) -> (Self, Vec<String>) {
        let dir = testkit::scratch();
        let path = dir.path().join("root");
        testkit::import(&testkit::golden("busybox-20.10.tar"), &path);
        let root = Self { _dir: dir, path };
        let configs = root.path.join("image/overlay2/imagedb/content/sha256");
        let busybox = std::fs::read_dir(&configs).unwrap().next().unwrap().unwrap().path();
        let config: Value = serde_json::from_slice(&std::fs::read(busybox).unwrap()).unwrap();
        let mut ids = Vec::new();
        for number in 0..count {
            let mut config = config.clone();
            config["config"]["Labels"]["long"] = format!("{number} {}", "x".repeat(length)).into();
            let bytes = serde_json::to_vec(&config).unwrap();
            let id = Digest::hash(&bytes).hex();
            std::fs::write(configs.join(&id), bytes).unwrap();
            ids.push(id);
        }
        ids.sort();
        (root, ids)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> run::Ran {
        let mut command = Command::new("prlimit");
        command.args([CAGE, "--"]).arg(testkit::program(program)).args(arguments).arg("--root").arg(&self.path);
        run::run(command, Input::Nothing)
    }

    /// The findings of a check, by image, with their severities.
    fn findings(&self) -> Vec<(String, String)> {
        let ran = self.run("layerfs", &["system", "check", "--json"]);
        let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{}", ran.stderr));
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let findings = report["findings"].as_array().unwrap().iter();
        let mut found: Vec<_> = findings.map(|one| (text(&one["code"]), text(&one["severity"]))).collect();
        found.sort();
        found
    }
}

fn files(root: &Path) -> Vec<PathBuf> {
    testkit::listing(root).into_iter().collect()
}

/// Nothing that is not read is called unused, damaged or repairable, and its layers stay.
fn nothing_goes(root: &Root, not_read: usize) {
    assert_eq!(root.findings(), vec![("image-config-not-read".to_owned(), "note".to_owned()); not_read]);
    let before = files(&root.path);
    let ran = root.run("layerfs", &["system", "repair", "--apply"]);
    assert_eq!(files(&root.path), before, "{}{}", ran.stdout, ran.stderr);
    let ran = root.run("layerfs", &["rmi", "--force", BUSYBOX]).ok();
    assert!(!ran.stdout.contains("Deleted: sha256:49d04e46"), "{}", ran.stdout);
    root.run("image-gc", &["--min-age", "0", "--apply"]);
    let gone: Vec<_> = testkit::changes(&before.into_iter().collect(), &testkit::listing(&root.path));
    let is_layer = |change: &&String| change.contains("layerdb/sha256") || change.starts_with("gone: overlay2/");
    assert_eq!(gone.iter().filter(is_layer).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn root_a_long_config_is_named_and_keeps_its_layers() {
    if !testkit::is_root() {
        return;
    }
    let (root, ids) = Root::new(1, 9 << 20);
    let listed = root.run("layerfs", &["image", "ls"]);
    assert!(listed.stdout.contains("layerfs-test/busybox") && listed.stderr.contains(&ids[0]), "{}", listed.stderr);
    nothing_goes(&root, 1);
}

#[test]
fn root_many_long_configs_take_no_memory() {
    if !testkit::is_root() {
        return;
    }
    let (root, ids) = Root::new(16, 7 << 20);
    let listed = root.run("layerfs", &["image", "ls", "--all", "--no-trunc", "--quiet"]);
    let shown = ids.iter().filter(|id| listed.stdout.contains(*id)).count();
    assert!((1..=3).contains(&shown), "{shown}: {}", listed.stderr);
    nothing_goes(&root, 16 - shown);
}
