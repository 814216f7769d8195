//! Damaged stores, mended: what dockerd wrote is there again, byte for byte, or dockerd itself says that all is well.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[allow(dead_code, reason = "what readers say of a situation is for other tests")]
mod damagesupport;
#[allow(dead_code, reason = "not every test asks everything")]
mod repairsupport;
#[path = "repairsupport/rows.rs"]
mod rows;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use damagesupport::small::{BASE, CHILD, SmallStore};
use damagesupport::table::{SITUATIONS, WithDockerd};
use repairsupport::{collect, damage, outline, repair};
use rows::{End, ROWS, ends};
use testkit::cases::TreeEntry;
use testkit::dockerd::Dockerd;
use testkit::{quiet, saved};

use End::{Cleared, Collected, Left, Restored, Sound};

struct Bench {
    dir: tempfile::TempDir,
    template: SmallStore,
    before: Vec<TreeEntry>,
}

impl Bench {
    fn new() -> Self {
        let dir = testkit::scratch();
        let template = SmallStore::make(dir.path());
        let before = outline(&template.root);
        Self { dir, template, before }
    }

    fn damaged(&self, damage: impl FnOnce(&SmallStore)) -> SmallStore {
        let to = self.dir.path().join("damaged");
        let _ = fs::remove_dir_all(&to);
        let store = self.template.copy(&to);
        damage(&store);
        store
    }

    /// Archives with all that the images have.
    fn archives(&self) -> Vec<PathBuf> {
        vec![self.dir.path().join("child.tar"), testkit::golden("busybox-20.10.tar")]
    }

    /// What differs from what dockerd wrote.
    fn changes(&self, store: &SmallStore) -> Vec<String> {
        testkit::tree_changes(&self.before, &outline(&store.root))
    }
}

/// Mends a store, and says what is wrong with how that went.
fn mend(store: &SmallStore, sources: &[PathBuf], flags: &[&str], end: End) -> Vec<String> {
    let mut report = Vec::new();
    let before = quiet::Stamps::take(&store.root);
    let planned = repair(&store.root, sources, flags);
    let trace = before.changes(&quiet::Stamps::take(&store.root));
    report.extend(trace.into_iter().map(|line| format!("a plan leaves a trace: {line}")));
    let applied = repair(&store.root, sources, &[flags, &["--apply"]].concat());
    let untouched = before.changes(&quiet::Stamps::take(&store.root));
    let again = repair(&store.root, sources, &[flags, &["--apply"]].concat());
    for (what, said) in [("plan", &planned), ("repair", &applied), ("second repair", &again)] {
        if !said.report.is_object() || !said.stderr.is_empty() {
            report.push(format!("{what}: {:?} {}", said.status, said.stderr));
        }
    }
    match end {
        Collected | Cleared => {
            report.extend(untouched.into_iter().map(|line| format!("a healthy store is touched: {line}")));
            if !planned.is_clean() || !applied.is_clean() {
                report.push(format!("it is not clean: {} {}", planned.report, applied.report));
            }
            report.extend(collect(&store.root));
        }
        Restored | Sound => {
            if planned.status != Some(1) || planned.count("steps") == 0 || planned.report["applied"] != false {
                report.push(format!("nothing planned: {:?} {}", planned.status, planned.report));
            }
            if applied.status != Some(0) || applied.count("steps") == 0 || applied.count("unmended") != 0 {
                report.push(format!("not mended: {:?} {}", applied.status, applied.report));
            }
            if !again.is_clean() {
                report.push(format!("still not clean: {:?} {}", again.status, again.report));
            }
            report.extend(damage(&store.root));
        }
        Left => {
            if applied.status != Some(1) || applied.count("unmended") == 0 || again.status != Some(1) {
                report.push(format!("nothing is left: {:?} {}", applied.status, applied.report));
            }
        }
    }
    report
}

/// What dockerd must be able to do after a walk to its end: where something is left, with what is whole.
fn judge_end(store: &SmallStore, dir: &Path, situation: &str, end: End) -> Vec<String> {
    match (end, situation) {
        (Restored | Collected, _) => judge(store, dir, &[BASE, CHILD], true),
        // Names are found again as far as anything tells them.
        (Sound, _) => judge(store, dir, &[&store.base, &store.child], true),
        // No image has a name there, so that all go; dockerd starts on what is left.
        (Cleared, "layers without image") => judge(store, dir, &[], false),
        (Cleared, _) => judge(store, dir, &[BASE, CHILD], false),
        // It starts again once somebody has looked at the file.
        (Left, "a volume's options garbled") => Vec::new(),
        (Left, _) if situation.starts_with("container") => judge(store, dir, &[BASE, CHILD], false),
        (Left, _) if situation == "lowest record missing" => judge(store, dir, &[], false),
        (Left, _) if situation.starts_with("journal") => judge(store, dir, &[BASE], true),
        (Left, _) => judge(store, dir, &[BASE], false),
    }
}

/// dockerd starts, runs the images and, if there is one, the container, and saves what has the diff ids of the configs.
fn judge(store: &SmallStore, dir: &Path, names: &[&str], container: bool) -> Vec<String> {
    let daemon = match Dockerd::try_start(&store.root, std::time::Duration::from_secs(60)) {
        Ok(daemon) => daemon,
        Err(log) => return vec![format!("dockerd does not start: {log}")],
    };
    let mut report = Vec::new();
    let mut ask = |arguments: &[&str], expected: &str| {
        let output = daemon.docker(arguments);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() || said != expected {
            let failed = String::from_utf8_lossy(&output.stderr).into_owned();
            report.push(format!("docker {}: {said}{failed}", arguments.join(" ")));
        }
    };
    for name in names {
        let file = if *name == BASE || *name == store.base { "/etc/motd" } else { "/child" };
        let expected = if file == "/child" { "child\n" } else { "layerfs test image\n" };
        ask(&["run", "--rm", "--network", "none", name, "cat", file], expected);
    }
    if container {
        ask(&["start", "-a", "kept"], "");
    }
    if names.is_empty() {
        daemon.stop();
        return report;
    }
    let file = dir.join("saved.tar");
    let save = daemon.docker(&[&["save", "-o", file.to_str().unwrap()], names].concat());
    if save.status.success() {
        report.extend(saved::check_layers(&file).1);
    } else {
        report.push(format!("docker save: {}", String::from_utf8_lossy(&save.stderr)));
    }
    daemon.stop();
    report
}

/// Each row has cases that exist, and each case belongs to a row.
#[test]
fn plain_every_row_has_its_cases() {
    let cases: Vec<&str> = ROWS.iter().flat_map(|(_, cases)| *cases).copied().collect();
    let planted = |name: &str| {
        SITUATIONS.iter().any(|situation| situation.name == name) || HARMS.iter().any(|(harm, ..)| *harm == name)
    };
    let missing: Vec<&str> = cases.iter().filter(|case| !planted(case)).copied().collect();
    let names = SITUATIONS.iter().map(|situation| situation.name);
    let unused: Vec<&str> = names.filter(|name| !cases.contains(name)).collect();
    assert_eq!((missing, unused), (vec![], vec![]));
    assert!(ROWS.iter().all(|(_, cases)| !cases.is_empty()));
}

/// Every row, walked to its end: found, mended or collected, found clean. In the sweep dockerd starts on each, and runs the images again.
#[test]
fn docker_store_is_restored_from_every_damage() {
    let Some(_turn) = testkit::docker() else { return };
    let bench = Bench::new();
    let mut report = Vec::new();
    for situation in SITUATIONS {
        let (alone, helped) = ends(situation.name);
        let archives = bench.archives();
        // Another data-root is as good as archives.
        let root = std::slice::from_ref(&bench.template.root);
        // Where a source makes no difference, one without is enough.
        let runs = if alone == helped { 1 } else { 3 };
        for (sources, end) in [(&[][..], alone), (&archives, helped), (root, helped)].into_iter().take(runs) {
            let store = bench.damaged(situation.damage);
            let mut wrong = mend(&store, sources, &[], end);
            if matches!(end, Restored | Collected) {
                wrong.extend(bench.changes(&store));
            }
            if testkit::full_sweep() {
                wrong.extend(judge_end(&store, bench.dir.path(), situation.name, end));
            }
            let title = format!("{}, {} sources", situation.name, sources.len());
            report.extend(wrong.into_iter().map(|line| format!("{title}: {line}")));
        }
    }
    testkit::assert_none("repair", &report);
}

/// Those of the table that end in something else than what dockerd wrote: dockerd says whether it is sound.
#[test]
fn docker_runs_and_saves_what_was_mended() {
    let Some(_turn) = testkit::docker() else { return };
    let bench = Bench::new();
    let mut report = Vec::new();
    // Of those that are mended in the same way, one.
    let same = ["journal empty", "journal no gzip", "parent image garbled"];
    for situation in SITUATIONS.iter().filter(|situation| !same.contains(&situation.name)) {
        let end = ends(situation.name).1;
        if !matches!(end, Sound | Cleared) {
            continue;
        }
        let store = bench.damaged(situation.damage);
        let mut wrong = mend(&store, &bench.archives(), &[], end);
        wrong.extend(match end {
            Sound => judge(&store, bench.dir.path(), &[BASE, CHILD], true),
            _ => judge_end(&store, bench.dir.path(), situation.name, end),
        });
        report.extend(wrong.into_iter().map(|line| format!("{}: {line}", situation.name)));
        assert!(situation.dockerd != WithDockerd::Refuses, "the table has a situation more");
    }
    testkit::assert_none("repair", &report);
}

fn empty_record(store: &SmallStore) {
    let record = store.at("LAYERDB/TOP");
    fs::read_dir(&record).unwrap().for_each(|file| fs::remove_file(file.unwrap().path()).unwrap());
}

/// What users report of crashes, clean-up scripts and disks, all at once: dockerd says that it is sound again.
#[test]
fn docker_runs_and_saves_after_many_damages() {
    let Some(_turn) = testkit::docker() else { return };
    let bench = Bench::new();
    let store = bench.damaged(|store| {
        // A registration that was cut short; an executable that never reached the disk.
        empty_record(store);
        fs::write(store.at("overlay2/LOWEST-CACHE/diff/bin/busybox"), "").unwrap();
        // The link is lost in both places.
        fs::write(store.at("overlay2/LOWEST-CACHE/link"), "").unwrap();
        fs::remove_file(store.at("overlay2/l/LOWEST-LINK")).unwrap();
        fs::write(store.at("image/overlay2/repositories.json"), "").unwrap();
        // A removal that was cut short, with its directory.
        let (record, orphan) = (store.at("LAYERDB/LOWEST-12-removing"), store.at("overlay2").join("f".repeat(64)));
        fs::create_dir(&record).unwrap();
        fs::write(record.join("cache-id"), "f".repeat(64)).unwrap();
        fs::create_dir_all(orphan.join("diff/sub")).unwrap();
    });
    let mut report = mend(&store, &bench.archives(), &[], Sound);
    let orphan = store.at("overlay2").join("f".repeat(64));
    if orphan.exists() {
        report.push("the directory of a removal is left".into());
    }
    report.extend(judge(&store, bench.dir.path(), &[BASE, CHILD], true));
    testkit::assert_none("repair", &report);
}

/// Damage of single files of layers, what mends it, and whether that takes a source.
type Harm = (&'static str, fn(&SmallStore), &'static [&'static str], bool);

const HARMS: &[Harm] = &[
    ("bits", |s| change(&s.at("overlay2/LOWEST-CACHE/diff/bin/busybox")), &["reextract-files"], true),
    ("no bytes", |s| fs::write(s.at("overlay2/LOWEST-CACHE/diff/etc/group"), "").unwrap(), &["reextract-files"], true),
    (
        "a file that is gone",
        |s| fs::remove_file(s.at("overlay2/LOWEST-CACHE/diff/etc/group")).unwrap(),
        &["reextract-files"],
        true,
    ),
    (
        "a directory that is gone",
        |s| fs::remove_dir_all(s.at("overlay2/LOWEST-CACHE/diff/etc")).unwrap(),
        &["reextract-files"],
        true,
    ),
    (
        "a mode of a directory",
        |s| fs::set_permissions(s.at("overlay2/LOWEST-CACHE/diff/etc"), fs::Permissions::from_mode(0o777)).unwrap(),
        &["reextract-files"],
        true,
    ),
    (
        "a link in place of a file",
        |s| {
            fs::remove_file(s.at("overlay2/TOP-CACHE/diff/child")).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", s.at("overlay2/TOP-CACHE/diff/child")).unwrap();
        },
        &["reextract-files"],
        true,
    ),
    ("a file more", |s| fs::write(s.at("overlay2/TOP-CACHE/diff/evil"), "x").unwrap(), &["remove-extra-files"], false),
    (
        "a directory more",
        |s| {
            fs::create_dir_all(s.at("overlay2/LOWEST-CACHE/diff/etc/more/in")).unwrap();
            fs::write(s.at("overlay2/LOWEST-CACHE/diff/etc/more/in/file"), "x").unwrap();
        },
        &["remove-extra-files"],
        false,
    ),
];

fn change(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[100] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// Only the files that are damaged are replaced: all others are the files that they were.
#[test]
fn docker_single_files_are_mended() {
    let Some(_turn) = testkit::docker() else { return };
    let bench = Bench::new();
    let mut report = Vec::new();
    for (name, harm, repairs, needs_source) in HARMS {
        let store = bench.damaged(harm);
        let inodes = |file: &str| fs::symlink_metadata(store.at(file)).map(|found| found.ino()).ok();
        // Sound ones of both layers.
        let sound = ["overlay2/LOWEST-CACHE/diff/bin", "overlay2/LOWEST-CACHE/diff/root", "overlay2/TOP-CACHE/diff"];
        let before = sound.map(inodes);
        if *needs_source {
            let alone = repair(&store.root, &[], &["--deep", "--apply"]);
            if alone.status != Some(1) || alone.count("unmended") == 0 {
                report.push(format!("{name}: without a source: {:?} {}", alone.status, alone.report));
            }
        }
        let sources = if *needs_source { bench.archives() } else { Vec::new() };
        let planned = repair(&store.root, &sources, &["--deep"]);
        if planned.repairs() != *repairs {
            report.push(format!("{name}: {}", planned.report));
        }
        let mut wrong = mend(&store, &sources, &["--deep"], Restored);
        wrong.extend(bench.changes(&store));
        if sound.map(inodes) != before {
            wrong.push("sound files were replaced".into());
        }
        report.extend(wrong.into_iter().map(|line| format!("{name}: {line}")));
    }
    testkit::assert_none("single files", &report);
}

/// Damage beside the table's: what a check must call it, and what a repair with sources comes to.
type Other = (&'static str, fn(&SmallStore), &'static str, End);

const OTHERS: &[Other] = &[
    (
        "a record in the middle",
        |s| fs::remove_dir_all(s.at("LAYERDB").join(middle(s))).unwrap(),
        "layer-record-missing",
        Sound,
    ),
    (
        "two records with one directory",
        |s| fs::write(s.at("LAYERDB/TOP/cache-id"), &s.lowest.cache).unwrap(),
        "layer-directory-shared",
        Sound,
    ),
    (
        "a time of tagging",
        |s| {
            let dir = s.at("image/overlay2/imagedb/metadata/sha256/CHILD");
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join("lastUpdated"), "yesterday").unwrap();
        },
        "image-time-invalid",
        Sound,
    ),
    (
        "capabilities",
        |s| {
            let mut value = [0_u8; 20];
            (value[3], value[4]) = (2, 1);
            let file = s.at("overlay2/LOWEST-CACHE/diff/bin/busybox");
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(file, "security.capability", &value, flags).unwrap();
        },
        "layer-content-differs",
        Restored,
    ),
    (
        "the build cache's records",
        |s| fs::write(s.at("buildkit/snapshots.db"), "no").unwrap(),
        "build-cache-unreadable",
        Left,
    ),
    (
        "options of a volume",
        |s| {
            fs::create_dir_all(s.at("volumes/harmed/_data")).unwrap();
            fs::write(s.at("volumes/harmed/opts.json"), "no").unwrap();
        },
        "volume-options-invalid",
        Left,
    ),
];

/// The chain id of the layer below the topmost one.
fn middle(store: &SmallStore) -> String {
    let parent = fs::read_to_string(store.at("LAYERDB/TOP/parent")).unwrap();
    parent.trim_start_matches("sha256:").to_owned()
}

/// From the finding to a dockerd that runs the images.
#[test]
fn docker_other_damage_is_found_and_mended() {
    let Some(_turn) = testkit::docker() else { return };
    let bench = Bench::new();
    let mut report = Vec::new();
    for (name, harm, code, end) in OTHERS {
        let store = bench.damaged(harm);
        let found = damage(&store.root);
        let mut wrong = Vec::new();
        if found.is_empty() || !found.iter().all(|line| line.contains(&format!("\"code\":\"{code}\""))) {
            wrong.push(format!("{found:?}"));
        }
        wrong.extend(mend(&store, &bench.archives(), &["--deep"], *end));
        match end {
            Restored => wrong.extend(bench.changes(&store)),
            Sound => wrong.extend(judge(&store, bench.dir.path(), &[BASE, CHILD], true)),
            Collected | Cleared | Left => {}
        }
        report.extend(wrong.into_iter().map(|line| format!("{name}: {line}")));
    }
    testkit::assert_none("other damage", &report);
}

/// `image-gc` takes nothing that a repair could bring back: a container's directories whose mount is gone, and those of a layer
/// whose record names another's.
#[test]
fn docker_gc_leaves_what_a_repair_brings_back() {
    let Some(_turn) = testkit::docker() else { return };
    let bench = Bench::new();
    let mut report = Vec::new();
    for name in ["container without mount", "container of an empty mount", "directory of a container"] {
        let situation = SITUATIONS.iter().find(|situation| situation.name == name).unwrap();
        let store = bench.damaged(situation.damage);
        let mut gc = std::process::Command::new(testkit::program("image-gc"));
        gc.arg("--root").arg(&store.root).args(["--apply", "--min-age", "0s"]);
        let status = gc.output().unwrap().status.code();
        let mut wrong = mend(&store, &[], &[], Restored);
        if !matches!(status, Some(0 | 1)) {
            wrong.push(format!("image-gc ends with {status:?}"));
        }
        wrong.extend(bench.changes(&store));
        report.extend(wrong.into_iter().map(|line| format!("{name}: {line}")));
    }
    testkit::assert_none("gc before a repair", &report);
}

/// Without a source a record that is empty goes, and dockerd can load the image again, which it could not before.
#[test]
fn docker_loads_again_what_an_empty_record_kept_out() {
    let Some(_turn) = testkit::docker() else { return };
    let bench = Bench::new();
    let damage = |store: &SmallStore| {
        empty_record(store);
        // Its container is gone: nothing says any more which directory is the layer's.
        fs::remove_dir_all(store.at("containers/CONTAINER")).unwrap();
        fs::remove_dir_all(store.at("MOUNTS/CONTAINER")).unwrap();
    };
    let store = bench.damaged(damage);
    let archive = bench.dir.path().join("child.tar");
    let load = |store: &SmallStore| {
        let daemon = Dockerd::start(&store.root);
        let output = daemon.docker(&["load", "-i", archive.to_str().unwrap()]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let ran = daemon.docker(&["run", "--rm", "--network", "none", CHILD, "cat", "/child"]);
        daemon.stop();
        (output.status.success() && ran.status.success(), said)
    };
    let (loaded, said) = load(&store);
    assert!(!loaded && said.contains("file exists"), "{said}");
    let store = bench.damaged(damage);
    testkit::assert_none("repair", &mend(&store, &[], &[], Left));
    assert!(!store.at("LAYERDB/TOP").exists());
    let (loaded, said) = load(&store);
    assert!(loaded, "{said}");
}

/// A store that a daemon runs on is not even planned for.
#[test]
fn docker_keeps_a_repair_away() {
    let Some(_turn) = testkit::docker() else { return };
    let bench = Bench::new();
    let store = bench.damaged(|store| fs::remove_file(store.at("LAYERDB/TOP/size")).unwrap());
    let daemon = Dockerd::start(&store.root);
    for flags in [&[][..], &["--apply"]] {
        let said = repair(&store.root, &[], flags);
        assert_eq!(said.status, Some(1), "{}", said.stderr);
        assert!(said.stderr.contains("is not written to"), "{}", said.stderr);
    }
    daemon.stop();
    assert!(!store.at("LAYERDB/TOP/size").exists());
}
