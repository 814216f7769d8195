//! Repairs of layers' records: what proves which layer a record is of and where its content is, and what does not.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[allow(dead_code, reason = "not every test asks everything")]
mod repairsupport;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use repairsupport::{archive, command, copy, import, lasting, repair};
use testkit::image::DockerArchive;
use testkit::run::{Input, run};
use testkit::{kill, program, store::StoreFiles, tarfile};

const NAME: &str = "layerfs-test/busybox:1";

/// What could be read of a layer's content is not its size: while reading fails, none is written.
#[test]
fn root_a_size_that_cannot_be_measured_is_not_written() {
    if !testkit::is_root() || !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    import(&archive(), &root, &[]);
    let store = StoreFiles::read(&root);
    let is_large = |layer: &&String| store.diffs()[*layer].join("bin").is_dir();
    let layer = store.layers.keys().find(is_large).unwrap();
    let record = root.join("image/overlay2/layerdb/sha256").join(layer.trim_start_matches("sha256:"));
    let size = fs::read_to_string(record.join("size")).unwrap();
    fs::remove_file(record.join("size")).unwrap();
    let mut strace = Command::new("strace");
    strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=openat,openat2:error=EIO", "-P"]);
    strace.arg(&store.diffs()[layer]);
    let repair_it = command(&root, &[], &["--apply"]);
    strace.arg(repair_it.get_program()).args(repair_it.get_args());
    let ran = run(strace, Input::Nothing);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("its size is not known"), "{}", ran.stdout);
    assert!(!record.join("size").exists());
    assert_eq!(repair(&root, &[], &["--apply"]).status, Some(0));
    assert_eq!(fs::read_to_string(record.join("size")).unwrap(), size);
}

/// What cannot be read may be what is looked for: while reading fails, no record is dropped, and no directory is collected that may be
/// the layer's. The next repair, which can read, mends it.
#[test]
fn root_a_record_is_not_dropped_while_reading_fails() {
    if !testkit::is_root() || !testkit::tier("root", kill::can_count_calls(), "install strace") {
        return;
    }
    let dir = testkit::scratch();
    let original = dir.path().join("original");
    import(&archive(), &original, &[]);
    let store = StoreFiles::read(&original);
    let record_in =
        |root: &Path, layer: &str| root.join("image/overlay2/layerdb/sha256").join(layer.trim_start_matches("sha256:"));
    // No other layer stands on it and proves where it is.
    let parents: Vec<String> = store
        .layers
        .keys()
        .filter_map(|layer| fs::read_to_string(record_in(&original, layer).join("parent")).ok())
        .collect();
    let is_below = |layer: &str| parents.iter().any(|parent| parent.ends_with(layer));
    let top = store.layers.keys().find(|layer| !is_below(layer)).unwrap();
    let cache_id = store.layers[top].cache_id.clone();
    let config = PathBuf::from(store.tags[NAME].trim_start_matches("sha256:"));
    let mut report = Vec::new();
    for (what, lost) in [("content", "cache-id"), ("config and content", "diff"), ("record", "diff")] {
        let root = dir.path().join(what.replace(' ', "-"));
        copy(&original, &root);
        let (record, directory) = (record_in(&root, top), root.join("overlay2").join(&cache_id));
        fs::remove_file(record.join(lost)).unwrap();
        // Files are opened by their names in their directories.
        let unreadable = match what {
            "content" => vec![directory.join("diff")],
            "record" => vec!["cache-id".into(), "tar-split.json.gz".into()],
            _ => vec![directory.join("diff"), config.clone()],
        };
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "/dev/null", "-e", "inject=openat,openat2:error=EIO"]);
        for path in unreadable {
            strace.arg("-P").arg(path);
        }
        let repair_it = command(&root, &[], &["--apply"]);
        strace.arg(repair_it.get_program()).args(repair_it.get_args());
        let ran = run(strace, Input::Nothing);
        if ran.code != Some(1) || !ran.stdout.contains("Input/output error") || !record.is_dir() {
            report.push(format!("{what}: {:?} {} {}{}", ran.code, record.is_dir(), ran.stdout, ran.stderr));
        }
        let mut collect = Command::new(program("image-gc"));
        collect.arg("--root").arg(&root).arg("--apply");
        let collected = run(collect, Input::Nothing);
        if !directory.join("diff").is_dir() {
            report.push(format!("{what}: collected: {}{}", collected.stdout, collected.stderr));
        }
        let said = repair(&root, &[], &["--apply"]);
        if said.status != Some(0) {
            report.push(format!("{what}: not mended: {:?} {} {}", said.status, said.report, said.stderr));
        }
        let changed = testkit::tree_changes(&lasting(&original), &lasting(&root));
        report.extend(changed.into_iter().take(3).map(|line| format!("{what}: {line}")));
    }
    testkit::assert_none("where reading has failed", &report);
}

/// A record that is under a wrong chain id has its journal there, too: with that its directory is found, and nothing is dropped.
#[test]
fn root_a_record_at_a_wrong_place_and_without_its_directory_is_mended() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    import(&archive(), &root, &[]);
    let before = lasting(&root);
    let records = root.join("image/overlay2/layerdb/sha256");
    let layers = StoreFiles::read(&root).layers;
    let record_of = |layer: &str| records.join(layer.trim_start_matches("sha256:"));
    let parents: Vec<_> =
        layers.keys().filter_map(|layer| fs::read_to_string(record_of(layer).join("parent")).ok()).collect();
    let top = layers.keys().find(|layer| !parents.contains(layer)).unwrap();
    let moved = records.join("e".repeat(64));
    fs::rename(record_of(top), &moved).unwrap();
    for lost in ["cache-id", "size"] {
        fs::remove_file(moved.join(lost)).unwrap();
    }
    let said = repair(&root, &[], &["--apply"]);
    assert_eq!(said.status, Some(0), "{} {}", said.report, said.stderr);
    testkit::assert_none("mended", &testkit::tree_changes(&before, &lasting(&root)));
}

/// Of two records that name one directory, the one whose files are elsewhere is told where: nothing is dropped.
#[test]
fn root_a_record_that_names_the_directory_of_another_layer_is_mended() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (archive, original, root) =
        (dir.path().join("image.tar"), dir.path().join("original"), dir.path().join("root"));
    let tars =
        [tarfile::file("a", "a"), tarfile::dir("only"), tarfile::file("b", "b")].map(|file| tarfile::tar(&[file]));
    fs::write(&archive, DockerArchive::new("shared:1", &tars).build()).unwrap();
    import(&archive, &original, &[]);
    let before = lasting(&original);
    let layers = StoreFiles::read(&original).layers;
    let mut report = Vec::new();
    for (layer, own) in &layers {
        for (_, other) in layers.iter().filter(|(other, _)| *other != layer) {
            copy(&original, &root);
            let records = root.join("image/overlay2/layerdb/sha256");
            fs::write(records.join(layer.trim_start_matches("sha256:")).join("cache-id"), &other.cache_id).unwrap();
            let said = repair(&root, &[], &["--apply"]);
            let changes = testkit::tree_changes(&before, &lasting(&root));
            if said.status != Some(0) || !changes.is_empty() {
                report.push(format!("{own:?} in {other:?}: {} {} {changes:?}", said.report, said.stderr));
            }
            fs::remove_dir_all(&root).unwrap();
        }
    }
    testkit::assert_none("directories of others", &report);
}

/// With any directory the journal of a layer without bytes makes its diff id. Only the one that has its names is its own.
#[test]
fn root_the_directory_of_a_layer_without_bytes_is_the_one_with_its_names() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (archive, root) = (dir.path().join("image.tar"), dir.path().join("root"));
    let layers = [tarfile::tar(&[tarfile::file("a", "a")]), tarfile::tar(&[tarfile::dir("only")])];
    fs::write(&archive, DockerArchive::new("empty:1", &layers).build()).unwrap();
    import(&archive, &root, &[]);
    let before = lasting(&root);
    let store = StoreFiles::read(&root);
    let is_above = |layer: &&String| store.diffs()[*layer].join("only").is_dir();
    let layer = store.layers.keys().find(is_above).unwrap();
    let home = root.join("overlay2");
    // Of those that nobody has, one comes before it in any order, and one after it.
    for stray in ["0", "z"].map(|first| home.join(first.repeat(64))) {
        fs::create_dir_all(stray.join("diff/other")).unwrap();
    }
    let cache_id =
        root.join("image/overlay2/layerdb/sha256").join(layer.trim_start_matches("sha256:")).join("cache-id");
    let named = fs::read_to_string(&cache_id).unwrap();
    fs::remove_file(&cache_id).unwrap();
    let said = repair(&root, &[], &["--apply"]);
    assert_eq!(said.status, Some(0), "{} {}", said.report, said.stderr);
    assert_eq!(fs::read_to_string(&cache_id).unwrap(), named);
    for stray in ["0", "z"] {
        fs::remove_dir_all(home.join(stray.repeat(64))).unwrap();
    }
    testkit::assert_none("mended", &testkit::tree_changes(&before, &lasting(&root)));
}
