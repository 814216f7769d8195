//! Containers that were made, run, stopped and killed here: a real dockerd adopts them, and says of them what it says of its own
//! that were made with the same flags. And the other way round.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use testkit::dockerd::Dockerd;
use testkit::run::{Input, Ran, layerfs, run, until};

const IMAGE: &str = "layerfs-test/busybox:1";

/// Flags and command of containers that only are made.
const CREATED: &[&[&str]] = &[
    &["IMAGE"],
    &["IMAGE", "sh", "-c", "echo <a> & 'b'"],
    &["-e", "A=1", "-e", "B=x=y", "-e", "A=2", "IMAGE", "env"],
    &["-w", "/work/dir", "IMAGE", "pwd"],
    &["-u", "1:2", "IMAGE", "id"],
    &["--entrypoint", "/bin/echo", "IMAGE", "x", "y"],
    &["-i", "IMAGE", "cat"],
    &["-t", "IMAGE", "tty"],
    &["-i", "-t", "IMAGE", "sh"],
    &["--label", "a=b", "--label", "c", "IMAGE", "true"],
    &["--hostname", "box", "--domainname", "dom.example", "IMAGE", "hostname"],
    &["--read-only", "IMAGE", "true"],
    &["--tmpfs", "/t", "--tmpfs", "/u:size=1m,exec", "IMAGE", "mount"],
    &["--cap-add", "NET_ADMIN", "--cap-drop", "mknod", "IMAGE", "true"],
    &["--cap-add", "ALL", "IMAGE", "true"],
    &["--privileged", "IMAGE", "true"],
    &["--security-opt", "seccomp=unconfined", "IMAGE", "true"],
    &["--security-opt", "no-new-privileges", "IMAGE", "true"],
    &["--security-opt", "systempaths=unconfined", "IMAGE", "true"],
    &["--pid", "host", "IMAGE", "true"],
    &["--ipc", "host", "IMAGE", "true"],
    &["--ipc", "none", "IMAGE", "true"],
    &["--uts", "host", "IMAGE", "true"],
    &["-m", "64m", "IMAGE", "true"],
    &["--cpus", ".5", "--cpu-shares", "512", "--cpuset-cpus", "0", "IMAGE", "true"],
    &["--pids-limit", "50", "IMAGE", "true"],
    &["--ulimit", "nofile=10:20", "--ulimit", "core=0", "IMAGE", "true"],
    &["--shm-size", "1m", "IMAGE", "df"],
    &["--device", "/dev/null:/dev/x:rw", "IMAGE", "true"],
    &["--device-cgroup-rule", "c 1:3 rwm", "IMAGE", "true"],
    &["--init", "IMAGE", "true"],
    &["--sysctl", "net.core.somaxconn=99", "IMAGE", "true"],
    &["--group-add", "7", "--group-add", "wheel", "IMAGE", "id"],
    &["--cgroup-parent", "/foo", "--oom-score-adj", "100", "IMAGE", "true"],
    &["--stop-signal", "USR1", "--stop-timeout", "3", "IMAGE", "true"],
    &["--health-cmd", "true", "--health-interval", "1m30s", "--health-retries", "2", "IMAGE", "true"],
    &["--no-healthcheck", "IMAGE", "true"],
    &["--expose", "80", "--expose", "90-92/udp", "-p", "127.0.0.1:8080:81", "IMAGE", "true"],
    &["--restart", "on-failure:3", "IMAGE", "true"],
    &["--log-opt", "max-size=1k", "--log-opt", "max-file=3", "IMAGE", "true"],
    &["--dns", "9.9.9.9", "--dns-search", "s.example", "--dns-option", "ndots:1", "IMAGE", "true"],
    &["--add-host", "h:1.2.3.4", "IMAGE", "cat", "/etc/hosts"],
    &["-v", "/anonymous", "IMAGE", "true"],
    &["-v", "named:/n:ro", "-v", "/srv:/s", "IMAGE", "true"],
    &["--mount", "type=bind,source=/srv,target=/s,readonly", "IMAGE", "true"],
    &["--mount", "type=volume,source=other,target=/o", "IMAGE", "true"],
    &["--mount", "type=tmpfs,target=/m,tmpfs-size=1m,tmpfs-mode=1770", "IMAGE", "true"],
];

fn ours(root: &Path, arguments: &[&str]) -> Ran {
    let mut all = vec!["--root", root.to_str().unwrap()];
    all.extend(arguments);
    run(layerfs(&all), Input::Nothing)
}

/// Values of an inspection that are drawn, or times.
fn without_drawn(value: &mut Value, id: &str, root: &str) {
    match value {
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                match key.as_str() {
                    "Created" | "StartedAt" | "FinishedAt" | "Pid" | "LowerDir" | "UpperDir" | "MergedDir"
                    | "WorkDir" | "NetworkID" | "EndpointID" | "SandboxID" | "SandboxKey" => *value = Value::Null,
                    // What docker says around the reason.
                    "Error" => {
                        let text = value.as_str().unwrap_or_default();
                        let reason =
                            text.rsplit_once("unable to start container process: ").map_or(text, |(_, why)| why);
                        *value = reason.trim_end_matches(": unknown").into();
                    }
                    // Docker goes through what is in no order: mount points, and the flags with variables.
                    "Mounts" | "Binds" | "Env" => {
                        without_drawn(value, id, root);
                        value.as_array_mut().into_iter().for_each(|all| all.sort_by_key(ToString::to_string));
                    }
                    _ => without_drawn(value, id, root),
                }
            }
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| without_drawn(value, id, root));
        }
        Value::String(text) => {
            let shown = text.replace(id, "ID").replace(&id[..12], "SHORT").replace(root, "ROOT");
            // The name of an anonymous volume.
            let drawn = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let parts: Vec<&str> = shown.split('/').map(|part| if drawn(part) { "DRAWN" } else { part }).collect();
            *text = parts.join("/");
        }
        _ => {}
    }
}

fn inspection(daemon: &Dockerd, name: &str, root: &Path) -> Value {
    let mut all: Value = serde_json::from_str(&daemon.ok(&["container", "inspect", name])).unwrap();
    let mut one = all[0].take();
    let id = one["Id"].as_str().unwrap().to_owned();
    without_drawn(&mut one, &id, root.to_str().unwrap());
    one
}

/// A root with the image in it.
fn root(dir: &tempfile::TempDir, name: &str) -> std::path::PathBuf {
    let root = testkit::empty_root(dir, name);
    let archive = testkit::golden("busybox-20.10.tar");
    ours(&root, &["load", "-q", "-i", archive.to_str().unwrap()]).ok();
    root
}

fn with_image<'a>(words: &[&'a str]) -> Vec<&'a str> {
    words.iter().map(|word| if *word == "IMAGE" { IMAGE } else { *word }).collect()
}

/// What is in both files of each container.
fn files(root: &Path) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(root.join("containers")).unwrap() {
        for name in ["config.v2.json", "hostconfig.json"] {
            let path = entry.as_ref().unwrap().path().join(name);
            all.push((path.display().to_string(), std::fs::read_to_string(path).unwrap()));
        }
    }
    all.sort();
    all
}

/// dockerd writes our files as they were; the first that it does not is shown.
fn expect_files(root: &Path, before: &[(String, String)]) {
    let now = files(root);
    assert_eq!(now.len(), before.len());
    for (then, now) in before.iter().zip(&now) {
        assert_eq!(now, then);
    }
}

#[test]
fn dockerd_adopts_what_was_made_here() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (own, dockers) = (root(&dir, "own"), root(&dir, "dockers"));
    let name = |number: usize| format!("made{number}");
    for (number, words) in CREATED.iter().enumerate() {
        let name = name(number);
        let mut arguments = vec!["create", "--name", &name];
        arguments.extend(with_image(words));
        ours(&own, &arguments).ok();
    }
    // Some that have run.
    let ran = [("ended", "exit 3", 3), ("wrote", "echo out; echo err >&2; echo x > /file", 0)];
    for (name, script, code) in ran {
        let done = ours(&own, &["run", "--name", name, IMAGE, "sh", "-c", script]);
        assert_eq!(done.code, Some(code), "{}", done.stderr);
    }
    ours(&own, &["run", "-d", "--name", "stopped", IMAGE, "sleep", "100"]).ok();
    ours(&own, &["stop", "-t", "0", "stopped"]).ok();
    ours(&own, &["run", "-d", "--name", "killed", IMAGE, "sleep", "100"]).ok();
    ours(&own, &["kill", "killed"]).ok();
    assert_eq!(ours(&own, &["run", "--rm", IMAGE, "true"]).ok().stdout, "");
    let before = files(&own);
    let daemon = Dockerd::start_with(&own, &["--storage-driver", "overlay2"]);
    let other = Dockerd::start_with(&dockers, &["--storage-driver", "overlay2"]);
    expect_files(&own, &before);
    let mut differences = Vec::new();
    for (number, words) in CREATED.iter().enumerate() {
        let name = name(number);
        let mut arguments = vec!["create", "--network", "none", "--name", &name];
        arguments.extend(with_image(words));
        other.ok(&arguments);
        let (one, two) = (inspection(&daemon, &name, &own), inspection(&other, &name, &dockers));
        if one != two {
            differences.push(format!("{words:?}:{}", differing(&one, &two)));
        }
    }
    assert!(differences.is_empty(), "ours and docker's:\n{}", differences.join("\n"));
    for (name, script, _) in ran {
        other.docker(&["run", "--network", "none", "--name", name, IMAGE, "sh", "-c", script]);
        let state = |daemon: &Dockerd| daemon.ok(&["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", name]);
        assert_eq!(state(&daemon), state(&other));
        let said = |daemon: &Dockerd| {
            let said = daemon.docker(&["logs", name]);
            (String::from_utf8(said.stdout).unwrap(), String::from_utf8(said.stderr).unwrap())
        };
        assert_eq!(said(&daemon), said(&other));
        assert_eq!(daemon.ok(&["diff", name]), other.ok(&["diff", name]));
    }
    let states = daemon.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}} {{.Status}}"]);
    assert!(states.contains("stopped exited Exited (137)"), "{states}");
    assert!(states.contains("killed exited Exited (137)"), "{states}");
    assert!(states.contains("made0 created Created"), "{states}");
    assert_eq!(daemon.ok(&["diff", &name(0)]), "");
    // They start, and are committed and removed.
    daemon.ok(&["start", "wrote"]);
    daemon.ok(&["wait", "wrote"]);
    assert_eq!(daemon.ok(&["logs", "wrote"]), "out\nout\n");
    daemon.ok(&["start", "stopped"]);
    assert_eq!(daemon.ok(&["exec", "stopped", "echo", "inside"]), "inside\n");
    daemon.ok(&["commit", "wrote", "committed:1"]);
    assert_eq!(daemon.ok(&["run", "--rm", "--network", "none", "committed:1", "cat", "/file"]), "x\n");
    daemon.remove_everything();
    daemon.stop();
    other.stop();
    assert_eq!(std::fs::read_dir(own.join("overlay2")).unwrap().count(), 1, "only the directory of links is left");
}

/// How a container comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    ByItself,
    Stopped,
    Killed,
}

/// The flags and the command of a set, where a container that is to be stopped runs until then.
fn words_for<'a>(words: &[&'a str], end: End) -> Vec<&'a str> {
    let image = words.iter().position(|word| *word == "IMAGE").unwrap();
    let mut all = with_image(words);
    if end != End::ByItself {
        all.truncate(image + 1);
        all.extend(["sh", "-c", "echo up; exec sleep 1000"]);
    }
    all
}

/// The sets to run, and how each ends; LAYERFS_SWEEP=full: all of them.
fn to_run() -> Vec<(usize, &'static [&'static str], End)> {
    let ends = [End::ByItself, End::Stopped, End::Killed];
    let all = CREATED.iter().enumerate().map(|(number, words)| {
        // A dockerd that starts runs again at once what has failed under such a policy, also if somebody has killed it.
        let is_restarted = words.contains(&"--restart");
        let takes_its_own = words.contains(&"--entrypoint") || is_restarted;
        // What reads an input that nobody ends does not end by itself.
        let reads = words.contains(&"-i") && ends[number % 3] == End::ByItself;
        let end = if reads { End::Stopped } else { ends[number % 3] };
        (number, *words, if takes_its_own { End::ByItself } else { end })
    });
    // Debian's kernel here has no rights over the CPUs of a container, and health is docker's business while one runs.
    let step = if testkit::full_sweep() { 1 } else { 4 };
    all.filter(|(number, ..)| number % step == 0).collect()
}

/// Makes, starts and ends a container with the words of one program, by name. Returns what is said at the end.
fn live(say: &dyn Fn(&[&str]) -> Ran, create: &[&str], name: &str, end: End) -> String {
    say(create).ok();
    // The host may not be able to give what is asked for, or the image has no such group.
    let started = say(&["start", name]);
    if started.code != Some(0) {
        return format!("not started: {:?}", started.code);
    }
    // Before the program has taken its place, runc itself hears the signal.
    let is_up = || end == End::ByItself || say(&["logs", name]).stdout.trim() == "up";
    assert!(until(is_up), "{name}");
    match end {
        End::ByItself => {}
        End::Stopped => drop(say(&["stop", "-t", "0", name]).ok()),
        End::Killed => drop(say(&["kill", name]).ok()),
    }
    say(&["wait", name]).ok().stdout
}

/// What a command has printed, without what docker draws or the host decides; `program` is what ran in the container.
fn comparable(what: &str, program: &str, printed: &str) -> Vec<String> {
    // How an overlay is mounted is the kernel's business, and its directories are drawn.
    let lines = printed.lines().filter(|line| !line.starts_with("overlay on / "));
    let mut lines: Vec<String> = match (what, program) {
        // The order of mounts, and the names of anonymous volumes.
        ("ps", _) => {
            let is_drawn = |part: &str| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
            let mounts = |word: &str| {
                let mut all: Vec<&str> = word.split(',').map(|one| if is_drawn(one) { "DRAWN" } else { one }).collect();
                all.sort_unstable();
                all.join(",")
            };
            lines.map(|line| line.split(' ').map(mounts).collect::<Vec<_>>().join(" ")).collect()
        }
        ("commit", _) => lines
            .map(|line| {
                let mut value: Value = serde_json::from_str(line).unwrap();
                let env = value.get_mut("Env").and_then(Value::as_array_mut);
                env.into_iter().for_each(|all| all.sort_by_key(ToString::to_string));
                value.to_string()
            })
            .collect(),
        // How much room there is.
        (_, "df") => lines.map(|line| format!("{:?}", line.split_whitespace().next())).collect(),
        _ => lines.map(str::to_owned).collect(),
    };
    // In which order dockerd mounts several of one kind is drawn, and so is that of the directories that it makes for them.
    if program == "mount" || what == "diff" {
        lines.sort_unstable();
    }
    lines
}

/// A command of docker's client, as one of ours is run.
fn client(daemon: &Dockerd, words: &[&str]) -> Ran {
    run(daemon.client(words), Input::Nothing)
}

#[test]
fn dockerd_says_of_what_ran_here_what_it_says_of_its_own() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (own, dockers) = (root(&dir, "own"), root(&dir, "dockers"));
    let name = |number: usize| format!("ran{number}");
    let mut ended = Vec::new();
    for (number, words, end) in to_run() {
        let name = name(number);
        let create = [&["create", "--name", &name], &words_for(words, end)[..]].concat();
        ended.push(live(&|words: &[&str]| ours(&own, words), &create, &name, end));
    }
    let before = files(&own);
    let daemon = Dockerd::start_with(&own, &["--storage-driver", "overlay2"]);
    let other = Dockerd::start_with(&dockers, &["--storage-driver", "overlay2"]);
    expect_files(&own, &before);
    let mut differences = Vec::new();
    for ((number, words, end), ended) in to_run().into_iter().zip(ended) {
        let name = name(number);
        let words_of = words.last().copied().unwrap_or_default();
        let create = [&["create", "--network", "none", "--name", &name], &words_for(words, end)[..]].concat();
        let expected = live(&|words: &[&str]| client(&other, words), &create, &name, end);
        let mut differ = |what: &str, one: String, two: String| {
            if one != two {
                differences.push(format!("{words:?}, {end:?}, {what}: {one} / {two}"));
            }
        };
        differ("exit code", ended, expected);
        let (one, two) = (inspection(&daemon, &name, &own), inspection(&other, &name, &dockers));
        differ("inspect", differing(&one, &two), String::new());
        // What we say of it is what the daemon says.
        let here: Value = serde_json::from_str(&ours(&own, &["container", "inspect", &name]).ok().stdout).unwrap();
        let there: Value = serde_json::from_str(&daemon.ok(&["container", "inspect", &name])).unwrap();
        let sorted = |value: &Value| {
            let mut one = value[0].clone();
            let id = one["Id"].as_str().unwrap().to_owned();
            without_drawn(&mut one, &id, own.to_str().unwrap());
            one
        };
        differ("our inspect", differing(&sorted(&here), &sorted(&there)), String::new());
        let mut both = |what: &str, words: &[&str]| {
            let [one, two] = [(&daemon, &own), (&other, &dockers)].map(|(daemon, root)| {
                let ran = client(daemon, words);
                let id = daemon.docker(&["inspect", "-f", "{{.Id}}", &name]).stdout;
                let id = String::from_utf8(id).unwrap().trim().to_owned();
                let lines = comparable(what, words_of, &ran.stdout);
                let said = format!("{:?} {lines:?} {:?}", ran.code, ran.stderr);
                let said = said.replace(root.to_str().unwrap(), "ROOT");
                if id.is_empty() { said } else { said.replace(&id, "ID").replace(&id[..12], "SHORT") }
            });
            differ(what, one, two);
        };
        both("ps", &["ps", "-a", "--no-trunc", "--filter", &format!("name=^/{name}$"), "--format", PS]);
        both("logs", &["logs", &name]);
        both("diff", &["diff", &name]);
        let is_started = daemon.docker(&["start", &name]).status.success();
        assert_eq!(is_started, other.docker(&["start", &name]).status.success(), "{words:?}");
        if !is_started {
            continue;
        }
        if end == End::ByItself {
            both("wait", &["wait", &name]);
        } else {
            both("exec", &["exec", &name, "sh", "-c", "id; pwd; grep Cap /proc/self/status; cat /proc/1/cmdline"]);
            both("stop", &["stop", "-t", "0", &name]);
        }
        both("logs again", &["logs", &name]);
        daemon.ok(&["commit", &name, &format!("{name}:made")]);
        other.ok(&["commit", &name, &format!("{name}:made")]);
        let format = "{{json .Config}}\n{{len .RootFS.Layers}}";
        both("commit", &["image", "inspect", "-f", format, &format!("{name}:made")]);
        both("rm", &["rm", "-v", &name]);
    }
    daemon.remove_everything();
    daemon.stop();
    other.stop();
    assert!(differences.is_empty(), "ours and docker's:\n{}", differences.join("\n"));
    assert_eq!(std::fs::read_dir(own.join("overlay2")).unwrap().count(), 1, "only the directory of links is left");
}

/// What `ps` says, but for times and for labels, whose order is drawn.
const PS: &str = "{{.Names}} {{.Image}} {{.Command}} {{.State}} {{.Ports}} {{.Mounts}} {{.Networks}}";

fn differing(one: &Value, two: &Value) -> String {
    match (one, two) {
        (Value::Object(one), Value::Object(two)) => {
            let keys: std::collections::BTreeSet<&String> = one.keys().chain(two.keys()).collect();
            let nothing = Value::String("(nothing)".into());
            let value = |of: &serde_json::Map<String, Value>, key: &str| {
                of.get(key).cloned().unwrap_or_else(|| nothing.clone())
            };
            let all = keys.into_iter().filter(|key| one.get(*key) != two.get(*key));
            all.map(|key| format!(" {key}{}", differing(&value(one, key), &value(two, key)))).collect()
        }
        (one, two) => format!(": {one} / {two}"),
    }
}

#[test]
fn what_dockerd_left_is_settled_and_runs_here() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir, "root");
    let daemon = Dockerd::start(&root);
    daemon.ok(&["create", "--network", "none", "--name", "made", "-v", "/v", IMAGE, "echo", "hello"]);
    daemon.docker(&["run", "--network", "none", "--name", "ran", IMAGE, "sh", "-c", "echo one; exit 4"]);
    daemon.stop();
    let before = files(&root);
    ours(&root, &["rename", "made", "other"]).ok();
    ours(&root, &["rename", "other", "made"]).ok();
    assert_eq!(files(&root), before, "we write docker's files as they were");
    assert_eq!(ours(&root, &["start", "-a", "made"]).ok().stdout, "hello\n");
    let again = ours(&root, &["start", "-a", "ran"]);
    assert_eq!((again.code, again.stdout.as_str()), (Some(4), "one\n"));
    assert_eq!(ours(&root, &["logs", "ran"]).ok().stdout, "one\none\n");
    assert_eq!(ours(&root, &["rm", "-v", "made", "ran"]).ok().stdout, "made\nran\n");
    assert_eq!(ours(&root, &["volume", "ls", "-q"]).ok().stdout, "");
}

/// A daemon that was killed leaves its containers running. They are called running, nothing here touches them, and when they have
/// ended, the store says so.
#[test]
fn what_a_killed_daemon_left_running_is_left_alone() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir, "root");
    let mut daemon = Dockerd::start(&root);
    let id = daemon.ok(&["run", "-d", "--network", "none", "--name", "runs", IMAGE, "sleep", "1000"]);
    daemon.docker(&["run", "--network", "none", "--name", "ended", IMAGE, "sh", "-c", "echo one; exit 4"]);
    let pid = daemon.ok(&["inspect", "-f", "{{.State.Pid}}", "runs"]).trim().to_owned();
    daemon.kill();
    let states = || ours(&root, &["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok().stdout;
    assert_eq!(states(), "ended exited\nruns running\n");
    let is_alive = || std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"sleep"));
    let before = files(&root);
    for words in [
        &["start", "runs"][..],
        &["start", "ended"],
        &["rm", "-f", "runs"],
        &["rm", "ended"],
        &["stop", "-t", "0", "runs"],
        &["kill", "runs"],
        &["restart", "runs"],
        &["exec", "runs", "true"],
        &["attach", "runs"],
        &["rename", "runs", "other"],
        &["run", "--rm", IMAGE, "true"],
        &["container", "prune", "-f"],
    ] {
        let refused = ours(&root, words);
        assert!(!matches!(refused.code, Some(0) | None), "{words:?}: {}", refused.stdout);
        let told = ["is mounted", "is in use", "not started here", "is not running", "docker"];
        assert!(told.iter().any(|text| refused.stderr.contains(text)), "{words:?}: {}", refused.stderr);
        assert!(is_alive(), "{words:?} has ended a container of docker's");
    }
    assert_eq!(files(&root), before);
    // What can be read is read.
    assert_eq!(ours(&root, &["logs", "ended"]).ok().stdout, "one\n");
    let running = ours(&root, &["inspect", "-f", "{{.State.Running}} {{.State.Pid}}", "runs"]).ok().stdout;
    assert_eq!(running.trim(), format!("true {pid}"));
    // The machine has stopped since.
    daemon.stop();
    assert!(until(|| !is_alive()));
    assert_eq!(states(), "ended exited\nruns interrupted\n", "{id}");
    ours(&root, &["rename", "runs", "ran"]).ok();
    let settled = ours(&root, &["inspect", "-f", "{{.State.Status}} {{.State.ExitCode}} {{.State.Pid}}", "ran"]);
    assert_eq!(settled.ok().stdout.trim(), "exited 255 0");
    ours(&root, &["start", "ran"]).ok();
    ours(&root, &["rm", "-f", "ran", "ended"]).ok();
    assert!(std::fs::read_dir(root.join("containers")).unwrap().next().is_none());
}

#[test]
fn a_killed_monitor_leaves_nothing_for_long() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir, "root");
    let id = ours(&root, &["run", "-d", "--name", "one", IMAGE, "sleep", "100"]).ok().stdout.trim().to_owned();
    let refused = ours(&root, &["rm", "one"]);
    assert!(refused.stderr.contains(&format!("You cannot remove a running container {id}.")), "{}", refused.stderr);
    let pid: i32 = std::fs::read_to_string(root.join("containers").join(&id).join("config.v2.json"))
        .ok()
        .and_then(|text| serde_json::from_str::<Value>(&text).ok()?["State"]["Pid"].as_i64())
        .and_then(|pid| i32::try_from(pid).ok())
        .unwrap();
    let parent = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let parent = parent.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().to_owned();
    assert!(std::fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap().contains(&id));
    assert!(Command::new("kill").args(["-9", &parent]).status().unwrap().success());
    assert!(until(|| std::fs::read_to_string(format!("/proc/{parent}/cmdline")).unwrap_or_default().is_empty()));
    ours(&root, &["create", "--name", "two", IMAGE]).ok();
    // One that has ended and that nobody has waited for yet has no command line.
    let left = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    assert_eq!(left, "", "the container's process is gone");
    let listed = ours(&root, &["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok().stdout;
    assert_eq!(listed, "two created\none exited\n");
    assert!(!Path::new("/run/layerfs").join(&id).exists());
    ours(&root, &["rm", "one", "two"]).ok();
    assert!(std::fs::read_dir(root.join("containers")).unwrap().next().is_none());
}

#[test]
fn many_at_once_leave_nothing() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir, "root");
    let layers = std::fs::read_dir(root.join("overlay2")).unwrap().count();
    std::thread::scope(|scope| {
        for number in 0..20 {
            let root = &root;
            scope.spawn(move || {
                let done = ours(root, &["run", "--rm", "-v", "/v", IMAGE, "sh", "-c", &format!("exit {number}")]);
                assert_eq!(done.code, Some(number), "{}", done.stderr);
            });
        }
    });
    assert!(std::fs::read_dir(root.join("containers")).unwrap().next().is_none());
    assert!(std::fs::read_dir(root.join("volumes")).unwrap().next().is_none());
    assert_eq!(std::fs::read_dir(root.join("overlay2")).unwrap().count(), layers);
    assert_eq!(std::fs::read_dir(root.join("image/overlay2/layerdb/mounts")).unwrap().count(), 0);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(root.to_str().unwrap()), "{mounts}");
}
