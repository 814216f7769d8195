//! Processes that may have only a few descriptors: a command succeeds, or it says what is missing and leaves everything as it was.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use testkit::changes;
use testkit::run::{self, Input};

const BUSYBOX: &str = "layerfs-test/busybox:1";

/// More than any command needs for a store of three layers.
const ENOUGH: u32 = 256;

/// Programs with their arguments. `ROOT` is the data-root, `OUT` a file that does not exist, `LOAD` an archive.
const COMMANDS: &[&[&str]] = &[
    &["layerfs", "--root", "ROOT", "image", "ls", "--all"],
    &["layerfs", "--root", "ROOT", "system", "check"],
    &["layerfs", "--root", "ROOT", "system", "check", "--deep"],
    &["layerfs", "--root", "ROOT", "system", "repair", "--deep", "--apply"],
    &["layerfs", "--root", "ROOT", "load", "-i", "LOAD"],
    &["layerfs", "--root", "ROOT", "tag", BUSYBOX, "new:1"],
    &["layerfs", "--root", "ROOT", "rmi", "-f", BUSYBOX],
    &["layerfs", "--root", "ROOT", "save", "-o", "OUT", BUSYBOX],
    &["layerfs", "--root", "ROOT", "export", "-o", "OUT", "c1"],
    &["layerfs", "--root", "ROOT", "commit", "c1", "new:1"],
    &["layerfs", "--root", "ROOT", "image", "flatten", BUSYBOX, "-t", "new:1"],
    &["layerfs", "--root", "ROOT", "container", "create", BUSYBOX, "sh"],
    &["layerfs", "--root", "ROOT", "container", "rm", "-v", "c1"],
    &["layerfs", "--root", "ROOT", "volume", "create", "new"],
    &["image-gc", "--root", "ROOT", "--all", "--min-age", "0", "--apply"],
];

struct Place<'a> {
    dir: &'a Path,
    load: &'a Path,
}

impl Place<'_> {
    /// A new copy of the store, and nothing else.
    fn reset(&self) {
        for name in ["root", "out"] {
            let _ = std::fs::remove_dir_all(self.dir.join(name));
            let _ = std::fs::remove_file(self.dir.join(name));
        }
        let mut copy = Command::new("cp");
        assert!(copy.arg("-a").args([self.dir.join("store"), self.dir.join("root")]).status().unwrap().success());
    }

    /// All names of the copy, and the file that is written.
    fn names(&self) -> BTreeSet<PathBuf> {
        let found = Command::new("find").arg(self.dir.join("root")).args(["-printf", "%P\n"]).output().unwrap();
        assert!(found.status.success());
        let names = String::from_utf8_lossy(&found.stdout);
        let out = self.dir.join("out").exists().then(|| PathBuf::from("../out"));
        names.lines().map(PathBuf::from).chain(out).collect()
    }

    /// A command in a process that may have `most` descriptors.
    fn run(&self, line: &[&str], most: u32) -> run::Ran {
        let mut command = Command::new("prlimit");
        command.arg(format!("--nofile={most}:{most}")).arg(testkit::program(line[0]));
        for argument in &line[1..] {
            match *argument {
                "ROOT" => command.arg(self.dir.join("root")),
                "OUT" => command.arg(self.dir.join("out")),
                "LOAD" => command.arg(self.load),
                other => command.arg(other),
            };
        }
        run::run(command, Input::Nothing)
    }

    /// What is wrong with how a command ended.
    fn judge(&self, line: &[&str], most: u32, (enough, changed): (Option<i32>, usize)) -> Vec<String> {
        self.reset();
        let before = self.names();
        let ran = self.run(line, most);
        let changes = changes(&before, &self.names());
        let said = ran.stderr.lines().last().unwrap_or_default();
        let title = format!("{line:?} with {most}: status {:?}, {said:?}", ran.code);
        let mut wrong = Vec::new();
        if ran.code == enough {
            if changes.len() != changed {
                wrong.push(format!("{title}: it succeeded, and {changed} names should have changed: {changes:?}"));
            }
        } else if !(ran.stderr.clone() + &ran.stdout).contains("Too many open files")
            || ran.code.is_none_or(|code| !(1..=2).contains(&code))
        {
            wrong.push(format!("{title}: it does not say what is missing: {}", ran.stdout));
        } else if !changes.is_empty() {
            wrong.push(format!("{title}: {changes:?}"));
        }
        wrong
    }
}

#[test]
fn root_few_descriptors_change_nothing_or_all() {
    let prlimit = Command::new("prlimit").arg("--version").output().is_ok();
    if !testkit::is_root() || !testkit::tier("root", prlimit, "install util-linux") {
        return;
    }
    let dir = testkit::scratch();
    let store = dir.path().join("store");
    testkit::import(&testkit::golden("busybox-20.10.tar"), &store);
    testkit::layerfs(&["--root", store.to_str().unwrap(), "container", "create", "--name", "c1", BUSYBOX, "sh"]);
    let load = testkit::golden("layers-20.10.tar");
    let place = Place { dir: dir.path(), load: &load };
    let step = if testkit::full_sweep() { 1 } else { 5 };
    let mut wrong = Vec::new();
    for (number, line) in COMMANDS.iter().enumerate() {
        place.reset();
        let before = place.names();
        let ran = place.run(line, ENOUGH);
        assert_eq!(ran.code, Some(0), "{line:?}: {}", ran.stderr);
        let expected = (ran.code, changes(&before, &place.names()).len());
        let first = 4 + u32::try_from(number).unwrap() % step;
        for most in (first..64).step_by(usize::try_from(step).unwrap()) {
            wrong.extend(place.judge(line, most, expected));
        }
    }
    testkit::assert_none("commands with few descriptors", &wrong);
}
