//! Stores of the storage driver devicemapper, in a virtual machine whose kernel has it: ours for dockerd, and dockerd's for us.
//!
//! The tests that are marked as ignored run there, started by the one that is not.

#![allow(clippy::unwrap_used)]

#[path = "driversupport/commands.rs"]
mod commands;
#[path = "vmsupport/cuts.rs"]
mod cuts;
#[path = "vmsupport/faults.rs"]
mod faults;
#[path = "vmsupport/figures.rs"]
mod figures;
#[path = "vmsupport/lvm.rs"]
mod lvm;
#[path = "vmsupport/pools.rs"]
mod pools;
#[path = "vmsupport/udev.rs"]
mod udev;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use testkit::dockerd::Dockerd;
use testkit::saved;

/// Without udev in the machine dockerd has to be told to do without.
const FLAGS: &[&str] = &["--storage-driver=devicemapper", "--storage-opt=dm.override_udev_sync_check=true"];

const BUSYBOX: &str = "layerfs-test/busybox:1";
const IMAGE: &str = "layerfs-test/layers:1";
const ARCHIVES: [&str; 2] = ["layers-20.10.tar", "busybox-20.10.tar"];

/// What dockerd needs to run a container.
const DOCKER: [&str; 6] = ["dockerd", "docker", "containerd", "containerd-shim-runc-v2", "runc", "docker-init"];

#[test]
fn vm_dockerd_uses_our_store_and_we_use_its() {
    let Some(_turn) = testkit::vm::vm() else { return };
    let Some(_docker) = testkit::docker() else { return };
    let programs = [&DOCKER[..], &["mkfs.xfs", "mkfs.ext4", "blkid", "setpriv", "thin_check"]].concat();
    let mut machine = testkit::vm::Machine::new(2304, 8, &programs);
    for name in ["layerfs", "layer-unpack", "image-du", "image-gc"] {
        machine = machine.program(&testkit::program(name));
    }
    for name in ARCHIVES {
        machine = machine.file(&testkit::golden(name), &format!("/t/{name}"));
    }
    machine.run_tests("inside_", true, 4, Duration::from_secs(1200));
}

#[test]
fn vm_pools_are_set_up_trimmed_and_made_larger() {
    let Some(_turn) = testkit::vm::vm() else { return };
    let Some(_docker) = testkit::docker() else { return };
    let is_full = testkit::full_sweep();
    let more: &[&str] = if is_full { &lvm::PROGRAMS } else { &[] };
    let programs = [&DOCKER[..], more, &["mkfs.ext4", "blkid", "setpriv", "thin_check", "dmsetup"]].concat();
    let machine = testkit::vm::Machine::new(2304, 8, &programs).program(&testkit::program("layerfs"));
    let mut machine = machine.empty_disk(3).udev();
    for name in ARCHIVES {
        machine = machine.file(&testkit::golden(name), &format!("/t/{name}"));
    }
    let (filter, least) = if is_full { ("pools:: faults:: lvm::", 12) } else { ("pools::within_", 3) };
    machine.run_tests(filter, true, least, Duration::from_secs(1200));
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn import(archive: &str, root: &Path) -> String {
    let mut command = Command::new("/t/layer-unpack");
    command.arg(format!("/t/{archive}")).arg("--root").arg(root).args(["--storage-driver", "devicemapper"]);
    testkit::succeeded("layer-unpack", command.output().unwrap())
}

fn run(program: &str, root: &Path, arguments: &[&str]) -> Output {
    Command::new(format!("/t/{program}")).arg("--root").arg(root).args(arguments).output().unwrap()
}

fn layerfs(root: &Path, arguments: &[&str]) -> String {
    testkit::succeeded("layerfs", run("layerfs", root, arguments))
}

/// What a program says that fails.
fn refused(program: &str, root: &Path, arguments: &[&str]) -> String {
    let output = run(program, root, arguments);
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Ids with names, as both sides list them.
const LISTED: [&str; 5] = ["image", "ls", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}}"];

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// A root on the machine's disk.
fn new_root(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("docker")
}

/// Every layer in the archives has its diff id.
fn check_saved(archives: &[&Path]) {
    for archive in archives {
        let (layers, wrong) = saved::check_layers(archive);
        assert!(layers > 1, "{}: {layers}", archive.display());
        testkit::assert_none("layers", &wrong);
    }
}

fn check(root: &Path) {
    let said = layerfs(root, &["system", "check", "--deep"]);
    assert!(said.starts_with("no damage"), "{said}");
    let metadata = root.join("devicemapper/devicemapper/metadata");
    let checked = Command::new("thin_check").arg(metadata).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_dockerd_uses_what_we_imported() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    ARCHIVES.iter().for_each(|archive| drop(import(archive, &root)));
    let ours = sorted(&layerfs(&root, &LISTED));
    assert!(ours.len() >= 2, "{ours:?}");
    let saved_by_us = dir.path().join("ours.tar");
    layerfs(&root, &["image", "save", IMAGE, "-o", text(&saved_by_us)]);
    work_with_containers(&root, dir.path());
    check(&root);

    let daemon = Dockerd::start_with(&root, FLAGS);
    let ours = [&ours[..], &sorted(&daemon.ok(&[&LISTED[..], &["committed:2"]].concat()))].concat();
    let ours = sorted(&ours.join("\n"));
    assert_eq!(sorted(&daemon.ok(&LISTED)), ours);
    assert_eq!(daemon.ok(&["start", "-a", "ours"]), "again\n");
    assert_eq!(daemon.ok(&["run", "--rm", "--network=none", "committed:2", "cat", "/new"]), "again\n");
    let saved_by_docker = dir.path().join("dockers.tar");
    saved::save(&daemon, &[IMAGE], &saved_by_docker);
    check_saved(&[&saved_by_us, &saved_by_docker]);
    daemon.ok(&["commit", "ours", "dockers:1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "--network=none", "dockers:1", "cat", "/new"]), "again\n");
    daemon.ok(&["rmi", "dockers:1", IMAGE]);
    let left = sorted(&daemon.ok(&LISTED));
    daemon.stop();

    // What dockerd has changed is ours to read and to change again.
    assert_eq!(sorted(&layerfs(&root, &LISTED)), left);
    check(&root);
    import("layers-20.10.tar", &root);
    assert_eq!(sorted(&layerfs(&root, &LISTED)), ours);
    check(&root);
}

/// A container by us, an export, commits, and a clean-up of what nobody needs after them; the container `ours` and the image
/// `committed:2` stay.
fn work_with_containers(root: &Path, dir: &Path) {
    let (new, exported) = (dir.join("new"), dir.join("exported.tar"));
    layerfs(root, &["container", "create", "--name", "ours", "--network", "none", BUSYBOX, "cat", "/new"]);
    let write = |content: &str| {
        std::fs::write(&new, content).unwrap();
        layerfs(root, &["container", "cp", text(&new), "ours:/new"]);
    };
    write("made by us\n");
    assert_eq!(layerfs(root, &["container", "diff", "ours"]), "A /new\n");
    layerfs(root, &["container", "export", "ours", "-o", text(&exported)]);
    let listed = Command::new("tar").arg("-tf").arg(&exported).output().unwrap();
    let listed = testkit::succeeded("tar", listed);
    assert!(["new", "bin/busybox"].iter().all(|name| listed.lines().any(|line| line == *name)), "{listed}");
    layerfs(root, &["container", "commit", "ours", "committed:1"]);
    write("again\n");
    layerfs(root, &["container", "commit", "ours", "committed:2"]);
    layerfs(root, &["image", "tag", "committed:2", "committed:1"]);
    assert_eq!(layerfs(root, &["image", "cat", "committed:2", "/new"]), "again\n");

    // The first commit has no name any more.
    let before = sorted(&layerfs(root, &LISTED));
    testkit::succeeded("image-gc", run("image-gc", root, &["--apply"]));
    let after = sorted(&layerfs(root, &LISTED));
    assert!(after.len() + 1 == before.len() && after.iter().all(|line| before.contains(line)), "{after:?}");
    layerfs(root, &["image", "rm", "committed:1"]);
    assert_eq!(layerfs(root, &["container", "start", "-a", "ours"]), "again\n");
}

/// A pool in files of these sizes, which the first change makes active. As after the first start of a daemon, there are no images.
fn make_pool(root: &Path, data: u64, metadata: u64) {
    let dir = root.join("devicemapper/devicemapper");
    std::fs::create_dir_all(&dir).unwrap();
    // With this it is a data-root.
    std::fs::create_dir(root.join("devicemapper/metadata")).unwrap();
    for (name, size) in [("data", data), ("metadata", metadata)] {
        std::fs::File::create_new(dir.join(name)).unwrap().set_len(size).unwrap();
    }
}

/// An archive with one file of so many bytes.
fn archive_with_file(dir: &Path, size: usize) -> PathBuf {
    let archive = dir.join(format!("{size}.tar"));
    let mut builder = tar::Builder::new(std::fs::File::create(&archive).unwrap());
    let mut header = tar::Header::new_gnu();
    header.set_size(size.try_into().unwrap());
    header.set_mode(0o644);
    builder.append_data(&mut header, "file", &vec![b'x'; size][..]).unwrap();
    builder.into_inner().unwrap();
    archive
}

/// Makes an image of one layer with one file of so many bytes.
fn import_file(root: &Path, dir: &Path, size: usize, name: &str) -> Output {
    let archive = archive_with_file(dir, size);
    run("layerfs", root, &["image", "import", "--storage-driver", "devicemapper", text(&archive), name])
}

/// Importing a file fails with these words, and the images are those from before.
fn import_is_refused(root: &Path, dir: &Path, size: usize, expected: &str) {
    let output = import_file(root, dir, size, "refused:1");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(expected), "{expected}: {output:?}");
}

/// The pool of another store, a file that is missing, and a pool that fills up: said as what they are, and nothing is lost.
#[test]
#[ignore = "runs in the virtual machine"]
fn inside_faults_are_told_and_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name));
    // The longer name has the larger file, so that images of two names have two layers.
    let add = |root: &Path, name: &str| {
        testkit::succeeded("image import", import_file(root, dir.path(), name.len(), name));
    };
    for root in [&one, &other] {
        add(root, "first:1");
    }
    // The record of a change is one ahead of the other pool, as after a crash.
    add(&one, "the-second:1");
    let names = sorted(&layerfs(&one, &LISTED));
    let pool = |root: &Path| root.join("devicemapper/devicemapper");
    let swap = || {
        let aside = dir.path().join("aside");
        std::fs::rename(pool(&one), &aside).unwrap();
        std::fs::rename(pool(&other), pool(&one)).unwrap();
        std::fs::rename(&aside, pool(&other)).unwrap();
    };
    let records = || testkit::TreeState::read(&one.join("devicemapper/metadata"));
    let before = records();
    swap();
    import_is_refused(&one, dir.path(), 100, "this is another pool");
    swap();
    testkit::assert_none("changed records", &before.changes(&records()));
    let aside = dir.path().join("data");
    std::fs::rename(pool(&one).join("data"), &aside).unwrap();
    import_is_refused(&one, dir.path(), 100, "only one of the two files of its pool is there");
    assert!(!pool(&one).join("data").exists());
    std::fs::rename(&aside, pool(&one).join("data")).unwrap();
    assert_eq!(sorted(&layerfs(&one, &LISTED)), names);
    [&one, &other].into_iter().for_each(|root| check(root));

    // How long the kernel holds writes to a full pool before they fail, in seconds.
    std::fs::write("/sys/module/dm_thin_pool/parameters/no_space_timeout", "1").unwrap();
    let full = dir.path().join("full");
    make_pool(&full, 96 << 20, 16 << 20);
    add(&full, "first:1");
    let said: serde_json::Value = serde_json::from_str(&layerfs(&full, &["system", "pool", "--json"])).unwrap();
    let free = said["data_total"].as_u64().unwrap() - said["data_used"].as_u64().unwrap();
    import_is_refused(&full, dir.path(), usize::try_from(free).unwrap() + (4 << 20), "its pool is full");
    check(&full);
    // What was given back can be used again.
    add(&full, "the-second:1");
    assert_eq!(layerfs(&full, &LISTED).lines().count(), 2);
    check(&full);

    // A tenth of the metadata stays free, so that layers that are there can be written.
    let small = dir.path().join("small");
    make_pool(&small, 1 << 30, 256 << 10);
    add(&small, "0:1");
    let refused = (1..40).map(|at| import_file(&small, dir.path(), at, &format!("{at}:1")));
    let refused = refused.enumerate().find(|(_, output)| !output.status.success());
    let (made, output) = refused.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("free blocks of metadata"), "{said}");
    assert_eq!(layerfs(&small, &LISTED).lines().count(), made + 1);
    check(&small);
}

/// All commands do here what they do on directories, or say that they do not.
#[test]
#[ignore = "runs in the virtual machine"]
fn inside_each_command_works() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--storage-opt", "dm.basesize=256M", "--storage-opt", "dm.fs=ext4"];
    commands::check_commands(Path::new("/t"), dir.path(), "devicemapper", &options);
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_we_use_what_dockerd_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let flags = [FLAGS, &["--storage-opt=dm.basesize=1G", "--storage-opt=dm.loopdatasize=4G"]].concat();
    let daemon = Dockerd::start_with(&root, &flags);
    ARCHIVES.iter().for_each(|archive| drop(daemon.load(Path::new(&format!("/t/{archive}")))));
    let theirs = sorted(&daemon.ok(&LISTED));
    let container = daemon.ok(&["create", "--network=none", BUSYBOX, "cat", "/etc/passwd"]);
    let saved_by_docker = dir.path().join("dockers.tar");
    saved::save(&daemon, &[IMAGE], &saved_by_docker);
    daemon.stop();

    assert_eq!(sorted(&layerfs(&root, &LISTED)), theirs);
    check(&root);
    let saved_by_us = dir.path().join("ours.tar");
    layerfs(&root, &["image", "save", IMAGE, "-o", text(&saved_by_us)]);
    check_saved(&[&saved_by_us, &saved_by_docker]);
    layerfs(&root, &["image", "tag", BUSYBOX, "again:1"]);
    layerfs(&root, &["image", "rm", IMAGE]);
    let left = sorted(&layerfs(&root, &LISTED));
    assert!(left.iter().any(|line| line.ends_with(" again:1")) && !left.iter().any(|line| line.ends_with(IMAGE)));
    check(&root);

    // dockerd goes on with what we have left.
    let daemon = Dockerd::start_with(&root, &flags);
    assert_eq!(sorted(&daemon.ok(&LISTED)), left);
    daemon.ok(&["start", "-a", container.trim()]);
    daemon.load(Path::new("/t/layers-20.10.tar"));
    let said = daemon.ok(&["run", "--rm", "--network=none", "again:1", "echo", "it runs"]);
    assert_eq!(said.trim(), "it runs");
    daemon.stop();
    check(&root);
}
