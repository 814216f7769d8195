//! What can go wrong with a pool: each is told as what it is, with its numbers; nothing is lost; and what is told to help
//! does help.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use super::pools::{dmsetup, import, loop_device, pool, with};
use super::{BUSYBOX, LISTED, archive_with_file, check, import_file, layerfs, make_pool, new_root, sorted, text};

/// A small base on a small file system, for pools of some megabytes.
const SMALL: [&str; 4] = ["dm.fs=ext4", "dm.basesize=256M", "dm.mkfsarg=-J", "dm.mkfsarg=size=4"];

/// `layerfs` with options of the driver, which may fail.
fn try_with(root: &Path, options: &[&str], arguments: &[&str]) -> Output {
    let mut command = Command::new("/t/layerfs");
    command.arg("--root").arg(root);
    for option in options {
        command.args(["--storage-opt", *option]);
    }
    command.args(arguments).output().unwrap()
}

/// It fails, and says all of these.
fn refused(output: &Output, told: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{output:?}");
    for words in told {
        assert!(said.contains(words), "{words} is not in: {said}");
    }
}

/// An import of an image of one file, which may fail.
fn try_import(root: &Path, options: &[&str], dir: &Path, size: usize, name: &str) -> Output {
    let archive = archive_with_file(dir, size);
    try_with(root, options, &["image", "import", "--storage-driver", "devicemapper", text(&archive), name])
}

fn listed(root: &Path, options: &[&str]) -> Vec<String> {
    sorted(&with(root, options, &LISTED))
}

/// Free bytes of a pool in files.
fn free(root: &Path) -> usize {
    let said = pool(root);
    usize::try_from(said["data_total"].as_u64().unwrap() - said["data_used"].as_u64().unwrap()).unwrap()
}

/// The pool that is active, by its status.
fn pool_status() -> String {
    dmsetup(&["status", "--target", "thin-pool"])
}

/// Waits for something that the kernel or another process does.
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(600), "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_writes(seconds: &str) {
    std::fs::write("/sys/module/dm_thin_pool/parameters/no_space_timeout", seconds).unwrap();
}

/// Writes to a full pool are held until it is larger, and then go on: the import that has filled it ends as any other.
#[test]
#[ignore = "runs in the virtual machine"]
fn an_import_that_fills_the_pool_goes_on_when_it_has_grown() {
    wait_for_writes("0");
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    make_pool(&root, 64 << 20, 8 << 20);
    import(&root, &SMALL, "/t/busybox-20.10.tar");
    let size = free(&root) + (8 << 20);
    let archive = archive_with_file(dir.path(), size);
    let mut importing = Command::new("/t/layerfs")
        .arg("--root")
        .arg(&root)
        .args(["image", "import", "--storage-driver", "devicemapper", text(&archive), "large:1"])
        .spawn()
        .unwrap();
    wait_for("the pool does not fill up", || pool_status().contains("out_of_data_space"));
    assert!(importing.try_wait().unwrap().is_none(), "it does not wait");
    layerfs(&root, &["system", "pool", "grow", "--data-size", "256M"]);
    assert!(importing.wait().unwrap().success());
    assert_eq!(layerfs(&root, &["image", "cat", "large:1", "/file"]).len(), size);
    check(&root);
    wait_for_writes("60");
}

/// A pool that refuses at once what it has no room for.
#[test]
#[ignore = "runs in the virtual machine"]
fn a_full_pool_that_does_not_wait_is_told_and_works_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let size = 64_u64 << 20;
    let [metadata, data] =
        [("metadata", 8_u64 << 20), ("data", size)].map(|(name, size)| loop_device(&dir.path().join(name), size));
    let table = format!("0 {} thin-pool {metadata} {data} 128 0 2 skip_block_zeroing error_if_no_space", size / 512);
    dmsetup(&["create", "strict-pool", "--table", &table]);
    let options = [&["dm.thinpooldev=strict-pool"], &SMALL[..]].concat();
    import(&root, &options, "/t/busybox-20.10.tar");
    let before = listed(&root, &options);
    let output = try_import(&root, &options, dir.path(), 64 << 20, "large:1");
    refused(&output, &["its pool is full: 1024 of 1024 blocks of data", "`lvextend`"]);
    assert_eq!(listed(&root, &options), before);
    // What it had taken is given back.
    assert!(pool_status().contains(" rw "), "{}", pool_status());
    testkit::succeeded("import", try_import(&root, &options, dir.path(), 1000, "small:1"));
    let said = with(&root, &options, &["system", "check", "--deep"]);
    assert!(said.starts_with("no damage"), "{said}");
    dmsetup(&["remove", "--retry", "strict-pool"]);
    // Without it, nothing can be done, and it is said which pool lacks.
    let output = try_import(&root, &options, dir.path(), 1000, "other:1");
    refused(&output, &["its pool strict-pool is not active"]);
}

/// Layers are made until the kernel has no block of metadata left; then the metadata is made larger.
#[test]
#[ignore = "runs in the virtual machine"]
fn full_metadata_is_told_and_made_larger() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    make_pool(&root, 1 << 30, 256 << 10);
    let options = [&["dm.min_free_space=0%"], &SMALL[..]].concat();
    import(&root, &options, "/t/busybox-20.10.tar");
    let tries = (1..80).map(|at| try_import(&root, &options, dir.path(), at, &format!("{at}:1")));
    let (made, output) = tries.enumerate().find(|(_, output)| !output.status.success()).unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("its pool"), "{said}");
    assert_eq!(listed(&root, &options).len(), made + 1);
    let metadata = root.join("devicemapper/devicemapper/metadata");
    let checked = Command::new("thin_check").arg("--clear-needs-check-flag").arg(&metadata).output().unwrap();
    testkit::succeeded("thin_check", checked);
    layerfs(&root, &["system", "pool", "grow", "--metadata-size", "8M"]);
    testkit::succeeded("import", try_import(&root, &options, dir.path(), 1000, "after:1"));
    assert_eq!(listed(&root, &options).len(), made + 2);
    check(&root);
}

/// CRC-32C, as the device mapper's metadata has it: not inverted at the end.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Sets the flag in the superblock with which the kernel asks for a check.
fn ask_for_check(metadata: &Path) {
    /// What the checksum of a superblock is mixed with.
    const KIND: u32 = 160_774;
    let file = File::options().read(true).write(true).open(metadata).unwrap();
    let mut block = vec![0; 4096];
    file.read_exact_at(&mut block, 0).unwrap();
    assert_eq!(block[..4], (crc(&block[4..]) ^ KIND).to_le_bytes());
    block[4] |= 1;
    let sum = crc(&block[4..]) ^ KIND;
    block[..4].copy_from_slice(&sum.to_le_bytes());
    file.write_all_at(&block, 0).unwrap();
    file.sync_all().unwrap();
}

/// A pool that the kernel wants checked, one that is to have other blocks, and one whose data has become shorter: said before
/// anything is made active.
#[test]
#[ignore = "runs in the virtual machine"]
fn what_does_not_fit_is_told_before_the_pool_is_active() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let sizes = ["dm.loopdatasize=512M", "dm.loopmetadatasize=8M", "dm.blocksize=128K"];
    import(&root, &[&sizes[..], &SMALL[..]].concat(), "/t/busybox-20.10.tar");
    let records = || testkit::TreeState::read(&root.join("devicemapper/metadata"));
    let before = records();
    let [data, metadata] = ["data", "metadata"].map(|name| root.join("devicemapper/devicemapper").join(name));

    let output = try_import(&root, &["dm.blocksize=64K"], dir.path(), 1000, "refused:1");
    refused(&output, &["its pool has blocks of 131072 bytes, and keeps them: 65536 were asked for", "dm.blocksize"]);

    let file = File::options().write(true).open(&data).unwrap();
    file.set_len(511 << 20).unwrap();
    let output = try_import(&root, &[], dir.path(), 1000, "refused:1");
    refused(&output, &["its pool has 536870912 bytes of data, but only 535822336 are there"]);
    file.set_len(512 << 20).unwrap();

    ask_for_check(&metadata);
    let output = try_import(&root, &[], dir.path(), 1000, "refused:1");
    refused(&output, &["the kernel has found an error in its metadata, and wants it checked", "thin_check"]);
    testkit::assert_none("changed records", &before.changes(&records()));
    wait_for("something is active", || dmsetup(&["ls"]).trim() == "No devices found");

    let checked = Command::new("thin_check").arg("--clear-needs-check-flag").arg(&metadata).output().unwrap();
    testkit::succeeded("thin_check", checked);
    // The size of the blocks is the pool's own.
    testkit::succeeded("import", import_file(&root, dir.path(), 1000, "after:1"));
    assert_eq!(layerfs(&root, &LISTED).lines().count(), 2);
    check(&root);
}

/// Somebody else has the device of a layer open.
#[test]
#[ignore = "runs in the virtual machine"]
fn a_device_that_is_open_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let sizes = ["dm.loopdatasize=512M", "dm.loopmetadatasize=8M"];
    import(&root, &[&sizes[..], &SMALL[..]].concat(), "/t/busybox-20.10.tar");
    testkit::succeeded("import", import_file(&root, dir.path(), 1000, "goes:1"));
    // A container keeps the pool active.
    layerfs(&root, &["container", "run", "-d", "--name", "holds", "--network", "none", BUSYBOX, "sleep", "10000"]);
    let said: serde_json::Value = serde_json::from_str(&layerfs(&root, &["image", "inspect", "goes:1"])).unwrap();
    let held = &said[0]["GraphDriver"]["Data"];
    let [name, id, size] = ["DeviceName", "DeviceId", "DeviceSize"].map(|key| held[key].as_str().unwrap());
    let devices = dmsetup(&["ls"]);
    let pool_name = devices.split_whitespace().find(|name| name.ends_with("-pool")).unwrap().to_owned();
    let number = dmsetup(&["info", "-c", "--noheadings", "-o", "major,minor", &pool_name]);
    let sectors = size.parse::<u64>().unwrap() / 512;
    // A device that no file names, as a power cut may leave one.
    dmsetup(&["message", &pool_name, "0", "create_snap 500 1"]);
    dmsetup(&["create", name, "--table", &format!("0 {sectors} thin {} {id}", number.trim())]);
    let minor = dmsetup(&["info", "-c", "--noheadings", "-o", "minor", name]);
    let open = File::open(format!("/dev/dm-{}", minor.trim())).unwrap();
    let output = try_with(&root, &[], &["image", "rm", "goes:1"]);
    refused(&output, &[&format!("its device {name} is mounted or open otherwise, once"), "stop what uses it first"]);
    drop(open);
    // What was begun is finished by the next command that writes.
    layerfs(&root, &["image", "tag", BUSYBOX, "again:1"]);
    let left = listed(&root, &[]);
    assert!(left.iter().all(|line| !line.ends_with(" goes:1")), "{left:?}");
    layerfs(&root, &["container", "rm", "-f", "holds"]);
    let said = layerfs(&root, &["system", "check"]);
    assert!(said.contains("device 500 of the pool: no file names it") && said.contains("system trim"), "{said}");
    let said = layerfs(&root, &["system", "trim"]);
    assert!(said.contains("1 device deleted that no file named"), "{said}");
    let said = layerfs(&root, &["system", "check"]);
    assert!(!said.contains("no file names it"), "{said}");
    let devices = pool(&root)["devices"].as_array().unwrap().clone();
    assert!(devices.iter().all(|device| device["device"].as_u64() != id.parse().ok()), "{id}: {devices:?}");
    check(&root);
}

/// The disk of the metadata fails while a container runs, and comes back.
#[test]
#[ignore = "runs in the virtual machine"]
fn a_pool_that_fails_under_a_container_is_told_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let size = 512_u64 << 20;
    let [metadata, data] =
        [("metadata", 8_u64 << 20), ("data", size)].map(|(name, size)| loop_device(&dir.path().join(name), size));
    let sectors = (8 << 20) / 512;
    let sound = format!("0 {sectors} linear {metadata} 0");
    dmsetup(&["create", "disk", "--table", &sound]);
    let disk = dmsetup(&["info", "-c", "--noheadings", "-o", "major,minor", "disk"]);
    let table = format!("0 {} thin-pool {} {data} 128 0 1 skip_block_zeroing", size / 512, disk.trim());
    dmsetup(&["create", "weak-pool", "--table", &table]);
    let options = [&["dm.thinpooldev=weak-pool"], &SMALL[..]].concat();
    import(&root, &options, "/t/busybox-20.10.tar");
    let before = listed(&root, &options);
    let run = ["container", "run", "-d", "--name", "runs", "--network", "none", BUSYBOX, "sleep", "10000"];
    with(&root, &options, &run);

    let change = |table: &str| {
        dmsetup(&["suspend", "--noflush", "disk"]);
        dmsetup(&["reload", "disk", "--table", table]);
        dmsetup(&["resume", "disk"]);
    };
    change(&format!("0 {sectors} error"));
    for _ in 0..2 {
        let output = try_import(&root, &options, dir.path(), 1000, "lost:1");
        refused(&output, &["its pool has failed", "stop what uses it"]);
    }
    assert_eq!(listed(&root, &options), before);
    // Whatever comes of it, the container does not run any more.
    drop(try_with(&root, &options, &["container", "stop", "-t", "0", "runs"]));

    change(&sound);
    wait_for("the container's device stays", || dmsetup(&["ls"]).lines().count() == 2);
    dmsetup(&["remove", "--retry", "weak-pool"]);
    dmsetup(&["create", "weak-pool", "--table", &table]);
    assert_eq!(listed(&root, &options), before);
    testkit::succeeded("import", try_import(&root, &options, dir.path(), 1000, "after:1"));
    with(&root, &options, &["container", "rm", "-f", "runs"]);
    let said = with(&root, &options, &["system", "check", "--deep"]);
    assert!(said.starts_with("no damage"), "{said}");
    dmsetup(&["remove", "--retry", "weak-pool"]);
    dmsetup(&["remove", "--retry", "disk"]);
}
