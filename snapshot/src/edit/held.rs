//! A writable layer that is held for a time: a command of a build runs in it, and no container has it.
//!
//! It is what a container has in the driver's home, with an entry in `layerdb/mounts` and without a directory in `containers`, as
//! daemons make one for a step of a build. So whatever knows mounts knows it: who owns its directories, what they take up, and that
//! the layers below are needed. Its record of intent stays for as long as the layer does, with `flock(2)` on it: whoever finds
//! the record without the lock knows that the holder was killed, and takes the layer back as any change that was not finished.

use std::collections::HashSet;
use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use layerfs::ChainId;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::changes::WriteOptions;
use super::containers::{AddedContainer, init_id, make_layers, take_back};
use super::finish::twice;
use super::record::{Record, Stored};
use super::transaction::Transaction;
use crate::dir::Dir;
use crate::driver::{Access, AnyDriver, Driver, MountGuard, Prepared};
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId, MountName};
use crate::schema::layer::LayerStore;
use crate::schema::paths::MOUNTS;

/// How long the end of a held layer waits for another command that writes to the store.
const PATIENCE: Duration = Duration::from_secs(60);

/// A writable layer that no container has, for a command of a build. It is there as long as this lives.
#[derive(Debug)]
#[must_use = "dropped, the layer is removed again"]
pub struct HeldLayer {
    name: ContainerId,
    /// Its directories, the lower one first: the init files, and what is written.
    directories: [CacheId; 2],
    /// The directory of its entry in `layerdb/mounts`.
    entry: Dir,
    /// The same directories, the upper one first; `None` once they were removed.
    layers: Option<[Prepared; 2]>,
    stored: Stored,
    lock: Option<File>,
    root: PathBuf,
    options: WriteOptions,
    driver: AnyDriver,
}

impl Transaction {
    /// Makes a writable layer on an image's topmost layer, as a new container has it. It outlives this transaction. The caller should
    /// have a mount namespace of its own, so that nothing stays mounted if it is killed.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is left of it then, or the next transaction takes it back.
    pub fn hold_layer(mut self, layer: Option<ChainId>) -> Result<HeldLayer, StoreError> {
        self.root.check_again()?;
        let mount = CacheId::random();
        let name: ContainerId = CacheId::random().as_str().parse().expect("64 digits are a name");
        let record = Record {
            added_containers: vec![AddedContainer { container: name.clone(), mount: mount.clone() }],
            ..Record::default()
        };
        std::mem::take(&mut self.root.created).keep();
        let stored = Stored::new();
        let tmp = self.root.layers.tmp()?;
        let made = stored.write(tmp, &record, self.sync).and_then(|()| {
            let lock = stored.lock(tmp)?;
            let (layers, entry) = make_layers(&self.root, &name, layer, &mount)?;
            Ok((lock, layers, entry))
        });
        let (lock, layers, entry) = match made {
            Ok(made) => made,
            Err(error) => {
                // The first error is the one to report. What stays now is taken back by the next transaction.
                let _ = twice(|| take_back(&self.root, &record)).and_then(|()| stored.remove(tmp, self.sync));
                return Err(error);
            }
        };
        Ok(HeldLayer {
            directories: [init_id(&mount), mount],
            name,
            entry,
            layers: Some(layers),
            stored,
            lock: Some(lock),
            root: self.root.dir().path().to_path_buf(),
            options: WriteOptions { driver: Some(self.root.driver.name()), sync: self.sync },
            driver: self.root.driver.clone(),
        })
    }
}

impl HeldLayer {
    /// Its name, which no container has.
    #[must_use]
    pub fn name(&self) -> &ContainerId {
        &self.name
    }

    /// Its directories in the driver's home, the lower one first: the files that stand there so that others can be mounted, and
    /// what was written.
    #[must_use]
    pub fn directories(&self) -> &[CacheId] {
        &self.directories
    }

    /// Mounts it to be written to. As long as it is mounted, nobody can write to the store.
    ///
    /// # Errors
    /// [`StoreError`], also with a driver that does this [for writers of the store alone](Driver::is_mounted_by_readers).
    pub fn mount(&self) -> Result<MountGuard, StoreError> {
        self.driver.mount(&self.directories[1], Access::ReadWrite)
    }

    /// A directory beside the layer, for what whoever holds the layer needs meanwhile. It goes with the layer.
    #[must_use]
    pub fn beside(&self) -> &Dir {
        &self.entry
    }

    /// Removes it, as a drop does, and says what went wrong.
    ///
    /// # Errors
    /// [`StoreError`]; what is left is removed by the next transaction.
    pub fn release(mut self) -> Result<(), StoreError> {
        self.end()
    }

    fn end(&mut self) -> Result<(), StoreError> {
        let Some([upper, lower]) = self.layers.take() else { return Ok(()) };
        let begun = Transaction::begin_waiting(&self.root, self.options, PATIENCE);
        let transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) => {
                // Somebody else writes to the root, and it may not be touched: the record stays, without its lock.
                upper.keep();
                lower.keep();
                return Err(error);
            }
        };
        upper.discard()?;
        lower.discard()?;
        if let Some(mounts) = transaction.root().images_dir().descend(&MOUNTS)? {
            mounts.remove_tree(self.name.as_str())?;
        }
        self.stored.remove(transaction.root().layers().tmp()?, false)?;
        drop(self.lock.take());
        Ok(())
    }
}

impl Drop for HeldLayer {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next transaction.
        let _ = self.end();
    }
}

impl Stored {
    /// Locks the record, which the caller has just written.
    fn lock(&self, tmp: &Dir) -> Result<File, StoreError> {
        let missing = || StoreError::Invalid { path: self.path(tmp), reason: "it is gone".into() };
        let file = tmp.open_file(self.name())?.ok_or_else(missing)?;
        flock(&file, FlockOperation::LockExclusive).map_err(StoreError::io(self.path(tmp), "locking"))?;
        Ok(file)
    }

    /// Whether the record is of a layer that somebody holds.
    pub(super) fn is_held(&self, tmp: &Dir) -> Result<bool, StoreError> {
        is_held(tmp, self.name())
    }
}

/// Whether an entry of `layerdb/tmp` is the record of a layer that somebody holds.
fn is_held(tmp: &Dir, name: &str) -> Result<bool, StoreError> {
    if !super::is_change_record(name) {
        return Ok(false);
    }
    let Some(file) = tmp.open_file(name)? else { return Ok(false) };
    // The lock of whoever asks is gone with the file.
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(errno) => Err(StoreError::io(tmp.join(name), "locking")(errno)),
    }
}

/// Takes the records of layers that somebody holds out of the names of entries of `layerdb/tmp`.
pub(crate) fn without_held(tmp: &Dir, names: Vec<String>) -> Result<Vec<String>, StoreError> {
    let mut left = Vec::with_capacity(names.len());
    for name in names {
        if !is_held(tmp, &name)? {
            left.push(name);
        }
    }
    Ok(left)
}

/// The entries of `layerdb/mounts` that somebody holds.
pub(crate) fn held_mounts(layers: Option<&LayerStore>) -> Result<HashSet<MountName>, StoreError> {
    let mut held = HashSet::new();
    let Some(tmp) = layers.and_then(LayerStore::tmp_or_none) else { return Ok(held) };
    for stored in Stored::list(tmp)? {
        if stored.is_held(tmp)? {
            held.extend(stored.read(tmp)?.added_containers.into_iter().map(|added| added.container.into()));
        }
    }
    Ok(held)
}
