//! What was left out of a layer without failing it.

use std::fmt;

use rustix::io::Errno;
use tarsplit::names::shown;

/// Why something a member asks for was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Warning {
    /// An attribute by which overlayfs steers itself; a layer may not set those.
    OverlayXattr {
        /// Its name.
        attribute: Vec<u8>,
    },
    /// The file system does not store the attribute, or the user may not set it.
    XattrRefused {
        /// Its name.
        attribute: Vec<u8>,
        /// The system's answer.
        errno: Errno,
    },
    /// A device node that only root can make.
    DeviceSkipped,
    /// Bytes after the compressed stream that are not the start of another stream.
    TrailingGarbage {
        /// How many.
        bytes: u64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OverlayXattr { attribute } => {
                write!(f, "extended attribute {} left out: it would steer overlayfs", shown(attribute))
            }
            Self::XattrRefused { attribute, errno } => {
                write!(f, "extended attribute {} left out: {errno}", shown(attribute))
            }
            Self::DeviceSkipped => f.write_str("device node left out: only root can make it"),
            Self::TrailingGarbage { bytes } => write!(f, "{bytes} bytes behind the compressed layer ignored"),
        }
    }
}

/// Warnings kept with their names; more are only counted.
const KEPT: usize = 64;

/// The warnings of one layer: the first few, and how many in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    first: Vec<(Vec<u8>, Warning)>,
    total: u64,
}

impl Warnings {
    /// Adds a warning about the member `name`; an empty name is the layer itself.
    pub(crate) fn push(&mut self, name: &[u8], warning: Warning) {
        self.total += 1;
        if self.first.len() < KEPT {
            self.first.push((name.to_vec(), warning));
        }
    }

    /// The first warnings, with the members' names.
    #[must_use]
    pub fn first(&self) -> &[(Vec<u8>, Warning)] {
        &self.first
    }

    /// How many there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}
