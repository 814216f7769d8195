//! Configs and names as people have them: what dockerd takes, refuses, and loads without the name, and that we do the same.
//! `testdata/field-cases/README.md` says where the files come from.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use testkit::Random;
use testkit::dockerd::Dockerd;
use testkit::image::DockerArchive;
use testkit::tarfile;

/// Changed names of one run that is no sweep.
const CHANGED: usize = 12;

fn layerfs(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(arguments);
    command
}

fn case(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../testdata/field-cases/{name}.tar"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where we and docker answer a question differently.
fn differs(question: &[&str], theirs: &Output, ours: &Output) -> Option<String> {
    let same = theirs.stdout == ours.stdout && theirs.status.success() == ours.status.success();
    let said =
        || format!("{question:?}: docker {}, we {}{}", text(&theirs.stdout), text(&ours.stdout), text(&ours.stderr));
    (!same).then(said)
}

/// What the field of a config is called that dockerd cannot decode, or `None` where it lists the image.
const CONFIGS: [(&str, Option<&str>); 7] = [
    ("01-cmd-string-user-int", Some("config.User must be a string, not a number")),
    ("01-cmd-string-env-string", Some("config.Env must be a list, not a string")),
    ("01-cmd-string-health", None),
    ("01-cmd-string-shell", None),
    ("21-created-empty", Some("created must be a time")),
    ("21-created-frac10", None),
    ("21-created-year1", None),
];

#[test]
fn docker_takes_and_shows_the_same_configs() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let daemon = Dockerd::start(&testkit::empty_root(&dir, "dockers"));
    let mut report = Vec::new();
    for (name, refused) in CONFIGS {
        let archive = case(name);
        let root = dir.path().join(name);
        let loaded = daemon.docker(&["load", "-i", archive.to_str().unwrap()]).status.success();
        let ours = testkit::layer_unpack(&archive, &root);
        assert_eq!(loaded, refused.is_none(), "{name}");
        let said = text(&ours.stderr);
        if ours.status.success() != loaded || refused.is_some_and(|field| !said.contains(field)) {
            report.push(format!("{name}: dockerd takes it: {loaded}; we: {said}"));
        }
        if loaded {
            let tag = daemon.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).trim().to_owned();
            for question in [
                &["image", "ls", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}} {{.CreatedAt}} {{.Size}}"]
                    [..],
                &["image", "inspect", "-f", "{{json .Config}} {{json .ContainerConfig}} {{.Created}}", &tag],
                &["image", "history", "--no-trunc", "-H=false", &tag],
            ] {
                for zone in ["UTC", "Asia/Kolkata"] {
                    let theirs = daemon.client(question).env("TZ", zone).output().unwrap();
                    let ours = layerfs(&root, question).env("TZ", zone).output().unwrap();
                    report.extend(differs(question, &theirs, &ours).map(|line| format!("{name}: {line}")));
                }
            }
        }
        daemon.remove_everything();
    }
    testkit::assert_none("configs", &report);
}

/// Stored in spite of it, such an image is one that dockerd drops when it starts.
#[test]
fn docker_drops_what_it_would_not_load() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    testkit::import(&case("01-cmd-string-shell"), &root);
    let content = root.join("image/overlay2/imagedb/content/sha256");
    let sound = std::fs::read_dir(&content).unwrap().next().unwrap().unwrap().path();
    let sound = std::fs::read_to_string(sound).unwrap();
    let mut ids = Vec::new();
    for (at, value) in [("User", json!(1000)), ("Env", json!("A=b"))] {
        let mut config: Value = serde_json::from_str(&sound).unwrap();
        config["config"][at] = value;
        let id = layerfs::Digest::hash(config.to_string().as_bytes());
        std::fs::write(content.join(id.hex()), config.to_string()).unwrap();
        ids.push((at, id));
    }
    let list = ["image", "ls", "-a", "-q", "--no-trunc"];
    let ours = layerfs(&root, &list).output().unwrap();
    let daemon = Dockerd::start(&root);
    assert_eq!(text(&ours.stdout), daemon.ok(&list));
    assert_eq!(daemon.images().len(), 1);
    for (field, id) in ids {
        let line = text(&ours.stderr).lines().find(|line| line.contains(&id.to_string())).map(str::to_owned);
        assert!(line.is_some_and(|line| line.contains(&format!("config.{field}"))), "{field}: {ours:?}");
    }
}

/// Names that show something each.
fn telling() -> Vec<String> {
    let digest = "a".repeat(64);
    let mut names: Vec<String> = [
        "app:1",
        "localhost:5000/a/b:1",
        "index.docker.io/library/app:1",
        "App:1",
        "bazel/MyImage:tag",
        "<none>:<none>",
        "",
        "app",
        "a:1,b:2",
        " a:1",
        "a:",
        "sha256:1",
    ]
    .map(str::to_owned)
    .into();
    names.extend([
        format!("{}:1", "n".repeat(255)),
        format!("{}:1", "n".repeat(238)),
        format!("{}:1", "n".repeat(237)),
        format!("a:{}", "t".repeat(128)),
        format!("a:{}", "t".repeat(129)),
        format!("a@sha256:{digest}"),
        format!("a:1@sha256:{digest}"),
        format!("a:1@sha256:{}", &digest[1..]),
        format!("a:1@sha512:{digest}{digest}"),
        format!("a:1@sha512:{digest}"),
        digest.clone(),
        format!("{digest}:1"),
    ]);
    names
}

/// Names that differ from a good one, or from one that is nearly good, in one or two places.
fn changed() -> Vec<String> {
    let digest = "a".repeat(64);
    let mut good: Vec<String> = [
        "app:1",
        "localhost:5000/a/b:1",
        "index.docker.io/library/app:1",
        "docker.io/app:1",
        "ghcr.io/a/b-c_d.e__f:1.2-x_Y",
        "library/app:1",
        "a/b/c/d:1",
        "127.0.0.1:80/a:1",
        "xn--a.com/b:1",
        "a:V1",
        "a/docker.io/b:1",
        "registry-1.docker.io/a:1",
        "docker.io:443/a:1",
        "a.b:99999/c:1",
        "a_b.c/d:1",
        "x/sha256:1",
        "sha512:1",
        "http://a.b/c:1",
    ]
    .map(str::to_owned)
    .into();
    good.push(format!("x@sha256:{digest}"));
    good.push(format!("x.io/y:1@sha256:{digest}"));
    good.push(format!("b/{digest}:1"));
    let pieces = [
        "A",
        "z",
        "0",
        "_",
        "-",
        ".",
        "/",
        ":",
        "@",
        " ",
        "\n",
        "\t",
        "\\",
        "\"",
        "+",
        "~",
        "%41",
        "__",
        "___",
        "--",
        "..",
        "//",
        "::",
        "@@",
        "\u{e9}",
        "\u{65e5}",
        "\u{a0}",
        "library/",
        "docker.io/",
        "localhost/",
        "sha256:",
        "<none>",
    ];
    let mut random = Random::new(30);
    let mut below = |count: usize| usize::try_from(random.below(count as u64)).unwrap();
    let mut names = std::collections::BTreeSet::new();
    while names.len() < 300 {
        let mut name: Vec<char> = good[below(good.len())].chars().collect();
        for _ in 0..=below(2) {
            let at = below(name.len());
            let end = at + below(2);
            let piece = if below(4) == 0 { "" } else { pieces[below(pieces.len())] };
            name.splice(at..end, piece.chars());
        }
        names.insert(name.into_iter().collect());
    }
    names.into_iter().collect()
}

/// Names that newer dockerds take and 20.10 does not: an IPv6 address, or capitals, in the place of the domain.
fn is_of_newer_grammar(name: &str) -> bool {
    name.split_once('/').is_some_and(|(first, _)| first.starts_with('[') || first.chars().any(char::is_uppercase))
}

#[test]
fn docker_takes_and_refuses_the_same_names() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let daemon = Dockerd::start(&testkit::empty_root(&dir, "dockers"));
    let layer = tarfile::tar(&[tarfile::file("f", "x")]);
    let archive = dir.path().join("archive.tar");
    let mut report = Vec::new();
    let mut all = changed();
    if !testkit::full_sweep() {
        let step = all.len() / CHANGED;
        all = all.into_iter().step_by(step).collect();
    }
    let names: Vec<String> = telling().into_iter().chain(all).filter(|name| !is_of_newer_grammar(name)).collect();
    let mut taken = 0;
    for (number, name) in names.iter().enumerate() {
        std::fs::write(&archive, DockerArchive::new(name, std::slice::from_ref(&layer)).build()).unwrap();
        let root = dir.path().join(format!("ours-{number}"));
        let loaded = daemon.docker(&["load", "-i", archive.to_str().unwrap()]).status.success();
        let ours = testkit::layer_unpack(&archive, &root);
        if ours.status.success() != loaded {
            let said = text(&ours.stderr);
            report.push(format!("{name:?}: dockerd takes it: {loaded}; we: {said}"));
        }
        if loaded {
            taken += 1;
            let question = ["images", "--digests", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"];
            let ours = layerfs(&root, &question).output().unwrap();
            let line = differs(&question, &daemon.docker(&question), &ours);
            report.extend(line.map(|line| format!("{name:?}: {line}")));
            std::fs::remove_dir_all(&root).unwrap();
        }
        daemon.remove_everything();
    }
    testkit::assert_none("names", &report);
    eprintln!("{} names, {taken} taken", names.len());
    assert!(taken > 8 && names.len() - taken > 12, "{taken} of {}", names.len());
}

/// Keys of `repositories.json`, which dockerd does not check but where it reads them.
#[test]
fn docker_shows_the_same_names_of_a_store() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    testkit::import(&case("01-cmd-string-shell"), &root);
    let path = root.join("image/overlay2/repositories.json");
    let mut stored: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let repositories = stored["Repositories"].as_object_mut().unwrap();
    let id = repositories.values().next().unwrap().as_object().unwrap().values().next().unwrap().clone();
    // A name of more than 255 characters with its domain is known to differ.
    let keys = telling().into_iter().chain(changed()).filter(|name| !is_of_newer_grammar(name) && name.len() < 240);
    for (number, key) in keys.enumerate() {
        repositories.insert(format!("repository-{number}"), json!({ key: id }));
    }
    std::fs::write(&path, stored.to_string()).unwrap();
    let questions = [
        &["images", "--digests", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.Digest}}"][..],
        &["images", "--format", "{{.Repository}}:{{.Tag}}"],
        &[
            "image",
            "inspect",
            "-f",
            "{{range .RepoTags}}{{println .}}{{end}}{{range .RepoDigests}}{{println .}}{{end}}",
            id.as_str().unwrap(),
        ],
    ];
    let ours = questions.map(|question| layerfs(&root, question).output().unwrap());
    let daemon = Dockerd::start(&root);
    let mut report = Vec::new();
    for (question, ours) in questions.iter().zip(ours) {
        let lines = |output: &Output| {
            text(&output.stdout).lines().map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
        };
        let (theirs, ours) = (lines(&daemon.docker(question)), lines(&ours));
        assert!(theirs.len() > 50, "{theirs:?}");
        report.extend(theirs.symmetric_difference(&ours).map(|line| format!("{question:?}: {line:?}")));
    }
    testkit::assert_none("names of a store", &report);
}
