//! `system check` on stores that are sound, made by chance: nothing is ever found in them.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod checksupport;

use std::path::Path;
use std::process::Command;

use checksupport::CheckOutput;
use testkit::Random;
use testkit::image::DockerArchive;
use testkit::tarfile::{self, TarMember};

/// Stores in CI, and in the sweep.
const SAMPLE: u64 = 12;
const SWEEP: u64 = 1000;

const DIRECTORIES: [&str; 5] = ["", "a/", "a/b/", "c/", "implied/deep/"];

/// A layer with what layers have, and now and then what they seldom have.
fn layer(random: &mut Random) -> Vec<u8> {
    let (mut members, mut files): (Vec<TarMember>, Vec<String>) = (Vec::new(), Vec::new());
    let mut names = std::collections::BTreeSet::new();
    for number in 0..random.below(24) {
        let directory = DIRECTORIES[random.below(5) as usize];
        let name = format!("{directory}n{}", random.below(30));
        let fresh = names.insert(name.clone());
        let dressed = |member: TarMember, random: &mut Random| {
            let member =
                member.mtime(random.below(2_000_000_000)).owner(random.below(3) as u32, random.below(70_000) as u32);
            if random.below(6) == 0 {
                member.record("mtime", format!("{}.25", random.below(2_000_000_000)))
            } else {
                member
            }
        };
        let member = match random.below(12) {
            0 if fresh => {
                tarfile::dir(format!("{name}/")).mode([0o755, 0o700, 0o1777, 0o2775][random.below(4) as usize])
            }
            1 if fresh => tarfile::symlink(&name, ["n1", "../c/n2", "/etc/passwd", "gone"][random.below(4) as usize]),
            2 if fresh => tarfile::fifo(&name),
            3 if fresh => tarfile::char_device(&name, (1, 3)).mode(0o666),
            4 if fresh && !directory.is_empty() => tarfile::file(format!("{directory}.wh.n{}x", random.below(30)), ""),
            5 if fresh && !directory.is_empty() && directory != "implied/deep/" => {
                names.remove(&name);
                members.push(tarfile::dir(directory));
                members.push(tarfile::file(format!("{directory}.wh..wh..opq"), ""));
                continue;
            }
            6 if fresh && !files.is_empty() => {
                let target = &files[random.below(files.len() as u64) as usize];
                tarfile::hard_link(&name, target)
            }
            // The second one of a name replaces the first.
            _ if fresh || files.contains(&name) => {
                let length = [0, 1, 511, 512, 70_000][random.below(5) as usize];
                files.push(name.clone());
                let content: Vec<u8> = (0..length).map(|at| (at * number) as u8).collect();
                tarfile::file(&name, content).mode([0o644, 0o4755, 0o600][random.below(3) as usize])
            }
            _ => continue,
        };
        members.push(dressed(member, random));
    }
    tarfile::tar(&members)
}

fn layerfs(root: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new(testkit::program("layerfs"));
    command.arg("--root").arg(root).args(arguments).output().unwrap().status.success()
}

/// Makes a store: images with layers in common, some of them removed again. Returns how many archives could not be loaded.
fn make(dir: &Path, root: &Path, seed: u64) -> usize {
    let mut random = Random::new(seed);
    std::fs::create_dir_all(root).unwrap();
    let driver = if seed % 4 == 3 { "vfs" } else { "overlay2" };
    let pool: Vec<Vec<u8>> = (0..4).map(|_| layer(&mut random)).collect();
    let mut refused = 0;
    for number in 0..=random.below(3) {
        let shared = random.below(4) as usize;
        let mut layers = pool[..shared].to_vec();
        layers.extend((0..=random.below(2)).map(|_| layer(&mut random)));
        let archive = dir.join(format!("{number}.tar"));
        std::fs::write(&archive, DockerArchive::new(&format!("chance/app:{number}"), &layers).build()).unwrap();
        let load = ["--storage-driver", driver, "image", "load", "-q", "--no-sync", "-i", archive.to_str().unwrap()];
        refused += usize::from(!layerfs(root, &load));
    }
    match random.below(4) {
        0 => drop(layerfs(root, &["image", "tag", "chance/app:0", "chance/other:1"])),
        1 => drop(layerfs(root, &["image", "rm", "chance/app:0"])),
        _ => {}
    }
    refused
}

#[test]
fn root_sound_stores_are_clean() {
    if !testkit::is_root() {
        return;
    }
    let count = if testkit::full_sweep() { SWEEP } else { SAMPLE };
    let (mut report, mut refused, mut layers) = (Vec::new(), 0, 0);
    for seed in 0..count {
        let dir = testkit::scratch();
        let root = dir.path().join("root");
        refused += make(dir.path(), &root, seed);
        for mode in ["--quick", "--deep"] {
            let checked = CheckOutput::run(&root, &[mode]);
            if checked.status != Some(0) || !checked.findings.is_empty() {
                report.push(format!("seed {seed}, {mode}: {checked:#?}"));
            }
            layers += checked.layers_read;
        }
    }
    testkit::assert_none("sound stores", &report);
    assert!(refused as u64 <= count / 4, "{refused} archives were refused: these are no layers that anybody has");
    assert!(layers >= 2 * count, "{layers} layers were read");
}

/// An opaque marker at a layer's root hides everything below: with vfs, where layers show what is below, that is not missing there.
#[test]
fn root_a_layer_that_hides_all_below_is_clean() {
    if !testkit::is_root() {
        return;
    }
    let below = tarfile::tar(&[tarfile::file("a", "a"), tarfile::dir("d"), tarfile::file("d/b", "b")]);
    let hiding = tarfile::tar(&[tarfile::file(".wh..wh..opq", ""), tarfile::file("new", "n")]);
    let archive = DockerArchive::new("chance/hidden:1", &[below, hiding]).build();
    for driver in ["vfs", "overlay2"] {
        let dir = testkit::scratch();
        let (root, file) = (dir.path().join("root"), dir.path().join("image.tar"));
        std::fs::create_dir(&root).unwrap();
        std::fs::write(&file, &archive).unwrap();
        assert!(layerfs(&root, &["--storage-driver", driver, "image", "load", "-q", "-i", file.to_str().unwrap()]));
        let checked = CheckOutput::run(&root, &["--deep"]);
        assert!(checked.status == Some(0) && checked.findings.is_empty(), "{driver}: {checked:#?}");
    }
}

/// A short name that leads to another layer is one finding, of the layer or container whose name it is, and none of what stands on it.
#[test]
fn root_a_short_name_that_leads_elsewhere_is_one_finding() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    testkit::import(&testkit::golden("layers-20.10.tar"), &root);
    testkit::made_by_layerfs(&root, &["create", "--name", "cc", "layerfs-test/layers:1", "true"]);
    let home = root.join("overlay2");
    let links: Vec<_> = std::fs::read_dir(home.join("l")).unwrap().map(|link| link.unwrap().path()).collect();
    let targets: Vec<_> = links.iter().map(|link| std::fs::read_link(link).unwrap()).collect();
    assert!(links.len() > 5, "four layers and two directories of the container");
    let (mut report, mut of_layers) = (Vec::new(), 0);
    for (link, own) in links.iter().zip(&targets) {
        for other in targets.iter().filter(|target| *target != own) {
            let copy = dir.path().join("copy");
            assert!(Command::new("cp").arg("-a").arg(&root).arg(&copy).status().unwrap().success());
            let link = copy.join("overlay2/l").join(link.file_name().unwrap());
            std::fs::remove_file(&link).unwrap();
            std::os::unix::fs::symlink(other, &link).unwrap();
            let found = CheckOutput::run(&copy, &[]).findings;
            let codes: Vec<_> = found.iter().map(|found| found.code.as_str()).collect();
            if !matches!(codes[..], ["link-wrong" | "container-layer-unusable"]) {
                report.push(format!("{own:?} is {other:?}: {codes:?}"));
            }
            of_layers += usize::from(codes == ["link-wrong"]);
            let repaired = layerfs(&copy, &["system", "repair", "--apply"]);
            if !repaired || !CheckOutput::run(&copy, &["--deep"]).findings.is_empty() {
                report.push(format!("{own:?} is {other:?}: it is not mended"));
            }
            std::fs::remove_dir_all(&copy).unwrap();
        }
    }
    testkit::assert_none("links that lead elsewhere", &report);
    assert_eq!(of_layers, (links.len() - 2) * (links.len() - 1));
}
