//! What a transaction is asked to do, and what it did.

use std::sync::Arc;

use layerfs::{ChainId, DiffId};

use super::clear::KeptRemains;
use super::remains::Remains;
use crate::ids::ImageId;
use crate::liveness::LayerStays;
use crate::reference::Reference;

/// How a store is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// The storage driver, if the user named one of [`crate::driver::WRITABLE`]; else what the root holds. If it was named, a
    /// root that could belong to containerd's store is taken.
    pub driver: Option<&'static str>,
    /// Each step is made durable before the next.
    pub sync: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { driver: None, sync: true }
    }
}

/// A layer that is being unpacked: the number of its write-set in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(pub(super) usize);

/// One change to a store.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Registers a staged layer. Its parent is in the store, or is added before it.
    AddLayer {
        /// Where it was staged.
        slot: Slot,
        /// The layer with all below it.
        chain_id: ChainId,
        /// The layer's own content.
        diff_id: DiffId,
        /// The layer below.
        parent: Option<ChainId>,
        /// Docker's size of it, in bytes.
        size: u64,
    },
    /// Stores an image, whose layers are in the store or are added by the same transaction. One that is there stays.
    AddImage {
        /// Its config, byte for byte.
        config: Arc<[u8]>,
        /// The image it was built from, to be recorded.
        parent: Option<ImageId>,
    },
    /// Gives a name to an image; another image that has it loses it.
    SetTag {
        /// The name.
        reference: Reference,
        /// The image.
        image: ImageId,
    },
    /// Takes a name away. One that is not there is fine.
    Untag {
        /// The name.
        reference: Reference,
    },
    /// Records when an image was tagged last, as `docker tag` does.
    SetLastUpdated {
        /// The image.
        image: ImageId,
        /// The time as Go prints it: RFC 3339.
        time: String,
    },
    /// Clears away what is left of something that is gone. What somebody has come to need stays, and [`Summary`] says so.
    Clear {
        /// What it is.
        remains: Remains,
    },
    /// Takes an image away; its names and layers are edits of their own. One that is not there is fine.
    RemoveImage {
        /// The image.
        image: ImageId,
    },
    /// Takes a layer away, unless somebody still needs it: children come before their parents.
    RemoveLayer {
        /// The layer with all below it.
        chain_id: ChainId,
    },
}

/// A layer that was to go and did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLayer {
    /// The layer.
    pub chain_id: ChainId,
    /// Who needs it, or what could not be read that might.
    pub reason: LayerStays,
}

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Summary {
    /// Layers that are new.
    pub added_layers: Vec<ChainId>,
    /// Images that are new.
    pub added_images: Vec<ImageId>,
    /// Layers that are gone.
    pub removed_layers: Vec<ChainId>,
    /// Layers that stay although they were to go.
    pub kept: Vec<KeptLayer>,
    /// Remains that stay although they were to be cleared away.
    pub kept_remains: Vec<KeptRemains>,
}
