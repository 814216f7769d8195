//! `container logs` and the filters of `container ls` for ports say what dockerd says of the same root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use serde_json::{Value, json};
use testkit::dockerd::Dockerd;
use testkit::run::{Input, Ran, layerfs, run};

const IMAGE: &str = "layerfs-test/busybox:1";

fn ours(root: &Path, arguments: &[&str]) -> Ran {
    run(layerfs(&[&["--root", root.to_str().unwrap()], arguments].concat()), Input::Nothing)
}

fn docker(daemon: &Dockerd, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = daemon.docker(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// The last lines are taken of all that there are, and the times are looked at then.
#[test]
fn logs_are_cut_as_docker_cuts_them() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_with(&root, &["--storage-driver", "overlay2"]);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    daemon.ok(&["run", "--name", "cc", "--network", "none", IMAGE, "echo", "x"]);
    let path = daemon.ok(&["inspect", "-f", "{{.LogPath}}", "cc"]);
    // Not in the order of their times, as where a clock was set.
    let lines =
        [(1, "stdout"), (2, "stderr"), (3, "stdout"), (9, "stdout"), (4, "stdout"), (5, "stderr"), (6, "stdout")];
    let text = lines.map(|(second, stream)| {
        let record = json!({"log": format!("line {second}\n"), "stream": stream, "time": format!("2020-01-01T00:00:0{second}.5Z")});
        format!("{record}\n")
    });
    std::fs::write(path.trim(), text.concat()).unwrap();
    let second = |number: u32| format!("2020-01-01T00:00:0{number}Z");
    let mut differing = Vec::new();
    for tail in ["all", "0", "1", "2", "3", "4", "6", "7", "100", "-1", "x"] {
        for (since, until) in [(0, 0), (3, 0), (5, 0), (0, 4), (3, 6), (0, 9), (8, 0)] {
            let (since_text, until_text) = (second(since), second(until));
            let mut words = vec!["logs", "-t", "--tail", tail];
            words.extend((since > 0).then_some(["--since", &since_text]).into_iter().flatten());
            words.extend((until > 0).then_some(["--until", &until_text]).into_iter().flatten());
            words.push("cc");
            let ran = ours(&root, &words);
            let (found, wanted) = ((ran.code, ran.stdout, ran.stderr), docker(&daemon, &words));
            if found != wanted {
                differing.push(format!("{words:?}\n  ours {found:?}\ndocker {wanted:?}"));
            }
        }
    }
    testkit::assert_none("logs", &differing);
    daemon.stop();
}

/// Ports are those that dockerd has written down.
#[test]
fn filters_for_ports_take_what_docker_takes() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_with(&root, &["--storage-driver", "overlay2"]);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    let ports = [
        ("none", json!({})),
        ("only", json!({"80/tcp": null, "53/udp": null})),
        ("bound", json!({"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null})),
        ("many", json!({"90/tcp": [{"HostIp": "", "HostPort": "9090"}, {"HostIp": "::", "HostPort": "9091"}]})),
    ];
    let ids = ports.clone().map(|(name, _)| daemon.ok(&["create", "--name", name, "--network", "none", IMAGE, "true"]));
    daemon.stop();
    for (id, (_, ports)) in ids.iter().zip(&ports) {
        let path = root.join("containers").join(id.trim()).join("config.v2.json");
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        config["NetworkSettings"]["Ports"] = ports.clone();
        std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    }
    let daemon = Dockerd::start_with(&root, &["--storage-driver", "overlay2"]);
    let mut differing = Vec::new();
    let mut taken = 0;
    for filters in [
        &["expose=80"][..],
        &["expose=80/tcp"],
        &["expose=80/udp"],
        &["expose=53/udp"],
        &["expose=50-81"],
        &["expose=90"],
        &["publish=8080"],
        &["publish=80"],
        &["publish=0"],
        &["publish=9091/tcp"],
        &["publish=9000-9999"],
        &["publish=8080", "expose=53/udp"],
        &["publish=1", "expose=2"],
        &["isolation=hyperv"],
        &["isolation=default", "expose=80"],
        &["expose=80:80"],
        &["publish=x"],
        &["publish=90-80"],
        &["publish=70000"],
        &["publish="],
        &["expose=80-"],
    ] {
        let mut words = vec!["ps", "-a", "--format", "{{.Names}}"];
        filters.iter().for_each(|filter| words.extend(["--filter", filter]));
        let ran = ours(&root, &words);
        let (code, stdout, stderr) = docker(&daemon, &words);
        let said = stderr.trim().trim_start_matches("Error response from daemon: ");
        taken += stdout.lines().count();
        if (ran.code == Some(0), &ran.stdout) != (code == Some(0), &stdout) || !ran.stderr.contains(said) {
            differing.push(format!("{filters:?}\n  ours {ran:?}\ndocker {code:?} {stdout} {stderr}"));
        }
    }
    daemon.stop();
    testkit::assert_none("filters", &differing);
    assert!(taken > 10, "{taken}");
}
