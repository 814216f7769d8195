//! Damages of containerd's store that neither docker nor `ctr` makes: records that are gone or say something else, files that are gone or
//! something else. Each is planted into a copy of a store that Docker 28.5 wrote, and `system check` has to name it and nothing else.
//!
//! Docker is the judge of what a finding claims: a daemon that starts on the damaged copy fails with just those images and
//! containers that a finding of damage names. A sweep asks it of all damages, a usual run of two.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use layerfs::{ChainId, Digest};
use serde_json::Value;
use testkit::bolt::{self, Tree};
use testkit::dockerd::Dockerd;
use testkit::engines::{self, CONTAINERD, Engine};
use testkit::platforms::{self, Part};
use testkit::{Random, layerfs_on, store};

const BUSYBOX: &str = "layerfs-test/busybox:1";
const LAYERS: &str = "layerfs-test/layers:1";
const MANY: &str = "many:1";
const META: &str = "io.containerd.metadata.v1.bolt/meta.db";
const NAMESPACE: [&str; 2] = ["v1", "moby"];

/// What fails where docker cannot list images: all of them, whichever is at fault.
const LISTING: &str = "the listing";

/// What is to be damaged, by its names.
#[derive(Clone)]
struct Parts {
    root: PathBuf,
    /// Names of all images, and their ids.
    images: Vec<(&'static str, String)>,
    /// A container that was made and never started.
    made: String,
    /// The image of one manifest and several layers.
    layers: Image,
    /// What the image of several platforms leads to.
    index: String,
    attestation: String,
    statement: String,
}

#[derive(Clone)]
struct Image {
    manifest: String,
    config: String,
    layers: Vec<String>,
    /// The keys of its snapshots.
    chain: Vec<String>,
}

impl Parts {
    fn daemon(&self) -> PathBuf {
        self.root.join("containerd/daemon")
    }

    fn content(&self) -> PathBuf {
        self.daemon().join("io.containerd.content.v1.content")
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.content().join("blobs/sha256").join(&digest["sha256:".len()..])
    }

    fn snapshotter(&self) -> PathBuf {
        self.daemon().join("io.containerd.snapshotter.v1.overlayfs")
    }

    /// Changes the records of the namespace.
    fn records(&self, change: impl FnOnce(&mut Tree)) {
        bolt::edit(&self.daemon().join(META), |tree| change(tree.at(&NAMESPACE)));
    }

    fn blob_record(&self, digest: &str, change: impl FnOnce(&mut Tree)) {
        self.records(|tree| change(tree.at(&["content", "blob", digest])));
    }

    fn snapshot_record(&self, key: &str, change: impl FnOnce(&mut Tree)) {
        self.records(|tree| change(tree.at(&["snapshots", "overlayfs", key])));
    }

    /// Changes the snapshotter's own records.
    fn snapshots(&self, change: impl FnOnce(&mut Tree)) {
        bolt::edit(&self.snapshotter().join("metadata.db"), |tree| change(tree.at(&["v1"])));
    }

    /// Changes what the snapshotter has of a snapshot.
    fn snapshot(&self, key: &str, change: impl FnOnce(&mut Tree)) {
        let name = self.name(key);
        self.snapshots(|tree| change(tree.at(&["snapshots", &name])));
    }

    /// The name of a snapshot in the snapshotter's database.
    fn name(&self, key: &str) -> String {
        let tree = bolt::read(&self.snapshotter().join("metadata.db"));
        let end = format!("/{key}");
        tree.clone().at(&["v1", "snapshots"]).names().into_iter().find(|name| name.ends_with(&end)).unwrap()
    }

    /// The digest that a name leads to.
    fn target(&self, name: &str) -> Option<String> {
        let mut tree = bolt::read(&self.daemon().join(META));
        let images = tree.at(&NAMESPACE).at(&["images"]);
        let name = images.names().into_iter().find(|known| known.ends_with(&format!("/{name}"))).unwrap();
        let target = images.at(&[&name]).buckets.get(&b"target"[..]);
        target.map(|target| target.text("digest"))
    }

    /// The directory of a snapshot.
    fn directory(&self, key: &str) -> PathBuf {
        let mut number = Vec::new();
        self.snapshot(key, |snapshot| number.clone_from(&snapshot.values[&b"id"[..]]));
        assert_eq!(number.len(), 1, "a store of a few snapshots has small numbers");
        self.snapshotter().join("snapshots").join(number[0].to_string())
    }
}

fn remove(path: &Path) {
    let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// A damage: what is done, and what has to be found: severity, code, kind, and how many images and containers are affected.
type Damage = (&'static str, fn(&Parts), &'static [&'static str]);

const DAMAGES: &[Damage] = &[
    // Blobs.
    (
        "the record of a layer's blob is gone",
        |parts| parts.records(|tree| tree.at(&["content", "blob"]).take(&parts.layers.layers[1])),
        &["damage blob-record-missing blob 1 0", "note file-unrecorded file 0 0"],
    ),
    (
        "the record of a config is gone",
        |parts| parts.records(|tree| tree.at(&["content", "blob"]).take(&parts.layers.config)),
        &["damage blob-record-missing blob 1 0", "note file-unrecorded file 0 0"],
    ),
    (
        "the record of a manifest is gone",
        |parts| parts.records(|tree| tree.at(&["content", "blob"]).take(&parts.layers.manifest)),
        &["damage blob-record-missing blob 1 0", "note file-unrecorded file 0 0"],
    ),
    (
        "a manifest names no config",
        |parts| {
            let path = parts.blob(&parts.layers.manifest);
            let length = path.metadata().unwrap().len() as usize;
            std::fs::write(path, format!("{:length$}", "{}")).unwrap();
        },
        &["damage blob-invalid blob 1 0"],
    ),
    (
        "the record of a layer's blob has another length",
        |parts| parts.blob_record(&parts.layers.layers[1], |record| record.set("size", [0x02])),
        &["damage blob-other-length blob 1 0"],
    ),
    (
        "the record of a manifest has another length",
        |parts| parts.blob_record(&parts.layers.manifest, |record| record.set("size", [0x02])),
        &["damage blob-other-length blob 1 0"],
    ),
    (
        "a layer's blob is a directory",
        |parts| {
            remove(&parts.blob(&parts.layers.layers[0]));
            std::fs::create_dir(parts.blob(&parts.layers.layers[0])).unwrap();
        },
        &["unknown blob-unreadable blob 1 0"],
    ),
    (
        "a config is a link to nothing",
        |parts| {
            remove(&parts.blob(&parts.layers.config));
            std::os::unix::fs::symlink("nowhere", parts.blob(&parts.layers.config)).unwrap();
        },
        &["unknown blob-unreadable blob 1 0"],
    ),
    (
        "the manifest of an attestation is gone",
        |parts| remove(&parts.blob(&parts.attestation)),
        &["damage blob-missing blob 1 0"],
    ),
    (
        "what an attestation says is gone",
        |parts| remove(&parts.blob(&parts.statement)),
        &["damage blob-missing blob 1 0"],
    ),
    (
        "a blob is named after no digest",
        |parts| std::fs::write(parts.content().join("blobs/sha256/junk"), "junk").unwrap(),
        &["damage blob-name-invalid file 0 0"],
    ),
    (
        "a blob that nobody has recorded, and one that nobody has finished",
        |parts| {
            std::fs::write(parts.content().join("blobs/sha256").join(Digest::hash(b"x").hex()), "x").unwrap();
            let ingest = parts.content().join("ingest").join(Digest::hash(b"moby/1/gone").hex());
            std::fs::create_dir(&ingest).unwrap();
            std::fs::write(ingest.join("ref"), "moby/1/gone").unwrap();
            std::fs::write(ingest.join("data"), "half").unwrap();
        },
        &["note file-unrecorded file 0 0", "note file-unrecorded file 0 0"],
    ),
    // Names.
    (
        "the time of a name is none",
        |parts| parts.records(|tree| tree.at(&["images", "docker.io/layerfs-test/layers:1"]).set("createdat", "junk")),
        &["damage name-record-invalid references 3 0"],
    ),
    (
        "a name has no target",
        |parts| parts.records(|tree| tree.at(&["images", "docker.io/layerfs-test/layers:1"]).take("target")),
        &["damage name-record-invalid references 3 0"],
    ),
    (
        "a name leads to what is not there",
        |parts| {
            parts.records(|tree| {
                let digest = Digest::hash(b"nothing").to_string();
                tree.at(&["images", "docker.io/layerfs-test/layers:1", "target"]).set("digest", digest);
            });
        },
        &["damage blob-record-missing blob 1 0"],
    ),
    (
        "a name leads to no digest",
        |parts| {
            parts.records(|tree| {
                tree.at(&["images", "docker.io/layerfs-test/layers:1", "target"]).set("digest", "sha256:0");
            });
        },
        &["damage name-record-invalid references 0 0"],
    ),
    // Labels and leases.
    (
        "no label leads to a config",
        |parts| {
            parts.blob_record(&parts.layers.manifest, |record| {
                record.at(&["labels"]).take("containerd.io/gc.ref.content.config");
            });
        },
        &["damage blob-not-kept blob 1 0"],
    ),
    (
        "the labels of an index are gone",
        |parts| parts.blob_record(&parts.index, |record| record.take("labels")),
        &[
            "damage blob-not-kept blob 1 0",
            "damage blob-not-kept blob 1 0",
            "damage blob-not-kept blob 1 0",
            "damage blob-not-kept blob 1 0",
        ],
    ),
    (
        "the label of a config leads to the snapshot of another layer",
        |parts| {
            parts.blob_record(&parts.layers.config, |record| {
                record.at(&["labels"]).set("containerd.io/gc.ref.snapshot.overlayfs", parts.layers.chain[0].clone());
            });
        },
        &["note snapshot-not-kept layer 1 0"],
    ),
    (
        "a container's lease is gone",
        |parts| parts.records(|tree| tree.at(&["leases"]).take(&parts.made)),
        &["damage lease-missing container 0 1"],
    ),
    (
        "a container's lease does not list what it writes to",
        |parts| parts.records(|tree| tree.at(&["leases", &parts.made, "snapshots", "overlayfs"]).take(&parts.made)),
        &["damage lease-missing container 0 1"],
    ),
    (
        "a container's lease has expired",
        |parts| {
            parts.records(|tree| {
                let lease = tree.at(&["leases", &parts.made]);
                let labels = lease.buckets.entry(b"labels".to_vec()).or_default();
                labels.set("containerd.io/gc.expire", "2020-01-01T00:00:00Z");
            });
        },
        &["damage lease-missing container 0 1"],
    ),
    (
        "the directory of a container is gone, and its lease is left",
        |parts| remove(&parts.root.join("containers").join(&parts.made)),
        &["note lease-without-container lease 0 0"],
    ),
    // Snapshots.
    (
        "the record of a layer in the middle is gone",
        |parts| parts.records(|tree| tree.at(&["snapshots", "overlayfs"]).take(&parts.layers.chain[0])),
        &["damage snapshot-below-missing layer 1 0", "note file-unrecorded file 0 0"],
    ),
    (
        "the snapshotter does not know a layer in the middle",
        |parts| {
            let name = parts.name(&parts.layers.chain[0]);
            parts.snapshots(|tree| tree.at(&["snapshots"]).take(&name));
        },
        &["damage snapshot-record-missing layer 1 0", "note file-unrecorded file 0 0"],
    ),
    (
        "the snapshotter does not know what a container writes to",
        |parts| {
            let name = parts.name(&parts.made);
            parts.snapshots(|tree| tree.at(&["snapshots"]).take(&name));
        },
        &["damage snapshot-record-missing container 0 1", "note file-unrecorded file 0 0"],
    ),
    (
        "the records do not have what a container writes to",
        |parts| parts.records(|tree| tree.at(&["snapshots", "overlayfs"]).take(&parts.made)),
        &["damage snapshot-record-missing container 0 1", "note file-unrecorded file 0 0"],
    ),
    (
        "the directory of what a container writes to is gone",
        |parts| remove(&parts.directory(&parts.made)),
        &["damage container-layer-unusable container 0 1"],
    ),
    (
        "the directory of a container's init files is gone",
        |parts| remove(&parts.directory(&format!("{}-init", parts.made))),
        &["damage container-layer-unusable container 0 1"],
    ),
    (
        "what a container writes to lacks work",
        |parts| remove(&parts.directory(&parts.made).join("work")),
        &["damage container-layer-unusable container 0 1"],
    ),
    (
        "a layer is a file",
        |parts| {
            let fs = parts.directory(&parts.layers.chain[0]).join("fs");
            remove(&fs);
            std::fs::write(fs, "").unwrap();
        },
        &["damage driver-missing layer 1 0"],
    ),
    (
        "directories that no record names",
        |parts| {
            std::fs::create_dir_all(parts.snapshotter().join("snapshots/999/fs")).unwrap();
            std::fs::create_dir_all(parts.snapshotter().join("snapshots/new-123/fs")).unwrap();
        },
        &["note file-unrecorded file 0 0", "note file-unrecorded file 0 0"],
    ),
    (
        "a layer stands on itself",
        |parts| {
            let (key, name) = (&parts.layers.chain[1], parts.name(&parts.layers.chain[1]));
            parts.snapshot(key, |snapshot| snapshot.set("parent", name));
        },
        &["damage snapshot-loop layer 1 0", "damage snapshot-parent-differs layer 1 0"],
    ),
    (
        "a layer stands on nothing",
        |parts| parts.snapshot(&parts.layers.chain[1], |snapshot| snapshot.take("parent")),
        &["damage snapshot-parent-differs layer 1 0"],
    ),
    (
        "a layer is only shown",
        |parts| parts.snapshot(&parts.layers.chain[1], |snapshot| snapshot.set("kind", [1])),
        &["damage snapshot-not-finished layer 1 0"],
    ),
    (
        "two layers have one snapshot",
        |parts| {
            let name = parts.name(&parts.layers.chain[0]);
            parts.snapshot_record(&parts.layers.chain[1], |record| record.set("name", name));
        },
        &["damage snapshot-of-another layer 1 0", "note file-unrecorded file 0 0"],
    ),
    (
        "a layer has no number",
        |parts| parts.snapshot(&parts.layers.chain[1], |snapshot| snapshot.take("id")),
        &["damage driver-missing layer 1 0", "note file-unrecorded file 0 0"],
    ),
    (
        "the records do not list a child",
        |parts| parts.snapshot_record(&parts.layers.chain[0], |record| record.take("children")),
        &["note snapshot-child-unlisted layer 1 0"],
    ),
    (
        "the snapshotter lists no children",
        |parts| parts.snapshots(|tree| tree.at(&["parents"]).values.clear()),
        &[
            "note snapshot-parent-unlisted container 0 1",
            "note snapshot-parent-unlisted layer 1 0",
            "note snapshot-parent-unlisted layer 1 0",
            "note snapshot-parent-unlisted layer 1 0",
            "note snapshot-parent-unlisted layer 1 1",
            "note snapshot-parent-unlisted layer 1 1",
        ],
    ),
    (
        "the snapshotter counts from the beginning again",
        |parts| parts.snapshots(|tree| tree.at(&["snapshots"]).sequence = 0),
        &["damage number-given-again file 0 0"],
    ),
    (
        "the records count from the beginning again",
        |parts| parts.records(|tree| tree.at(&["snapshots", "overlayfs"]).sequence = 0),
        &["damage number-given-again file 0 0"],
    ),
];

/// Damages that docker goes on with: containers lack files and nobody says so, or what is wrong shows when it is not asked here.
const UNNOTICED: [&str; 4] = [
    "the record of a layer in the middle is gone",
    "a layer stands on nothing",
    "a layer is only shown",
    "two layers have one snapshot",
];

/// A damage of which docker is never asked: containerd goes round in it until it has all memory.
const ENDLESS: &str = "a layer stands on itself";

/// What `system check` finds.
struct Found {
    /// Severity, code, kind, and how many images and containers are affected, sorted.
    lines: Vec<String>,
    /// Images and containers that a finding of damage names.
    affected: BTreeSet<String>,
    /// Whether there is a finding of damage that names none, since it may be any.
    of_all: bool,
}

fn checked(root: &Path) -> Found {
    let output = layerfs_on(root, &["system", "check", "--json"]);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    let mut found = Found { lines: Vec::new(), affected: BTreeSet::new(), of_all: false };
    for one in said["findings"].as_array().unwrap() {
        let ids = |key: &str| -> Vec<String> {
            let ids = one[key].as_array().unwrap().iter();
            ids.map(|id| id.as_str().map_or_else(|| id["id"].as_str().unwrap().to_owned(), str::to_owned)).collect()
        };
        let (images, containers) = (ids("images"), ids("containers"));
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let words = [&one["severity"], &one["code"], &one["subject"]["kind"]].map(word).join(" ");
        found.lines.push(format!("{words} {} {}", images.len(), containers.len()));
        found.of_all |= one["severity"] == "damage" && images.is_empty() && containers.is_empty();
        if one["severity"] != "note" {
            found.affected.extend(images.into_iter().chain(containers));
        }
    }
    found.lines.sort();
    found
}

fn fill(daemon: &Dockerd, dir: &Path) {
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.load(&testkit::golden("layers-20.10.tar"));
    let path = dir.join("many.tar");
    let platforms = [("amd64", Part::Whole), ("arm64", Part::Whole)];
    std::fs::write(&path, platforms::archive("docker.io/library/many:1", &platforms, true)).unwrap();
    daemon.load(&path);
    daemon.ok(&["create", "--name", "made", "--network", "none", BUSYBOX, "true"]);
}

fn parts(daemon: &Dockerd, root: &Path) -> Parts {
    let said = |words: &[&str]| daemon.ok(words).trim().to_owned();
    let id = |name: &str| said(&["images", "-q", "--no-trunc", name]);
    let blobs = root.join("containerd/daemon/io.containerd.content.v1.content/blobs/sha256");
    let json = |digest: &str| -> Value {
        serde_json::from_slice(&std::fs::read(blobs.join(&digest["sha256:".len()..])).unwrap()).unwrap()
    };
    let digest = |value: &Value| value["digest"].as_str().unwrap().to_owned();
    let image = |manifest: String| {
        let document = json(&manifest);
        let config = digest(&document["config"]);
        let diff_ids = json(&config)["rootfs"]["diff_ids"].as_array().unwrap().clone();
        let diff_ids: Vec<_> =
            diff_ids.iter().map(|id| id.as_str().unwrap().parse().map(layerfs::DiffId).unwrap()).collect();
        let chain = ChainId::chain(&diff_ids).iter().map(ToString::to_string).collect();
        let layers = document["layers"].as_array().unwrap().iter().map(digest).collect();
        Image { manifest, config, layers, chain }
    };
    let index = id(MANY);
    let manifests = json(&index)["manifests"].clone();
    let attestation = digest(&manifests[1]);
    let statement = digest(&json(&attestation)["layers"][0]);
    Parts {
        root: root.to_owned(),
        made: said(&["inspect", "-f", "{{.Id}}", "made"]),
        images: [BUSYBOX, LAYERS, MANY].map(|name| (name, id(name))).into(),
        layers: image(id(LAYERS)),
        index,
        attestation,
        statement,
    }
}

/// The images and containers with which a daemon fails on a root, by the ids that its names lead to: that it does not list, cannot inspect or save whole, that it makes or
/// starts no container of.
fn failing(engine: &Engine, parts: &Parts, dir: &Path) -> BTreeSet<String> {
    let targets: Vec<Option<String>> = parts.images.iter().map(|(name, _)| parts.target(name)).collect();
    let daemon = Dockerd::start_engine(engine, &parts.root, CONTAINERD);
    // The first garbage collection is over.
    std::thread::sleep(Duration::from_millis(1500));
    let mut failing = BTreeSet::new();
    let listing = daemon.docker(&["images", "-q", "--no-trunc"]);
    let listed = String::from_utf8(listing.stdout).unwrap();
    if !listing.status.success() {
        failing.insert(LISTING.to_owned());
    }
    for ((name, id), target) in parts.images.iter().zip(targets) {
        let is_whole = || {
            let path = dir.join("saved.tar");
            let saved = daemon.docker(&["save", "-o", path.to_str().unwrap(), name]);
            saved.status.success() && is_whole(&path)
        };
        let works = (!listing.status.success() || listed.contains(id.as_str()))
            && daemon.docker(&["inspect", "-f", "{{.Os}}", name]).stdout == b"linux\n"
            && daemon.docker(&["create", "--pull", "never", name, "true"]).status.success()
            && is_whole();
        if !works {
            failing.insert(target.unwrap_or_else(|| id.clone()));
        }
    }
    let exists = parts.root.join("containers").join(&parts.made).exists();
    if exists && !daemon.docker(&["start", "-a", "made"]).status.success() {
        failing.insert(parts.made.clone());
    }
    daemon.stop();
    failing
}

/// Whether all blobs of a saved image are what their names say, and none that its manifests for this machine need is missing.
fn is_whole(archive: &Path) -> bool {
    let unpacked = archive.with_extension("d");
    std::fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(&unpacked).output().unwrap();
    let blobs = unpacked.join("blobs/sha256");
    let sound = |name: &String| Digest::hash(&std::fs::read(blobs.join(name)).unwrap()).hex() == *name;
    let manifest = std::fs::read(unpacked.join("manifest.json")).ok();
    let manifest: Value = manifest.map_or(Value::Null, |text| serde_json::from_slice(&text).unwrap_or_default());
    let named = |path: &Value| path.as_str().is_some_and(|path| unpacked.join(path).exists());
    let needed = named(&manifest[0]["Config"])
        && manifest[0]["Layers"].as_array().is_some_and(|layers| layers.iter().all(named));
    let whole = tar.status.success() && needed && blobs.is_dir() && store::names(&blobs).iter().all(sound);
    std::fs::remove_dir_all(&unpacked).unwrap();
    whole
}

#[test]
fn engines_containerd_damage_is_named_as_docker_fails_with_it() {
    let Some((all, _turn)) = engines::engines() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let engine = all.last().unwrap();
    let daemon = Dockerd::start_engine(engine, &root, CONTAINERD);
    fill(&daemon, dir.path());
    let sound = parts(&daemon, &root);
    daemon.stop();
    let mut report = Vec::new();
    let copied = || {
        let parts = Parts { root: dir.path().join("copy"), ..sound.clone() };
        let copied = Command::new("cp").arg("-a").arg(&root).arg(&parts.root).status().unwrap();
        assert!(copied.success());
        parts
    };
    let copy = copied();
    assert!(checked(&root).lines.is_empty(), "a sound store: {:?}", checked(&root).lines);
    let failed = failing(engine, &copy, dir.path());
    assert!(failed.is_empty(), "a sound store: docker fails with {failed:?}");
    remove(&copy.root);
    // Of a damage that is looked for, docker is asked in any case.
    let only = std::env::var("LAYERFS_ONLY_DAMAGE").unwrap_or_default();
    let wanted: Vec<usize> = (0..DAMAGES.len()).filter(|at| DAMAGES[*at].0.contains(only.as_str())).collect();
    let judged: BTreeSet<usize> = if testkit::full_sweep() || !only.is_empty() {
        wanted.iter().copied().collect()
    } else {
        let mut random = Random::new(1900);
        (0..2).map(|_| usize::try_from(random.below(DAMAGES.len() as u64)).unwrap()).collect()
    };
    for at in wanted {
        let (what, plant, expected) = DAMAGES[at];
        let damaged = copied();
        plant(&damaged);
        let found = checked(&damaged.root);
        if found.lines != expected {
            report.push(format!("{what}: {:?}", found.lines));
        }
        if judged.contains(&at) && what != ENDLESS {
            let failing = failing(engine, &damaged, dir.path());
            let named = &found.affected;
            let said = format!("{what}: docker fails with {failing:?}, and named are {named:?}: {:?}", found.lines);
            eprintln!("{said}");
            let unnamed = |id: &String| id != LISTING && !named.contains(id) && !found.of_all;
            let unsaid = !failing.is_empty() && named.is_empty() && !found.of_all;
            let unnoticed = failing.is_empty() && !named.is_empty() && !UNNOTICED.contains(&what);
            if failing.iter().any(unnamed) || unsaid || unnoticed {
                report.push(said);
            }
        }
        remove(&damaged.root);
    }
    testkit::assert_none("damaged stores", &report);
}
