//! Labels of volumes: those that are given here dockerd knows, and keeps; those that it gave stay; and none outlives its volume.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::Path;

use serde_json::{Value, json};
use testkit::dockerd::Dockerd;
use testkit::made_by_layerfs;

const IMAGE: &str = "layerfs-test/busybox:1";

fn labels(daemon: &Dockerd, volume: &str) -> Value {
    serde_json::from_str(&daemon.ok(&["volume", "inspect", "--format", "{{json .Labels}}", volume])).unwrap()
}

fn with_label(root: &Path, label: &str) -> Vec<String> {
    let listed = made_by_layerfs(root, &["volume", "ls", "-q", "--filter", &format!("label={label}")]);
    listed.lines().map(str::to_owned).collect()
}

#[test]
fn dockerd_knows_the_labels_that_are_given_here() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let daemon = Dockerd::start_with(&root, &["--storage-driver", "overlay2"]);
    daemon.ok(&["volume", "create", "--label", "a=b", "theirs"]);
    daemon.stop();
    made_by_layerfs(&root, &["volume", "create", "--label", "x=1", "--label", "y", "--label", "z=<&\u{fc}\"", "ours"]);
    made_by_layerfs(&root, &["volume", "create", "plain"]);
    assert_eq!(with_label(&root, "x"), ["ours"]);
    assert_eq!(with_label(&root, "a=b"), ["theirs"]);
    // Together longer than a page of the database.
    let long = format!("n={}", "v".repeat(700));
    let many: Vec<String> = (0..20).map(|number| format!("many{number:02}")).collect();
    for name in &many {
        made_by_layerfs(&root, &["volume", "create", "--label", &long, name]);
    }
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.errors(), Vec::<String>::new());
    assert_eq!(labels(&daemon, "ours"), json!({"x": "1", "y": "", "z": "<&\u{fc}\""}));
    assert_eq!(labels(&daemon, "theirs"), json!({"a": "b"}));
    let mut listed: Vec<String> =
        daemon.ok(&["volume", "ls", "-q", "--filter", "label=n"]).lines().map(str::to_owned).collect();
    listed.sort();
    assert_eq!(listed, many);
    daemon.ok(&["volume", "create", "--label", "n=0", "later"]);
    daemon.ok(&["volume", "rm", "many00"]);
    daemon.stop();
    // What dockerd has made of our database is read, and written once more.
    assert_eq!(with_label(&root, "n").len(), many.len());
    made_by_layerfs(&root, &["volume", "rm", "ours", "many01"]);
    made_by_layerfs(&root, &["volume", "create", "ours"]);
    assert_eq!(with_label(&root, "x"), Vec::<String>::new());
    let daemon = Dockerd::start(&root);
    let none = labels(&daemon, "ours");
    assert!(none.is_null() || none == json!({}), "{none}");
    assert_eq!(labels(&daemon, "later"), json!({"n": "0"}));
    assert_eq!(labels(&daemon, "theirs"), json!({"a": "b"}));
    daemon.stop();
}

/// Volumes with options: the same files as dockerd's, the same refusals, and the same mounts in a container.
#[test]
fn docker_volumes_with_options_are_those_that_dockerd_makes() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let at = |name: &str| dir.path().join(name).display().to_string();
    ["bound", "filled"].iter().for_each(|name| std::fs::create_dir(dir.path().join(name)).unwrap());
    let (bound, filled) = (format!("device={}", at("bound")), format!("device={}", at("filled")));
    let sets: [&[&str]; 6] = [
        &["type=tmpfs", "device=x", "o=size=1m,uid=7,noexec"],
        &["type=none", &bound, "o=bind,ro"],
        &["type=none", &filled, "o=bind"],
        &["type=none", "device=/nosuch", "o=bind"],
        &["type=none", "device=", "o="],
        &["size=0"],
    ];
    let refused: [&[&str]; 6] =
        [&["foo=1"], &["type=tmpfs"], &["device=x"], &["o=rw"], &["size=1m"], &["size=abc", "type=x", "device=y"]];
    let create = |name: &str, options: &[&str]| {
        let options = options.iter().flat_map(|option| ["-o".to_owned(), (*option).to_owned()]);
        let words = ["volume", "create"].map(str::to_owned).into_iter();
        words.chain(options).chain([name.to_owned()]).collect::<Vec<String>>()
    };
    let daemon = Dockerd::start_with(&root, &["--storage-driver", "overlay2"]);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    let dockers = |all: Vec<String>| daemon.docker(&all.iter().map(String::as_str).collect::<Vec<_>>());
    let ours = |all: Vec<String>| testkit::layerfs_on(&root, &all.iter().map(String::as_str).collect::<Vec<_>>());
    for (number, options) in sets.iter().enumerate() {
        testkit::succeeded("docker", dockers(create(&format!("d{number}"), options)));
    }
    let said: Vec<_> = refused.iter().map(|options| dockers(create("no", options))).collect();
    // What a container sees of each, and how the run ends.
    let script = "grep ' /m ' /proc/mounts; stat -c '%A %h %u %g' /m; echo x >/m/x; ls /m";
    let run = |name: &str| {
        let all = ["run", "--rm", "--network", "none", "-v", &format!("{name}:/m"), IMAGE, "sh", "-c", script];
        all.map(str::to_owned).to_vec()
    };
    let seen = |name: &str, output: &std::process::Output| {
        let errors = String::from_utf8_lossy(&output.stderr);
        let why = errors.split_once("error while mounting volume").map_or("", |(_, why)| why);
        let why = why.lines().next().unwrap_or_default().trim_end_matches('.');
        let why = why.replace(&format!("/volumes/{name}/"), "/volumes/NAME/");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), why)
    };
    let saw: Vec<_> = (0..sets.len())
        .map(|number| {
            let name = format!("d{number}");
            let output = dockers(run(&name));
            let _ = std::fs::remove_file(dir.path().join("filled/x"));
            seen(&name, &output)
        })
        .collect();
    daemon.stop();
    for (number, options) in sets.iter().enumerate() {
        testkit::succeeded("layerfs", ours(create(&format!("o{number}"), options)));
        let file = |name: &str| std::fs::read(root.join("volumes").join(format!("{name}{number}/opts.json"))).unwrap();
        assert_eq!(file("o"), file("d"), "{options:?}");
        let name = format!("o{number}");
        let output = ours(run(&name));
        assert_eq!(seen(&name, &output), saw[number], "{options:?}: {output:?}");
        let _ = std::fs::remove_file(dir.path().join("filled/x"));
    }
    for (options, theirs) in refused.iter().zip(&said) {
        let output = ours(create("no", options));
        let text =
            |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().rsplit_once("create no: ").unwrap().1.to_owned();
        assert_eq!((output.status.code(), text(&output.stderr)), (Some(1), text(&theirs.stderr)), "{options:?}");
    }
    // A bind is filled with what the image has, while the container is made.
    let fill = ["run", "--rm", "-v", "o2:/etc", IMAGE, "true"].map(str::to_owned);
    testkit::succeeded("layerfs", ours(fill.to_vec()));
    assert!(dir.path().join("filled/passwd").exists());
    let mount = "type=volume,source=mounted,target=/m,volume-opt=type=tmpfs,volume-opt=device=x,\"volume-opt=o=size=2m,uid=3\",\
        volume-label=a=b";
    let shown =
        ours(["run", "--rm", "--mount", mount, IMAGE, "grep", " /m ", "/proc/mounts"].map(str::to_owned).to_vec());
    let shown = testkit::succeeded("layerfs", shown);
    assert!(shown.starts_with("x /m tmpfs rw") && shown.contains("size=2048k,uid=3"), "{shown}");
    // Nothing stays mounted.
    let mounts = std::fs::read("/proc/self/mountinfo").unwrap();
    assert!(!String::from_utf8_lossy(&mounts).contains(&root.join("volumes").display().to_string()));
    let daemon = Dockerd::start(&root);
    assert_eq!(daemon.errors(), Vec::<String>::new());
    let options = |name: &str| daemon.ok(&["volume", "inspect", "-f", "{{json .Options}} {{json .Labels}}", name]);
    for number in 0..sets.len() {
        assert_eq!(options(&format!("o{number}")), options(&format!("d{number}")));
    }
    assert_eq!(options("mounted"), "{\"device\":\"x\",\"o\":\"size=2m,uid=3\",\"type\":\"tmpfs\"} {\"a\":\"b\"}\n");
    let output = daemon.docker(&run("o0").iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(seen("o0", &output), saw[0]);
    daemon.remove_everything();
    daemon.stop();
}
