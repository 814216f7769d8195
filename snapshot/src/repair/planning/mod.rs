//! Plans what can be mended, in the order in which that is done, and says what cannot be.
//!
//! Records come first. They say what each layer is; what they lack is proven by the layer's chain id, the configs of
//! images and the layer's content. Everything that follows (which content belongs where, and what stands on what) is
//! planned by the records as they will be.

mod contents;
mod depths;
mod findings;
mod images;
mod mounts;
mod records;
mod search;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};

use layerfs::{ChainId, DiffId};

use depths::Depths;
use findings::about_container;

use super::donor::Donors;
use super::error::RepairError;
use super::mending::{Advice, Mending, NameSource, RepairStep, Unmended};
use super::names::{self, NamesFile, NamesFound};
use crate::catalog::{Damage, Resolved, Subject};
use crate::check::Reading;
use crate::driver::HomeEntries;
use crate::ids::{CacheId, ImageId};
use crate::reference::Reference;
use crate::schema::image::ImageStore;
use crate::schema::layer::{LayerRecord, LayerStore};
use crate::schema::mount::MountRecord;
use crate::schema::paths::is_of_build_cache;
use crate::view::View;

/// What a repair looks at.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'s> {
    /// The images to look at, with their layers, by name or id. If empty, everything is looked at.
    pub images: &'s [String],
    /// Whether to read the content of every layer. Otherwise only the content of layers that a source has is read.
    pub deep: bool,
    /// How content is read, and who is told how far.
    pub reading: Reading<'s>,
}

/// What earlier plans of the same repair have found out.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Directories of layers whose files were read and are sound: they are not read again.
    pub(super) sound: HashSet<CacheId>,
}

/// What can be mended, and what cannot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RepairPlan {
    /// The steps, in the order in which they are done.
    pub steps: Vec<RepairStep>,
    /// The damage that no step mends.
    pub unmended: Vec<Unmended>,
}

/// A plan in the making, and what it is made from.
struct RepairPlanner<'p> {
    view: &'p View,
    donors: &'p Donors,
    deep: bool,
    reading: Reading<'p>,
    known: &'p mut Known,
    layers: LayerStore,
    images: ImageStore,
    home: HomeEntries,
    /// The layers and images that are looked at; `None` for all.
    chosen: Option<(HashSet<ChainId>, BTreeSet<ImageId>)>,
    /// What the configs of images prove about layers: for each layer its diff id, and the layer below.
    proven: HashMap<ChainId, (DiffId, Option<ChainId>)>,
    /// The layers of each image whose config is known.
    chains: BTreeMap<ImageId, Vec<ChainId>>,
    /// Layers as their records are, or will be.
    records: BTreeMap<ChainId, LayerRecord>,
    /// Layers of `records` whose content can be used, now or after a step.
    filled: HashSet<ChainId>,
    /// Layers that have no record, or will have none, and are added from a source.
    added: HashSet<ChainId>,
    /// Layers whose records stay broken, and why.
    broken: BTreeMap<ChainId, String>,
    /// Why a file cannot be read that may prove what a layer is, or where its content is.
    unread: Option<String>,
    /// Mounts as they will be.
    mounts: Vec<MountRecord>,
    steps: Vec<RepairStep>,
    /// The damage that no step mends, in the order in which it was found. A step that is planned later may mend it after all.
    unmended: BTreeMap<usize, Unmended>,
    /// What the plan is about: whoever looks for a step or an unmended damage looks here first, since there may be thousands.
    about: About,
}

/// What the parts of a plan are about.
#[derive(Debug, Default)]
struct About {
    /// Hashes of what its steps do, and which step does it first.
    mendings: HashMap<u64, usize>,
    hasher: RandomState,
    /// Hashes of unmended damage, with its reason.
    told: HashSet<u64>,
    /// Where the unmended damage of each subject is, with containers in place of their mounts.
    unmended: HashMap<Subject, Vec<usize>>,
    /// Layers whose records are moved to this chain id, and the chain id under which each is now.
    moved: HashMap<ChainId, ChainId>,
    /// Layers whose records are dropped.
    dropped: HashSet<ChainId>,
    /// The files of mounts that are written, each with the name of the mount.
    mount_files: HashSet<(String, &'static str)>,
}

impl RepairPlan {
    /// Looks at a store. Its view must have been read with [`Needs::CHECK`](crate::view::Needs::CHECK) or more.
    ///
    /// # Errors
    /// [`RepairError::NoSuchImage`] for a text that matches no image, [`RepairError::Store`] where a directory cannot
    /// be listed.
    pub fn make(view: &View, donors: &Donors, scope: Scope<'_>) -> Result<Self, RepairError> {
        Self::make_again(view, donors, scope, &mut Known::default())
    }

    /// Plans with what earlier plans have found out.
    pub(super) fn make_again(
        view: &View,
        donors: &Donors,
        scope: Scope<'_>,
        known: &mut Known,
    ) -> Result<Self, RepairError> {
        let (Some(layers), Some(images)) = (view.root.layers()?, view.root.images()?) else {
            return Ok(Self::default());
        };
        let mut planner = RepairPlanner {
            view,
            donors,
            deep: scope.deep,
            reading: scope.reading,
            known,
            layers,
            images,
            home: view.root.entries()?,
            chosen: None,
            proven: HashMap::new(),
            chains: BTreeMap::new(),
            records: BTreeMap::new(),
            filled: HashSet::new(),
            added: HashSet::new(),
            broken: BTreeMap::new(),
            unread: None,
            mounts: view.catalog.mounts.clone(),
            steps: Vec::new(),
            unmended: BTreeMap::new(),
            about: About::default(),
        };
        let names = planner.plan_names()?;
        planner.read_configs()?;
        planner.choose(scope.images, &names)?;
        planner.plan_removals()?;
        planner.plan_configs();
        planner.plan_records()?;
        planner.plan_missing_layers();
        planner.plan_contents()?;
        planner.plan_mounts();
        planner.plan_stacks()?;
        planner.plan_image_parents();
        planner.tell_the_rest();
        planner.plan_findings()?;
        planner.sort_steps();
        view.root.dir.check_shortage()?;
        Ok(Self { steps: planner.steps, unmended: planner.unmended.into_values().collect() })
    }

    /// Whether nothing is damaged: there are no steps, and nothing is left unmended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.unmended.is_empty()
    }
}

impl RepairPlanner<'_> {
    fn step(&mut self, subject: Subject, cause: impl Into<String>, mending: Mending) {
        match &mending {
            Mending::RenameRecord { from, to } => drop(self.about.moved.entry(*to).or_insert(*from)),
            Mending::DropRecord { layer } => drop(self.about.dropped.insert(*layer)),
            Mending::RestoreMountFile { mount, file, .. } => {
                self.about.mount_files.insert((mount.to_string(), *file));
            }
            _ => {}
        }
        let hash = self.about.hasher.hash_one(&mending);
        self.about.mendings.entry(hash).or_insert(self.steps.len());
        self.steps.push(RepairStep { subject, cause: cause.into(), mending });
    }

    /// Whether a step of the plan does this.
    fn is_planned(&self, mending: &Mending) -> bool {
        let first = self.about.mendings.get(&self.about.hasher.hash_one(mending));
        let does = |step: &RepairStep| step.mending == *mending;
        // Where two of them have the same hash, all are looked at.
        first.is_some_and(|at| self.steps.get(*at).is_some_and(does) || self.steps.iter().any(does))
    }

    fn cannot(&mut self, subject: Subject, reason: impl Into<String>, advice: Advice) {
        let reason = reason.into();
        let is_known = |one: &Unmended| one.subject == subject && one.reason == reason;
        let is_new = self.about.told.insert(self.about.hasher.hash_one((&subject, &reason)));
        if is_new || !self.unmended.values().any(is_known) {
            let place = self.unmended.last_key_value().map_or(0, |(last, _)| last + 1);
            self.about.unmended.entry(about_container(&subject)).or_default().push(place);
            self.unmended.insert(place, Unmended { subject, reason, advice });
        }
    }

    /// Forgets the unmended damage of a subject, or of its mount: a step mends it.
    fn is_mended(&mut self, subject: &Subject) {
        for place in self.about.unmended.remove(&about_container(subject)).unwrap_or_default() {
            self.unmended.remove(&place);
        }
    }

    fn is_chosen(&self, layer: ChainId) -> bool {
        self.chosen.as_ref().is_none_or(|(layers, _)| layers.contains(&layer))
    }

    fn is_chosen_image(&self, image: ImageId) -> bool {
        self.chosen.as_ref().is_none_or(|(_, images)| images.contains(&image))
    }

    /// Plans the repair of `repositories.json`; dockerd does not start with a broken one. Returns the names that were
    /// found again.
    fn plan_names(&mut self) -> Result<Vec<(Reference, ImageId, NameSource)>, RepairError> {
        let Some(images_dir) = &self.view.root.images_dir else { return Ok(Vec::new()) };
        let (bytes, cause) = match names::look(images_dir)? {
            NamesFile::Good => return Ok(Vec::new()),
            NamesFile::Broken { bytes: None, cause } => {
                self.cannot(Subject::References, cause, Advice::LookAtFile);
                return Ok(Vec::new());
            }
            NamesFile::Broken { bytes: Some(bytes), cause } => (Some(bytes), cause),
            NamesFile::Missing => (None, "it is missing: no image has a name".to_owned()),
        };
        let stored: BTreeSet<ImageId> = self.images.list()?.into_iter().collect();
        let is_stored = |image: ImageId| stored.contains(&image);
        let mut names = NamesFound::default();
        if let Some(bytes) = &bytes {
            names.salvage(bytes, NameSource::File);
        }
        names.add_temporary_files(images_dir)?;
        names.add_containers(&self.view.catalog, is_stored);
        names.add_donors(self.donors.names(), is_stored);
        let names = names.into_list();
        // A store in which no image has a name may have no such file.
        if bytes.is_some() || !names.is_empty() {
            self.step(Subject::References, cause, Mending::RewriteNames { names: names.clone() });
        }
        Ok(names)
    }

    /// Finds the images that the texts name.
    fn choose(&mut self, texts: &[String], names: &[(Reference, ImageId, NameSource)]) -> Result<(), RepairError> {
        if texts.is_empty() {
            return Ok(());
        }
        let mut images = BTreeSet::new();
        for text in texts {
            let found = match self.view.catalog.resolve(text) {
                Resolved::Image(id) | Resolved::Damaged(id) => Some(id),
                Resolved::Nothing => Reference::parse(text).ok().and_then(|name| {
                    let name = name.with_default_tag();
                    names.iter().find(|(known, ..)| *known == name).map(|(_, id, _)| *id)
                }),
            };
            images.insert(found.ok_or_else(|| RepairError::NoSuchImage { text: text.clone() })?);
        }
        let layers = images.iter().filter_map(|id| self.chains.get(id)).flatten().copied().collect();
        self.chosen = Some((layers, images));
        Ok(())
    }

    /// Plans to finish removals that a crash has cut short.
    fn plan_removals(&mut self) -> Result<(), RepairError> {
        for record in self.layers.removing()? {
            let layer = record.get(..64).and_then(|hex| layerfs::Digest::from_hex(hex).ok()).map(ChainId);
            if let Some(layer) = layer.filter(|layer| self.is_chosen(*layer)) {
                let cause = "its removal was begun and not finished";
                self.step(Subject::Layer(layer), cause, Mending::FinishRemoval { record });
            }
        }
        Ok(())
    }

    /// The directories of a layer and of all layers below it, the nearest first; `None` if one of them has no record, or if they
    /// are more than `most`.
    fn directories_from(&self, parent: Option<ChainId>, most: usize) -> Option<Vec<CacheId>> {
        let mut below = Vec::new();
        let mut next = parent;
        while let Some(layer) = next {
            let record = self.records.get(&layer)?;
            // Records that form a circle are more than there are.
            if below.len() >= most.min(self.records.len()) {
                return None;
            }
            below.push(record.cache_id.clone());
            next = record.parent;
        }
        Some(below)
    }

    /// Sorts the steps, so that each finds what it needs: names; records; what stands on what; contents, parents before
    /// children.
    fn sort_steps(&mut self) {
        let mut steps = std::mem::take(&mut self.steps);
        let mut depths = Depths::default();
        steps.sort_by_cached_key(|step| match &step.mending {
            Mending::RewriteNames { .. } => (0, 0),
            Mending::RenameRecord { .. } => (2, 0),
            Mending::RestoreField { .. } => (3, 0),
            Mending::DropRecord { .. } => (4, 0),
            Mending::RestoreConfig { .. } => (5, 0),
            Mending::AddLayer { layer, .. }
            | Mending::SalvageJournal { layer }
            | Mending::RefillLayer { layer }
            | Mending::RefillFiles { layer, .. }
            | Mending::RemoveExtraFiles { layer, .. } => (8, depths.of(*layer, |layer| self.below(layer))),
            Mending::RestoreMount { .. } | Mending::RestoreMountFile { .. } => (6, 0),
            Mending::Restack(_) => (7, 0),
            Mending::ForgetImageParent { .. } | Mending::ForgetImageTime { .. } => (9, 0),
            // Removals come last: once all records can be read, more directories are known to be dead.
            Mending::FinishRemoval { .. } => (10, 0),
        });
        self.steps = steps;
    }

    /// The chain id under which a layer's record is now: another one, if the record will be moved.
    fn name_now(&self, layer: ChainId) -> ChainId {
        self.about.moved.get(&layer).copied().unwrap_or(layer)
    }

    /// The layer below, by its record or by what the configs of images prove.
    fn below(&self, layer: ChainId) -> Option<ChainId> {
        let recorded = self.records.get(&layer).map(|record| record.parent);
        recorded.or_else(|| self.proven.get(&layer).map(|(_, parent)| *parent)).flatten()
    }

    /// Adds the damage that the catalog knows and that no step mends.
    fn tell_the_rest(&mut self) {
        for damage in self.view.damage() {
            let (subject, reason) = (damage.subject(), damage.to_string());
            match &damage {
                Damage::Database { database, .. } if is_of_build_cache(database) => {
                    self.cannot(subject, reason, Advice::MoveBuildCache);
                }
                Damage::Volume { .. }
                | Damage::Database { .. }
                | Damage::Misplaced { .. }
                | Damage::DatabaseMissing { .. }
                | Damage::NameRecord { .. } => {
                    self.cannot(subject, reason, Advice::LookAtFile);
                }
                Damage::BuildCache { .. } => self.cannot(subject, reason, Advice::MoveBuildCache),
                Damage::Container { container, cause } if self.chosen.is_none() => {
                    self.tell_container(container, cause);
                }
                _ => {}
            }
        }
    }
}
