//! A block device that LVM is given whole, as dockerd gives it.

use std::path::Path;
use std::process::Command;

use testkit::dockerd::Dockerd;

use super::pools::{dmsetup, import, with};
use super::{BUSYBOX, FLAGS, LISTED, new_root, sorted, text};

/// LVM's programs, which are one.
pub(super) const PROGRAMS: [&str; 12] = [
    "pvcreate",
    "pvremove",
    "pvdisplay",
    "vgcreate",
    "vgremove",
    "vgchange",
    "lvcreate",
    "lvconvert",
    "lvchange",
    "lvmdiskscan",
    "lvs",
    "lvextend",
];

/// The tables that dockerd 20.10.24 had with a disk of this size, without the numbers of devices and the place of the metadata.
const TABLES: [&str; 3] = ["5963776 thin-pool 1024 0 1 skip_block_zeroing", "5963776 linear", "57344 linear"];

/// Without udev and a daemon for events.
const CONFIG: &str = "activation {\n udev_sync=0\n udev_rules=0\n monitoring=0\n}\ndevices {\n obtain_device_list_from_udev=0\n \
                      external_device_info_source=\"none\"\n use_devicesfile=0\n}\nglobal {\n use_lvmpolld=0\n}\n";

fn lvm(name: &str, arguments: &[&str]) -> String {
    testkit::succeeded(name, Command::new(name).args(arguments).output().unwrap())
}

/// The pool and its parts, as the kernel has them.
fn tables() -> Vec<String> {
    let all = dmsetup(&["table"]);
    let mut found = Vec::new();
    for line in all.lines().filter(|line| line.starts_with("docker-thinpool")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        found.push(match words[3] {
            "thin-pool" => format!("{} thin-pool {}", words[2], words[6..].join(" ")),
            kind => format!("{} {kind}", words[2]),
        });
    }
    found
}

#[test]
#[ignore = "runs in the virtual machine"]
fn a_device_is_given_to_lvm_and_dockerd_uses_the_pool() {
    std::fs::create_dir_all("/etc/lvm").unwrap();
    std::fs::write("/etc/lvm/lvm.conf", CONFIG).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let options = ["dm.directlvm_device=/dev/vdb", "dm.basesize=512M", "dm.fs=ext4"];
    let try_it = |root: &Path, options: &[&str]| {
        let mut command = Command::new("/t/layerfs");
        command.arg("--root").arg(root);
        for option in options {
            command.args(["--storage-opt", *option]);
        }
        command.args(["image", "load", "--storage-driver", "devicemapper", "-i", "/t/busybox-20.10.tar"]);
        let output = command.output().unwrap();
        assert!(!output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    // Without one of LVM's programs nothing is begun.
    let [program, aside] = ["/usr/sbin/lvconvert", "/usr/sbin/aside"].map(Path::new);
    std::fs::rename(program, aside).unwrap();
    let said = try_it(&root, &options);
    assert!(said.contains("/dev/vdb: is not given to LVM, for its programs are not installed: lvconvert"), "{said}");
    std::fs::rename(aside, program).unwrap();
    // Nor over a file system.
    testkit::succeeded("mkfs.ext4", Command::new("mkfs.ext4").args(["-q", "/dev/vdb"]).output().unwrap());
    let said = try_it(&root, &options);
    assert!(said.contains("/dev/vdb: has a filesystem already (ext4), use dm.directlvm_device_force=true"), "{said}");

    let forced = [&options[..], &["dm.directlvm_device_force=true"]].concat();
    // What fails half way is taken back: there is no room for as much metadata.
    let too_much = [&forced[..], &["dm.thinp_percent=99", "dm.thinp_metapercent=1"]].concat();
    let said = try_it(&root, &too_much);
    assert!(said.contains("LVM was not set up: lvc"), "{said}");
    assert!(!root.join("devicemapper/setup-config.json").exists());

    import(&root, &forced, "/t/busybox-20.10.tar");
    let config = std::fs::read_to_string(root.join("devicemapper/setup-config.json")).unwrap();
    let expected =
        r#"{"Device":"/dev/vdb","ThinpPercent":0,"ThinpMetaPercent":0,"AutoExtendPercent":0,"AutoExtendThreshold":0}"#;
    assert_eq!(config, expected);
    let profile = std::fs::read_to_string("/etc/lvm/profile/docker-thinpool.profile").unwrap();
    let expected = "activation{\nthin_pool_autoextend_threshold=80\nthin_pool_autoextend_percent=20\n}";
    assert_eq!(profile, expected);
    assert_eq!(tables(), TABLES);
    let said = lvm("lvs", &["--noheadings", "-o", "lv_name,chunk_size,lv_profile", "--units", "k", "docker/thinpool"]);
    assert_eq!(said.split_whitespace().collect::<Vec<_>>(), ["thinpool", "512.00k", "docker-thinpool"]);
    // From here on the store says itself that LVM has its pool.
    let ours = with(&root, &[], &LISTED);
    let said = with(&root, &[], &["container", "run", "--rm", "--network", "none", BUSYBOX, "echo", "it runs"]);
    assert_eq!(said, "it runs\n");
    let said = try_it(&root, &["dm.directlvm_device=/dev/vdc"]);
    assert!(said.contains("changing direct-lvm config is not supported"), "{said}");
    // The device is LVM's now.
    let said = try_it(&dir.path().join("other"), &forced);
    assert!(said.contains("is already part of a volume group \"docker\""), "{said}");

    let flags = [FLAGS, &["--storage-opt=dm.directlvm_device=/dev/vdb", "--storage-opt=dm.basesize=512M"]].concat();
    let daemon = Dockerd::start_with(&root, &flags);
    assert_eq!(sorted(&daemon.ok(&LISTED)), sorted(&ours));
    daemon.load(Path::new("/t/layers-20.10.tar"));
    let theirs = sorted(&daemon.ok(&LISTED));
    let said = daemon.ok(&["run", "--rm", "--network=none", BUSYBOX, "echo", "it runs"]);
    assert_eq!(said.trim(), "it runs");
    daemon.stop();
    assert_eq!(sorted(&with(&root, &[], &LISTED)), theirs);
    let saved = dir.path().join("saved.tar");
    with(&root, &[], &["image", "save", BUSYBOX, "-o", text(&saved)]);
    super::check_saved(&[&saved]);
    let said = with(&root, &[], &["system", "check", "--deep"]);
    assert!(said.starts_with("no damage"), "{said}");

    // As after a start of the machine at which nobody has made it active.
    lvm("vgchange", &["-an", "docker"]);
    let output = super::run("layerfs", &root, &["image", "rm", BUSYBOX]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("`vgchange -ay docker` makes it active"), "{said}");
    lvm("vgchange", &["-ay", "docker"]);
    assert_eq!(sorted(&with(&root, &[], &LISTED)), theirs);
    lvm("vgremove", &["-f", "docker"]);
}
