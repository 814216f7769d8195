//! Why a store could not be mended.

use layerfs::{ChainId, DiffId, UnpackError};

use super::donor::DonorError;
use crate::error::StoreError;

/// Why a repair ended. What was mended before stays mended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RepairError {
    /// The store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A text that was to choose an image matches none.
    #[error("no such image: {text}")]
    NoSuchImage {
        /// What was asked for.
        text: String,
    },
    /// A source of good content cannot be read.
    #[error("{donor}")]
    Donor {
        /// Which.
        donor: String,
        /// Why.
        #[source]
        source: DonorError,
    },
    /// A layer of a source cannot be unpacked.
    #[error("layer {layer} from {donor}")]
    Unpack {
        /// The layer.
        layer: ChainId,
        /// The source.
        donor: String,
        /// Why.
        #[source]
        source: Box<UnpackError>,
    },
    /// A layer of a source has another diff id than the source says.
    #[error("layer {layer} from {donor} has the diff id {found}, not {expected}")]
    DiffId {
        /// The layer.
        layer: ChainId,
        /// The source.
        donor: String,
        /// What it must be.
        expected: DiffId,
        /// What it is.
        found: DiffId,
    },
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}
