//! Makes a plan: chooses what is removed, adds what follows from that, and measures all of it.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use layerfs::{ChainId, DiffId};

use super::images::{Candidate, Images};
use super::item::{GcItem, Reason, Spared, StayCause, Thing};
use super::layers::LayerNeeds;
use super::measure::{LinksRemoved, may_share_blocks, measure};
use super::plan::{GcPlan, Goal};
use super::policy::{Policy, SpaceTarget};
use super::remains::{self, Ages, RemainsFound, YoungDirectories};
use super::trial::Trial;
use crate::catalog::Image;
use crate::edit::Remains;
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::liveness::{Departure, Doubt, OnceGone};
use crate::schema::paths::{CONFIGS, LAYER_RECORDS, METADATA, WRITE_SETS, of_driver};
use crate::view::View;

pub(super) struct GcPlanner<'v> {
    pub(super) view: &'v View,
    policy: &'v Policy,
    plan: GcPlan,
    freed: LinksRemoved,
    /// The short names that lead to each entry; made when something that goes asks for one.
    links: OnceCell<HashMap<&'v str, Vec<&'v str>>>,
}

impl<'v> GcPlanner<'v> {
    pub(super) fn new(view: &'v View, policy: &'v Policy) -> Self {
        let may_share_blocks = view.root.home.as_ref().is_some_and(may_share_blocks);
        let plan = GcPlan { may_share_blocks, ..GcPlan::default() };
        Self { view, policy, plan, freed: LinksRemoved::default(), links: OnceCell::new() }
    }

    pub(super) fn plan(mut self) -> Result<GcPlan, StoreError> {
        let (view, ages) = (self.view, Ages::new(self.policy));
        let mut found = RemainsFound::default();
        let mounts = remains::mounts(view, ages, &mut found)?;
        let (removals, mut named) = remains::begun(view, ages, &mut found)?;
        let mut departure = Departure { mounts, removals, layers: HashSet::new() };
        self.plan.doubts = doubts(view, &departure);
        let mut images = Images::new(view, self.policy)?;
        self.find_unused_patterns();
        if !self.plan.doubts.is_empty() {
            return self.nothing_goes(found, &images);
        }
        let mut layers = LayerNeeds::new(view, &departure.mounts);
        let young = YoungDirectories::find(view, ages, &found)?;
        for layer in view.catalog.layers.values().flatten() {
            if young.stays(layer.cache_id.as_str()).is_some() {
                layers.pin(layer.chain_id);
            }
        }
        // Layers that nobody needs even before an image is removed. One that is too young stays, and so do the layers
        // below it.
        for chain in layers.unneeded() {
            if let Some(young) = self.age_of_layer(chain, ages)? {
                layers.pin(chain);
                self.spare(self.layer_thing(chain, None), young);
            }
        }
        for chain in layers.unneeded() {
            departure.layers.insert(chain);
        }
        let (candidates, spared) = images.candidates();
        for (id, cause) in spared {
            self.spare(self.image_thing(id), cause);
        }
        // First the images that are removed in any case: those without a name, or all candidates if there is no target.
        let is_first = |candidate: &&Candidate| self.policy.target.is_none() || candidate.reason != Reason::Unused;
        let (first, later): (Vec<&Candidate>, Vec<&Candidate>) = candidates.iter().partition(is_first);
        let mut chosen = Vec::new();
        choose(view, &first, &mut images, &mut layers, &mut departure, &mut chosen);
        let goal = match self.policy.target {
            Some(target) => Some(self.goal(target)?),
            None => None,
        };
        if let Some(wanted) = goal {
            // Measure what is freed even without further images, as it will be at the end.
            let mut trial = Trial::new(&self, &departure, &found, &named, &young)?;
            trial.add(&self, &chosen, &layers.children_first(&departure.layers));
            let mut waiting: Vec<&Candidate> = later.clone();
            while trial.bytes < wanted {
                let Some(at) = waiting.iter().position(|candidate| images.is_childless(candidate.id)) else { break };
                let candidate = waiting.remove(at);
                let before = chosen.len();
                let mut new_layers = choose(view, &[candidate], &mut images, &mut layers, &mut departure, &mut chosen);
                // Once this image is removed, images without a name from which it was built may have no use left.
                if view.catalog.images.get(&candidate.id).is_some_and(|image| image.parent.is_some()) {
                    let more = choose(view, &first, &mut images, &mut layers, &mut departure, &mut chosen);
                    new_layers.extend(more);
                }
                trial.add(&self, &chosen[before..], &new_layers);
            }
            for candidate in waiting {
                let cause = if trial.bytes < wanted { StayCause::Children } else { StayCause::EnoughGoes };
                self.spare(self.image_thing(candidate.id), cause);
            }
        }
        let undecided = first.iter().filter(|candidate| !images.going().contains(&candidate.id));
        for candidate in undecided.filter(|candidate| candidate.reason != Reason::Parent) {
            self.spare(self.image_thing(candidate.id), StayCause::Children);
        }
        named.extend(directories_of(view, &departure));
        let gone = view.liveness.once_gone(&departure);
        remains::add_orphans(view, &young, &gone, &named, &mut found)?;
        // Drop each set as soon as it is not needed any more: they are as large as the list of everything that goes.
        let goes = going_directories(&found, &gone, &named);
        drop(named);
        remains::links(view, &|name| !goes.contains(name), &mut found)?;
        drop(goes);
        let staying =
            view.catalog.layers.values().flatten().filter(|layer| !departure.layers.contains(&layer.chain_id));
        let staying: HashSet<DiffId> = staying.map(|layer| layer.diff_id).collect();
        let known = view.catalog.damaged_layers().next().is_none();
        remains::notes(view, known.then_some(&staying), &mut found)?;
        drop(staying);
        remains::temporaries(view, ages, &mut found)?;
        self.collect(&chosen, &images, &layers, &departure, found, &gone)?;
        self.plan.goal = goal.map(|wanted| Goal { wanted, freed: self.plan.bytes() });
        Ok(self.plan)
    }

    /// The plan that removes nothing, because it cannot be told who needs what.
    fn nothing_goes(mut self, found: RemainsFound, images: &Images<'_>) -> Result<GcPlan, StoreError> {
        let doubt = StayCause::Doubt(self.plan.doubts[0].clone());
        let (candidates, spared) = images.candidates();
        for (id, cause) in spared {
            self.spare(self.image_thing(id), cause);
        }
        for candidate in candidates {
            self.spare(self.image_thing(candidate.id), doubt.clone());
        }
        for (thing, cause) in found.spared {
            self.spare(thing, cause);
        }
        for (thing, _) in found.going {
            self.spare(thing, doubt.clone());
        }
        let departure = Departure::default();
        let gone = self.view.liveness.once_gone(&departure);
        let mut found = RemainsFound::default();
        remains::add_orphans(self.view, &YoungDirectories::default(), &gone, &HashSet::new(), &mut found)?;
        for (thing, cause) in found.spared {
            self.spare(thing, cause);
        }
        Ok(self.plan)
    }

    fn spare(&mut self, thing: Thing, cause: StayCause) {
        self.plan.spared.push(Spared { thing, cause });
    }

    fn find_unused_patterns(&mut self) {
        let catalog = &self.view.catalog;
        let means =
            |pattern: &&super::Pattern| catalog.images.keys().any(|id| pattern.matches(*id, &catalog.names_of(*id)));
        let unused = self.policy.keep.iter().filter(|pattern| !means(pattern));
        self.plan.unused_patterns = unused.map(|pattern| pattern.as_str().to_owned()).collect();
        let has = |image: &Image, label: &super::Label| image.labels().is_some_and(|labels| label.matches(&labels));
        let unused = self.policy.keep_labels.iter();
        let unused = unused.filter(|label| !catalog.images.values().any(|image| has(image, label)));
        self.plan.unused_labels = unused.map(ToString::to_string).collect();
    }

    fn image_thing(&self, id: ImageId) -> Thing {
        Thing::Image { id, names: self.view.catalog.names_of(id).into_iter().map(str::to_owned).collect() }
    }

    fn layer_thing(&self, chain_id: ChainId, with: Option<ImageId>) -> Thing {
        let layer = self.view.catalog.layer(chain_id).expect("a layer of the graph can be loaded");
        Thing::Layer { chain_id, cache_id: layer.cache_id.clone(), with }
    }

    fn age_of_layer(&self, chain: ChainId, ages: Ages) -> Result<Option<StayCause>, StoreError> {
        let images_dir = self.view.root.images_dir.as_ref();
        let records = images_dir.map_or(Ok(None), |dir| dir.descend(&LAYER_RECORDS))?;
        match records {
            Some(records) => ages.of_entry(&records, &chain.0.hex()),
            None => Ok(None),
        }
    }

    /// The bytes that are to be freed to reach a target.
    fn goal(&self, target: SpaceTarget) -> Result<u64, StoreError> {
        let Some(home) = &self.view.root.home else { return Ok(0) };
        match target {
            SpaceTarget::Free { wanted, unless } => {
                let stat = rustix::fs::fstatvfs(home).map_err(StoreError::io(home.path(), "statvfs"))?;
                let whole = stat.f_blocks.saturating_mul(stat.f_frsize);
                let free = stat.f_bavail.saturating_mul(stat.f_frsize);
                Ok(if free >= unless.in_bytes(whole) { 0 } else { wanted.in_bytes(whole).saturating_sub(free) })
            }
            SpaceTarget::Size(most) => {
                let catalog = &self.view.catalog;
                let mut things: Vec<Vec<PathBuf>> = catalog
                    .layers
                    .values()
                    .flatten()
                    .map(|layer| self.paths_of_layer(layer.chain_id, &layer.cache_id))
                    .collect();
                things.extend(catalog.images.keys().map(|id| self.paths_of_image(*id)));
                Ok(LinksRemoved::total(&measure(&self.view.root.dir, &things, |paths| paths)).saturating_sub(most))
            }
        }
    }

    pub(super) fn paths_of_image(&self, id: ImageId) -> Vec<PathBuf> {
        let id = id.0.hex();
        [CONFIGS, METADATA].iter().map(|directory| self.in_images(directory, &id)).collect()
    }

    pub(super) fn paths_of_layer(&self, chain: ChainId, id: &CacheId) -> Vec<PathBuf> {
        let mut paths = vec![self.in_images(&LAYER_RECORDS, &chain.0.hex())];
        paths.extend(self.paths_of_directory(id));
        paths
    }

    /// The path of an entry of a directory below `image/<driver>`, as one below the root.
    fn in_images(&self, directory: &[&str], name: &str) -> PathBuf {
        of_driver(self.view.root.driver_name.as_str(), directory).into_iter().chain([name]).collect()
    }

    /// The paths of a directory of the driver's home and of the short names that lead to it.
    fn paths_of_directory(&self, id: &CacheId) -> Vec<PathBuf> {
        let driver = &self.view.root.driver_name;
        let find = || {
            let mut links: HashMap<&str, Vec<&str>> = HashMap::new();
            for (link, entry) in self.view.liveness.links() {
                if let Some(entry) = entry {
                    links.entry(&**entry).or_default().push(link);
                }
            }
            links
        };
        let links = self.links.get_or_init(find).get(id.as_str()).into_iter().flatten();
        let links = links.map(|link| Remains::Link((*link).to_owned()).place(driver));
        std::iter::once(Remains::Directory(id.clone()).place(driver)).chain(links).collect()
    }

    /// The paths of a thing that is removed, without those of a directory that somebody else needs.
    pub(super) fn paths(&self, thing: &Thing, gone: &OnceGone<'_>) -> Result<Vec<PathBuf>, StoreError> {
        let driver = &self.view.root.driver_name;
        let dead = |ids: Vec<CacheId>| ids.into_iter().filter(|id| gone.dead(id).is_ok()).collect::<Vec<_>>();
        let with = |own: PathBuf, ids: Vec<CacheId>| {
            let directories = dead(ids).iter().flat_map(|id| self.paths_of_directory(id)).collect::<Vec<_>>();
            std::iter::once(own).chain(directories).collect::<Vec<_>>()
        };
        Ok(match thing {
            Thing::Image { id, .. } => self.paths_of_image(*id),
            Thing::Layer { chain_id, cache_id, .. } => {
                let mut paths = self.paths_of_layer(*chain_id, cache_id);
                if gone.dead(cache_id).is_err() {
                    paths.truncate(1);
                }
                paths
            }
            Thing::Remains(Remains::Directory(id)) => self.paths_of_directory(id),
            Thing::Remains(remains) => {
                let layers = self.view.root.layers()?;
                let ids = match (remains, layers) {
                    (Remains::Mount(name), _) => {
                        let mount = self.view.catalog.mounts.iter().find(|mount| mount.name == *name);
                        mount.map(crate::schema::mount::named_directories).unwrap_or_default()
                    }
                    (Remains::Removal(name), Some(layers)) => layers.removing_cache_id(name)?.into_iter().collect(),
                    (Remains::Registration(name), Some(layers)) => {
                        layers.leftover_cache_id(name).ok().flatten().into_iter().collect()
                    }
                    _ => Vec::new(),
                };
                with(remains.place(driver), ids)
            }
            Thing::Change(name) => {
                vec![self.in_images(&WRITE_SETS, name)]
            }
            Thing::Odd(_) => Vec::new(),
        })
    }

    /// Puts everything into the order of its removal, and measures it.
    fn collect(
        &mut self,
        chosen: &[Candidate],
        images: &Images<'_>,
        layers: &LayerNeeds<'_>,
        departure: &Departure,
        found: RemainsFound,
        gone: &OnceGone<'_>,
    ) -> Result<(), StoreError> {
        let chains = layers.children_first(&departure.layers);
        let mut items: Vec<GcItem> = Vec::with_capacity(chosen.len() + chains.len() + found.going.len());
        let mut add = |thing: Thing, reason: Reason| -> Result<(), StoreError> {
            let last_used = if let Thing::Image { id, .. } = &thing { images.last_used(*id) } else { None };
            let paths = self.paths(&thing, gone)?.into_iter().map(exact).collect();
            items.push(GcItem { thing, reason, bytes: 0, paths, last_used });
            Ok(())
        };
        for candidate in chosen {
            add(self.image_thing(candidate.id), candidate.reason)?;
        }
        for chain in chains {
            let with = layers.last_image(chain);
            add(self.layer_thing(chain, with), if with.is_some() { Reason::WithImage } else { Reason::Unneeded })?;
        }
        for (thing, reason) in found.going {
            add(thing, reason)?;
        }
        leave_out_repeated(&mut items);
        self.links.take();
        let measured = measure(&self.view.root.dir, &items, |item| &item.paths);
        for (item, measured) in items.iter_mut().zip(&measured) {
            item.bytes = self.freed.add(measured);
            self.plan.unread += measured.unread;
        }
        self.plan.items = items;
        for (thing, cause) in found.spared {
            self.spare(thing, cause);
        }
        Ok(())
    }
}

/// A path without room to grow: a plan keeps three of them for each layer.
fn exact(mut path: PathBuf) -> PathBuf {
    path.shrink_to_fit();
    path
}

/// Leaves each path with the first thing that has it: two records may name the same directory, which is counted once.
fn leave_out_repeated(items: &mut [GcItem]) {
    let mut seen: HashSet<&Path> = HashSet::new();
    let mut repeated = Vec::new();
    for (thing, item) in items.iter().enumerate() {
        let again = item.paths.iter().enumerate().filter(|(_, path)| !seen.insert(path.as_path()));
        repeated.extend(again.map(|(at, _)| (thing, at)));
    }
    // Remove from the end, so that the positions of paths that are still to be removed do not change.
    for (thing, at) in repeated.into_iter().rev() {
        items[thing].paths.remove(at);
    }
}

/// Every record that cannot be read and might need something.
fn doubts(view: &View, departure: &Departure) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    if let Some(cause) = &view.catalog.damaged_references {
        doubts.push(Doubt::Names { cause: cause.clone() });
    }
    for doubt in view.liveness.once_gone(departure).doubts().into_iter().chain(LayerNeeds::doubts(view)) {
        if !doubts.contains(&doubt) {
            doubts.push(doubt);
        }
    }
    doubts
}

/// The directories of layers and mounts that are removed.
pub(super) fn directories_of(view: &View, departure: &Departure) -> HashSet<CacheId> {
    let layers = departure.layers.iter().filter_map(|chain| Some(view.catalog.layer(*chain)?.cache_id.clone()));
    let mounts = view.catalog.mounts.iter().filter(|mount| departure.mounts.contains(&mount.name));
    layers.chain(mounts.flat_map(crate::schema::mount::named_directories)).collect()
}

/// The names of directories that are removed.
fn going_directories(found: &RemainsFound, gone: &OnceGone<'_>, named: &HashSet<CacheId>) -> HashSet<String> {
    let named = named.iter().filter(|id| gone.dead(id).is_ok()).map(ToString::to_string);
    let orphans = found.going.iter().filter_map(|(thing, _)| match thing {
        Thing::Remains(Remains::Directory(id)) => Some(id.to_string()),
        _ => None,
    });
    named.chain(orphans).collect()
}

/// Removes the candidates that no image is built on any more, then those that lose their last child by that, and so on.
/// Returns the layers that nobody needs any more.
fn choose(
    view: &View,
    candidates: &[&Candidate],
    images: &mut Images<'_>,
    layers: &mut LayerNeeds<'_>,
    departure: &mut Departure,
    chosen: &mut Vec<Candidate>,
) -> Vec<ChainId> {
    let mut new_layers = Vec::new();
    let mut waiting: Vec<Candidate> =
        candidates.iter().filter(|candidate| !images.going().contains(&candidate.id)).map(|one| **one).collect();
    loop {
        let before = waiting.len();
        waiting.retain(|candidate| {
            if !images.is_childless(candidate.id) {
                return true;
            }
            let image: Option<&Image> = view.catalog.images.get(&candidate.id);
            new_layers.extend(image.into_iter().flat_map(|image| layers.remove(image)));
            images.remove(candidate.id);
            chosen.push(*candidate);
            false
        });
        if waiting.len() == before {
            departure.layers.extend(&new_layers);
            return new_layers;
        }
    }
}
