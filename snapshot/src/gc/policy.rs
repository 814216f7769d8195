//! The policy: what the user wants to be removed.

use std::time::Duration;

use jiff::Timestamp;

use super::exclude::Excludes;
use super::keep::{Label, Pattern};

/// By default, directories and files that changed less than this time ago stay, since an unknown program may still be
/// using them. docker-gc uses the same time.
pub(crate) const DEFAULT_MIN_AGE: Duration = Duration::from_secs(3600);

/// Which images are removed, and how old remains must be. Remains are removed whatever the policy says about images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The moment from which ages are counted.
    pub now: Timestamp,
    /// Whether images with a name are removed as well, if no container uses them. Otherwise only images without a name
    /// are.
    pub named: bool,
    /// Only images that were made before this time are removed.
    pub created_before: Option<Timestamp>,
    /// Only images that were last used before this time are removed. If an image's last use is not known, it stays.
    pub unused_since: Option<Timestamp>,
    /// Images of these names or ids stay.
    pub keep: Vec<Pattern>,
    /// Images with one of these labels stay.
    pub keep_labels: Vec<Label>,
    /// Images that these lines match stay.
    pub excludes: Excludes,
    /// This many of the newest images of each repository stay.
    pub keep_last: Option<usize>,
    /// Images with a name are removed, the least recently used first, only until this target is reached.
    pub target: Option<SpaceTarget>,
    /// How old remains must be.
    pub min_age: Duration,
}

impl Policy {
    /// The policy that removes images without a name, and remains of the default age.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            named: false,
            created_before: None,
            unused_since: None,
            keep: Vec::new(),
            keep_labels: Vec::new(),
            excludes: Excludes::default(),
            keep_last: None,
            target: None,
            min_age: DEFAULT_MIN_AGE,
        }
    }
}

/// How much is to be free, or how much images may take up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpaceTarget {
    /// If less than `unless` is free now on the file system of the layers, `wanted` is to be free there.
    Free {
        /// How much is to be free in the end.
        wanted: Amount,
        /// If at least this much is free, no image is removed for the target.
        unless: Amount,
    },
    /// Images and their layers may take up this many bytes.
    Size(u64),
}

/// A number of bytes, or a part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Thousandths of the whole.
    PerMille(u16),
}

impl Amount {
    /// The amount in bytes; `whole` is the size of the whole.
    #[must_use]
    pub(crate) fn in_bytes(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Rounded up, so that never less is asked for than the user said.
            Self::PerMille(part) => {
                (u128::from(whole) * u128::from(part)).div_ceil(1000).try_into().unwrap_or(u64::MAX)
            }
        }
    }
}
