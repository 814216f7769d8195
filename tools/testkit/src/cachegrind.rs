//! Work counted in instructions, which no other process disturbs: a test program runs one of its own tests under valgrind.

use std::process::Command;

use crate::tier;

/// Whether the tier of tests that count instructions can run.
pub fn has_valgrind() -> bool {
    tier("valgrind", Command::new("valgrind").arg("--version").output().is_ok(), "install valgrind")
}

/// Instructions of this test program while it runs the test `test` and no other, with the environment variable `variable` set to
/// `value`.
pub fn instructions(test: &str, variable: &str, value: &str) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--test-threads=1"]);
    let output = valgrind.env(variable, value).output().unwrap();
    let (said, told) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{value}: {said}{told}");
    // A program that has no such test runs none, and succeeds.
    assert!(told.contains(" 1 passed;"), "{test} is no test: {told}");
    let line =
        said.lines().find(|line| line.contains("I refs:") || line.contains("I   refs:")).expect("cachegrind's count");
    let digits: String = line.rsplit(':').next().unwrap().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}
