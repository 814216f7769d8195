//! Containers and volumes: how they come, change and go.
//!
//! | step of adding | what a crash after it leaves, and what becomes of it |
//! |---|---|
//! | 1. the record of intent, with the name of the writable layer and of new volumes | the record: removed |
//! | 2. the directories of the init layer and of the writable layer | directories that the record names: removed |
//! | 3. `layerdb/mounts/<id>` | a mount without a container: removed, with its directories |
//! | 4. new volumes, and what the caller writes into the writable layer | the same, and volumes that nobody uses: removed |
//! | 5. `containers/<id>/hostconfig.json`, then `config.v2.json` | **with `config.v2.json`, the container counts as made** |
//! | 6. the record is unlinked | nothing |
//!
//! A removal first writes its record and renames it to `layerfs-commit-*`. From then on a crash at any step is followed
//! by the rest: the config says that the container is being removed (dockerd then shows it as dead, and removes it on
//! request), then the writable layer, the init layer, the mount and the container's directory go, in dockerd's order,
//! then volumes.
//!
//! Follows moby v20.10.24 `daemon/create.go`, `layer/layer_store.go: CreateRWLayer`, `daemon/delete.go`.

use layerfs::ChainId;

use super::disposal::{Disposal, ensure};
use super::finish::twice;
use super::init_layer::fill_init_layer;
use super::record::{Record, Stored};
use super::transaction::Transaction;
use super::volumes::{self, NewVolume};
use crate::dir::Dir;
use crate::driver::{Access, Driver, MountGuard, Prepared};
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId, MountName, VolumeName};
use crate::liveness::{Departing, Owners};
use crate::root::WritableRoot;
use crate::schema::container::{self, CONTAINERS, ContainerFiles};
use crate::schema::layer::LayerStore;
use crate::schema::mount::{self, INIT_ID, MOUNT_ID, PARENT};
use crate::schema::paths::MOUNTS;

/// A container that is to be added.
#[derive(Debug, Clone)]
pub struct NewContainer {
    /// Its id.
    pub id: ContainerId,
    /// The topmost layer of its image; `None` for an image without layers.
    pub layer: Option<ChainId>,
    /// Volumes that are made with it.
    pub volumes: Vec<NewVolume>,
}

/// A container that a record names.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct AddedContainer {
    pub(super) container: ContainerId,
    /// The directory of its writable layer.
    pub(super) mount: CacheId,
}

impl Transaction {
    /// Adds a container. `prepare` is called with its mounted writable layer, once its new volumes are in place, and
    /// returns the container's files; what it writes into the layer is in the container from the beginning. A caller in
    /// a mount namespace of its own leaves nothing mounted if it is killed; otherwise no change to the store can begin
    /// until the layer is unmounted.
    ///
    /// # Errors
    /// [`StoreError`], or what `prepare` returns. Nothing of the container is left then, unless its config was written
    /// already and only a later step failed: the container stays then. What cannot be taken back is taken back by the
    /// next transaction.
    pub fn add_container<E: From<StoreError>>(
        &mut self,
        new: &NewContainer,
        prepare: impl FnOnce(&MountGuard) -> Result<ContainerFiles, E>,
    ) -> Result<(), E> {
        self.root.check_again()?;
        let mount = CacheId::random();
        let record = Record {
            added_containers: vec![AddedContainer { container: new.id.clone(), mount: mount.clone() }],
            added_volumes: new.volumes.iter().map(|volume| volume.name.clone()).collect(),
            ..Record::default()
        };
        make_or_take_back(self, &record, |transaction| transaction.make_container(new, &mount, prepare))
    }

    fn make_container<E: From<StoreError>>(
        &self,
        new: &NewContainer,
        mount: &CacheId,
        prepare: impl FnOnce(&MountGuard) -> Result<ContainerFiles, E>,
    ) -> Result<(), E> {
        let root = &self.root;
        let (layers, _) = make_layers(root, &new.id, new.layer, mount)?;
        // From here on the record of intent takes them back.
        layers.into_iter().for_each(Prepared::keep);
        volumes::make(root, &new.volumes, self.sync)?;
        let writable = root.driver.mount(mount, Access::ReadWrite)?;
        let files = prepare(&writable)?;
        writable.unmount()?;
        if self.sync {
            root.driver.sync()?;
            root.images_dir.sync_file_system()?;
        }
        let all = ensure(root.dir(), &[CONTAINERS], 0o710)?;
        let own = all.create(new.id.as_str(), 0o710)?;
        own.create("checkpoints", 0o700)?;
        if self.sync {
            all.sync()?;
            root.dir().sync()?;
        }
        Ok(files.write(&own, self.sync)?)
    }

    /// Writes the files of a container that exists.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] if the container is gone.
    pub fn set_container(&mut self, id: &ContainerId, files: &ContainerFiles) -> Result<(), StoreError> {
        self.root.check_again()?;
        let own = own_directory(self.root.dir(), id)?;
        files.write(&own, self.sync)
    }

    /// Removes a container and `volumes`, as far as no other container uses them.
    ///
    /// # Errors
    /// [`StoreError`]. If anything was removed by then, the next transaction removes the rest.
    pub fn remove_container(&mut self, id: &ContainerId, volumes: &[VolumeName]) -> Result<(), StoreError> {
        self.remove(Record {
            removed_containers: vec![id.clone()],
            removed_volumes: volumes.to_vec(),
            ..Record::default()
        })
    }

    /// Removes the containers and volumes that a record names.
    pub(super) fn remove(&mut self, record: Record) -> Result<(), StoreError> {
        self.root.check_again()?;
        if !record.removed_containers.is_empty() {
            self.root.driver.get_ready()?;
        }
        let mut stored = Stored::new();
        let tmp = self.root.layers.tmp()?;
        let announced = stored
            .write(tmp, &record, self.sync)
            .and_then(|()| stored.rename(tmp, true))
            .and_then(|()| if self.sync { tmp.sync() } else { Ok(()) });
        if let Err(error) = announced {
            // Nothing is removed yet. A record that stays all the same is followed by the next transaction.
            let _ = twice(|| stored.remove(tmp, self.sync));
            return Err(error);
        }
        let finished = twice(|| finish(&self.root, &record, &Disposal::Delete, self.sync));
        finished.and_then(|()| twice(|| stored.remove(tmp, self.sync))).map_err(StoreError::unfinished)
    }
}

/// Makes the init layer and the writable layer of a container, and the mount that names them. Returns the layers, the upper one
/// first, and the directory of the mount.
pub(super) fn make_layers(
    root: &WritableRoot,
    name: &ContainerId,
    layer: Option<ChainId>,
    mount: &CacheId,
) -> Result<([Prepared; 2], Dir), StoreError> {
    let below = layer.map(|layer| registered(&root.layers, layer)).transpose()?;
    let init = init_id(mount);
    let lower = root.driver.prepare(&init, below.as_ref())?;
    lower.stack(below.as_ref())?;
    let filled = root.driver.mount(&init, Access::ReadWrite)?;
    fill_init_layer(filled.dir())?;
    filled.unmount()?;
    let upper = root.driver.prepare(mount, Some(&init))?;
    upper.stack(Some(&init))?;
    let entry = write_mount(root, name, mount, Some(&init), layer)?;
    Ok(([upper, lower], entry))
}

/// Makes the mount that names the layers of a container.
pub(super) fn write_mount(
    root: &WritableRoot,
    name: &ContainerId,
    mount: &CacheId,
    init: Option<&CacheId>,
    layer: Option<ChainId>,
) -> Result<Dir, StoreError> {
    let mounts = ensure(&root.images_dir, &MOUNTS, 0o755)?;
    let entry = mounts.create(name.as_str(), 0o755)?;
    entry.write_new(MOUNT_ID, mount.as_str().as_bytes(), 0o644)?;
    if let Some(init) = init {
        entry.write_new(INIT_ID, init.as_str().as_bytes(), 0o644)?;
    }
    if let Some(layer) = layer {
        entry.write_new(PARENT, layer.to_string().as_bytes(), 0o644)?;
    }
    Ok(entry)
}

/// Makes what a record of intent names, or takes it back.
pub(super) fn make_or_take_back<E: From<StoreError>>(
    transaction: &mut Transaction,
    record: &Record,
    make: impl FnOnce(&Transaction) -> Result<(), E>,
) -> Result<(), E> {
    let (stored, sync) = (Stored::new(), transaction.sync);
    let tmp = transaction.root.layers.tmp()?;
    let written = stored.write(tmp, record, sync).map_err(E::from);
    let made = written.and_then(|()| make(transaction));
    // This keeps a container whose config was written, even if an fsync after that has failed.
    let undone = if made.is_err() { twice(|| take_back(&transaction.root, record)) } else { Ok(()) };
    let forgotten = undone.and_then(|()| twice(|| stored.remove(tmp, sync)));
    std::mem::take(&mut transaction.root.created).keep();
    made?;
    Ok(forgotten.map_err(StoreError::unfinished)?)
}

/// The directory of a container.
///
/// # Errors
/// [`StoreError::Invalid`] if it does not exist.
pub(super) fn own_directory(root: &Dir, id: &ContainerId) -> Result<Dir, StoreError> {
    let gone = || StoreError::Invalid { path: container::own_path(root.path(), id), reason: "it is gone".into() };
    container::open_own(root, id)?.ok_or_else(gone)
}

pub(super) fn init_id(mount: &CacheId) -> CacheId {
    format!("{mount}-init").parse().expect("an id that was drawn stays one with an ending")
}

pub(super) fn registered(layers: &LayerStore, layer: ChainId) -> Result<CacheId, StoreError> {
    let missing = || StoreError::DamagedLayer { chain_id: layer, reason: "missing".into() };
    Ok(layers.get(layer)?.ok_or_else(missing)?.cache_id)
}

/// Takes back the containers and volumes that a change was to add. A container that has a config counts as made: it
/// stays, and so do all volumes of the change. One whose config gives it to containerd's store was to be [adopted](super::adopt),
/// and stays there.
pub(super) fn take_back(root: &WritableRoot, record: &Record) -> Result<(), StoreError> {
    let containers = container::open(root.dir())?;
    let mut all_gone = true;
    for AddedContainer { container: id, mount } in &record.added_containers {
        if let Some(containers) = &containers
            && let Some(own) = containers.sub(id.as_str())?
        {
            if own.stat(container::CONFIG)?.is_none() {
                containers.remove_tree(id.as_str())?;
            } else if !container::is_of_containerd(&own) {
                all_gone = false;
                continue;
            }
        }
        remove_mount(root, id, &[mount.clone(), init_id(mount)], &Disposal::Delete)?;
    }
    if all_gone {
        volumes::remove(root, &record.added_volumes)?;
    }
    Ok(())
}

/// Finishes the removal of the containers and volumes that a record names.
pub(super) fn finish(root: &WritableRoot, record: &Record, disposal: &Disposal, sync: bool) -> Result<(), StoreError> {
    for id in &record.removed_containers {
        let containers = container::open(root.dir())?;
        let own = containers.as_ref().map_or(Ok(None), |all| all.sub(id.as_str()))?;
        if let Some(own) = &own {
            // A config that cannot be decoded cannot be changed. The container is removed all the same.
            if let Ok(mut files) = ContainerFiles::read(own) {
                (files.state().removing, files.state().dead) = (true, true);
                files.write(own, sync)?;
            }
        }
        remove_named(root, id, disposal)?;
        if let Some(containers) = &containers {
            containers.remove_tree(id.as_str())?;
        }
    }
    volumes::remove(root, &record.removed_volumes)
}

/// Removes the writable layer of a container, and the mount that names it.
pub(super) fn remove_mount_of(root: &WritableRoot, id: &ContainerId) -> Result<(), StoreError> {
    remove_named(root, id, &Disposal::Delete)
}

fn remove_named(root: &WritableRoot, id: &ContainerId, disposal: &Disposal) -> Result<(), StoreError> {
    let mounts = mount::list(mounts(root)?.as_ref())?;
    let of = mount::find(&mounts, id).map(mount::named_directories).unwrap_or_default();
    remove_mount(root, id, &of, disposal)
}

/// Removes the directories of a container's writable layer, then the mount that names them. A directory that somebody
/// else may need stays; the mount goes all the same.
fn remove_mount(
    root: &WritableRoot,
    id: &ContainerId,
    directories: &[CacheId],
    disposal: &Disposal,
) -> Result<(), StoreError> {
    let going = Departing { mounts: [MountName::from(id.clone())].into(), ..Departing::default() };
    // Ask anew for each directory: the init layer is needed as long as the writable layer stands on it.
    for directory in directories {
        // A record that could not be read counts as a claim: it is asked for twice, too.
        if !remove_dead(root, directory, &going, disposal)? {
            remove_dead(root, directory, &going, disposal)?;
        }
    }
    match mounts(root)? {
        Some(mounts) => mounts.remove_tree(id.as_str()),
        None => Ok(()),
    }
}

/// Removes a directory unless somebody else may need it. Returns whether it is gone.
fn remove_dead(
    root: &WritableRoot,
    directory: &CacheId,
    going: &Departing,
    disposal: &Disposal,
) -> Result<bool, StoreError> {
    match Owners::read(root, going)?.directories().dead(directory, None) {
        Ok(dead) => disposal.remove_directory(root, &dead).map(|()| true),
        Err(_) => Ok(false),
    }
}

fn mounts(root: &WritableRoot) -> Result<Option<Dir>, StoreError> {
    root.images_dir.descend(&MOUNTS)
}
