//! Labels of volumes: those that are given here dockerd knows, and keeps; those that it gave stay; and none outlives its volume.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;

use serde_json::{Value, json};
use testkit::dockerd::Dockerd;
use testkit::made_by_layerfs;

fn labels(daemon: &Dockerd, volume: &str) -> Value {
    serde_json::from_str(&daemon.ok(&["volume", "inspect", "--format", "{{json .Labels}}", volume])).unwrap()
}

fn with_label(root: &Path, label: &str) -> Vec<String> {
    let listed = made_by_layerfs(root, &["volume", "ls", "-q", "--filter", &format!("label={label}")]);
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn dockerd_knows_the_labels_that_are_given_here() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let daemon = Dockerd::start_with(&root, &["--storage-driver", "overlay2"]);
    daemon.ok(&["volume", "create", "--label", "a=b", "theirs"]);
    daemon.stop();
    made_by_layerfs(&root, &["volume", "create", "--label", "x=1", "--label", "y", "--label", "z=<&\u{fc}\"", "ours"]);
    made_by_layerfs(&root, &["volume", "create", "plain"]);
    assert_eq!(with_label(&root, "x"), ["ours"]);
    assert_eq!(with_label(&root, "a=b"), ["theirs"]);
    // Together longer than a page of the database.
    let long = format!("n={}", "v".repeat(700));
    let many: Vec<String> = (0..20).map(|number| format!("many{number:02}")).collect();
    for name in &many {
        made_by_layerfs(&root, &["volume", "create", "--label", &long, name]);
    }
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.errors(), Vec::<String>::new());
    assert_eq!(labels(&daemon, "ours"), json!({"x": "1", "y": "", "z": "<&\u{fc}\""}));
    assert_eq!(labels(&daemon, "theirs"), json!({"a": "b"}));
    let mut listed: Vec<String> =
        daemon.ok(&["volume", "ls", "-q", "--filter", "label=n"]).lines().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(listed, many);
    daemon.ok(&["volume", "create", "--label", "n=0", "later"]);
    daemon.ok(&["volume", "rm", "many00"]);
    daemon.stop();
    // What dockerd has made of our database is read, and written once more.
    assert_eq!(with_label(&root, "n").len(), many.len());
    made_by_layerfs(&root, &["volume", "rm", "ours", "many01"]);
    made_by_layerfs(&root, &["volume", "create", "ours"]);
    assert_eq!(with_label(&root, "x"), Vec::<String>::new());
    let daemon = Dockerd::start(&root);
    let none = labels(&daemon, "ours");
    assert!(none.is_null() || none == json!({}), "{none}");
    assert_eq!(labels(&daemon, "later"), json!({"n": "0"}));
    assert_eq!(labels(&daemon, "theirs"), json!({"a": "b"}));
    daemon.stop();
}
