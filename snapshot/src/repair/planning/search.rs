//! What the record of a layer has lost, looked for among all layers and directories: the layer below, and the directory.
//!
//! Thousands of records may be broken in a store with thousands of layers. So what the rest of the store says comes first, and costs a
//! step a record: the record itself, what its directory stands on, and who stands on the layer. Only where that helps nothing all layers
//! or directories are tried, and that for so many records as [`TRIED_LAYERS`] and [`TRIED_DIRECTORIES`] allow.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use layerfs::{ChainId, DiffId};

use super::RepairPlanner;
use super::records::Lack;
use crate::driver::EntryKind;
use crate::ids::CacheId;
use crate::liveness::Claim;
use crate::schema::layer::{LayerRecord, RecordFields};

/// How many pairs of layers, and of a layer and the name of a directory, are tried in one plan: a second of work.
const TRIED_LAYERS: usize = 4_000_000;

/// How many pairs of a layer and a directory are tried in one plan, for each of which files are read.
const TRIED_DIRECTORIES: usize = 20_000;

/// What is looked up for broken records.
pub(super) struct Search {
    /// The chain ids of all records.
    pub(super) names: HashSet<ChainId>,
    /// The directories of those who stand directly on a layer: of layers whose records are sound, and of containers.
    above: HashMap<ChainId, Vec<CacheId>>,
    /// Directories that stand directly on this one, or on nothing.
    on: HashMap<Option<Arc<str>>, Vec<Arc<str>>>,
    /// Steps that may still be taken.
    layers_left: usize,
    /// Directories that may still be read.
    directories_left: usize,
}

impl Search {
    pub(super) fn new(planner: &RepairPlanner<'_>, names: HashSet<ChainId>) -> Self {
        let mut above: HashMap<ChainId, Vec<CacheId>> = HashMap::new();
        for record in planner.records.values() {
            if let Some(parent) = record.parent {
                above.entry(parent).or_default().push(record.cache_id.clone());
            }
        }
        for mount in &planner.mounts {
            if let (Some(parent), Some(id)) = (mount.parent, mount.init_id.as_ref().or(mount.mount_id.as_ref())) {
                above.entry(parent).or_default().push(id.clone());
            }
        }
        let mut on: HashMap<Option<Arc<str>>, Vec<Arc<str>>> = HashMap::new();
        for (id, _) in planner.home.entries.iter().filter(|(_, entry)| entry.kind == EntryKind::Layer) {
            on.entry(planner.home.nearest_below(id).cloned()).or_default().push(Arc::clone(id));
        }
        Self { names, above, on, layers_left: TRIED_LAYERS, directories_left: TRIED_DIRECTORIES }
    }

    /// Notes a record that was completed.
    pub(super) fn add(&mut self, record: &LayerRecord) {
        if let Some(parent) = record.parent {
            self.above.entry(parent).or_default().push(record.cache_id.clone());
        }
    }

    /// Finds the parent with which this diff id makes the layer's chain id, which is a hash of both. `None` if no known layer is that
    /// parent.
    ///
    /// # Errors
    /// That not all layers were tried.
    pub(super) fn find_parent(
        &mut self,
        planner: &RepairPlanner<'_>,
        layer: ChainId,
        diff_id: DiffId,
        said: &RecordFields,
    ) -> Result<Option<Option<ChainId>>, Lack> {
        let fits = |parent: &Option<ChainId>| ChainId::next(*parent, diff_id) == layer;
        let known = |id: &ChainId| self.names.contains(id) || planner.proven.contains_key(id);
        let by_record = said.parent.clone().ok().flatten().filter(known);
        let stands_on = said.cache_id.as_ref().ok().and_then(|id| planner.home.nearest_below(id.as_str()));
        let claims = stands_on.and_then(|id| planner.view.liveness.entry(id)).map(|entry| entry.claims.as_slice());
        let by_directory = claims.into_iter().flatten().filter_map(|claim| match claim {
            Claim::Layer(owner) => Some(*owner),
            _ => None,
        });
        let mut likely = std::iter::once(None).chain(by_record.map(Some)).chain(by_directory.filter(known).map(Some));
        if let Some(parent) = likely.find(fits) {
            return Ok(Some(parent));
        }
        let all = self.names.len() + planner.proven.len();
        self.layers_left = self.layers_left.checked_sub(all).ok_or(Lack::Untried("layers"))?;
        Ok(self.names.iter().chain(planner.proven.keys()).map(|parent| Some(*parent)).find(fits))
    }

    /// Finds the directory of a layer whose record does not name it any more: the one that its children or containers stand on, or one
    /// that nobody else has and that makes the layer's diff id. `None` if no directory in the home is the layer's.
    ///
    /// # Errors
    /// Why a directory that may be the layer's cannot be read, or that not all were tried.
    pub(super) fn find_directory(
        &mut self,
        planner: &RepairPlanner<'_>,
        layer: ChainId,
        diff_id: DiffId,
        parent: Option<ChainId>,
    ) -> Result<Option<CacheId>, Lack> {
        let free = |id: &str| !planner.has_another_owner(layer, id);
        let above = self.above.get(&layer).into_iter().flatten();
        let mut below = above.filter_map(|id| planner.home.nearest_below(id.as_str()));
        if let Some(id) = below.find(|id| free(id)).and_then(|id| id.parse().ok()) {
            return Ok(Some(id));
        }
        // First what stands on the directory of the layer below, or on nothing like the layer.
        let place = match parent {
            None => Some(None),
            Some(parent) => planner.records.get(&parent).map(|parent| Some(Arc::from(parent.cache_id.as_str()))),
        };
        let likely = place.as_ref().and_then(|place| self.on.get(place)).map(Vec::as_slice).unwrap_or_default();
        let mut unread = None;
        for id in likely.iter().filter(|id| free(id)) {
            if try_directory(planner, &mut self.directories_left, layer, id, diff_id, &mut unread)? {
                return Ok(id.parse().ok());
            }
        }
        self.layers_left =
            self.layers_left.checked_sub(planner.home.entries.len()).ok_or(Lack::Untried("directories"))?;
        let is_likely = |id: &str| place.as_ref().is_some_and(|place| planner.home.nearest_below(id) == place.as_ref());
        let others = planner.home.entries.iter().filter(|(_, entry)| entry.kind == EntryKind::Layer);
        for id in others.map(|(id, _)| id).filter(|id| !is_likely(id) && free(id)) {
            if try_directory(planner, &mut self.directories_left, layer, id, diff_id, &mut unread)? {
                return Ok(id.parse().ok());
            }
        }
        unread.map_or(Ok(None), |cause| Err(Lack::Unread(cause)))
    }
}

/// Whether a directory is that of a layer. If that cannot be told, the first reason is left in `unread`.
fn try_directory(
    planner: &RepairPlanner<'_>,
    left: &mut usize,
    layer: ChainId,
    id: &str,
    diff_id: DiffId,
    unread: &mut Option<String>,
) -> Result<bool, Lack> {
    let Ok(id) = id.parse() else { return Ok(false) };
    *left = left.checked_sub(1).ok_or(Lack::Untried("directories"))?;
    Ok(planner.is_directory_of(layer, &id, diff_id).unwrap_or_else(|cause| {
        unread.get_or_insert(cause);
        false
    }))
}

impl RepairPlanner<'_> {
    /// Whether a directory belongs to another layer or a container. A claim by BuildKit does not count, since BuildKit
    /// shares the directories of the layers that it has built.
    fn has_another_owner(&self, layer: ChainId, id: &str) -> bool {
        let claims = self.view.liveness.entry(id).map(|entry| entry.claims.as_slice()).unwrap_or_default();
        claims.iter().any(|claim| match claim {
            Claim::Layer(owner) => *owner != layer && *owner != self.name_now(layer),
            Claim::Mount(_) | Claim::Init(_) | Claim::Removing(_) => true,
            _ => false,
        })
    }
}
