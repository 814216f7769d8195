//! Flags of `create` and `run` with values that cannot be meant: what docker's client and its daemon refuse is refused here in the
//! same words and with the same exit status, and what they take is taken.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use testkit::dockerd::Dockerd;
use testkit::registry::layerfs_anonymous;
use testkit::run::{Input, Ran, run};

const IMAGE: &str = "layerfs-test/busybox:1";

/// Where a value is a file, `@` and its name stand for it.
const FILES: [(&str, &[u8]); 4] = [
    ("nameless", b"=x\n"),
    ("spaces", b"a b=c\n"),
    ("binary", b"A=1\n\xff\n"),
    ("good", b"\xef\xbb\xbf#x\n  K=v \nUNSET\n"),
];

/// Flags with a bad value, or one that looks bad.
const VALUES: &[&[&str]] = &[
    // Values that docker's daemon looks at.
    &["--runtime", "nosuch"],
    &["--runtime", "/usr/bin/nosuch"],
    &["--runtime", "io.containerd.nosuch.v1"],
    &["--runtime", "io.containerd.runc.v2"],
    &["--runtime", ""],
    &["--mount", "type=tmpfs,src=/x,dst=/y"],
    &["--mount", "type=nosuch,dst=/y"],
    &["--mount", "type=bind,dst=/y"],
    &["--mount", "type=bind,src=rel,dst=/y"],
    &["--mount", "type=bind,src=/no/such,dst=/y"],
    &["--mount", "type=bind,src=/srv,dst=y"],
    &["--mount", "type=bind,src=/srv,dst=/y,bind-propagation=nosuch"],
    &["--mount", "type=volume,src=/abs,dst=/y"],
    &["--mount", "type=volume,src=x,dst=/y"],
    &["--mount", "type=volume,src=vv,dst=/y,volume-opt=a=b"],
    &["--mount", "type=tmpfs,dst=/y", "--mount", "type=tmpfs,dst=/y"],
    &["--mount", "type=tmpfs,dst=/y", "--tmpfs", "/y"],
    &["-v", "/srv:/y", "-v", "/srv:/y"],
    &["-v", "/srv:/y", "--tmpfs", "/y"],
    &["-v", "/srv:/b:nocopy"],
    &["-v", "vv:/b:rprivate"],
    &["-v", "vv:/b:q"],
    &["-v", "a:/b:ro"],
    &["-v", "x:/c"],
    &["-v", ".:/c"],
    &["-v", "relative"],
    &["--tmpfs", "y"],
    &["--tmpfs", "/"],
    &["--tmpfs", ""],
    &["--volumes-from", "nosuch"],
    &["--volumes-from", "nosuch:xx"],
    &["--volumes-from", ""],
    &["--volumes-from", ":ro"],
    &["--cap-add", "NOSUCH"],
    &["-m", "1"],
    &["-m", "8m", "--memory-swap", "6m"],
    &["--cpus", "-1"],
    &["--cpus", "1", "--cpu-period", "1000"],
    &["--cpus", "1", "--cpu-quota", "1000"],
    &["--cpu-period", "-1"],
    &["--cpu-quota", "-1"],
    &["--cpuset-cpus", "x"],
    &["--cpuset-cpus", "1-0"],
    &["--cpuset-mems", ","],
    &["--oom-score-adj", "1001"],
    &["--stop-signal", "NOSUCH"],
    &["--stop-signal", "99"],
    &["--stop-timeout", "-1"],
    &["--restart", "nosuch"],
    &["--restart", "always:3"],
    &["--restart", ":3"],
    &["--pid", "container:nosuch"],
    &["--ipc", "container:nosuch"],
    &["--security-opt", "nosuch=1"],
    &["--security-opt", "no-new-privileges=maybe"],
    &["--security-opt", "no-new-privileges=f"],
    &["--health-cmd", "x", "--health-interval", "1us"],
    &["--log-driver", "nosuch"],
    &["--log-opt", "nosuch=1"],
    &["--log-opt", "mode=x"],
    &["--log-opt", "mode=non-blocking"],
    &["--log-opt", "max-buffer-size=1m"],
    &["--log-opt", "mode=non-blocking", "--log-opt", "max-buffer-size=x"],
    &["--name", "a/b"],
    &["--name", "-x"],
    &["--cidfile", "/etc/passwd"],
    &["-w", "relative"],
    // Values that docker's client looks at.
    &["--sysctl", "a=b"],
    &["--sysctl", "kernel.msgmax"],
    &["--sysctl", "kernel.domainname=x"],
    &["--sysctl", "net.ipv4.nosuch=1"],
    &["--mount", "type=tmpfs"],
    &["--mount", "type=,dst=/y"],
    &["--mount", "type=tmpfs,dst=/y,tmpfs-size=-1"],
    &["--mount", "type=tmpfs,dst=/y,tmpfs-mode=9"],
    &["--mount", "type=bind,src=/srv,dst=/y,volume-nocopy"],
    &["--mount", "type=bind,src=/srv,dst=/y,ro="],
    &["--mount", "dst=/y,"],
    &["--mount", "dst=/y,\"a"],
    &["--mount", "dst=/a\"b"],
    &["--mount", "\"dst=/y\"x"],
    &["--device", ""],
    &["--device", "/dev/null:x"],
    &["--device", "/dev/null:/dev/x:q"],
    &["--device", "/dev/null:rwmm"],
    &["--device", "a:b:c:d"],
    &["--device-cgroup-rule", "c 1:3"],
    &["-m", "-1"],
    &["-m", "1e3"],
    &["--memory-swap", "x"],
    &["--memory-swappiness", "101"],
    &["--cpus", "1/2"],
    &["--cpus", "x"],
    &["--cpus", "0.00000000001"],
    &["--ulimit", "nofile=1:2:3"],
    &["--ulimit", "nofile=-1:1"],
    &["--ulimit", "nosuch=1"],
    &["--shm-size", "-1"],
    &["--restart", "on-failure:x"],
    &["--restart", "on-failure:1:2"],
    &["--rm", "--restart", "always"],
    &["--add-host", ":1.2.3.4"],
    &["--add-host", "x:y"],
    &["--dns", "1.2.3"],
    &["--dns-search", "a b"],
    &["--dns-search", "-x"],
    &["--dns-search", "a.b."],
    &["--expose", "x"],
    &["--expose", "0"],
    &["--expose", "70000"],
    &["--expose", "9-8"],
    &["--expose", ""],
    &["--expose", "80:81"],
    &["-p", "0"],
    &["-p", "x"],
    &["-p", "80/x"],
    &["-p", "1:2:3"],
    &["-p", "a:80"],
    &["-p", "80:x"],
    &["-p", ""],
    &["-p", "80:80:80:80"],
    &["-p", "80/tcp/udp"],
    &["-p", "[::1]:80:80"],
    &["-p", "8000-8002:80-81"],
    &["--mac-address", "x"],
    &["--network", ""],
    &["--pid", "nosuch"],
    &["--uts", "nosuch"],
    &["--cgroupns", "nosuch"],
    &["--security-opt", "label"],
    &["--security-opt", ""],
    &["--security-opt", "seccomp=/no/such"],
    &["--security-opt", "seccomp=/srv"],
    &["-e", ""],
    &["--env-file", "@nameless"],
    &["--env-file", "@spaces"],
    &["--env-file", "@good"],
    &["--env-file", "/srv"],
    &["-l", ""],
    &["-l", "a b"],
    &["--label-file", "@nameless"],
    &["--label-file", "@good"],
    &["--label-file", "/no/such"],
    &["-a", "x"],
    &["--health-cmd", "x", "--no-healthcheck"],
    &["--no-healthcheck", "--health-interval", "1s"],
    &["--health-interval", "-1s"],
    &["--health-retries", "-1"],
    &["--log-driver", "none", "--log-opt", "a=b"],
];

/// What was said, without who said it and where help is.
fn words(said: &Ran) -> String {
    let text = said.stderr.split("\nSee 'docker").next().unwrap_or_default().trim();
    let mut text = text.split("\nWARNING").next().unwrap_or_default();
    for who in ["layerfs: ", "docker: ", "Error response from daemon: "] {
        text = text.strip_prefix(who).unwrap_or(text);
    }
    text.trim_end_matches('.').trim_end().to_owned()
}

#[test]
fn docker_create_and_run_refuse_the_values_that_docker_refuses() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (ours, theirs) = (testkit::empty_root(&dir, "ours"), testkit::empty_root(&dir, "theirs"));
    let archive = testkit::golden("busybox-20.10.tar");
    testkit::import(&archive, &ours);
    let daemon = Dockerd::start(&theirs);
    daemon.load(&archive);
    let files = dir.path().join("files");
    std::fs::create_dir(&files).unwrap();
    for (name, content) in FILES {
        std::fs::write(files.join(name), content).unwrap();
    }
    let mut wrong = Vec::new();
    for (number, values) in VALUES.iter().enumerate() {
        let file = |value: &&str| {
            value.strip_prefix('@').map_or((*value).to_owned(), |name| files.join(name).display().to_string())
        };
        let values: Vec<String> = values.iter().map(file).collect();
        // One in eight is run, too, unless docker makes the container.
        for command in ["create", "run"] {
            let mut words_of = vec![command];
            if !values.iter().any(|value| value == "--network") {
                words_of.extend(["--network", "none"]);
            }
            words_of.extend(values.iter().map(String::as_str));
            words_of.extend([IMAGE, "true"]);
            let (theirs, ours) = (run(daemon.client(&words_of), Input::Nothing), layerfs_anonymous(&ours, &words_of));
            // Ours may say besides what helps.
            let (told, said) = (words(&theirs), words(&ours));
            let are_same = said.strip_prefix(&told).is_some_and(|rest| rest.is_empty() || rest.starts_with("; "));
            let is_same = theirs.code == ours.code && (ours.code == Some(0) || are_same);
            if !is_same {
                wrong.push(format!(
                    "{words_of:?}\n  docker {:?} {}\n  ours   {:?} {}",
                    theirs.code,
                    words(&theirs),
                    ours.code,
                    words(&ours)
                ));
            }
            if theirs.code == Some(0) || number % 8 != 0 {
                break;
            }
        }
    }
    testkit::assert_none("flags", &wrong);
}
