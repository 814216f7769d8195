//! Tells which layers of an image stay when the image is removed, and who needs them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use layerfs::ChainId;

use super::account::Account;
use super::parts::Part;
use crate::ids::{ContainerId, ImageId, MountName};
use crate::liveness::removal_plan::RemovalPlan;

/// A layer of an image that would stay, and who needs it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StayingLayer {
    /// The layer.
    pub layer: ChainId,
    /// Bytes allocated.
    pub allocated: u64,
    /// Who needs it.
    #[serde(flatten)]
    pub needed_by: NeededBy,
}

/// Who needs a layer. If all lists are empty, a layer that belongs to no image stands on it, or nobody needed it even
/// before: dockerd removes a layer only together with the last one who needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct NeededBy {
    /// Images that have it and are not removed.
    pub images: Vec<ImageId>,
    /// Ids of containers that stand on it or on a layer above it.
    pub containers: Vec<ContainerId>,
    /// Writable layers that stand on it or on a layer above it, and belong to no container.
    pub mounts: Vec<MountName>,
    /// Whether the build cache has it, or may have it.
    pub build_cache: bool,
}

/// The layers, base first, that stay of `images` and of the other images that the removal takes.
#[must_use]
pub fn find_staying_layers(account: &Account<'_>, removal: &RemovalPlan, images: &[ImageId]) -> Vec<StayingLayer> {
    let catalog = &account.view.catalog;
    let mut seen = BTreeSet::new();
    let of_images = images.iter().chain(&removal.images).filter_map(|id| catalog.images.get(id));
    let chains = of_images.flat_map(|image| image.chain.iter().copied());
    let staying: Vec<ChainId> = chains.filter(|chain| !removal.layers.contains(chain) && seen.insert(*chain)).collect();
    let standing = find_standing(account, removal, &staying);
    let staying_layer = |layer: ChainId| {
        let users = catalog.uses(layer).map(|used| used.image.id);
        let mut needed_by = NeededBy {
            images: users.filter(|id| !removal.images.contains(id)).collect(),
            build_cache: account.view.held_by_build_cache(layer),
            ..NeededBy::default()
        };
        for mount in standing.get(&layer).into_iter().flatten() {
            match catalog.container_of_mount(mount) {
                Some(container) => needed_by.containers.push(container.id.clone()),
                None => needed_by.mounts.push((*mount).clone()),
            }
        }
        StayingLayer { layer, allocated: account.usage(&Part::Layer(layer)).allocated, needed_by }
    };
    staying.into_iter().map(staying_layer).collect()
}

/// The mounts that stand on each of these layers, or above.
fn find_standing<'a>(
    account: &'a Account<'_>,
    removal: &RemovalPlan,
    layers: &[ChainId],
) -> HashMap<ChainId, Vec<&'a MountName>> {
    let catalog = &account.view.catalog;
    let mut tops: BTreeMap<ChainId, Vec<&MountName>> = BTreeMap::new();
    for mount in catalog.mounts.iter().filter(|mount| mount.mount_id.is_some()) {
        if let Some(parent) = mount.parent.filter(|_| !removal.takes_mount(&mount.name)) {
            tops.entry(parent).or_default().push(&mount.name);
        }
    }
    let wanted: BTreeSet<ChainId> = layers.iter().copied().collect();
    let mut standing: HashMap<ChainId, Vec<&MountName>> = HashMap::new();
    // Containers of one image stand on one layer: each chain is walked once.
    for (top, names) in &tops {
        for layer in catalog.chain(*top).map(|layer| layer.chain_id).filter(|layer| wanted.contains(layer)) {
            standing.entry(layer).or_default().extend(names);
        }
    }
    standing
}
