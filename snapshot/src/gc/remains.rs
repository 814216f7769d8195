//! Finds remains: what is left in a store of things that are gone.

use std::collections::{HashMap, HashSet};

use layerfs::DiffId;
use rustix::fs::{FileType, Stat};

use super::item::{Reason, StayCause, Thing};
use super::policy::Policy;
use crate::dir::Dir;
use crate::driver::EntryKind;
use crate::edit::{Remains, TEMPORARY, TemporaryPlace, held_mounts, is_change_record, without_held};
use crate::error::StoreError;
use crate::ids::{CacheId, MountName};
use crate::liveness::{Doubt, OnceGone, OwnedEntry, orphan_mounts};
use crate::schema::layer::LayerStore;
use crate::schema::{distribution, mount};
use crate::view::View;

/// Tells whether something is too young to be removed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ages {
    now: i64,
    min_age: u64,
}

impl Ages {
    pub(super) fn new(policy: &Policy) -> Self {
        Self { now: policy.now.as_second(), min_age: policy.min_age.as_secs() }
    }

    /// Why something with this `stat` stays, if it is too young. The time of its last change of any kind counts
    /// (`ctime`), which no program can set.
    fn of_stat(self, stat: &Stat) -> Option<StayCause> {
        #[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the types differ between platforms")]
        let changed = stat.st_ctime as i64;
        // A time in the future has an age of 0.
        let age = u64::try_from(self.now.saturating_sub(changed)).unwrap_or(0);
        (age < self.min_age).then_some(StayCause::Young(age))
    }

    /// Why an entry of a directory stays, if it or anything directly in it is too young. An entry that does not exist
    /// is old enough.
    pub(super) fn of_entry(self, dir: &Dir, name: &str) -> Result<Option<StayCause>, StoreError> {
        let Some(stat) = dir.stat(name)? else { return Ok(None) };
        let own = self.of_stat(&stat);
        if own.is_some() || FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(own);
        }
        let Some(own) = dir.sub(name)? else { return Ok(None) };
        for name in own.all_names()? {
            if let Some(young) = own.stat(&name)?.and_then(|stat| self.of_stat(&stat)) {
                return Ok(Some(young));
            }
        }
        Ok(None)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct RemainsFound {
    pub(super) going: Vec<(Thing, Reason)>,
    pub(super) spared: Vec<(Thing, StayCause)>,
}

impl RemainsFound {
    fn decide(&mut self, remains: Remains, reason: Reason, stays: Option<StayCause>) {
        let thing = Thing::Remains(remains);
        match stays {
            None => self.going.push((thing, reason)),
            Some(cause) => self.spared.push((thing, cause)),
        }
    }
}

/// Finds the mounts that nobody uses. Those that may be in use or are too young are added to the spared ones.
pub(super) fn mounts(view: &View, ages: Ages, found: &mut RemainsFound) -> Result<HashSet<MountName>, StoreError> {
    let names = view.catalog.mounts.iter().map(|mount| &mount.name);
    let layers = view.root.layers()?;
    let held = held_mounts(layers.as_ref())?;
    let orphans = orphan_mounts::find(&view.root.dir, names, view.snapshots(), &held)?;
    if let Some(doubt) = orphans.doubt {
        let known: HashSet<&str> = view.catalog.containers.iter().map(|container| container.id.as_str()).collect();
        for mount in view.catalog.mounts.iter().filter(|mount| !known.contains(mount.name.as_str())) {
            let thing = Thing::Remains(Remains::Mount(mount.name.clone()));
            found.spared.push((thing, StayCause::Doubt(doubt.clone())));
        }
        return Ok(HashSet::new());
    }
    let dir = layers.as_ref().and_then(LayerStore::mounts);
    let mut going = HashSet::new();
    for mount in view.catalog.mounts.iter().filter(|mount| orphans.names.contains(&mount.name)) {
        let mut stays = None;
        if let Some(dir) = dir {
            let parents: Vec<&str> = mount.name.split('/').collect();
            if let (Some((name, parents)), true) = (parents.split_last(), stays.is_none())
                && let Some(dir) = dir.descend(parents)?
            {
                stays = ages.of_entry(&dir, name)?;
            }
        }
        for id in mount::named_directories(mount) {
            if let (None, Some(home)) = (&stays, &view.root.home) {
                stays = ages.of_entry(home, id.as_str())?;
            }
        }
        if let Some(cause) = mount.unknown_layer().or(mount.unknown_init()) {
            stays = Some(StayCause::Doubt(Doubt::Mount { mount: mount.name.clone(), cause: cause.clone() }));
        }
        if stays.is_none() {
            going.insert(mount.name.clone());
        }
        found.decide(Remains::Mount(mount.name.clone()), Reason::NoContainer, stays);
    }
    Ok(going)
}

/// Finds removals and registrations that were begun and not finished, with the directories that they name.
pub(super) fn begun(
    view: &View,
    ages: Ages,
    found: &mut RemainsFound,
) -> Result<(HashSet<String>, HashSet<CacheId>), StoreError> {
    let (mut removals, mut directories) = (HashSet::new(), HashSet::new());
    let Some(layers) = view.root.layers()? else { return Ok((removals, directories)) };
    let mut names = layers.removing()?;
    names.sort();
    for name in names {
        match layers.removing_cache_id(&name) {
            Err(error) => {
                let cause = crate::catalog::with_causes(&error);
                let doubt = Doubt::LayerRecord { record: name.clone(), cause };
                found.decide(Remains::Removal(name), Reason::RemovalBegun, Some(StayCause::Doubt(doubt)));
            }
            Ok(id) => {
                directories.extend(id);
                removals.insert(name.clone());
                found.decide(Remains::Removal(name), Reason::RemovalBegun, None);
            }
        }
    }
    let mut names = layers.registrations()?;
    names.sort();
    for name in names {
        let stays = if LayerStore::is_own(&name) { None } else { ages.of_entry(layers.tmp()?, &name)? };
        if let Some(id) = layers.leftover_cache_id(&name).ok().flatten().filter(|_| stays.is_none()) {
            directories.insert(id);
        }
        found.decide(Remains::Registration(name), Reason::RegistrationBegun, stays);
    }
    let mut changes = layers.tmp_names()?;
    changes.retain(|name| is_change_record(name));
    if let Some(tmp) = layers.tmp_or_none() {
        changes = without_held(tmp, changes)?;
    }
    changes.sort();
    found.going.extend(changes.into_iter().map(|name| (Thing::Change(name), Reason::Unfinished)));
    Ok((removals, directories))
}

/// Directories that nobody claims and that are too young to be removed, and the directories that they stand on, which
/// the unknown program that made them needs.
#[derive(Debug, Default)]
pub(super) struct YoungDirectories {
    young: HashMap<String, StayCause>,
    /// For each directory that must stay, a young one that stands on it.
    below: HashMap<String, String>,
}

impl YoungDirectories {
    pub(super) fn find(view: &View, ages: Ages, found: &RemainsFound) -> Result<Self, StoreError> {
        let mut all = Self::default();
        let Some(home) = &view.root.home else { return Ok(all) };
        // The directory of a registration that is too young counts as too young as well.
        let registrations: HashMap<&str, &StayCause> = found.spared.iter().filter_map(registration).collect();
        let unclaimed = |entry: &&(&str, &OwnedEntry)| entry.1.kind == EntryKind::Layer && entry.1.claims.is_empty();
        for (name, entry) in view.liveness.entries().filter(|entry| unclaimed(&entry)) {
            let named = entry.unfinished.as_deref().and_then(|record| registrations.get(record));
            let cause = match named {
                Some(cause) => Some((*cause).clone()),
                None => ages.of_entry(home, name)?,
            };
            let Some(cause) = cause else { continue };
            all.young.insert(name.to_owned(), cause);
            let below = view.liveness.below_entry(name);
            all.below.extend(below.map(|below| (below.to_owned(), name.to_owned())));
        }
        Ok(all)
    }

    /// Why a directory stays because of young ones; `None` if it need not.
    pub(super) fn stays(&self, name: &str) -> Option<StayCause> {
        let young = self.young.get(name).cloned();
        young.or_else(|| self.below.get(name).map(|above| StayCause::BelowYoung(above.clone())))
    }
}

fn registration((thing, cause): &(Thing, StayCause)) -> Option<(&str, &StayCause)> {
    match thing {
        Thing::Remains(Remains::Registration(name)) => Some((name, cause)),
        _ => None,
    }
}

/// Finds directories that nobody claims. `named` are directories named by other remains or by layers that are removed;
/// they are removed with those.
pub(super) fn add_orphans(
    view: &View,
    young: &YoungDirectories,
    gone: &OnceGone<'_>,
    named: &HashSet<CacheId>,
    found: &mut RemainsFound,
) -> Result<(), StoreError> {
    let Some(home) = &view.root.home else { return Ok(()) };
    for (name, entry) in view.liveness.entries() {
        if entry.kind == EntryKind::Service {
            continue;
        }
        let is_claimed = !entry.claims.is_empty();
        // Nearly all directories are in normal use, so those are passed over before anything is asked of the file
        // system.
        if is_claimed && gone.is_claimed(name) {
            continue;
        }
        let id: Option<CacheId> = name.parse().ok();
        if is_claimed && id.as_ref().is_none_or(|id| named.contains(id) || gone.dead(id).is_err()) {
            continue;
        }
        let stat = home.stat(name)?;
        let is_directory = stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory);
        let (Some(id), true) = (id, is_directory) else {
            if !is_claimed {
                found.spared.push((Thing::Odd(name.to_owned()), StayCause::NotOfDocker));
            }
            continue;
        };
        if named.contains(&id) {
            continue;
        }
        match gone.dead(&id) {
            // Docker draws no such name, so somebody may have put the directory there by hand.
            Ok(_) if !id.is_drawn() => found.spared.push((Thing::Odd(name.to_owned()), StayCause::NotOfDocker)),
            Ok(_) => found.decide(Remains::Directory(id), Reason::Orphan, young.stays(name)),
            Err(reason) => found.decide(Remains::Directory(id), Reason::Orphan, Some(StayCause::Needed(reason))),
        }
    }
    Ok(())
}

/// Finds short names that lead to nothing. A name stays if an entry that stays stands on it.
pub(super) fn links(view: &View, stays: &dyn Fn(&str) -> bool, found: &mut RemainsFound) -> Result<(), StoreError> {
    let staying = view.liveness.entries().filter(|(name, _)| stays(name));
    let wanted: HashSet<&str> = staying.flat_map(|(_, entry)| &entry.missing_links).map(String::as_str).collect();
    let place = view.root.home_layout().and_then(|layout| layout.links);
    let Some(dir) = view.root.home.as_ref().zip(place).map_or(Ok(None), |(home, links)| home.sub(links))? else {
        return Ok(());
    };
    for (link, _) in view.liveness.links().iter().filter(|(_, entry)| entry.is_none()) {
        let is_link = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let cause = match dir.stat(link)?.map(is_link) {
            None => continue,
            Some(false) => Some(StayCause::NotOfDocker),
            Some(true) => wanted.contains(link.as_str()).then_some(StayCause::WantedLink),
        };
        found.decide(Remains::Link(link.clone()), Reason::Stale, cause);
    }
    Ok(())
}

/// Finds metadata of images and cached facts about layers that are gone. `layers` are the layers that stay; `None` if
/// they are not known.
pub(super) fn notes(view: &View, layers: Option<&HashSet<DiffId>>, found: &mut RemainsFound) -> Result<(), StoreError> {
    let Some(images_dir) = &view.root.images_dir else { return Ok(()) };
    if let Some(images) = view.root.images()? {
        let stored: HashSet<_> = images.list()?.into_iter().collect();
        // While a name points to the image, the image may come back, and then its metadata counts again.
        let named: HashSet<_> = view.catalog.references.iter().map(|(_, id)| id).collect();
        let mut noted = images.list_metadata()?;
        noted.retain(|id| !stored.contains(id) && !named.contains(id));
        noted.sort();
        noted.into_iter().for_each(|id| found.decide(Remains::Metadata(id), Reason::NoImage, None));
    }
    let Some(layers) = layers else { return Ok(()) };
    let mut sources = distribution::sources(images_dir)?;
    sources.sort();
    for id in sources.into_iter().filter(|id| !layers.contains(id)) {
        found.decide(Remains::Sources(id), Reason::NoLayer, None);
    }
    let mut blobs = distribution::blobs(images_dir)?;
    blobs.sort();
    for blob in blobs {
        // A file that does not tell its layer may belong to any layer, so it stays.
        if let Ok(Some(id)) = distribution::diff_id_of(images_dir, blob)
            && !layers.contains(&id)
        {
            found.decide(Remains::Blob(blob), Reason::NoLayer, None);
        }
    }
    Ok(())
}

/// Finds temporary files that were to replace others.
pub(super) fn temporaries(view: &View, ages: Ages, found: &mut RemainsFound) -> Result<(), StoreError> {
    let Some(images_dir) = &view.root.images_dir else { return Ok(()) };
    for place in TemporaryPlace::ALL {
        let Some(dir) = images_dir.descend(place.path())? else { continue };
        let mut names = dir.names()?;
        names.retain(|name| name.starts_with(TEMPORARY));
        names.sort();
        for name in names {
            let stays = match dir.stat(&name)? {
                Some(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => ages.of_stat(&stat),
                Some(_) => Some(StayCause::NotOfDocker),
                None => continue,
            };
            found.decide(Remains::Temporary { place, name }, Reason::Temporary, stays);
        }
    }
    Ok(())
}
