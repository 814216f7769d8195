//! `image rm`, `image tag` and `image prune` against a real dockerd on copies of one store: the same lines, the same exit status,
//! and in the end the same files.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use testkit::dockerd::Dockerd;
use testkit::tree::walk;

const BASE: &str = "layerfs-test/busybox:1";

/// Commands, each with what it is told on standard input; `{NAME}` is the id of the image of that name, `{NAME/12}` its first
/// digits, `{NAME/sha}` with its algorithm, `{NAME/up}` the image it was built from, `{dangling}` the one without a name.
type Group = &'static [&'static str];

/// Each group is for a store of its own, and one command stands on what those before it have left.
const GROUPS: &[Group] = &[
    // Names, known and unknown.
    &[
        "rmi nosuch",
        "rmi -f nosuch",
        "rmi app",
        "rmi -f nosuch NOSUCH",
        "rmi 0123456789ab",
        "rmi 0000000000000000000000000000000000000000000000000000000000000000",
        "rmi sha256:0000000000000000000000000000000000000000000000000000000000000000",
        "rmi docker.io/library/app:2",
        "rmi app:1 nosuch:1 other:1",
        "rmi many:a",
        "rmi many:b many:b",
        "rmi else:1",
        "rmi -f again:1 nosuch",
    ],
    // Ids, of images with one name and with several.
    &[
        "rmi {many:a/12}",
        "rmi {many:a/sha}",
        "rmi {app:2/12}",
        "rmi {dangling}",
        "rmi {app:1/3}",
        "rmi -f {many:a/12}",
        "rmi {app:1}",
        "rmi {app:1}",
        "rmi s",
        "rmi -f {used:1/12} {other:1/12}",
    ],
    // Children: the base of others, steps of builds.
    &[
        "rmi {app:1/up}",
        "rmi -f {app:1/up}",
        "rmi {base/12}",
        "rmi -f {base/12}",
        "rmi layerfs-test/busybox:1",
        "rmi {base/12}",
        "rmi --no-prune app:1",
        "rmi {app:1/up}",
        "rmi app:2",
        "rmi -f many:a many:b else:1",
        "rmi -f used:1 other:1 again:1 {dangling/12}",
    ],
    // Containers.
    &[
        "rmi used:1",
        "rmi {used:1/12}",
        "rmi ran:1 used:1",
        "rmi -f used:1",
        "rmi -f ran:1 ran:2",
        "rmi twice:1",
        "rmi {twice:1/12}",
        "rmi twice:2",
        "rmi -f {twice:1}",
        "rmi {ran:1}",
        "rmi -f {ran:1}",
    ],
    // Digests.
    &[
        "rmi digests@sha256:1111111111111111111111111111111111111111111111111111111111111111",
        "rmi digests:1",
        "rmi {only/12}",
        "rmi mixed:1",
        "rmi mixed:2@sha256:3333333333333333333333333333333333333333333333333333333333333333",
        "rmi mixed:2",
        "rmi {apart/12}",
        "rmi apart:1",
        "rmi -f {apart/12}",
    ],
    // Prunes of images without a tag.
    &[
        "image prune --filter nonsense=1 -f",
        "image prune -f --filter dangling=maybe",
        "image prune -f --filter until=2001-01-01",
        "image prune -f --filter label=nosuch",
        "image prune -f --filter label!=step",
        "image prune < n",
        "image prune -f --filter label=step",
        "image prune < Y",
        "image prune -f",
        "rmi app:1",
        "image prune -f",
    ],
    // Prunes of all.
    &[
        "image prune -a < no",
        "image prune -a -f --filter label=step=two",
        "image prune -a -f --filter until=2001-01-01",
        "image prune -a -f",
        "image prune -a -f",
        "rmi -f twice:1 twice:2",
        "image prune --all --force",
    ],
    // Tags.
    &[
        "tag app:1 new",
        "tag app:1 new",
        "tag {app:2/12} reg.example:5000/x/y:1",
        "tag {app:2/sha} second",
        "tag nosuch x:1",
        "tag 0123456789ab x:1",
        "tag app:1 APP:1",
        "tag APP:1 x",
        "tag app:1 a@sha256:1111111111111111111111111111111111111111111111111111111111111111",
        "tag app:1 sha256",
        "tag app:1 x:-bad",
        "tag app:1 0000000000000000000000000000000000000000000000000000000000000000",
        "tag app:1 many:a",
        "tag digests@sha256:1111111111111111111111111111111111111111111111111111111111111111 copy:1",
        "tag {dangling} found:1",
        "rmi new",
        "rmi app:1",
        "rmi {app:1/12}",
        "rmi -f {app:1/12}",
        "rmi second",
        "rmi reg.example:5000/x/y:1",
        "rmi {app:2}",
        "rmi found:1",
    ],
];

/// A store as a dockerd left it.
struct Store {
    dir: TempDir,
    ids: BTreeMap<String, String>,
    parents: BTreeMap<String, String>,
}

impl Store {
    fn make() -> Self {
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

    fn copy(&self, name: &str) -> PathBuf {
        let to = self.dir.path().join(name);
        let status = Command::new("cp").arg("-a").arg(self.dir.path().join("original")).arg(&to).status();
        assert!(status.unwrap().success());
        to
    }

    /// A word of a command, with ids in place.
    fn word(&self, word: &str) -> String {
        let Some(inner) = word.strip_prefix('{').and_then(|word| word.strip_suffix('}')) else {
            return word.to_owned();
        };
        let (name, form) = inner.split_once('/').unwrap_or((inner, ""));
        let id = &self.ids[name];
        match form {
            "" => id.clone(),
            "sha" => format!("sha256:{id}"),
            "up" => self.parents[name].clone(),
            digits => id[..digits.parse().unwrap()].to_owned(),
        }
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

fn run(mut command: Command, input: Option<&str>) -> Output {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // Most commands do not read it, and may have ended.
    let _ = writeln!(stdin, "{}", input.unwrap_or_default());
    drop(stdin);
    child.wait_with_output().unwrap()
}

/// What a program said, without what only one of them has: the program's own name, and who of docker's two it was.
fn said(output: &Output, sorted: bool) -> (Option<i32>, Vec<String>, Vec<String>) {
    let lines = |bytes: &[u8]| -> Vec<String> { String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect() };
    let (mut stdout, stderr) = (lines(&output.stdout), lines(&output.stderr));
    if sorted {
        stdout.sort();
    }
    let plain = |line: String| {
        let line = line.strip_prefix("layerfs: ").unwrap_or(&line);
        let line = line.strip_prefix("Error response from daemon: ").unwrap_or(line);
        line.strip_prefix("Error: ").unwrap_or(line).to_owned()
    };
    (output.status.code(), stdout, stderr.into_iter().map(plain).collect())
}

/// Every file of the image store and the layers' home that stays the same in two stores with the same images: the same
/// mode, owner, link, attributes and content. When an image was tagged is another moment in each.
fn files(root: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    for top in ["image", "overlay2"] {
        for mut entry in walk(&root.join(top)) {
            let path = format!("{top}/{}", entry.path.escape_ascii());
            if path.ends_with("/lastUpdated") {
                let time = String::from_utf8(entry.data.take().unwrap_or_default()).unwrap();
                assert!(time.parse::<jiff::Timestamp>().is_ok() && time.contains('T'), "{path}: {time:?}");
                entry.size = 0;
            }
            let (mode, owner, target) = (entry.mode, entry.owner, entry.target);
            let line = format!(
                "{} {mode:o} {owner:?} {target:?} {} {:?} {:?}",
                entry.kind, entry.size, entry.xattrs, entry.data
            );
            files.insert(path, line);
        }
    }
    files
}

fn differences(dockers: &Path, ours: &Path) -> Vec<String> {
    let (dockers, ours) = (files(dockers), files(ours));
    let mut lines = Vec::new();
    for (path, line) in &dockers {
        match ours.get(path) {
            None => lines.push(format!("docker alone has {path}")),
            Some(other) if other != line => lines.push(format!("{path}: docker {line:.200}, layerfs {other:.200}")),
            Some(_) => {}
        }
    }
    lines.extend(
        ours.keys().filter(|path| !dockers.contains_key(*path)).map(|path| format!("layerfs alone has {path}")),
    );
    lines
}

/// Runs a group on two copies; what differs.
fn compare(store: &Store, number: usize, group: Group) -> Vec<String> {
    let (dockers, ours) = (store.copy(&format!("docker-{number}")), store.copy(&format!("layerfs-{number}")));
    let mut report = Vec::new();
    let daemon = Dockerd::start(&dockers);
    for text in group {
        let (command, input) = text.split_once(" < ").map_or((*text, None), |(command, input)| (command, Some(input)));
        let words: Vec<String> = command.split(' ').map(|word| store.word(word)).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let expected = said(&run(daemon.client(&words), input), text.contains("prune"));
        let mut layerfs = Command::new(testkit::program("layerfs"));
        layerfs.arg("--root").arg(&ours).args(&words);
        let found = said(&run(layerfs, input), text.contains("prune"));
        if found != expected {
            report.push(format!("{text}:\n  docker  {expected:?}\n  layerfs {found:?}"));
        }
    }
    let images = |daemon: &Dockerd| {
        daemon.ok(&[
            "images",
            "-a",
            "--no-trunc",
            "--digests",
            "--format",
            "{{.ID}} {{.Repository}} {{.Tag}} {{.Digest}}",
        ])
    };
    let sorted = |text: String| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let expected = sorted(images(&daemon));
    daemon.stop();
    // What a daemon does at its start and end, it does on both.
    let daemon = Dockerd::start(&ours);
    let found = sorted(images(&daemon));
    daemon.stop();
    if found != expected {
        report.push(format!("images:\n  docker  {expected:?}\n  layerfs {found:?}"));
    }
    report.extend(differences(&dockers, &ours));
    for root in [dockers, ours] {
        std::fs::remove_dir_all(root).unwrap();
    }
    report.into_iter().map(|line| format!("group {number}: {line}")).collect()
}

#[test]
fn docker_and_layerfs_remove_the_same() {
    let Some(_turn) = testkit::docker() else { return };
    let commands: usize = GROUPS.iter().map(|group| group.len()).sum();
    assert!(commands >= 60, "{commands}");
    let store = Store::make();
    let report: Vec<String> =
        GROUPS.iter().enumerate().flat_map(|(number, group)| compare(&store, number, group)).collect();
    testkit::assert_none("after the same commands", &report);
}
