//! How content repeats itself, class by class: counted in the output of `gzip -6` over the real files.

use super::content::Class;
use super::names::Words;
use super::random::Random;

/// Shares of the tokens of deflate, binned by bit length: bin 0 is 0, bin `n` begins at `2^(n-1)`.
#[derive(Debug)]
pub(super) struct Model {
    /// Lengths of the runs of literals before a match.
    pub(super) runs: [u32; 7],
    /// Lengths of matches.
    pub(super) lengths: [u32; 10],
    /// Distances of matches.
    pub(super) distances: [u32; 16],
    /// Of 256 matches after new bytes, how many go on where the last one ended: a few bytes of a long match changed.
    pub(super) again: u8,
    /// Of 2^24 matches, how many are long and beyond the window of deflate.
    pub(super) far: u32,
}

const SOURCE: Model = Model {
    runs: [699, 169, 83, 38, 9, 2, 0],
    lengths: [0, 0, 89, 354, 247, 150, 78, 32, 21, 28],
    distances: [0, 4, 0, 7, 17, 32, 63, 73, 73, 81, 89, 101, 119, 103, 112, 124],
    again: 200,
    far: 360_000,
};

const PROSE: Model = Model {
    runs: [600, 220, 120, 45, 12, 3, 0],
    lengths: [0, 0, 110, 420, 250, 130, 55, 20, 9, 6],
    distances: [0, 4, 0, 7, 17, 32, 63, 73, 73, 81, 89, 101, 119, 103, 112, 124],
    again: 200,
    far: 320_000,
};

const DATA: Model = Model {
    runs: [536, 255, 161, 38, 8, 1, 0],
    lengths: [0, 0, 147, 521, 234, 74, 18, 4, 1, 2],
    distances: [0, 7, 0, 39, 58, 41, 63, 63, 62, 69, 82, 95, 103, 95, 105, 119],
    again: 160,
    far: 260_000,
};

const TABLE: Model = Model {
    runs: [50, 860, 75, 18, 1, 0, 0],
    lengths: [0, 0, 535, 249, 44, 166, 6, 0, 0, 0],
    distances: [0, 1, 0, 467, 30, 106, 114, 15, 22, 45, 60, 33, 22, 12, 15, 58],
    again: 190,
    far: 0,
};

const BINARY: Model = Model {
    runs: [288, 349, 230, 97, 27, 7, 1],
    lengths: [0, 0, 231, 506, 193, 50, 9, 3, 1, 6],
    distances: [0, 10, 1, 35, 64, 103, 68, 78, 76, 87, 84, 92, 93, 64, 65, 81],
    again: 100,
    far: 240_000,
};

const LIBRARY: Model = Model {
    runs: [440, 365, 115, 50, 22, 7, 1],
    lengths: [0, 0, 180, 460, 225, 100, 25, 6, 2, 2],
    distances: [0, 2, 1, 16, 50, 73, 58, 71, 67, 75, 83, 93, 105, 89, 103, 113],
    again: 160,
    far: 90_000,
};

/// The model of a class; `None` for what does not repeat.
pub(super) fn find_model(class: Class) -> Option<&'static Model> {
    match class {
        Class::Source => Some(&SOURCE),
        Class::Prose => Some(&PROSE),
        Class::Data => Some(&DATA),
        Class::Table => Some(&TABLE),
        Class::Binary => Some(&BINARY),
        Class::Library => Some(&LIBRARY),
        Class::Packed | Class::Mixed => None,
    }
}

/// New bytes of a class, 64 KiB.
pub(super) fn fresh(class: Class, random: &mut Random) -> Vec<u8> {
    const LENGTH: usize = 64 << 10;
    let mut bytes = Vec::with_capacity(LENGTH + 64);
    let words = Words::new(random);
    while bytes.len() < LENGTH {
        match class {
            Class::Source | Class::Prose => line(&words, class, random, &mut bytes),
            Class::Data => {
                bytes.extend_from_slice(words.pick(random).as_bytes());
                bytes.extend_from_slice(&random.next().to_le_bytes()[..4]);
            }
            // Small numbers: a bit is set in one of eight cases.
            Class::Table => {
                let bits = random.next() & random.next() & random.next();
                bytes.extend_from_slice(&bits.to_le_bytes());
            }
            Class::Binary | Class::Library => instruction(random, &mut bytes),
            Class::Packed | Class::Mixed => bytes.extend_from_slice(&random.next().to_le_bytes()),
        }
    }
    bytes.truncate(LENGTH);
    bytes
}

fn line(words: &Words, class: Class, random: &mut Random, out: &mut Vec<u8>) {
    let code = class == Class::Source;
    if code {
        out.resize(out.len() + 4 * random.below(4) as usize, b' ');
    }
    for _ in 0..3 + random.below(8) {
        out.extend_from_slice(words.pick(random).as_bytes());
        let between: &[&[u8]] =
            if code { &[b" ", b"(", b"->", b"_", b", ", b" = "] } else { &[b" ", b" ", b" ", b", "] };
        out.extend_from_slice(between[random.below(between.len() as u64) as usize]);
    }
    out.extend_from_slice(if code { b";\n" } else { b".\n" });
}

/// Something like an instruction of x86-64: common bytes first, then an offset.
fn instruction(random: &mut Random, out: &mut Vec<u8>) {
    const COMMON: [u8; 16] =
        [0x00, 0x48, 0x89, 0x8B, 0xE8, 0xFF, 0x0F, 0x4C, 0x24, 0x85, 0xC0, 0x41, 0x83, 0x8D, 0x00, 0x74];
    for _ in 0..2 {
        out.push(COMMON[random.below(16) as usize]);
    }
    out.extend_from_slice(&random.next().to_le_bytes()[..3]);
}
