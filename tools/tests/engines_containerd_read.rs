//! What layerfs reads of containerd's store, beside what the client of Docker 28.5 prints of it.
//!
//! Where answers differ docker is asked again, so that an age that changes in between is right in both ways. No command may
//! leave a trace in the root.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::OnceLock;

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD};
use testkit::layerfs_on;
use testkit::platforms::{self, Part};
use testkit::quiet::Stamps;

const BUSYBOX: &str = "layerfs-test/busybox:1";

/// What docker's client says before a tree of images.
const WARNING: &str = "WARNING: This is an experimental feature. The output may change and shouldn't be depended on.\n";

/// How often both are asked again where the answers differ, because an age changes meanwhile.
const TRIES: usize = 8;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Fills a store with everything that dockerd can hold of images and containers.
fn fill(daemon: &Dockerd, dir: &Path) {
    for golden in [
        "busybox-20.10.tar",
        "docker-archive-skopeo.tar",
        "hybrid-26.tar",
        "layers-20.10.tar",
        "oci-skopeo-gzip.tar",
        "oci-skopeo-zstd.tar",
        "oci-umoci.tar",
        "shared-20.10.tar",
    ] {
        daemon.load(&testkit::golden(golden));
    }
    let load = |file: &str, archive: Vec<u8>| {
        let path: PathBuf = dir.join(file);
        std::fs::write(&path, archive).unwrap();
        daemon.load(&path);
    };
    use Part::{Nothing, Whole, WithoutConfig};
    load("many.tar", platforms::archive("docker.io/library/many:1", &[("amd64", Whole), ("arm64", Whole)], true));
    let partly = [("amd64", Whole), ("arm64", WithoutConfig), ("s390x", Nothing)];
    load("partly.tar", platforms::archive("docker.io/layerfs-test/partly:1", &partly, false));
    load("other.tar", platforms::archive("localhost:5000/x/other:2", &[("arm64", Whole)], true));
    daemon.ok(&["tag", BUSYBOX, "second/name:v1"]);
    daemon.ok(&["tag", BUSYBOX, "localhost:5000/second/name:v1"]);
    daemon.ok(&["create", "--name", "made", "-v", "named:/data", BUSYBOX, "true"]);
    let gone =
        ["run", "--name", "gone", "--network", "none", BUSYBOX, "sh", "-c", "echo x >/x; rm /etc/passwd; exit 3"];
    assert_eq!(daemon.docker(&gone).status.code(), Some(3));
    daemon.ok(&["commit", "-m", "what it wrote", "-c", "ENV A=b", "-c", "LABEL one=1", "gone", "committed:1"]);
    daemon.ok(&["commit", "gone"]);
    // No other signal ends it, and dockerd would wait ten seconds.
    let up = ["run", "-d", "--name", "up", "--stop-signal", "KILL", "--network", "none", BUSYBOX, "sleep", "1000"];
    daemon.ok(&up);
    // A name that moves on leaves an image without a name.
    daemon.ok(&["tag", "committed:1", "moves:1"]);
    daemon.ok(&["tag", "second/name:v1", "moves:1"]);
}

/// A store that is filled once, with its daemon.
struct Filled {
    daemon: Dockerd,
    root: PathBuf,
    ids: Vec<String>,
}

/// Sorted lines, each without the blanks at its end: docker's order among names of one image is random. Of the tree of images,
/// without the colours of its head and docker's word of warning before it.
fn lines(text: &str) -> Vec<String> {
    let text =
        ["\u{1b}[39m", "\u{1b}[1m", "\u{1b}[0m"].iter().fold(text.to_owned(), |text, code| text.replace(code, ""));
    let text = text.strip_prefix(WARNING).unwrap_or(&text);
    // In `Config`, the client writes some characters as escapes, and layerfs writes them as everywhere else.
    let text = text.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u0026", "&");
    let mut lines: Vec<String> = text.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.sort();
    lines
}

/// What is wrong with our answer to a question, if something is.
fn difference(filled: &Filled, question: &[&str]) -> Option<String> {
    let asked = |output: &Output| (output.status.success(), lines(&text(&output.stdout)));
    let ask_docker = || asked(&filled.daemon.docker(question));
    let mut before = ask_docker();
    for attempt in 1.. {
        let output = layerfs_on(&filled.root, question);
        let ours = asked(&output);
        if ours == before {
            return None;
        }
        let after = ask_docker();
        if ours == after {
            return None;
        }
        if before == after || attempt == TRIES {
            let only = |these: &[String], those: &[String], mark: &str| -> String {
                these.iter().filter(|line| !those.contains(line)).map(|line| format!("\n  {mark} {line}")).collect()
            };
            let (ours_only, theirs_only) = (only(&ours.1, &after.1, "ours  "), only(&after.1, &ours.1, "docker"));
            let said = text(&output.stderr);
            return Some(format!("{question:?}: {} and {}{ours_only}{theirs_only}\n  {said}", ours.0, after.0));
        }
        before = after;
    }
    unreachable!("the last try returns")
}

fn questions(filled: &Filled) -> Vec<Vec<String>> {
    let mut all: Vec<Vec<String>> = Vec::new();
    let mut ask = |words: &[&str]| all.push(words.iter().map(|word| (*word).to_owned()).collect());
    for flags in [
        &[][..],
        &["-a"],
        &["-q"],
        &["-aq", "--no-trunc"],
        &["--digests"],
        &["--digests", "--no-trunc"],
        &["--no-trunc"],
        &[BUSYBOX],
        &["layerfs-test/busybox"],
        &["many"],
        &["nobody"],
        // docker lists the digest in the repository of the last name that is wanted.
        &["--digests", "layerfs-test/busybox"],
        &["--digests", "second/*"],
        &["--digests", "second/name", "-f", "reference=layerfs-test/*"],
        &["--digests", "localhost:5000/*/*"],
        &["--digests", "moves:1", "--no-trunc"],
        &["--format", "{{.Repository}} {{.Tag}} {{.Digest}}", "second/name:v1"],
    ] {
        ask(&[&["image", "ls"], flags].concat());
    }
    for (image, platform) in [
        ("many:1", "linux/amd64"),
        ("many:1", "linux/arm64"),
        ("many:1", "arm64"),
        ("many:1", ""),
        ("layerfs-test/partly:1", "linux/amd64"),
        ("localhost:5000/x/other:2", "linux/arm64/v8"),
        (BUSYBOX, "linux/amd64"),
        ("committed:1", "linux"),
    ] {
        ask(&["image", "inspect", "--platform", platform, image]);
        ask(&["image", "history", "--no-trunc", "--platform", platform, image]);
    }
    for flags in [&[][..], &["-a"], &["many"], &["layerfs-test/*"], &["nobody"], &["-a", "-f", "dangling=true"]] {
        ask(&[&["image", "ls", "--tree"], flags].concat());
    }
    for filter in [
        "dangling=true",
        "dangling=false",
        "reference=layerfs-test/*",
        "reference=*:1",
        "reference=localhost:5000/*/*",
        "label=one",
        "label=one=1",
        "label=one=2",
        "before=committed:1",
        "since=layerfs-test/busybox:1",
        "before=many:1",
        "since=many:1",
        "until=1h",
        "until=2100-01-01",
    ] {
        ask(&["image", "ls", "-f", filter]);
    }
    for format in ["{{.ID}} {{.Repository}} {{.Tag}} {{.Size}}", "{{.CreatedAt}} {{.ID}}", "table {{.ID}}\t{{.Digest}}"]
    {
        ask(&["image", "ls", "--format", format]);
    }
    for id in &filled.ids {
        ask(&["image", "inspect", id]);
        ask(&["image", "history", "--no-trunc", id]);
        ask(&["image", "history", "-H=false", id]);
        ask(&["image", "inspect", "-f", "{{.Id}} {{.Metadata.LastTagTime}}", &id["sha256:".len()..][..12]]);
    }
    for name in [
        "many",
        "many:1",
        "second/name:v1",
        "localhost:5000/x/other:2",
        "docker.io/library/many:1",
        "committed:1",
        "moves:1",
    ] {
        ask(&["image", "inspect", "-f", "{{.Id}} {{.Size}} {{.RepoTags}} {{.RepoDigests}}", name]);
        ask(&["image", "history", name]);
    }
    ask(&["image", "inspect", "first"]);
    for format in ["{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}", "table"] {
        ask(&["system", "df", "--format", format]);
    }
    ask(&["system", "df", "-v"]);
    ask(&["container", "ls", "-a"]);
    ask(&["container", "ls", "-a", "-s", "--no-trunc"]);
    ask(&["container", "ls", "-a", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}} {{.Size}}"]);
    for filter in [
        "status=exited",
        "status=created",
        "exited=3",
        "name=^/made$",
        "label=layerfs.test",
        "ancestor=layerfs-test/busybox:1",
        "ancestor=committed:1",
        "volume=named",
        "volume=/data",
        "before=up",
        "since=made",
        "network=none",
    ] {
        ask(&["container", "ls", "-a", "-f", filter]);
    }
    for flags in [&["-l"][..], &["-n", "2"], &["-a", "-q"], &["-a", "--no-trunc"]] {
        ask(&[&["container", "ls"], flags].concat());
    }
    ask(&["image", "history", "--format", "{{.ID}}:{{.CreatedBy}}:{{.Size}}:{{.Comment}}", "committed:1"]);
    ask(&["image", "history", "-q", "--no-trunc", "committed:1"]);
    ask(&["image", "inspect", "-f", "{{json .RootFS.Layers}} {{json .GraphDriver}}", "committed:1"]);
    ask(&[
        "container",
        "inspect",
        "-f",
        "{{.State.ExitCode}} {{.State.FinishedAt}} {{json .GraphDriver}}",
        "gone",
        "made",
    ]);
    ask(&["container", "inspect", "-s", "-f", "{{.SizeRw}}:{{.SizeRootFs}}", "gone"]);
    ask(&["volume", "ls", "-f", "dangling=true"]);
    ask(&["volume", "inspect", "named"]);
    ask(&["container", "inspect", "-f", "{{.Id}} {{.State.ExitCode}} {{.Image}} {{.Driver}}", "gone", "made"]);
    ask(&["container", "diff", "gone"]);
    ask(&["container", "diff", "made"]);
    ask(&["volume", "ls"]);
    all
}

/// What is wrong with our refusals of platforms: docker's words, behind the name of who says them.
fn refusals(filled: &Filled) -> Vec<String> {
    let mut report = Vec::new();
    for (image, platform) in [
        ("many:1", "linux/s390x"),
        ("many:1", "linux/arm/v7"),
        ("many:1", "bad/"),
        ("many:1", "nothing"),
        ("layerfs-test/partly:1", "linux/arm64"),
        ("layerfs-test/partly:1", "linux/s390x"),
        ("localhost:5000/x/other:2", "linux/amd64"),
        (BUSYBOX, "linux/arm64"),
    ] {
        for command in ["inspect", "history"] {
            let question = ["image", command, "--platform", platform, image];
            let (ours, docker) = (layerfs_on(&filled.root, &question), filled.daemon.docker(&question));
            let said = |output: &Output, before: &str| {
                let text = text(&output.stderr);
                text.trim().strip_prefix(before).unwrap_or(text.trim()).to_owned()
            };
            let (words, theirs) = (said(&ours, "layerfs: "), said(&docker, "Error response from daemon: "));
            if words != theirs || ours.status.success() || docker.status.success() {
                report.push(format!("{question:?}: {words:?}, and docker {theirs:?}"));
            }
        }
    }
    report
}

/// What is wrong with the content of images and containers, of layers that were unpacked and of others.
fn content(filled: &Filled, dir: &Path) -> Vec<String> {
    let mut report = Vec::new();
    // Of the last one, which is for another machine, there is only the blob.
    for (image, expected) in
        [("many:1", "docker.io/library/many:1 amd64"), ("localhost:5000/x/other:2", "localhost:5000/x/other:2 arm64")]
    {
        let shown = layerfs_on(&filled.root, &["image", "cat", image, "/where"]);
        if text(&shown.stdout) != expected {
            report.push(format!("image cat {image}: {shown:?}"));
        }
        let files = layerfs_on(&filled.root, &["image", "files", image]);
        if text(&files.stdout) != "/where\n" {
            report.push(format!("image files {image}: {files:?}"));
        }
    }
    let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    // Kind, mode, owner, length, time and name of everything.
    let listed = |archive: &str| {
        let listing = std::process::Command::new("tar").args(["--numeric-owner", "-tvf", archive]).output().unwrap();
        assert!(listing.status.success(), "{listing:?}");
        lines(&text(&listing.stdout))
    };
    for container in ["gone", "made"] {
        let (ours, theirs) = (file("ours.tar"), file("theirs.tar"));
        let exported = layerfs_on(&filled.root, &["container", "export", "-o", &ours, container]);
        filled.daemon.ok(&["export", "-o", &theirs, container]);
        if !exported.status.success() || listed(&ours) != listed(&theirs) {
            report.push(format!("container export {container}: {exported:?}"));
        }
    }
    // An image that was committed holds what the container has written, and lacks what it has deleted.
    let ours = file("image.tar");
    let exported = layerfs_on(&filled.root, &["image", "export", "-o", &ours, "committed:1"]);
    let names = listed(&ours);
    let has = |name: &str| names.iter().any(|line| line.ends_with(&format!(" {name}")));
    if !exported.status.success() || !has("x") || has("etc/passwd") || !has("etc/group") {
        report.push(format!("image export: {exported:?} {names:?}"));
    }
    let changes = layerfs_on(&filled.root, &["image", "diff", BUSYBOX, "committed:1"]);
    let said = text(&changes.stdout);
    if !(said.contains("/x") && said.contains("/etc/passwd")) || said.contains("/etc/group") {
        report.push(format!("image diff: {changes:?}"));
    }
    report
}

/// What `system check` finds: severity, code, kind and name of the thing, and how many images and containers it affects.
fn checked(root: &Path, flags: &[&str]) -> (Option<i32>, Vec<String>) {
    let output = layerfs_on(root, &[&["system", "check", "--json"], flags].concat());
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let found = said["findings"].as_array().unwrap().iter().map(|one| {
        let [images, containers] = ["images", "containers"].map(|key| one[key].as_array().unwrap().len());
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let subject = &one["subject"];
        let words = [&one["severity"], &one["code"], &subject["kind"], &subject["id"]].map(word);
        format!("{} {images} {containers}", words.join(" "))
    });
    (output.status.code(), found.collect())
}

/// What is wrong with what `system check` says of a sound store, and of one with the damages that can be done to files. Each
/// is undone.
fn damages(root: &Path) -> Vec<String> {
    let daemon = root.join("containerd/daemon");
    let blobs = daemon.join("io.containerd.content.v1.content/blobs/sha256");
    let mut report = Vec::new();
    for flags in [&[][..], &["--deep"]] {
        let (status, found) = checked(root, flags);
        if status != Some(0) || found.iter().any(|line| !line.starts_with("note ")) {
            report.push(format!("check {flags:?} of a sound store: {status:?} {found:?}"));
        }
    }
    let inspected = layerfs_on(root, &["image", "inspect", "many:1"]);
    let inspected: Value = serde_json::from_slice(&inspected.stdout).unwrap();
    let index = inspected[0]["Id"].as_str().unwrap()["sha256:".len()..].to_owned();
    let document = |blob: &str| -> Value { serde_json::from_slice(&std::fs::read(blobs.join(blob)).unwrap()).unwrap() };
    let digest = |value: &Value| value["digest"].as_str().unwrap()["sha256:".len()..].to_owned();
    let manifest = digest(&document(&index)["manifests"][0]);
    let parts = document(&manifest);
    let (config, layer) = (digest(&parts["config"]), digest(&parts["layers"][0]));
    let cut = |content: &[u8]| content[..content.len() / 2].to_vec();
    let flip = |content: &[u8]| [&[content[0] ^ 1], &content[1..]].concat();
    type Harm<'h> = &'h dyn Fn(&[u8]) -> Vec<u8>;
    let harms: [(&str, &str, Option<Harm<'_>>); 9] = [
        (&layer, "blob-other-length", Some(&cut)),
        (&layer, "blob-missing", None),
        (&layer, "blob-digest-differs", Some(&flip)),
        (&config, "blob-other-length", Some(&cut)),
        (&config, "blob-missing", None),
        (&manifest, "blob-missing", None),
        (&index, "blob-missing", None),
        (&index, "blob-invalid", Some(&flip)),
        (&manifest, "blob-other-length", Some(&|_| Vec::new())),
    ];
    for (blob, code, harm) in harms {
        let (path, aside) = (blobs.join(blob), daemon.join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        if let Some(harm) = harm {
            std::fs::write(&path, harm(&std::fs::read(&aside).unwrap())).unwrap();
        }
        let flags: &[&str] = if code == "blob-digest-differs" { &["--deep"] } else { &[] };
        let (status, found) = checked(root, flags);
        let damage: Vec<&String> = found.iter().filter(|line| !line.starts_with("note ")).collect();
        if status != Some(1) || damage != [&format!("damage {code} blob sha256:{blob} 1 0")] {
            report.push(format!("{code} of {blob}: {status:?} {damage:?}"));
        }
        std::fs::rename(&aside, &path).unwrap();
    }
    // Directories of snapshots, and databases.
    let snapshots = daemon.join("io.containerd.snapshotter.v1.overlayfs");
    let layers: Vec<PathBuf> = std::fs::read_dir(snapshots.join("snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| dir.join("fs/where").exists())
        .collect();
    for (path, codes) in [
        (layers[0].join("fs"), &["driver-missing"][..]),
        (snapshots.join("metadata.db"), &["database-missing"]),
        (daemon.join("io.containerd.metadata.v1.bolt/meta.db"), &["database-missing"]),
    ] {
        let aside = daemon.join("aside");
        std::fs::rename(&path, &aside).unwrap();
        let (status, found) = checked(root, &[]);
        let damage: Vec<&str> = found.iter().filter_map(|line| line.strip_prefix("damage ")).collect();
        let found: Vec<&str> = damage.iter().filter_map(|line| line.split(' ').next()).collect();
        // All three containers have lost what they write to, which is no finding of its own.
        let lost = codes != ["database-missing"] || damage.iter().all(|line| line.ends_with(" 3"));
        if status != Some(1) || found != codes || !lost {
            report.push(format!("{}: {status:?} {damage:?}", path.display()));
        }
        std::fs::rename(&aside, &path).unwrap();
    }
    report
}

/// Commands of a store that dockerd wrote print what docker prints, and leave nothing behind.
#[test]
fn engines_containerd_store_is_read_as_docker_shows_it() {
    static ONLY: OnceLock<String> = OnceLock::new();
    let only = ONLY.get_or_init(|| std::env::var("LAYERFS_READ_ONLY_TABLE").unwrap_or_default());
    let Some((all, _turn)) = engines::engines() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let daemon = Dockerd::start_engine(all.last().unwrap(), &root, CONTAINERD);
    fill(&daemon, dir.path());
    let ids = daemon.images();
    let filled = Filled { daemon, root, ids };
    let questions: Vec<Vec<String>> =
        questions(&filled).into_iter().filter(|question| question.join(" ").contains(only.as_str())).collect();
    assert!(!only.is_empty() || questions.len() >= 100, "{} questions", questions.len());
    let mut report: Vec<String> = Vec::new();
    for question in &questions {
        let words: Vec<&str> = question.iter().map(String::as_str).collect();
        report.extend(difference(&filled, &words));
    }
    report.extend(refusals(&filled));
    report.extend(content(&filled, dir.path()));
    filled.daemon.stop();
    // On the root as it lies there nothing is written, and no file is read with a trace.
    let before = Stamps::take(&filled.root);
    for question in &questions {
        let words: Vec<&str> = question.iter().map(String::as_str).collect();
        layerfs_on(&filled.root, &words);
    }
    report.extend(before.changes(&Stamps::take(&filled.root)));
    report.extend(damages(&filled.root));
    testkit::assert_none("containerd's store", &report);
}
