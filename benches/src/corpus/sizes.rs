//! Which size each file of a layer has.

use super::measured::{BINS, LARGE, Spec};
use super::random::{Random, evenly, index_at, mix, scaled};

/// The sizes of a layer's files by their number.
#[derive(Debug)]
pub(super) struct Sizes {
    /// Weights of the bins below [`LARGE`].
    small: Vec<u32>,
    total: u64,
    offset: u64,
    files: u64,
    large: Vec<u64>,
}

impl Sizes {
    /// `files` sizes whose sum is close to `bytes`: small files as measured, and what is left of the bytes in large ones.
    /// Small files in `bins` only.
    pub(super) fn new(spec: &Spec, bins: usize, files: u64, bytes: u64, random: &mut Random) -> Self {
        let small = spec.sizes[..bins.min(LARGE)].to_vec();
        let total = small.iter().map(|&weight| u64::from(weight)).sum::<u64>().max(1);
        let mut sizes = Self { small, total, offset: random.next(), files, large: Vec::new() };
        let mut left = bytes.saturating_sub((0..files).map(|number| sizes.small(number)).sum());
        let weights = &spec.sizes[LARGE..];
        let count = weights.iter().map(|&weight| u64::from(weight)).sum::<u64>();
        let offset = random.next();
        let smallest = 1 << (LARGE - 1);
        while count > 0 && bins == BINS && left >= smallest && (sizes.large.len() as u64) < files {
            let drawn = evenly(offset, sizes.large.len() as u64);
            let size = in_bin(LARGE + index_at(weights, scaled(drawn, count)), drawn);
            // A small corpus has no room for the largest: no file is more than half of what is left, but the last.
            let size = size.min((left / 2).max(smallest));
            sizes.large.push(size);
            left -= size;
        }
        // Every one was cut by the room left when it was drawn: no order in that.
        for at in (1..sizes.large.len()).rev() {
            sizes.large.swap(at, random.below(at as u64 + 1) as usize);
        }
        sizes
    }

    /// The size of file `number`, and whether it is one of the large ones.
    pub(super) fn size_of(&self, number: u64) -> (u64, bool) {
        let large = self.large.len() as u64;
        let before = number * large / self.files.max(1);
        if (number + 1) * large / self.files.max(1) > before {
            (self.large[before as usize], true)
        } else {
            (self.small(number), false)
        }
    }

    fn small(&self, number: u64) -> u64 {
        let drawn = evenly(self.offset, number);
        in_bin(index_at(&self.small, scaled(drawn, self.total)), mix(drawn))
    }
}

/// A size of the bin. Real ones lie below its middle: 0.43 of the way on average.
fn in_bin(bin: usize, drawn: u64) -> u64 {
    let Some(shift) = bin.checked_sub(1) else { return 0 };
    let low = 1u64 << shift;
    let at = scaled(mix(drawn), low);
    low + at * (72 + at * 28 / low) / 100
}
