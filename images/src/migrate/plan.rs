//! What would be migrated, and what cannot be kept.

use std::collections::{BTreeMap, BTreeSet};

use layerfs::ChainId;
use serde::Serialize;
use snapshot::catalog::{Catalog, Container};
use snapshot::ids::{CacheId, ContainerId, ImageId};

use super::digests::PlannedDigest;
use super::error::MigrateError;
use crate::save::{SavePlan, Selection, select, select_all};

/// A layer that becomes a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedSnapshot {
    /// The layer with all below it: the snapshot's key.
    pub chain_id: ChainId,
    /// The layer below.
    pub parent: Option<ChainId>,
    /// Its directory.
    #[serde(skip)]
    pub(super) cache_id: CacheId,
}

/// A container that goes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlannedContainer {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its image in the old store.
    pub image: Option<ImageId>,
    /// The layer it stands on.
    #[serde(skip)]
    pub(super) parent: Option<ChainId>,
    /// The directories of its init files and of what it has written.
    #[serde(skip)]
    pub(super) init: Option<CacheId>,
    #[serde(skip)]
    pub(super) written: CacheId,
}

/// What goes over into containerd's store: a function of what the old store holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationPlan {
    /// Images, and the layers' files that become blobs.
    pub save: SavePlan,
    /// The layers, parents first.
    pub snapshots: Vec<PlannedSnapshot>,
    /// The containers.
    pub containers: Vec<PlannedContainer>,
    /// The digests by which registries know images that are kept.
    pub digests: Vec<PlannedDigest>,
    /// Bytes of the layers' files that are kept for them.
    pub packed_bytes: u64,
    /// What cannot be kept, in sentences.
    pub lost: Vec<String>,
    /// Whether all of the old store goes over that can.
    pub complete: bool,
    /// Whether the new store is in the same root, so that the containers' files are those of both.
    #[serde(skip)]
    pub(super) same_root: bool,
}

impl MigrationPlan {
    /// Plans the migration of the images that `arguments` mean, with their containers; of everything, if there are none. Containers
    /// only go over within their root. [`KeptDigests::find`](super::KeptDigests::find) adds which digests of registries are kept.
    ///
    /// # Errors
    /// [`MigrateError::Select`]
    pub fn new(catalog: &Catalog, arguments: &[String], same_root: bool) -> Result<Self, MigrateError> {
        let all = arguments.is_empty();
        let mut lost = Vec::new();
        let selection = if all { everything(catalog, &mut lost) } else { select(catalog, arguments)? };
        let save = SavePlan::new(catalog, &selection, &BTreeSet::new());
        let mut containers = Vec::new();
        for container in catalog.live_containers().filter(|container| container.driver == "overlay2") {
            let wanted = all || container.image.is_some_and(|image| selection.contains_key(&image));
            let found = if same_root { planned(catalog, container) } else { Err("containers stay in their data-root") };
            match found {
                _ if !wanted => {}
                Ok(planned) => containers.push(planned),
                Err(why) => lost.push(format!("container {}: {why}", container.name)),
            }
        }
        for damaged in catalog.containers().iter().filter(|container| all && container.damage.is_some()) {
            lost.push(format!("container {}: it is damaged", damaged.id));
        }
        let mut snapshots = BTreeMap::new();
        let mut order = Vec::new();
        let tops = selection.keys().filter_map(|id| catalog.images()[id].chain.last().copied());
        for top in tops.chain(containers.iter().filter_map(|container: &PlannedContainer| container.parent)) {
            add_chain(catalog, top, &mut snapshots, &mut order);
        }
        let snapshots = order.into_iter().filter_map(|chain_id| snapshots.remove(&chain_id)).collect();
        let (digests, packed_bytes) = (Vec::new(), 0);
        Ok(Self { save, snapshots, containers, digests, packed_bytes, lost, complete: all, same_root })
    }
}

/// All images that docker lists, with all their names.
fn everything(catalog: &Catalog, lost: &mut Vec<String>) -> Selection {
    let mut selection = select_all(catalog);
    for image in catalog.images().values().filter(|image| image.chain.is_empty()) {
        lost.push(format!("image {}: it has no layers", image.id));
    }
    for id in catalog.damaged_images().keys() {
        lost.push(format!("image {id}: it is damaged"));
    }
    let before = selection.len();
    selection.retain(|id, _| !catalog.is_intermediate(&catalog.images()[id]));
    if selection.len() < before {
        let count = before - selection.len();
        let (images, their) = if count == 1 { ("image", "its") } else { ("images", "their") };
        lost.push(format!(
            "{count} {images} without a name from which others were built: {their} layers go over with those"
        ));
    }
    selection
}

/// What of a container goes over, or why it cannot.
pub(super) fn planned(catalog: &Catalog, container: &Container) -> Result<PlannedContainer, &'static str> {
    let mount = container.mount.as_ref().ok_or("its writable layer is not known")?;
    let written = mount.mount_id.clone().ok_or("its writable layer is not known")?;
    let parent = mount.parent;
    if parent.is_some_and(|parent| catalog.layer(parent).is_none()) {
        return Err("the layer that it stands on is damaged");
    }
    let (id, name) = (container.id.clone(), container.name.clone());
    Ok(PlannedContainer { id, name, image: container.image, parent, init: mount.init_id.clone(), written })
}

/// Adds a layer and all below it, parents first.
fn add_chain(
    catalog: &Catalog,
    top: ChainId,
    snapshots: &mut BTreeMap<ChainId, PlannedSnapshot>,
    order: &mut Vec<ChainId>,
) {
    let mut chain: Vec<_> = catalog.chain(top).take_while(|layer| !snapshots.contains_key(&layer.chain_id)).collect();
    while let Some(layer) = chain.pop() {
        let (chain_id, parent) = (layer.chain_id, layer.parent);
        snapshots.insert(chain_id, PlannedSnapshot { chain_id, parent, cache_id: layer.cache_id.clone() });
        order.push(chain_id);
    }
}
