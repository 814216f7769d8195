//! Why a corpus cannot be made.

use std::io;
use std::path::PathBuf;

use super::CorpusKind;

/// Why a corpus cannot be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file or its temporary form cannot be made, written or renamed.
    #[error("failed to write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A bare layer was asked of a kind that has several.
    #[error("{kind} has {layers} layers: no bare layer can hold them")]
    NotOneLayer {
        /// The kind.
        kind: CorpusKind,
        /// How many it has.
        layers: usize,
    },
    /// The scale is none.
    #[error("a scale is a number from 0.0001 to 1000, not {scale}")]
    Scale {
        /// The scale asked for.
        scale: f64,
    },
    /// A layer could not be written.
    #[error("failed to write a layer")]
    Layer(#[from] io::Error),
    /// `pigz` cannot be started.
    #[error("failed to start pigz: is it installed?")]
    Pigz {
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
