//! Databases of containerd's store with anything in them: no command that reads the store panics, hangs, takes the machine's
//! memory or writes to them; and where a whole page is lost, `system check` says so.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::run::{self, Input, Ran};
use testkit::{Random, golden};

/// The two databases, below containerd's root.
const DATABASES: [&str; 2] =
    ["io.containerd.metadata.v1.bolt/meta.db", "io.containerd.snapshotter.v1.overlayfs/metadata.db"];

/// What becomes of a database.
const KINDS: [&str; 7] = ["bits", "number", "header", "element", "copied page", "cut", "lost page"];

/// Commands that read both databases; the first is the one that has to find what is lost.
const COMMANDS: [&[&str]; 6] = [
    &["layerfs", "system", "check"],
    &["layerfs", "image", "ls", "-a", "--no-trunc"],
    &["layerfs", "image", "history", "layerfs-test/app:1"],
    &["layerfs", "system", "df", "-v"],
    &["layerfs", "system", "owner", "layerfs-test/app:1"],
    &["image-gc"],
];

/// The size of a page, and of its header, in bbolt's files.
const PAGE: usize = 4096;
const PAGE_HEADER: usize = 16;

/// The first page that is none of the two that say where everything is.
const FIRST: usize = 2;

/// A page that lists free pages is never read.
const FREELIST: u8 = 0x10;

/// Longer than any command takes on a store of four images, whatever the machine does besides.
const PATIENCE: Duration = Duration::from_secs(60);

/// Changes a database, and says what was done, and whether something must be missed in it.
fn mutate(bytes: &mut Vec<u8>, kind: &str, random: &mut Random) -> (String, bool) {
    let mut below = |limit: usize| usize::try_from(random.below(limit as u64)).unwrap();
    let pages = bytes.len() / PAGE;
    let page = FIRST + below(pages - FIRST);
    let start = page * PAGE;
    // Numbers at which sums and products of 16, 32 and 64 bits wrap, and ones that look like others of the file.
    let numbers = [0, 1, 2, page as u64, pages as u64, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 52, 1 << 63, u64::MAX];
    let number = numbers[below(numbers.len())].to_le_bytes();
    let mut put = |at: usize, part: &[u8]| bytes[at..at + part.len()].copy_from_slice(part);
    match kind {
        "bits" => {
            for _ in 0..=below(8) {
                bytes[start + below(PAGE)] ^= 1 << below(8);
            }
        }
        "number" => put(start + below(PAGE / 8) * 8, &number),
        // The number of the page, its kind, how many entries it has, and how many pages it goes on.
        "header" => {
            let (at, length) = [(0, 8), (8, 2), (10, 2), (12, 4)][below(4)];
            put(start + at, &number[..length]);
        }
        // What an entry is, where its key is, and how long key and value are.
        "element" => put(start + PAGE_HEADER + below(24) * 4, &number[..4]),
        "copied page" => {
            let from = FIRST + below(pages - FIRST);
            bytes.copy_within(from * PAGE..(from + 1) * PAGE, start);
        }
        "cut" => bytes.truncate(below(bytes.len())),
        "lost page" => {
            let missed = bytes[start + 8] != FREELIST;
            bytes[start..start + PAGE].fill(0xff);
            return (format!("page {page} lost"), missed);
        }
        other => panic!("no such kind: {other}"),
    }
    (format!("{kind} at page {page}"), false)
}

/// Runs a command that gets 2 GiB of addresses and no more.
fn caged(root: &Path, command: &[&str]) -> Ran {
    let mut caged = Command::new("prlimit");
    caged.args(["--as=2147483648", "--"]).arg(testkit::program(command[0]));
    caged.arg("--root").arg(root).args(["--store", "containerd"].iter().filter(|_| command[0] == "layerfs"));
    caged.args(&command[1..]);
    run::run(caged, Input::Nothing)
}

/// What is wrong with how a command ended.
fn complaints(ran: &Ran) -> Vec<String> {
    let mut report = Vec::new();
    if !matches!(ran.code, Some(0..=2)) || ran.stderr.contains("panicked") {
        report.push(format!("{:?}: {}", ran.code, ran.stderr));
    }
    if ran.code != Some(0) && ran.stderr.is_empty() && ran.stdout.is_empty() {
        report.push("says nothing".to_owned());
    }
    if ran.time > PATIENCE {
        report.push(format!("{:?}", ran.time));
    }
    if ran.stderr.contains('\x1b') || ran.stdout.contains('\x1b') {
        report.push("an escape sequence gets out".to_owned());
    }
    report
}

#[test]
fn root_mutated_databases() {
    let prlimit = Command::new("prlimit").arg("--version").output().is_ok();
    if !testkit::tier("root", testkit::is_root() && prlimit, "run as root, install util-linux") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let archive = golden("shared-20.10.tar");
    let words = ["--store", "containerd", "image", "load", "-q", "-i", archive.to_str().unwrap()];
    assert!(testkit::layerfs_on(&root, &words).status.success());
    let databases: Vec<(PathBuf, Vec<u8>)> = DATABASES
        .map(|name| root.join("containerd/daemon").join(name))
        .map(|path| (path.clone(), fs::read(&path).unwrap()))
        .into();
    for command in COMMANDS {
        let ran = caged(&root, command);
        assert_eq!(ran.code, Some(0), "{}: {}", command.join(" "), ran.stderr);
    }
    let rounds = if testkit::full_sweep() { 150 } else { 3 };
    let mut random = Random::new(20_261_130);
    let mut report = Vec::new();
    for round in 0..rounds {
        for (kind, (path, healthy)) in KINDS.iter().flat_map(|kind| databases.iter().map(move |one| (kind, one))) {
            let mut bytes = healthy.clone();
            let (done, missed) = mutate(&mut bytes, kind, &mut random);
            fs::write(path, &bytes).unwrap();
            let title = format!("{round}: {}: {done}", path.file_name().unwrap().to_str().unwrap());
            for (at, command) in COMMANDS.iter().enumerate() {
                let ran = caged(&root, command);
                let words = command.join(" ");
                report.extend(complaints(&ran).iter().map(|complaint| format!("{title}: {words}: {complaint}")));
                if missed && at == 0 && ran.code == Some(0) {
                    report.push(format!("{title}: no finding"));
                }
            }
            if fs::read(path).unwrap() != bytes {
                report.push(format!("{title}: the database was written to"));
            }
            fs::write(path, healthy).unwrap();
        }
    }
    testkit::assert_none("mutated databases", &report);
}
