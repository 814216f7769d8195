//! Containers that end well leave nothing, and those of which a part was killed leave nothing for long: the next command clears up,
//! and a dockerd starts on the root.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Child;
use std::time::Duration;

use testkit::dockerd::Dockerd;
use testkit::run::{Input, Ran, layerfs, run, start, until};

const IMAGE: &str = "layerfs-test/busybox:1";

/// A root with the image in it, and a parent of control groups that is its own.
struct Site {
    root: PathBuf,
    group: String,
    _dir: tempfile::TempDir,
}

impl Site {
    fn new() -> Self {
        let dir = testkit::scratch();
        let root = testkit::empty_root(&dir, "root");
        let group = format!("/{}", dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.'));
        let site = Self { root, group, _dir: dir };
        let archive = testkit::golden("busybox-20.10.tar");
        site.layerfs(&["load", "-q", "-i", archive.to_str().unwrap()]).ok();
        site
    }

    fn words<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [&["--root", self.root.to_str().unwrap()], arguments].concat()
    }

    fn layerfs(&self, arguments: &[&str]) -> Ran {
        run(layerfs(&self.words(arguments)), Input::Nothing)
    }

    /// Processes that were told of the root, but those of this test.
    fn processes(&self) -> Vec<(i32, String)> {
        let root = self.root.to_str().unwrap();
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        let lines = pids.map(|pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            (pid, String::from_utf8_lossy(&line).replace('\0', " "))
        });
        lines.filter(|(_, line)| line.contains(root)).collect()
    }

    /// What is left of containers: mounts, processes, control groups.
    fn traces(&self) -> Vec<String> {
        let mut found: Vec<String> = self.processes().into_iter().map(|(pid, line)| format!("{pid} {line}")).collect();
        // Others may have mounts whose names are no text.
        let mounts = String::from_utf8_lossy(&std::fs::read("/proc/self/mountinfo").unwrap()).into_owned();
        found.extend(mounts.lines().filter(|line| line.contains(self.root.to_str().unwrap())).map(str::to_owned));
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            let parent = hierarchy.path().join(self.group.trim_start_matches('/'));
            let groups =
                std::fs::read_dir(parent).into_iter().flatten().flatten().filter(|entry| entry.path().is_dir());
            found.extend(groups.map(|group| group.path().display().to_string()));
        }
        found
    }

    /// Waits until nothing is left.
    fn is_clear(&self, after: &str) {
        until(|| self.traces().is_empty());
        assert_eq!(self.traces(), Vec::<String>::new(), "{after}");
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for hierarchy in std::fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            let _ = std::fs::remove_dir(hierarchy.path().join(self.group.trim_start_matches('/')));
        }
    }
}

fn children(pid: i32) -> Vec<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// The part that is killed.
#[derive(Debug, Clone, Copy)]
enum Part {
    Command,
    Monitor,
    Container,
}

/// Kills a part of what `command` has started, if it is there.
fn kill_part(site: &Site, part: Part, command: &mut Child) {
    let monitors: Vec<i32> = site
        .processes()
        .into_iter()
        .filter(|(_, line)| line.contains("__container-monitor"))
        .map(|(pid, _)| pid)
        .collect();
    match part {
        Part::Command => command.kill().unwrap(),
        Part::Monitor => monitors.into_iter().for_each(kill),
        Part::Container => monitors.into_iter().flat_map(children).for_each(kill),
    }
}

/// LAYERFS_SWEEP=full: 200 kills.
#[test]
fn kills_at_random_moments_leave_a_store_that_works() {
    let Some(_turn) = testkit::docker() else { return };
    let site = Site::new();
    let rounds = if testkit::full_sweep() { 200 } else { 9 };
    let mut random: u64 = 0x5eed;
    for round in 0..rounds {
        let part = [Part::Command, Part::Monitor, Part::Container][round % 3];
        let runtime = if round / 3 % 3 == 2 { "runc" } else { "builtin" };
        let name = format!("killed{round}");
        let mut words = vec!["run", "--name", &name, "--runtime", runtime, "--cgroup-parent", &site.group, "-v", "/v"];
        words.extend((round % 2 == 1).then_some("--rm"));
        words.extend([IMAGE, "sh", "-c", "echo x > /file; sleep 0.3"]);
        let mut command = start(layerfs(&site.words(&words)), Input::Nothing);
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_millis((random >> 33) % 700));
        kill_part(&site, part, &mut command);
        command.wait().unwrap();
        let what = format!("round {round}, {part:?}, {runtime}");
        // One whose command alone was killed runs to its end.
        until(|| site.processes().is_empty());
        let made = site.layerfs(&["create", "--name", &format!("next{round}"), IMAGE]);
        assert_eq!(made.code, Some(0), "{what}: {}", made.stderr);
        site.is_clear(&what);
        let listed = site.layerfs(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok().stdout;
        let state = listed.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        assert!(matches!(state, None | Some("created" | "exited")), "{what}: {listed}");
    }
    let checked = site.layerfs(&["system", "check"]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let ours = site.layerfs(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]).ok().stdout;
    // When it starts, dockerd removes containers with `--rm`, also those whose command was killed before it could start them.
    let is_removed = |line: &str| {
        let round = line.strip_prefix("killed").and_then(|rest| rest.strip_suffix(" created"));
        round.is_some_and(|round| round.parse::<usize>().is_ok_and(|round| round % 2 == 1))
    };
    let ours: String = ours.lines().filter(|line| !is_removed(line)).map(|line| format!("{line}\n")).collect();
    let daemon = Dockerd::start_with(&site.root, &["--storage-driver", "overlay2"]);
    let dockers = daemon.ok(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&ours), sorted(&dockers));
    daemon.remove_everything();
    daemon.stop();
    assert_eq!(testkit::store::names(&site.root.join("overlay2")), ["l"]);
}

/// LAYERFS_SWEEP=full: 1,000 in a row and 50 at once.
#[test]
fn many_runs_leave_nothing() {
    let Some(_turn) = testkit::docker() else { return };
    let site = Site::new();
    let layers = testkit::store::names(&site.root.join("overlay2")).len();
    let (row, at_once) = if testkit::full_sweep() { (1000, 50) } else { (5, 5) };
    let one = || {
        let words = ["run", "--rm", "--runtime", "builtin", "--cgroup-parent", &site.group, "-v", "/v", IMAGE];
        site.layerfs(&[&words[..], &["sh", "-c", "echo x > /v/x; exit 3"]].concat())
    };
    for _ in 0..row {
        let ran = one();
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    }
    std::thread::scope(|scope| {
        for _ in 0..at_once {
            scope.spawn(|| {
                let ran = one();
                assert_eq!(ran.code, Some(3), "{}", ran.stderr);
            });
        }
    });
    site.is_clear("many");
    let names = |path: &str| testkit::store::names(&site.root.join(path));
    for path in ["containers", "volumes", "image/overlay2/layerdb/mounts"] {
        assert_eq!(names(path), Vec::<String>::new(), "{path}");
    }
    assert_eq!(names("overlay2").len(), layers);
    assert!(!has_own(&site));
}

/// Whether something in the runtimes' directory speaks of this root.
fn has_own(site: &Site) -> bool {
    let entries = std::fs::read_dir("/run/layerfs").into_iter().flatten().flatten();
    let mut configs =
        entries.map(|entry| std::fs::read_to_string(entry.path().join("bundle/config.json")).unwrap_or_default());
    configs.any(|text| text.contains(site.root.to_str().unwrap()))
}
