//! What a migration notes beside the store that it has made, so that it can be finished, undone, or made final.
//!
//! ```text
//! containerd/daemon/layerfs-migration/
//!   record.json    what was migrated, and whether the old store is being given up
//!   <id>.old       the container's config as it was
//!   <id>.new       as the new store needs it
//!   before/        what was in the place of the store: manifests that dockerd has pulled
//! ```
//!
//! The directory is in the store itself, so that it appears with it. containerd and dockerd ignore it. A container's files belong to
//! both stores: its config says to which. So configs are written after the commit point; whoever comes next finishes that.

mod returned;

use layerfs::delete::Deletion;
pub use returned::{Return, ReturnRecord};
use serde::{Deserialize, Serialize};

use super::{BLOBS, metadata};
use crate::dir::Dir;
use crate::driver::DEFAULT;
use crate::error::StoreError;
use crate::ids::ContainerId;
use crate::root::LockedRoot;
use crate::schema::container;
use crate::schema::paths::{CONTAINERD, CONTAINERD_DAEMON, CONTAINERD_METADATA, IMAGE};

/// The directory of the notes, in containerd's root.
const NOTES: &str = "layerfs-migration";
const RECORD: &str = "record.json";

/// What was in the place of the store, if there was a blob in it.
const BEFORE: &str = "before";

/// A record with more bytes than this is none of ours.
const MAX_RECORD: usize = 64 << 20;

/// Where a store that goes is moved to, in `containerd`: what a writer removes before it begins.
const GONE: &str = ".layerfs-new";

/// Where the records of a driver that goes are moved to, in `image`.
const GONE_IMAGES: &str = ".layerfs-gone";

/// The last transaction of a database that nobody has written to since we made it.
const FIRST_TRANSACTION: u64 = 1;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Whether all of the old store was migrated, so that it can be given up.
    complete: bool,
    /// Containers whose configs are written.
    containers: Vec<String>,
    /// The old store is being removed.
    giving_up: bool,
}

/// A container's config, before and after.
#[derive(Debug, Clone)]
pub struct ChangedConfig {
    /// The container.
    pub id: ContainerId,
    /// Its config as it is.
    pub old: Vec<u8>,
    /// Its config as the new store needs it.
    pub new: Vec<u8>,
}

/// Writes the notes into a store that is being made.
pub(super) fn note(staging: &Dir, complete: bool, configs: &[ChangedConfig]) -> Result<(), StoreError> {
    let notes = staging.create(NOTES, 0o700)?;
    for config in configs {
        notes.write_new(&format!("{}.old", config.id), &config.old, 0o600)?;
        notes.write_new(&format!("{}.new", config.id), &config.new, 0o600)?;
    }
    let containers = configs.iter().map(|config| config.id.to_string()).collect();
    let record = Record { complete, containers, giving_up: false };
    notes.write_new(RECORD, &encoded(&record), 0o600).map(drop)
}

/// Keeps the directory `old` of `containerd`, which was in the place of a migrated store, for the way back, if there is a blob in it.
pub(super) fn keep_before(containerd: &Dir, old: &str) -> Result<(), StoreError> {
    let Some(notes) = containerd.descend(&[CONTAINERD_DAEMON[1], NOTES])? else { return Ok(()) };
    let Some(dir) = containerd.sub(old)? else { return Ok(()) };
    let has_blobs = dir.descend(&BLOBS)?.map_or(Ok(false), |blobs| blobs.is_empty().map(|empty| !empty))?;
    if has_blobs { containerd.rename(old, &notes, BEFORE) } else { Ok(()) }
}

fn encoded(record: &Record) -> Vec<u8> {
    serde_json::to_vec_pretty(record).expect("texts and truth values always serialise")
}

/// A migration that has made the store of a root.
#[derive(Debug)]
pub struct Migration<'r> {
    root: &'r LockedRoot,
    daemon: Dir,
    notes: Dir,
    record: Record,
    sync: bool,
}

/// Why a migration is not undone or made final.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    /// A daemon has written to the new store: what it wrote would be lost.
    #[error("a daemon has written to the new store since")]
    Used,
    /// The old store is being removed.
    #[error("the old store is being given up")]
    GivenUp,
    /// Parts of the old store were not migrated: they would be lost.
    #[error("only a part of the old store was migrated")]
    Partial,
}

impl<'r> Migration<'r> {
    /// Finds the migration that has made containerd's store of a root; `None` if none has.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn find(root: &'r LockedRoot, sync: bool) -> Result<Option<Self>, StoreError> {
        let Some(daemon) = root.dir().descend(&CONTAINERD_DAEMON)? else { return Ok(None) };
        let Some(notes) = daemon.sub(NOTES)? else { return Ok(None) };
        let invalid = |reason: String| StoreError::Invalid { path: notes.join(RECORD), reason };
        let record = notes.read(RECORD, MAX_RECORD)?.ok_or_else(|| invalid("missing".into()))?;
        let record: Record = serde_json::from_slice(&record).map_err(|error| invalid(error.to_string()))?;
        Ok(Some(Self { root, daemon, notes, record, sync }))
    }

    /// Whether the old store is being removed.
    #[must_use]
    pub fn is_giving_up(&self) -> bool {
        self.record.giving_up
    }

    /// Why [`Self::undo`] would lose something; `None` if it would not.
    ///
    /// # Errors
    /// [`StoreError`] if the store cannot be read.
    pub fn undo_loses(&self) -> Result<Option<Obstacle>, StoreError> {
        if self.record.giving_up {
            return Ok(Some(Obstacle::GivenUp));
        }
        let Some(dir) = self.daemon.sub(CONTAINERD_METADATA)? else { return Ok(None) };
        let transaction = crate::schema::database::read_all(&dir, metadata::FILE, |bolt| Ok(bolt.transaction()))?;
        Ok(transaction.filter(|transaction| *transaction > FIRST_TRANSACTION).map(|_| Obstacle::Used))
    }

    /// Why [`Self::give_up_old`] would lose something; `None` if it would not.
    #[must_use]
    pub fn giving_up_loses(&self) -> Option<Obstacle> {
        (!self.record.complete).then_some(Obstacle::Partial)
    }

    /// Writes the configs of the containers as the new store needs them, where that was not done. Returns how many were written.
    /// A config that is neither as it was nor as it should be was changed by a daemon, and stays.
    ///
    /// # Errors
    /// [`StoreError`]; the rest can be done later.
    pub fn finish(&self) -> Result<usize, StoreError> {
        self.exchange_configs("old", "new")
    }

    /// Puts the old store in force again: the containers' configs are written as they were, and the new store is removed.
    ///
    /// The configs come first, so that a crash leaves the notes, and this can be called again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn undo(&self) -> Result<(), StoreError> {
        for id in &self.record.containers {
            let Some((own, config)) = self.own_config(id)? else { continue };
            if let Some(old) = self.noted(id, "old")?
                && config != old
            {
                container::write_raw_config(&own, &old, self.sync)?;
            }
        }
        remove_containerd(self.root.dir(), self.sync)
    }

    /// Removes the old store: the records and layers of overlay2. The record says first that this was begun, so that it can only
    /// be finished.
    ///
    /// # Errors
    /// [`StoreError`]; the rest can be done later.
    pub fn give_up_old(&mut self, deletion: &Deletion) -> Result<(), StoreError> {
        self.finish()?;
        self.record.giving_up = true;
        self.notes.replace(RECORD, &encoded(&self.record), 0o600, self.sync)?;
        remove_overlay2(self.root.dir(), deletion, self.sync)?;
        self.daemon.remove_tree(NOTES)
    }

    /// Writes the configs of one kind where those of the other kind are. Returns how many were written.
    fn exchange_configs(&self, from: &str, to: &str) -> Result<usize, StoreError> {
        let mut written = 0;
        for id in &self.record.containers {
            let Some((own, config)) = self.own_config(id)? else { continue };
            let (Some(from), Some(to)) = (self.noted(id, from)?, self.noted(id, to)?) else { continue };
            if config == from {
                container::write_raw_config(&own, &to, self.sync)?;
                written += 1;
            }
        }
        Ok(written)
    }

    /// A container's directory and its config; `None` if it was removed.
    fn own_config(&self, id: &str) -> Result<Option<(Dir, Vec<u8>)>, StoreError> {
        let invalid = |error: crate::ids::InvalidId| StoreError::Invalid {
            path: self.notes.join(RECORD),
            reason: error.to_string(),
        };
        let id: ContainerId = id.parse().map_err(invalid)?;
        let Some(own) = container::open_own(self.root.dir(), &id)? else { return Ok(None) };
        let config = container::raw_config(&own)?;
        Ok(config.map(|config| (own, config)))
    }

    fn noted(&self, id: &str, kind: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.notes.read(&format!("{id}.{kind}"), container::MAX_FILE)
    }
}

/// Removes containerd's store of a root.
fn remove_containerd(root: &Dir, sync: bool) -> Result<(), StoreError> {
    let Some(containerd) = root.sub(CONTAINERD)? else { return Ok(()) };
    containerd.remove_tree(GONE)?;
    containerd.rename(CONTAINERD_DAEMON[1], &containerd, GONE)?;
    if sync {
        containerd.sync()?;
    }
    if let Some(notes) = containerd.descend(&[GONE, NOTES])?
        && notes.sub(BEFORE)?.is_some()
    {
        notes.rename(BEFORE, &containerd, CONTAINERD_DAEMON[1])?;
    }
    containerd.remove_tree(GONE)?;
    // Where there was nothing of containerd before, there is nothing again. A directory with something in it stays.
    let _ = rustix::fs::unlinkat(root, CONTAINERD, rustix::fs::AtFlags::REMOVEDIR);
    Ok(())
}

/// Removes the store of overlay2 of a root.
fn remove_overlay2(root: &Dir, deletion: &Deletion, sync: bool) -> Result<(), StoreError> {
    if let Some(image) = root.sub(IMAGE)? {
        // dockerd lists nothing as soon as the records are gone, so it never lists an image without its layers.
        image.delete_tree(GONE_IMAGES, deletion)?;
        if image.sub(DEFAULT)?.is_some() {
            image.rename(DEFAULT, &image, GONE_IMAGES)?;
            if sync {
                image.sync()?;
            }
        }
        image.delete_tree(GONE_IMAGES, deletion)?;
        if image.is_empty()? {
            root.remove_tree(IMAGE)?;
        }
    }
    root.delete_tree(DEFAULT, deletion)?;
    if sync {
        root.sync()?;
    }
    Ok(())
}
