//! A sample of what cargo-fuzz does for minutes: kept inputs, changed at random from a fixed seed.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use fuzz_targets::TARGETS;

/// Inputs made of the kept ones of each target; a hundred times as many for a sweep.
const COUNT: u64 = 300;

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

#[test]
fn changed_inputs_keep_the_promises() {
    let full = std::env::var("LAYERFS_SWEEP").is_ok_and(|sweep| sweep == "full");
    let count = if full { 100 * COUNT } else { COUNT };
    for (name, target) in TARGETS {
        let dir = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../corpus")).join(name);
        let mut files: Vec<_> = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        let kept: Vec<Vec<u8>> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
        let kept: Vec<&Vec<u8>> = kept.iter().filter(|bytes| bytes.len() <= LONGEST).collect();
        for seed in 0..count {
            let mut random = Random(seed);
            let (one, other) = (kept[random.below(kept.len())], kept[random.below(kept.len())]);
            let bytes = mutated(one, other, &mut random);
            let ran = std::panic::catch_unwind(|| target(&bytes));
            assert!(ran.is_ok(), "{name}, seed {seed}: \"{}\"", bytes.escape_ascii());
        }
    }
}
