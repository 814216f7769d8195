//! Pools with room to give back, pools that grow, pools that others have set up, and disks that fail.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use testkit::dockerd::Dockerd;

use super::udev::{self, Udevd};
use super::{
    BUSYBOX, FLAGS, LISTED, archive_with_file, check, import_file, layerfs, new_root, refused, run, sorted, text,
};

/// `layerfs` with options of the driver.
pub(super) fn with(root: &Path, options: &[&str], arguments: &[&str]) -> String {
    let options: Vec<&str> = options.iter().flat_map(|option| ["--storage-opt", *option]).collect();
    layerfs(root, &[&options[..], arguments].concat())
}

pub(super) fn import(root: &Path, options: &[&str], archive: &str) {
    with(root, options, &["image", "load", "--storage-driver", "devicemapper", "-i", archive]);
}

pub(super) fn dmsetup(arguments: &[&str]) -> String {
    let output = Command::new("dmsetup").env("DM_DISABLE_UDEV", "1").args(arguments).output().unwrap();
    testkit::succeeded("dmsetup", output)
}

/// A new file of this size, as a block device.
pub(super) fn loop_device(path: &Path, size: u64) -> String {
    File::create_new(path).unwrap().set_len(size).unwrap();
    let free = Command::new("losetup").arg("-f").output().unwrap();
    let device = testkit::succeeded("losetup", free).trim().to_owned();
    testkit::succeeded("losetup", Command::new("losetup").arg(&device).arg(path).output().unwrap());
    device
}

pub(super) fn pool(root: &Path) -> Value {
    serde_json::from_str(&layerfs(root, &["system", "pool", "--json"])).unwrap()
}

/// Bytes of all devices of the kernel's device mapper.
fn active_sizes() -> Vec<u64> {
    let devices = std::fs::read_dir("/sys/block").unwrap().map(|device| device.unwrap().path());
    let sizes = devices.filter(|device| device.join("dm").exists()).map(|device| device.join("size"));
    sizes.map(|size| std::fs::read_to_string(size).unwrap().trim().parse::<u64>().unwrap() * 512).collect()
}

/// What a container sees of its file system's size, in KiB.
fn seen_by_container(root: &Path) -> u64 {
    let said = layerfs(root, &["container", "run", "--rm", "--network", "none", BUSYBOX, "df", "-k", "/"]);
    let line = said.lines().last().unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap_or_else(|_| panic!("{said}"))
}

#[test]
#[ignore = "runs in the virtual machine"]
fn within_pools_are_trimmed_and_grow() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let options = ["dm.loopdatasize=1G", "dm.loopmetadatasize=8M", "dm.basesize=256M", "dm.fs=ext4"];
    import(&root, &options, "/t/busybox-20.10.tar");
    let base: Value = serde_json::from_slice(&std::fs::read(root.join("devicemapper/metadata/base")).unwrap()).unwrap();
    assert_eq!(base["size"], 256 << 20);

    // What was deleted without a discard stays in the file until a trim.
    testkit::succeeded("import", import_file(&root, dir.path(), 60 << 20, "large:1"));
    let data = root.join("devicemapper/devicemapper/data");
    let allocated = || std::fs::metadata(&data).unwrap().blocks() * 512;
    with(&root, &["dm.blkdiscard=false"], &["image", "rm", "large:1"]);
    let before = allocated();
    let said = run("layerfs", &root, &["system", "df"]);
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("are not in use: `layerfs system trim` gives them back"), "{said}");
    let said = layerfs(&root, &["system", "trim"]);
    assert!(allocated() + (60 << 20) <= before, "{before} {}: {said}", allocated());
    check(&root);

    // The pool is made larger, and takes the new size when it is used next.
    let refusal = refused("layerfs", &root, &["system", "pool", "grow", "--data-size", "1G"]);
    assert!(refusal.contains("a pool only grows"), "{refusal}");
    layerfs(&root, &["system", "pool", "grow", "--data-size", "2G"]);
    let said = layerfs(&root, &["container", "run", "--rm", "--network", "none", BUSYBOX, "echo", "it runs"]);
    assert_eq!(said, "it runs\n");
    assert_eq!(pool(&root)["data_total"].as_u64(), Some(2 << 30));
    check(&root);
}

/// A pool that a container keeps active grows meanwhile, and so does the base.
#[test]
#[ignore = "runs in the virtual machine"]
fn at_length_an_active_pool_grows() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let options = ["dm.loopdatasize=2G", "dm.loopmetadatasize=8M", "dm.basesize=256M", "dm.fs=ext4"];
    import(&root, &options, "/t/busybox-20.10.tar");
    layerfs(&root, &["container", "run", "-d", "--name", "sleeps", "--network", "none", BUSYBOX, "sleep", "1000"]);
    assert!(active_sizes().contains(&(2 << 30)), "{:?}", active_sizes());
    let said = layerfs(&root, &["system", "pool", "grow", "--data-size", "3G", "--metadata-size", "16M"]);
    assert_eq!(said.matches("the pool has them already").count(), 2, "{said}");
    assert!(active_sizes().contains(&(3 << 30)), "{:?}", active_sizes());
    layerfs(&root, &["container", "rm", "-f", "sleeps"]);
    let report = pool(&root);
    assert_eq!((report["data_total"].as_u64(), report["metadata_total"].as_u64()), (Some(3 << 30), Some(16 << 20)));
    check(&root);

    // New chains of layers begin with a larger base; what is there keeps its size.
    let old = seen_by_container(&root);
    layerfs(&root, &["image", "rm", BUSYBOX]);
    import(&root, &["dm.basesize=600M"], "/t/busybox-20.10.tar");
    let new = seen_by_container(&root);
    assert!(old < 256 << 10 && new > 500 << 10, "{old} {new}");
    check(&root);
}

/// Containers run on the driver, and the store can be read and written meanwhile.
#[test]
#[ignore = "runs in the virtual machine"]
fn at_length_containers_run() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    import(&root, &[], "/t/busybox-20.10.tar");
    let run_it = ["container", "run", "-d", "--name", "runs", "--network", "none", BUSYBOX];
    layerfs(&root, &[&run_it[..], &["sh", "-c", "echo here >/made; sleep 1000"]].concat());
    // The machine's root is its initramfs, where nothing enters a container.
    refused("layerfs", &root, &["container", "exec", "runs", "true"]);
    // Readers go through the kernel as long as the pool is active, and so do writers.
    let shown = || layerfs(&root, &["container", "diff", "runs"]) == "A /made\n";
    assert!((0..600).any(|_| shown() || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        false
    }));
    let saved = dir.path().join("saved.tar");
    layerfs(&root, &["image", "save", BUSYBOX, "-o", text(&saved)]);
    super::check_saved(&[&saved]);
    testkit::succeeded("import", import_file(&root, dir.path(), 1000, "beside:1"));
    assert_eq!(layerfs(&root, &["image", "cat", "beside:1", "/file"]).len(), 1000);
    layerfs(&root, &["container", "commit", "runs", "committed:1"]);
    assert_eq!(layerfs(&root, &["image", "cat", "committed:1", "/made"]), "here\n");
    layerfs(&root, &["container", "stop", "-t", "0", "runs"]);
    let said = layerfs(&root, &["container", "run", "--rm", "--network", "none", "committed:1", "cat", "/made"]);
    assert_eq!(said, "here\n");
    // What a build runs is a container, too.
    let context = dir.path().join("context");
    std::fs::create_dir(&context).unwrap();
    std::fs::write(context.join("Dockerfile"), format!("FROM {BUSYBOX}\nRUN echo built >/built\n")).unwrap();
    layerfs(&root, &["image", "build", "-q", "-t", "built:1", text(&context)]);
    assert_eq!(layerfs(&root, &["image", "cat", "built:1", "/built"]), "built\n");
    layerfs(&root, &["container", "rm", "runs"]);
    assert_eq!(layerfs(&root, &["container", "ls", "-aq"]), "");
    check(&root);
}

/// The name in the device mapper of what a container has its files on, as docker says it.
fn device_of(inspect: impl Fn(&[&str]) -> String) -> String {
    inspect(&["container", "inspect", "-f", "{{.GraphDriver.Data.DeviceName}}", "runs"]).trim().to_owned()
}

/// A change while udevd does not answer any more: it is waited for, until it ends.
fn change_while_udevd_ends(udevd: Udevd, root: &Path, options: &[&str]) {
    udevd.pause();
    let options: Vec<&str> = options.iter().flat_map(|option| ["--storage-opt", *option]).collect();
    let mut command = Command::new("/t/layerfs");
    command.arg("--root").arg(root).args(options).args(["container", "create", "--network", "none", BUSYBOX, "true"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(testkit::run::until(|| udev::cookies() > 0), "nobody waits for udev");
    drop(udevd);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{output:?}");
    let expected = "layerfs: warning: udev has ended and has not completed the cookie 0xd4d";
    assert!(said.starts_with(expected) && said.lines().count() == 1, "{said}");
    assert_eq!(udev::cookies(), 0);
}

/// A pool that stays active whoever works with it, as LVM keeps one: we write, dockerd uses what we wrote, we read it. udevd is at
/// work, too, and what it makes of our devices is what it makes of dockerd's.
#[test]
#[ignore = "runs in the virtual machine"]
fn within_a_ready_pool_is_used() {
    let udevd = Udevd::start();
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let loops =
        [("metadata", 8_u64 << 20), ("data", 1 << 30)].map(|(name, size)| loop_device(&dir.path().join(name), size));
    let table = format!("0 {} thin-pool {} {} 128 0 1 skip_block_zeroing", (1_u64 << 30) / 512, loops[0], loops[1]);
    dmsetup(&["create", "ready-pool", "--table", &table]);
    let options = ["dm.thinpooldev=/dev/mapper/ready-pool", "dm.basesize=256M", "dm.fs=ext4"];
    import(&root, &options, "/t/busybox-20.10.tar");
    assert!(!root.join("devicemapper/devicemapper").exists());
    let listed = with(&root, &options, &LISTED);
    let saved = dir.path().join("saved.tar");
    with(&root, &options, &["image", "save", BUSYBOX, "-o", text(&saved)]);
    super::check_saved(&[&saved]);
    assert_eq!(udev::cookies(), 0);
    udev::links_become(&["ready-pool"]);
    // The device of a container is there as long as that runs.
    let sleeps = ["run", "-d", "--name", "runs", "--network=none", BUSYBOX, "sleep", "10000"];
    with(&root, &options, &[&["container"][..], &sleeps].concat());
    assert_eq!(udev::cookies(), 0);
    let ours = device_of(|arguments| with(&root, &options, arguments));
    let node = udev::leads_to(&ours);
    assert_eq!(std::fs::read_to_string(format!("/sys/block/{node}/dm/name")).unwrap().trim(), ours);
    udev::links_become(&[&ours, "ready-pool"]);
    with(&root, &options, &["container", "rm", "-f", "runs"]);
    assert_eq!(udev::cookies(), 0);
    udev::links_become(&["ready-pool"]);
    let ours = listed;

    let given: Vec<String> = options[..2].iter().map(|option| format!("--storage-opt={option}")).collect();
    // With udev it has not to be told to do without.
    let flags: Vec<&str> = FLAGS[..1].iter().copied().chain(given.iter().map(String::as_str)).collect();
    let daemon = Dockerd::start_with(&root, &flags);
    assert_eq!(sorted(&daemon.ok(&LISTED)), sorted(&ours));
    daemon.load(Path::new("/t/layers-20.10.tar"));
    daemon.ok(&sleeps);
    let theirs = device_of(|arguments| daemon.ok(arguments));
    udev::links_become(&[&theirs, "ready-pool"]);
    daemon.ok(&["rm", "-f", "runs"]);
    udev::links_become(&["ready-pool"]);
    let theirs = sorted(&daemon.ok(&LISTED));
    daemon.stop();
    assert_eq!(sorted(&with(&root, &options, &LISTED)), theirs);
    let said = with(&root, &options, &["system", "check", "--deep"]);
    assert!(said.starts_with("no damage"), "{said}");

    // Taken for the pool of another store, nothing is written to it.
    let other = dir.path().join("other");
    let said = Command::new("/t/layerfs")
        .args([
            "--root",
            text(&other),
            "--storage-opt",
            options[0],
            "image",
            "load",
            "--storage-driver",
            "devicemapper",
        ])
        .args(["-i", "/t/busybox-20.10.tar"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("the pool is in use"), "{said}");
    change_while_udevd_ends(udevd, &root, &options[..1]);
    // Not active any more, it is rescued from its two devices.
    dmsetup(&["remove", "ready-pool"]);
    let rescued = dir.path().join("rescued");
    layerfs(&root, &["system", "rescue", "-q", "--metadata", &loops[0], "--data", &loops[1], text(&rescued)]);
    assert!(rescued.join("images/index.json").exists());
    for device in loops {
        testkit::succeeded("losetup", Command::new("losetup").args(["-d", &device]).output().unwrap());
    }
}

/// The file system that holds the pool's files is full, which the pool does not know: what the kernel could not write after
/// the files of a layer were closed is told all the same.
#[test]
#[ignore = "runs in the virtual machine"]
fn within_a_full_disk_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::create_dir(&disk).unwrap();
    let mount = ["-t", "tmpfs", "-o", "size=96m", "tmpfs", text(&disk)];
    testkit::succeeded("mount", Command::new("mount").args(mount).output().unwrap());
    let root = disk.join("docker");
    let options = ["dm.fs=ext4", "dm.basesize=256M", "dm.loopmetadatasize=8M", "dm.mkfsarg=-J", "dm.mkfsarg=size=4"];
    with(&root, &options, &["image", "load", "--storage-driver", "devicemapper", "-i", "/t/busybox-20.10.tar"]);
    let before = sorted(&layerfs(&root, &LISTED));
    // The check for room would see it: here something else fills the disk meanwhile.
    let free = Command::new("stat").args(["-f", "-c", "%a", text(&disk)]).output().unwrap();
    let free: usize = testkit::succeeded("stat", free).trim().parse().unwrap();
    std::fs::write(disk.join("filler"), vec![1; free * 4096 - (4 << 20)]).unwrap();
    // The length of what is compressed is not known beforehand.
    let archive = archive_with_file(dir.path(), 16 << 20);
    testkit::succeeded("gzip", Command::new("gzip").arg(&archive).output().unwrap());
    let archive = archive.with_extension("tar.gz");
    let arguments = ["image", "import", "--storage-driver", "devicemapper", text(&archive), "lost:1"];
    let output = run("layerfs", &root, &arguments);
    assert!(!output.status.success(), "{output:?}");
    std::fs::remove_file(disk.join("filler")).unwrap();
    assert_eq!(sorted(&layerfs(&root, &LISTED)), before);
    let said = layerfs(&root, &["system", "check", "--deep"]);
    assert!(said.starts_with("no damage"), "{said}");
    // Direct reading, as thin_check does it, is nothing for a file system in memory.
    let metadata = dir.path().join("metadata");
    std::fs::copy(root.join("devicemapper/devicemapper/metadata"), &metadata).unwrap();
    testkit::succeeded("thin_check", Command::new("thin_check").arg(&metadata).output().unwrap());
    testkit::succeeded("umount", Command::new("umount").arg(&disk).output().unwrap());
}
