//! A user of a terminal leaves a container by keys, the usual ones or others, and it runs on.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testkit::{golden, is_root, program};

/// How long anything may take on a busy machine.
const LONG: Duration = Duration::from_secs(120);

/// Runs `layerfs` on a terminal until it ends, and presses `keys` when the container has said that it is there. Returns how it
/// ended; with status 1, only by its words.
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
    let code = child.wait().unwrap().code();
    if code == Some(1) {
        let seen = String::from_utf8_lossy(&seen);
        assert!(seen.trim_end().ends_with("layerfs: read escape sequence"), "{words:?}: {seen}");
    }
    code
}

/// What the container's file says when it says what is wanted, or at the latest when it has had its time.
fn when(root: &Path, file: &str, wanted: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        let text =
            testkit::made_by_layerfs(root, &["exec", "one", "sh", "-c", &format!("cat {file} 2>/dev/null; true")]);
        if wanted(&text) || begun.elapsed() > LONG {
            return text;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The processes of ours that keep terminals.
fn keepers() -> Vec<String> {
    let ours = program("layerfs");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let is_ours = |path: &Path| std::fs::read_link(path.join("exe")).is_ok_and(|exe| exe == ours);
    let lines = processes.filter(|entry| is_ours(&entry.path()));
    lines
        .map(|entry| String::from_utf8_lossy(&std::fs::read(entry.path().join("cmdline")).unwrap_or_default()).into())
        .filter(|line: &String| line.contains("__container-terminal"))
        .collect()
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
    let id = testkit::made_by_layerfs(&root, &["image", "ls", "-q", image[0]]).trim().to_owned();
    let removed = testkit::layerfs_on(&root, &["image", "rm", "-f", &id]);
    let said = String::from_utf8(removed.stderr).unwrap();
    let running =
        format!("conflict: unable to delete {id} (cannot be forced) - image is being used by running container ");
    assert!(said.contains(&running), "{said}");
    // With docker (20.10 and 28.2) `run` is done then, and `attach` and `exec` end with status 1.
    assert_eq!(on_terminal(&root, &["attach", "one"], b"second\n\x10\x11"), Some(1));
    assert_eq!(on_terminal(&root, &["attach", "--detach-keys", "DEL", "one"], b"third\n\x7f"), Some(1));
    assert!(is_running(), "it has ended");
    // What was typed last came through before the keys did; the first Ctrl-A of two is the container's.
    assert_eq!(when(&root, "/typed", |typed| typed.contains("third")), "first\n\u{1}second\nthird");
    // One more process, too: it neither loses its terminal nor waits because nobody reads what it writes there.
    let exec_keys = [(&["--detach-keys", "ctrl-a,x"][..], &b"fourth\n\x01x"[..]), (&[], b"fifth\n\x10\x11")];
    for (number, (flags, keys)) in exec_keys.into_iter().enumerate() {
        let (counted, typed) = (format!("/count{number}"), format!("/typed{number}"));
        let given = format!(
            "while read line; do echo \"$line\" >> {typed}; done </dev/tty & count=0; \
             while :; do head -c 40000 /dev/zero | tr '\\0' x; count=$((count + 1)); echo $count > {counted}; echo ready; sleep 0.05; done"
        );
        let exec = [&["exec", "-ti"], flags, &["one", "sh", "-c", &given]].concat();
        assert_eq!(on_terminal(&root, &exec, keys), Some(1));
        let count = |text: &str| text.trim().parse::<u32>().unwrap_or(0);
        let before = count(&when(&root, &counted, |text| count(text) > 0));
        let after = count(&when(&root, &counted, |text| count(text) > before + 3));
        assert!(after > before + 3, "{flags:?}: it has ended or waits: {before}, {after}");
        let line = std::str::from_utf8(&keys[..5]).unwrap().trim();
        assert!(when(&root, &typed, |typed| typed.contains(line)).contains(line), "{flags:?}");
        assert_eq!(keepers().len(), number + 1);
    }
    testkit::made_by_layerfs(&root, &["rm", "-f", "one"]);
    let begun = Instant::now();
    while !keepers().is_empty() && begun.elapsed() < LONG {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(keepers(), [] as [&str; 0], "whoever keeps a terminal ends with it");
    for words in [
        &["attach", "--detach-keys", "foo", "one"][..],
        &["run", "--detach-keys", "foo", image[0], "true"],
        &["exec", "--detach-keys", "foo", "one", "true"],
    ] {
        let output = testkit::layerfs_on(&root, words);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("Invalid detach keys (foo) provided"), "{words:?}: {said}");
    }
}
