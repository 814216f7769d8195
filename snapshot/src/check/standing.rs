//! Tells which images and containers need a layer, even if its record cannot be read.

use std::collections::{BTreeSet, HashMap, HashSet};

use layerfs::ChainId;

use super::finding::Affected;
use crate::catalog::{Catalog, RecordDamage};
use crate::ids::{ContainerId, ImageId, MountName};

/// Who stands on which layer: first by the configs of images, from which their layers' chain ids follow, then by the
/// records.
#[derive(Debug)]
pub(super) struct Standing<'c> {
    catalog: &'c Catalog,
    /// The images that have each layer, including images that dockerd would not show.
    images: HashMap<ChainId, Vec<ImageId>>,
    /// The containers whose mounts stand on each layer, or on a layer above it.
    containers: HashMap<ChainId, Vec<&'c MountName>>,
    /// The layer below each layer.
    below: HashMap<ChainId, Option<ChainId>>,
}

impl<'c> Standing<'c> {
    pub(super) fn new(catalog: &'c Catalog) -> Self {
        let mut standing = Self { catalog, images: HashMap::new(), containers: HashMap::new(), below: HashMap::new() };
        let sound = catalog.images.values().map(|image| (image.id, image.chain.as_slice()));
        let damaged = catalog.damaged_images.keys().map(|id| (*id, catalog.layers_of_damaged(*id).unwrap_or_default()));
        for (image, chain) in sound.chain(damaged) {
            let mut below = None;
            for layer in chain {
                standing.images.entry(*layer).or_default().push(image);
                standing.below.insert(*layer, below);
                below = Some(*layer);
            }
        }
        for record in catalog.layers.values().flatten() {
            standing.below.entry(record.chain_id).or_insert(record.parent);
        }
        for (layer, _) in catalog.damaged_layers() {
            if let Some(parent) = catalog.parent_of_damaged(layer) {
                standing.below.entry(layer).or_insert(parent);
            }
        }
        for mount in &catalog.mounts {
            for layer in mount.parent.map_or_else(Vec::new, |top| standing.chain(top)) {
                standing.containers.entry(layer).or_default().push(&mount.name);
            }
        }
        standing
    }

    /// A layer and the known layers below it, topmost first.
    pub(super) fn chain(&self, top: ChainId) -> Vec<ChainId> {
        let (mut chain, mut seen, mut next) = (Vec::new(), BTreeSet::new(), Some(top));
        while let Some(layer) = next.filter(|layer| seen.insert(*layer)) {
            chain.push(layer);
            next = self.below.get(&layer).copied().flatten();
        }
        chain
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
                next = self.below.get(&layer).copied().flatten();
            };
            known.extend(path.drain(..).map(|layer| (layer, verdict)));
        }
        known.into_iter().filter_map(|(layer, on_them)| on_them.then_some(layer)).collect()
    }

    /// The layer below a layer by the configs of images; `None` if none of them has the layer.
    pub(super) fn below_by_config(&self, layer: ChainId) -> Option<Option<ChainId>> {
        self.images.contains_key(&layer).then(|| self.below.get(&layer).copied().flatten())
    }

    /// Whether an image or a mount needs a layer.
    pub(super) fn is_needed(&self, layer: ChainId) -> bool {
        self.images.contains_key(&layer) || self.containers.contains_key(&layer)
    }

    /// The images that have a layer, and the containers that stand on it.
    pub(super) fn on_layer(&self, layer: ChainId) -> Affected {
        let images = self.images.get(&layer).into_iter().flatten().copied();
        let mounts = self.containers.get(&layer).into_iter().flatten();
        let containers = mounts.filter_map(|name| Some(self.catalog.container_of_mount(name)?.id.clone()));
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
    fn new(images: impl IntoIterator<Item = ImageId>, containers: impl IntoIterator<Item = ContainerId>) -> Self {
        let images: BTreeSet<ImageId> = images.into_iter().collect();
        let containers: BTreeSet<ContainerId> = containers.into_iter().collect();
        Self { images: images.into_iter().collect(), containers: containers.into_iter().collect() }
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
