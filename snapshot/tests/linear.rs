//! Twice the layers or containers are at most 2.2 times the work, also where layers lie deep and nothing is sound.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod linearsupport;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use layerfs::{ChainId, DiffId, Digest};
use linearsupport::{WORK, assert_straight, plan};
use snapshot::catalog::{Damage, Subject};
use snapshot::view::{Needs, View};

/// What is wrong with a chain.
const DAMAGE: [&str; 3] = ["base", "all", "names"];

/// A chain with as many containers on it as it has layers.
const CONTAINERS: &str = "containers";

/// Layers on nothing, all of which have lost the file with their short name.
const UNNAMED: &str = "unnamed";

/// Containers that have lost the record of their mount, each on an image of its own, with the directories of all of them.
const LOST: &str = "lost";

/// Containers of one image whose mounts say a wrong parent.
const PARENTS: &str = "parents";

/// Says to [`work`], in the place of the damage, to plan a repair.
const REPAIR: &str = "repair";

fn write(root: &Path, count: usize, damage: &str) {
    match damage {
        CONTAINERS => write_containers(root, count),
        LOST | PARENTS => write_damaged_containers(root, count, damage),
        _ => drop(write_chain(root, count, damage)),
    }
}

/// Writes a root with one chain of `count` layers, the record of whose base lacks its size, and as many containers on the
/// top of it.
fn write_containers(root: &Path, count: usize) {
    let (base, top) = write_chain(root, count, "none");
    let layerdb = root.join("image/overlay2/layerdb");
    fs::remove_file(layerdb.join("sha256").join(base.0.hex()).join("size")).unwrap();
    for number in 0..count {
        let id = Digest::hash(format!("container {number}").as_bytes()).hex();
        let (mount, own) = (layerdb.join("mounts").join(&id), root.join("containers").join(&id));
        fs::create_dir_all(&mount).unwrap();
        fs::write(mount.join("mount-id"), Digest::hash(id.as_bytes()).hex()).unwrap();
        fs::write(mount.join("parent"), top.to_string()).unwrap();
        fs::create_dir_all(&own).unwrap();
        let config = format!(r#"{{"ID": "{id}", "Name": "/c{number}", "Driver": "overlay2"}}"#);
        fs::write(own.join("config.v2.json"), config).unwrap();
    }
}

/// Writes a root with as many containers as images of one layer each, with their directories. Of the containers, the records
/// of their mounts are missing with [`LOST`]; with [`PARENTS`] these say a wrong parent.
fn write_damaged_containers(root: &Path, count: usize, damage: &str) {
    write_chain(root, count, UNNAMED);
    let (image_root, home) = (root.join("image/overlay2"), root.join("overlay2"));
    let configs = image_root.join("imagedb/content/sha256");
    fs::create_dir_all(&configs).unwrap();
    fs::write(image_root.join("repositories.json"), r#"{"Repositories": {}}"#).unwrap();
    for number in 0..count {
        let diff_id = DiffId(Digest::hash(format!("layer {number}").as_bytes()));
        let config = format!(r#"{{"os": "linux", "rootfs": {{"type": "layers", "diff_ids": ["{diff_id}"]}}}}"#);
        let image = Digest::hash(config.as_bytes());
        fs::write(configs.join(image.hex()), config).unwrap();
        let base = Digest::hash(format!("directory {number}").as_bytes()).hex();
        fs::write(home.join(&base).join("link"), base[..26].to_uppercase()).unwrap();
        let id = Digest::hash(format!("container {number}").as_bytes()).hex();
        let mount_id = Digest::hash(id.as_bytes()).hex();
        let short = |id: &str| Digest::hash(id.as_bytes()).hex()[..26].to_uppercase();
        let init_id = format!("{mount_id}-init");
        let on_base = format!("l/{}", base[..26].to_uppercase());
        let on_init = format!("l/{}:{on_base}", short(&init_id));
        for (id, lower) in [(&init_id, on_base), (&mount_id, on_init)] {
            let dir = home.join(id);
            fs::create_dir_all(dir.join("diff")).unwrap();
            fs::create_dir_all(dir.join("work")).unwrap();
            fs::write(dir.join("link"), short(id)).unwrap();
            fs::write(dir.join("lower"), lower).unwrap();
            symlink(format!("../{id}/diff"), home.join("l").join(short(id))).unwrap();
        }
        let own = root.join("containers").join(&id);
        fs::create_dir_all(&own).unwrap();
        let config = format!(
            r#"{{"ID": "{id}", "Name": "/c{number}", "Driver": "overlay2", "Image": "sha256:{}"}}"#,
            image.hex()
        );
        fs::write(own.join("config.v2.json"), config).unwrap();
        if damage == PARENTS {
            let mount = image_root.join("layerdb/mounts").join(&id);
            fs::create_dir_all(&mount).unwrap();
            fs::write(mount.join("mount-id"), mount_id).unwrap();
            fs::write(mount.join("init-id"), init_id).unwrap();
            fs::write(mount.join("parent"), "no digest").unwrap();
        }
    }
}

/// Writes a root with one chain of `depth` layers, and returns the lowest and the topmost. Unless `damage` is "none",
/// none of them can be mounted: the directory of the base is missing, or the directories of all layers are, or all layers
/// are there under wrong chain ids. With [`UNNAMED`] each layer is a base.
fn write_chain(root: &Path, depth: usize, damage: &str) -> (ChainId, ChainId) {
    let records = root.join("image/overlay2/layerdb/sha256");
    fs::create_dir_all(&records).unwrap();
    fs::create_dir_all(root.join("overlay2/l")).unwrap();
    let (mut base, mut parent) = (None, None);
    for number in 0..depth {
        let diff_id = DiffId(Digest::hash(format!("layer {number}").as_bytes()));
        let chain_id = if damage == "names" { ChainId(diff_id.0) } else { ChainId::next(parent, diff_id) };
        let id = Digest::hash(format!("directory {number}").as_bytes()).hex();
        let record = records.join(chain_id.0.hex());
        fs::create_dir(&record).unwrap();
        fs::write(record.join("diff"), diff_id.to_string()).unwrap();
        fs::write(record.join("size"), "1000").unwrap();
        fs::write(record.join("cache-id"), &id).unwrap();
        fs::write(record.join("tar-split.json.gz"), "not read").unwrap();
        if let Some(parent) = parent {
            fs::write(record.join("parent"), ChainId::to_string(&parent)).unwrap();
        }
        base.get_or_insert(chain_id);
        parent = Some(chain_id).filter(|_| damage != UNNAMED);
        if damage == "all" || (damage == "base" && number == 0) {
            continue;
        }
        let (dir, link) = (root.join("overlay2").join(&id), id[..26].to_uppercase());
        fs::create_dir_all(dir.join("diff")).unwrap();
        if damage != UNNAMED {
            fs::write(dir.join("link"), &link).unwrap();
        }
        symlink(format!("../{id}/diff"), root.join("overlay2/l").join(link)).unwrap();
    }
    (base.unwrap(), parent.or(base).unwrap())
}

#[test]
fn much_damage_costs_what_it_is_about() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let cases = DAMAGE.into_iter().chain([CONTAINERS]).map(|damage| {
        let prepare = move |many| {
            let root = at.join(format!("{damage}-{many}"));
            write(&root, many, damage);
            // What to read: how it is damaged, and the directory of its root.
            format!("{damage}:{}", root.display())
        };
        (damage.to_owned(), prepare)
    });
    assert_straight(300, cases);
}

#[test]
fn a_plan_of_a_repair_costs_what_it_is_about() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path();
    let cases = [UNNAMED, CONTAINERS, LOST, PARENTS].map(|damage| {
        let prepare = move |many| {
            let root = at.join(format!("{damage}-{many}"));
            write(&root, many, damage);
            format!("{REPAIR}:{}", root.display())
        };
        (damage.to_owned(), prepare)
    });
    assert_straight(250, cases);
}

/// This is what the plans do whose costs are counted above.
#[test]
fn damaged_containers_are_mended() {
    for (damage, step) in [(LOST, "restore-mount"), (PARENTS, "restore-mount-file")] {
        const COUNT: usize = 20;
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), COUNT, damage);
        let plan = plan(dir.path());
        // What these stores have in the place of journals is found, too, and nothing else.
        assert!(
            plan.unmended.iter().all(|left| matches!(left.subject, Subject::Layer(_))),
            "{damage}: {:?}",
            plan.unmended
        );
        let steps: Vec<_> = plan.steps.iter().map(|step| step.mending.code()).collect();
        assert_eq!(steps, [step; COUNT], "{damage}");
    }
}

/// A store may have more layers than a process has descriptors.
#[test]
fn a_plan_of_a_repair_keeps_no_directory_open() {
    const COUNT: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), COUNT, UNNAMED);
    let steps = plan(dir.path()).steps;
    // The short name of each, as `l/` has it.
    assert_eq!(steps.len(), COUNT);
    assert!(steps.iter().all(|step| step.mending.to_string().contains("/link")), "{}", steps[0].mending);
    let mut few = Command::new("prlimit");
    few.arg("--nofile=64:64").arg(std::env::current_exe().unwrap()).args(["--exact", "work", "--test-threads=1"]);
    let output = few.env(WORK, format!("{REPAIR}:{}", dir.path().display())).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The work that [`Counter::instructions`] counts. If the variable is not set, reads small samples.
#[test]
fn work() {
    let read = |root: &Path| {
        let view = View::read(root, None, Needs::ALL).unwrap();
        let codes: Vec<_> = view.damage().iter().map(Damage::code).collect();
        (codes, snapshot::check::records(&view).unwrap().findings.len())
    };
    let Ok(asked) = std::env::var(WORK) else {
        let dir = tempfile::tempdir().unwrap();
        for damage in DAMAGE {
            let root = dir.path().join(damage);
            write(&root, 200, damage);
            let (codes, findings) = read(&root);
            assert!(codes.len() >= 200 && findings > 0, "{damage}: {codes:?}, {findings} findings");
            // overlay2 stacks a layer on 128 others.
            let deep = codes.iter().filter(|code| **code == "layer-too-deep").count();
            assert_eq!(deep, 200 - 129, "{damage}");
        }
        // What is wrong with the base affects all containers.
        let root = dir.path().join(CONTAINERS);
        write(&root, 200, CONTAINERS);
        let view = View::read(&root, None, Needs::ALL).unwrap();
        let findings = snapshot::check::records(&view).unwrap().findings;
        let affected: Vec<usize> = findings.iter().map(|finding| finding.affected.containers.len()).collect();
        assert_eq!(affected, [200]);
        return;
    };
    match asked.split_once(':') {
        Some((REPAIR, root)) => drop(plan(Path::new(root))),
        Some((_, root)) => drop(read(Path::new(root))),
        None => {}
    }
}
