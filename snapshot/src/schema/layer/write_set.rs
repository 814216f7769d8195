//! Write-sets: the records of layers that are being registered, in `layerdb/tmp`.
//!
//! Our own are named `write-set-layerfs-*`. A write-set gets its `cache-id` before the directory of that name is made in
//! the driver's home, so after a crash the write-set tells which directory to remove.

use std::fs::File;

use layerfs::{ChainId, JournalFile};

use super::record::{CACHE_ID, DIFF, PARENT, SIZE, cache_id_in};
use super::{JOURNAL, LayerRecord, LayerStore, WRITE_SET};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;

/// The prefix of the names of our write-sets; dockerd's have digits after `write-set-`.
const OUR_WRITE_SET: &str = "write-set-layerfs-";

/// The write-set of a layer that is being registered.
#[derive(Debug)]
pub(crate) struct WriteSet {
    name: String,
    pub(crate) cache_id: CacheId,
}

impl WriteSet {
    /// The write-set that is made for a layer whose directory will have this name.
    pub(crate) fn of_layer(cache_id: &CacheId) -> Self {
        Self { name: write_set_name(cache_id), cache_id: cache_id.clone() }
    }
}

impl LayerStore {
    /// Replaces the journal of a registered layer by that of a staged layer, in one step. Does nothing if the staged layer
    /// has no journal.
    pub(crate) fn move_journal(&self, set: &WriteSet, chain: ChainId, sync: bool) -> Result<(), StoreError> {
        let (from, to) = (self.open_set(set)?, self.registered(chain)?);
        if from.stat(JOURNAL)?.is_none() {
            return Ok(());
        }
        from.rename(JOURNAL, &to, JOURNAL)?;
        if sync { to.sync() } else { Ok(()) }
    }

    /// Begins a layer: makes a write-set that names the layer's directory, which does not exist yet. A failure leaves
    /// nothing behind.
    pub(crate) fn begin(&self, cache_id: &CacheId, sync: bool) -> Result<WriteSet, StoreError> {
        let set = WriteSet::of_layer(cache_id);
        let dir = self.tmp()?.create(&set.name, 0o700)?;
        let named = name_directory(&dir, cache_id, sync);
        if named.is_err() {
            // The first error is the one to report. Close the directory before the cleanup, which needs a descriptor:
            // this may have been the last one that the process could have.
            drop(dir);
            let _ = self.abandon(&set);
        }
        named.map(|()| set)
    }

    /// Opens a write-set's directory. It is opened for each use and not kept open: an import may have more layers than
    /// a process may have descriptors.
    fn open_set(&self, set: &WriteSet) -> Result<Dir, StoreError> {
        let tmp = self.tmp()?;
        let missing = || StoreError::Invalid { path: tmp.join(&set.name), reason: "missing".into() };
        tmp.sub(&set.name)?.ok_or_else(missing)
    }

    /// The file that the journal of a staged layer is written to.
    pub(crate) fn staged_journal(&self, set: &WriteSet) -> Result<JournalFile, StoreError> {
        Ok(JournalFile { dir: self.open_set(set)?.owned_fd()?, name: JOURNAL })
    }

    /// Opens the journal of a staged layer; `None` if it has none.
    pub(crate) fn open_staged_journal(&self, set: &WriteSet) -> Result<Option<File>, StoreError> {
        self.open_set(set)?.open_file(JOURNAL)
    }

    /// Makes the names of write-sets durable.
    pub(crate) fn sync_write_sets(&self) -> Result<(), StoreError> {
        self.tmp()?.sync()
    }

    /// Completes the record of a layer in its write-set.
    pub(crate) fn describe(&self, set: &WriteSet, record: &LayerRecord) -> Result<(), StoreError> {
        let dir = self.open_set(set)?;
        dir.write_new(DIFF, record.diff_id.to_string().as_bytes(), 0o644)?;
        dir.write_new(SIZE, record.size.to_string().as_bytes(), 0o644)?;
        if let Some(parent) = record.parent {
            dir.write_new(PARENT, parent.to_string().as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// Registers a described layer. Durable after [`LayerStore::sync`].
    pub(crate) fn publish(&self, set: &WriteSet, chain_id: ChainId) -> Result<(), StoreError> {
        self.tmp()?.rename(&set.name, self.layers()?, &chain_id.0.hex())
    }

    /// Unfinished registrations, ours and dockerd's, each with the directory that it names. Those that name none are
    /// left out.
    pub(crate) fn unfinished(&self) -> Result<Vec<(String, CacheId)>, StoreError> {
        let Some(tmp) = &self.tmp else { return Ok(Vec::new()) };
        let named = |name: String| cache_id_in(tmp, &name).ok().flatten().map(|id| (name, id));
        Ok(tmp.names()?.into_iter().filter_map(named).collect())
    }

    /// All registrations that were not finished, dockerd's and ours.
    pub(crate) fn registrations(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.tmp_names()?.into_iter().filter(|name| name.starts_with(WRITE_SET)).collect())
    }

    /// Whether a registration that was not finished is ours.
    pub(crate) fn is_own(registration: &str) -> bool {
        registration.starts_with(OUR_WRITE_SET)
    }

    /// Removes a write-set.
    pub(crate) fn abandon(&self, set: &WriteSet) -> Result<(), StoreError> {
        self.tmp()?.remove_tree(&set.name)
    }

    /// Write-sets of ours that a crash has left.
    pub(crate) fn leftovers(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.tmp_names()?.into_iter().filter(|name| Self::is_own(name)).collect())
    }

    /// The directory that a write-set names; `None` if the crash came before it was written down.
    pub(crate) fn leftover_cache_id(&self, name: &str) -> Result<Option<CacheId>, StoreError> {
        cache_id_in(self.tmp()?, name)
    }
}

/// The name of a layer's write-set.
pub(super) fn write_set_name(cache_id: &CacheId) -> String {
    let id = cache_id.as_str();
    format!("{OUR_WRITE_SET}{}", &id[..20.min(id.len())])
}

/// Writes the `cache-id` of a write-set: the name of the layer's directory.
fn name_directory(dir: &Dir, cache_id: &CacheId, sync: bool) -> Result<(), StoreError> {
    let file = dir.write_new(CACHE_ID, cache_id.as_str().as_bytes(), 0o644)?;
    if sync {
        file.sync_all().map_err(StoreError::io(dir.join(CACHE_ID), "fsync"))?;
        dir.sync()?;
    }
    Ok(())
}
