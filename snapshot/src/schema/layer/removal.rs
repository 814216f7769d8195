//! Records of layers whose removal was begun: they have another name, under which dockerd does not load them.

use layerfs::ChainId;

use super::record::cache_id_in;
use super::{LayerStore, REMOVING};
use crate::error::StoreError;
use crate::ids::CacheId;

impl LayerStore {
    /// Draws the name under which a layer's record waits for its removal, in dockerd's form. dockerd does not load a
    /// record of such a name as a layer, and finishes the removal itself (moby v20.10.24 `layer/filestore.go: Remove,
    /// getOrphan`).
    pub(crate) fn removing_name(chain_id: ChainId) -> String {
        format!("{}-{}{REMOVING}", chain_id.0.hex(), CacheId::random())
    }

    /// Begins the removal of a registered layer, in one step, by renaming its record to `name`, which is from
    /// [`LayerStore::removing_name`]. Does nothing if the layer is not registered.
    pub(crate) fn withdraw(&self, chain_id: ChainId, name: &str) -> Result<(), StoreError> {
        let layers = self.layers()?;
        let hex = chain_id.0.hex();
        if layers.stat(&hex)?.is_none() { Ok(()) } else { layers.rename(&hex, layers, name) }
    }

    /// The directory that belongs to a layer whose removal was begun; `None` if the record is gone or has lost it.
    pub(crate) fn removing_cache_id(&self, name: &str) -> Result<Option<CacheId>, StoreError> {
        cache_id_in(self.layers()?, name)
    }

    /// Layers whose removal was begun, by the names of their records.
    pub(crate) fn removing(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.list_with_removals()?.1)
    }
}
