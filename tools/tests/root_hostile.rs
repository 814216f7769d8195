//! One odd entry anywhere in a store: no command panics, hangs, or touches what is outside; each ends with a status of its own.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

#[path = "../../snapshot/tests/support/big_store.rs"]
mod big_store;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode};
use testkit::Random;
use testkit::run::{self, Input};

/// What stands in the place of an entry, or beside it.
const KINDS: [&str; 18] = [
    "fifo",
    "socket",
    "device",
    "dangling",
    "loop",
    "outside",
    "root",
    "directory",
    "file",
    "empty",
    "garbage",
    "null",
    "nested",
    "sparse",
    "unreadable",
    "deep",
    "newline beside",
    "bytes beside",
];

/// Puts `kind` in the place of `path`.
fn plant(kind: &str, path: &Path, outside: &Path) {
    let beside = kind.ends_with(" beside");
    if !beside && kind != "unreadable" {
        let _ = fs::remove_file(path);
        let _ = Command::new("rm").arg("-rf").arg(path).status();
    }
    match kind {
        "fifo" => rustix::fs::mkfifoat(CWD, path, Mode::RWXU).unwrap(),
        "socket" => rustix::fs::mknodat(CWD, path, FileType::Socket, Mode::RWXU, 0).unwrap(),
        // The terminal of whoever has none, and one that never ends.
        "device" => {
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::RWXU, rustix::fs::makedev(1, 5)).unwrap();
        }
        "dangling" => symlink("nowhere", path).unwrap(),
        "loop" => symlink(path.file_name().unwrap(), path).unwrap(),
        "outside" => symlink(outside, path).unwrap(),
        "root" => symlink("/", path).unwrap(),
        "directory" => fs::create_dir_all(path.join("inner")).unwrap(),
        "file" => fs::write(path, "sha256:0000").unwrap(),
        "empty" => fs::write(path, "").unwrap(),
        "garbage" => fs::write(path, [0xff, 0, b'{', b'\n', 0x1b, b'[', b'2', b'J']).unwrap(),
        "null" => fs::write(path, "null").unwrap(),
        "nested" => fs::write(path, "[".repeat(1 << 20)).unwrap(),
        "sparse" => fs::File::create(path).unwrap().set_len(1 << 33).unwrap(),
        "unreadable" => rustix::fs::chmod(path, Mode::empty()).unwrap(),
        "deep" => fs::create_dir_all(path.join("d/".repeat(1500))).unwrap(),
        "newline beside" => fs::write(path.with_file_name("line\nfeed\x1b[31m"), "x").unwrap(),
        "bytes beside" => fs::create_dir(path.with_file_name(OsStr::from_bytes(b"\xff\xfe"))).unwrap(),
        other => panic!("no such kind: {other}"),
    }
}

/// The first entry of a directory that is none of those in `not`.
fn first(dir: &Path, not: &[&str]) -> PathBuf {
    let mut names: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.retain(|path| !not.iter().any(|not| path.ends_with(not)));
    names.sort();
    names.swap_remove(0)
}

/// One path for each place of a store that has a meaning.
fn places(root: &Path) -> Vec<PathBuf> {
    let image = root.join("image/overlay2");
    let config = first(&image.join("imagedb/content/sha256"), &[]);
    let metadata = image.join("imagedb/metadata/sha256").join(config.file_name().unwrap());
    let layer = first(&image.join("layerdb/sha256"), &[]);
    let mount = first(&image.join("layerdb/mounts"), &[]);
    let container = first(&root.join("containers"), &[]);
    let directory = first(&root.join("overlay2"), &["l"]);
    let mut places = vec![
        image.join("repositories.json"),
        image.join("imagedb/content/sha256"),
        metadata.join("lastUpdated"),
        metadata.join("parent"),
        image.join("layerdb/sha256"),
        image.join("layerdb/tmp"),
        image.join("layerdb/tmp/write-set-1"),
        image.join("layerdb/mounts"),
        image.join("distribution"),
        root.join("image"),
        root.join("overlay2/l"),
        first(&root.join("overlay2/l"), &[]),
        root.join("overlay2/stray"),
        root.join("containers"),
        root.join("volumes"),
        root.join("volumes/metadata.db"),
        root.join("buildkit"),
    ];
    places.extend(["cache-id", "diff", "size", "parent", "tar-split.json.gz"].map(|name| layer.join(name)));
    places.extend(["mount-id", "init-id", "parent"].map(|name| mount.join(name)));
    places.extend(["config.v2.json", "hostconfig.json"].map(|name| container.join(name)));
    let id = container.file_name().unwrap().to_str().unwrap();
    places.extend([container.join(format!("{id}-json.log")), container.join(format!("{id}-json.log.1"))]);
    places.extend(["data", "data/_data", "stray"].map(|name| root.join("volumes").join(name)));
    places.extend(["diff", "link", "lower", "work", "committed"].map(|name| directory.join(name)));
    places.extend([config, metadata, layer, mount, container, directory]);
    places
}

/// A store of three images and two containers, with a volume and a log.
fn write_store(root: &Path) {
    big_store::write(root, 3, 2).unwrap();
    fs::create_dir_all(root.join("volumes/data/_data")).unwrap();
    for container in fs::read_dir(root.join("containers")).unwrap() {
        let container = container.unwrap().path();
        let name = format!("{}-json.log", container.file_name().unwrap().to_str().unwrap());
        let record = "{\"log\":\"said\\n\",\"stream\":\"stdout\",\"time\":\"2024-05-06T07:08:09.5Z\"}\n";
        fs::write(container.join(&name), record).unwrap();
        fs::write(container.join(name + ".1"), record).unwrap();
    }
}

/// Commands that read, then those that write.
const COMMANDS: [&[&str]; 47] = [
    &["layerfs", "image", "ls"],
    &["layerfs", "image", "ls", "-a", "--no-trunc", "--format", "{{json .}}"],
    &["layerfs", "image", "tree"],
    &["layerfs", "image", "inspect", "big/app0:1"],
    &["layerfs", "image", "history", "big/app0:1"],
    &["layerfs", "container", "ls", "-a", "-s"],
    &["layerfs", "container", "inspect", "container-0"],
    &["layerfs", "container", "logs", "--timestamps", "container-0"],
    &["layerfs", "container", "logs", "--tail", "3", "container-0"],
    &["layerfs", "container", "top", "container-0"],
    &["layerfs", "volume", "inspect", "data"],
    &["layerfs", "system", "info"],
    &["layerfs", "volume", "ls"],
    &["layerfs", "system", "df", "-v"],
    &["layerfs", "system", "owner", "big/app0:1"],
    &["layerfs", "system", "check"],
    &["image-du", "--json"],
    &["image-du", "--files"],
    &["image-gc"],
    &["layerfs", "system", "repair"],
    &["layerfs", "system", "check", "--deep"],
    &["layerfs", "image", "save", "--all", "-o", "OUT/all.tar"],
    &["layerfs", "image", "save", "big/app0:1", "--format", "oci", "--directory", "OUT/layout"],
    &["layerfs", "image", "export", "big/app0:1", "-o", "OUT/image.tar"],
    &["layerfs", "image", "diff", "big/app0:1", "big/app1:1"],
    &["layerfs", "image", "files", "big/app0:1"],
    &["layerfs", "image", "cat", "big/app0:1", "/usr/image 0 layer 9"],
    &["layerfs", "image", "cp", "big/app0:1:/usr", "OUT/copied"],
    &["layerfs", "container", "diff", "container-0"],
    &["layerfs", "container", "export", "container-0", "-o", "OUT/container.tar"],
    &["layerfs", "container", "cp", "container-0:/written", "OUT/written"],
    &["layerfs", "container", "commit", "container-0", "big/committed:1"],
    &["layerfs", "image", "tag", "big/app0:1", "big/new:1"],
    &["layerfs", "image", "flatten", "big/app0:1", "--tag", "big/flat:1"],
    &["layerfs", "container", "create", "--name", "made", "-v", "data:/usr", "big/app0:1"],
    &["layerfs", "container", "start", "container-0"],
    &["layerfs", "container", "stop", "container-0"],
    &["layerfs", "container", "rename", "container-0", "renamed"],
    &["layerfs", "container", "rm", "-v", "made"],
    &["layerfs", "container", "rm", "-f", "container-1"],
    &["layerfs", "container", "prune", "-f"],
    &["layerfs", "volume", "create", "more"],
    &["layerfs", "volume", "rm", "data"],
    &["layerfs", "image", "rm", "-f", "big/app1:1"],
    &["layerfs", "image", "prune", "-a", "-f"],
    &["layerfs", "system", "repair", "--apply"],
    &["image-gc", "--apply"],
];

/// Longer than any command takes on a store of three images, whatever the machine does besides.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn root_one_odd_entry() {
    let prlimit = Command::new("prlimit").arg("--version").output().is_ok();
    if !testkit::tier("root", testkit::is_root() && prlimit, "run as root, install util-linux") {
        return;
    }
    let dir = testkit::scratch();
    let outside = dir.path().join("outside");
    let root = dir.path().join("root");
    write_store(&root);
    let count = places(&root).len();
    let all = (0..count).flat_map(|place| KINDS.map(|kind| (place, kind)));
    let mut random = Random::new(20_261_129);
    let chosen: Vec<(usize, &str)> = all.filter(|_| testkit::full_sweep() || random.below(54) == 0).collect();
    eprintln!("{} of {} kinds", chosen.len(), count * KINDS.len());
    let mut report = Vec::new();
    for (place, kind) in chosen {
        assert!(Command::new("rm").arg("-rf").args([&root, &outside]).status().unwrap().success());
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("precious"), "precious").unwrap();
        write_store(&root);
        let path = places(&root).swap_remove(place);
        if kind == "unreadable" && !path.exists() {
            continue;
        }
        plant(kind, &path, &outside);
        let title = format!("{kind} at {}", path.strip_prefix(&root).unwrap().display());
        for command in COMMANDS {
            // What is read of it must not take the machine's memory.
            let mut caged = Command::new("prlimit");
            caged.args(["--as=2147483648", "--"]).arg(testkit::program(command[0]));
            let out = dir.path().join("out");
            let _ = Command::new("rm").arg("-rf").arg(&out).status();
            fs::create_dir(&out).unwrap();
            let arguments = command[1..].iter().map(|word| word.replace("OUT", out.to_str().unwrap()));
            caged.arg("--root").arg(&root).args(arguments);
            let ran = run::run(caged, Input::Nothing);
            let words = command.join(" ");
            if !matches!(ran.code, Some(0..=2)) || ran.stderr.contains("panicked") {
                report.push(format!("{title}: {words}: {:?}: {}", ran.code, ran.stderr));
            }
            if ran.code != Some(0) && ran.stderr.is_empty() && ran.stdout.is_empty() {
                report.push(format!("{title}: {words}: says nothing"));
            }
            if ran.time > PATIENCE {
                report.push(format!("{title}: {words}: {:?}", ran.time));
            }
            if ran.stderr.contains('\x1b') || ran.stdout.contains('\x1b') {
                report.push(format!("{title}: {words}: an escape sequence gets out"));
            }
        }
        // What lies directly in the root may be a link of its owner's, and something is made where it leads.
        let is_owners = path.parent() == Some(root.as_path());
        if fs::read_to_string(outside.join("precious")).ok().as_deref() != Some("precious")
            || !is_owners && fs::read_dir(&outside).unwrap().count() != 1
        {
            report.push(format!("{title}: what is outside was changed"));
        }
    }
    testkit::assert_none("odd entries", &report);
}
