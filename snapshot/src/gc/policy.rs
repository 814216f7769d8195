//! What somebody wants to go.

use std::time::Duration;

use jiff::Timestamp;

use super::exclude::Excludes;
use super::keep::{Label, Pattern};

/// Directories and files that changed later than so long ago stay, unless asked otherwise: somebody may be at work whom we do not
/// know. docker-gc has the same time.
pub const DEFAULT_MIN_AGE: Duration = Duration::from_secs(3600);

/// Which images go, and how old remains must be. Remains go whatever the rest says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The moment at which ages are counted.
    pub now: Timestamp,
    /// Images with a name go, too, if no container uses them. Otherwise only those without one.
    pub named: bool,
    /// Only images that were made before.
    pub created_before: Option<Timestamp>,
    /// Only images that were used last before.
    pub unused_since: Option<Timestamp>,
    /// Images of these names or ids stay.
    pub keep: Vec<Pattern>,
    /// Images with one of these labels stay.
    pub keep_labels: Vec<Label>,
    /// Images that these lines mean stay.
    pub excludes: Excludes,
    /// The newest images of each repository stay, as many as this.
    pub keep_last: Option<usize>,
    /// Only as many images with a name go as this needs, the least recently used first.
    pub target: Option<Target>,
    /// How old remains must be.
    pub min_age: Duration,
}

impl Policy {
    /// Images without a name, and remains of the usual age.
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
pub enum Target {
    /// So much of the file system of the layers is to be free, if less than `unless` is free now.
    Free {
        /// What is to be free in the end.
        wanted: Amount,
        /// If at least so much is free, no image goes.
        unless: Amount,
    },
    /// Images and their layers may take up so many bytes.
    Size(u64),
}

/// So many bytes, or a part of the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// Bytes.
    Bytes(u64),
    /// Thousandths of the whole.
    PerMille(u16),
}

impl Amount {
    /// In bytes, of a whole of so many.
    #[must_use]
    pub fn of(self, whole: u64) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes,
            // Rounded up: no less is asked for than was said.
            Self::PerMille(part) => {
                (u128::from(whole) * u128::from(part)).div_ceil(1000).try_into().unwrap_or(u64::MAX)
            }
        }
    }
}
