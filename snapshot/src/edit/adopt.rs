//! Containers of containerd's store that come to belong to the store of a storage driver in the same root, and go back.
//!
//! | step | what a crash after it leaves, and what becomes of it |
//! |---|---|
//! | 1. the record of intent, with the name of the writable layer | the record: removed |
//! | 2. the directories of the init layer and of the writable layer, with what containerd's snapshots hold | directories that the record names: removed |
//! | 3. `layerdb/mounts/<id>` | a mount of a container that its config gives to containerd's store: removed, with its directories |
//! | 4. `config.v2.json` is replaced by one that names this store's driver | **the container belongs to this store** |
//! | 5. the record is unlinked | nothing |
//!
//! The container's other files belong to both stores and are not touched, so containerd's store has all that it had.

use layerfs::ChainId;

use super::containers::{
    AddedContainer, init_id, make_or_take_back, own_directory, registered, remove_mount_of, write_mount,
};
use super::record::Record;
use super::transaction::Transaction;
use crate::containerd::migration::ChangedConfig;
use crate::dir::Dir;
use crate::driver::{Driver, Prepared};
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId};
use crate::schema::container;

/// A container of containerd's store that is to belong to this one.
#[derive(Debug)]
pub struct AdoptedContainer {
    /// The topmost layer of its image; `None` for an image without layers.
    pub layer: Option<ChainId>,
    /// What the snapshot of its init files holds, if it has one.
    pub init: Option<Dir>,
    /// What the snapshot of what it has written holds.
    pub written: Dir,
    /// Its config as it is, and as this store needs it.
    pub config: ChangedConfig,
}

impl Transaction {
    /// Gives a container a writable layer in this store, with a copy of what it has in containerd's, and the config by which it
    /// belongs here.
    ///
    /// # Errors
    /// [`StoreError`]; the container is then as it was. What cannot be taken back is taken back by the next transaction.
    pub fn adopt_container(&mut self, adopted: &AdoptedContainer) -> Result<(), StoreError> {
        self.root.check_again()?;
        let id = &adopted.config.id;
        let own = own_directory(self.root.dir(), id)?;
        if container::raw_config(&own)?.as_ref() != Some(&adopted.config.old) {
            let path = container::own_path(self.root.dir().path(), id);
            return Err(StoreError::Invalid { path, reason: "it has changed meanwhile".into() });
        }
        let mount = CacheId::random();
        let added = AddedContainer { container: id.clone(), mount: mount.clone() };
        let record = Record { added_containers: vec![added], ..Record::default() };
        make_or_take_back(self, &record, |transaction| transaction.copy_container(adopted, &own, &mount))
    }

    fn copy_container(&self, adopted: &AdoptedContainer, own: &Dir, mount: &CacheId) -> Result<(), StoreError> {
        let root = &self.root;
        let below = adopted.layer.map(|layer| registered(&root.layers, layer)).transpose()?;
        let copy = |from: &Dir, id: &CacheId, below: Option<&CacheId>| -> Result<Prepared, StoreError> {
            let layer = root.driver.prepare(id, below)?;
            layer.stack(below)?;
            let to = root.driver.content(id)?;
            layerfs::copy_tree(from, &to).map_err(StoreError::io(to.path(), "copying to"))?;
            Ok(layer)
        };
        let init = adopted.init.as_ref().map(|from| (from, init_id(mount)));
        let lower = init.as_ref().map(|(from, id)| copy(from, id, below.as_ref())).transpose()?;
        let init = init.map(|(_, id)| id);
        let upper = copy(&adopted.written, mount, init.as_ref().or(below.as_ref()))?;
        write_mount(root, &adopted.config.id, mount, init.as_ref(), adopted.layer)?;
        // From here on the record of intent takes them back.
        std::iter::once(upper).chain(lower).for_each(Prepared::keep);
        if self.sync {
            root.driver.sync()?;
            root.images_dir.sync_file_system()?;
        }
        container::write_raw_config(own, &adopted.config.new, self.sync)
    }

    /// Removes the writable layer that a container has in this store, for one whose config gives it to containerd's. Does nothing
    /// if it has none.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] for a container of this store.
    pub fn forget_container(&mut self, id: &ContainerId) -> Result<(), StoreError> {
        self.root.check_again()?;
        if let Some(own) = container::open_own(self.root.dir(), id)?
            && !container::is_of_containerd(&own)
        {
            let path = container::own_path(self.root.dir().path(), id);
            return Err(StoreError::Invalid { path, reason: "it belongs to the store of a storage driver".into() });
        }
        remove_mount_of(&self.root, id)
    }
}
