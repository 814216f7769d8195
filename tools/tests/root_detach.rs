//! A user of a terminal leaves a container by keys, the usual ones or others, and it runs on.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{golden, is_root, program};

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Runs `layerfs` on a terminal until it ends, and presses `keys` when the container has said that it is there. Returns how it ended.
fn on_terminal(root: &Path, words: &[&str], keys: &[u8]) -> Option<i32> {
    let quoted = |word: &str| format!("'{word}'");
    let layerfs = program("layerfs");
    let all = [&[layerfs.to_str().unwrap(), "--root", root.to_str().unwrap()], words].concat();
    let line: Vec<String> = all.into_iter().map(quoted).collect();
    let mut script = Command::new("script");
    // Else `script` takes the caller's shell.
    script.args(["-qec", &line.join(" "), "/dev/null"]).env("SHELL", "/bin/sh");
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut typed, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let (send, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut piece = [0; 4096];
        while let Ok(read @ 1..) = shown.read(&mut piece) {
            if send.send(piece[..read].to_vec()).is_err() {
                return;
            }
        }
    });
    let (end, mut seen, mut pressed) = (Instant::now() + LONG, Vec::new(), false);
    loop {
        match received.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(piece) => seen.extend(piece),
            Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
            Err(error) => {
                let _ = child.kill();
                panic!("{words:?}: {error}: {}", String::from_utf8_lossy(&seen));
            }
        }
        if !pressed && String::from_utf8_lossy(&seen).contains("ready") {
            typed.write_all(keys).unwrap();
            pressed = true;
        }
    }
    child.wait().unwrap().code()
}

#[test]
fn keys_leave_a_container_that_runs_on() {
    let has_script = Path::new("/usr/bin/script").exists();
    if !is_root() || !testkit::tier("root", has_script, "install bsdutils") {
        return;
    }
    let dir = testkit::scratch();
    let root = dir.path().join("root");
    testkit::import(&golden("busybox-20.10.tar"), &root);
    // It repeats that it is there, so that whoever attaches later hears it, and what is typed is seen in its own file.
    let given = "while :; do echo ready; sleep 0.2; done & while read line; do echo \"$line\" >> /typed; done";
    let image = ["layerfs-test/busybox:1", "sh", "-c", given];
    let is_running = || {
        let text = testkit::made_by_layerfs(&root, &["inspect", "-f", "{{.State.Running}}", "one"]);
        text.trim() == "true"
    };
    let run = [&["run", "-ti", "--name", "one", "--detach-keys", "ctrl-a,x"], &image[..]].concat();
    assert_eq!(on_terminal(&root, &run, b"first\n\x01\x01x"), Some(0));
    assert!(is_running(), "it has ended");
    assert_eq!(on_terminal(&root, &["attach", "one"], b"second\n\x10\x11"), Some(0));
    assert_eq!(on_terminal(&root, &["attach", "--detach-keys", "DEL", "one"], b"third\n\x7f"), Some(0));
    assert!(is_running(), "it has ended");
    // What was typed last came through before the keys did; the first Ctrl-A of two is the container's.
    let begun = Instant::now();
    let typed = loop {
        let typed = testkit::made_by_layerfs(&root, &["exec", "one", "cat", "/typed"]);
        if typed.contains("third") || begun.elapsed() > LONG {
            break typed;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert_eq!(typed, "first\n\u{1}second\nthird");
    testkit::made_by_layerfs(&root, &["rm", "-f", "one"]);
    for words in [&["attach", "--detach-keys", "foo", "one"][..], &["run", "--detach-keys", "foo", image[0], "true"]] {
        let output = testkit::layerfs_on(&root, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("Invalid detach keys (foo) provided"), "{words:?}: {said}");
    }
}
