//! Power cuts at every moment: what was written to a disk is kept in a log, and from that come the states in which a cut could
//! have left the disk, flush by flush and with any part of what was not flushed. In each of them everything that was
//! acknowledged is there, and whole.
//!
//! The tests that are marked as ignored run in a virtual machine, started by the others. After each step they write a mark to the
//! end of the disk, so that it can be told of each state what was acknowledged by then. Only for a full sweep: each of the states is
//! mounted, mended and read.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the host reads what the machine prints"
)]

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use testkit::saved;
use testkit::write_log::Replay;

const ARCHIVES: [&str; 2] = ["busybox-20.10.tar", "layers-20.10.tar"];

/// Bytes of the disk, and of what is its file system's; the mark is between.
const DISK: u64 = 336 << 20;
const FILE_SYSTEM: u64 = 335 << 20;

/// Begins a mark, before its number.
const MARK: &[u8; 8] = b"@@ mark ";

#[test]
fn vm_overlay2_on_ext4_survives_any_cut() {
    survives("overlay2", "ext4", 250);
}

#[test]
fn vm_overlay2_on_xfs_survives_any_cut() {
    survives("overlay2", "xfs", 250);
}

#[test]
fn vm_devicemapper_survives_any_cut() {
    survives("devicemapper", "ext4", 500);
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_overlay2_on_ext4() {
    work("overlay2", "ext4");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_overlay2_on_xfs() {
    work("overlay2", "xfs");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_devicemapper_on_ext4() {
    work("devicemapper", "ext4");
}

/// Changes a store on the logged disk.
fn work(driver: &str, file_system: &str) {
    let disk = File::options().write(true).open("/dev/vdb").unwrap();
    let place = Path::new("/w");
    std::fs::create_dir(place).unwrap();
    let size = format!("{}k", FILE_SYSTEM >> 10);
    let mut make = Command::new(format!("mkfs.{file_system}"));
    match file_system {
        "xfs" => make.args(["-q", "-d", &format!("size={size}"), "/dev/vdb"]),
        _ => make.args(["-q", "/dev/vdb", &size]),
    };
    testkit::succeeded("mkfs", make.output().unwrap());
    testkit::succeeded("mount", Command::new("mount").args(["-t", file_system, "/dev/vdb", "/w"]).output().unwrap());
    let root = place.join("docker");
    let run = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(format!("/t/{program}"));
        command.arg("--root").arg(&root);
        if driver == "devicemapper" {
            for option in ["dm.fs=ext4", "dm.basesize=64M", "dm.loopdatasize=1G", "dm.loopmetadatasize=8M"] {
                command.args(["--storage-opt", option]);
            }
        }
        testkit::succeeded(program, command.args(arguments).output().unwrap())
    };
    let load = |archive: &str| {
        run("layerfs", &["image", "load", "-q", "--storage-driver", driver, "-i", &format!("/t/{archive}")]);
    };
    let mut number = 0_u64;
    let mut acknowledge = || {
        println!("@@ step {number} {}", names(&run("layerfs", &LISTED)).into_iter().collect::<Vec<_>>().join(","));
        let mut block = [0; 4096];
        block[..8].copy_from_slice(MARK);
        block[8..16].copy_from_slice(&number.to_le_bytes());
        disk.write_all_at(&block, FILE_SYSTEM).unwrap();
        disk.sync_all().unwrap();
        number += 1;
    };
    load(ARCHIVES[0]);
    acknowledge();
    load(ARCHIVES[1]);
    acknowledge();
    run("layerfs", &["image", "tag", BUSYBOX, "kept:1"]);
    acknowledge();
    run("layerfs", &["image", "rm", LAYERS]);
    acknowledge();
    if driver == "devicemapper" {
        let container = run("layerfs", &["container", "create", "--network", "none", BUSYBOX, "true"]);
        acknowledge();
        run("layerfs", &["container", "rm", container.trim()]);
        acknowledge();
    }
    load(ARCHIVES[1]);
    acknowledge();
    run("layerfs", &["image", "tag", BUSYBOX, LAYERS]);
    acknowledge();
    // The image that has lost its name goes.
    run("image-gc", &["--apply", "--min-age", "0"]);
    acknowledge();
    // The kernel lets a pool go a moment after the program that used it has ended.
    let unmount = || Command::new("umount").arg("/w").output().unwrap().status.success();
    let start = Instant::now();
    while !unmount() {
        assert!(start.elapsed() < Duration::from_secs(300), "it stays mounted");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const BUSYBOX: &str = "layerfs-test/busybox:1";
const LAYERS: &str = "layerfs-test/layers:1";

/// Names, each with the id that it means.
const LISTED: [&str; 5] = ["image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}}={{.ID}}"];

fn names(listed: &str) -> BTreeSet<String> {
    listed.lines().filter(|line| !line.starts_with("<none>")).map(str::to_owned).collect()
}

/// A file system in a file, mounted.
struct Mounted(PathBuf);

impl Mounted {
    fn mount(image: &Path, place: &Path) -> Self {
        let output = Command::new("mount").args(["-o", "loop"]).arg(image).arg(place).output().unwrap();
        testkit::succeeded("mount", output);
        Self(place.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

fn survives(driver: &str, file_system: &str, count: usize) {
    if !testkit::full_sweep() || !testkit::is_root() {
        return;
    }
    let Some(_turn) = testkit::vm::vm() else { return };
    let programs = ["mkfs.ext4", "mkfs.xfs"];
    let mut machine = testkit::vm::Machine::new(768, 1, &programs).logged_disk(DISK);
    for name in ["layerfs", "image-gc"] {
        machine = machine.program(&testkit::program(name));
    }
    for name in ARCHIVES {
        machine = machine.file(&testkit::golden(name), &format!("/t/{name}"));
    }
    let (output, log) = machine.run_logged(&format!("inside_{driver}_on_{file_system}"), Duration::from_secs(600));
    // What is there after each step.
    let steps = output.lines().filter_map(|line| line.strip_prefix("@@ step ")?.split_once(' '));
    let steps: Vec<BTreeSet<String>> =
        steps.map(|(_, listed)| listed.trim().split(',').map(str::to_owned).collect()).collect();
    assert!(steps.len() >= 7, "{output}");

    let dir = testkit::scratch_for(1 << 30);
    let (image, place) = (dir.path().join("state"), dir.path().join("mounted"));
    std::fs::create_dir(&place).unwrap();
    let mut replay = Replay::new(&log, &dir.path().join("disk"), DISK);
    let mut random = testkit::Random::new(20_261_130);
    let mut looked = 0;
    for cut in log.cuts(count, &mut random) {
        replay.cut(&cut, &image);
        let Some(mark) = mark(&image) else { continue };
        let mounted = Mounted::mount(&image, &place);
        let before = &steps[mark];
        let after = steps.get(mark + 1).unwrap_or(before);
        let state = State { root: place.join("docker"), must: before & after, may: before | after, dir: dir.path() };
        let wrong = state.wrong(driver);
        assert!(wrong.is_empty(), "{cut:?} after step {mark}: {}", wrong.join("\n"));
        drop(mounted);
        looked += 1;
    }
    eprintln!("{driver} on {file_system}: {looked} states of {count} cuts are sound");
    assert!(looked * 2 > count, "{looked} of {count}");
}

/// The last step that was acknowledged; `None` if none was.
fn mark(image: &Path) -> Option<usize> {
    let mut block = [0; 16];
    File::open(image).unwrap().read_exact_at(&mut block, FILE_SYSTEM).unwrap();
    let number = u64::from_le_bytes(block[8..].try_into().unwrap());
    (block[..8] == *MARK).then(|| usize::try_from(number).unwrap())
}

/// A store after a cut.
struct State<'d> {
    root: PathBuf,
    /// Names that it must have.
    must: BTreeSet<String>,
    /// Names that it may have.
    may: BTreeSet<String>,
    dir: &'d Path,
}

impl State<'_> {
    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(testkit::program(program)).arg("--root").arg(&self.root).args(arguments).output().unwrap()
    }

    /// What is wrong with it.
    fn wrong(&self, driver: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        self.check_names("at once", &mut wrong);
        if driver == "devicemapper" {
            let metadata = self.root.join("devicemapper/devicemapper/metadata");
            let checked = Command::new("thin_check").arg(metadata).output().unwrap();
            if !checked.status.success() {
                wrong.push(format!("{checked:?}"));
            }
        } else {
            // Whoever writes next mends, and what a crash has left goes.
            for arguments in [&["image", "tag", BUSYBOX, "mended:1"][..], &["image", "rm", "mended:1"]] {
                let output = self.run("layerfs", arguments);
                if !output.status.success() {
                    wrong.push(format!("{arguments:?}: {output:?}"));
                }
            }
            let cleared = self.run("image-gc", &["--apply", "--min-age", "0"]);
            if !cleared.status.success() {
                wrong.push(format!("{cleared:?}"));
            }
            let output = self.run("layerfs", &["system", "check", "--deep"]);
            if !String::from_utf8_lossy(&output.stdout).starts_with("no damage") {
                wrong.push(format!("{output:?}"));
            }
            self.check_names("after the next change", &mut wrong);
        }
        // All that was acknowledged can be read to the byte.
        let archive = self.dir.join("saved.tar");
        let must: Vec<&str> = self.must.iter().filter_map(|name| name.split('=').next()).collect();
        let output =
            self.run("layerfs", &[&["image", "save", "-q", "-o", archive.to_str().unwrap()], &must[..]].concat());
        if output.status.success() {
            wrong.extend(saved::check_layers(&archive).1);
            std::fs::remove_file(&archive).unwrap();
        } else {
            wrong.push(format!("{output:?}"));
        }
        wrong
    }

    fn check_names(&self, when: &str, wrong: &mut Vec<String>) {
        let output = self.run("layerfs", &LISTED);
        let found = names(&String::from_utf8_lossy(&output.stdout));
        if !output.status.success() || !found.is_superset(&self.must) || !found.is_subset(&self.may) {
            wrong.push(format!("{when}: {found:?} instead of {:?}: {output:?}", self.must));
        }
    }
}
