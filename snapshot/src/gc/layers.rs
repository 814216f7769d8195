//! Which layers nobody needs once some images and mounts are removed.

use std::collections::{HashMap, HashSet};

use layerfs::ChainId;

use crate::catalog::{Image, with_causes};
use crate::ids::{ImageId, MountName};
use crate::liveness::Doubt;
use crate::view::View;

/// For each layer, how many images have it, and whether anything else needs it.
#[derive(Debug)]
pub(super) struct LayerNeeds<'v> {
    view: &'v View,
    /// How many images have each layer, by the layer's number in the graph.
    images: Vec<u32>,
    pinned: Vec<bool>,
    gone: Vec<bool>,
    /// The image that was the last to need a layer.
    with: HashMap<ChainId, ImageId>,
}

impl<'v> LayerNeeds<'v> {
    /// Counts who needs each layer. `going` are mounts that will be removed, so they do not count.
    pub(super) fn new(view: &'v View, going: &HashSet<MountName>) -> Self {
        let catalog = &view.catalog;
        let length = catalog.graph().len();
        let mut layers = Self {
            view,
            images: vec![0; length],
            pinned: vec![false; length],
            gone: vec![false; length],
            with: HashMap::new(),
        };
        for image in catalog.images.values() {
            for number in layers.numbers_of(image) {
                layers.images[number as usize] += 1;
            }
        }
        let mounts = catalog.mounts.iter().filter(|mount| !going.contains(&mount.name));
        mounts.filter_map(|mount| mount.parent).for_each(|parent| layers.pin(parent));
        match view.snapshots() {
            Ok(snapshots) => snapshots.chains().iter().for_each(|chain| layers.pin(*chain)),
            // This error is also a doubt, with which nothing at all is removed.
            Err(_) => layers.pinned.fill(true),
        }
        for id in catalog.damaged_images.keys() {
            catalog.layers_of_damaged(*id).into_iter().flatten().for_each(|chain| layers.pin(*chain));
        }
        let below: Vec<ChainId> =
            catalog.damaged_layers().filter_map(|(id, _)| catalog.parent_of_damaged(id).flatten()).collect();
        below.into_iter().for_each(|chain| layers.pin(chain));
        layers
    }

    /// The records that cannot be read and might need any layer.
    pub(super) fn doubts(view: &View) -> Vec<Doubt> {
        let catalog = &view.catalog;
        let images = catalog.damaged_images.iter().filter(|(id, _)| catalog.layers_of_damaged(**id).is_none());
        let images = images.map(|(id, cause)| Doubt::Image { image: *id, cause: cause.to_string() });
        let layers = catalog.damaged_layers().filter(|(id, _)| catalog.parent_of_damaged(*id).is_none());
        let layers = layers.map(|(id, cause)| Doubt::LayerRecord { record: id.0.hex(), cause: cause.to_string() });
        let cache = view.snapshots().err().map(|error| Doubt::BuildCache { cause: with_causes(error) });
        images.chain(layers).chain(cache).collect()
    }

    fn numbers_of(&self, image: &Image) -> Vec<u32> {
        let graph = self.view.catalog.graph();
        // Count the layers by their records, as far as these can be read, and by the image's config: either may name a
        // layer that the other does not.
        let mut numbers: Vec<u32> = image.chain.iter().filter_map(|chain| graph.number(*chain)).collect();
        let mut next = image.chain.last().and_then(|top| graph.number(*top));
        while let Some(number) = next {
            numbers.push(number);
            next = graph.parent(number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    }

    /// Notes that something other than an image needs a layer, and so all layers below it.
    pub(super) fn pin(&mut self, chain: ChainId) {
        let graph = self.view.catalog.graph();
        let mut next = graph.number(chain);
        while let Some(number) = next.filter(|number| !self.pinned[*number as usize]) {
            self.pinned[number as usize] = true;
            next = graph.parent(number);
        }
    }

    /// The layers that nobody needs now, children before parents.
    pub(super) fn unneeded(&self) -> Vec<ChainId> {
        let free = (0_u32..).zip(&self.images).filter(|(number, images)| **images == 0 && self.is_free(*number));
        self.sorted(free.map(|(number, _)| number).collect())
    }

    fn is_free(&self, number: u32) -> bool {
        !self.pinned[number as usize] && !self.gone[number as usize]
    }

    /// Notes that an image is removed. Returns the layers that nobody needs any more, children before parents.
    pub(super) fn remove(&mut self, image: &Image) -> Vec<ChainId> {
        let mut free = Vec::new();
        for number in self.numbers_of(image) {
            let left = &mut self.images[number as usize];
            *left = left.saturating_sub(1);
            if *left == 0 && self.is_free(number) {
                self.gone[number as usize] = true;
                self.with.insert(self.view.catalog.graph().chain_id(number), image.id);
                free.push(number);
            }
        }
        self.sorted(free)
    }

    /// The image that was the last to need a layer.
    pub(super) fn last_image(&self, chain: ChainId) -> Option<ImageId> {
        self.with.get(&chain).copied()
    }

    /// Sorts these layers, children before parents.
    pub(super) fn children_first(&self, chains: &HashSet<ChainId>) -> Vec<ChainId> {
        let graph = self.view.catalog.graph();
        self.sorted(chains.iter().filter_map(|chain| graph.number(*chain)).collect())
    }

    /// Sorts layers, children before parents.
    fn sorted(&self, numbers: Vec<u32>) -> Vec<ChainId> {
        let graph = self.view.catalog.graph();
        let depth = |number: u32| std::iter::successors(Some(number), |number| graph.parent(*number)).count();
        let mut sorted: Vec<(std::cmp::Reverse<usize>, ChainId)> =
            numbers.into_iter().map(|number| (std::cmp::Reverse(depth(number)), graph.chain_id(number))).collect();
        sorted.sort_unstable();
        sorted.into_iter().map(|(_, chain)| chain).collect()
    }
}
