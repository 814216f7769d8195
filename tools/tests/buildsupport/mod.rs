//! Dockerfiles of ours, and what a builder made of them, in a form in which two builders can be compared.

#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod both;
pub(crate) mod modern;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regex::{Captures, Regex};
use serde_json::Value;
use testkit::cases::TreeEntry;
use testkit::root::RootContents;

/// One Dockerfile of `testdata/dockerfiles/cases.txt`.
#[derive(Debug)]
pub(crate) struct DockerfileCase {
    pub(crate) name: String,
    pub(crate) options: Vec<String>,
    pub(crate) text: String,
}

/// All of them, in order: some stand on what an earlier one has made.
pub(crate) fn cases() -> Vec<DockerfileCase> {
    cases_of("dockerfiles/cases.txt")
}

pub(crate) fn cases_of(file: &str) -> Vec<DockerfileCase> {
    let text = std::fs::read_to_string(testkit::testdata(file)).unwrap();
    let case = |part: &str| {
        let (head, text) = part.split_once('\n').unwrap();
        let (name, options) = head.split_once(": ").unwrap_or((head, ""));
        let options = options.split_whitespace().map(str::to_owned).collect();
        DockerfileCase { name: name.to_owned(), options, text: text.to_owned() }
    };
    text.strip_prefix("#### ").unwrap().split("\n#### ").map(|part| case(&format!("{part}\n"))).collect()
}

/// Makes the context of the cases.
pub(crate) fn make_context(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let script = testkit::testdata("dockerfiles/context.sh");
    let output = Command::new("sh").arg(script).current_dir(dir).output().unwrap();
    testkit::succeeded("context.sh", output);
}

/// Writes the Dockerfile of a case into the context, with a time that says nothing.
pub(crate) fn write_dockerfile(context: &Path, text: &str) {
    let file = context.join("Dockerfile");
    std::fs::write(&file, text).unwrap();
    for path in [&file, context] {
        let output = Command::new("touch").args(["-d", "@1600000000"]).arg(path).output().unwrap();
        testkit::succeeded("touch", output);
    }
}

/// `layerfs build --classic` with nothing on standard input.
pub(crate) fn layerfs(root: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(["build", "--classic", "--no-sync"]).args(arguments);
    command.stdin(Stdio::null()).output().unwrap()
}

/// What a build says and how it ends, with ids numbered in the order in which they come.
pub(crate) fn said(output: &Output) -> String {
    let text = format!(
        "status {:?}\n{}--- stderr\n{}",
        output.status.code(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // Debian's client says first that this builder is old.
    let old = Regex::new(r"DEPRECATED: The legacy.*\n.*\n.*\n\n").unwrap();
    let text = old.replace_all(&text, "");
    let prefix = Regex::new(r"(?m)^(Error response from daemon: |layerfs: )").unwrap();
    let text = prefix.replace_all(&text, "");
    let help = Regex::new(r"(?m)^See 'docker build --help'.*\n").unwrap();
    let text = help.replace_all(&text, "").replace("\u{1b}[0m\u{1b}[91m", "");
    let mut seen = HashMap::new();
    let ids = Regex::new(r"\b(sha256:)?([0-9a-f]{64}|[0-9a-f]{12})\b").unwrap();
    let number = |found: &Captures<'_>| {
        let next = seen.len();
        format!("ID{}", seen.entry(found[2][..12].to_owned()).or_insert(next))
    };
    ids.replace_all(&text, number).into_owned()
}

/// The config of an image, without times, and without the names that its containers had.
pub(crate) fn config(root: &Path, id: &str) -> Value {
    let file = root.join("image/overlay2/imagedb/content/sha256").join(id.trim_start_matches("sha256:"));
    let mut config: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let keys: Vec<String> = config.as_object().unwrap().keys().cloned().collect();
    assert!(keys.is_sorted(), "{keys:?}");
    config.as_object_mut().unwrap().remove("docker_version");
    config["created"] = Value::Null;
    if let Some(container) = config.get_mut("container") {
        assert_eq!(container.as_str().unwrap().len(), 64);
        *container = "some".into();
    }
    for step in config["history"].as_array_mut().unwrap() {
        step["created"] = Value::Null;
    }
    for name in ["config", "container_config"] {
        let run = &mut config[name];
        if run["Image"] != "" {
            run["Image"] = "some".into();
        }
        let host = run["Hostname"].as_str().unwrap_or_default();
        if host.len() == 12 && host.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            run["Hostname"] = "some".into();
        }
    }
    config["rootfs"] = Value::Null;
    config
}

/// The diff ids of an image, base first.
fn diff_ids(root: &Path, id: &str) -> Vec<String> {
    let file = root.join("image/overlay2/imagedb/content/sha256").join(id.trim_start_matches("sha256:"));
    let config: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let ids = config["rootfs"]["diff_ids"].as_array().cloned().unwrap_or_default();
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

/// The files of each layer of an image, without times since `begun`.
pub(crate) fn layers(root: &Path, id: &str, begun: i64) -> Vec<Vec<TreeEntry>> {
    let contents = RootContents::read(root).layers;
    let directory = |diff_id: &String| -> PathBuf {
        let layer = contents.values().find(|layer| layer.diff_id == *diff_id).unwrap();
        root.join("overlay2").join(&layer.cache_id).join("diff")
    };
    let tree = |diff_id: &String| {
        let mut tree = testkit::tree::walk(&directory(diff_id));
        tree.retain(|entry| entry.path != b".");
        for entry in &mut tree {
            entry.mtime = entry.mtime.filter(|(seconds, _)| *seconds < begun && entry.device != Some((0, 0)));
            entry.xattrs.retain(|name, _| !name.starts_with("trusted.overlay."));
        }
        tree
    };
    diff_ids(root, id).iter().map(tree).collect()
}
