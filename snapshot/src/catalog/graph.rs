//! How layers, images and containers hang together, by number: one pass over the catalog, then every question is a look-up.

use std::collections::{HashMap, HashSet};

use layerfs::ChainId;

use super::{Catalog, Container, Image, RecordDamage};
use crate::ids::{ContainerId, ImageId};
use crate::schema::layer::LayerRecord;
use crate::schema::mount::{self, MountRecord};

/// Stands for "no layer" where a number is wanted.
const NONE: u32 = u32::MAX;

/// The links of a catalog. Numbers are positions in the catalog's own order.
#[derive(Debug)]
pub(crate) struct Graph {
    numbers: HashMap<ChainId, u32>,
    chains: Vec<ChainId>,
    /// The layer below each layer, among those that dockerd loads.
    parents: Vec<u32>,
    /// Bytes of each layer with all below it.
    totals: Vec<u64>,
    /// How many layers each layer's chain has: the layer and all below it.
    depths: Vec<u64>,
    images: Vec<ImageId>,
    /// The uses of layer `n` are `uses[starts[n]..starts[n + 1]]`.
    starts: Vec<u32>,
    /// For each use of a layer: the image's number, and the layer's place in that image.
    uses: Vec<(u32, u32)>,
    /// Containers that stand on each layer, and that were made from each image.
    containers_on: HashMap<ChainId, Vec<u32>>,
    containers_of: HashMap<ImageId, Vec<u32>>,
    /// The container of each entry of `layerdb/mounts` by which a container has an image mounted, and of the first part of
    /// such a name where it has slashes.
    image_mounts: HashMap<String, u32>,
}

impl Graph {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let chains: Vec<ChainId> = catalog.layers.keys().copied().collect();
        let numbers: HashMap<ChainId, u32> = chains.iter().copied().zip(0..).collect();
        let number = |chain: &ChainId| numbers.get(chain).copied();
        let records: Vec<_> = catalog.layers.values().map(|layer| layer.as_ref().ok()).collect();
        let parents: Vec<u32> = catalog.numbers_below().into_iter().map(|below| below.unwrap_or(NONE)).collect();
        let totals = sums(&parents, &records.iter().map(|record| record.map_or(0, |r| r.size)).collect::<Vec<_>>());
        let depths = sums(&parents, &vec![1; chains.len()]);
        let images: Vec<ImageId> = catalog.images.keys().copied().collect();
        let mut starts = vec![0_u32; chains.len() + 1];
        let numbered: Vec<u32> =
            catalog.images.values().flat_map(|image| numbers_of(image, &chains, &parents, number)).collect();
        for layer in numbered.iter().filter(|layer| **layer != NONE) {
            starts[*layer as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let mut uses = vec![(0, 0); *starts.last().expect("it has one more than there are layers") as usize];
        let places = catalog.images.values().zip(0_u32..);
        let places = places.flat_map(|(image, at)| (0_u32..).take(image.chain.len()).map(move |place| (at, place)));
        for (layer, used) in numbered.into_iter().zip(places).filter(|(layer, _)| *layer != NONE) {
            let at = &mut next[layer as usize];
            uses[*at as usize] = used;
            *at += 1;
        }
        let mut containers_on: HashMap<ChainId, Vec<u32>> = HashMap::new();
        let mut containers_of: HashMap<ImageId, Vec<u32>> = HashMap::new();
        let mut image_mounts = HashMap::new();
        for (container, at) in catalog.containers.iter().zip(0_u32..) {
            if let Some(layer) = container.mount.as_ref().and_then(|mount| mount.parent) {
                containers_on.entry(layer).or_default().push(at);
            }
            let mounts = container.mount_points.iter().map(|point| point.mount.as_str());
            for name in mounts.filter(|name| !name.is_empty()) {
                image_mounts.extend(name.split_once('/').map(|(first, _)| (first.to_owned(), at)));
                image_mounts.insert(name.to_owned(), at);
            }
            if let Some(image) = container.image {
                containers_of.entry(image).or_default().push(at);
            }
        }
        Self {
            numbers,
            chains,
            parents,
            totals,
            depths,
            images,
            starts,
            uses,
            containers_on,
            containers_of,
            image_mounts,
        }
    }

    /// The number of a layer.
    pub(crate) fn number(&self, chain: ChainId) -> Option<u32> {
        self.numbers.get(&chain).copied()
    }

    /// The layer of a number.
    pub(crate) fn chain_id(&self, number: u32) -> ChainId {
        self.chains[number as usize]
    }

    /// The layer below, if dockerd loads it.
    pub(crate) fn parent(&self, number: u32) -> Option<u32> {
        Some(self.parents[number as usize]).filter(|parent| *parent != NONE)
    }

    /// How many layers there are.
    pub(crate) fn len(&self) -> usize {
        self.chains.len()
    }

    /// Bytes of a layer with all below it.
    pub(super) fn total(&self, chain: ChainId) -> u64 {
        self.number(chain).map_or(0, |number| self.totals[number as usize])
    }

    /// How many layers a layer's chain has: the layer and all below it. 0 for a layer without a record.
    pub(crate) fn depth(&self, chain: ChainId) -> usize {
        self.number(chain).map_or(0, |number| usize::try_from(self.depths[number as usize]).unwrap_or(usize::MAX))
    }

    /// For each layer, by its number, whether it is one of `layers` or lies above one of them.
    pub(crate) fn standing_on(&self, layers: &HashSet<ChainId>) -> Vec<bool> {
        let marks: Vec<u64> = self.chains.iter().map(|chain| u64::from(layers.contains(chain))).collect();
        sums(&self.parents, &marks).into_iter().map(|marked| marked > 0).collect()
    }

    fn uses_of(&self, chain: ChainId) -> &[(u32, u32)] {
        let Some(number) = self.number(chain) else { return &[] };
        let (from, to) = (self.starts[number as usize], self.starts[number as usize + 1]);
        &self.uses[from as usize..to as usize]
    }
}

/// The numbers of an image's layers, base first; [`NONE`] for one that has no record. The layer below is mostly the one that the
/// record of the layer above names, and to compare takes less time than to look up.
fn numbers_of(
    image: &Image,
    chains: &[ChainId],
    parents: &[u32],
    number: impl Fn(&ChainId) -> Option<u32>,
) -> Vec<u32> {
    let mut numbers = vec![NONE; image.chain.len()];
    let mut above = NONE;
    for (own, chain) in numbers.iter_mut().zip(&image.chain).rev() {
        let named = parents.get(above as usize).copied().unwrap_or(NONE);
        let is_named = chains.get(named as usize) == Some(chain);
        *own = if is_named { named } else { number(chain).unwrap_or(NONE) };
        above = *own;
    }
    numbers
}

/// For each layer, the sum of its size and those of all layers below it. Each layer is visited once, whatever the shape;
/// layers in a circle have no parent here.
fn sums(parents: &[u32], sizes: &[u64]) -> Vec<u64> {
    let mut totals: Vec<Option<u64>> = vec![None; sizes.len()];
    let mut path = Vec::new();
    for start in 0..sizes.len() {
        let mut at = start;
        while totals[at].is_none() {
            path.push(at);
            match parents[at] {
                NONE => break,
                parent => at = parent as usize,
            }
            // Damaged layers have no parent, so a circle does not get here; if that were wrong, this must not hang.
            if path.len() > sizes.len() {
                break;
            }
        }
        let mut sum = totals[at].unwrap_or(0);
        while let Some(layer) = path.pop() {
            sum = sum.saturating_add(sizes[layer]);
            totals[layer] = Some(sum);
        }
    }
    totals.into_iter().map(Option::unwrap_or_default).collect()
}

/// A layer in one image.
#[derive(Debug, Clone, Copy)]
pub struct LayerUse<'c> {
    /// The image.
    pub image: &'c Image,
    /// The layer's place in it, 0 for the base.
    pub place: usize,
}

impl<'c> LayerUse<'c> {
    /// The command that made the layer, where the image's history tells.
    #[must_use]
    pub fn command(&self) -> Option<&'c str> {
        self.image.command_of_layer(self.place)
    }
}

/// The images that have a layer, by their ids.
#[derive(Debug, Clone)]
pub struct Uses<'c> {
    catalog: &'c Catalog,
    left: std::slice::Iter<'c, (u32, u32)>,
}

impl<'c> Iterator for Uses<'c> {
    type Item = LayerUse<'c>;

    fn next(&mut self) -> Option<LayerUse<'c>> {
        let (image, place) = self.left.next()?;
        let id = self.catalog.graph().images[*image as usize];
        Some(LayerUse { image: self.catalog.images.get(&id)?, place: *place as usize })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl ExactSizeIterator for Uses<'_> {}

impl Catalog {
    /// Who uses what, by number.
    pub(crate) fn graph(&self) -> &Graph {
        self.graph.get_or_init(|| Graph::new(self))
    }

    /// The number of the layer below each layer that dockerd would load, by their numbers.
    pub(crate) fn numbers_below(&self) -> Vec<Option<u32>> {
        let loaded = |layer: &Result<LayerRecord, RecordDamage>, below: Option<u32>| layer.as_ref().ok().and(below);
        if self.below.len() == self.layers.len() {
            return self.layers.values().zip(&self.below).map(|(layer, below)| loaded(layer, *below)).collect();
        }
        let numbers: HashMap<ChainId, u32> = self.layers.keys().copied().zip(0..).collect();
        let parent = |layer: &LayerRecord| numbers.get(&layer.parent?).copied();
        self.layers.values().map(|layer| parent(layer.as_ref().ok()?)).collect()
    }

    /// The images that have a layer.
    #[must_use]
    pub fn uses(&self, chain: ChainId) -> Uses<'_> {
        Uses { catalog: self, left: self.graph().uses_of(chain).iter() }
    }

    /// The containers that stand on a layer, damaged ones included.
    pub fn containers_on(&self, layer: ChainId) -> impl Iterator<Item = &Container> {
        self.graph().containers_on.get(&layer).into_iter().flatten().map(|at| &self.containers[*at as usize])
    }

    /// The containers that were made from an image, damaged ones included.
    pub fn containers_of(&self, image: ImageId) -> impl Iterator<Item = &Container> {
        self.graph().containers_of.get(&image).into_iter().flatten().map(|at| &self.containers[*at as usize])
    }

    /// The container with this id.
    #[must_use]
    pub fn container(&self, id: &ContainerId) -> Option<&Container> {
        let at = self.containers.binary_search_by(|container| container.id.cmp(id)).ok()?;
        self.containers.get(at)
    }

    /// The container that has an entry of `layerdb/mounts`: its writable layer, or an image that is mounted in it; `None` for a
    /// mount of something else. Where a name has slashes its first part will do.
    #[must_use]
    pub fn container_of_mount(&self, name: &str) -> Option<&Container> {
        let shown = || self.graph().image_mounts.get(name).map(|at| &self.containers[*at as usize]);
        name.parse().ok().and_then(|id| self.container(&id)).or_else(shown)
    }

    /// The record of a container's writable layer.
    pub(crate) fn mount_of(&self, container: &ContainerId) -> Option<&MountRecord> {
        mount::find(&self.mounts, container)
    }
}
