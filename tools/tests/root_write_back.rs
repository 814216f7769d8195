//! What is to be durable is written back while layers are still being unpacked; what is not, is not.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use testkit::run::{self, Input, layer_unpack};
use testkit::synthetic;

#[test]
fn root_writes_back_meanwhile() {
    let strace = Command::new("strace").arg("--version").output().is_ok();
    if !testkit::is_root() || !testkit::tier("root", strace, "install strace") {
        return;
    }
    let dir = testkit::scratch();
    let archive = dir.path().join("image.tar");
    // Large enough to take many times the pause before the first round, on a fast machine, too.
    std::fs::write(&archive, synthetic::archive(256 << 20, 12_000)).unwrap();
    for (way, sync) in [("--root", true), ("--layers", true), ("--root", false), ("--layers", false)] {
        let (to, log) = (dir.path().join("to"), dir.path().join("log"));
        let mut words = vec![archive.as_os_str(), way.as_ref(), to.as_os_str()];
        if !sync {
            words.push("--no-sync".as_ref());
        }
        let command = layer_unpack(&words);
        let mut strace = Command::new("strace");
        strace.args(["-f", "--seccomp-bpf", "-e", "trace=syncfs", "-o"]).arg(&log).arg(command.get_program());
        strace.args(command.get_args());
        let started = Instant::now();
        run::finish(run::start(strace, Input::Nothing), started).ok();
        let text = std::fs::read_to_string(&log).unwrap();
        let calls: Vec<&str> = text.lines().filter(|line| line.contains("syncfs(")).collect();
        let threads: BTreeSet<&str> = calls.iter().filter_map(|line| line.split(' ').next()).collect();
        if sync {
            // One thread meanwhile, and one at the end, to whom it must have been said that all is well.
            assert_eq!(threads.len(), 2, "{way}: {text}");
            let last = text.lines().rfind(|line| line.contains("syncfs")).unwrap();
            assert!(last.ends_with("= 0"), "{way}: {text}");
            assert_ne!(calls[0].split(' ').next(), last.split(' ').next(), "{way}: {text}");
        } else {
            assert_eq!(calls, [""; 0], "{way}");
        }
        std::fs::remove_dir_all(&to).unwrap();
    }
}
