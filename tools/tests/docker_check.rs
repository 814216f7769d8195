//! `system check` on stores that dockerd wrote: what is planted is found, named, and nothing else is; a healthy store is clean.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod checksupport;
#[allow(dead_code, reason = "what is planted is in it for another test as well")]
mod damagesupport;
#[path = "checksupport/expected.rs"]
mod expected;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use checksupport::CheckOutput;
use damagesupport::small::SmallStore;
use damagesupport::table::SITUATIONS;
use testkit::dockerd::Dockerd;

#[test]
fn docker_check_finds_what_is_planted() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let template = SmallStore::make(dir.path());
    let mut report = Vec::new();
    for mode in ["--quick", "--deep"] {
        let sound = CheckOutput::run(&template.root, &[mode]);
        let unread = mode == "--deep" && sound.layers_read == 0;
        if !sound.findings.is_empty() || sound.status != Some(0) || unread {
            report.push(format!("sound, {mode}: {sound:?}"));
        }
    }
    for (number, situation) in SITUATIONS.iter().enumerate() {
        let store = template.copy(&dir.path().join(format!("damaged-{number}")));
        (situation.damage)(&store);
        let found = CheckOutput::run(&store.root, &["--quick"]);
        let wrong = expected::compare(situation.name, &store, &found);
        report.extend(wrong.into_iter().map(|line| format!("{}: {line}", situation.name)));
        std::fs::remove_dir_all(&store.root).unwrap();
    }
    testkit::assert_none("check", &report);
}

/// What dockerd writes with vfs is clean, and what changes in it is found: in a layer's own files, and in its copies of those
/// below.
#[test]
fn docker_check_of_vfs() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_with(&root, &["--storage-driver=vfs"]);
    for golden in ["busybox-20.10.tar", "layers-20.10.tar"] {
        daemon.load(&testkit::golden(golden));
    }
    let create = ["create", "--network", "none", "--name", "kept", "layerfs-test/busybox:1", "sh"];
    let container = daemon.ok(&create).trim().to_owned();
    let diff_ids = daemon.ok(&["inspect", "-f", "{{join .RootFS.Layers \" \"}}", "layerfs-test/busybox:1"]);
    daemon.stop();
    for mode in ["--quick", "--deep"] {
        let checked = CheckOutput::run(&root, &[mode]);
        assert_eq!((checked.status, checked.findings), (Some(0), vec![]), "{mode}");
    }
    let records = root.join("image/vfs/layerdb/sha256");
    let directory = |diff_id: &str| {
        let mut entries = std::fs::read_dir(&records).unwrap().map(|entry| entry.unwrap().path());
        let own = |path: &PathBuf| std::fs::read_to_string(path.join("diff")).unwrap() == diff_id;
        let record = entries.find(own).unwrap();
        let chain = record.file_name().unwrap().to_str().unwrap().to_owned();
        (chain, root.join("vfs/dir").join(std::fs::read_to_string(record.join("cache-id")).unwrap()))
    };
    let (top, base) = (diff_ids.trim().split(' ').next_back().unwrap(), diff_ids.split(' ').next().unwrap());
    assert_ne!(top, base);
    let (chain, dir) = directory(top);
    // A program of the base layer, as the layer on top has copied it.
    let tool = dir.join("bin/busybox");
    let mut bytes = std::fs::read(&tool).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&tool, bytes).unwrap();
    let checked = CheckOutput::run(&root, &["--deep"]);
    assert_eq!(checked.status, Some(1));
    let found: Vec<_> = checked.findings.iter().filter(|found| found.id == chain).collect();
    let [found] = found.as_slice() else { panic!("{:?}", checked.findings) };
    assert_eq!(
        (found.code.as_str(), found.files.as_slice()),
        ("layer-content-differs", &["content bin/busybox".to_owned()][..])
    );
    assert_eq!(found.containers, [container]);
    // Without reading files there is nothing to be seen.
    assert_eq!(CheckOutput::run(&root, &["--quick"]).findings, []);
    // What is wrong in the lowest layer is no fault of the layers with right copies of it.
    fs::write(&tool, fs::read(directory(base).1.join("bin/busybox")).unwrap()).unwrap();
    let (lowest, dir) = directory(base);
    flip(&dir.join("bin/busybox"));
    chmod(&dir.join("etc"), 0o777);
    fs::remove_file(dir.join("etc/group")).unwrap();
    fs::write(dir.join("evil"), "x").unwrap();
    let checked = CheckOutput::run(&root, &["--deep"]);
    let [found] = checked.findings.as_slice() else { panic!("{:?}", checked.findings) };
    assert_eq!((found.code.as_str(), &found.id), ("layer-content-differs", &lowest));
    assert_eq!(found.files, ["content bin/busybox", "mode etc", "missing etc/group", "extra evil"]);
}

/// What happens to the files of a layer that dockerd wrote, named by `TOP` or `LOWEST`, and what must be found.
type Harm = (&'static str, fn(&SmallStore), &'static str, &'static str, &'static [&'static str]);

const HARMS: &[Harm] = &[
    (
        "a bit of a program",
        |s| flip(&s.at("overlay2/LOWEST-CACHE/diff/bin/busybox")),
        "LOWEST",
        "layer-content-differs",
        &["content bin/busybox"],
    ),
    (
        "a program of no bytes",
        |s| fs::write(s.at("overlay2/LOWEST-CACHE/diff/bin/busybox"), "").unwrap(),
        "LOWEST",
        "layer-content-differs",
        &["size bin/busybox"],
    ),
    (
        "a program that is gone",
        |s| fs::remove_file(s.at("overlay2/LOWEST-CACHE/diff/bin/busybox")).unwrap(),
        "LOWEST",
        "layer-content-differs",
        &["missing bin/busybox"],
    ),
    (
        "a file more",
        |s| fs::write(s.at("overlay2/TOP-CACHE/diff/evil"), "x").unwrap(),
        "TOP",
        "layer-content-differs",
        &["extra evil"],
    ),
    (
        "a file for all to write",
        |s| chmod(&s.at("overlay2/TOP-CACHE/diff/child"), 0o666),
        "TOP",
        "layer-content-differs",
        &["mode child"],
    ),
    ("the journal cut short", |s| cut(&s.at("LAYERDB/TOP/tar-split.json.gz")), "TOP", "layer-journal-invalid", &[]),
    (
        "the journal of another layer",
        |s| {
            fs::copy(s.at("LAYERDB/LOWEST/tar-split.json.gz"), s.at("LAYERDB/TOP/tar-split.json.gz")).unwrap();
        },
        "TOP",
        "layer-content-differs",
        &["missing bin/busybox", "missing etc/group"],
    ),
];

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() - 10]).unwrap();
}

fn chmod(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn docker_check_deep_names_the_file() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let template = SmallStore::make(dir.path());
    let mut report = Vec::new();
    for (number, (name, harm, layer, code, files)) in HARMS.iter().enumerate() {
        let store = template.copy(&dir.path().join(format!("harmed-{number}")));
        harm(&store);
        let checked = CheckOutput::run(&store.root, &["--deep"]);
        let right = match checked.findings.as_slice() {
            [found] => {
                found.code == *code
                    && found.id == store.named(layer)
                    && files.iter().all(|file| found.files.iter().any(|one| one == file))
                    && (found.files.len() == files.len() || files.len() == 2)
                    && found.containers == [store.container.clone()]
                    && found.images.contains(&store.child)
                    && found.images.contains(&store.base) == (*layer == "LOWEST")
            }
            _ => false,
        };
        if !right || checked.status != Some(1) {
            report.push(format!("{name}: {checked:#?}"));
        }
        // Of an image that does not have the layer, nothing is said.
        let of_base = CheckOutput::run(&store.root, &["--deep", damagesupport::small::BASE]);
        if of_base.findings.is_empty() != (*layer == "TOP") {
            report.push(format!("{name}: of the base image, {of_base:#?}"));
        }
        fs::remove_dir_all(&store.root).unwrap();
    }
    testkit::assert_none("deep check", &report);
}

/// What cannot be checked is neither sound nor damaged; but a root that is not there has one status for all commands.
#[test]
fn plain_what_cannot_be_checked_is_status_2() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let (empty, missing) = (dir.path().to_str().unwrap(), missing.to_str().unwrap());
    for (arguments, status) in [
        (&["--root", empty, "system", "check", "no-such-image"][..], 2),
        (&["system", "check", "--nope"], 2),
        (&["--root", missing, "system", "check"], 1),
    ] {
        let output = Command::new(testkit::program("layerfs")).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}
