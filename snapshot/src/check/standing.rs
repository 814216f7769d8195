//! Tells which images and containers need a layer, even if its record cannot be read.

use std::collections::{HashMap, HashSet};

use layerfs::ChainId;

use super::finding::Affected;
use super::mounted_on::MountedOn;
use crate::catalog::{Catalog, RecordDamage};
use crate::ids::{ContainerId, ImageId};

/// Who stands on which layer: first by the configs of images, from which their layers' chain ids follow, then by the
/// records.
#[derive(Debug)]
pub(super) struct Standing<'c> {
    catalog: &'c Catalog,
    /// All images, including those that dockerd would not show.
    ids: Vec<ImageId>,
    /// The images that have each layer, by their places in `ids`.
    images: HashMap<ChainId, Vec<u32>>,
    /// The layer below each layer.
    below: HashMap<ChainId, Option<ChainId>>,
    /// The containers of the mounts on each layer; `None` for a mount of no container.
    mounted: MountedOn<Option<&'c ContainerId>>,
}

impl<'c> Standing<'c> {
    pub(super) fn new(catalog: &'c Catalog) -> Self {
        let mut ids = Vec::with_capacity(catalog.images.len() + catalog.damaged_images.len());
        let mut images: HashMap<ChainId, Vec<u32>> = HashMap::new();
        let mut below: HashMap<ChainId, Option<ChainId>> = HashMap::new();
        let sound = catalog.images.values().map(|image| (image.id, image.chain.as_slice()));
        let damaged = catalog.damaged_images.keys().map(|id| (*id, catalog.layers_of_damaged(*id).unwrap_or_default()));
        for ((image, chain), number) in sound.chain(damaged).zip(0_u32..) {
            ids.push(image);
            let mut lower = None;
            for layer in chain {
                // Most layers are in one image.
                images.entry(*layer).or_insert_with(|| Vec::with_capacity(1)).push(number);
                below.insert(*layer, lower);
                lower = Some(*layer);
            }
        }
        for record in catalog.layers.values().flatten() {
            below.entry(record.chain_id).or_insert(record.parent);
        }
        for (layer, _) in catalog.damaged_layers() {
            if let Some(parent) = catalog.parent_of_damaged(layer) {
                below.entry(layer).or_insert(parent);
            }
        }
        let container = |name| catalog.container_of_mount(name).map(|container| &container.id);
        let mounts = catalog.mounts.iter().filter_map(|mount| Some((container(&mount.name), mount.parent?)));
        let mounted = MountedOn::new(&below, mounts);
        Self { catalog, ids, images, below, mounted }
    }

    /// The layer below a layer; `None` if there is none, or if it is not known.
    pub(super) fn below(&self, layer: ChainId) -> Option<ChainId> {
        self.below.get(&layer).copied().flatten()
    }

    /// `layers` and all known layers above any of them. Each layer is visited once.
    pub(super) fn standing_on(&self, layers: &HashSet<ChainId>) -> HashSet<ChainId> {
        if layers.is_empty() {
            return HashSet::new();
        }
        let mut known: HashMap<ChainId, bool> = layers.iter().map(|layer| (*layer, true)).collect();
        let mut path = Vec::new();
        for start in self.below.keys() {
            let mut next = Some(*start);
            let verdict = loop {
                let Some(layer) = next else { break false };
                if let Some(verdict) = known.get(&layer) {
                    break *verdict;
                }
                // A layer that is met again before it has its answer is in a circle without any of `layers`.
                known.insert(layer, false);
                path.push(layer);
                next = self.below(layer);
            };
            known.extend(path.drain(..).map(|layer| (layer, verdict)));
        }
        known.into_iter().filter_map(|(layer, on_them)| on_them.then_some(layer)).collect()
    }

    /// The layer below a layer by the configs of images; `None` if none of them has the layer.
    pub(super) fn below_by_config(&self, layer: ChainId) -> Option<Option<ChainId>> {
        self.images.contains_key(&layer).then(|| self.below(layer))
    }

    /// Whether an image or a mount needs a layer.
    pub(super) fn is_needed(&self, layer: ChainId) -> bool {
        self.images.contains_key(&layer) || !self.mounted.get(layer).is_empty()
    }

    /// The images that have a layer, and the containers that stand on it.
    pub(super) fn on_layer(&self, layer: ChainId) -> Affected {
        let images = self.images.get(&layer).into_iter().flatten().map(|number| self.ids[*number as usize]);
        let containers = self.mounted.get(layer).iter().flatten().copied().cloned();
        Affected::new(images, containers)
    }

    /// An image and the containers that were made from it.
    pub(super) fn on_image(&self, image: ImageId) -> Affected {
        let containers = self.catalog.containers_of(image).map(|container| container.id.clone());
        Affected::new([image], containers)
    }
}

impl Affected {
    /// Sorts both lists and removes duplicates.
    pub(super) fn new(
        images: impl IntoIterator<Item = ImageId>,
        containers: impl IntoIterator<Item = ContainerId>,
    ) -> Self {
        let (mut images, mut containers) = (Vec::from_iter(images), Vec::from_iter(containers));
        images.sort_unstable();
        images.dedup();
        images.shrink_to_fit();
        containers.sort_unstable();
        containers.dedup();
        Self { images, containers }
    }

    /// Adds those whom `other` lists.
    pub(super) fn join(&mut self, other: Self) {
        let own = std::mem::take(self);
        *self =
            Self::new(own.images.into_iter().chain(other.images), own.containers.into_iter().chain(other.containers));
    }

    /// One container alone.
    pub(super) fn container(id: &ContainerId) -> Self {
        Self { images: Vec::new(), containers: vec![id.clone()] }
    }
}

/// The lowest layer of a chain with damage, which is the cause of the damage above.
pub(super) fn root_of(layer: ChainId, damage: &RecordDamage) -> ChainId {
    match damage {
        RecordDamage::Record { .. } | RecordDamage::Circle => layer,
        RecordDamage::BelowMissing { below } | RecordDamage::BelowDamaged { below, .. } => *below,
    }
}
