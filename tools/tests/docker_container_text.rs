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

/// The long flags in a help text.
fn long_flags(help: &str) -> Vec<String> {
    let words = help.lines().filter(|line| line.starts_with("  ") && line.trim_start().starts_with('-'));
    let flag = |line: &str| line.split([' ', ',', '=']).find(|word| word.starts_with("--")).map(str::to_owned);
    words.filter_map(flag).collect()
}

/// What docker's client has and we have not is no misspelled flag.
#[test]
fn flags_of_docker_are_known_or_refused_by_their_name() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let container = [
        "attach", "commit", "cp", "create", "diff", "exec", "export", "inspect", "kill", "logs", "ls", "prune",
        "rename", "restart", "rm", "run", "start", "stop", "top", "wait",
    ];
    let volume = ["create", "inspect", "ls", "prune", "rm"];
    let commands = container.map(|verb| ("container", verb)).into_iter().chain(volume.map(|verb| ("volume", verb)));
    let client = testkit::engines::Engine::system().client;
    let (mut seen, mut refused, mut wrong) = (0, 0, Vec::new());
    for (group, verb) in commands {
        let help = std::process::Command::new(&client).args([group, verb, "--help"]).output().unwrap();
        let own = ours(&root, &[group, verb, "--help"]).ok().stdout;
        for flag in long_flags(&String::from_utf8(help.stdout).unwrap()) {
            seen += 1;
            if long_flags(&own).contains(&flag) {
                continue;
            }
            let values: &[&str] = match (group, verb) {
                (_, "ls" | "prune") => &[],
                ("volume", _) => &["nosuch"],
                _ => &["nosuch", "nosuch"],
            };
            let given = format!("{flag}=1");
            let ran = ours(&root, &[&[group, verb, &given], values].concat());
            let name = format!("{flag} is a flag of docker that is not supported here");
            if ran.code != Some(0) && ran.stderr.contains(&name) {
                refused += 1;
            } else if ran.stderr.contains(&flag) {
                wrong.push(format!("{group} {verb} {flag}: {:?} {}", ran.code, ran.stderr));
            }
        }
    }
    testkit::assert_none("flags", &wrong);
    assert!(seen > 150 && refused > 20, "{seen} {refused}");
}

/// From the image or the container on, what looks like a flag of ours is the command's.
#[test]
fn the_command_s_own_flags_are_left_to_it() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = testkit::empty_root(&dir, "root");
    let daemon = Dockerd::start_with(&root, &["--storage-driver", "overlay2"]);
    daemon.load(&testkit::golden("busybox-20.10.tar"));
    let run = ["run", "--rm=true", "--network", "none", "-ie", "A=b", "--entrypoint", "echo", IMAGE];
    let words = ["-t", "-e", "C=d", "--rm=false", "--root", "x", "--", "--privileged", "--gpus", "all"];
    let cases = [
        [&run[..], &words].concat(),
        [&run[..], &["--rm=false", "--", "x"]].concat(),
        [&run[..], &["--", "-x"]].concat(),
        [&["exec", "-e", "A=b", "one", "echo"][..], &words].concat(),
        [&["exec", "--interactive=false", "one", "echo", "--tty=false"][..]].concat(),
    ];
    daemon.ok(&["run", "-d", "--name", "one", "--network", "none", IMAGE, "sleep", "1000"]);
    let expected = cases.clone().map(|case| docker(&daemon, &case));
    daemon.ok(&["rm", "-f", "one"]);
    daemon.stop();
    ours(&root, &["run", "-d", "--name", "one", IMAGE, "sleep", "1000"]).ok();
    for (case, expected) in cases.iter().zip(expected) {
        let ran = ours(&root, case);
        assert!(expected.0 == Some(0) && expected.1.contains('-'), "{expected:?}");
        assert_eq!((ran.code, ran.stdout, ran.stderr), expected, "{case:?}");
    }
    ours(&root, &["rm", "-f", "one"]).ok();
}
