//! How long it takes, beside dockerd in the same machine. Only for a full sweep: the machine's processor is made of programs.

#![allow(clippy::print_stdout, reason = "the host reads what the machine prints")]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use testkit::dockerd::Dockerd;
use testkit::image::DockerArchive;
use testkit::tarfile;

use super::{BUSYBOX, DOCKER, FLAGS, layerfs, new_root, run, text};

#[test]
fn vm_figures() {
    if !testkit::full_sweep() {
        return;
    }
    let Some(_turn) = testkit::vm::vm() else { return };
    let Some(_docker) = testkit::docker() else { return };
    let programs = [&DOCKER[..], &["mkfs.ext4", "tune2fs", "blkid", "setpriv", "dmsetup"]].concat();
    let machine = testkit::vm::Machine::new(3000, 8, &programs)
        .program(&testkit::program("layerfs"))
        .file(&testkit::golden("busybox-20.10.tar"), "/t/busybox-20.10.tar");
    let output = machine.run_tests("within_a_machine_for_figures", true, 2, Duration::from_secs(3000));
    // The first line of a test comes after its name.
    let figures = output.lines().filter_map(|line| line.find("@@ figure ").map(|at| &line[at..]));
    figures.for_each(|line| eprintln!("{line}"));
}

fn took(what: &str, work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    let took = start.elapsed();
    println!("@@ figure {what}: {:.2} s", took.as_secs_f64());
    took
}

/// Ten layers of 30 MB, in files of 100 kB that do not compress to nothing.
fn archive(path: &Path) {
    let mut random = testkit::Random::new(7);
    let words: Vec<[u8; 8]> = (0..512).map(|_| random.below(u64::MAX).to_le_bytes()).collect();
    let layers: Vec<Vec<u8>> = (0..10)
        .map(|layer| {
            let mut members = vec![tarfile::dir(format!("layer{layer}/"))];
            for file in 0..300 {
                let from = random.below(512) as usize;
                let content: Vec<u8> = words.iter().cycle().skip(from).flatten().copied().take(100_000).collect();
                members.push(tarfile::file(format!("layer{layer}/file{file}"), content));
            }
            tarfile::tar(&members)
        })
        .collect();
    std::fs::write(path, DockerArchive::new("layerfs-test/large:1", &layers).build()).unwrap();
}

#[test]
#[ignore = "runs in the virtual machine"]
fn within_a_machine_for_figures_import() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("large.tar");
    archive(&file);
    let options = ["dm.fs=ext4", "dm.basesize=1G"];
    let ours = dir.path().join("ours");
    let given: Vec<&str> = options.iter().flat_map(|option| ["--storage-opt", *option]).collect();
    let load = ["image", "load", "-q", "--storage-driver", "devicemapper", "-i"];
    // The base device is made before, as dockerd makes it when it starts.
    layerfs(&ours, &[&given[..], &load[..], &["/t/busybox-20.10.tar"]].concat());
    for round in 0..3 {
        took(&format!("import by layerfs, round {round}"), || {
            layerfs(&ours, &[&load[..], &[text(&file)]].concat());
        });
        layerfs(&ours, &["image", "rm", "layerfs-test/large:1"]);
    }
    std::fs::remove_dir_all(&ours).unwrap();
    let theirs = dir.path().join("theirs");
    let given: Vec<String> = options.iter().map(|option| format!("--storage-opt={option}")).collect();
    let flags: Vec<&str> = FLAGS.iter().copied().chain(given.iter().map(String::as_str)).collect();
    let daemon = Dockerd::start_with(&theirs, &flags);
    for round in 0..3 {
        took(&format!("load by dockerd, round {round}"), || drop(daemon.load(&file)));
        daemon.ok(&["rmi", "layerfs-test/large:1"]);
    }
    daemon.stop();
}

/// A store with a thousand devices is opened for a change.
#[test]
#[ignore = "runs in the virtual machine"]
fn within_a_machine_for_figures_open() {
    let dir = tempfile::tempdir().unwrap();
    let root = new_root(&dir);
    let given = ["--storage-opt", "dm.fs=ext4", "--storage-opt", "dm.basesize=256M"];
    let load = ["image", "load", "-q", "--storage-driver", "devicemapper", "-i", "/t/busybox-20.10.tar"];
    layerfs(&root, &[&given[..], &load[..]].concat());
    took("tag in a store with few devices", || drop(layerfs(&root, &["image", "tag", BUSYBOX, "a:1"])));
    // A container keeps the pool active meanwhile.
    layerfs(&root, &["container", "run", "-d", "--name", "holds", "--network", "none", BUSYBOX, "sleep", "10000"]);
    let names = Command::new("dmsetup").arg("ls").output().unwrap();
    let names = testkit::succeeded("dmsetup", names);
    let pool = names.split_whitespace().find(|name| name.ends_with("-pool")).unwrap().to_owned();
    let records = root.join("devicemapper/metadata");
    let first: u64 = 1000;
    for id in first..first + 1000 {
        let message = format!("create_snap {id} 1");
        testkit::succeeded(
            "dmsetup",
            Command::new("dmsetup").args(["message", &pool, "0", &message]).output().unwrap(),
        );
        let record =
            format!(r#"{{"device_id":{id},"size":268435456,"transaction_id":1,"initialized":false,"deleted":false}}"#);
        std::fs::write(records.join(format!("{id:064x}")), record).unwrap();
    }
    layerfs(&root, &["container", "rm", "-f", "holds"]);
    for round in 0..3 {
        took(&format!("tag in a store with 1000 devices, round {round}"), || {
            drop(layerfs(&root, &["image", "tag", BUSYBOX, &format!("b:{round}")]));
        });
        took(&format!("container create in a store with 1000 devices, round {round}"), || {
            testkit::succeeded(
                "create",
                run("layerfs", &root, &["container", "create", "--network", "none", BUSYBOX, "true"]),
            );
        });
    }
}
