//! What each flag of `image-gc` takes and leaves, on imported images.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::mounts::Mounted;
use testkit::run::{Input, Ran, layer_unpack, run};
use testkit::{golden, import, program};

const GOLDENS: [&str; 3] = ["busybox-20.10.tar", "shared-20.10.tar", "layers-20.10.tar"];

const BUSYBOX: &str = "layerfs-test/busybox:1";
const LAYERS: &str = "layerfs-test/layers:1";
const BASE: &str = "layerfs-test/shared-base:1";
const APP: &str = "layerfs-test/app:1";
const TWICE: &str = "layerfs-test/twice:1";

fn gc(root: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program("image-gc"));
    command.arg("--root").arg(root).args(arguments);
    run(command, Input::Nothing)
}

fn plan(root: &Path, arguments: &[&str]) -> Value {
    let ran = gc(root, &[arguments, &["--json"]].concat());
    serde_json::from_str(&ran.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {}", ran.stderr))
}

/// The first name of each image in a list; of one without a name `-`.
fn names(plan: &Value, list: &str) -> Vec<String> {
    let images = plan[list].as_array().unwrap().iter().filter(|one| one["kind"] == "image");
    let mut names: Vec<String> = images.map(|one| one["names"][0].as_str().unwrap_or("-").to_owned()).collect();
    names.sort();
    names
}

fn causes(plan: &Value) -> BTreeMap<String, String> {
    let images = plan["spared"].as_array().unwrap().iter().filter(|one| one["kind"] == "image");
    let cause = |one: &Value| {
        let name = one["names"][0].as_str().unwrap_or("-").to_owned();
        (name, one["cause"].as_str().unwrap().to_owned())
    };
    images.map(cause).collect()
}

fn sorted(names: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    names.sort();
    names
}

#[test]
fn root_each_policy_takes_what_it_says() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    GOLDENS.iter().for_each(|name| drop(import(&golden(name), &root)));
    let all = [BUSYBOX, LAYERS, BASE, APP, TWICE, "-"];
    let without = |kept: &[&str]| sorted(&all.into_iter().filter(|name| !kept.contains(name)).collect::<Vec<_>>());
    let ids: BTreeMap<String, String> = {
        let planned = plan(&root, &["--all"]);
        let images = planned["items"].as_array().unwrap().iter().filter(|one| one["kind"] == "image");
        let pair =
            |one: &Value| (one["names"][0].as_str().unwrap_or("-").to_owned(), one["id"].as_str().unwrap().to_owned());
        images.map(pair).collect()
    };
    let file = dir.path().join("excludes");
    std::fs::write(&file, format!("layerfs-test/app:.*\n\n{}\n", &ids[LAYERS]["sha256:".len()..][..12])).unwrap();
    let file = file.to_str().unwrap();
    let cases: &[(&[&str], Vec<String>, &str, &str)] = &[
        (&[], sorted(&["-"]), APP, "named"),
        (&["-a"], without(&[]), "", ""),
        (&["-a", "--keep", "layerfs-test/t*"], without(&[TWICE]), TWICE, "kept"),
        (&["-a", "--keep", "layerfs-test/app"], without(&[APP, BASE]), BASE, "children"),
        (&["-a", "--keep", &ids[BUSYBOX][..20]], without(&[BUSYBOX]), BUSYBOX, "kept"),
        (&["-a", "--keep", "*"], sorted(&["-"]), LAYERS, "kept"),
        (&["-a", "--until", "1h"], without(&[]), "", ""),
        (&["-a", "--until", "2001-01-01"], sorted(&[]), APP, "too-new"),
        (&["-a", "--unused-for", "1h"], sorted(&[]), APP, "used-recently"),
        (&["-a", "--unused-for", "0s"], without(&[]), "", ""),
        (&["--keep-last", "1"], sorted(&["-"]), BUSYBOX, "among-last"),
        (&["--keep-last", "0"], without(&[]), "", ""),
        (&["-a", "--exclude-from", file], without(&[APP, LAYERS, BASE]), APP, "excluded"),
        (&["--target-size", "1TB"], sorted(&["-"]), APP, "enough-goes"),
        (&["--target-size", "0"], without(&[]), "", ""),
        (&["--high-threshold", "100"], sorted(&["-"]), APP, "enough-goes"),
    ];
    for (arguments, going, name, cause) in cases {
        let planned = plan(&root, arguments);
        assert_eq!(names(&planned, "items"), *going, "{arguments:?}: {:?}", causes(&planned));
        if !name.is_empty() {
            assert_eq!(causes(&planned).get(*name).map(String::as_str), Some(*cause), "{arguments:?}");
        }
    }
    let misspelt = gc(&root, &["-a", "--keep", "layerfs-test/nosuch*"]);
    assert!(misspelt.stderr.contains("--keep layerfs-test/nosuch*: no image has such a name"), "{}", misspelt.stderr);
    let misspelt = gc(&root, &["-a", "--keep-label", "nosuch=1"]);
    assert!(misspelt.stderr.contains("--keep-label nosuch=1: no image has this label"), "{}", misspelt.stderr);
    for (arguments, why) in [
        (&["--keep-label", "x", "--min-age", "x"][..], "is no age"),
        (&["-a", "--keep", ""], "--keep: it is empty"),
        (&["-a", "--keep-label", ""], "--keep-label: it is empty"),
        (&["--target-free", "120%"], "neither a percentage"),
        (&["--high-threshold", "70"], "is above"),
        (&["--until", "x"], "failed to parse"),
        (&["--exclude-from", "/nosuch"], "cannot read"),
        (&["--quarantine", "/x"], "--apply"),
        (&["--target-free", "1GB", "--target-size", "1GB"], "cannot be used with"),
    ] {
        let ran = gc(&root, arguments);
        assert!(ran.code == Some(2) && ran.stderr.contains(why), "{arguments:?}: {:?} {}", ran.code, ran.stderr);
    }
}

#[test]
fn root_a_label_keeps_an_image() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    let store = (0..100).find_map(|seed| {
        let root = root.join(seed.to_string());
        let _store = testkit::littered::Littered::new(&root, seed);
        let planned = plan(&root, &["--all"]);
        (names(&planned, "items").len() > 1).then_some((root, planned))
    });
    let (root, planned) = store.unwrap();
    let image = planned["items"].as_array().unwrap().iter().find(|one| one["kind"] == "image").unwrap();
    let id = image["id"].as_str().unwrap();
    let config = root.join("image/overlay2/imagedb/content/sha256").join(id.trim_start_matches("sha256:"));
    let config: Value = serde_json::from_slice(&std::fs::read(config).unwrap()).unwrap();
    let label = format!("made={}", config["config"]["Labels"]["made"].as_str().unwrap());
    let spared = |arguments: &[&str]| {
        let planned = plan(&root, arguments);
        let spared = planned["spared"].as_array().unwrap().iter().find(|one| one["id"] == id).cloned();
        spared.map(|one| one["cause"].as_str().unwrap().to_owned())
    };
    assert_eq!(spared(&["--all", "--keep-label", &label]).as_deref(), Some("label"));
    assert_eq!(spared(&["--all", "--keep-label", "made"]).as_deref(), Some("label"));
    assert_eq!(spared(&["--all", "--keep-label", "made=other"]), None);
}

/// As many unused images as it takes, and no more; what was promised is then free.
#[test]
fn root_a_target_is_reached() {
    if !testkit::is_root() {
        return;
    }
    let mounted = Mounted::tmpfs("size=16m");
    let root = mounted.path().join("root");
    GOLDENS.iter().for_each(|name| drop(import(&golden(name), &root)));
    let free = mounted.free().0;
    let wanted = free + 1_000_000;
    let text = wanted.to_string();
    let planned = plan(&root, &["--target-free", &text]);
    assert_eq!(planned["goal"]["reached"], true, "{planned:#}");
    assert!(!names(&planned, "spared").is_empty() && names(&planned, "items").len() > 1, "{planned:#}");
    let ran = gc(&root, &["--target-free", &text, "--apply"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(mounted.free().0 >= wanted, "{} of {wanted} are free", mounted.free().0);
    assert!(mounted.free().0 >= free + planned["bytes"].as_u64().unwrap());
    // More than there is.
    let ran = gc(&root, &["--target-free", "100%"]);
    assert!(ran.code == Some(1) && ran.stdout.contains("no more can go"), "{ran:?}");
    // kubelet's marks: nothing goes below the high one, and above it down to the low one.
    let used = |at_most: &str, down_to: &str| plan(&root, &["--high-threshold", at_most, "--low-threshold", down_to]);
    assert_eq!(used("99", "0")["goal"]["wanted"], 0);
    assert!(used("0", "0")["goal"]["wanted"].as_u64().unwrap() > 0);
}

/// A file with holes counts with its blocks, a link to what stays with nothing, two links once; and a copy of vfs with all of it.
#[test]
fn root_what_is_freed_is_what_the_plan_says() {
    if !testkit::is_root() {
        return;
    }
    for (driver, home) in [("overlay2", "overlay2"), ("vfs", "vfs/dir")] {
        // On ext4 a directory of records may grow by a block when these are renamed, which no plan counts.
        let mounted = Mounted::tmpfs("size=128m");
        let root = mounted.path().join("root");
        for name in GOLDENS {
            let mut import = layer_unpack(&[golden(name).as_os_str(), "--root".as_ref(), root.as_os_str()]);
            import.args(["--storage-driver", driver]);
            run(import, Input::Nothing).ok();
        }
        let orphan = root.join(home).join("f".repeat(64));
        std::fs::create_dir_all(orphan.join("diff")).unwrap();
        let holes = std::fs::File::create(orphan.join("diff/holes")).unwrap();
        holes.set_len(1 << 32).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&holes, &[1; 5000], 1 << 31).unwrap();
        std::fs::write(orphan.join("diff/one"), vec![2; 100_000]).unwrap();
        std::fs::hard_link(orphan.join("diff/one"), orphan.join("diff/two")).unwrap();
        std::fs::write(mounted.path().join("stays"), vec![3; 300_000]).unwrap();
        std::fs::hard_link(mounted.path().join("stays"), orphan.join("diff/stays")).unwrap();
        let du = || {
            let output = Command::new("du").args(["-sx", "-B1"]).arg(mounted.path()).output().unwrap();
            String::from_utf8(output.stdout).unwrap().split('\t').next().unwrap().parse::<u64>().unwrap()
        };
        let before = du();
        let planned = plan(&root, &["--all", "--min-age", "0s"]);
        let applied = plan(&root, &["--all", "--min-age", "0s", "--apply"]);
        assert!(!orphan.exists() && names(&applied, "items").len() >= 5, "{applied:#}");
        assert_eq!(
            (before - du(), &planned["bytes"]),
            (applied["bytes"].as_u64().unwrap(), &applied["bytes"]),
            "{driver}"
        );
    }
}
