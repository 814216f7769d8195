//! Twice the input is at most 2.2 times the work, for every parser and the inputs that could make it quadratic.
//!
//! The test runs itself under valgrind and compares counts of instructions, which no other process disturbs.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says why it was skipped")]

mod inputs;

use fuzz_targets::TARGETS;
use testkit::cachegrind::Counter;

/// Says to [`work`] what to do: the name of an input, a colon and its size.
const WORK: &str = "LAYERFS_WORK";

/// How much more work twice the input may be.
const MOST: f64 = 2.2;

#[test]
fn work_grows_as_the_input() {
    let Some(counter) = Counter::new() else { return };
    let nothing = counter.instructions("work", WORK, "nothing:0");
    let mut report = Vec::new();
    let counts = testkit::two_at_a_time(inputs::INPUTS, |(name, size, _, _)| {
        [*size, 2 * size]
            .map(|size| counter.instructions("work", WORK, &format!("{name}:{size}")).saturating_sub(nothing))
    });
    for ((name, size, _, _), [once, twice]) in inputs::INPUTS.iter().zip(counts) {
        let ratio = twice as f64 / once as f64;
        eprintln!("{name}: {once} instructions for {size}, {ratio:.2} times as many for twice as much");
        assert!(once > 100_000, "{name}: {once} instructions are too few to tell");
        if ratio > MOST {
            report.push(format!("{name}: {once} instructions for {size}, {twice} for twice as much: {ratio:.2} times"));
        }
    }
    assert!(report.is_empty(), "{}", report.join("\n"));
}

/// What [`Counter::instructions`] counts; without being asked, a small sample of all.
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
