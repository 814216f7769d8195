//! `layer-unpack --bench`: what it reports is what happened, and nothing is left of it.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::run::{Input, Ran, layer_unpack, run};
use testkit::{TreeState, golden};

const BUSYBOX: &str = "busybox-20.10.tar";

fn bench(archive: &Path, to: &Path, flags: &[&str]) -> Ran {
    let to = [OsStr::new("--rootfs"), to.as_os_str()];
    let flags = flags.iter().map(OsStr::new);
    let arguments: Vec<&OsStr> = std::iter::once(archive.as_os_str()).chain(to).chain(flags).collect();
    run(layer_unpack(&arguments), Input::Nothing)
}

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok().stdout).unwrap()
}

/// Names and lengths of the layers of a `docker save` archive, and how many entries they have, as GNU tar sees it.
fn layers(archive: &Path) -> (u64, u64, u64) {
    let tar = |arguments: &[&str]| {
        let output = Command::new("tar").args(arguments).arg(archive).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    let names = String::from_utf8(tar(&["-tf"])).unwrap();
    let (mut count, mut bytes, mut entries) = (0, 0, 0);
    for name in names.lines().filter(|name| name.ends_with("/layer.tar")) {
        let layer = tar(&["-xO", name, "-f"]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &layer).unwrap();
        let listed = Command::new("tar").arg("-tf").arg(file.path()).output().unwrap();
        (count, bytes) = (count + 1, bytes + layer.len() as u64);
        entries += listed.stdout.iter().filter(|&&byte| byte == b'\n').count() as u64;
    }
    (count, bytes, entries)
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn in_order(spread: &Value) {
    let (min, median, max) = (number(&spread["min"]), number(&spread["median"]), number(&spread["max"]));
    assert!(0.0 < min && min <= median && median <= max, "{spread}");
}

#[test]
fn the_report_is_consistent_and_says_what_is_in_the_archive() {
    let dir = testkit::scratch();
    let to = dir.path().join("to");
    std::fs::create_dir(&to).unwrap();
    let before = TreeState::read(dir.path());
    let archive = golden(BUSYBOX);
    let report = json(bench(&archive, &to, &["--bench", "3", "--threads", "1,2", "--no-sync", "--json"]));
    let (count, bytes, entries) = layers(&archive);
    assert!(count == 3 && entries > 100, "{count} {entries}");
    assert_eq!(report["layers"], count);
    assert_eq!(report["entries"], entries);
    assert_eq!(report["tar_bytes"], bytes);
    assert_eq!(report["archive"], archive.to_str().unwrap());
    assert_eq!(report["archive_bytes"], std::fs::metadata(&archive).unwrap().len());
    assert_eq!((&report["format"], &report["target"]), (&"docker-archive".into(), &"rootfs".into()));
    assert_eq!((&report["synced"], &report["compression"]), (&false.into(), &Value::Null));
    assert!(report["machine"]["cores"].as_u64().unwrap() > 0);
    let runs = report["runs"].as_array().unwrap();
    assert_eq!(runs.iter().map(|run| run["threads"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for run in runs {
        assert_eq!(run["samples"].as_array().unwrap().len(), 3);
        for spread in ["wall_seconds", "megabytes_per_second", "entries_per_second"] {
            in_order(&run[spread]);
        }
        let (fastest, wall) = (number(&run["megabytes_per_second"]["max"]), number(&run["wall_seconds"]["min"]));
        assert!((fastest * wall * 1e6 / bytes as f64 - 1.0).abs() < 1e-6, "{fastest} MB/s in {wall} s");
        assert!(run["peak_rss_anon_bytes"].as_u64().unwrap() > 100_000);
        assert!(run["bytes_copied"].as_u64().unwrap() > 1_900_000);
        let threads = number(&run["threads"]);
        let sum = |list: &str, of: &str| run[list].as_array().unwrap().iter().map(|one| number(&one[of])).sum::<f64>();
        let (all, metered) =
            (sum("stages", "wall_seconds") + sum("waits", "seconds"), number(&run["metered_wall_seconds"]));
        assert!((all - threads * metered).abs() < 0.005 + metered / 20.0, "{all} of {threads} times {metered}");
        let cpu = sum("stages", "cpu_seconds");
        assert!(cpu > 0.0 && number(&run["bound_seconds"]) <= cpu * 1.000_001, "{run}");
        let hash = run["stages"].as_array().unwrap().iter().find(|stage| stage["stage"] == "hash").unwrap();
        assert_eq!(hash["bytes"], bytes);
        assert!(!run["bottleneck"].as_str().unwrap().is_empty());
    }
    // One thread: its stages are all of the time, and it is never alone.
    let stages = runs[0]["stages"].as_array().unwrap();
    let walls: f64 = stages.iter().map(|stage| number(&stage["wall_seconds"])).sum();
    let metered = number(&runs[0]["metered_wall_seconds"]);
    assert!((walls - metered).abs() < 0.005 + metered / 20.0, "{walls} of {metered}");
    assert_eq!(before.changes(&TreeState::read(dir.path())), [""; 0]);
}

#[test]
fn every_file_can_be_measured_and_five_runs_are_the_default() {
    let dir = testkit::scratch();
    let layer = dir.path().join("layer.tar");
    std::fs::write(&layer, &testkit::synthetic::layers(1 << 20, 50)[0]).unwrap();
    let packed = dir.path().join("image.tar.zst");
    std::fs::write(&packed, zstd::encode_all(std::fs::File::open(golden(BUSYBOX)).unwrap(), 1).unwrap()).unwrap();
    let to = dir.path().join("new/directory");
    let rows = [
        (golden("oci-skopeo-gzip.tar"), "oci", Value::Null),
        (golden("docker-archive-skopeo.tar"), "docker-archive", Value::Null),
        (layer, "layer", Value::Null),
        (packed, "docker-archive", "zstd".into()),
    ];
    for (archive, format, compression) in rows {
        let report = json(bench(&archive, &to, &["--json", "--no-sync", "--bench"]));
        assert_eq!((report["format"].as_str().unwrap(), &report["compression"]), (format, &compression));
        assert_eq!(report["runs"][0]["samples"].as_array().unwrap().len(), 5, "{}", archive.display());
        assert!(!dir.path().join("new").exists(), "{}", archive.display());
    }
}

#[test]
fn a_person_reads_a_table() {
    let dir = testkit::scratch();
    let ran = bench(&golden(BUSYBOX), &dir.path().join("to"), &["--bench", "2", "--threads", "2,1"]).ok();
    for words in
        ["3 layers, 287 entries", "rootfs on ", ", synced", "speed-up", "2 threads: ", "1 thread: ", "bound", "hash"]
    {
        assert!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    assert_eq!(ran.stderr, "");
}

#[test]
fn what_cannot_be_measured_is_refused() {
    let dir = testkit::scratch();
    let archive = golden(BUSYBOX);
    let archive = archive.to_str().unwrap();
    let to = dir.path().join("to");
    let to = to.to_str().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let pipe = pipe.to_str().unwrap();
    let before = TreeState::read(dir.path());
    let rows: [(&[&str], &str); 7] = [
        (&["-", "--rootfs", to, "--bench"], "standard input is not a file"),
        (&[pipe, "--rootfs", to, "--bench"], "pipe is not a file"),
        (&[archive, "--rootfs", to, "--threads", "1,2"], "--bench"),
        (&[archive, "--rootfs", to, "--bench", "0"], "0 is not in"),
        (&[archive, "--rootfs", to, "--bench", "--threads", "1,0"], "0 is not in"),
        (&[archive, "--root", to, "--bench", "--dry-run"], "cannot be used with"),
        (&[archive, "--bench"], "where to?"),
    ];
    for (arguments, words) in rows {
        let ran = run(layer_unpack(arguments), Input::Pipe(b"not read"));
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(words), "{arguments:?}: {}", ran.stderr);
    }
    assert_eq!(before.changes(&TreeState::read(dir.path())), [""; 0]);
}

#[test]
fn a_directory_with_something_in_it_is_not_touched() {
    let dir = testkit::scratch();
    let used = dir.path().join("used");
    std::fs::create_dir_all(used.join(".layerfs-bench-1/run")).unwrap();
    std::fs::write(used.join("file"), "mine").unwrap();
    let before = TreeState::read(dir.path());
    let to_used = bench(&golden(BUSYBOX), &used, &["--bench", "1"]);
    assert_eq!(to_used.complaints(&["used is not empty", ".layerfs-bench-1"]), [""; 0]);
    let to_file = bench(&golden(BUSYBOX), &used.join("file"), &["--bench", "1"]);
    assert_eq!(to_file.complaints(&["used/file", "Not a directory"]), [""; 0]);
    assert_eq!(before.changes(&TreeState::read(dir.path())), [""; 0]);
}

#[test]
fn a_failure_leaves_nothing() {
    let dir = testkit::scratch();
    let archive = dir.path().join("archive.tar");
    let mut bytes = std::fs::read(golden(BUSYBOX)).unwrap();
    let at = bytes.windows(7).position(|found| found == b"\x7fELF\x02\x01\x01").unwrap() + 5000;
    bytes[at] ^= 1;
    std::fs::write(&archive, bytes).unwrap();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    let before = TreeState::read(dir.path());
    for to in [empty, dir.path().join("new/directory")] {
        let ran = bench(&archive, &to, &["--bench", "1"]);
        assert_eq!(ran.complaints(&["layer"]), [""; 0]);
        // The directory above has new times where something was made in it.
        let (before, now) = (before.clone(), TreeState::read(dir.path()));
        assert_eq!(before.without_directory_times().changes(&now.without_directory_times()), [""; 0]);
    }
}
