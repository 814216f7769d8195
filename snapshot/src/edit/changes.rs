//! What a transaction is asked to do, and what it did.

use std::sync::Arc;

use layerfs::{ChainId, DiffId};

use super::clear::KeptRemains;
use super::remains::Remains;
use crate::ids::ImageId;
use crate::liveness::LayerStays;
use crate::reference::Reference;
use crate::schema::distribution::BlobSource;

/// How a store is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WriteOptions {
    /// The storage driver to write for, if the user named one of [`crate::driver::WRITABLE`]; `None` for the one that
    /// the root holds. With a named driver, a root is accepted that might belong to containerd's store.
    pub driver: Option<&'static str>,
    /// Whether each step is made durable before the next.
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
        /// Its size in bytes, as Docker counts it.
        size: u64,
    },
    /// Stores an image, whose layers are in the store or are added by the same transaction. An image that exists
    /// already stays as it is.
    AddImage {
        /// Its config, byte for byte.
        config: Arc<[u8]>,
        /// The image that it was built from, which is recorded in its metadata.
        parent: Option<ImageId>,
    },
    /// Gives a name to an image. If another image has the name, the other image loses it.
    SetTag {
        /// The name.
        reference: Reference,
        /// The image.
        image: ImageId,
    },
    /// Takes a name away, if it exists.
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
    /// Notes that a repository of a registry has a layer, as dockerd does when it pulls or pushes: a later push asks
    /// there first. Such notes are a cache, so they are written last, and a crash may lose them.
    NoteSource {
        /// The layer's file at the registry.
        source: BlobSource,
        /// The layer's own content.
        diff_id: DiffId,
        /// [`source_hmac`](crate::schema::distribution::source_hmac) after a push, empty after a pull.
        hmac: String,
    },
    /// Clears away what is left of something that is gone. It stays if somebody has come to need it since, and
    /// [`Summary`] says so.
    Clear {
        /// What it is.
        remains: Remains,
    },
    /// Removes an image, if it exists. Its names and its layers are removed by edits of their own.
    RemoveImage {
        /// The image.
        image: ImageId,
    },
    /// Removes a layer, unless somebody still needs it. Add these edits for children before their parents.
    RemoveLayer {
        /// The layer with all below it.
        chain_id: ChainId,
    },
}

/// A layer that was to be removed and stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptLayer {
    /// The layer.
    pub chain_id: ChainId,
    /// Who needs it, or which record cannot be read and might need it.
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
    /// Layers that stay although they were to be removed.
    pub kept: Vec<KeptLayer>,
    /// Remains that stay although they were to be cleared away.
    pub kept_remains: Vec<KeptRemains>,
}
