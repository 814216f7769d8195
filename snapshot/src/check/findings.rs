//! Collects findings, and joins those with the same cause.

use std::cell::OnceCell;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, Hash, RandomState};

use layerfs::{ChainId, DiffId};

use super::finding::{Affected, Cause, Finding, Place, Severity};
use super::repair::Repair;
use super::standing::Standing;
use crate::catalog::Catalog;
use crate::ids::{ContainerId, ImageId};
use crate::schema::config::ImageConfig;
use crate::view::View;

/// Collects findings.
#[derive(Debug)]
pub(super) struct Findings<'v> {
    pub(super) view: &'v View,
    pub(super) standing: &'v Standing<'v>,
    /// Each finding, with whom it affects by itself.
    found: Vec<Finding>,
    /// Whom a finding affects beside those, by its index.
    joined: HashMap<usize, Gathered>,
    /// The findings about each thing.
    by_place: Chains,
    /// The findings about a thing whose causes read alike.
    by_text: Chains,
    /// The damaged layer that is the nearest one below each layer, or the layer itself.
    nearest: HashMap<ChainId, Option<ChainId>>,
    /// The diff ids that the configs of images say.
    diff_ids: OnceCell<HashMap<ChainId, DiffId>>,
    /// Layers without a record under their chain id, and the chain id under which their record is.
    renamed: HashMap<ChainId, ChainId>,
    /// Layers whose chains are not known, because a record in the chain is under a wrong chain id, or names a directory
    /// that may be another's.
    misnamed: HashSet<ChainId>,
    /// Directories of containers that have lost their mounts.
    pub(super) adopted: HashSet<String>,
}

impl<'v> Findings<'v> {
    pub(super) fn new(view: &'v View, standing: &'v Standing<'v>) -> Self {
        Self {
            view,
            standing,
            found: Vec::new(),
            joined: HashMap::new(),
            by_place: Chains::default(),
            by_text: Chains::default(),
            nearest: HashMap::new(),
            diff_ids: OnceCell::new(),
            renamed: HashMap::new(),
            misnamed: HashSet::new(),
            adopted: HashSet::new(),
        }
    }

    pub(super) fn catalog(&self) -> &'v Catalog {
        &self.view.catalog
    }

    /// Adds a finding. If there is one with the same cause already, only adds whom it affects.
    pub(super) fn add(
        &mut self,
        severity: Severity,
        place: Place,
        cause: Cause,
        affected: Affected,
        repair: Option<Repair>,
    ) {
        let alike = self.by_text.key(&(&place, cause.to_string()));
        let is_same = |at: &usize| self.found[*at].place == place && self.found[*at].cause == cause;
        if let Some(at) = self.by_text.find(alike).find(is_same) {
            self.joined.entry(at).or_default().add(&affected);
            return;
        }
        if matches!(place, Place::Layer(layer) if self.nearest.contains_key(&layer)) {
            self.nearest.clear();
        }
        self.by_text.push(alike);
        self.by_place.push(self.by_place.key(&place));
        self.found.push(Finding { severity, place, cause, affected, repair });
    }

    /// Adds `affected` to those whom the damage of a thing affects. Returns whether any damage of the thing was found.
    pub(super) fn join(&mut self, place: &Place, affected: &Affected) -> bool {
        let damage: Vec<usize> = self.damage_of(place).collect();
        for at in &damage {
            self.joined.entry(*at).or_default().add(affected);
        }
        !damage.is_empty()
    }

    /// The indices of the damage that was found of a thing; of a layer also where its record is under another chain id.
    fn damage_of(&self, place: &Place) -> impl Iterator<Item = usize> {
        let renamed = match place {
            Place::Layer(layer) => self.renamed.get(layer).map(|layer| Place::Layer(*layer)),
            _ => None,
        };
        let at_place = self.at_place(renamed.as_ref().unwrap_or(place)).collect::<Vec<_>>();
        at_place.into_iter().filter(|at| self.found[*at].severity == Severity::Damage)
    }

    /// The indices of the findings about a thing, the newest first.
    fn at_place<'s>(&'s self, place: &'s Place) -> impl Iterator<Item = usize> + 's {
        let alike = self.by_place.find(self.by_place.key(place));
        alike.filter(|at| self.found[*at].place == *place)
    }

    /// Whether damage of a thing was found.
    pub(super) fn is_damaged(&self, place: &Place) -> bool {
        self.at_place(place).any(|at| self.found[at].severity == Severity::Damage)
    }

    /// The nearest of a layer and those below it of which damage was found. The answers are kept, so each layer is looked
    /// at once, as long as damage of a layer is added before anybody asks about that layer or one above it.
    pub(super) fn nearest_damage(&mut self, layer: ChainId) -> Option<ChainId> {
        let (mut path, mut seen, mut next) = (Vec::new(), HashSet::new(), Some(layer));
        let nearest = loop {
            let Some(layer) = next.filter(|layer| seen.insert(*layer)) else { break None };
            if let Some(known) = self.nearest.get(&layer) {
                break *known;
            }
            if self.damage_of(&Place::Layer(layer)).next().is_some() {
                self.nearest.insert(layer, Some(layer));
                break Some(layer);
            }
            path.push(layer);
            next = self.standing.below(layer);
        };
        self.nearest.extend(path.into_iter().map(|layer| (layer, nearest)));
        nearest
    }

    /// Adds `affected` to those whom the [nearest damage](Self::nearest_damage) affects. Returns whether there is any.
    pub(super) fn join_nearest(&mut self, layer: ChainId, affected: &Affected) -> bool {
        self.nearest_damage(layer).is_some_and(|layer| self.join(&Place::Layer(layer), affected))
    }

    /// Notes that the record of a layer is under another chain id.
    pub(super) fn note_renamed(&mut self, missing: ChainId, record: ChainId) {
        self.renamed.insert(missing, record);
    }

    /// Notes layers whose chains are not known.
    pub(super) fn note_misnamed(&mut self, layers: HashSet<ChainId>) {
        self.misnamed.extend(layers);
    }

    /// Whether it is not known what is below a layer.
    pub(super) fn is_misnamed(&self, layer: ChainId) -> bool {
        self.misnamed.contains(&layer)
    }

    /// The diff id of a layer, if the config of an image says it. The layer's chain id, which is a hash of it, proves
    /// that it is right.
    pub(super) fn diff_id(&self, layer: ChainId) -> Option<DiffId> {
        let read = || {
            let catalog = self.catalog();
            let mut known: HashMap<ChainId, DiffId> = HashMap::new();
            for image in catalog.images.values() {
                known.extend(image.chain.iter().copied().zip(image.diff_ids.iter().copied()));
            }
            let store = self.view.root.images().ok().flatten();
            for id in catalog.damaged_images.keys() {
                let config = store.as_ref().and_then(|store| store.config(*id).ok()?);
                let Some(config) = config.and_then(|config| ImageConfig::parse(&config).ok()) else { continue };
                known.extend(ChainId::chain(&config.diff_ids).into_iter().zip(config.diff_ids));
            }
            known
        };
        self.diff_ids.get_or_init(read).get(&layer).copied()
    }

    /// All findings.
    pub(super) fn all(self) -> Vec<Finding> {
        let mut found = self.found;
        for (at, mut gathered) in self.joined {
            gathered.add(&found[at].affected);
            found[at].affected = gathered.into();
        }
        found
    }
}

/// Finds the indices of what has the same key, by a hash of the key: where there are many findings, their keys would take as
/// much memory as the findings themselves. Whoever asks compares the keys of what is found.
#[derive(Debug, Default)]
struct Chains {
    hasher: RandomState,
    /// The newest index of each hash.
    newest: HashMap<u64, u32>,
    /// For each index the one before it with the same hash.
    before: Vec<Option<u32>>,
}

impl Chains {
    fn key(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// Adds the next index under a key.
    fn push(&mut self, key: u64) {
        let at = u32::try_from(self.before.len()).expect("a finding takes more than a byte of memory");
        self.before.push(self.newest.insert(key, at));
    }

    /// The indices under a key, the newest first, and perhaps others.
    fn find(&self, key: u64) -> impl Iterator<Item = usize> {
        let newest = self.newest.get(&key).copied();
        std::iter::successors(newest, |at| self.before[*at as usize]).map(|at| at as usize)
    }
}

/// Whom a finding affects, while more are added.
#[derive(Debug, Default)]
struct Gathered {
    images: BTreeSet<ImageId>,
    containers: BTreeSet<ContainerId>,
}

impl Gathered {
    fn add(&mut self, affected: &Affected) {
        self.images.extend(&affected.images);
        self.containers.extend(affected.containers.iter().cloned());
    }
}

impl From<Gathered> for Affected {
    fn from(gathered: Gathered) -> Self {
        Self::new(gathered.images, gathered.containers)
    }
}
