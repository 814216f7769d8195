//! A change to a store in progress. The order of its steps is in the [module above](super).

mod plan;
mod roll_back;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use layerfs::apply::Target;
use layerfs::{ChainId, JournalFile};

use super::changes::{Edit, Slot, Summary, WriteOptions};
use super::clear::KeptRemains;
use super::disposal::{self, Contents};
use super::finish::{finish, twice};
use super::record::{Record, Stored};
use super::recovery::recover;
use super::reserve::Reserve;
use crate::dir::Dir;
use crate::driver::{Driver, Prepared};
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::root::{Refusal, WritableRoot};
use crate::schema::distribution;
use crate::schema::layer::{LayerRecord, WriteSet};
use crate::schema::references::{FILE as REFERENCES, MAX_FILE, References};

/// A staged layer: its write-set, and its directory from its preparation until the layer is completed.
#[derive(Debug)]
pub(super) struct Staged {
    set: WriteSet,
    layer: OnceLock<Prepared>,
}

/// Changes to a store in progress. If it is dropped before [`commit`](Transaction::commit) has passed the commit point,
/// it takes everything back.
#[derive(Debug)]
pub struct Transaction {
    pub(super) root: WritableRoot,
    pub(super) sync: bool,
    edits: Vec<Edit>,
    /// `None` once published or discarded.
    pub(super) sets: Vec<Option<Staged>>,
    record: Record,
    /// The record of intent that is in the store, or may be.
    stored: Option<Stored>,
    /// The old content of `repositories.json`, once it is being replaced; the inner `None` means that there was no
    /// file.
    replaced: Option<Option<Vec<u8>>>,
    /// The quarantine into which removed things are moved; `None` if they are deleted.
    quarantine: Option<Dir>,
    /// Descriptors for going back, in case the process can open no others then.
    reserve: Reserve,
    /// Whether the commit point is passed.
    done: bool,
    /// What a test does to the store just before the commit point.
    #[cfg(test)]
    pub(super) before_commit_point: Option<Interference>,
}

#[cfg(test)]
pub(super) struct Interference(pub(super) Box<dyn FnOnce()>);

#[cfg(test)]
impl std::fmt::Debug for Interference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interference")
    }
}

impl Transaction {
    /// Opens the root for writing, and creates it if it does not exist. Finishes or takes back what a crashed
    /// transaction has left.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Refused`] where writing would do harm.
    pub fn begin(root: &Path, options: WriteOptions) -> Result<Self, StoreError> {
        let root = WritableRoot::open(root, options.driver)?;
        recover(&root, options.sync)?;
        let reserve = Reserve::take(root.dir(), root.dir().path())?;
        Ok(Self {
            reserve,
            root,
            sync: options.sync,
            edits: Vec::new(),
            sets: Vec::new(),
            record: Record::default(),
            stored: None,
            replaced: None,
            quarantine: None,
            done: false,
            #[cfg(test)]
            before_commit_point: None,
        })
    }

    /// Opens the root as [`begin`](Self::begin) does, and waits up to `patience` for another process of ours that writes
    /// to it.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_waiting(root: &Path, options: WriteOptions, patience: Duration) -> Result<Self, StoreError> {
        const PAUSE: Duration = Duration::from_millis(5);
        let begun = Instant::now();
        loop {
            match Self::begin(root, options) {
                Err(StoreError::Refused { refusal: Refusal::Busy(_), .. }) if begun.elapsed() < patience => {
                    std::thread::sleep(PAUSE);
                }
                begun => return begun,
            }
        }
    }

    /// The root that is written to.
    #[must_use]
    pub fn root(&self) -> &WritableRoot {
        &self.root
    }

    /// Makes a new quarantine in the directory `parent`, into which this transaction moves what it removes, instead of
    /// deleting it. Returns the quarantine's path, from which [`restore`](super::restore()) can put everything back
    /// after the commit.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] if things of the root cannot be moved there.
    pub fn keep_in(&mut self, parent: &Path) -> Result<PathBuf, StoreError> {
        let quarantine = disposal::create(&self.root, parent, self.sync)?;
        Ok(self.quarantine.insert(quarantine).path().to_path_buf())
    }

    /// Begins a layer: makes a write-set that names the layer's future directory.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn stage(&mut self) -> Result<Slot, StoreError> {
        let cache_id = CacheId::random();
        let begun = self.root.layers.begin(&cache_id, self.sync);
        let set = begun.inspect_err(|_| {
            // `begin` has removed what it could. If it could not open a directory for that, there are descriptors now.
            self.reserve.give_back();
            let _ = self.root.layers.abandon(&WriteSet::of_layer(&cache_id));
        })?;
        self.sets.push(Some(Staged { set, layer: OnceLock::new() }));
        Ok(Slot(self.sets.len() - 1))
    }

    /// Makes the write-sets of all layers begun so far durable. Only then may their directories be made.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn announce(&self) -> Result<(), StoreError> {
        if self.sync { self.root.layers.sync_write_sets() } else { Ok(()) }
    }

    /// Creates the directory of a layer. `parent` is the directory of the layer below, which must be complete if the
    /// driver wants [parents first](crate::driver::LayerOrder::ParentFirst).
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn prepare(&self, slot: Slot, parent: Option<&CacheId>) -> Result<(Target, JournalFile), StoreError> {
        let Staged { set, layer } = self.staged(slot);
        let prepared = self.root.driver.prepare(&set.cache_id, parent)?;
        let target = prepared.target()?;
        layer.set(prepared).expect("a slot is prepared once");
        Ok((target, self.root.layers.staged_journal(set)?))
    }

    /// The directory of a staged layer, by its name in the driver's home.
    #[must_use]
    pub fn cache_id(&self, slot: Slot) -> &CacheId {
        &self.set(slot).cache_id
    }

    /// The journal of a staged layer, for reading it back.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn journal(&self, slot: Slot) -> Result<JournalFile, StoreError> {
        self.root.layers.staged_journal(self.set(slot))
    }

    /// Takes a staged layer back.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn discard(&mut self, slot: Slot) -> Result<(), StoreError> {
        let Some(Staged { set, layer }) = self.sets[slot.0].take() else { return Ok(()) };
        // If this fails, the write-set stays and names the directory, so that recovery removes both.
        layer.into_inner().map_or(Ok(()), Prepared::discard)?;
        self.root.layers.abandon(&set)
    }

    /// Adds an edit, to be done by [`commit`](Transaction::commit).
    pub fn add(&mut self, edit: Edit) {
        self.edits.push(edit);
    }

    fn staged(&self, slot: Slot) -> &Staged {
        self.sets[slot.0].as_ref().expect("a slot is used only before it is published or discarded")
    }

    /// Takes what the driver prepared for a layer, for the caller to commit.
    pub(super) fn take_prepared(&mut self, slot: Slot) -> Prepared {
        let prepared = self.sets[slot.0].as_mut().and_then(|staged| staged.layer.take());
        prepared.expect("a layer is prepared before it is added")
    }

    pub(super) fn set(&self, slot: Slot) -> &WriteSet {
        &self.staged(slot).set
    }

    /// Makes all edits, in the order of the [module](super), whatever order they were added in.
    ///
    /// # Errors
    /// [`StoreError::Unfinished`] if the change was made, but a step after the commit point failed. After any other
    /// error the change is taken back. If taking it back fails as well, the record stays, and the next transaction
    /// takes the change back, or finishes it if the store shows it as made.
    pub fn commit(mut self) -> Result<Summary, StoreError> {
        self.root.check_again()?;
        let edits = std::mem::take(&mut self.edits);
        let layers = self.complete_layers(&edits)?;
        if self.sync && !layers.is_empty() {
            self.root.driver.sync()?;
            self.root.images_dir.sync_file_system()?;
        }
        let references = References::load(&self.root.images_dir)?;
        let (mut record, after) = self.plan(&edits, &layers, &references)?;
        let (kept, refused) = self.plan_removals(&edits, &mut record)?;
        if !record.removed_layers.is_empty() {
            self.root.driver.get_ready()?;
        }
        if let Some(quarantine) = &self.quarantine {
            let gone = record.names.iter().filter(|(_, image)| image.is_none());
            let gone = gone.filter_map(|(name, _)| Some((name.familiar(), references.get(name)?)));
            Contents::new(&self.root, gone.collect()).write(quarantine, self.sync)?;
            record.quarantine = quarantine.path().to_str().map(str::to_owned);
        }
        self.record = record;
        if !self.record.is_empty() {
            let stored = Stored::new();
            match stored.write(self.root.layers.tmp()?, &self.record, self.sync) {
                // On a full file system, remains are cleared away even without a record of intent: that makes room, and
                // each of them can be removed on its own.
                Err(error) if error.is_no_space() && self.record.only_clears() => {}
                written => {
                    self.stored = Some(stored);
                    written?;
                }
            }
        }
        self.publish(&layers)?;
        self.add_images(&edits)?;
        self.replace_references(&references, &after)?;
        #[cfg(test)]
        if let Some(interference) = self.before_commit_point.take() {
            interference.0();
        }
        self.pass_commit_point()?;
        self.done = true;
        std::mem::take(&mut self.root.created).keep();
        let kept_remains = twice(|| self.finish()).map_err(StoreError::unfinished)?;
        for edit in &edits {
            if let Edit::NoteSource { source, diff_id, hmac } = edit {
                let images = &self.root.images_dir;
                distribution::note(images, source, *diff_id, hmac, self.sync).map_err(StoreError::unfinished)?;
            }
        }
        let record = std::mem::take(&mut self.record);
        Ok(Summary {
            added_layers: record.added_layers,
            added_images: record.added_images,
            removed_layers: record.removed_layers.into_iter().map(|(chain_id, _)| chain_id).collect(),
            kept,
            kept_remains: refused.into_iter().chain(kept_remains).collect(),
        })
    }

    /// Puts staged layers on top of their parents, and completes their records.
    fn complete_layers(&mut self, edits: &[Edit]) -> Result<Vec<(Slot, ChainId)>, StoreError> {
        let mut staged: HashMap<ChainId, CacheId> = HashMap::new();
        let mut layers = Vec::new();
        for edit in edits {
            let &Edit::AddLayer { slot, chain_id, diff_id, parent, size } = edit else { continue };
            let below = match parent {
                None => None,
                Some(parent) => match staged.get(&parent) {
                    Some(id) => Some(id.clone()),
                    None => {
                        let missing = || StoreError::DamagedLayer { chain_id: parent, reason: "missing".into() };
                        Some(self.root.layers.get(parent)?.ok_or_else(missing)?.cache_id)
                    }
                },
            };
            self.take_prepared(slot).commit(below.as_ref())?;
            let set = self.set(slot);
            let record = LayerRecord { chain_id, diff_id, parent, cache_id: set.cache_id.clone(), size };
            self.root.layers.describe(set, &record)?;
            staged.insert(chain_id, record.cache_id);
            layers.push((slot, chain_id));
        }
        Ok(layers)
    }

    fn publish(&mut self, layers: &[(Slot, ChainId)]) -> Result<(), StoreError> {
        for &(slot, chain_id) in layers {
            self.root.layers.publish(self.set(slot), chain_id)?;
            self.sets[slot.0] = None;
        }
        if self.sync && !layers.is_empty() {
            self.root.layers.sync()?;
        }
        if self.sync && !(layers.is_empty() && self.record.added_images.is_empty()) {
            self.root.sync_parents()?;
        }
        Ok(())
    }

    fn add_images(&self, edits: &[Edit]) -> Result<(), StoreError> {
        let new: HashSet<ImageId> = self.record.added_images.iter().copied().collect();
        for edit in edits {
            let Edit::AddImage { config, parent } = edit else { continue };
            let id = ImageId(layerfs::Digest::hash(config));
            if new.contains(&id) {
                self.root.images.put(config, self.sync)?;
                if let Some(parent) = *parent {
                    self.root.images.set_parent(id, parent, self.sync)?;
                }
            }
        }
        Ok(())
    }

    /// Replaces `repositories.json`, unless the file exists and has the same names already.
    fn replace_references(&mut self, before: &References, after: &References) -> Result<(), StoreError> {
        let old = self.root.images_dir.read(REFERENCES, MAX_FILE)?;
        if old.is_some() && after == before {
            return Ok(());
        }
        self.replaced = Some(old);
        self.root.images_dir.replace(REFERENCES, &after.to_bytes(), 0o600, self.sync)
    }

    /// If names changed, `repositories.json` already shows that the commit point is passed. If none did, or if more
    /// steps follow, the record is renamed to say so.
    fn pass_commit_point(&mut self) -> Result<(), StoreError> {
        let Some(stored) = self.stored.as_mut() else { return Ok(()) };
        if self.record.names.is_empty() || self.record.has_sequel() {
            let tmp = self.root.layers.tmp()?;
            stored.rename(tmp, true)?;
            if self.sync {
                tmp.sync()?;
            }
        }
        Ok(())
    }

    fn finish(&self) -> Result<Vec<KeptRemains>, StoreError> {
        if self.record.is_empty() {
            return Ok(Vec::new());
        }
        let kept = finish(&self.root, &self.record, self.sync)?;
        if let Some(stored) = &self.stored {
            stored.remove(self.root.layers.tmp()?, self.sync)?;
        }
        Ok(kept)
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.done {
            self.roll_back();
        }
    }
}
