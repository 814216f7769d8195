//! What a container sees is the same with crun and with the built-in runtime, but for what is listed here.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod insidesupport;

use std::path::Path;
use std::process::Command;

use insidesupport::{DENIED, FLAGS, IMAGE, PROBE, lines, root};
use testkit::run::{Input, Ran, run};

/// `layerfs`, where crun works: it refuses control groups of both versions at once, so that of the second is taken away for it.
fn layerfs(root: &Path, arguments: &[&str]) -> Ran {
    let script = "umount /sys/fs/cgroup/unified 2>/dev/null; exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh"]).arg(testkit::program("layerfs")).arg("--root").arg(root);
    command.args(arguments);
    run(command, Input::Nothing)
}

/// The exit status and the sorted lines of the probe.
fn probe(root: &Path, dir: &Path, runtime: &str, flags: &[&str]) -> (Option<i32>, Vec<String>) {
    let create = [&["create"], flags, &[IMAGE, "sh", "-c", PROBE]].concat();
    let id = layerfs(root, &create).ok().stdout.trim().to_owned();
    let ran = layerfs(root, &["start", "-a", "--runtime", runtime, &id]);
    layerfs(root, &["rm", "-v", &id]).ok();
    let lines = lines(&format!("{}\n{}", ran.stdout, ran.stderr), &id, dir, &["own"]);
    (ran.code, lines.iter().filter_map(|line| plain(line)).collect())
}

/// A line without what is known to be another one with crun 1.8.1 than with runc: how `/sys` and what is hidden of `/proc` are mounted, but
/// not that they are; `HOME` of a user without an entry; whose the null device is that is standard input; and a link that docker does
/// not have.
fn plain(line: &str) -> Option<String> {
    let point = line.split(' ').nth(1).filter(|_| line.contains(" - "));
    let is_known = |point: &&str| point.starts_with("/proc/") || point.starts_with("/sys") || *point == "/dev/console";
    if let Some(point) = point.filter(is_known) {
        return Some(format!("mounted {point}"));
    }
    if line == "HOME=/" || line.ends_with(" core -> /proc/kcore") {
        return None;
    }
    let is_null = line.starts_with("crw-rw-rw-") && line.ends_with("  1,   3 null");
    Some(if is_null { "null".to_owned() } else { line.to_owned() })
}

/// Every fourth set; LAYERFS_SWEEP=full: all of them.
#[test]
fn root_a_container_sees_what_it_sees_with_crun() {
    let need = "crun and unshare (Debian: crun, util-linux)";
    if !testkit::is_root() || !testkit::tier("root", Path::new("/usr/bin/crun").exists(), need) {
        return;
    }
    let dir = testkit::scratch();
    let own = root(&dir, "own");
    let shared = dir.path().join("shared");
    std::fs::create_dir(&shared).unwrap();
    let shared = shared.display().to_string();
    let mut differences = Vec::new();
    for (number, flags) in FLAGS.iter().enumerate() {
        if !testkit::full_sweep() && number % 4 != 0 {
            continue;
        }
        let flags: Vec<String> = flags.iter().map(|flag| flag.replace("DIR", &shared)).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let (expected_code, expected) = probe(&own, dir.path(), "crun", &flags);
        let (code, found) = probe(&own, dir.path(), "builtin", &flags);
        assert!(found.len() > 60 || flags.contains(&"--entrypoint") || found.iter().any(|line| line.contains(DENIED)));
        let is_denied = |lines: &[String]| lines.iter().any(|line| line.contains(DENIED));
        if is_denied(&found) && code == expected_code {
            continue;
        }
        let only = |some: &[String], others: &[String]| -> Vec<String> {
            some.iter().filter(|line| !others.contains(line)).cloned().collect()
        };
        let (here, there) = (only(&found, &expected), only(&expected, &found));
        if code != expected_code || !here.is_empty() || !there.is_empty() {
            differences.push(format!("{flags:?}: {code:?} {here:#?}\n  crun: {expected_code:?} {there:#?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
