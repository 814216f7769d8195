//! Takes a change back from anywhere before its commit point.

use std::collections::HashSet;

use layerfs::ChainId;

use super::disposal::Disposal;
use super::finish::remove_layers;
use super::record::Record;
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::liveness::{Departing, Owners, images};
use crate::root::WritableRoot;
use crate::schema::layer::LayerStore;

/// Removes the images and layers that a transaction was to add, as far as they exist and nobody needs them.
pub(super) fn take_back(root: &WritableRoot, record: &Record, sync: bool) -> Result<(), StoreError> {
    let needed =
        if record.added_images.is_empty() { HashSet::new() } else { images::needed(root, &record.added_images)? };
    let there = |id: &&ImageId| root.images.written(**id).is_ok_and(|written| written.is_some());
    let images: Vec<ImageId> =
        record.added_images.iter().filter(|id| !needed.contains(id)).filter(there).copied().collect();
    for id in &images {
        root.images.remove(*id)?;
    }
    if sync && !images.is_empty() {
        root.images.sync()?;
    }
    let registered: HashSet<ChainId> = root.layers.list()?.into_iter().collect();
    let layers: Vec<ChainId> =
        record.added_layers.iter().rev().filter(|chain_id| registered.contains(chain_id)).copied().collect();
    if layers.is_empty() {
        return Ok(());
    }
    let (going, _) = Owners::read_all(root, &Departing::default())?.removable(&layers);
    let going: Vec<(ChainId, String)> =
        going.into_iter().map(|chain_id| (chain_id, LayerStore::removing_name(chain_id))).collect();
    remove_layers(root, &going, &Disposal::Delete, sync)
}
