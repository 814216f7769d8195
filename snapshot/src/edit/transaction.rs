//! Layers and images on their way into a store: all of them land, or none.
//!
//! In this order, each step durable before the next:
//!
//! 1. write-sets with their `cache-id`: from here on a crash leaves only what the next import recognises and removes
//! 2. the layers' directories, their `l/` links, the journals: one `syncfs`
//! 3. the chain ids about to be registered, in `layerdb/tmp/layerfs-intent-*`
//! 4. each write-set renamed into place, parents first
//! 5. image configs, then their metadata
//! 6. `repositories.json`
//!
//! A crash before 4 leaves directories that nothing refers to, one before 5 layers without an image, which the intent
//! names; both go with the next import. One before 6 leaves whole images without their tags.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use layerfs::apply::Target;
use layerfs::{ChainId, DiffId, JournalFile};

use crate::driver::{Driver, Prepared};
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::reference::Reference;
use crate::root::WritableRoot;
use crate::schema::config::ImageConfig;
use crate::schema::layer::{LayerRecord, WriteSet};
use crate::schema::references::{FILE as REFERENCES, References};

/// How records of intent begin.
const INTENT: &str = "layerfs-intent-";

/// Bytes of the largest record of intent that is read.
const MAX_INTENT: usize = 1 << 20;

/// A layer that is being unpacked: the number of its write-set in the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Slot(usize);

/// One change to a store.
#[derive(Debug, Clone)]
pub enum Edit {
    /// Registers a staged layer. Its parent is in the store, or is added before it.
    AddLayer {
        /// Where it was staged.
        slot: Slot,
        /// The layer with all below it.
        chain_id: ChainId,
        /// The layer's own content.
        diff_id: DiffId,
        /// The layer below.
        parent: Option<ChainId>,
        /// Docker's size of it, in bytes.
        size: u64,
    },
    /// Stores an image, whose layers are in the store or are added by the same transaction. One that is there stays.
    AddImage {
        /// Its config, byte for byte.
        config: Arc<[u8]>,
        /// The image it was built from, to be recorded.
        parent: Option<ImageId>,
    },
    /// Gives a name to an image; another image that has it loses it.
    SetTag {
        /// The name.
        reference: Reference,
        /// The image.
        image: ImageId,
    },
}

/// A layer on its way: its record, and its directory from when that is prepared until it is completed.
#[derive(Debug)]
struct Staged {
    set: WriteSet,
    layer: OnceLock<Prepared>,
}

/// Changes to a store in progress. Dropped before [`commit`](Transaction::commit) has succeeded, it takes everything back.
#[derive(Debug)]
pub struct Transaction {
    root: WritableRoot,
    sync: bool,
    edits: Vec<Edit>,
    /// `None` once published or discarded.
    sets: Vec<Option<Staged>>,
    published: Vec<(ChainId, CacheId)>,
    new_images: Vec<ImageId>,
    intent: Option<String>,
    done: bool,
}

impl Transaction {
    /// Opens the root for writing, which is created if it does not exist, and removes what a crashed transaction has left.
    ///
    /// `insist` says that the user named the driver; `sync` that each step is made durable before the next.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Refused`] where writing would do harm.
    pub fn begin(root: &Path, insist: bool, sync: bool) -> Result<Self, StoreError> {
        let root = WritableRoot::open(root, insist)?;
        recover(&root)?;
        Ok(Self {
            root,
            sync,
            edits: Vec::new(),
            sets: Vec::new(),
            published: Vec::new(),
            new_images: Vec::new(),
            intent: None,
            done: false,
        })
    }

    /// The root that is written to.
    #[must_use]
    pub fn root(&self) -> &WritableRoot {
        &self.root
    }

    /// Begins a layer: writes down which directory will be its own.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn stage(&mut self) -> Result<Slot, StoreError> {
        let set = self.root.layers.begin(&CacheId::random(), self.sync)?;
        self.sets.push(Some(Staged { set, layer: OnceLock::new() }));
        Ok(Slot(self.sets.len() - 1))
    }

    /// Makes durable what was written down of all layers begun so far, so that their directories may be made.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn announce(&self) -> Result<(), StoreError> {
        if self.sync { self.root.layers.sync_write_sets() } else { Ok(()) }
    }

    /// Creates the directory of a layer.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn prepare(&self, slot: Slot) -> Result<(Target, JournalFile), StoreError> {
        let Staged { set, layer } = self.staged(slot);
        let prepared = self.root.driver.prepare(&set.cache_id, None)?;
        let target = prepared.target()?;
        layer.set(prepared).expect("a slot is prepared once");
        Ok((target, set.journal()?))
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
        self.set(slot).journal()
    }

    /// Takes a staged layer back.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn discard(&mut self, slot: Slot) -> Result<(), StoreError> {
        let Some(Staged { set, layer }) = self.sets[slot.0].take() else { return Ok(()) };
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

    fn set(&self, slot: Slot) -> &WriteSet {
        &self.staged(slot).set
    }

    /// Does all edits.
    ///
    /// # Errors
    /// [`StoreError`]; the store is then as it was before.
    pub fn commit(mut self) -> Result<(), StoreError> {
        self.root.check_again()?;
        let edits = std::mem::take(&mut self.edits);
        let layers = self.complete_layers(&edits)?;
        if self.sync {
            self.root.driver.sync()?;
            self.root.images_dir.sync_file_system()?;
        }
        self.write_intent(&layers)?;
        for &(slot, chain_id) in &layers {
            self.root.layers.publish(self.set(slot), chain_id)?;
            if let Some(Staged { set, .. }) = self.sets[slot.0].take() {
                self.published.push((chain_id, set.cache_id));
            }
        }
        if self.sync && !layers.is_empty() {
            self.root.layers.sync()?;
            self.root.sync_parents()?;
        }
        self.add_images(&edits)?;
        self.set_references(&edits)?;
        self.done = true;
        if let Some(intent) = self.intent.take() {
            self.root.layers.tmp()?.unlink(&intent)?;
        }
        std::mem::take(&mut self.root.skeleton).keep();
        Ok(())
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
            let prepared = self.sets[slot.0].as_mut().and_then(|staged| staged.layer.take());
            prepared.expect("a layer is prepared before it is added").commit(below.as_ref())?;
            let set = self.set(slot);
            let record = LayerRecord { chain_id, diff_id, parent, cache_id: set.cache_id.clone(), size };
            self.root.layers.describe(set, &record)?;
            staged.insert(chain_id, record.cache_id);
            layers.push((slot, chain_id));
        }
        Ok(layers)
    }

    fn add_images(&mut self, edits: &[Edit]) -> Result<(), StoreError> {
        for edit in edits {
            let Edit::AddImage { config, parent } = edit else { continue };
            let id = ImageId(layerfs::Digest::of(config));
            if self.root.images.config(id)?.is_none() {
                self.new_images.push(id);
                self.root.images.put(config, self.sync)?;
            }
            if let Some(parent) = *parent {
                self.root.images.set_parent(id, parent, self.sync)?;
            }
        }
        Ok(())
    }

    fn set_references(&self, edits: &[Edit]) -> Result<(), StoreError> {
        let before = References::load(&self.root.images_dir)?;
        let mut references = before.clone();
        for edit in edits {
            if let Edit::SetTag { reference, image } = edit {
                references.tag(reference, *image);
            }
        }
        let exists = self.root.images_dir.stat(REFERENCES)?.is_some();
        if exists && references == before {
            return Ok(());
        }
        self.root.images_dir.replace(REFERENCES, &references.to_bytes(), 0o600, self.sync)
    }

    fn write_intent(&mut self, layers: &[(Slot, ChainId)]) -> Result<(), StoreError> {
        if layers.is_empty() {
            return Ok(());
        }
        let chains: Vec<ChainId> = layers.iter().map(|(_, chain_id)| *chain_id).collect();
        let name = format!("{INTENT}{}", &CacheId::random().as_str()[..20]);
        let bytes = serde_json::to_vec(&chains).expect("digests always serialise");
        self.root.layers.tmp()?.replace(&name, &bytes, 0o600, self.sync)?;
        self.intent = Some(name);
        Ok(())
    }

    /// Takes back what was done, in reverse. Goes on where something fails: the next transaction finds the rest.
    fn roll_back(&mut self) {
        // A daemon that came meanwhile builds on the directories that were made for it to find.
        if self.root.check_again().is_err() {
            std::mem::take(&mut self.root.skeleton).keep();
        }
        let root = &self.root;
        for &id in &self.new_images {
            let _ = root.images.remove(id);
        }
        for (chain_id, cache_id) in self.published.iter().rev() {
            let _ = remove_layer(root, *chain_id, cache_id);
        }
        for Staged { set, layer } in self.sets.drain(..).flatten() {
            drop(layer);
            // Where its directory was completed already.
            let _ = root.driver.remove(&set.cache_id);
            let _ = root.layers.abandon(&set);
        }
        if let (Some(intent), Ok(tmp)) = (&self.intent, root.layers.tmp()) {
            let _ = tmp.unlink(intent);
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.done {
            self.roll_back();
        }
    }
}

/// Removes what crashed imports of ours have left.
fn recover(root: &WritableRoot) -> Result<(), StoreError> {
    let leftovers = root.layers.leftovers()?;
    if !leftovers.is_empty() {
        let mut used = HashSet::new();
        for chain_id in root.layers.list()? {
            // A layer that cannot be read may use any directory; its own cache id is all that matters here.
            if let Ok(Some(record)) = root.layers.get(chain_id) {
                used.insert(record.cache_id);
            }
        }
        for (name, cache_id) in leftovers {
            if let Some(id) = cache_id.filter(|id| !used.contains(id)) {
                root.driver.remove(&id)?;
            }
            root.layers.tmp()?.remove_tree(&name)?;
        }
    }
    root.images_dir.remove_temporaries()?;
    root.images.remove_temporaries()?;
    let tmp = root.layers.tmp()?;
    tmp.remove_temporaries()?;
    for name in tmp.names()?.into_iter().filter(|name| name.starts_with(INTENT)) {
        let chains: Vec<ChainId> =
            tmp.read(&name, MAX_INTENT)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        // BuildKit may have come to need them meanwhile, and its records are not read here.
        if !root.has_build_cache()? {
            remove_unused(root, &chains)?;
        }
        tmp.unlink(&name)?;
    }
    Ok(())
}

/// Removes a registered layer. A crash on the way leaves a write-set that the next import goes on with.
fn remove_layer(root: &WritableRoot, chain_id: ChainId, cache_id: &CacheId) -> Result<(), StoreError> {
    let set = root.layers.withdraw(chain_id, cache_id)?;
    root.driver.remove(cache_id)?;
    root.layers.abandon(&set)
}

/// Removes those of `chains`, which has parents before children, that nothing stands on.
fn remove_unused(root: &WritableRoot, chains: &[ChainId]) -> Result<(), StoreError> {
    if chains.is_empty() {
        return Ok(());
    }
    let mut used: HashSet<ChainId> = root.layers.held_by_mounts()?.into_iter().collect();
    for id in root.images.list()? {
        // An image that cannot be read may need any layer.
        let Some(config) = root.images.config(id)?.and_then(|bytes| ImageConfig::parse(&bytes).ok()) else {
            return Ok(());
        };
        used.extend(ChainId::chain(&config.diff_ids));
    }
    let ours: HashSet<ChainId> = chains.iter().copied().collect();
    for chain_id in root.layers.list()?.into_iter().filter(|id| !ours.contains(id)) {
        used.extend(root.layers.get(chain_id).ok().flatten().and_then(|record| record.parent));
    }
    for &chain_id in chains.iter().rev().filter(|id| !used.contains(id)) {
        if let Ok(Some(record)) = root.layers.get(chain_id) {
            remove_layer(root, chain_id, &record.cache_id)?;
        }
    }
    Ok(())
}
