//! What a migration back, into the store of overlay2, notes in containerd's store, so that it can be finished, undone, or made final.
//!
//! ```text
//! containerd/daemon/layerfs-return/
//!   record.json    what came over, and what was there before
//!   <id>.old       the container's config as it was
//!   <id>.new       as the store of overlay2 needs it
//! ```
//!
//! containerd's store itself is not changed. The notes are there before the first container comes over, and a container comes over by
//! its config: so whoever comes next knows from the two how far it went.

use layerfs::delete::Deletion;
use serde::{Deserialize, Serialize};

use super::{ChangedConfig, MAX_RECORD, Obstacle, RECORD, remove_containerd, remove_overlay2};
use crate::dir::Dir;
use crate::edit::Transaction;
use crate::error::StoreError;
use crate::ids::{ContainerId, ImageId};
use crate::root::LockedRoot;
use crate::schema::container;
use crate::schema::paths::CONTAINERD_DAEMON;

/// The directory of the notes, in containerd's root.
const NOTES: &str = "layerfs-return";

/// What a migration back notes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnRecord {
    /// Whether all of containerd's store came over, so that it can be given up.
    pub complete: bool,
    /// Whether the root had no store of overlay2 before.
    pub made_store: bool,
    /// The images of the store of overlay2 then.
    pub images: Vec<ImageId>,
    /// Containers that come over.
    pub containers: Vec<ContainerId>,
    /// containerd's store is being removed.
    pub giving_up: bool,
}

/// A migration back of a root's containers.
#[derive(Debug)]
pub struct Return {
    notes: Dir,
    record: ReturnRecord,
    sync: bool,
}

impl Return {
    /// Finds what a migration back has noted; `None` if there was none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn find(root: &Dir, sync: bool) -> Result<Option<Self>, StoreError> {
        let Some(daemon) = root.descend(&CONTAINERD_DAEMON)? else { return Ok(None) };
        let Some(notes) = daemon.sub(NOTES)? else { return Ok(None) };
        // A crash may have left the directory alone: then nothing came over.
        let Some(record) = notes.read(RECORD, MAX_RECORD)? else { return Ok(None) };
        let invalid = |reason: String| StoreError::Invalid { path: notes.join(RECORD), reason };
        let record = serde_json::from_slice(&record).map_err(|error| invalid(error.to_string()))?;
        Ok(Some(Self { notes, record, sync }))
    }

    /// Notes that these containers come over, beside those that were noted before.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn note(
        root: &Dir,
        mut record: ReturnRecord,
        configs: &[ChangedConfig],
        sync: bool,
    ) -> Result<Self, StoreError> {
        let missing =
            || StoreError::Invalid { path: root.path().to_path_buf(), reason: "no containerd's store".into() };
        if let Some(before) = Self::find(root, sync)? {
            record.made_store = before.record.made_store;
            record.containers.extend(before.record.containers);
            record.containers.sort_unstable();
            record.containers.dedup();
        }
        let daemon = root.descend(&CONTAINERD_DAEMON)?.ok_or_else(missing)?;
        let notes = match daemon.sub(NOTES)? {
            Some(notes) => notes,
            None => daemon.create(NOTES, 0o700)?,
        };
        for config in configs {
            notes.replace(&format!("{}.old", config.id), &config.old, 0o600, sync)?;
            notes.replace(&format!("{}.new", config.id), &config.new, 0o600, sync)?;
        }
        let bytes = serde_json::to_vec_pretty(&record).expect("texts and truth values always serialise");
        notes.replace(RECORD, &bytes, 0o600, sync)?;
        if sync {
            daemon.sync()?;
        }
        Ok(Self { notes, record, sync })
    }

    /// Why [`Self::undo`] would lose something, where `images` are those of the store of overlay2; `None` if it would not.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn undo_loses(&self, root: &Dir, images: &[ImageId]) -> Result<Option<Obstacle>, StoreError> {
        if self.record.giving_up {
            return Ok(Some(Obstacle::GivenUp));
        }
        for id in &self.record.containers {
            let Some(own) = container::open_own(root, id)? else { return Ok(Some(Obstacle::Used)) };
            let config = container::raw_config(&own)?;
            if config != self.noted(id, "old")? && config != self.noted(id, "new")? {
                return Ok(Some(Obstacle::Used));
            }
        }
        let is_known = |image: &ImageId| self.record.images.contains(image);
        let lost = self.record.made_store && !images.iter().all(is_known);
        Ok(lost.then_some(Obstacle::Used))
    }

    /// Why [`Self::give_up_old`] would lose something; `None` if it would not.
    #[must_use]
    pub fn giving_up_loses(&self) -> Option<Obstacle> {
        (!self.record.complete).then_some(Obstacle::Partial)
    }

    /// Lets the containers belong to containerd's store again, as they were, and removes what they have in that of overlay2.
    ///
    /// # Errors
    /// [`StoreError`]; it can be called again.
    pub fn take_containers_back(&self, transaction: &mut Transaction) -> Result<(), StoreError> {
        for id in &self.record.containers {
            let own = container::open_own(transaction.root().dir(), id)?;
            if let Some(own) = own
                && let Some(old) = self.noted(id, "old")?
            {
                if container::raw_config(&own)?.as_ref() != Some(&old) {
                    container::write_raw_config(&own, &old, self.sync)?;
                }
                transaction.forget_container(id)?;
            }
        }
        Ok(())
    }

    /// Ends the way back of [`Self::take_containers_back`]: removes the store of overlay2 if there was none before, and the notes.
    ///
    /// # Errors
    /// [`StoreError`]; it can be called again.
    pub fn undo(&self, root: &LockedRoot, deletion: &Deletion) -> Result<(), StoreError> {
        if self.record.made_store {
            remove_overlay2(root.dir(), deletion, self.sync)?;
        }
        match root.dir().descend(&CONTAINERD_DAEMON)? {
            Some(daemon) => daemon.remove_tree(NOTES),
            None => Ok(()),
        }
    }

    /// Removes containerd's store. The notes say first that this was begun, so that it can only be finished.
    ///
    /// # Errors
    /// [`StoreError`]; the rest can be done later.
    pub fn give_up_old(&mut self, root: &LockedRoot) -> Result<(), StoreError> {
        self.record.giving_up = true;
        let bytes = serde_json::to_vec_pretty(&self.record).expect("texts and truth values always serialise");
        self.notes.replace(RECORD, &bytes, 0o600, self.sync)?;
        remove_containerd(root.dir(), self.sync)
    }

    fn noted(&self, id: &ContainerId, kind: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.notes.read(&format!("{id}.{kind}"), container::MAX_FILE)
    }
}
