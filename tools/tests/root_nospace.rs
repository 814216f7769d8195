//! File systems that are too small: the import fails and leaves nothing, and with more room it works.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use testkit::mounts::Mounted;
use testkit::run::{Input, Ran, layer_unpack, run};
use testkit::store::StoreFiles;
use testkit::{TreeState, synthetic};

const BLOCK: u64 = 4096;
const EXT4: u64 = 40 << 20;
const FULL: &[&str] = &["No space left on device"];

/// An archive and what its image takes up, next to what a small image before it does.
struct Workshop {
    archive: PathBuf,
    bytes: u64,
    inodes: u64,
    original: (u64, u64),
    _dir: TempDir,
}

impl Workshop {
    /// What things take up is measured on `mounted`, which has room for all.
    fn new(mounted: &Mounted) -> Self {
        let dir = testkit::scratch();
        let archive = dir.path().join("archive.tar");
        std::fs::write(&archive, synthetic::archive(5 << 20, 300)).unwrap();
        let (bytes, inodes) = mounted.free();
        import(&testkit::golden(ORIGINAL), mounted, &[]).ok();
        let with = mounted.free();
        let original = (bytes - with.0, inodes - with.1);
        import(&archive, mounted, &[]).ok();
        let (bytes, inodes) = (with.0 - mounted.free().0, with.1 - mounted.free().1);
        assert!(bytes > 5 << 20 && inodes > 300);
        Self { archive, bytes, inodes, original, _dir: dir }
    }

    fn on_tmpfs() -> Self {
        Self::new(&Mounted::tmpfs("size=64m,nr_inodes=100000"))
    }

    /// Every 2 % of the need, or every 10 %.
    fn parts() -> impl Iterator<Item = u64> {
        (1..100).step_by(if testkit::full_sweep() { 2 } else { 10 })
    }
}

const ORIGINAL: &str = "busybox-20.10.tar";

fn root(mounted: &Mounted) -> PathBuf {
    mounted.path().join("root")
}

fn import(archive: &Path, mounted: &Mounted, options: &[&str]) -> Ran {
    let mut command = layer_unpack(&[archive.as_os_str(), "--root".as_ref(), root(mounted).as_os_str()]);
    command.args(options);
    run(command, Input::Nothing)
}

const WAYS: &[&str] = &["--root", "--layers", "--rootfs"];

/// The ways that cannot succeed with so many percent of what `--root` needs: it alone has journals and records.
fn ways(part: u64) -> &'static [&'static str] {
    if part < 80 { WAYS } else { &WAYS[..1] }
}

/// Fails with no room left, in each of the ways, and leaves things as they were.
fn fails(workshop: &Workshop, mounted: &Mounted, ways: &[&str]) -> Vec<String> {
    let archive = workshop.archive.to_str().unwrap();
    let bytes = std::fs::read(&workshop.archive).unwrap();
    let before = TreeState::read(mounted.path()).without_directory_times();
    let free = mounted.free();
    let mut report = Vec::new();
    for (archive, input) in [(archive, Input::Nothing), ("-", Input::Pipe(&bytes))] {
        for way in ways {
            let to = if *way == "--root" { root(mounted) } else { mounted.path().join("some/where") };
            let command = layer_unpack(&[archive, way, to.to_str().unwrap(), "--no-preflight"]);
            let mut found = run(command, input).complaints(FULL);
            found.extend(before.changes(&TreeState::read(mounted.path()).without_directory_times()));
            if mounted.free() != free {
                found.push(format!("{:?} are free, before it were {free:?}", mounted.free()));
            }
            report.extend(found.into_iter().map(|line| format!("{way} {archive}: {line}")));
        }
    }
    report
}

fn succeeds(workshop: &Workshop, mounted: &Mounted) -> Vec<String> {
    let ran = import(&workshop.archive, mounted, &[]);
    if ran.code != Some(0) {
        return vec![format!("with enough room: {}", ran.stderr)];
    }
    let store = StoreFiles::read(&root(mounted));
    let mut report = store.unreferenced();
    report.extend(store.not_replayable());
    report.extend(store.wrong);
    report
}

fn titled(title: &str, report: Vec<String>) -> Vec<String> {
    report.into_iter().map(|line| format!("{title}: {line}")).collect()
}

#[test]
fn root_is_as_before_when_bytes_run_out() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::on_tmpfs();
    let mut report = Vec::new();
    let parts =
        Workshop::parts().map(|part| (format!("{part} % of the bytes"), workshop.bytes * part / 100, ways(part)));
    // Where layers are complete and being registered.
    let last = (1..=12).map(|less| (format!("{less} blocks less"), workshop.bytes - less * BLOCK, &WAYS[..1]));
    for (number, (title, mut size, ways)) in parts.chain(last).enumerate() {
        let mounted = Mounted::tmpfs("size=64m");
        if number % 2 == 0 {
            import(&testkit::golden(ORIGINAL), &mounted, &[]).ok();
            size += workshop.original.0;
        }
        mounted.remount(&format!("size={}", size.next_multiple_of(BLOCK)));
        report.extend(titled(&title, fails(&workshop, &mounted, ways)));
        mounted.remount("size=64m");
        report.extend(titled(&title, succeeds(&workshop, &mounted)));
    }
    testkit::assert_none("no bytes", &report);
}

#[test]
fn root_is_as_before_when_inodes_run_out() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::on_tmpfs();
    let mut report = Vec::new();
    let need = workshop.inodes;
    let parts =
        Workshop::parts().step_by(2).map(|part| (format!("{part} % of the inodes"), need * part / 100, ways(part)));
    let last = (1..=24).map(|less| (format!("{less} inodes less"), need - less, &WAYS[..1]));
    // Where directories are being made, and the first record of intent.
    let first = (0..=16).map(|few| (format!("{few} inodes"), few, &WAYS[..1]));
    for (number, (title, mut inodes, ways)) in first.chain(parts).chain(last).enumerate() {
        let mounted = Mounted::tmpfs("size=64m,nr_inodes=100000");
        // The mount's own directory is one of them.
        inodes += 1;
        if number % 2 == 1 {
            import(&testkit::golden(ORIGINAL), &mounted, &[]).ok();
            inodes += workshop.original.1;
        }
        mounted.remount(&format!("nr_inodes={inodes}"));
        report.extend(titled(&title, fails(&workshop, &mounted, ways)));
        mounted.remount("nr_inodes=100000");
        report.extend(titled(&title, succeeds(&workshop, &mounted)));
    }
    testkit::assert_none("no inodes", &report);
}

#[test]
fn root_is_as_before_when_ext4_is_full() {
    let mkfs = Path::new("/usr/sbin/mkfs.ext4").exists() && Path::new("/dev/loop-control").exists();
    if !testkit::is_root() || !testkit::tier("root", mkfs, "install e2fsprogs, and have loop devices") {
        return;
    }
    let workshop = Workshop::new(&Mounted::ext4(EXT4));
    let mut report = Vec::new();
    for (number, part) in Workshop::parts().step_by(3).enumerate() {
        let mounted = Mounted::ext4(EXT4);
        if number % 2 == 0 {
            import(&testkit::golden(ORIGINAL), &mounted, &[]).ok();
        }
        let filler = std::fs::File::create(mounted.path().join("filler")).unwrap();
        let length = mounted.free().0 - (workshop.bytes * part / 100).next_multiple_of(BLOCK);
        rustix::fs::fallocate(&filler, rustix::fs::FallocateFlags::empty(), 0, length).unwrap();
        filler.sync_all().unwrap();
        let title = format!("{part} % of the bytes on ext4");
        report.extend(titled(&title, fails(&workshop, &mounted, ways(part))));
        filler.set_len(0).unwrap();
        report.extend(titled(&title, succeeds(&workshop, &mounted)));
    }
    testkit::assert_none("full ext4", &report);
}

#[test]
fn root_is_not_touched_when_the_need_is_known() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::on_tmpfs();
    let mut report = Vec::new();
    for part in Workshop::parts().filter(|part| *part < 80) {
        let too_small = [
            (format!("size={}", (workshop.original.0 + workshop.bytes * part / 100).next_multiple_of(BLOCK)), "bytes"),
            (format!("size=64m,nr_inodes={}", 1 + workshop.original.1 + workshop.inodes * part / 100), "inodes"),
        ];
        for (options, what) in too_small {
            let mounted = Mounted::tmpfs("size=64m,nr_inodes=100000");
            import(&testkit::golden(ORIGINAL), &mounted, &[]).ok();
            mounted.remount(&options);
            let (bytes, inodes) = mounted.free();
            let free = format!("{what}, {} are free", if what == "bytes" { bytes } else { inodes });
            for way in WAYS.iter().copied() {
                let before = TreeState::read(mounted.path());
                let to = if way == "--root" { "root" } else { "some/where" };
                let to = mounted.path().join(to);
                let command = layer_unpack(&[workshop.archive.as_os_str(), way.as_ref(), to.as_os_str()]);
                let what = format!(" {what}, ");
                // The directory itself takes some.
                let free = if way == "--root" { free.as_str() } else { what.as_str() };
                let mut found = run(command, Input::Nothing).complaints(&["needs at least", free, " are free"]);
                let (before, now) = match way {
                    "--root" => (before, TreeState::read(mounted.path())),
                    // Made and removed again.
                    _ => (before.without_directory_times(), TreeState::read(mounted.path()).without_directory_times()),
                };
                found.extend(before.changes(&now));
                report.extend(titled(&format!("{way}, {options}"), found));
            }
            mounted.remount("size=64m,nr_inodes=100000");
            report.extend(succeeds(&workshop, &mounted));
        }
    }
    testkit::assert_none("known need", &report);
}

/// `tag` and `rmi` go through the same transaction as an import: without room they leave the store as it was, or, past the commit
/// point, a record of what is left to do. With room again the next change does that first.
#[test]
fn root_is_as_before_when_there_is_no_room_to_tag_or_remove() {
    if !testkit::is_root() {
        return;
    }
    const NAME: &str = "layerfs-test/busybox:1";
    let few: u64 = if testkit::full_sweep() { 40 } else { 10 };
    let mut report = Vec::new();
    for arguments in [&["tag", NAME, "again:1"][..], &["rmi", NAME]] {
        let change = |mounted: &Mounted| {
            let mut command = testkit::run::layerfs(&["--root"]);
            command.arg(root(mounted)).args(arguments);
            run(command, Input::Nothing)
        };
        let records = |mounted: &Mounted| testkit::store::names(&root(mounted).join("image/overlay2/layerdb/tmp"));
        let mut failures = [0, 0];
        for (number, limit) in (0..few).flat_map(|less| [(less, 0), (less, 1)]) {
            let mounted = Mounted::tmpfs("size=64m,nr_inodes=1000");
            import(&testkit::golden(ORIGINAL), &mounted, &[]).ok();
            let free = mounted.free();
            mounted.remount(&match limit {
                0 => format!("size={}", (64 << 20) - free.0 + number * BLOCK),
                _ => format!("nr_inodes={}", 1000 - free.1 + number),
            });
            let title = format!("{arguments:?} with {number} {} free", ["blocks", "inodes"][limit]);
            let before = TreeState::read(mounted.path()).without_directory_times();
            let ran = change(&mounted);
            if ran.code != Some(0) {
                failures[limit] += 1;
                let mut found = ran.complaints(FULL);
                let is_made = records(&mounted).iter().any(|name| name.starts_with("layerfs-commit-"));
                if !is_made {
                    found.extend(before.changes(&TreeState::read(mounted.path()).without_directory_times()));
                }
                mounted.remount("size=64m,nr_inodes=1000");
                let again = change(&mounted);
                // An image that is gone already cannot be removed again.
                if !is_made && again.code != Some(0) {
                    found.push(format!("with enough room: {}", again.stderr));
                }
                found.extend(records(&mounted).into_iter().map(|name| format!("{name} is left")));
                report.extend(titled(&title, found));
            }
            let store = StoreFiles::read(&root(&mounted));
            report.extend(titled(&title, store.unreferenced()));
            report.extend(titled(&title, store.wrong));
        }
        assert!(failures.iter().all(|failed| *failed > 0), "{arguments:?}: {failures:?} failed");
    }
    testkit::assert_none("no room for a change", &report);
}
