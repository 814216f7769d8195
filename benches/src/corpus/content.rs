//! What is in the files: bytes that compress as real ones do, at memory speed.
//!
//! A stream is made as a decoder of deflate makes its output: pieces of what came before are copied, and new bytes put
//! between them. How long the copies are, how far back they begin, and how many new bytes stand between two of them was
//! counted in what `gzip -6` made of the real files. So an encoder finds about the matches that it finds there, a decoder
//! has about the same work, and no two stretches are the same, however far apart.

use std::io::{self, Write};

use super::models::{self, Model};
use super::random::Random;

/// As far as deflate looks back.
const WINDOW: usize = 32 << 10;
/// Made at a time.
const CHUNK: usize = 128 << 10;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Source code, headers: text that repeats itself.
    Source,
    /// Documentation, scripts, configuration.
    Prose,
    /// Message catalogues, fonts, compiled caches.
    Data,
    /// Arrays of small numbers: collation tables, debug information.
    Table,
    /// Small programs and libraries.
    Binary,
    /// Large libraries.
    Library,
    /// What is compressed already.
    Packed,
    /// All of them in turn, a stretch of each: a disk image, a database.
    Mixed,
}

/// How a [`Class::Mixed`] file changes, a quarter of a mebibyte each.
const MIX: [Class; 12] = [
    Class::Library,
    Class::Prose,
    Class::Library,
    Class::Table,
    Class::Source,
    Class::Data,
    Class::Library,
    Class::Binary,
    Class::Source,
    Class::Table,
    Class::Library,
    Class::Source,
];
const STRETCH: u64 = 256 << 10;

/// The content of one layer's files: each class goes on where its last file ended, since real neighbours resemble
/// each other.
#[derive(Debug)]
pub(super) struct Content {
    seed: u64,
    streams: [Option<Stream>; 7],
    mixed: usize,
}

impl Content {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, streams: Default::default(), mixed: 0 }
    }

    /// Writes the next `size` bytes of a class.
    pub(super) fn write(&mut self, class: Class, mut size: u64, out: &mut dyn Write) -> io::Result<()> {
        if class != Class::Mixed {
            let seed = self.seed;
            return self.streams[class as usize].get_or_insert_with(|| Stream::new(class, seed)).write(size, out);
        }
        while size > 0 {
            let now = size.min(STRETCH);
            self.write(MIX[self.mixed % MIX.len()], now, out)?;
            self.mixed += 1;
            size -= now;
        }
        Ok(())
    }
}

/// The endless content of one class.
#[derive(Debug)]
struct Stream {
    random: Random,
    /// `None`: nothing repeats.
    model: Option<&'static Model>,
    /// Where new bytes are taken from.
    fresh: Vec<u8>,
    draws: Draws,
    /// A window, and what was made after it.
    made: Vec<u8>,
    /// What was handed out of it.
    taken: usize,
}

/// Tables of 256 draws each, by which one byte of a random number becomes a bin.
#[derive(Debug)]
struct Draws {
    runs: [u8; 256],
    lengths: [u8; 256],
    distances: [u8; 256],
}

impl Stream {
    fn new(class: Class, seed: u64) -> Self {
        let mut random = Random::new(seed, 0x436f_6e74 + class as u64);
        let model = models::of(class);
        let fresh = models::fresh(class, &mut random);
        let draws = Draws {
            runs: spread(model.map_or(&[1], |model| &model.runs)),
            lengths: spread(model.map_or(&[1], |model| &model.lengths)),
            distances: spread(model.map_or(&[1], |model| &model.distances)),
        };
        let mut made = Vec::with_capacity(WINDOW + CHUNK + (1 << 10));
        made.extend_from_slice(&fresh[..WINDOW]);
        let mut stream = Self { random, model, fresh, draws, made, taken: WINDOW };
        // The window begins as nothing but new bytes: go on until it is like any other.
        for _ in 0..3 {
            stream.refill();
        }
        stream
    }

    fn write(&mut self, mut size: u64, out: &mut dyn Write) -> io::Result<()> {
        while size > 0 {
            if self.taken == self.made.len() {
                self.refill();
            }
            let now = (self.made.len() - self.taken).min(usize::try_from(size).unwrap_or(usize::MAX));
            out.write_all(&self.made[self.taken..self.taken + now])?;
            self.taken += now;
            size -= now as u64;
        }
        Ok(())
    }

    fn refill(&mut self) {
        let kept = self.made.len() - WINDOW;
        self.made.copy_within(kept.., 0);
        self.made.truncate(WINDOW);
        self.taken = WINDOW;
        if self.model.is_none() {
            self.made.resize(WINDOW + CHUNK, 0);
            self.random.fill(&mut self.made[WINDOW..]);
            return;
        }
        while self.made.len() < WINDOW + CHUNK {
            self.token();
        }
    }

    /// One run of new bytes, which may be empty, and one copy.
    fn token(&mut self) {
        // One draw decides it all: three bins, and where in each.
        let bits = self.random.next();
        let byte = |at: u32| usize::from((bits >> at) as u8);
        let run = in_bin(self.draws.runs[byte(0)], (bits >> 24) as usize);
        if run > 0 {
            let at = (bits >> 34) as usize & (WINDOW - 1);
            // Wraps where the run would leave the table.
            let at = at.min(self.fresh.len() - run);
            self.made.extend_from_slice(&self.fresh[at..at + run]);
        }
        let length = in_bin(self.draws.lengths[byte(8)], (bits >> 30) as usize).max(3);
        let distance = in_bin(self.draws.distances[byte(16)], (bits >> 48) as usize).clamp(1, WINDOW);
        let from = self.made.len() - distance;
        if length <= distance {
            self.made.extend_from_within(from..from + length);
        } else {
            for at in from..from + length {
                self.made.push(self.made[at]);
            }
        }
    }
}

/// A number of the bin: bin 0 is 0, bin `n` begins at `2^(n-1)`.
fn in_bin(bin: u8, drawn: usize) -> usize {
    match bin {
        0 => 0,
        bin => {
            let low = 1usize << (bin - 1);
            low + (drawn & (low - 1))
        }
    }
}

fn spread(weights: &[u32]) -> [u8; 256] {
    let total = weights.iter().map(|&weight| u64::from(weight)).sum::<u64>();
    std::array::from_fn(|slot| super::random::index_at(weights, (slot as u64 * 2 + 1) * total / 512) as u8)
}
