//! Plans the repair of layers' records: what each says, what it must say, and what proves that.

use std::collections::{BTreeMap, HashMap, HashSet};

use layerfs::{ChainId, DiffId};

use super::RepairPlanner;
use super::depths::Depths;
use super::search::Search;
use crate::catalog::{MountDamage, Subject, with_causes};
use crate::check::keeps_owners;
use crate::ids::{CacheId, MountName};
use crate::repair::content;
use crate::repair::error::RepairError;
use crate::repair::mending::{Advice, Mending};
use crate::repair::unread::readable;
use crate::schema::layer::{LayerRecord, RecordField, RecordFields};
use crate::schema::mount::named_directories;

/// Why a record cannot be completed.
pub(super) enum Lack {
    /// Nothing proves which content is the layer's, or what it stands on.
    Identity,
    /// Nothing proves which directory is the layer's.
    Directory,
    /// Its size is not known, for this reason.
    Size(String),
    /// What may prove it cannot be read, for this reason.
    Unread(String),
    /// Not all of these were tried, as too many records are broken.
    Untried(&'static str),
}

impl RepairPlanner<'_> {
    /// Looks at every registered record: it is complete, will be completed, or will be dropped.
    pub(super) fn plan_records(&mut self) -> Result<(), RepairError> {
        let registered = self.layers.list()?;
        let names: HashSet<ChainId> = registered.iter().copied().collect();
        let of_mounts = self.directories_of_mounts();
        let mut left = Vec::new();
        for layer in registered {
            if let Some(Ok(record)) = self.view.catalog.layers.get(&layer)
                && ChainId::next(record.parent, record.diff_id) == layer
                && !of_mounts.contains_key(&record.cache_id)
            {
                self.records.insert(layer, record.clone());
            } else {
                left.push(layer);
            }
        }
        // The catalog loads no layer above a broken one, though the record of such a layer may be complete itself.
        let mut broken = Vec::new();
        for layer in left {
            let said = match self.layers.fields(layer) {
                Ok(Some(mut said)) => {
                    let mount = said.cache_id.as_ref().ok().and_then(|id| of_mounts.get(id));
                    if let Some(mount) = mount {
                        said.cache_id = Err(format!("it is the directory of container {mount}"));
                    }
                    said
                }
                Ok(None) => continue,
                Err(error) => {
                    self.unread.get_or_insert_with(|| with_causes(&error));
                    self.leave(layer, with_causes(&error));
                    continue;
                }
            };
            match whole(layer, &said) {
                Some(record) => drop(self.records.insert(layer, record)),
                None => broken.push((layer, said)),
            }
        }
        let unread = broken.iter().find_map(|(_, said)| said.unread.clone()).or_else(|| self.unread_stack());
        self.unread = self.unread.take().or(unread);
        broken.extend(self.part_shared_directories());
        self.sort_by_depth(&mut broken);
        let mut search = Search::new(self, names);
        for (layer, said) in broken {
            let other = self.other_name(layer, &said, &search.names);
            if !self.is_chosen(other.unwrap_or(layer)) {
                continue;
            }
            if let Some(to) = other {
                let cause = "its record is not at the place that its diff and parent say";
                self.step(Subject::Layer(to), cause, Mending::RenameRecord { from: layer, to });
                self.complete(to, &said, &mut search);
            } else {
                self.complete(layer, &said, &mut search);
            }
        }
        Ok(())
    }

    /// Puts layers before those that stand on them, as far as configs and records tell: where a layer is helps to find what is above.
    fn sort_by_depth(&self, broken: &mut [(ChainId, RecordFields)]) {
        let said: HashMap<ChainId, Option<ChainId>> =
            broken.iter().filter_map(|(layer, said)| Some((*layer, said.parent.clone().ok()?))).collect();
        let below = |layer| match self.proven.get(&layer) {
            Some((_, below)) => *below,
            None => said.get(&layer).copied().flatten(),
        };
        let mut depths = Depths::default();
        broken.sort_by_cached_key(|(layer, _)| depths.of(*layer, below));
    }

    /// Of the records that name the same directory, keeps the one whose files are in it. Returns the others as records that do not say
    /// where their layer is. If none has its files there, or one of them cannot be read, nothing is done.
    fn part_shared_directories(&mut self) -> Vec<(ChainId, RecordFields)> {
        let mut by_directory: BTreeMap<CacheId, Vec<ChainId>> = BTreeMap::new();
        for record in self.records.values() {
            by_directory.entry(record.cache_id.clone()).or_default().push(record.chain_id);
        }
        let mut parted = Vec::new();
        for (directory, layers) in by_directory.into_iter().filter(|(_, layers)| layers.len() > 1) {
            let found: Result<Vec<bool>, String> = layers
                .iter()
                .map(|layer| self.is_directory_of(*layer, &directory, self.records[layer].diff_id))
                .collect();
            let cause = "another layer's record names the same directory";
            let (owner, cause) = match found {
                Ok(owns) => (owns.iter().position(|owns| *owns).map(|at| layers[at]), cause.to_owned()),
                Err(unread) => (None, format!("{cause}, and which of them it is of cannot be told: {unread}")),
            };
            for layer in layers.into_iter().filter(|layer| Some(*layer) != owner) {
                self.records.remove(&layer);
                match self.layers.fields(layer) {
                    Ok(Some(said)) if owner.is_some() => {
                        parted.push((layer, RecordFields { cache_id: Err(cause.clone()), ..said }));
                    }
                    Err(error) => self.leave(layer, with_causes(&error)),
                    Ok(_) => self.leave(layer, cause.clone()),
                }
            }
        }
        parted
    }

    /// The directories that belong to mounts, and to which. Containers write to them, so they are no layers'.
    fn directories_of_mounts(&self) -> HashMap<CacheId, MountName> {
        let mounts = self.mounts.iter().rev();
        mounts.flat_map(|mount| named_directories(mount).into_iter().map(|id| (id, mount.name.clone()))).collect()
    }

    /// Leaves a record as it is.
    fn leave(&mut self, layer: ChainId, reason: String) {
        self.broken.insert(layer, reason.clone());
        self.cannot(Subject::Layer(layer), reason, Advice::LookAtFile);
    }

    /// The chain id that follows from a record's own files, if an image has that layer, and no image has the layer of
    /// the chain id that the record is under. While something cannot be read, an image may have it.
    fn other_name(&self, layer: ChainId, said: &RecordFields, names: &HashSet<ChainId>) -> Option<ChainId> {
        let (Ok(diff_id), Ok(parent)) = (&said.diff_id, &said.parent) else { return None };
        let (diff_id, parent) = (*diff_id, *parent);
        let to = ChainId::next(parent, diff_id);
        let wanted = self.proven.contains_key(&to) && !self.proven.contains_key(&layer) && self.unread.is_none();
        (to != layer && wanted && !names.contains(&to)).then_some(to)
    }

    /// Completes a record, or drops it.
    fn complete(&mut self, layer: ChainId, said: &RecordFields, search: &mut Search) {
        match self.completed(layer, said, search) {
            Ok(record) => {
                self.restore_fields(layer, said, &record);
                search.add(&record);
                self.records.insert(layer, record);
            }
            // dockerd loads this record in spite of its wrong chain id. It belongs to no image and does no harm, so it
            // stays.
            Err(Lack::Identity) if is_readable(said) => {
                let reason = "its name is not the hash of what its record says, and no image needs it";
                self.broken.insert(layer, reason.to_owned());
                self.cannot(Subject::Layer(layer), reason, Advice::CollectLater);
            }
            Err(Lack::Size(cause)) => {
                self.leave(layer, format!("its size is not known, since its content cannot be read: {cause}"));
            }
            Err(Lack::Unread(cause)) => {
                let reason = format!("its record is not complete, and what may complete it cannot be read: {cause}");
                self.leave(layer, reason);
            }
            Err(Lack::Untried(what)) => {
                let reason = "its record is not complete, and too many are broken to try all";
                self.leave(layer, format!("{reason} {what} for each: repair again when the others are mended"));
            }
            Err(Lack::Identity) => {
                self.drop_record(layer, said, "its record does not say which layer it is, and nothing else proves it");
            }
            Err(Lack::Directory) => {
                let cause = "its record does not say where its content is, and nothing proves where it is";
                self.drop_record(layer, said, cause);
            }
        }
    }

    fn drop_record(&mut self, layer: ChainId, said: &RecordFields, cause: &str) {
        let cause = match said.empty {
            true => "its record is empty: loading the layer again fails with \"file exists\"",
            false => cause,
        };
        self.broken.insert(layer, cause.to_owned());
        self.step(Subject::Layer(layer), cause, Mending::DropRecord { layer });
    }

    fn completed(&self, layer: ChainId, said: &RecordFields, search: &mut Search) -> Result<LayerRecord, Lack> {
        let cache_id = said.cache_id.clone().ok();
        let mut identity = self.proven.get(&layer).copied();
        if identity.is_none()
            && let Ok(diff_id) = said.diff_id
        {
            identity = search.find_parent(self, layer, diff_id, said)?.map(|parent| (diff_id, parent));
        }
        if identity.is_none()
            && let Some(id) = &cache_id
            && let Some(diff_id) = self.replayed(layer, id).map_err(Lack::Unread)?
        {
            identity = search.find_parent(self, layer, diff_id, said)?.map(|parent| (diff_id, parent));
        }
        let unread = |lack| self.unread.clone().map_or(lack, Lack::Unread);
        let (diff_id, parent) = identity.ok_or_else(|| unread(Lack::Identity))?;
        let found = match cache_id {
            Some(id) => Some(id),
            None => search.find_directory(self, layer, diff_id, parent)?,
        };
        let cache_id = found.ok_or_else(|| unread(Lack::Directory))?;
        let size = said.size.clone().ok().or_else(|| self.layers.untrimmed_size(self.name_now(layer)));
        let size = match size {
            Some(size) => size,
            // What has neither a directory nor a journal gets its size when it is unpacked again.
            None => self.measure(layer, &cache_id).map_err(Lack::Size)?.unwrap_or_default(),
        };
        Ok(LayerRecord { chain_id: layer, diff_id, parent, cache_id, size })
    }

    /// The diff id that a layer's journal and a directory make together; `None` if they make none.
    ///
    /// # Errors
    /// Why one of them cannot be read: together they may make the diff id that is looked for.
    fn replayed(&self, layer: ChainId, directory: &CacheId) -> Result<Option<DiffId>, String> {
        let Some(journal) = readable(self.layers.journal(self.name_now(layer)))? else { return Ok(None) };
        let Some(content) = readable(self.view.root.content(directory))? else { return Ok(None) };
        content::replay(journal, content)
    }

    /// Whether a directory is a layer's: with the layer's journal it makes the diff id. If the layer's files have no
    /// bytes, its journal makes the diff id with any directory, so the directory must also have just the names and
    /// metadata that the journal says.
    ///
    /// # Errors
    /// Why that cannot be told.
    pub(super) fn is_directory_of(&self, layer: ChainId, directory: &CacheId, diff_id: DiffId) -> Result<bool, String> {
        if self.replayed(layer, directory)? != Some(diff_id) {
            return Ok(false);
        }
        let journal = || readable(self.layers.journal(self.name_now(layer)));
        let has_bytes = journal()?.and_then(content::member_sizes).is_some_and(|bytes| bytes > 0);
        if has_bytes || !self.has_single_files() {
            return Ok(true);
        }
        let (Some(journal), Some(content)) = (journal()?, readable(self.view.root.content(directory))?) else {
            return Ok(false);
        };
        let owners = keeps_owners(self.view.root.home.as_ref());
        content::is_as_written(journal, &content, owners, diff_id).map_err(|error| with_causes(&error))
    }

    /// Why it cannot be read what some directory, or some container, stands on: that may be the directory which a
    /// record has lost.
    fn unread_stack(&self) -> Option<String> {
        let parents = self.home.entries.values().filter_map(|entry| entry.parents.as_ref().err());
        let mounts = self.mounts.iter().flat_map(|mount| &mount.damage);
        let unread = |damage: &&MountDamage| {
            matches!(damage, MountDamage::Unreadable { .. } | MountDamage::FileUnreadable { .. })
        };
        let by_driver = parents.filter(|unknown| unknown.failed).map(|unknown| unknown.cause.clone()).next();
        by_driver.or_else(|| mounts.filter(unread).map(ToString::to_string).next())
    }

    /// A layer's size by the driver's rule: measured from its content, or else from its journal; `None` if there is
    /// neither.
    ///
    /// # Errors
    /// Why the content cannot be read. The size of the part that can be read would be wrong, and would be recorded as
    /// if it were proven.
    fn measure(&self, layer: ChainId, directory: &CacheId) -> Result<Option<u64>, String> {
        if self.view.root.home_layout().is_some_and(|layout| layout.changes)
            && let Some(content) = self.view.root.content(directory).map_err(|error| with_causes(&error))?
        {
            return layerfs::tree_size(&content).map(Some).map_err(|error| with_causes(&error));
        }
        Ok(self.layers.journal(self.name_now(layer)).ok().flatten().and_then(content::member_sizes))
    }

    fn restore_fields(&mut self, layer: ChainId, said: &RecordFields, record: &LayerRecord) {
        let parent = record.parent.map(|parent| parent.to_string());
        let fields = [
            (RecordField::Diff, how(&said.diff_id, &record.diff_id), Some(record.diff_id.to_string())),
            (RecordField::Parent, how(&said.parent, &record.parent), parent),
            (RecordField::CacheId, how(&said.cache_id, &record.cache_id), Some(record.cache_id.to_string())),
            (RecordField::Size, how(&said.size, &record.size), Some(record.size.to_string())),
            (RecordField::Descriptor, how(&said.descriptor, &()), None),
        ];
        for (field, how, value) in fields {
            if let Some(how) = how {
                let cause = format!("{} of its record {how}", field.file());
                self.step(Subject::Layer(layer), cause, Mending::RestoreField { layer, field, value });
            }
        }
    }
}

/// Whether dockerd can read all of a record.
fn is_readable(said: &RecordFields) -> bool {
    said.diff_id.is_ok() && said.parent.is_ok() && said.cache_id.is_ok() && said.size.is_ok() && said.descriptor.is_ok()
}

/// The record, if all of its files can be read.
fn whole(layer: ChainId, said: &RecordFields) -> Option<LayerRecord> {
    let (Ok(diff_id), Ok(parent)) = (&said.diff_id, &said.parent) else { return None };
    let (Ok(cache_id), Ok(size), Ok(())) = (&said.cache_id, &said.size, &said.descriptor) else { return None };
    let record =
        LayerRecord { chain_id: layer, diff_id: *diff_id, parent: *parent, cache_id: cache_id.clone(), size: *size };
    (ChainId::next(record.parent, record.diff_id) == layer).then_some(record)
}

/// What is wrong with a file; `None` if nothing is.
fn how<T: PartialEq>(said: &Result<T, String>, proven: &T) -> Option<String> {
    match said {
        Ok(said) if said == proven => None,
        Ok(_) => Some("is not what its name proves".into()),
        Err(reason) => Some(format!("is wrong: {reason}")),
    }
}
