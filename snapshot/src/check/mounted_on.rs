//! Which mounts stand on a layer, of a store of any depth.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use layerfs::ChainId;

/// The mounts that stand on each layer, or on a layer above it.
///
/// All mounts are in one list, ordered so that those on a layer are beside each other. So the mounts of all layers take
/// no more room than layers and mounts together, however deep the layers lie. `T` is what is known of a mount.
#[derive(Debug)]
pub(super) struct MountedOn<T> {
    mounts: Vec<T>,
    /// Where in the list the mounts of each layer are; of the layers in a circle, only `circles` knows it.
    ranges: HashMap<ChainId, Range<usize>>,
    /// Each layer in a circle, and the layer in whose place `ranges` lists the whole circle.
    circles: HashMap<ChainId, ChainId>,
}

impl<T> MountedOn<T> {
    /// `below` is the layer below each layer, and `mounts` are mounts with the layers that they are on.
    pub(super) fn new(
        below: &HashMap<ChainId, Option<ChainId>>,
        mounts: impl IntoIterator<Item = (T, ChainId)>,
    ) -> Self {
        let mounts: Vec<(T, ChainId)> = mounts.into_iter().collect();
        let next = |layer: &ChainId| below.get(layer).copied().flatten();
        let (mut order, circles) = walk_down(mounts.iter().map(|(_, layer)| *layer), next);
        let place = |layer: ChainId| circles.get(&layer).copied().unwrap_or(layer);
        let mut on_itself: HashMap<ChainId, Vec<T>> = HashMap::new();
        for (mount, layer) in mounts {
            on_itself.entry(place(layer)).or_default().push(mount);
        }
        order.retain(|layer| place(*layer) == *layer);
        let is_lowest = |layer: &ChainId| circles.contains_key(layer) || next(layer).is_none();
        let mut above: HashMap<ChainId, Vec<ChainId>> = HashMap::new();
        for layer in order.iter().filter(|layer| !is_lowest(layer)) {
            above.entry(place(next(layer).expect("it is not the lowest"))).or_default().push(*layer);
        }
        let (mut listed, mut ranges) = (Vec::new(), HashMap::new());
        // A layer is met twice: before those above it, and after them.
        let mut todo: Vec<(ChainId, Option<usize>)> =
            order.iter().filter(|layer| is_lowest(layer)).map(|layer| (*layer, None)).collect();
        while let Some((layer, met_at)) = todo.pop() {
            if let Some(start) = met_at {
                ranges.insert(layer, start..listed.len());
                continue;
            }
            todo.push((layer, Some(listed.len())));
            listed.extend(on_itself.remove(&layer).into_iter().flatten());
            todo.extend(above.remove(&layer).into_iter().flatten().map(|layer| (layer, None)));
        }
        Self { mounts: listed, ranges, circles }
    }

    /// The mounts that stand on a layer, or on a layer above it.
    pub(super) fn get(&self, layer: ChainId) -> &[T] {
        let place = self.circles.get(&layer).unwrap_or(&layer);
        self.ranges.get(place).map_or(&[], |range| &self.mounts[range.clone()])
    }
}

/// All layers that are met on the ways down from `tops`, each once, and of the layers in circles the one in whose place
/// the circle is.
fn walk_down(
    tops: impl Iterator<Item = ChainId>,
    next: impl Fn(&ChainId) -> Option<ChainId>,
) -> (Vec<ChainId>, HashMap<ChainId, ChainId>) {
    let (mut order, mut circles, mut met) = (Vec::new(), HashMap::new(), HashSet::new());
    for top in tops {
        let (start, mut layer) = (order.len(), Some(top));
        while let Some(new) = layer.filter(|layer| met.insert(*layer)) {
            order.push(new);
            layer = next(&new);
        }
        // Where the way ends in a layer that it has passed, it has gone once around a circle.
        if let Some(first) = layer
            && let Some(at) = order[start..].iter().position(|passed| *passed == first)
        {
            circles.extend(order[start + at..].iter().map(|layer| (*layer, first)));
        }
    }
    (order, circles)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use layerfs::Digest;
    use proptest::prelude::*;

    use super::*;

    fn layer(number: usize) -> ChainId {
        ChainId(Digest::hash(&number.to_le_bytes()))
    }

    proptest! {
        /// For each layer the same mounts as a walk down from each mount finds, circles included.
        #[test]
        fn mounts_are_those_whose_way_down_meets_the_layer(
            parents in prop::collection::vec(prop::option::of(0_usize..12), 12),
            tops in prop::collection::vec(0_usize..14, 0..8),
        ) {
            let below: HashMap<ChainId, Option<ChainId>> =
                parents.iter().enumerate().map(|(at, parent)| (layer(at), parent.map(layer))).collect();
            let mounts = MountedOn::new(&below, tops.iter().map(|top| layer(*top)).enumerate());
            for number in 0..14 {
                let stands = |top: usize| {
                    let (mut met, mut next) = (BTreeSet::new(), Some(top));
                    while let Some(at) = next.filter(|at| met.insert(*at)) {
                        next = parents.get(at).copied().flatten();
                    }
                    met.contains(&number)
                };
                let expected: Vec<usize> = (0..tops.len()).filter(|at| stands(tops[*at])).collect();
                let mut found = mounts.get(layer(number)).to_vec();
                found.sort();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
