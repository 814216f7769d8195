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
/// As far as anything is copied: zstd sees that, deflate does not.
const HISTORY: usize = 1 << 20;
/// Made at a time.
const CHUNK: usize = 1 << 20;
/// Made before the first byte is handed out: a stream begins as nothing but new bytes.
const PRELUDE: usize = 128 << 10;
/// Copied at a time, also beyond what was asked for.
const STEP: usize = 16;
/// The most that a token makes, and a step more.
const SLACK: usize = 4 << 10;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
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
    /// History, then what was made after it, then room.
    made: Vec<u8>,
    /// What was handed out of it.
    taken: usize,
    /// How far it is made.
    end: usize,
    /// How far back the last copy began.
    distance: usize,
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
        let model = models::find_model(class);
        let fresh = models::fresh(class, &mut random);
        let draws = Draws {
            runs: spread(model.map_or(&[1], |model| &model.runs)),
            lengths: spread(model.map_or(&[1], |model| &model.lengths)),
            distances: spread(model.map_or(&[1], |model| &model.distances)),
        };
        let mut made = vec![0; HISTORY + CHUNK + SLACK];
        made[..WINDOW].copy_from_slice(&fresh[..WINDOW]);
        let mut stream = Self { random, model, fresh, draws, made, taken: WINDOW, end: WINDOW, distance: 1 };
        stream.make(WINDOW + PRELUDE);
        stream.taken = stream.end;
        stream
    }

    fn write(&mut self, mut size: u64, out: &mut dyn Write) -> io::Result<()> {
        while size > 0 {
            if self.taken == self.end {
                if self.end > HISTORY + CHUNK - PRELUDE {
                    self.made.copy_within(self.end - HISTORY..self.end, 0);
                    (self.taken, self.end) = (HISTORY, HISTORY);
                }
                // A part of the room: most layers want little of most classes.
                self.make(self.end + PRELUDE);
            }
            let now = (self.end - self.taken).min(usize::try_from(size).unwrap_or(usize::MAX));
            out.write_all(&self.made[self.taken..self.taken + now])?;
            self.taken += now;
            size -= now as u64;
        }
        Ok(())
    }

    /// Goes on at least until `end`.
    fn make(&mut self, end: usize) {
        let Some(model) = self.model else {
            self.random.fill(&mut self.made[self.end..end]);
            self.end = end;
            return;
        };
        while self.end < end {
            self.token(model);
        }
    }

    /// One run of new bytes, which may be empty, and one copy.
    fn token(&mut self, model: &Model) {
        // One draw decides it all: three bins, and where in each.
        let bits = self.random.next();
        let byte = |at: u32| usize::from((bits >> at) as u8);
        let run = in_bin(self.draws.runs[byte(0)], (bits >> 24) as usize);
        if run > 0 {
            let at = (bits >> 30) as usize & (WINDOW - 1);
            for step in (0..run).step_by(STEP) {
                let (from, to) = (at + step, self.end + step);
                self.made[to..to + STEP].copy_from_slice(&self.fresh[from..from + STEP]);
            }
            self.end += run;
        }
        let mut length = in_bin(self.draws.lengths[byte(8)], (bits >> 28) as usize).clamp(3, 258);
        // The same draw, its bits in other places.
        let other = bits.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        if other as u32 >> 8 < model.far {
            self.distance = WINDOW + (other >> 32) as usize % HISTORY;
            length *= 8;
        } else if run == 0 || other >> 56 >= u64::from(model.again) {
            self.distance = in_bin(self.draws.distances[byte(16)], (bits >> 48) as usize).clamp(1, WINDOW);
        }
        self.copy(self.distance.min(self.end), length);
    }

    fn copy(&mut self, distance: usize, length: usize) {
        let (from, to) = (self.end - distance, self.end);
        if distance >= STEP {
            for step in (0..length).step_by(STEP) {
                self.made.copy_within(from + step..from + step + STEP, to + step);
            }
        } else {
            for at in 0..length {
                self.made[to + at] = self.made[from + at];
            }
        }
        self.end += length;
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
