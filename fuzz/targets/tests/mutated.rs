//! A sample of what cargo-fuzz does for minutes: kept inputs, changed at random from a fixed seed.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a test fails by panicking, and says how far it came")]

use std::path::Path;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use fuzz_targets::TARGETS;

/// Inputs made of the kept ones of each target; a hundred times as many for a sweep.
const COUNT: u64 = 300;

/// An input of a few kilobytes that takes longer shows work that does not grow as the input.
const SLOWEST: Duration = Duration::from_secs(20);

/// Longer inputs are left to cargo-fuzz.
const LONGEST: usize = 8 << 10;

/// Numbers that are the same in every run (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % limit.max(1) as u64).unwrap()
    }
}

/// `bytes` with a few changes: a byte, a bit, a part left out, doubled, or taken from `other`.
fn mutated(bytes: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + random.below(20)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] = random.below(256) as u8,
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 => drop(bytes.drain(at..end)),
            3 => {
                let part = bytes[at..end].repeat(1 + random.below(3));
                drop(bytes.splice(at..at, part));
            }
            4 => {
                let from = random.below(other.len() + 1);
                let part = other[from..(from + random.below(40)).min(other.len())].to_vec();
                drop(bytes.splice(at..end, part));
            }
            _ => {
                const TOKENS: [&str; 12] =
                    ["0", "-1", "9223372036854775807", "null", "[", "}", "\"", "\\u0000", "{{", "%d", "/../", "=\n"];
                drop(bytes.splice(at..at, TOKENS[random.below(TOKENS.len())].bytes()));
            }
        }
    }
    bytes
}

/// The kept inputs of a target.
fn kept(name: &str) -> Vec<Vec<u8>> {
    let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus")).join(name);
    let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let kept = files.iter().map(|file| std::fs::read(file).unwrap());
    kept.filter(|bytes| bytes.len() <= LONGEST).collect()
}

/// One of the kept inputs, changed.
fn input(kept: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let (one, other) = (&kept[random.below(kept.len())], &kept[random.below(kept.len())]);
    mutated(one, other, &mut random)
}

#[test]
fn changed_inputs_keep_the_promises() {
    let full = std::env::var("LAYERFS_SWEEP").is_ok_and(|sweep| sweep == "full");
    let count = if full { 100 * COUNT } else { COUNT };
    for (name, target) in TARGETS {
        let kept = kept(name);
        for seed in 0..count {
            let bytes = input(&kept, seed);
            let ran = std::panic::catch_unwind(|| target(&bytes));
            assert!(ran.is_ok(), "{name}, seed {seed}: \"{}\"", bytes.escape_ascii());
        }
    }
}

/// Changes the kept inputs for so many seconds, for one target or for all in turn, with all processors: what `just fuzz` does where
/// there is no cargo-fuzz. Nothing tells which changes lead further, so it finds less than cargo-fuzz in the same time.
#[test]
#[ignore = "`just fuzz` runs it, for minutes"]
fn fuzz_for_a_time() {
    let setting = |name: &str| std::env::var(name).ok();
    let wanted = setting("LAYERFS_FUZZ_TARGET").unwrap_or_else(|| "all".to_owned());
    let seconds = setting("LAYERFS_FUZZ_SECONDS").map_or(60, |text| text.parse().unwrap());
    let chosen: Vec<_> = TARGETS.iter().filter(|(name, _)| wanted == "all" || wanted == *name).collect();
    assert!(!chosen.is_empty(), "no target is called {wanted}");
    let threads = std::thread::available_parallelism().map_or(1, usize::from) as u64;
    // No seed of another run, nor of the sample above.
    let first = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let report = Mutex::new(Vec::new());
    for (name, target) in chosen {
        let kept = kept(name);
        let until = Instant::now() + Duration::from_secs(seconds);
        let run = |thread: u64| {
            let mut seed = first.wrapping_add(thread << 56);
            let before = seed;
            while Instant::now() < until {
                let bytes = input(&kept, seed);
                let began = Instant::now();
                let ran = std::panic::catch_unwind(|| target(&bytes)).is_ok();
                let took = began.elapsed();
                if !ran || took > SLOWEST {
                    let line = format!("{name}, {took:?}, seed {seed}: \"{}\"", bytes.escape_ascii());
                    eprintln!("{line}");
                    report.lock().unwrap().push(line);
                    break;
                }
                seed = seed.wrapping_add(1);
            }
            seed.wrapping_sub(before)
        };
        let run = &run;
        let runs: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        eprintln!("{name}: {runs} inputs");
    }
    let report = report.into_inner().unwrap();
    assert!(report.is_empty(), "{}", report.join("\n"));
}
