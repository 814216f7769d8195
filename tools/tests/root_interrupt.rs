//! Ctrl-C and its like: exit status 130, soon, and everything as it was.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::fault_registry::{Asked, FaultRegistry, Reply, Served, Then};
use testkit::run::{self, Input, Ran, layer_unpack, layerfs};
use testkit::{Random, TreeState, image, synthetic};

const SIGNALS: [(&str, Signal); 5] = [
    ("SIGINT", Signal::INT),
    ("SIGTERM", Signal::TERM),
    ("SIGHUP", Signal::HUP),
    ("SIGQUIT", Signal::QUIT),
    ("SIGXCPU", Signal::XCPU),
];

/// What is unpacked into.
const WAYS: [&str; 4] = ["--root", "--layers", "--rootfs", "load"];

/// How long a process may take to end, the time of taking things back included.
const SOON: Duration = Duration::from_secs(20);

/// An archive, and directories to unpack it to.
struct Workshop {
    dir: TempDir,
    archive: PathBuf,
}

impl Workshop {
    fn new() -> Self {
        let dir = testkit::scratch();
        let archive = dir.path().join("archive.tar");
        std::fs::write(&archive, synthetic::archive(24 << 20, 1500)).unwrap();
        let used = dir.path().join("to/used");
        std::fs::create_dir(dir.path().join("to")).unwrap();
        let busybox = testkit::golden("busybox-20.10.tar");
        run::run(layer_unpack(&[busybox.as_os_str(), "--root".as_ref(), used.as_os_str()]), Input::Nothing).ok();
        Self { dir, archive }
    }

    /// Where everything is made.
    fn to(&self) -> PathBuf {
        self.dir.path().join("to")
    }

    /// Into a root that holds an image where `used`, else to where nothing is.
    fn command(&self, way: &str, archive: &str, used: bool) -> Command {
        let root = self.to().join(if used { "used" } else { "new" });
        let root = root.to_str().unwrap();
        match way {
            "load" if archive == "-" => layerfs(&["image", "load", "--root", root]),
            "load" => layerfs(&["image", "load", "-i", archive, "--root", root]),
            "--root" => layer_unpack(&[archive, way, root]),
            _ => layer_unpack(&[archive, way, self.to().join("new/directory").to_str().unwrap()]),
        }
    }

    fn state(&self) -> TreeState {
        TreeState::read(&self.to()).without_directory_times()
    }
}

/// Sends `signal` as soon as `child` listens to it, which on a busy machine takes a while.
fn signal(child: &Child, signal: Signal) {
    let status = format!("/proc/{}/status", child.id());
    let listens = || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        // Without that line it has ended.
        caught.is_none_or(|mask| u64::from_str_radix(mask.trim(), 16).unwrap() >> (signal.as_raw() - 1) & 1 == 1)
    };
    let ended = || std::fs::read_to_string(&status).is_ok_and(|status| status.contains("State:\tZ"));
    let started = Instant::now();
    while !listens() && !ended() && started.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(1));
    }
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// What is wrong with how a process ended that was told to stop.
fn complaints(ran: &Ran, before: &TreeState, now: &TreeState) -> Vec<String> {
    let mut report = before.changes(now);
    if ran.code != Some(130) || !ran.stderr.ends_with(": interrupted, nothing was changed\n") {
        report.push(format!("{ran:?}"));
    }
    report
}

#[test]
fn root_is_as_before_after_a_signal() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new();
    let mut random = Random::new(3);
    let mut report = Vec::new();
    let tries = if testkit::full_sweep() { 40 } else { 3 };
    for way in WAYS {
        let once = |_| {
            let command = workshop.command(way, workshop.archive.to_str().unwrap(), false);
            let time = run::run(command, Input::Nothing).ok().time;
            std::fs::remove_dir_all(workshop.to().join("new")).unwrap();
            time
        };
        // The first run may wait for what others need not.
        let time = (0..2).map(once).min().unwrap();
        let before = workshop.state();
        let mut interrupted = 0;
        for (number, (name, kind)) in (0..tries).flat_map(|number| SIGNALS.map(|signal| (number, signal))) {
            let used = number % 2 == 0;
            let command = workshop.command(way, workshop.archive.to_str().unwrap(), used);
            let delay = time.mul_f64(random.below(50) as f64 / 100.0);
            let started = Instant::now();
            let child = run::start(command, Input::Nothing);
            std::thread::sleep(delay);
            signal(&child, kind);
            let ran = run::finish(child, started);
            if ran.code == Some(0) {
                // Too late. A root that was used before is not restored: it is not used again.
                let _ = std::fs::remove_dir_all(workshop.to().join("new"));
                if used && matches!(way, "--root" | "load") {
                    break;
                }
                continue;
            }
            interrupted += 1;
            let found = complaints(&ran, &before, &workshop.state());
            report.extend(found.into_iter().map(|line| format!("{way}, {name} after {delay:?} of {time:?}: {line}")));
            let _ = std::fs::remove_dir_all(workshop.to().join("new"));
        }
        assert!(interrupted > 0, "no signal came in time");
    }
    testkit::assert_none("after signals", &report);
}

/// Gives `bytes` to a command and nothing more, then tells it to stop.
fn stalled(workshop: &Workshop, command: Command, bytes: &[u8], kind: Signal) -> Vec<String> {
    let before = workshop.state();
    let mut command = command;
    let started = Instant::now();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(bytes).unwrap();
    // All that came is read, and it waits for more.
    std::thread::sleep(Duration::from_millis(150));
    let signalled = Instant::now();
    signal(&child, kind);
    while child.try_wait().unwrap().is_none() && signalled.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(5));
    }
    if child.try_wait().unwrap().is_none() {
        // What it does when the pipe ends is another question.
        drop(pipe);
        let ran = run::finish(child, started);
        let _ = std::fs::remove_dir_all(workshop.to().join("new"));
        return vec![format!("still running after {SOON:?}; when the pipe ended: {:?} {}", ran.code, ran.stderr)];
    }
    let ran = run::finish(child, started);
    let report = complaints(&ran, &before, &workshop.state());
    let _ = std::fs::remove_dir_all(workshop.to().join("new"));
    report
}

/// Where a writer may stop: before anything, in a layer, in a document, and after all of it.
fn stalls(archive: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let manifest = archive.windows(13).position(|name| name == b"manifest.json").unwrap();
    let packed = image::pack("gzip", archive);
    vec![
        ("nothing", Vec::new()),
        ("half a header", archive[..300].to_vec()),
        ("half of all", archive[..archive.len() / 2].to_vec()),
        ("half the manifest", archive[..manifest + 540].to_vec()),
        ("everything", archive.to_vec()),
        ("half of it packed", packed[..packed.len() / 2].to_vec()),
    ]
}

fn stall(way: &str) {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new();
    let mut report = Vec::new();
    let stalls = stalls(&std::fs::read(&workshop.archive).unwrap());
    for (number, (what, bytes)) in stalls.iter().enumerate() {
        for (name, kind) in SIGNALS.into_iter().cycle().skip(number).take(if testkit::full_sweep() { 3 } else { 1 }) {
            let command = workshop.command(way, "-", number % 2 == 0);
            let found = stalled(&workshop, command, bytes, kind);
            report.extend(found.into_iter().map(|line| format!("{way}, {name} after {what}: {line}")));
        }
    }
    testkit::assert_none("stalled pipes", &report);
}

#[test]
fn root_signal_while_root_waits_for_a_pipe() {
    stall("--root");
}

#[test]
fn root_signal_while_layers_wait_for_a_pipe() {
    stall("--layers");
}

#[test]
fn root_signal_while_rootfs_waits_for_a_pipe() {
    stall("--rootfs");
}

#[test]
fn root_signal_while_load_waits_for_a_pipe() {
    stall("load");
}

/// A trickle of bytes: the process is never stuck for long, but always about to read.
#[test]
fn root_signal_while_bytes_trickle_in() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new();
    let archive = std::fs::read(&workshop.archive).unwrap();
    let mut report = Vec::new();
    for way in WAYS {
        let before = workshop.state();
        let started = Instant::now();
        let mut command = workshop.command(way, "-", false);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut pipe = child.stdin.take().unwrap();
        let ran = std::thread::scope(|scope| {
            let archive = &archive;
            scope.spawn(move || {
                for piece in archive.chunks(64 << 10) {
                    if pipe.write_all(piece).is_err() {
                        return;
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
            std::thread::sleep(Duration::from_millis(300));
            signal(&child, Signal::INT);
            run::finish(child, started)
        });
        let mut found = complaints(&ran, &before, &workshop.state());
        if ran.time > Duration::from_millis(300) + SOON {
            found.push(format!("took {:?}", ran.time));
        }
        report.extend(found.into_iter().map(|line| format!("{way}: {line}")));
        let _ = std::fs::remove_dir_all(workshop.to().join("new"));
    }
    testkit::assert_none("trickling pipes", &report);
}

#[test]
fn root_signal_leaves_what_was_there() {
    if !testkit::is_root() {
        return;
    }
    // An empty directory that exists stays, with its mode.
    let workshop = Workshop::new();
    let directory: &Path = &workshop.to().join("new/directory");
    let make = || {
        std::fs::create_dir_all(directory).unwrap();
        std::os::unix::fs::chown(directory, Some(7), Some(8)).unwrap();
    };
    make();
    let before = workshop.state();
    let mut report = Vec::new();
    for way in ["--layers", "--rootfs"] {
        let interrupted = [30, 20, 10, 0].into_iter().find_map(|delay| {
            let started = Instant::now();
            let child = run::start(workshop.command(way, workshop.archive.to_str().unwrap(), false), Input::Nothing);
            std::thread::sleep(Duration::from_millis(delay));
            signal(&child, Signal::TERM);
            let ran = run::finish(child, started);
            if ran.code == Some(0) {
                // Too late, on a busy machine.
                std::fs::remove_dir_all(directory).unwrap();
                make();
                return None;
            }
            Some(ran)
        });
        report.extend(complaints(&interrupted.expect("no signal came in time"), &before, &workshop.state()));
    }
    testkit::assert_none("an empty directory", &report);
}

/// The shell's limit on the size of a file ends no process in the middle of a write: the write fails, and all is as before.
#[test]
fn root_is_as_before_where_files_must_be_small() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new();
    let before = workshop.state();
    let mut report = Vec::new();
    for (number, way) in WAYS.into_iter().enumerate() {
        let command = workshop.command(way, workshop.archive.to_str().unwrap(), number % 2 == 0);
        let mut limited = Command::new("sh");
        // In blocks of 512 bytes: less than the largest files have.
        limited.args(["-c", "ulimit -f 1000; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
        let mut found = run::run(limited, Input::Nothing).complaints(&["File too large"]);
        found.extend(before.changes(&workshop.state()));
        report.extend(found.into_iter().map(|line| format!("{way}: {line}")));
        let _ = std::fs::remove_dir_all(workshop.to().join("new"));
    }
    testkit::assert_none("a limit on files", &report);
}

/// What a registry keeps a client waiting with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Silent {
    Manifest,
    Layer,
    Upload,
}

impl Silent {
    /// Whether a request is the one that is not answered to its end.
    fn is(self, asked: &Asked, served: &Served) -> bool {
        match self {
            Self::Manifest => asked.method == "GET" && asked.path.contains("/manifests/"),
            Self::Layer => asked.blob().is_some_and(|digest| served.layers.iter().any(|layer| layer == digest)),
            Self::Upload => asked.method == "POST",
        }
    }
}

/// A registry that has this image, and falls silent.
fn silent(what: Silent, served: Arc<Served>) -> FaultRegistry {
    FaultRegistry::start(move |asked| match what {
        Silent::Upload if asked.method == "HEAD" => Reply::new(404, b""),
        Silent::Upload => Reply::error(503, "UNAVAILABLE", "busy").with("Retry-After", "60"),
        _ if what.is(asked, &served) => served.answer(asked).then(Then::Silence(100)),
        _ => served.answer(asked),
    })
}

/// Commands that wait for a registry.
#[test]
fn root_signal_while_a_registry_is_silent() {
    if !testkit::is_root() {
        return;
    }
    let dir = testkit::scratch();
    let (root, context) = (dir.path().join("root"), dir.path().join("context"));
    let busybox = "layerfs-test/busybox:1";
    testkit::import(&testkit::golden("busybox-20.10.tar"), &root);
    std::fs::create_dir(&context).unwrap();
    let context = context.to_str().unwrap();
    let layers = synthetic::layers(1 << 20, 40);
    let layers: Vec<_> = layers.into_iter().map(|plain| (plain.clone(), image::pack("gzip", &plain))).collect();
    let served = Arc::new(Served::new(&layers));
    let mut report = Vec::new();
    for (what, ways) in [
        (Silent::Manifest, &["pull", "FROM"][..]),
        (Silent::Layer, &["pull", "COPY --from"]),
        (Silent::Upload, &["push"]),
    ] {
        for &way in ways {
            let registry = silent(what, Arc::clone(&served));
            let name = format!("{}/t/image:1", registry.host);
            let dockerfile = match way {
                "FROM" => format!("FROM {name}\n"),
                _ => format!("FROM scratch\nCOPY --from={name} / /\n"),
            };
            std::fs::write(format!("{context}/Dockerfile"), dockerfile).unwrap();
            if way == "push" {
                testkit::made_by_layerfs(&root, &["tag", busybox, &name]);
            }
            let images = || testkit::made_by_layerfs(&root, &["image", "ls", "-a"]);
            let before = images();
            let mut command = layerfs(&["--root", root.to_str().unwrap()]);
            let arguments = match way {
                "pull" | "push" => [way, &name],
                _ => ["build", context],
            };
            // A connection from which nothing comes is given up after this time, and only then the request is noticed.
            command.args(arguments).args(["--stall-timeout", "1"]).env("DOCKER_CONFIG", dir.path().join("no-config"));
            let started = Instant::now();
            let child = run::start(command, Input::Nothing);
            while !registry.asked().iter().any(|asked| what.is(asked, &served)) && started.elapsed() < 5 * SOON {
                std::thread::sleep(Duration::from_millis(1));
            }
            let signalled = Instant::now();
            signal(&child, Signal::INT);
            let ran = run::finish(child, started);
            let took = signalled.elapsed();
            if ran.code != Some(130) || !ran.stderr.contains("interrupted") || took > 2 * SOON {
                report.push(format!("{way}, silent {what:?}: after {took:?}: {ran:?}"));
            }
            if images() != before {
                report.push(format!("{way}, silent {what:?}: other images than before: {}", images()));
            }
        }
    }
    testkit::assert_none("a silent registry", &report);
}
