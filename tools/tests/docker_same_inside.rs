//! What a container sees is the same with docker, with the built-in runtime and with other runtimes; and what the commands say of it
//! is the same with all runtimes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod insidesupport;

use std::path::Path;
use std::process::Command;

use insidesupport::{DENIED, FLAGS, IMAGE, PROBE, lines, ours, root};
use testkit::dockerd::Dockerd;
use testkit::run::{Input, Ran, run, until};

const RUNTIMES: [&str; 2] = ["builtin", "runc"];

/// Who runs the probe: docker, or one of our runtimes.
#[derive(Debug, Clone, Copy)]
enum Who<'a> {
    Docker(&'a Dockerd),
    Ours(&'a Path, &'a str),
}

/// The sorted lines of the probe, and the exit status, with some flags.
fn probe(who: Who<'_>, dir: &Path, flags: &[&str]) -> (Option<i32>, Vec<String>) {
    let create = [&["create"], flags, &[IMAGE, "sh", "-c", PROBE]].concat();
    let (id, code, printed) = match who {
        Who::Ours(root, runtime) => {
            let id = ours(root, &create).ok().stdout.trim().to_owned();
            let ran = ours(root, &["start", "-a", "--runtime", runtime, &id]);
            ours(root, &["rm", "-v", &id]).ok();
            (id, ran.code, format!("{}\n{}", ran.stdout, ran.stderr))
        }
        Who::Docker(daemon) => {
            let network: &[&str] = if flags.contains(&"--network") { &[] } else { &["--network", "none"] };
            let create = [&["create"], network, &create[1..]].concat();
            let id = daemon.ok(&create).trim().to_owned();
            let ran = daemon.docker(&["start", "-a", &id]);
            daemon.ok(&["rm", "-v", &id]);
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            (id, ran.status.code(), format!("{}\n{}", text(ran.stdout), text(ran.stderr)))
        }
    };
    (code, lines(&printed, &id, dir, &["own", "dockers"]))
}

/// What docker says of a bind that is to follow the mounts of a file system that has none to pass on.
const PRIVATE: &str = "but it is not a shared or slave mount";

/// Every second set; LAYERFS_SWEEP=full: all of them, and more runtimes.
#[test]
fn a_container_sees_what_it_sees_with_docker() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let (own, dockers) = (root(&dir, "own"), root(&dir, "dockers"));
    let daemon = Dockerd::start_with(&dockers, &["--storage-driver", "overlay2"]);
    let shared = dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let shared = shared.display().to_string();
    let mut runtimes = vec!["builtin", "runc"];
    if testkit::full_sweep() {
        runtimes.extend(["crun"].into_iter().filter(|name| has(&own, name)));
    }
    let mut differences = Vec::new();
    for (number, flags) in FLAGS.iter().enumerate() {
        // LAYERFS_FLAGS=WORD: only the sets that have it.
        let wanted = match std::env::var("LAYERFS_FLAGS") {
            Ok(word) => flags.contains(&word.as_str()),
            Err(_) => testkit::full_sweep() || number % 2 == 0,
        };
        if !wanted {
            continue;
        }
        let flags: Vec<String> = flags.iter().map(|flag| flag.replace("DIR", &shared)).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (expected_code, expected) = probe(Who::Docker(&daemon), dir.path(), &flags);
        // What the host itself has no right to, it cannot give: then nobody starts the container, for the same reason.
        let is_denied = |lines: &[String]| lines.iter().any(|line| line.contains(DENIED));
        // Nor does anybody pass mounts on that are nobody's but the host's: that depends on where the test has its directory.
        let is_private = |lines: &[String]| lines.iter().any(|line| line.contains(PRIVATE));
        if is_private(&expected) {
            for runtime in &runtimes {
                let (code, lines) = probe(Who::Ours(&own, runtime), dir.path(), &flags);
                if !is_private(&lines) || code == Some(0) {
                    differences.push(format!("{flags:?} with {runtime} is refused by docker: {code:?} {lines:?}"));
                }
            }
            continue;
        }
        let tells = expected.len() > 60 || flags.contains(&"--entrypoint") || is_denied(&expected);
        assert!(tells, "{flags:?} tells nothing: {expected:?}");
        for runtime in &runtimes {
            let (code, lines) = probe(Who::Ours(&own, runtime), dir.path(), &flags);
            if is_denied(&expected) && is_denied(&lines) && code == expected_code {
                continue;
            }
            let only = |some: &[String], others: &[String]| -> Vec<String> {
                some.iter().filter(|line| !others.contains(line)).cloned().collect()
            };
            if (code, &lines) != (expected_code, &expected) {
                let (here, there) = (only(&lines, &expected), only(&expected, &lines));
                differences.push(format!(
                    "{flags:?} with {runtime}: {code:?} {here:#?}\n  docker: {expected_code:?} {there:#?}"
                ));
            }
        }
    }
    // Later processes, too.
    let id = daemon.ok(&["run", "-d", "--network", "none", IMAGE, "sleep", "1000"]).trim().to_owned();
    let shown = "id; pwd; env; grep -E '^(Cap|Seccomp|NoNew|Groups)' /proc/self/status; cat /proc/self/limits";
    let all = [
        &[][..],
        &["-u", "5:7"],
        &["-u", "0"],
        &["--privileged"],
        &["-u", "5", "--privileged"],
        &["-w", "/tmp", "-e", "A=b"],
    ];
    for runtime in &runtimes {
        let own_id =
            ours(&own, &["run", "-d", "--runtime", runtime, IMAGE, "sleep", "1000"]).ok().stdout.trim().to_owned();
        for flags in all {
            let words = |id: &str| -> Vec<String> {
                [&["exec"], flags, &[id, "sh", "-c", shown]].concat().into_iter().map(str::to_owned).collect()
            };
            let (own_words, words) = (words(&own_id), words(&id));
            let as_words =
                |words: &[String]| -> Ran { ours(&own, &words.iter().map(String::as_str).collect::<Vec<_>>()) };
            let one = as_words(&own_words);
            let two = daemon.docker(&words.iter().map(String::as_str).collect::<Vec<_>>());
            let two_text = String::from_utf8_lossy(&two.stdout).replace(&id[..12], "SHORT");
            let one_text = one.stdout.replace(&own_id[..12], "SHORT");
            let denied = |text: &str| text.contains(DENIED);
            if denied(&one.stderr) && denied(&two_text) && one.code != Some(0) && !two.status.success() {
                continue;
            }
            if (one.code, &one_text) != (two.status.code(), &two_text) {
                differences
                    .push(format!("exec {flags:?} with {runtime}: {one_text}{}\n  docker: {two_text}", one.stderr));
            }
        }
        ours(&own, &["rm", "-f", &own_id]).ok();
    }
    daemon.ok(&["rm", "-f", &id]);
    daemon.stop();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Whether a runtime is installed and works on this machine.
fn has(root: &Path, runtime: &str) -> bool {
    ours(root, &["run", "--rm", "--runtime", runtime, IMAGE, "true"]).code == Some(0)
}

/// What the commands print and how they end, in the order in which somebody uses them.
fn verbs(root: &Path, runtime: &str) -> Vec<String> {
    let script = "trap 'echo term; exit 5' TERM; echo begun; echo err >&2; while :; do sleep 0.05; done";
    let mut said = Vec::new();
    let mut id = String::new();
    for words in [
        &["run", "--runtime", runtime, "--rm", IMAGE, "true"][..],
        &["run", "--runtime", runtime, "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3"],
        &["run", "--runtime", runtime, "--rm", "-t", IMAGE, "sh", "-c", "tty; exit 7"],
        &["run", "--runtime", runtime, "--rm", "-u", "nosuch", IMAGE, "true"],
        &["run", "--runtime", runtime, "--rm", IMAGE, "/etc"],
        &["run", "--runtime", runtime, "--rm", IMAGE, "nosuch"],
        &["ps", "-a", "-q"],
        &["run", "--runtime", runtime, "-d", "--name", "one", IMAGE, "sh", "-c", script],
        &["exec", "one", "sh", "-c", "until kill -0 1; do :; done; echo $$ | wc -l; exit 7"],
        &[
            "exec",
            "-w",
            "/tmp",
            "-e",
            "A=b",
            "one",
            "sh",
            "-c",
            "pwd; env; id; grep -E 'Cap|Seccomp|NoNew' /proc/self/status",
        ],
        &["exec", "one", "cat", "/proc/self/cgroup", "/proc/1/cgroup"],
        &["exec", "-t", "one", "tty"],
        &["exec", "-u", "5:7", "-e", "HOSTNAME", "one", "sh", "-c", "id; env; grep -E 'Cap|NoNew' /proc/self/status"],
        &["exec", "-u", "nosuch", "one", "true"],
        &["exec", "-d", "one", "sh", "-c", "echo done > /done"],
        &["exec", "one", "sh", "-c", "until [ -s /done ]; do sleep 0.01; done; cat /done"],
        &["exec", "-d", "one", "nosuch"],
        &["exec", "one", "/etc"],
        &["exec", "one", "nosuch"],
        &["rm", "one"],
        &["stop", "one"],
        &["ps", "-a", "--format", "{{.Names}} {{.State}}"],
        &["exec", "one", "true"],
        &["logs", "one"],
        &["wait", "one"],
        &["start", "--runtime", runtime, "one"],
        &["kill", "one"],
        &["wait", "one"],
        &["start", "--runtime", runtime, "one"],
        &["rm", "-f", "one"],
        &["ps", "-a", "-q"],
    ] {
        let ran = ours(root, words);
        if words[..1] == ["run"] && words.contains(&"-d") {
            id = ran.stdout.trim().to_owned();
            // Before its trap is set, a shell of number 1 hears no signal.
            assert!(until(|| ours(root, &["logs", "one"]).stdout == "begun\n"), "{}", ran.stderr);
        }
        // runc's own words stand before those that are docker's.
        let own = ["runc create failed: ", "unable to start container process: ", "exec failed: "];
        let errors: Vec<String> = ran
            .stderr
            .lines()
            .map(|line| own.iter().fold(line.to_owned(), |line, own| line.replace(own, "")))
            .collect();
        said.push(format!("{:?}: {:?} {:?} {errors:?}", &words[..1], ran.code, ran.stdout).replace(runtime, "RUNTIME"));
        if !id.is_empty() {
            said.iter_mut().for_each(|text| *text = text.replace(&id, "ID").replace(&id[..12], "SHORT"));
        }
    }
    said
}

#[test]
fn the_commands_say_what_they_say_with_runc() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir, "root");
    let [said, expected] = RUNTIMES.map(|runtime| verbs(&root, runtime));
    let differing: Vec<_> = said.iter().zip(&expected).filter(|(one, two)| one != two).collect();
    assert!(differing.is_empty() && said.len() == expected.len(), "{differing:#?}");
    let code = |verb: &str| -> Vec<String> {
        let of = expected.iter().filter(|text| text.starts_with(&format!("[{verb:?}]")));
        of.map(|text| text.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    let some = |codes: &[i32]| -> Vec<String> { codes.iter().map(|code| format!("Some({code})")).collect() };
    assert_eq!(code("run"), some(&[0, 3, 7, 125, 126, 127, 0]));
    assert_eq!(code("exec"), some(&[7, 0, 0, 0, 0, 1, 0, 0, 127, 126, 127, 1]));
    assert!(expected.iter().any(|text| text.contains(r#""5\n""#)), "the trap has run: {expected:#?}");
}

/// `runc` stands in a directory where it is found without `PATH`, so that it is covered there.
#[test]
fn where_no_runtime_is_installed_our_own_is_taken() {
    let Some(_turn) = testkit::docker() else { return };
    let dir = testkit::scratch();
    let root = root(&dir, "root");
    let script = r#"
        program=$1 root=$2 image=$3
        for dir in /usr/local/sbin /usr/sbin /sbin; do
          for name in crun runc youki; do [ ! -e $dir/$name ] || mount --bind /dev/null $dir/$name; done
        done
        layerfs() { env PATH=/nowhere "$program" --root "$root" "$@"; }
        layerfs run --rm --runtime runc $image true; echo $?
        layerfs run --rm --runtime auto $image sh -c 'echo ran; exit 3'; echo $?
        id=$(layerfs run -d $image sleep 100)
        cat /run/layerfs/$id/runtime; echo
        layerfs exec $id echo inside; layerfs rm -f $id >/dev/null; echo $?
        layerfs create --name unstarted $image true >/dev/null
        id=$(layerfs container inspect -f '{{.Id}}' unstarted)
        layerfs start --runtime runc unstarted; echo $?
        [ ! -e /run/layerfs/$id ] && echo nothing stays
    "#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(testkit::program("layerfs")).arg(&root).arg(IMAGE);
    let ran = run(command, Input::Nothing);
    assert_eq!(ran.stdout, "125\nran\n3\nbuiltin\ninside\n0\n1\nnothing stays\n", "{}", ran.stderr);
    assert!(ran.stderr.contains("Unknown runtime specified runc"), "{}", ran.stderr);
}
