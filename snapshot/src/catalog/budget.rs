//! How much is read of many files whose contents are kept in memory. Each file has a limit of its own; this is the bound on
//! all of them together.
//!
//! In memory a file takes up to ten times its length. The bound grows with the number of files, so that a store may have as
//! many as it likes; docker has no bound.

/// Bytes that all files together may have beyond their [shares](SHARE).
const TOGETHER: u64 = 16 << 20;

/// Bytes that may be read for each file on average; docker's are a few thousand bytes long.
const SHARE: u64 = 64 << 10;

/// What is left of the bound. Files that come first have precedence.
#[derive(Debug)]
pub(crate) struct Budget {
    left: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: TOGETHER }
    }
}

impl Budget {
    /// Whether one more file of this length is read.
    pub(crate) fn admit(&mut self, length: u64) -> bool {
        self.left = self.left.saturating_add(SHARE);
        self.admit_again(length)
    }

    /// Whether a file of this length that was asked for before is read once more. It brings no share of its own then.
    pub(crate) fn admit_again(&mut self, length: u64) -> bool {
        let fits = length <= self.left;
        if fits {
            self.left -= length;
        }
        fits
    }
}

/// For each file whether it is read, by the lengths of all of them.
pub(super) fn admit(lengths: &[u64]) -> Vec<bool> {
    let mut budget = Budget::default();
    lengths.iter().map(|length| budget.admit(*length)).collect()
}

/// The text that says why a file of this length is not read.
pub(crate) fn refusal(length: u64) -> String {
    format!(
        "not read: it has {length} bytes, and with the files of its kind before it that is more than is kept in memory"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_files_are_read_whatever_their_number() {
        assert!(admit(&vec![SHARE; 10_000]).into_iter().all(|read| read));
    }

    #[test]
    fn large_files_are_read_until_they_are_too_much() {
        let read = admit(&[8 << 20, 8 << 20, 8 << 20, 4096, 8 << 20, u64::MAX]);
        assert_eq!(read, [true, true, false, true, false, false]);
    }
}
