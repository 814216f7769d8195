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

use layerfs::apply::Target;
use layerfs::{ChainId, JournalFile, Unpacked};

use super::error::ImportError;
use super::plan::{MissingLayer, Plan};
use crate::driver::Driver;
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::root::WritableRoot;
use crate::store::config::ImageConfig;
use crate::store::layer::{LayerRecord, WriteSet};
use crate::store::references::{FILE as REFERENCES, References};

/// How records of intent begin.
const INTENT: &str = "layerfs-intent-";

/// Bytes of the largest record of intent that is read.
const MAX_INTENT: usize = 1 << 20;

/// A layer that was unpacked into its write-set's directory.
pub(crate) struct Staged {
    pub(crate) missing: MissingLayer,
    /// Number of its write-set in the transaction.
    pub(crate) slot: usize,
    pub(crate) unpacked: Unpacked,
}

/// An import in progress. Dropped before [`commit`](Transaction::commit) has succeeded, it takes everything back.
pub(crate) struct Transaction {
    root: WritableRoot,
    sync: bool,
    /// `None` once published or discarded.
    sets: Vec<Option<WriteSet>>,
    published: Vec<(ChainId, CacheId)>,
    new_images: Vec<ImageId>,
    intent: Option<String>,
    done: bool,
}

impl Transaction {
    /// Starts an import: what a crashed one has left is removed first.
    pub(crate) fn begin(root: WritableRoot, sync: bool) -> Result<Self, StoreError> {
        recover(&root)?;
        Ok(Self {
            root,
            sync,
            sets: Vec::new(),
            published: Vec::new(),
            new_images: Vec::new(),
            intent: None,
            done: false,
        })
    }

    pub(crate) fn root(&self) -> &WritableRoot {
        &self.root
    }

    /// Adds a write-set. Returns its number.
    pub(crate) fn add(&mut self) -> Result<usize, StoreError> {
        self.sets.push(Some(self.root.layers.begin(&CacheId::random(), self.sync)?));
        Ok(self.sets.len() - 1)
    }

    /// Makes all write-sets added so far durable, so that their directories may be made.
    pub(crate) fn announce(&self) -> Result<(), StoreError> {
        if self.sync { self.root.layers.sync_write_sets() } else { Ok(()) }
    }

    /// Creates the directory of a write-set.
    pub(crate) fn prepare(&self, slot: usize) -> Result<(Target, JournalFile), StoreError> {
        let set = self.set(slot);
        Ok((self.root.driver.prepare(&set.cache_id, None)?, set.journal()?))
    }

    pub(crate) fn cache_id(&self, slot: usize) -> &CacheId {
        &self.set(slot).cache_id
    }

    /// The journal of a write-set, for reading it back.
    pub(crate) fn journal(&self, slot: usize) -> Result<JournalFile, StoreError> {
        self.set(slot).journal()
    }

    /// Takes a write-set and its directory back.
    pub(crate) fn discard(&mut self, slot: usize) -> Result<(), StoreError> {
        let Some(set) = self.sets[slot].take() else { return Ok(()) };
        self.root.driver.remove(&set.cache_id)?;
        self.root.layers.abandon(&set)
    }

    fn set(&self, slot: usize) -> &WriteSet {
        self.sets[slot].as_ref().expect("a slot is used only before it is published or discarded")
    }

    /// Registers everything. `staged` has parents before children.
    pub(crate) fn commit(
        mut self,
        plan: &Plan,
        staged: &[Staged],
        references: Option<&References>,
    ) -> Result<(), ImportError> {
        self.root.check_again()?;
        let mut cache_ids: HashMap<ChainId, CacheId> = plan.present.clone();
        for layer in staged {
            let set = self.set(layer.slot);
            let parent = layer
                .missing
                .parent
                .map(|parent| cache_ids.get(&parent).expect("a parent is in the store or was staged before its child"));
            self.root.driver.commit(&set.cache_id, parent)?;
            let record = LayerRecord {
                chain_id: layer.missing.chain_id,
                diff_id: layer.missing.diff_id,
                parent: layer.missing.parent,
                cache_id: set.cache_id.clone(),
                size: layer.unpacked.size,
            };
            self.root.layers.describe(set, &record)?;
            cache_ids.insert(record.chain_id, record.cache_id);
        }
        if self.sync {
            self.root.driver.sync()?;
            self.root.images_dir.sync_file_system()?;
        }
        self.write_intent(staged)?;
        for layer in staged {
            let chain_id = layer.missing.chain_id;
            self.root.layers.publish(self.set(layer.slot), chain_id)?;
            if let Some(set) = self.sets[layer.slot].take() {
                self.published.push((chain_id, set.cache_id));
            }
        }
        if self.sync && !staged.is_empty() {
            self.root.layers.sync()?;
            self.root.sync_parents()?;
        }
        for image in &plan.images {
            if !image.present {
                self.new_images.push(image.id);
                self.root.images.put(&image.config, self.sync)?;
            }
            if let Some(parent) = image.parent {
                self.root.images.set_parent(image.id, parent, self.sync)?;
            }
        }
        if let Some(references) = references {
            self.root.images_dir.replace(REFERENCES, &references.to_bytes(), 0o600, self.sync)?;
        }
        self.done = true;
        if let Some(intent) = self.intent.take() {
            self.root.layers.tmp()?.unlink(&intent)?;
        }
        std::mem::take(&mut self.root.skeleton).keep();
        Ok(())
    }

    fn write_intent(&mut self, staged: &[Staged]) -> Result<(), StoreError> {
        if staged.is_empty() {
            return Ok(());
        }
        let chains: Vec<ChainId> = staged.iter().map(|layer| layer.missing.chain_id).collect();
        let name = format!("{INTENT}{}", &CacheId::random().as_str()[..20]);
        let bytes = serde_json::to_vec(&chains).expect("digests always serialise");
        self.root.layers.tmp()?.replace(&name, &bytes, 0o600, self.sync)?;
        self.intent = Some(name);
        Ok(())
    }

    /// Takes back what was done, in reverse. Goes on where something fails: the next import finds the rest.
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
        for set in self.sets.iter().flatten() {
            let _ = root.driver.remove(&set.cache_id);
            let _ = root.layers.abandon(set);
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
