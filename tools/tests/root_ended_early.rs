//! What makes images or files out of a store, ended early or on a full disk: nothing is half there, and the next time it works.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use testkit::mounts::Mounted;
use testkit::run::{self, Input, Ran, layerfs};
use testkit::store::StoreFiles;
use testkit::{Random, TreeState, synthetic};

/// A tmpfs with a store that has an image and a container, and with a tar to import.
struct Workshop {
    mounted: Mounted,
    /// The same things once more, to begin anew from.
    pristine: TempDir,
}

const NAME: &str = "early";

/// Room for everything.
const SIZE: u64 = 256 << 20;

/// What goes out of the store.
const OUT: [&[&str]; 4] = [
    &["image", "export", synthetic::TAG, "-o", "OUT/file"],
    &["container", "export", NAME, "-o", "OUT/file"],
    &["image", "cp", "IMAGE:/usr", "OUT/copy"],
    &["container", "cp", "early:/usr", "OUT/copy"],
];

/// What makes an image.
const IN: [&[&str]; 3] = [
    &["image", "import", "OUT/tar", "made:1"],
    &["container", "commit", "--no-preflight", NAME, "made:1"],
    &["image", "flatten", synthetic::TAG, "-t", "made:1"],
];

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Workshop {
    fn new() -> Self {
        let pristine = testkit::scratch();
        let (root, archive) = (pristine.path().join("root"), pristine.path().join("archive.tar"));
        std::fs::write(&archive, synthetic::archive(12 << 20, 300)).unwrap();
        testkit::import(&archive, &root);
        std::fs::remove_file(&archive).unwrap();
        let ok = |arguments: &[&str]| {
            let all = [&["--root", text(&root)], arguments].concat();
            run::run(layerfs(&all), Input::Nothing).ok().stdout
        };
        ok(&["container", "create", "--name", NAME, synthetic::TAG, "/none"]);
        let upper = ok(&["container", "inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", NAME]);
        let upper = PathBuf::from(upper.trim());
        for number in 0..200_u32 {
            let bytes: Vec<u8> = (0..20_000_u32).map(|at| (at.wrapping_mul(number + 7) >> 3) as u8).collect();
            std::fs::write(upper.join(format!("file-{number}")), bytes).unwrap();
        }
        ok(&["image", "export", synthetic::TAG, "-o", text(&pristine.path().join("tar"))]);
        let workshop = Self { mounted: Mounted::tmpfs(&format!("size={SIZE}")), pristine };
        workshop.begin_anew();
        workshop
    }

    fn begin_anew(&self) {
        for left in std::fs::read_dir(self.mounted.path()).unwrap() {
            let left = left.unwrap().path();
            if left.is_dir() { std::fs::remove_dir_all(left) } else { std::fs::remove_file(left) }.unwrap();
        }
        let copied = Command::new("cp").arg("-a").arg(self.pristine.path().join(".")).arg(self.mounted.path()).status();
        assert!(copied.unwrap().success());
    }

    fn root(&self) -> PathBuf {
        self.mounted.path().join("root")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = layerfs(&["--root", text(&self.root())]);
        let at = text(self.mounted.path());
        command.args(arguments.iter().map(|word| word.replace("OUT", at).replace("IMAGE", synthetic::TAG)));
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        run::run(self.command(arguments), Input::Nothing)
    }

    fn state(&self) -> TreeState {
        TreeState::read(self.mounted.path()).without_directory_times()
    }

    /// What is in the store that nothing there speaks of, but for the container's directories.
    fn unreferenced(&self) -> Vec<String> {
        let store = StoreFiles::read(&self.root());
        // There are more links than layers: the container's.
        let found = store.unreferenced().into_iter().filter(|line| !line.contains(" links, "));
        found.chain(store.wrong).collect()
    }

    /// What is wrong with the store after an image was begun: there is one more or none more, and the next time it is made.
    fn after(&self, arguments: &[&str], before: &StoreFiles, unreferenced: &[String]) -> Vec<String> {
        let store = StoreFiles::read(&self.root());
        let mut report = [store.not_replayable(), store.wrong].concat();
        if !before.images.keys().all(|id| store.images.contains_key(id)) || store.images.len() > before.images.len() + 1
        {
            report.push(format!("images {:?}", store.images.keys()));
        }
        let ran = self.run(arguments);
        if ran.code != Some(0) {
            report.push(format!("the next time: {}", ran.stderr));
        }
        let found = self.unreferenced();
        report.extend(found.into_iter().filter(|line| !unreferenced.contains(line)));
        report
    }
}

/// Ends a command after part of the time that it needs. `None` if it was done before.
fn end_early(command: Command, time: Duration, signal: Signal) -> Option<Ran> {
    let started = Instant::now();
    let child = run::start(command, Input::Nothing);
    std::thread::sleep(time);
    // It may have ended; nobody has waited for it yet, so that its number is still its own.
    kill_process(Pid::from_child(&child), signal).unwrap();
    let ran = run::finish(child, started);
    (ran.code != Some(0)).then_some(ran)
}

/// Signals and moments, the same ones in every run.
fn moments(seed: u64, time: Duration) -> impl Iterator<Item = (Signal, Duration)> {
    let mut random = Random::new(seed);
    (0..if testkit::full_sweep() { 200 } else { 6 }).map(move |number| {
        let signal = if number % 2 == 0 { Signal::KILL } else { Signal::TERM };
        (signal, time.mul_f64(random.below(90) as f64 / 100.0))
    })
}

/// What is wrong with how a command ended after a signal.
fn wrong_end(ran: &Ran, signal: Signal) -> Option<String> {
    // A signal that comes before anybody listens for it kills.
    let expected = ran.code.is_none() || signal == Signal::TERM && ran.code == Some(130);
    (!expected).then(|| format!("{ran:?}"))
}

#[test]
fn nothing_half_written_is_seen() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new();
    let (mut report, mut early) = (Vec::new(), 0);
    for (number, arguments) in OUT.into_iter().enumerate() {
        let time = workshop.run(arguments).ok().time;
        let whole = workshop.state();
        let file = workshop.mounted.path().join("file");
        let whole_file = std::fs::read(&file).ok();
        workshop.begin_anew();
        let before = workshop.state();
        for (signal, delay) in moments(number as u64, time) {
            let Some(ran) = end_early(workshop.command(arguments), delay, signal) else {
                workshop.begin_anew();
                continue;
            };
            early += 1;
            let mut found: Vec<String> = wrong_end(&ran, signal).into_iter().collect();
            // The signal may come when all is done but the end of the process.
            if whole_file.is_some() && std::fs::read(&file).ok() == whole_file {
                std::fs::remove_file(&file).unwrap();
            }
            if arguments[1] == "cp" {
                // Files are there or not; a kill may leave one under a name of ours.
                found.extend(half_copied(&workshop, signal));
                let _ = std::fs::remove_dir_all(workshop.mounted.path().join("copy"));
            }
            found.extend(before.changes(&workshop.state()));
            report.extend(found.into_iter().map(|line| format!("{arguments:?}, {signal:?}: {line}")));
        }
        workshop.run(arguments).ok();
        report.extend(whole.changes(&workshop.state()).into_iter().filter(|line| !line.contains("mtime")));
        workshop.begin_anew();
    }
    assert!(early > 3, "only {early} were ended early");
    testkit::assert_none("ended early", &report);
}

/// Files of a copy that are not whole.
fn half_copied(workshop: &Workshop, signal: Signal) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(workshop.mounted.path().join("copy")) else { return Vec::new() };
    let homes: Vec<PathBuf> = StoreFiles::read(&workshop.root()).diffs().into_values().collect();
    let mut report = Vec::new();
    for entry in entries {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let copied = workshop.mounted.path().join("copy").join(&name);
        if name.starts_with(".layerfs-") {
            report.extend((signal != Signal::KILL).then(|| format!("{name} is left")));
        } else if copied.is_file() {
            let bytes = std::fs::read(&copied).unwrap();
            if !homes.iter().any(|home| std::fs::read(home.join("usr").join(&name)).is_ok_and(|whole| whole == bytes)) {
                report.push(format!("{name} has {} bytes", bytes.len()));
            }
        }
    }
    report
}

#[test]
fn an_image_is_made_or_it_is_not() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new();
    let (mut report, mut early) = (Vec::new(), 0);
    for (number, arguments) in IN.into_iter().enumerate() {
        let time = workshop.run(arguments).ok().time;
        workshop.begin_anew();
        let (before, snapshot, unreferenced) =
            (StoreFiles::read(&workshop.root()), workshop.state(), workshop.unreferenced());
        for (signal, delay) in moments(10 + number as u64, time) {
            let Some(ran) = end_early(workshop.command(arguments), delay, signal) else {
                workshop.begin_anew();
                continue;
            };
            early += 1;
            let mut found: Vec<String> = wrong_end(&ran, signal).into_iter().collect();
            if ran.code == Some(130) {
                found.extend(snapshot.changes(&workshop.state()));
            }
            found.extend(workshop.after(arguments, &before, &unreferenced));
            report.extend(found.into_iter().map(|line| format!("{arguments:?}, {signal:?} after {delay:?}: {line}")));
            workshop.begin_anew();
        }
    }
    assert!(early > 3, "only {early} were ended early");
    testkit::assert_none("ended early", &report);
}

#[test]
fn a_full_disk_leaves_things_as_they_were() {
    if !testkit::is_root() {
        return;
    }
    let workshop = Workshop::new();
    let mut report = Vec::new();
    for arguments in OUT.into_iter().chain(IN) {
        workshop.begin_anew();
        let (before, free) = (workshop.state(), workshop.mounted.free());
        let (store, unreferenced) = (StoreFiles::read(&workshop.root()), workshop.unreferenced());
        workshop.run(arguments).ok();
        let need = free.0 - workshop.mounted.free().0;
        workshop.begin_anew();
        let (step, free) = (if testkit::full_sweep() { 2 } else { 24 }, workshop.mounted.free());
        for part in (1..95).step_by(step) {
            workshop.mounted.remount(&format!("size={}", (SIZE - free.0 + need * part / 100).next_multiple_of(4096)));
            let mut found = workshop.run(arguments).complaints(&["No space left on device"]);
            if arguments[1] == "cp" {
                found.extend(half_copied(&workshop, Signal::TERM));
                let _ = std::fs::remove_dir_all(workshop.mounted.path().join("copy"));
            }
            found.extend(before.changes(&workshop.state()));
            workshop.mounted.remount(&format!("size={SIZE}"));
            if workshop.mounted.free().0 != free.0 {
                found.push(format!("{:?} are free, before it were {free:?}", workshop.mounted.free()));
            }
            report.extend(found.into_iter().map(|line| format!("{arguments:?}, {part} %: {line}")));
        }
        let found = workshop.after(arguments, &store, &unreferenced);
        let made = if OUT.contains(&arguments) { Vec::new() } else { found };
        report.extend(made.into_iter().map(|line| format!("{arguments:?}, with room: {line}")));
    }
    testkit::assert_none("full disk", &report);
}
