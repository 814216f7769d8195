//! What decides about the future of containerd's store: labels, leases and numbers. Each damage is planted with containerd's own
//! `ctr`, or byte by byte into a database; that containerd deletes what it is foretold to delete is seen.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD};
use testkit::layerfs_on;
use testkit::platforms::{self, Part};
use testkit::run::until;

const BUSYBOX: &str = "layerfs-test/busybox:1";
const STORE: &str = "containerd/daemon";
const META: &str = "io.containerd.metadata.v1.bolt/meta.db";
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.overlayfs";
const BLOBS: &str = "io.containerd.content.v1.content/blobs/sha256";

fn fill(daemon: &Dockerd, dir: &Path) {
    for golden in ["busybox-20.10.tar", "layers-20.10.tar", "docker-archive-skopeo.tar"] {
        daemon.load(&testkit::golden(golden));
    }
    use Part::{Nothing, Whole, WithoutConfig};
    let partly = [("amd64", Whole), ("arm64", WithoutConfig), ("s390x", Nothing)];
    for (file, archive) in [
        ("many.tar", platforms::archive("docker.io/library/many:1", &[("amd64", Whole), ("arm64", Whole)], true)),
        ("partly.tar", platforms::archive("docker.io/layerfs-test/partly:1", &partly, false)),
        ("other.tar", platforms::archive("localhost:5000/x/other:2", &[("arm64", Whole)], true)),
    ] {
        let path: PathBuf = dir.join(file);
        std::fs::write(&path, archive).unwrap();
        daemon.load(&path);
    }
    for name in ["made", "other", "last"] {
        daemon.ok(&["create", "--name", name, BUSYBOX, "true"]);
    }
    daemon.ok(&["commit", "-c", "ENV A=b", "made", "committed:1"]);
}

/// What `system check` finds but for files that no record names, which a commit leaves for a while: severity, code, kind, and
/// images and containers that are affected.
fn checked(root: &Path) -> Vec<String> {
    let output = layerfs_on(root, &["system", "check", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let found = said["findings"].as_array().unwrap().iter().map(|one| {
        let [images, containers] = ["images", "containers"].map(|key| one[key].as_array().unwrap().len());
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let words = [&one["severity"], &one["code"], &one["subject"]["kind"]].map(word).join(" ");
        format!("{words} {images} {containers}")
    });
    let mut found: Vec<String> = found.filter(|line| !line.starts_with("note file-unrecorded")).collect();
    found.sort();
    found
}

fn planned(root: &Path) -> Value {
    let output: Output =
        Command::new(testkit::program("image-gc")).arg("--root").arg(root).arg("--json").output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

/// The paths of what containerd is foretold to delete because nothing leads to it.
fn doomed(plan: &Value) -> Vec<PathBuf> {
    let items = plan["items"].as_array().unwrap().iter();
    items.map(|item| PathBuf::from(item["paths"][0].as_str().unwrap())).collect()
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Digests of what an image consists of, from its blobs.
struct Blobs(PathBuf);

impl Blobs {
    fn json(&self, digest: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.0.join(&digest["sha256:".len()..])).unwrap()).unwrap()
    }

    fn child(&self, of: &str, path: &str) -> String {
        self.json(of).pointer(path).unwrap()["digest"].as_str().unwrap().to_owned()
    }
}

fn ctr(daemon: &Dockerd, words: &[&str]) {
    let socket = daemon.socket().with_file_name("exec").join("containerd/containerd.sock");
    let output = Command::new("ctr").arg("-a").arg(socket).args(["-n", "moby"]).args(words).output().unwrap();
    assert!(output.status.success(), "ctr {words:?}: {output:?}");
}

/// Waits until containerd has collected all that was deleted before, and collects nothing by itself until more is deleted.
///
/// A collection that is waited for does not end it: whether the deletion that asks for it is counted before or after it is a race, and what is
/// counted after it is collected with the next beat. One comes no later than after fifty times as long as collections take in the mean
/// (containerd's `gc.scheduler`, `pause_threshold` of 0.02), and the first after a second.
fn collected(daemon: &Dockerd) {
    ctr(daemon, &["images", "tag", "docker.io/layerfs-test/layers:1", "docker.io/library/gone:1"]);
    let begun = Instant::now();
    ctr(daemon, &["images", "rm", "--sync", "docker.io/library/gone:1"]);
    std::thread::sleep((50 * begun.elapsed()).max(Duration::from_secs(2)));
}

#[test]
fn engines_containerd_deletes_what_no_label_leads_to() {
    let Some((all, _turn)) = engines::engines() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let engine = all.last().unwrap();
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    fill(&daemon, dir.path());
    collected(&daemon);
    let mut report = Vec::new();
    let sound = checked(&root);
    if !sound.is_empty() {
        report.push(format!("a sound store: {sound:?}"));
    }
    let id = |name: &str| daemon.ok(&["images", "-q", "--no-trunc", name]).trim().to_owned();
    let blobs = Blobs(root.join(STORE).join(BLOBS));
    let mut expected: Vec<String> = Vec::new();
    let mut plant = |words: &[&str], finding: &str| {
        ctr(&daemon, words);
        expected.push(finding.to_owned());
        expected.sort();
        let found = checked(&root);
        if found != expected {
            report.push(format!("{words:?}: found {found:?}, and not {expected:?}"));
        }
    };
    let manifest = blobs.child(&id("localhost:5000/x/other:2"), "/manifests/0");
    plant(&["content", "label", &manifest, "containerd.io/gc.ref.content.l.0="], "damage blob-not-kept blob 1 0");
    // What the manifest of the second platform leads to goes with it, and is no finding of its own.
    plant(&["content", "label", &id("many:1"), "containerd.io/gc.ref.content.m.2="], "damage blob-not-kept blob 1 0");
    let config = blobs.child(&id("layerfs-test/layers:1"), "/config");
    let label = "containerd.io/gc.ref.snapshot.overlayfs=";
    plant(&["content", "label", &config, label], "note snapshot-not-kept layer 1 0");
    let nobody = "a".repeat(64);
    plant(&["leases", "create", "--id", &nobody], "note lease-without-container lease 0 0");
    let expired = "containerd.io/gc.expire=2020-01-01T00:00:00Z";
    let name = "docker.io/layerfs-test/umoci:second";
    plant(&["images", "label", name, expired], "damage name-expired image 1 0");

    let plan = planned(&root);
    let going = doomed(&plan);
    let stays: Vec<&str> =
        plan["stays"].as_array().unwrap().iter().map(|item| item["kind"].as_str().unwrap()).collect();
    assert!(going.len() >= 8 && stays == ["lease"], "{plan}");
    let all = || [entries(&blobs.0), entries(&root.join(STORE).join(SNAPSHOTTER).join("snapshots"))].concat();
    let staying: Vec<PathBuf> = all().into_iter().filter(|path| !going.contains(path)).collect();
    let refused = Command::new(testkit::program("image-gc")).arg("--root").arg(&root).arg("--apply").output().unwrap();
    let is_refused = String::from_utf8_lossy(&refused.stderr).contains("containerd's store is not written");
    if refused.status.success() || !is_refused {
        report.push(format!("--apply: {refused:?}"));
    }
    daemon.stop();
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    until(|| !going.iter().any(|path| path.exists()));
    daemon.stop();
    report.extend(going.iter().filter(|path| path.exists()).map(|path| format!("stays: {}", path.display())));
    report.extend(staying.iter().filter(|path| !path.exists()).map(|path| format!("goes: {}", path.display())));
    report.extend(planted_into_databases(&root));
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    report.extend(namespaces(&root, &|words| ctr(&daemon, words)));
    daemon.stop();
    testkit::assert_none("what containerd keeps", &report);
}

/// containerd's root is read as that of a containerd of the system's, in whichever namespace has images.
fn namespaces(root: &Path, ctr: &dyn Fn(&[&str])) -> Vec<String> {
    let store = root.join(STORE);
    let mut report = Vec::new();
    let mut names = |flags: &[&str], expected: &[&str]| {
        let words = [flags, &["image", "ls", "--format", "{{.Repository}}:{{.Tag}}"]].concat();
        let output = layerfs_on(&store, &words);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let listed: Vec<&str> = said.lines().collect();
        if listed != expected {
            report.push(format!("{flags:?}: {output:?}"));
        }
    };
    let archive = root.with_file_name("many.tar");
    ctr(&["-n", "k8s.io", "images", "import", "--all-platforms", "--no-unpack", archive.to_str().unwrap()]);
    names(&["--namespace", "k8s.io"], &["many:1"]);
    names(&["--namespace", "nobody"], &[]);
    let of_moby = layerfs_on(&store, &["image", "ls", "-q"]).stdout;
    if of_moby != layerfs_on(root, &["image", "ls", "-q"]).stdout || of_moby.is_empty() {
        report.push("the images of the namespace moby are not those of the data-root".into());
    }
    let blob = entries(&store.join(BLOBS)).remove(0);
    let owner = layerfs_on(&store, &["--namespace", "k8s.io", "system", "owner", blob.to_str().unwrap()]);
    if !String::from_utf8_lossy(&owner.stdout).contains("\n  live")
        && !String::from_utf8_lossy(&owner.stdout).contains("orphan")
    {
        report.push(format!("{owner:?}"));
    }
    // Nothing is written to it, with or without a namespace.
    let refused = layerfs_on(&store, &["image", "tag", "many:1", "new:1"]);
    if refused.status.success() {
        report.push(format!("{refused:?}"));
    }
    ctr(&["-n", "k8s.io", "images", "rm", "docker.io/library/many:1"]);
    report
}

/// Damages that containerd itself does not make: single bytes of its databases.
fn planted_into_databases(root: &Path) -> Vec<String> {
    let store = root.join(STORE);
    let (meta, snapshots) = (store.join(META), store.join(SNAPSHOTTER).join("metadata.db"));
    let before = checked(root);
    let mut report = Vec::new();
    let read = |path: &Path| std::fs::read(path).unwrap();
    let find = |bytes: &[u8], pattern: &[u8]| -> Vec<usize> {
        let windows = bytes.windows(pattern.len()).enumerate();
        windows.filter(|(_, window)| *window == pattern).map(|(at, _)| at).collect()
    };
    let id = std::fs::read_dir(root.join("containers")).unwrap();
    // A container that is still listed: the store has its snapshot.
    let id = id
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .find(|id| !find(&read(&snapshots), format!("/{id}-init").as_bytes()).is_empty())
        .unwrap();
    let own = |bytes: &[u8]| {
        // The key `kind`, its value, and the key `parent` with the name of the container's init layer.
        let all = find(bytes, b"kind\x02parentmoby/");
        all.into_iter()
            .filter(|at| {
                bytes[*at..]
                    .iter()
                    .take(120)
                    .copied()
                    .collect::<Vec<_>>()
                    .windows(70)
                    .any(|text| text == format!("/{id}-init").as_bytes())
            })
            .collect::<Vec<_>>()
    };
    type Harm<'h> = &'h dyn Fn(&mut Vec<u8>) -> usize;
    let put = |bytes: &mut Vec<u8>, at: Vec<usize>, offset: usize, with: &[u8]| {
        at.iter().for_each(|at| bytes[at + offset..][..with.len()].copy_from_slice(with));
        at.len()
    };
    let not_writable = |bytes: &mut Vec<u8>| {
        let at = own(bytes);
        put(bytes, at, 4, b"\x03")
    };
    let other_parent = |bytes: &mut Vec<u8>| {
        let at = own(bytes);
        let length = at.first().map_or(0, |at| find(&bytes[*at..], b"-init")[0]);
        put(bytes, at, length, b"-inix")
    };
    let not_finished = |bytes: &mut Vec<u8>| {
        let at = find(bytes, b"kind\x03parentmoby/");
        put(bytes, at, 4, b"\x02")
    };
    let shared = |bytes: &mut Vec<u8>| {
        let at = find(bytes, b"id\x03inodes");
        put(bytes, at, 2, b"\x02")
    };
    // A bucket's value begins with its page and its sequence.
    let sequence = |bytes: &mut Vec<u8>, name: &[u8]| {
        let is_one =
            |at: &usize| bytes[at + name.len() + 2..][..6] == [0; 6] && bytes[at + name.len() + 9..][..7] == [0; 7];
        let at: Vec<usize> = find(bytes, name).into_iter().filter(is_one).collect();
        put(bytes, at, name.len() + 8, &1_u64.to_le_bytes())
    };
    let harms: [(&str, &Path, Harm<'_>); 6] = [
        ("damage snapshot-not-writable container", &snapshots, &not_writable),
        ("damage snapshot-parent-differs container", &snapshots, &other_parent),
        ("damage snapshot-not-finished layer", &snapshots, &not_finished),
        ("damage snapshot-directory-shared file", &snapshots, &shared),
        ("damage number-given-again file", &snapshots, &|bytes| sequence(bytes, b"snapshots")),
        ("damage number-given-again file", &meta, &|bytes| sequence(bytes, b"overlayfs")),
    ];
    for (code, path, harm) in harms {
        let sound = read(path);
        let mut bytes = sound.clone();
        let places = harm(&mut bytes);
        std::fs::write(path, &bytes).unwrap();
        let found = checked(root);
        std::fs::write(path, &sound).unwrap();
        let new: Vec<&String> = found.iter().filter(|line| !before.contains(line)).collect();
        if places == 0 || !new.iter().any(|line| line.starts_with(code)) {
            report.push(format!("{code}: {places} places changed, found {new:?}"));
        }
    }
    report
}
