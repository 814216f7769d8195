//! How deep layers lie, each walked over once.

use std::collections::HashMap;

use layerfs::ChainId;

/// Depths that are known so far.
#[derive(Debug, Default)]
pub(super) struct Depths(HashMap<ChainId, usize>);

impl Depths {
    /// How many layers are below this one, where `below` says which one is the next. For layers that form a circle, and for those
    /// above one, it is a number that says nothing.
    pub(super) fn of(&mut self, layer: ChainId, below: impl Fn(ChainId) -> Option<ChainId>) -> usize {
        let mut path = Vec::new();
        let mut next = Some(layer);
        let mut depth = 0;
        while let Some(at) = next {
            if let Some(known) = self.0.get(&at) {
                depth = known + 1;
                break;
            }
            // A layer that is met again before its depth is known is in a circle.
            self.0.insert(at, 0);
            path.push(at);
            next = below(at);
        }
        for at in path.into_iter().rev() {
            self.0.insert(at, depth);
            depth += 1;
        }
        self.0.get(&layer).copied().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use layerfs::Digest;

    use super::*;

    fn id(number: u32) -> ChainId {
        ChainId(Digest::hash(&number.to_be_bytes()))
    }

    #[test]
    fn each_layer_is_walked_over_once() {
        const COUNT: u32 = 1000;
        let ids: Vec<ChainId> = (0..COUNT).map(id).collect();
        let parents: HashMap<ChainId, ChainId> = ids.iter().skip(1).copied().zip(ids.iter().copied()).collect();
        let asked = Cell::new(0);
        let below = |layer| {
            asked.set(asked.get() + 1);
            parents.get(&layer).copied()
        };
        let mut depths = Depths::default();
        // From the middle, from the top, and from the base.
        for number in (500..1000).rev().chain(0..1000) {
            assert_eq!(depths.of(id(number), below), number as usize);
        }
        assert_eq!(asked.get(), COUNT);
    }

    #[test]
    fn a_circle_ends() {
        let below = |layer| Some(if layer == id(1) { id(2) } else { id(1) });
        let mut depths = Depths::default();
        assert!(depths.of(id(3), below) <= 3 && depths.of(id(1), below) <= 3);
    }
}
