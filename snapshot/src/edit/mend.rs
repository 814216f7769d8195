//! Steps that mend a damaged store. With `sync`, each is durable before the next. Doing a step twice does no harm.

use std::fs::File;

use layerfs::mend::replace_files;
use layerfs::verify::VerifyError;
use layerfs::{ChainId, DiffId};
use rustix::fd::AsFd;

use super::changes::Slot;
use super::disposal::Disposal;
use super::finish::{remove_layers, remove_remains};
use super::transaction::Transaction;
use crate::driver::{Driver, Restacking};
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId, ImageId};
use crate::liveness::{Departing, Owners};
use crate::schema::layer::{LayerRecord, LayerStore, RecordField};
use crate::schema::mount;

/// Which parts of a layer are replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refill<'d> {
    /// The directory whose content is replaced; `None` if the content stays.
    pub(crate) directory: Option<&'d CacheId>,
    /// Whether the journal is replaced.
    pub(crate) journal: bool,
}

impl Transaction {
    /// Checks once more that no daemon has started.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if one has.
    pub(crate) fn check_again(&mut self) -> Result<(), StoreError> {
        self.root.check_again()
    }

    /// Whether each step is made durable.
    pub(crate) fn syncs(&self) -> bool {
        self.sync
    }

    /// Replaces a file of a layer's record; removes it if there is no value.
    pub(crate) fn set_field(&self, layer: ChainId, field: RecordField, value: Option<&str>) -> Result<(), StoreError> {
        match value {
            Some(value) => self.root.layers.set_field(layer, field, value, self.sync),
            None => self.root.layers.unset_field(layer, field, self.sync),
        }
    }

    /// Moves a layer's record to another name, which no record has.
    pub(crate) fn rename_record(&self, from: ChainId, to: ChainId) -> Result<(), StoreError> {
        self.root.layers.rename(from, to)?;
        if self.sync { self.root.layers.sync() } else { Ok(()) }
    }

    /// Removes a layer's record and the directory that it names. A directory that somebody else owns stays. If the
    /// directory may be needed, or is mounted, it stays, and so does the record under its `-removing` name.
    pub(crate) fn drop_record(&self, layer: ChainId) -> Result<(), StoreError> {
        remove_layers(&self.root, &[(layer, LayerStore::removing_name(layer))], &Disposal::Delete, self.sync)
    }

    /// Finishes the removal of the layer whose record is `record`, unless its directory may be needed or is mounted. A
    /// directory that somebody else owns stays, and only the record goes.
    pub(crate) fn finish_removal(&self, record: &str) -> Result<(), StoreError> {
        remove_remains(
            &self.root,
            &Owners::read_all(&self.root, &Departing::default())?,
            &[record.to_owned()],
            &Disposal::Delete,
        )
    }

    /// Stores a config in the place of a damaged one.
    pub(crate) fn put_config(&self, config: &[u8]) -> Result<(), StoreError> {
        self.root.images.put(config, self.sync).map(drop)
    }

    /// Forgets what an image was built from.
    pub(crate) fn forget_image_parent(&self, image: ImageId) -> Result<(), StoreError> {
        self.root.images.forget_parent(image, self.sync)
    }

    /// Forgets when an image was tagged last.
    pub(crate) fn forget_image_time(&self, image: ImageId) -> Result<(), StoreError> {
        self.root.images.forget_last_updated(image, self.sync)
    }

    /// Writes the record of a container's mount again.
    pub(crate) fn restore_mount(
        &self,
        container: &ContainerId,
        mount_id: &CacheId,
        init_id: &CacheId,
        parent: ChainId,
    ) -> Result<(), StoreError> {
        let files = [
            (mount::MOUNT_ID, mount_id.to_string()),
            (mount::INIT_ID, init_id.to_string()),
            (mount::PARENT, parent.to_string()),
        ];
        self.root.layers.put_mount(&self.root.images_dir, container.as_str(), &files, self.sync)
    }

    /// Replaces the journal of a layer.
    pub(crate) fn set_journal(&self, layer: ChainId, gzip: &[u8]) -> Result<(), StoreError> {
        self.root.layers.set_journal(layer, gzip, self.sync)
    }

    /// Replaces a file of a mount.
    pub(crate) fn set_mount_file(&self, name: &str, file: &str, value: &str) -> Result<(), StoreError> {
        let missing =
            || StoreError::Invalid { path: self.root.images_dir.join("layerdb/mounts"), reason: "missing".into() };
        mount::set(self.root.layers.mounts().ok_or_else(missing)?, name, file, value, self.sync)
    }

    /// Writes a file or link that a layer lacks to stand on its parents.
    pub(crate) fn restack(&self, what: &Restacking) -> Result<(), StoreError> {
        self.root.driver.restack(what, self.sync)
    }

    /// Opens the journal of a staged layer; `None` if it has none.
    pub(crate) fn staged_journal(&self, slot: Slot) -> Result<Option<File>, StoreError> {
        self.root.layers.open_staged_journal(self.set(slot))
    }

    /// Registers a staged layer at once, after its content was made durable.
    pub(crate) fn register(
        &mut self,
        slot: Slot,
        chain_id: ChainId,
        diff_id: DiffId,
        parent: Option<ChainId>,
        size: u64,
    ) -> Result<(), StoreError> {
        let missing = |chain_id| StoreError::DamagedLayer { chain_id, reason: "missing".into() };
        let below = match parent {
            Some(parent) => Some(self.root.layers.get(parent)?.ok_or_else(|| missing(parent))?.cache_id),
            None => None,
        };
        self.take_prepared(slot).commit(below.as_ref())?;
        let set = self.set(slot);
        let record = LayerRecord { chain_id, diff_id, parent, cache_id: set.cache_id.clone(), size };
        self.root.layers.describe(set, &record)?;
        self.sync_content()?;
        self.root.layers.publish(self.set(slot), chain_id)?;
        self.sets[slot.0] = None;
        if self.sync {
            self.root.layers.sync()?;
            self.root.sync_parents()?;
        }
        Ok(())
    }

    /// Replaces the content of a registered layer, its journal, or both, by those of a staged layer. The old ones are
    /// removed.
    ///
    /// Recovery removes the directory that a write-set names. Before the two contents are exchanged, the write-set
    /// names the directory of the new content; afterwards it names the directory in which the old content is. So a
    /// crash is harmless at any moment where the file system exchanges two directories in one step. Where it cannot, a
    /// crash within the exchange can leave the layer without content, until the next repair.
    pub(crate) fn refill(&mut self, slot: Slot, layer: ChainId, what: Refill<'_>) -> Result<(), StoreError> {
        self.sync_content()?;
        let set = self.set(slot);
        if let Some(directory) = what.directory {
            self.root.driver.exchange(directory, &set.cache_id)?;
        }
        if what.journal {
            self.root.layers.move_journal(set, layer, self.sync)?;
        }
        self.sync_content()?;
        self.discard(slot)
    }

    /// Replaces some files of a registered layer by those of a staged layer, and removes the old ones. Returns `false`,
    /// without having changed anything, if [they cannot be replaced one by one](layerfs::mend::replace_files); the layer
    /// is then still staged.
    ///
    /// A crash is harmless at any moment: each file of the layer is the old one or the new one, and the file that is
    /// not used is in the directory that the write-set names.
    pub(crate) fn refill_files(
        &mut self,
        slot: Slot,
        directory: &CacheId,
        files: &[Vec<u8>],
    ) -> Result<bool, StoreError> {
        self.sync_content()?;
        let (fresh, old) = (self.root.driver.content(&self.set(slot).cache_id)?, self.root.driver.content(directory)?);
        let failed = |error: VerifyError| match error {
            VerifyError::Tree { errno, .. } => StoreError::io(old.path(), "replacing files in")(errno),
            error => StoreError::Invalid { path: old.path().to_owned(), reason: error.to_string() },
        };
        if !replace_files(fresh.as_fd(), old.as_fd(), files).map_err(failed)? {
            return Ok(false);
        }
        self.sync_content()?;
        self.discard(slot)?;
        Ok(true)
    }

    fn sync_content(&self) -> Result<(), StoreError> {
        if !self.sync {
            return Ok(());
        }
        self.root.driver.sync()?;
        self.root.images_dir.sync_file_system()
    }
}
