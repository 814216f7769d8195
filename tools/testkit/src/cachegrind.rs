//! Work counted in instructions, which no other process disturbs: a test program runs one of its own tests under valgrind.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::tier;

/// Counts what this test program does.
#[derive(Debug)]
pub struct Counter {
    /// Holds a copy of the program.
    dir: TempDir,
}

/// The name of the copy.
const PROGRAM: &str = "program";

impl Counter {
    /// None, with the reason printed, where the tier of tests that count instructions cannot run.
    pub fn new() -> Option<Self> {
        let found = Command::new("valgrind").arg("--version").output().is_ok();
        tier("valgrind", found, "install valgrind").then(|| {
            let dir = TempDir::new().unwrap();
            strip(&std::env::current_exe().unwrap(), &dir.path().join(PROGRAM));
            Self { dir }
        })
    }

    /// Instructions of this test program while it runs the test `test` and no other, with the environment variable `variable` set
    /// to `value`.
    pub fn instructions(&self, test: &str, variable: &str, value: &str) -> u64 {
        let mut valgrind = Command::new("valgrind");
        valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
        valgrind.arg(self.dir.path().join(PROGRAM)).args(["--exact", test, "--test-threads=1"]);
        let output = valgrind.env(variable, value).output().unwrap();
        let (said, told) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
        assert!(output.status.success(), "{value}: {said}{told}");
        // A program that has no such test runs none, and succeeds.
        assert!(told.contains(" 1 passed;"), "{test} is no test: {told}");
        let line = said.lines().find(|line| line.contains("I refs:") || line.contains("I   refs:"));
        let digits = line.expect("cachegrind's count").rsplit(':').next().unwrap();
        digits.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
    }
}

/// Copies a program, without its symbols where there is a `strip`: valgrind reads them at each start, which takes longer than
/// most of what is counted.
fn strip(program: &Path, to: &Path) {
    let stripped = Command::new("strip").arg("-o").arg(to).arg(program).output();
    if !stripped.is_ok_and(|output| output.status.success()) {
        std::fs::copy(program, to).unwrap();
    }
}
