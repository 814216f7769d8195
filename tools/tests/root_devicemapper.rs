//! Stores that dockerd 20.10.24 wrote with its driver devicemapper, read without dockerd and without the device mapper.
//!
//! `testdata/devicemapper` has two: one of a daemon that was stopped, with ext4, and one of a machine whose power was cut
//! while a container was writing, with xfs. Beside the store is what docker said of it.

#![allow(clippy::unwrap_used)]

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::thin_store::{STORES, ThinStore as Store, members};
use testkit::{quiet, saved};

/// `/etc/motd` of one of the images.
const MOTD: &str = "layerfs test image";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines.sort_unstable();
    lines
}

/// Loop devices that show a file which has been deleted: what reading a layer would leave.
fn loops_left() -> Vec<String> {
    let devices = std::fs::read_dir("/sys/block").unwrap().map(|device| device.unwrap().path());
    let behind = devices.filter_map(|device| std::fs::read_to_string(device.join("loop/backing_file")).ok());
    behind.filter(|file| file.contains("(deleted)")).collect()
}

/// Each listing says what docker said of the same store, and nothing is written.
#[test]
fn root_listings_are_dockers() {
    if !testkit::is_root() {
        return;
    }
    for name in STORES {
        let store = Store::unpack(name);
        let before = quiet::Stamps::take(&store.root);
        let ours =
            store.ok(&["image", "ls", "-a", "--no-trunc", "--format", "{{.ID}} {{.Repository}}:{{.Tag}} {{.Size}}"]);
        assert_eq!(sorted(&ours), sorted(&store.said("images.txt")), "{name}");
        let ours = store.ok(&[
            "container",
            "ls",
            "-a",
            "--size",
            "--no-trunc",
            "--filter",
            "status=exited",
            "--filter",
            "status=created",
            "--format",
            "{{.ID}} {{.Names}} {{.Size}}",
        ]);
        let theirs = store.said("ps.txt");
        for line in sorted(&theirs) {
            assert!(sorted(&ours).contains(&line), "{name}: {line} is not in\n{ours}");
        }
        for container in ["edited", "fresh"] {
            let ours = store.ok(&["container", "diff", container]);
            assert_eq!(sorted(&ours), sorted(&store.said(&format!("{container}.diff"))), "{name}: {container}");
            let (ours, theirs): (Value, Value) = (
                serde_json::from_str(&store.ok(&["container", "inspect", container])).unwrap(),
                serde_json::from_str(&store.said(&format!("{container}.json"))).unwrap(),
            );
            let mut driver = theirs[0]["GraphDriver"].clone();
            // The device's name has the inode of the directory, which is another one here.
            let device = ours[0]["GraphDriver"]["Data"]["DeviceName"].clone();
            assert!(device.as_str().unwrap().starts_with("docker-"), "{device}");
            driver["Data"]["DeviceName"] = device;
            assert_eq!(ours[0]["GraphDriver"], driver, "{name}: {container}");
        }
        if name == "ext4" {
            let format = "{{.Type}} {{.TotalCount}} {{.Active}} {{.Size}} {{.Reclaimable}}";
            assert_eq!(store.ok(&["system", "df", "--format", format]), store.said("df.txt"));
        }
        let usage = store.run("image-du", &[]);
        let (usage, said) = (String::from_utf8(usage.stdout).unwrap(), String::from_utf8(usage.stderr).unwrap());
        assert!(usage.contains("unaccounted 0 B") && !usage.contains("nobody"), "{usage}");
        assert_eq!(said, "");
        testkit::assert_none(name, &before.changes(&quiet::Stamps::take(&store.root)));
    }
}

/// Layers come out byte for byte, and the trees of containers are those that docker exported.
#[test]
fn root_everything_comes_out() {
    if !testkit::is_root() {
        return;
    }
    for name in STORES {
        let store = Store::unpack(name);
        let before = quiet::Stamps::take(&store.root);
        let (ours, theirs) = (store.at("ours.tar"), store.said.join("named.tar"));
        let names = store.ok(&["image", "ls", "--filter", "dangling=false", "--format", "{{.Repository}}:{{.Tag}}"]);
        let names: Vec<&str> = names.lines().collect();
        store.ok(&[&["image", "save", "-o", text(&ours)], &names[..]].concat());
        let (layers, wrong) = saved::check_layers(&ours);
        assert!(layers > 15, "{layers}");
        testkit::assert_none(name, &wrong);
        let configs = |file: &Path| {
            let mut found: Vec<(String, Vec<u8>)> = members(file)
                .into_iter()
                .filter(|(_, _, content)| content.starts_with(b"{\"architecture\""))
                .map(|(_, _, content)| (layerfs::Digest::hash(&content).to_string(), content))
                .collect();
            found.sort();
            found.dedup();
            found
        };
        assert_eq!(configs(&ours), configs(&theirs), "{name}");
        for container in ["edited", "fresh"] {
            let file = store.at(container);
            store.ok(&["container", "export", "-o", text(&file), container]);
            let theirs = members(&store.said.join(format!("{container}.tar")));
            let ours = members(&file);
            let names = |members: &[(String, String, Vec<u8>)]| {
                members.iter().map(|(name, told, _)| format!("{name} {told}")).collect::<Vec<_>>()
            };
            assert_eq!(names(&ours), names(&theirs), "{name}: {container}");
            assert!(ours == theirs, "{name}: {container}: other contents");
        }
        let check = store.ok(&["system", "check", "--deep"]);
        assert!(check.starts_with("no damage: 7 images, 14 layers"), "{name}: {check}");
        testkit::assert_none(name, &loops_left());
        testkit::assert_none(name, &before.changes(&quiet::Stamps::take(&store.root)));
    }
}

/// The pool's devices are those that `thin_ls` lists, and all bytes in use belong to one.
#[test]
fn root_the_pool_is_shown() {
    if !testkit::is_root() {
        return;
    }
    let store = Store::unpack("ext4");
    let report: Value = serde_json::from_str(&store.ok(&["system", "pool", "--json"])).unwrap();
    let block = report["block_size"].as_u64().unwrap();
    let ours: Vec<String> = report["devices"]
        .as_array()
        .unwrap()
        .iter()
        .map(|device| {
            let blocks = |key: &str| device[key].as_u64().unwrap() / block;
            let (mapped, exclusive, shared) = (blocks("mapped"), blocks("exclusive"), blocks("shared"));
            format!("{} {mapped} {exclusive} {shared} {}", device["device"], device["transaction"])
        })
        .collect();
    let theirs = store.said("thin_ls.txt");
    let theirs: Vec<String> =
        theirs.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert_eq!(ours, theirs);
    assert_eq!((report["data_unaccounted"].as_u64(), report["damage"].as_array().unwrap().len()), (Some(0), 0));
    let users = |wanted: &str| {
        let devices = report["devices"].as_array().unwrap().iter();
        devices.filter(|device| device["used_by"].as_array().unwrap().contains(&wanted.into())).count()
    };
    assert_eq!(
        (users("layerfs-test/busybox:1"), users("container layer of edited"), users("init layer of fresh")),
        (3, 1, 1)
    );
    // Without a data-root, the devices have only numbers.
    let (metadata, data) = (store.pool("metadata"), store.pool("data"));
    let named = Command::new(testkit::program("layerfs"))
        .args([
            "--root",
            text(&store.at("none")),
            "system",
            "pool",
            "--json",
            "--metadata",
            text(&metadata),
            "--data",
            text(&data),
        ])
        .output()
        .unwrap();
    let named: Value = serde_json::from_str(&testkit::succeeded("layerfs", named)).unwrap();
    assert_eq!(named["data_used"], report["data_used"]);
    assert_eq!(named["devices"].as_array().unwrap().len(), ours.len());
}

/// A device that is copied out is a file system without an error, with the container's files.
#[test]
fn root_a_device_is_copied_out() {
    if !testkit::is_root() {
        return;
    }
    let store = Store::unpack("ext4");
    let image = store.at("image");
    store.ok(&["system", "pool", "copy", "edited", "-o", text(&image)]);
    let check = Command::new("e2fsck").args(["-fn", text(&image)]).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
    let shown = Command::new("debugfs").args(["-R", "cat rootfs/new", text(&image)]).output().unwrap();
    assert_eq!(shown.stdout, b"new\n");
    let again = store.run("layerfs", &["system", "pool", "copy", "edited", "-o", text(&image)]);
    assert!(!again.status.success(), "an existing file is not overwritten");
    let unknown = store.run("layerfs", &["system", "pool", "copy", "nobody", "-o", text(&store.at("other"))]);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(said, "layerfs: nobody: no such image, container, cache id or device\n");
    let several = store.run("layerfs", &["system", "pool", "copy", "", "-o", text(&store.at("other"))]);
    let said = String::from_utf8_lossy(&several.stderr).into_owned();
    assert!(said.ends_with(" cache ids begin so; more of one chooses it\n"), "{said}");
    // A device is there, and the file that says which is not.
    let copy = |arguments: &[&str]| {
        let output =
            store.run("layerfs", &[&["system", "pool", "copy", "-o", text(&store.at("other"))], arguments].concat());
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let layer = store.ok(&["container", "inspect", "-f", "{{.GraphDriver.Data.DeviceName}}", "edited"]);
    let layer = layer.trim().rsplit_once('-').unwrap().1;
    std::fs::rename(store.root.join("devicemapper/metadata").join(layer), store.at("file")).unwrap();
    let gone = format!(
        "layerfs: edited: the storage driver's file that says which device holds {layer} is gone; `layerfs system pool` \
         lists the devices, and `copy NUMBER --size BYTES` copies one of them\n"
    );
    assert_eq!(copy(&["edited"]), (Some(1), gone));
    let device: Value = serde_json::from_slice(&std::fs::read(store.at("file")).unwrap()).unwrap();
    let number = device["device_id"].to_string();
    let unknown =
        format!("layerfs: no file of a data-root says how large device {number} is; give its size with --size\n");
    assert_eq!(copy(&[&number]), (Some(2), unknown));
    assert!(!store.at("other").exists());
    assert_eq!(copy(&[&number, "--size", &device["size"].to_string()]), (Some(0), String::new()));
    assert_eq!(std::fs::read(store.at("other")).unwrap(), std::fs::read(&image).unwrap(), "it is the one of before");
}

/// Damage of the pool and of the files beside it is named, and what is sound comes out all the same.
#[test]
fn root_damage_is_named() {
    if !testkit::is_root() {
        return;
    }
    let store = Store::unpack("ext4");
    let files = store.root.join("devicemapper/metadata");
    let complaints = |store: &Store| {
        let output = store.run("layerfs", &["system", "pool"]);
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).unwrap()
    };
    // A device that nothing names, as a power cut leaves it, and a file of a device that is gone.
    let report: Value = serde_json::from_str(&store.ok(&["system", "pool", "--json"])).unwrap();
    let devices = report["devices"].as_array().unwrap();
    let of = |user: &str| {
        devices.iter().find(|device| device["used_by"].as_array().unwrap().contains(&user.into())).unwrap()
    };
    let fresh = of("container layer of fresh");
    let name = fresh["files"][0].as_str().unwrap();
    std::fs::rename(files.join(name), store.at("kept")).unwrap();
    let lost = "f".repeat(64);
    std::fs::write(
        files.join(&lost),
        r#"{"device_id":77,"size":268435456,"transaction_id":78,"initialized":false,"deleted":false}"#,
    )
    .unwrap();
    let said = complaints(&store);
    let leaked = format!(
        "layerfs: device {}: no file names it, so nothing can use it; `layerfs system trim` deletes it\n",
        fresh["device"]
    );
    assert_eq!(said, format!("{leaked}layerfs: device 77: a file names it, but the pool does not have it\n"));
    let check = store.run("layerfs", &["system", "check", "--json"]);
    let check: Value = serde_json::from_slice(&check.stdout).unwrap();
    let found: Vec<String> = check["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["code"].as_str().unwrap().starts_with("device-"))
        .map(|finding| format!("{} {} {}", finding["severity"], finding["code"], finding["subject"]["id"]))
        .collect();
    let expected =
        [r#""damage" "device-missing" "77""#.to_owned(), format!(r#""note" "device-unnamed" "{}""#, fresh["device"])];
    assert_eq!(found, expected, "{check}");
    let owner = store.ok(&["system", "owner", &lost]);
    assert!(owner.contains("orphan"), "{owner}");
    std::fs::remove_file(files.join(&lost)).unwrap();
    std::fs::rename(store.at("kept"), files.join(name)).unwrap();
    // A file that dockerd cannot decode keeps it from starting.
    let layer = of("layerfs-test/app:1")["files"][0].as_str().unwrap().to_owned();
    let kept = std::fs::read(files.join(&layer)).unwrap();
    std::fs::write(files.join(&layer), r#"{"device_id":"x"}"#).unwrap();
    let check = store.run("layerfs", &["system", "check"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.code() == Some(1) && said.contains("device_id must be a whole number"), "{said}");
    std::fs::write(files.join(&layer), kept).unwrap();
    // Other bytes in a file of a layer: the deep check names the file.
    let data = OpenOptions::new().read(true).write(true).open(store.pool("data")).unwrap();
    // The pool fills its data from the beginning.
    let mut bytes = vec![0; 64 << 20];
    data.read_exact_at(&mut bytes, 0).unwrap();
    let motd = MOTD.as_bytes();
    let places: Vec<u64> =
        (0..bytes.len()).step_by(512).filter(|at| bytes[*at..].starts_with(motd)).map(|at| at as u64).collect();
    assert!(!places.is_empty(), "the file is in the pool");
    for at in &places {
        data.write_all_at(b"X", *at).unwrap();
    }
    let check = store.run("layerfs", &["system", "check", "--deep"]);
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.code() == Some(1) && said.contains("etc/motd"), "{said}");
    for at in &places {
        data.write_all_at(&motd[..1], *at).unwrap();
    }
    assert!(store.ok(&["system", "check", "--deep"]).starts_with("no damage"));
    // A damaged superblock is the end, with the reason.
    let metadata = OpenOptions::new().write(true).open(store.pool("metadata")).unwrap();
    metadata.write_all_at(b"x", 50).unwrap();
    let output = store.run("layerfs", &["system", "pool"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && said.contains("block 0 of the pool's metadata has the checksum"),
        "{said}"
    );
}

/// The digests of the files that hold layers, configs and manifests, each checked by `sha256sum`, and the configs that
/// docker's manifest names.
fn blobs(layout: &Path) -> (Vec<String>, Vec<String>) {
    let dir = layout.join("blobs/sha256");
    let mut names: Vec<String> =
        std::fs::read_dir(&dir).unwrap().map(|blob| blob.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    let sums = Command::new("sha256sum").current_dir(&dir).args(&names).output().unwrap();
    let sums = testkit::succeeded("sha256sum", sums);
    let expected: Vec<String> = names.iter().map(|name| format!("{name}  {name}")).collect();
    assert_eq!(sums.lines().collect::<Vec<_>>(), expected);
    let manifest: Value = serde_json::from_slice(&std::fs::read(layout.join("manifest.json")).unwrap()).unwrap();
    let mut configs = Vec::new();
    for image in manifest.as_array().unwrap() {
        let config = image["Config"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        let layers = image["Layers"].as_array().unwrap().iter().map(|layer| layer.as_str().unwrap());
        for blob in layers.map(|layer| layer.rsplit('/').next().unwrap()).chain([config.as_str()]) {
            assert!(names.iter().any(|name| name == blob), "{blob}");
        }
        configs.push(config);
    }
    (names, configs)
}

/// Everything comes out of a whole store, wherever its pool is. Of a pool with a damaged block, all comes out that does not
/// need that block, and what is lost is named.
#[test]
fn root_what_is_sound_is_rescued() {
    if !testkit::is_root() {
        return;
    }
    let store = Store::unpack("ext4");
    let check_containers = |dir: &Path, lost: &[&str]| {
        for container in ["edited", "fresh"] {
            let tar = dir.join(format!("containers/{container}.tar"));
            assert_eq!(tar.exists(), !lost.contains(&container), "{container}");
            if tar.exists() {
                assert!(members(&tar) == members(&store.said.join(format!("{container}.tar"))), "{container}");
            }
        }
    };
    let whole = store.at("whole");
    store.ok(&["system", "rescue", "-q", text(&whole)]);
    let (all, configs) = blobs(&whole.join("images"));
    let theirs = store.said("images.txt");
    for line in theirs.lines() {
        let id = line.split(' ').next().unwrap().trim_start_matches("sha256:");
        assert!(configs.iter().any(|config| config == id), "{line}");
    }
    check_containers(&whole, &[]);

    // The pool is somewhere else, as one on block devices is.
    let aside = store.at("pool");
    std::fs::rename(store.root.join("devicemapper/devicemapper"), &aside).unwrap();
    let named = store.at("named");
    let (metadata, data) = (aside.join("metadata"), aside.join("data"));
    store.ok(&["system", "rescue", "-q", text(&named), "--metadata", text(&metadata), "--data", text(&data)]);
    assert_eq!(blobs(&named.join("images")), (all.clone(), configs.clone()));
    check_containers(&named, &[]);
    std::fs::rename(&aside, store.root.join("devicemapper/devicemapper")).unwrap();

    // A block of the mappings of the device of the image's last layer; no other device has it.
    const BLOCK: u64 = 455;
    let file = OpenOptions::new().write(true).open(store.pool("metadata")).unwrap();
    file.write_all_at(b"damage", BLOCK * 4096 + 100).unwrap();
    let report = store.run("layerfs", &["system", "pool", "--json"]).stdout;
    let report: Value = serde_json::from_slice(&report).unwrap();
    let damaged = report["devices"].as_array().unwrap().iter().filter(|device| !device["damage"].is_null());
    let damaged: Vec<String> = damaged.map(|device| device["used_by"].to_string()).collect();
    assert_eq!(damaged, [r#"["layerfs-test/app:1"]"#]);
    let partial = store.at("partial");
    let output = store.run("layerfs", &["system", "rescue", "-q", text(&partial)]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("are lost: block ") && said.contains("(layerfs-test/app:1) needs a layer that cannot be read"),
        "{said}"
    );
    let (some, sound) = blobs(&partial.join("images"));
    assert!(!sound.is_empty() && sound.len() < configs.len() && sound.iter().all(|config| configs.contains(config)));
    assert!(some.iter().all(|blob| all.contains(blob)));
    let lost: Vec<&str> = ["edited", "fresh"]
        .into_iter()
        .filter(|name| said.contains(&format!("left out: container {name}: ")))
        .collect();
    check_containers(&partial, &lost);
    // What is left out is the same where an archive is written, and without the flag nothing is.
    let archive = store.at("all.tar");
    let failed = store.run("layerfs", &["image", "save", "--all", "-q", "-o", text(&archive)]);
    assert!(failed.status.code() == Some(1) && !archive.exists(), "{failed:?}");
    let partly = store.run("layerfs", &["image", "save", "--all", "--skip-damaged", "-q", "-o", text(&archive)]);
    assert_eq!(partly.status.code(), Some(1));
    let (layers, wrong) = saved::check_layers(&archive);
    assert!(layers > 0);
    testkit::assert_none("layers", &wrong);
    testkit::assert_none("loop devices", &loops_left());
}

/// A pool that may be active is not read: the kernel is changing it. And nothing is written without the kernel's device
/// mapper.
#[test]
fn root_what_is_refused() {
    if !testkit::is_root() {
        return;
    }
    let store = Store::unpack("ext4");
    let attached = Command::new("losetup").args(["-f", "--show"]).arg(store.pool("data")).output().unwrap();
    let device = testkit::succeeded("losetup", attached).trim().to_owned();
    let refused = store.run("layerfs", &["system", "pool"]);
    assert!(Command::new("losetup").args(["-d", &device]).status().unwrap().success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    let wanted = format!("{device} shows it, so its pool may be active; stop the daemon first");
    assert!(refused.status.code() == Some(1) && said.contains(&wanted), "{said}");
    let before = quiet::Stamps::take(&store.root);
    if Path::new("/dev/mapper/control").exists() {
        return;
    }
    for arguments in [&["image", "rm", "layerfs-test/app:1"][..], &["image", "tag", "layerfs-test/app:1", "a:1"]] {
        let output = store.run("layerfs", arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains("devicemapper"), "{arguments:?}: {said}");
    }
    testkit::assert_none("refused", &before.changes(&quiet::Stamps::take(&store.root)));
}
