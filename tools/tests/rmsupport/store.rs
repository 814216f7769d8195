//! The store that the commands are for.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;
use testkit::dockerd::Dockerd;

const BASE: &str = "layerfs-test/busybox:1";

/// A store as a dockerd left it.
pub(crate) struct RmStore {
    dir: TempDir,
    ids: BTreeMap<String, String>,
    parents: BTreeMap<String, String>,
}

impl RmStore {
    pub(crate) fn make() -> Self {
        let dir = testkit::scratch();
        let root = testkit::empty_root(&dir, "original");
        let daemon = Dockerd::start(&root);
        daemon.load(&testkit::golden("busybox-20.10.tar"));
        let build = |tag: Option<&str>, steps: &str| {
            let context = dir.path().join("context");
            std::fs::create_dir_all(&context).unwrap();
            std::fs::write(context.join("Dockerfile"), format!("FROM {BASE}\n{steps}\n")).unwrap();
            std::fs::write(context.join("file"), steps).unwrap();
            let mut arguments = vec!["build", "-q"];
            arguments.extend(tag.iter().flat_map(|tag| ["-t", tag]));
            arguments.push(context.to_str().unwrap());
            daemon.ok(&arguments).trim().trim_start_matches("sha256:").to_owned()
        };
        let mut ids = BTreeMap::new();
        let mut make = |name: &str, steps: &str| {
            let tag = name.contains(':').then_some(name);
            ids.insert(name.to_owned(), build(tag, steps));
        };
        make("app:1", "LABEL step=one\nCOPY file /one\nLABEL more=1\nCOPY file /two");
        make("app:2", "COPY file /app2");
        make("other:1", "LABEL step=one\nCOPY file /one\nCOPY file /other");
        make("again:1", "LABEL step=two");
        make("many:a", "COPY file /many");
        make("used:1", "COPY file /used");
        make("ran:1", "COPY file /ran\nCMD [\"true\"]");
        make("twice:1", "COPY file /twice");
        make("dangling", "LABEL step=three\nCOPY file /dangling");
        make("digests:1", "COPY file /digests");
        make("only", "COPY file /only");
        make("mixed:1", "COPY file /mixed");
        make("apart:1", "COPY file /apart");
        let unnamed = build(None, "COPY file /unnamed");
        for (source, target) in [
            ("many:a", "many:b"),
            ("many:a", "else:1"),
            ("ran:1", "ran:2"),
            ("twice:1", "twice:2"),
            ("mixed:1", "mixed:2"),
        ] {
            daemon.ok(&["tag", source, target]);
        }
        daemon.ok(&["create", "--name", "used", "used:1"]);
        daemon.ok(&["run", "--network", "none", "--name", "ran", "ran:1"]);
        daemon.ok(&["create", "--name", "twice", "twice:1"]);
        daemon.ok(&["create", "--name", "unnamed", &unnamed]);
        // An image without layers. The mount of its container names none, and keeps nobody from removing others.
        let scratch = dir.path().join("scratch");
        std::fs::create_dir_all(&scratch).unwrap();
        std::fs::write(scratch.join("Dockerfile"), "FROM scratch\nLABEL empty=yes\n").unwrap();
        daemon.ok(&["build", "-q", "-t", "empty:1", scratch.to_str().unwrap()]);
        daemon.ok(&["create", "--name", "empty", "empty:1", "true"]);
        ids.insert(
            "base".into(),
            daemon.ok(&["inspect", "-f", "{{.Id}}", BASE]).trim().trim_start_matches("sha256:").into(),
        );
        let parent = |id: &String| {
            daemon.ok(&["inspect", "-f", "{{.Parent}}", id]).trim().trim_start_matches("sha256:").to_owned()
        };
        let parents = ids.iter().map(|(name, id)| (name.clone(), parent(id))).collect();
        ids.insert("apart".into(), ids["apart:1"].clone());
        daemon.stop();
        add_digests(&root, &ids);
        // As a daemon leaves it that was killed.
        let config = names(&root.join("containers"))
            .into_iter()
            .map(|id| root.join("containers").join(id).join("config.v2.json"));
        for config in config.filter(|config| std::fs::read_to_string(config).unwrap().contains("\"/twice\"")) {
            let text = std::fs::read_to_string(&config).unwrap();
            std::fs::write(
                config,
                text.replace("\"Running\":false", "\"Running\":true").replace("\"Pid\":0", "\"Pid\":4194303"),
            )
            .unwrap();
        }
        Self { dir, ids, parents }
    }

    pub(crate) fn copy(&self, name: &str) -> PathBuf {
        let to = self.dir.path().join(name);
        let status = Command::new("cp").arg("-a").arg(self.dir.path().join("original")).arg(&to).status();
        assert!(status.unwrap().success());
        to
    }

    /// A word of a command, with ids in place.
    pub(crate) fn word(&self, word: &str) -> String {
        let Some((before, rest)) = word.split_once('{') else { return word.to_owned() };
        let (inner, after) = rest.split_once('}').unwrap();
        let mut parts = inner.split('/');
        let name = parts.next().unwrap();
        let id = parts.fold(self.ids[name].clone(), |id, form| match form {
            "sha" => format!("sha256:{id}"),
            "up" => self.parents[name].clone(),
            digits => id[..digits.parse().unwrap()].to_owned(),
        });
        format!("{before}{id}{after}")
    }
}

/// Names with digests, as a pull leaves them.
fn add_digests(root: &Path, ids: &BTreeMap<String, String>) {
    let file = root.join("image/overlay2/repositories.json");
    let mut all: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let mut add = |repository: &str, digit: &str, image: &str| {
        let name = format!("{repository}@sha256:{}", digit.repeat(64));
        all["Repositories"][repository][name] = format!("sha256:{}", ids[image]).into();
    };
    add("digests", "1", "digests:1");
    add("digests", "2", "digests:1");
    add("only", "1", "only");
    add("mixed", "3", "mixed:1");
    add("mixed", "4", "mixed:1");
    add("distant", "5", "apart:1");
    std::fs::write(&file, serde_json::to_vec(&all).unwrap()).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
