//! Limits where control groups have version 2 alone, in a virtual machine: what they are set to, and that they are kept.
//!
//! `just sweep-cgroup2` starts the test that starts the machine; the one that is called `inside` runs in there.

#![allow(clippy::unwrap_used, clippy::print_stderr)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const IMAGE: &str = "layerfs-test/busybox:1";
const ARCHIVE: &str = "/t/busybox-20.10.tar";

/// The machine's root is in memory and cannot be exchanged for a container's; what is mounted here can.
const ROOT: &str = "/d/root";

#[test]
#[ignore = "a start of a virtual machine, which takes a minute: just sweep-cgroup2"]
fn vm_limits_of_version_2_are_kept() {
    let Some(_turn) = testkit::vm::vm() else { return };
    let mut machine = testkit::vm::Machine::new(2304, 2, &[]);
    for name in ["layerfs", "layer-run"] {
        machine = machine.program(&testkit::program(name));
    }
    machine = machine.file(&testkit::golden("busybox-20.10.tar"), ARCHIVE);
    machine.run_tests("inside_", true, 1, Duration::from_secs(900));
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let program = format!("/t/{program}");
    Command::new("chroot").args([ROOT, &program]).args(arguments).output().unwrap()
}

/// The exit status, and what was printed, of a shell's lines in a container with some flags.
fn shell(flags: &[&str], script: &str) -> (Option<i32>, String) {
    let output = run("layer-run", &[&[ARCHIVE], flags, &["--", "sh", "-c", script]].concat());
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), text)
}

fn layerfs(arguments: &[&str]) -> String {
    let root = ["--root", "/d/store", "--storage-driver", "vfs"];
    testkit::succeeded("layerfs", run("layerfs", &[&root, arguments].concat())).trim().to_owned()
}

/// Says what comes next, so that who waits sees how far the machine has come.
fn step(what: &str) {
    let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
    eprintln!("after {} s: {what}", uptime.split('.').next().unwrap());
}

/// A file of the container's own group, wherever it is shown.
fn own(file: &str) -> String {
    format!("cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/{file} 2>/dev/null || cat /sys/fs/cgroup/{file}")
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_limits_are_set_and_kept() {
    if !testkit::vm::inside() {
        return;
    }
    std::fs::create_dir_all(ROOT).unwrap();
    assert!(Command::new("mount").args(["--rbind", "/", ROOT]).status().unwrap().success());
    assert!(!Path::new("/sys/fs/cgroup/memory").exists() && Path::new("/sys/fs/cgroup/cgroup.controllers").exists());
    step("limits are set");
    for (flags, file, expected) in [
        (&["--pids-limit", "50"][..], "pids.max", "50\n"),
        (&["-m", "64m"], "memory.max", "67108864\n"),
        (&["--cpus", ".5"], "cpu.max", "50000 100000\n"),
    ] {
        assert_eq!(shell(flags, &own(file)), (Some(0), expected.to_owned()), "{flags:?}");
    }
    step("memory is limited");
    let (code, said) = shell(&["-m", "24m"], "tail /dev/zero; echo \"ended $?\"");
    assert!(code == Some(137) || said.contains("ended 137"), "{code:?}: {said}");
    step("processes are limited");
    let (_, said) = shell(&["--pids-limit", "6"], "for i in 1 2 3 4 5 6 7 8 9; do sleep 1 & done; echo end");
    assert!(said.contains("can't fork"), "{said}");
    step("processor time is limited");
    // It is busy until it has been made to wait, but not for ever.
    let busy = "n=0; until stat | grep -q 'nr_throttled [1-9]' || [ $n -gt 100 ]; do
        n=$((n+1)); i=0; while [ $i -lt 500 ]; do i=$((i+1)); done; done";
    let (_, said) = shell(&["--cpus", ".1"], &format!("stat() {{ {}; }}; {busy}; stat", own("cpu.stat")));
    let throttled = said.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap().parse::<u64>().unwrap();
    assert!(throttled > 0, "{said}");
    // Nothing of it is left.
    let groups = std::fs::read_dir("/sys/fs/cgroup/layer-run").into_iter().flatten().flatten();
    let left: Vec<_> = groups.filter(|group| group.path().is_dir()).map(|group| group.path()).collect();
    assert!(left.is_empty(), "{left:?}");

    step("a container stands still while it is committed, and goes on");
    layerfs(&["load", "-q", "-i", ARCHIVE]);
    let counts = "mkdir /a /z; head -c 8000000 /dev/urandom >/m; i=0
        while :; do i=$((i+1)); echo $i >/a/new; mv /a/new /a/n; echo $i >/z/new; mv /z/new /z/n; done";
    layerfs(&["run", "-d", "--name", "one", "--runtime", "builtin", "-m", "64m", IMAGE, "sh", "-c", counts]);
    let count = || -> u64 {
        let output = run("layerfs", &["--root", "/d/store", "--storage-driver", "vfs", "exec", "one", "cat", "/z/n"]);
        let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        text.parse().unwrap_or_else(|_| {
            step(&format!("no number yet: {text:?} {}", String::from_utf8_lossy(&output.stderr).trim()));
            0
        })
    };
    let counting = || {
        let (begun, before) = (Instant::now(), count());
        std::iter::repeat_with(count).take_while(|_| begun.elapsed() < Duration::from_secs(120)).any(|now| now > before)
    };
    assert!(counting());
    step("it is committed");
    let id = layerfs(&["commit", "--no-sync", "one"]);
    let counted = |path: &str| -> u64 { layerfs(&["image", "cat", &id, path]).parse().unwrap() };
    let (first, last) = (counted("/a/n"), counted("/z/n"));
    assert!(first == last || first == last + 1, "{first}, but {last} later");
    assert!(counting());
    layerfs(&["rm", "-f", "one"]);

    step("where nothing can be written, a limit that is asked for is an error, and without one the command runs");
    assert!(
        Command::new("chroot")
            .args([ROOT, "mount", "-o", "remount,bind,ro", "/sys/fs/cgroup"])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(shell(&[], "echo ran"), (Some(0), "ran\n".to_owned()));
    let (code, said) = shell(&["--pids-limit", "50"], "echo ran");
    assert!(code == Some(125) && !said.contains("ran\n"), "{code:?}: {said}");
}
