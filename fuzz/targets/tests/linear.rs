//! Twice the input is at most 2.2 times the work, for every parser and the inputs that could make it quadratic.
//!
//! The test runs itself under valgrind and compares counts of instructions, which no other process disturbs.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod inputs;

use std::process::Command;

use fuzz_targets::TARGETS;

/// Says to [`work`] what to do: the name of an input, a colon and its size.
const WORK: &str = "LAYERFS_WORK";

/// How much more work twice the input may be.
const MOST: f64 = 2.2;

#[test]
fn work_grows_as_the_input() {
    let valgrind = Command::new("valgrind").arg("--version").output().is_ok();
    let required = std::env::var("LAYERFS_REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|tier| tier == "valgrind"));
    assert!(valgrind || !required, "tier valgrind is required: install valgrind");
    if !valgrind {
        eprintln!("skipped: tier valgrind: install valgrind");
        return;
    }
    let nothing = instructions("nothing", 0);
    let mut report = Vec::new();
    for (name, size, _, _) in inputs::INPUTS {
        let work = |size| instructions(name, size).saturating_sub(nothing);
        let (once, twice) = (work(*size), work(2 * size));
        let ratio = twice as f64 / once as f64;
        eprintln!("{name}: {once} instructions for {size}, {ratio:.2} times as many for twice as much");
        assert!(once > 100_000, "{name}: {once} instructions are too few to tell");
        if ratio > MOST {
            report.push(format!("{name}: {once} instructions for {size}, {twice} for twice as much: {ratio:.2} times"));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

/// Instructions of a process that gives one input of this size to its parser.
fn instructions(name: &str, size: usize) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    valgrind.arg(std::env::current_exe().unwrap()).args(["--exact", "work", "--test-threads=1"]);
    let output = valgrind.env(WORK, format!("{name}:{size}")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}{}", String::from_utf8_lossy(&output.stdout));
    let line =
        said.lines().find(|line| line.contains("I refs:") || line.contains("I   refs:")).expect("cachegrind's count");
    let digits: String = line.rsplit(':').next().unwrap().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// What [`instructions`] counts; without being asked, a small sample of all.
#[test]
fn work() {
    let Ok(asked) = std::env::var(WORK) else {
        inputs::INPUTS.iter().for_each(|(_, size, target, input)| run(target, &input(size / 50)));
        return;
    };
    let (name, size) = asked.split_once(':').unwrap();
    if let Some((_, _, target, input)) = inputs::INPUTS.iter().find(|(input, ..)| *input == name) {
        run(target, &input(size.parse().unwrap()));
    }
}

fn run(target: &str, input: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(name, _)| *name == target).unwrap();
    target(input);
}
