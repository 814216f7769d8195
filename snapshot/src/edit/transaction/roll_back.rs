//! The way back of a transaction that has failed or was dropped, before its commit point.

use super::{Staged, Transaction};
use crate::edit::disposal;
use crate::edit::finish::delete;
use crate::edit::undo::take_back;
use crate::error::StoreError;
use crate::liveness::Dead;
use crate::root::WritableRoot;
use crate::schema::references::{FILE as REFERENCES, MAX_FILE};

impl Transaction {
    /// Takes back what was done. If that fails, the record stays, and the next transaction takes the change back. It
    /// finishes the change instead if the record is still a `layerfs-commit-*`, or if the new names are still there.
    pub(super) fn roll_back(&mut self) {
        self.reserve.give_back();
        // If a dockerd has started meanwhile, keep the directories that were created: it may already use them.
        if self.root.check_again().is_err() {
            std::mem::take(&mut self.root.created).keep();
        }
        let undone = self.undo();
        for Staged { set, layer } in self.sets.drain(..).flatten() {
            drop(layer);
            // The driver may have committed the directory already, and then `layer` is empty: remove the directory by
            // its id. If that fails, the write-set stays and names it.
            if delete(&self.root, &Dead::never_registered(&set)).is_ok() {
                let _ = self.root.layers.abandon(&set);
            }
        }
        let forgotten = match (undone, &self.stored, self.root.layers.tmp()) {
            (Ok(()), Some(stored), Ok(tmp)) => stored.remove(tmp, self.sync).is_ok(),
            (undone, stored, _) => undone.is_ok() && stored.is_none(),
        };
        // The quarantine goes when no record names it any more. It is still empty but for its description: things are removed
        // only after the commit point.
        if forgotten && let Some(quarantine) = self.quarantine.take() {
            let _ = quarantine.unlink(disposal::CONTENTS);
            let _ = rustix::fs::rmdir(quarantine.path());
        }
    }

    fn undo(&mut self) -> Result<(), StoreError> {
        let Some(stored) = self.stored.as_mut() else { return self.restore_references() };
        // Rename the record first: as long as it says that the change was committed, recovery finishes the change,
        // whatever the names are. If this process dies once the old names are back, recovery takes the change back as
        // well.
        if stored.is_committed() {
            let tmp = self.root.layers.tmp()?;
            stored.rename(tmp, false)?;
            if self.sync {
                // The old names, which follow, must not reach the disk before this. If it fails, they are still put back.
                let _ = tmp.sync();
            }
        }
        // Names first: no name may be left of an image that is removed next.
        self.restore_references()?;
        take_back(&self.root, &self.record, self.sync)
    }

    /// Puts the old names back, byte for byte.
    fn restore_references(&self) -> Result<(), StoreError> {
        let Some(old) = &self.replaced else { return Ok(()) };
        let dir = &self.root.images_dir;
        if dir.read(REFERENCES, MAX_FILE)? == *old {
            return Ok(());
        }
        let mut restored = restore(&self.root, old.as_deref(), self.sync);
        if restored.is_err() {
            restored = restore(&self.root, old.as_deref(), self.sync);
        }
        // If only a sync has failed, the old names are there all the same.
        if dir.read(REFERENCES, MAX_FILE)? == *old { Ok(()) } else { restored }
    }
}

fn restore(root: &WritableRoot, old: Option<&[u8]>, sync: bool) -> Result<(), StoreError> {
    match old {
        Some(bytes) => root.images_dir.replace(REFERENCES, bytes, 0o600, sync),
        None => root.images_dir.unlink(REFERENCES),
    }
}
