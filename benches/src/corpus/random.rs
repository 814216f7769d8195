//! Numbers that look random and are the same everywhere: SplitMix64.

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A sequence that a seed decides.
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    /// The sequence `stream` of a seed: streams of one seed have nothing to do with each other.
    pub(super) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed.wrapping_mul(STEP) ^ mix(stream)))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in `n` times.
    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// An index of `weights`, as often as its weight says.
    pub(super) fn pick(&mut self, weights: &[u32]) -> usize {
        let total = weights.iter().map(|&weight| u64::from(weight)).sum::<u64>().max(1);
        index_at(weights, self.below(total))
    }

    pub(super) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let drawn = self.next().to_le_bytes();
            chunk.copy_from_slice(&drawn[..chunk.len()]);
        }
    }
}

/// The index of `weights` into which the number `at` falls, when the weights lie side by side.
pub(super) fn index_at(weights: &[u32], mut at: u64) -> usize {
    for (index, &weight) in weights.iter().enumerate() {
        match at.checked_sub(u64::from(weight)) {
            Some(rest) => at = rest,
            None => return index,
        }
    }
    weights.len().saturating_sub(1)
}

/// The element `index` of a sequence in `0..2^64` that fills the range evenly, however many of it are taken: each share of
/// a table gets its number of draws to within one or two, so that small corpora follow the tables as large ones do.
pub(super) fn evenly(offset: u64, index: u64) -> u64 {
    // Multiples of the golden ratio.
    offset.wrapping_add(index.wrapping_mul(STEP))
}

/// `drawn`, out of `0..2^64`, as a number below `bound`.
pub(super) fn scaled(drawn: u64, bound: u64) -> u64 {
    ((u128::from(drawn) * u128::from(bound)) >> 64) as u64
}

/// The finaliser of SplitMix64: spreads every bit over all of them.
pub(super) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}
