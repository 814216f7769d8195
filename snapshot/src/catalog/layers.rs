//! Layers as dockerd loads them: each with all below it, or not at all.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use layerfs::ChainId;

use super::damage::RecordDamage;
use super::with_causes;
use crate::error::StoreError;
use crate::parallel;
use crate::schema::layer::{LayerRecord, LayerStore};

/// Layers by their ids, or why dockerd would not load them.
pub(super) type Layers = BTreeMap<ChainId, Result<LayerRecord, RecordDamage>>;

/// All layers of a store.
pub(super) struct AllLayers {
    pub(super) layers: Layers,
    /// For those that dockerd would not load, the layer below them, where that is known.
    pub(super) damaged_parents: BTreeMap<ChainId, Option<ChainId>>,
    /// Their numbers, by their ids, in the order in which the directory lists them.
    pub(super) as_listed: Vec<u32>,
    /// The number of the layer below each of them.
    pub(super) below: Vec<Option<u32>>,
}

/// The records of all layers, as they were read.
pub(super) struct Records {
    /// In the order in which the directory lists them.
    ids: Vec<ChainId>,
    /// Their places in that list, in the order of the ids.
    by_id: Vec<u32>,
    /// `None` for those that are gone by now.
    records: Vec<Option<Result<LayerRecord, RecordDamage>>>,
}

/// Reads the records of all layers.
pub(super) fn read_all(store: &LayerStore) -> Result<Records, StoreError> {
    let ids = store.list()?;
    let sorted = || {
        let mut by_id: Vec<u32> = (0..).take(ids.len()).collect();
        by_id.sort_unstable_by_key(|at| ids[*at as usize]);
        by_id
    };
    let (by_id, records) = parallel::beside(sorted, || parallel::map_files(&ids, |id| read_one(store, *id)));
    Ok(Records { ids, by_id, records })
}

impl Records {
    /// Finds out which of the layers dockerd would load.
    pub(super) fn into_layers(self) -> AllLayers {
        let Self { ids, by_id, mut records } = self;
        let there = by_id.into_iter().filter(|at| records[*at as usize].is_some()).collect::<Vec<_>>();
        let mut numbers = vec![None; ids.len()];
        for (at, number) in there.iter().zip(0..) {
            numbers[*at as usize] = Some(number);
        }
        let as_listed = numbers.into_iter().flatten().collect();
        let layers = there.into_iter().filter_map(|at| Some((ids[at as usize], records[at as usize].take()?)));
        let mut layers: Layers = layers.collect();
        let Spread { damaged_parents, below } = spread_damage(&mut layers);
        AllLayers { layers, damaged_parents, as_listed, below }
    }
}

/// Reads the layers `tops` and all below them.
pub(super) fn read_chains(store: &LayerStore, tops: impl IntoIterator<Item = ChainId>) -> Layers {
    let mut layers = Layers::new();
    for top in tops {
        let mut next = Some(top);
        while let Some(id) = next.take().filter(|id| !layers.contains_key(id)) {
            let Some(record) = read_one(store, id) else { continue };
            next = record.as_ref().ok().and_then(|record| record.parent);
            layers.insert(id, record);
        }
    }
    spread_damage(&mut layers);
    layers
}

/// Reads one layer's record; `None` if it does not exist. What is below the layer is not looked at.
pub(super) fn read_one(store: &LayerStore, id: ChainId) -> Option<Result<LayerRecord, RecordDamage>> {
    let cause = match store.get(id) {
        Ok(record) => return record.map(Ok),
        Err(StoreError::DamagedLayer { reason, .. }) => reason,
        Err(error) => with_causes(&error),
    };
    Some(Err(RecordDamage::Record { cause }))
}

/// What a layer stands on, by its own record.
enum Below {
    Nothing,
    /// The layer of this number.
    Layer(u32),
    Missing(ChainId),
    /// Its own record is damaged.
    Damaged(RecordDamage),
}

/// Whether no layer is damaged, none is missing, and each chain ends at a base layer: what nearly every store is like.
fn all_sound(below: &[Below]) -> bool {
    let mut ends = vec![false; below.len()];
    let mut path = Vec::new();
    for start in 0..below.len() {
        let mut at = start;
        while !ends[at] {
            path.push(at);
            match &below[at] {
                Below::Nothing => break,
                Below::Layer(parent) if path.len() <= below.len() => at = *parent as usize,
                // Something is wrong, or this is a circle.
                Below::Layer(_) | Below::Missing(_) | Below::Damaged(_) => return false,
            }
        }
        path.drain(..).for_each(|at| ends[at] = true);
    }
    true
}

/// What was learned while damage was spread.
struct Spread {
    /// For each layer that was marked as damaged although its own record is sound, the layer below it.
    damaged_parents: BTreeMap<ChainId, Option<ChainId>>,
    /// The number of the layer below each layer, if that is among them.
    below: Vec<Option<u32>>,
}

/// Marks all layers above a damaged one as damaged. Each layer is visited once.
fn spread_damage(layers: &mut Layers) -> Spread {
    let ids: Vec<ChainId> = layers.keys().copied().collect();
    let numbers: HashMap<ChainId, u32> = ids.iter().copied().zip(0..).collect();
    let below = |layer: &Result<LayerRecord, RecordDamage>| match layer {
        Err(own) => Below::Damaged(own.clone()),
        Ok(LayerRecord { parent: None, .. }) => Below::Nothing,
        Ok(LayerRecord { parent: Some(parent), .. }) => {
            numbers.get(parent).map_or(Below::Missing(*parent), |number| Below::Layer(*number))
        }
    };
    let below: Vec<Below> = layers.values().map(below).collect();
    let number = |below: &Below| if let Below::Layer(number) = below { Some(*number) } else { None };
    let numbers = below.iter().map(number).collect();
    if all_sound(&below) {
        return Spread { damaged_parents: BTreeMap::new(), below: numbers };
    }
    // The verdict on each layer: nothing, or what is wrong. A layer without a verdict was not visited yet.
    let mut verdicts: Vec<Option<Option<RecordDamage>>> = vec![None; ids.len()];
    // In which walk each layer was passed. A walk that comes to a layer of its own has found a circle.
    let mut passed: Vec<Option<usize>> = vec![None; ids.len()];
    let mut path = Vec::new();
    for start in 0..ids.len() {
        let mut at = start;
        let above_damaged =
            |at: usize, own: &RecordDamage| RecordDamage::BelowDamaged { below: ids[at], cause: Arc::new(own.clone()) };
        let verdict = loop {
            match &verdicts[at] {
                Some(Some(own @ RecordDamage::Record { .. })) => break Some(above_damaged(at, own)),
                Some(known) => break known.clone(),
                None => {}
            }
            if passed[at].replace(start) == Some(start) {
                break Some(RecordDamage::Circle);
            }
            if let Below::Damaged(own) = &below[at] {
                verdicts[at] = Some(Some(own.clone()));
                break Some(above_damaged(at, own));
            }
            path.push(at);
            match &below[at] {
                Below::Layer(parent) => at = *parent as usize,
                Below::Missing(below) => break Some(RecordDamage::BelowMissing { below: *below }),
                Below::Nothing | Below::Damaged(_) => break None,
            }
        };
        for layer in path.drain(..) {
            verdicts[layer] = Some(verdict.clone());
        }
    }
    let mut parents = BTreeMap::new();
    for ((id, layer), verdict) in layers.iter_mut().zip(verdicts) {
        if let Some(damage) = verdict.flatten()
            && let Ok(record) = std::mem::replace(layer, Err(damage))
        {
            parents.insert(*id, record.parent);
        }
    }
    Spread { damaged_parents: parents, below: numbers }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> ChainId {
        ChainId(layerfs::Digest::hash(&number.to_be_bytes()))
    }

    fn record(number: u32, parent: Option<u32>) -> (ChainId, Result<LayerRecord, RecordDamage>) {
        let record = LayerRecord {
            chain_id: id(number),
            diff_id: layerfs::DiffId(id(number).0),
            parent: parent.map(id),
            cache_id: crate::ids::CacheId::random(),
            size: 1,
        };
        (id(number), Ok(record))
    }

    #[test]
    fn damage_reaches_all_above_and_names_the_lowest() {
        let broken = RecordDamage::Record { cause: "size: missing".into() };
        let mut layers = Layers::from([
            record(0, None),
            record(1, Some(0)),
            (id(2), Err(broken.clone())),
            record(3, Some(2)),
            record(4, Some(3)),
            record(5, Some(99)),
            record(6, Some(5)),
            record(7, Some(8)),
            record(8, Some(7)),
            record(9, Some(8)),
        ]);
        spread_damage(&mut layers);
        let damage = |number| layers[&id(number)].as_ref().err().cloned();
        let below = RecordDamage::BelowDamaged { below: id(2), cause: Arc::new(broken.clone()) };
        assert_eq!((damage(0), damage(1), damage(2)), (None, None, Some(broken)));
        assert_eq!((damage(3), damage(4)), (Some(below.clone()), Some(below)));
        let missing = Some(RecordDamage::BelowMissing { below: id(99) });
        assert_eq!((damage(5), damage(6)), (missing.clone(), missing));
        for number in [7, 8, 9] {
            assert_eq!(damage(number), Some(RecordDamage::Circle), "{number}");
        }
    }
}
