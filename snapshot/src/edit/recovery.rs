//! Recovery: before a transaction begins, what a killed one has left is finished or taken back.
//!
//! Recovery goes by what the store holds now: our records of intent, our write-sets and, before it deletes a thing, who
//! needs that thing ([`crate::liveness`]). A dockerd may have run since the crash, and may use what was left.

use std::collections::HashSet;

use super::clear::orphan_mounts;
use super::disposal::{self, Disposal};
use super::finish::{delete, finish, is_anothers, remove_remains};
use super::record::{Record, Stored};
use super::undo::take_back;
use crate::driver::Driver;
use crate::error::StoreError;
use crate::liveness::{Departing, Owners, images};
use crate::root::WritableRoot;
use crate::schema::container;
use crate::schema::references::References;
use crate::schema::volume::VOLUMES;

/// Finishes or takes back what crashed transactions have left.
pub(super) fn recover(root: &WritableRoot, sync: bool) -> Result<(), StoreError> {
    let tmp = root.layers.tmp()?;
    disposal::remove_probe(root.driver.home())?;
    root.images_dir.remove_temporaries()?;
    root.images.remove_temporaries()?;
    tmp.remove_temporaries()?;
    // Every process of ours that writes files of containers or volumes holds the store's lock. We hold it now, so
    // nobody needs the temporary files that are there.
    if let Some(containers) = container::open(root.dir())? {
        containers.remove_temporaries_below()?;
    }
    if let Some(volumes) = root.dir().sub(VOLUMES)? {
        volumes.remove_temporaries()?;
    }
    let mut left = Vec::new();
    for stored in Stored::list(tmp)? {
        if !stored.is_held(tmp)? {
            left.push(stored);
        }
    }
    // Layers, and metadata of images, are written only while a record or a write-set says so. Without one, nobody has to look through
    // the directories of all of them.
    if !(left.is_empty() && root.layers.leftovers()?.is_empty()) {
        root.driver.home().remove_temporaries()?;
        root.images.remove_temporary_metadata()?;
    }
    for stored in left {
        let record = stored.read(tmp)?;
        let committed = stored.is_committed() || is_visible(root, &record)?;
        // A change that was not committed has moved nothing into its quarantine, which may be gone.
        let disposal = match Disposal::of_record(&record) {
            Ok(disposal) => Some(disposal),
            Err(error) if committed => return Err(error),
            Err(_) => None,
        };
        if committed {
            drop(finish(root, &still_wanted(root, &stored, record)?, sync)?);
        } else {
            take_back(root, &record, sync)?;
            super::containers::take_back(root, &record)?;
        }
        // Also finish removals that were begun before, for example by a recovery that was interrupted: such layers have
        // the names `-removing` already. Where they were to be kept and cannot be, they stay for the next `gc`.
        if let Some(disposal) = disposal {
            let removing = root.layers.removing()?;
            if !removing.is_empty() {
                remove_remains(root, &Owners::read(root, &Departing::default())?, &removing, &disposal)?;
            }
        }
        stored.remove(tmp, sync)?;
    }
    remove_write_sets(root)
}

/// Whether the transaction was to change names, and `repositories.json` has them all as it was to leave them: then the
/// commit point was passed.
fn is_visible(root: &WritableRoot, record: &Record) -> Result<bool, StoreError> {
    if record.names.is_empty() {
        return Ok(false);
    }
    let references = References::load(&root.images_dir)?;
    Ok(record.names.iter().all(|(name, image)| references.get(name) == *image))
}

/// The record of a change past its commit point, without the removal of images and layers that somebody has come to
/// need since.
fn still_wanted(root: &WritableRoot, stored: &Stored, mut record: Record) -> Result<Record, StoreError> {
    if !record.removed_images.is_empty() {
        let needed = images::named_or_built_on(root, &record.removed_images)?;
        let mut going = Vec::new();
        for id in record.removed_images {
            // If the config is newer than our record, somebody has stored the image again. Keep it.
            let newer = root.images.written(id)? > stored.written;
            if !needed.contains(&id) && !newer {
                going.push(id);
            }
        }
        record.removed_images = going;
    }
    if !record.removed_layers.is_empty() {
        let (mounts, _) = orphan_mounts(root, &record.cleared)?;
        let images = record.removed_images.iter().copied().collect();
        let owners = Owners::read(root, &Departing { images, mounts })?;
        let registered: HashSet<_> = root.layers.list()?.into_iter().collect();
        let there: Vec<_> =
            record.removed_layers.iter().map(|(id, _)| *id).filter(|id| registered.contains(id)).collect();
        let (_, kept) = owners.removable(&there);
        let kept: HashSet<_> = kept.into_iter().map(|(id, _)| id).collect();
        // If the `-removing` name exists, the layer was renamed already: finish its removal.
        let removing: HashSet<String> = root.layers.removing()?.into_iter().collect();
        record.removed_layers.retain(|(id, name)| removing.contains(name) || !kept.contains(id));
    }
    Ok(record)
}

/// Removes write-sets with the directories that they name. If somebody owns the directory, the write-set is stale or
/// forged, and only the write-set is removed. If that cannot be found out, or if the directory is mounted, both stay.
fn remove_write_sets(root: &WritableRoot) -> Result<(), StoreError> {
    let leftovers = root.layers.leftovers()?;
    if leftovers.is_empty() {
        return Ok(());
    }
    let owners = Owners::read(root, &Departing::default())?;
    let directories = owners.directories();
    for name in leftovers {
        match root.layers.leftover_cache_id(&name) {
            Ok(Some(id)) => match directories.dead(&id, None) {
                Ok(dead) => delete(root, &dead)?,
                Err(reason) if is_anothers(&reason) => {}
                Err(_) => continue,
            },
            // A crash or a power cut came before the write-set named the directory durably. With `sync`, the directory
            // was not made yet.
            Ok(None) | Err(StoreError::Invalid { .. }) => {}
            Err(error) => return Err(error),
        }
        root.layers.tmp()?.remove_tree(&name)?;
    }
    Ok(())
}
