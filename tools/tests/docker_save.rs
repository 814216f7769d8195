//! What `layerfs image save` writes is loaded by dockerd and others, and holds the layers that `docker save` writes.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;
use testkit::archive::{self, ArchiveImage};
use testkit::cases::CaseOutcome;
use testkit::dockerd::Dockerd;
use testkit::layerfs_on;
use testkit::root::RootContents;
use testkit::{live, saved};

/// Cases that dockerd 20.10 imports and we refuse, as moby HEAD does.
const REFUSED: [u64; 6] = [87, 88, 89, 91, 105, 142];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// `layerfs save -o DIR/NAME ARGUMENTS`, which must succeed.
fn save(root: &Path, dir: &TempDir, name: &str, arguments: &[&str]) -> PathBuf {
    let file = dir.path().join(name);
    let output = layerfs_on(root, &[&["save", "-q", "-o", text(&file)], arguments].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((testkit::succeeded("layerfs save", output), said), (String::new(), String::new()), "{arguments:?}");
    file
}

fn run<S: AsRef<OsStr>>(program: &str, arguments: &[S]) -> String {
    testkit::succeeded(program, Command::new(program).args(arguments).output().unwrap())
}

/// dockerd's own store, saved by us and loaded by another dockerd, is the same; and loaded by us it is saved as the same bytes.
#[test]
fn docker_loads_what_was_saved() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let [first, second, third] = ["first", "second", "third"].map(|name| testkit::empty_root(&dir, name));
    let daemon = Dockerd::start(&first);
    for golden in testkit::GOLDENS {
        daemon.load(&testkit::golden(golden));
    }
    let images = daemon.images();
    // While it runs: reading needs no lock.
    let all = save(&first, &dir, "all.tar", &["--all"]);
    let (layers, wrong) = saved::check_layers(&all);
    testkit::assert_none("layers", &wrong);
    assert!(layers > 10, "{layers}");
    for id in &images {
        let ours = save(&first, &dir, "ours.tar", &[id]);
        let dockers = dir.path().join("dockers.tar");
        saved::save(&daemon, &[id], &dockers);
        let (have, want) = (saved::check_layers(&ours), saved::check_layers(&dockers));
        assert!(have == want && have.0 > 0 && have.1.is_empty(), "{id}: {have:?}, docker's {want:?}");
    }
    let told = live::report(&daemon, &first);
    daemon.stop();

    let daemon = Dockerd::start(&second);
    daemon.load(&all);
    testkit::assert_none("loaded again", &live::differences(&live::report(&daemon, &second), &told));
    daemon.stop();
    testkit::import(&all, &third);
    let bytes = std::fs::read(&all).unwrap();
    for root in [&second, &third] {
        let again = save(root, &dir, "again.tar", &["--all", "--threads", "1"]);
        assert!(std::fs::read(again).unwrap() == bytes, "{} is saved as other bytes", root.display());
    }
    let output = layerfs_on(&third, &["save", "--all"]);
    assert!(output.stdout == bytes, "standard output: {}", String::from_utf8_lossy(&output.stderr));
    // As they come, and in any order.
    let names = ["layerfs-test/layers:1", "layerfs-test/app", "layerfs-alias", "layerfs-test/app:1"];
    let mut reversed = names;
    reversed.reverse();
    let (one, other) = (save(&first, &dir, "one.tar", &names), save(&third, &dir, "other.tar", &reversed));
    assert!(std::fs::read(one).unwrap() == std::fs::read(other).unwrap(), "the order of arguments counts");
}

/// Everything in the layers of a root, but for the times that directories get that no layer speaks of.
fn trees(root: &Path) -> BTreeMap<String, Vec<String>> {
    let lines = |cache_id: &str| {
        let walked = testkit::tree::walk(&root.join("overlay2").join(cache_id).join("diff"));
        let line = |entry: testkit::cases::TreeEntry| {
            let path = entry.path.escape_ascii().to_string();
            let data = (entry.data, entry.target, entry.size, entry.links);
            format!("{path} {} {:o} {:?} {data:?} {:?}", entry.kind, entry.mode, entry.owner, entry.xattrs)
        };
        walked.into_iter().map(line).collect()
    };
    RootContents::read(root).layers.iter().map(|(chain, layer)| (chain.clone(), lines(&layer.cache_id))).collect()
}

/// All layer cases: odd headers, names, orders and types.
#[test]
fn docker_loads_saved_layer_cases() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (ours, dockers) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "dockers"));
    let file = dir.path().join("cases.tar");
    let mut images = Vec::new();
    for case in testkit::cases::load() {
        let accepted = matches!(case.outcome("docker_20_10_24_import"), Some(CaseOutcome::Accepted { .. }));
        let mut tar = Vec::new();
        let decoded =
            layerfs::compress::Decompressor::new(case.archive.as_slice()).and_then(|mut it| it.read_to_end(&mut tar));
        if accepted && decoded.is_ok() && !REFUSED.contains(&case.number) {
            let (tag, diff_ids) = (format!("case/{:03}:1", case.number), vec![layerfs::Digest::hash(&tar)]);
            images.push(ArchiveImage { tag, diff_ids, layers: vec![case.archive], comment: case.title });
        }
    }
    assert!(images.len() > 150, "{}", images.len());
    archive::write(&file, &images);
    testkit::import(&file, &ours);
    let all = save(&ours, &dir, "all.tar", &["--all"]);
    let daemon = Dockerd::start(&dockers);
    assert_eq!(daemon.load(&all).lines().count(), images.len());
    let same: BTreeSet<String> = daemon.images().into_iter().collect();
    daemon.stop();
    let listed = testkit::layerfs(&["--root", text(&ours), "image", "ls", "-aq", "--no-trunc"]);
    assert_eq!(same, listed.lines().map(str::to_owned).collect());
    assert_eq!(same.len(), images.len());
    // Into a second root of ours: the same layers and trees, and the same bytes when it is saved again.
    let again = testkit::empty_root(&dir, "again");
    testkit::import(&all, &again);
    assert_eq!(trees(&again), trees(&ours));
    let saved_again = save(&again, &dir, "again.tar", &["--all", "--threads", "3"]);
    assert!(std::fs::read(saved_again).unwrap() == std::fs::read(all).unwrap(), "saved again, other bytes");
}

/// An image of some layers that are the same in all of these.
fn image(tag: &str, layers: &[&str]) -> ArchiveImage {
    let (layers, diff_ids) = layers.iter().map(|name| archive::layer(name, name)).unzip();
    ArchiveImage { tag: tag.into(), layers, diff_ids, comment: tag.into() }
}

#[test]
fn docker_loads_what_it_lacks() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let [ours, based, bare] = ["ours", "based", "bare"].map(|name| testkit::empty_root(&dir, name));
    let file = dir.path().join("in.tar");
    // The layer `b` stands on two others, so that one who has it on `a` does not have it on `c`.
    let images = [image("base:1", &["a", "b"]), image("app:1", &["a", "b", "c"]), image("turned:1", &["c", "b"])];
    archive::write(&file, &images);
    testkit::import(&file, &ours);
    let base = save(&ours, &dir, "base.tar", &["base:1"]);
    let layout = dir.path().join("layout");
    testkit::succeeded(
        "save",
        layerfs_on(&ours, &["save", "-q", "base:1", "--format", "oci", "--directory", text(&layout)]),
    );
    testkit::import(&base, &based);
    let list = dir.path().join("list");
    std::fs::write(&list, testkit::succeeded("ls", layerfs_on(&based, &["image", "ls", "--layers"]))).unwrap();

    let arguments = ["app:1", "--have", "base:1"];
    let delta = save(&ours, &dir, "delta.tar", &arguments);
    let bytes = std::fs::read(&delta).unwrap();
    for have in
        [["--have", text(&base)], ["--have", text(&layout)], ["--have", text(&based)], ["--have-file", text(&list)]]
    {
        let same = save(&ours, &dir, "same.tar", &[&["app:1"], &have[..]].concat());
        assert!(std::fs::read(same).unwrap() == bytes, "{have:?}");
    }
    assert!(bytes.len() < std::fs::metadata(&file).unwrap().len() as usize / 2);
    let [a, b, c] = ["a", "b", "c"].map(|name| archive::layer(name, name).1);
    let told = testkit::succeeded("dry run", layerfs_on(&ours, &[&["save", "--dry-run"], &arguments[..]].concat()));
    for line in
        [format!("leave out {}", a.short()), format!("leave out {}", b.short()), format!("write     {}", c.short())]
    {
        assert!(told.contains(&line), "{line}: {told}");
    }
    // Of one who has it somewhere else nothing is expected.
    let both = save(&ours, &dir, "both.tar", &["app:1", "turned:1", "--have", "base:1", "--compress", "gzip"]);

    let daemon = Dockerd::start(&based);
    assert_eq!(daemon.load(&delta), "Loaded image: app:1\n");
    assert_eq!(daemon.load(&both), "Loaded image: app:1\nLoaded image: turned:1\n");
    assert_eq!(daemon.images().len(), 3);
    daemon.ok(&["rmi", "app:1", "turned:1"]);
    daemon.stop();
    assert_eq!(testkit::layerfs(&["--root", text(&based), "load", "-q", "-i", text(&delta)]), "Loaded image: app:1\n");

    // Where the base is missing, both refuse, and we say which layer it is.
    let daemon = Dockerd::start(&bare);
    assert!(!daemon.docker(&["load", "-i", text(&delta)]).status.success());
    assert_eq!(daemon.images(), Vec::<String>::new());
    daemon.stop();
    for dry in [&["--dry-run"][..], &[]] {
        let mut command = Command::new(testkit::program("layer-unpack"));
        let output = command.arg(&delta).arg("--root").arg(&bare).args(dry).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(&a.hex()), "{dry:?}: {said}");
    }
}

#[test]
fn others_read_what_was_saved() {
    let Some(_turn) = testkit::docker() else { return };
    let installed = ["skopeo", "umoci", "ctr"].iter().all(|name| Command::new(name).arg("--version").output().is_ok());
    if !testkit::tier("docker", installed, "install skopeo, umoci and containerd") {
        return;
    }
    let dir = testkit::scratch();
    let (ours, empty) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "empty"));
    testkit::import(&testkit::golden("busybox-20.10.tar"), &ours);
    let id = "sha256:c871e047f1cb02e951e0cb0c7339b8b274131682b3078882424096f8e87d4ab4";
    let daemon = Dockerd::start(&empty);
    for (number, compression) in ["none", "gzip", "zstd"].iter().enumerate() {
        let at = |name: &str| dir.path().join(format!("{name}{number}"));
        let how = ["layerfs-test/busybox:1", "--compress", compression];
        let file = save(&ours, &dir, &format!("save{number}.tar"), &how);
        let layout = at("layout");
        let to_directory = ["save", "-q", "--format", "oci", "--directory", text(&layout)];
        testkit::succeeded("save", layerfs_on(&ours, &[&to_directory, &how[..]].concat()));
        let sources = [
            format!("docker-archive:{}", text(&file)),
            format!("oci-archive:{}:1", text(&file)),
            format!("oci:{}:1", text(&layout)),
        ];
        for (step, source) in sources.iter().enumerate() {
            // Through skopeo and back. From one form to the other it makes another config.
            let back = dir.path().join(format!("back{number}-{step}"));
            let (kind, name) = if step == 0 { ("docker-archive", "back:1") } else { ("oci", "back") };
            run("skopeo", &["copy", "-q", "--insecure-policy", source, &format!("{kind}:{}:{name}", text(&back))]);
            let root = testkit::empty_root(&dir, &format!("root{number}-{step}"));
            assert!(testkit::import(&back, &root).contains(id), "{source}");
        }
        // Debian's umoci knows no zstd.
        if *compression != "zstd" {
            let bundle = at("bundle");
            run("umoci", &["unpack", "--image", &format!("{}:1", text(&layout)), text(&bundle)]);
            assert!(bundle.join("rootfs").read_dir().unwrap().next().is_some());
        }
        let socket = daemon.socket().with_file_name("exec").join("containerd/containerd.sock");
        let imported =
            run("ctr", &["--address", text(&socket), "-n", &format!("save{number}"), "images", "import", text(&file)]);
        assert!(imported.contains("docker.io/layerfs-test/busybox:1"), "{imported}");
    }
}

/// What `docker save` says of the same arguments, but for who says it.
#[test]
fn docker_save_refusals() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.load(&testkit::golden("shared-20.10.tar"));
    let out = dir.path().join("out.tar");
    let unmade = dir.path().join("none/out.tar");
    for arguments in [
        &["save", "-o", text(&out), "nosuch"][..],
        &["save", "-o", text(&out), "layerfs-test/app:1", "nosuch"],
        &["save", "-o", text(&out), "layerfs-test/app:9"],
        &["save", "-o", text(&out), "layerfs-test/App"],
        &["save", "-o", text(&out), "0000000000000000000000000000000000000000000000000000000000000000"],
        &["save", "-o", text(&unmade), "layerfs-test/app"],
        &["save", "-o", "/dev/full", "layerfs-test/app"],
        &["save", "-o", "/", "layerfs-test/app"],
    ] {
        let (ours, dockers) = (layerfs_on(&root, arguments), daemon.docker(arguments));
        let said = |output: &Output| String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
        assert_eq!((ours.status.code(), dockers.status.code()), (Some(1), Some(1)), "{arguments:?}: {}", said(&ours));
        let dockers = said(&dockers);
        let core =
            dockers.trim_start_matches("Error response from daemon: ").trim_start_matches("failed to save image: ");
        // Of a directory docker learns at the end, of an id that it does not have the file says so.
        let known = arguments.contains(&"/") || core.contains("failed to get digest");
        assert!(known || said(&ours).contains(core), "{arguments:?}:\n  ours {}\ndocker {dockers}", said(&ours));
        assert!(!out.exists(), "{arguments:?}");
    }
}
