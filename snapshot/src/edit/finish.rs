//! The steps after the commit point: they write metadata of images, and remove images, layers and remains.
//!
//! Doing a step twice does no harm, so recovery calls the same functions as the transaction itself.

use std::path::PathBuf;

use layerfs::ChainId;

use super::clear::{KeptRemains, clear_mounts, clear_rest};
use super::disposal::Disposal;
use super::record::{Note, Record};
use super::remains::Remains;
use crate::driver::Driver;
use crate::error::StoreError;
use crate::ids::{CacheId, ImageId};
use crate::liveness::{Claim, Dead, Departing, Directories, Owners, StillAlive};
use crate::root::WritableRoot;

/// Does a step that may be done twice, once more if it fails: what has failed only at this moment is no reason to stop by half.
pub(super) fn twice<T>(step: impl Fn() -> Result<T, StoreError>) -> Result<T, StoreError> {
    step().or_else(|_| step())
}

/// Does steps 8 to 13 of the [order](super). Returns the remains that were to be cleared away and stay.
pub(super) fn finish(root: &WritableRoot, record: &Record, sync: bool) -> Result<Vec<KeptRemains>, StoreError> {
    let disposal = Disposal::of_record(record)?;
    for (image, note) in &record.notes {
        // Skip an image that was removed meanwhile: it needs no metadata.
        if root.images.written(*image)?.is_none() {
            continue;
        }
        match note {
            Note::Parent(parent) => root.images.set_parent(*image, *parent, sync)?,
            Note::LastUpdated(time) => root.images.set_last_updated(*image, time, sync)?,
        }
    }
    for image in &record.removed_images {
        remove_image(root, *image, &disposal)?;
    }
    if sync && !record.removed_images.is_empty() {
        root.images.sync()?;
    }
    // Mounts first: one of them may be the only one that needs a layer.
    let mut kept = clear_mounts(root, &record.cleared, &disposal)?;
    remove_layers(root, &record.removed_layers, &disposal, sync)?;
    kept.extend(clear_rest(root, &record.cleared, &disposal)?);
    super::containers::finish(root, record, &disposal, sync)?;
    Ok(kept)
}

/// Removes layers, children before parents. First all records are renamed, so that dockerd no longer sees the layers;
/// then their directories are removed.
pub(super) fn remove_layers(
    root: &WritableRoot,
    layers: &[(ChainId, String)],
    disposal: &Disposal,
    sync: bool,
) -> Result<(), StoreError> {
    if layers.is_empty() {
        return Ok(());
    }
    for (chain_id, removing) in layers {
        root.layers.withdraw(*chain_id, removing)?;
    }
    if sync {
        root.layers.sync()?;
    }
    let owners = Owners::read_all(root, &Departing::default())?;
    // In a quarantine, a record has the name that it had before.
    let names = layers.iter().map(|(chain_id, removing)| (removing.as_str(), chain_id.0.hex()));
    remove_withdrawn(root, &owners, names, disposal)
}

/// Removes the directories and then the records of layers whose removal somebody else has begun. In a quarantine their
/// records keep their `-removing` names, because parts of these layers may be gone already.
pub(super) fn remove_remains(
    root: &WritableRoot,
    owners: &Owners,
    names: &[String],
    disposal: &Disposal,
) -> Result<(), StoreError> {
    remove_withdrawn(root, owners, names.iter().map(|name| (name.as_str(), name.clone())), disposal)
}

/// Removes the directories and then the records of layers whose records were renamed already. `names` has the present
/// name of each record, and the name that the record gets in a quarantine.
fn remove_withdrawn<'n>(
    root: &WritableRoot,
    owners: &Owners,
    names: impl Iterator<Item = (&'n str, String)>,
    disposal: &Disposal,
) -> Result<(), StoreError> {
    let directories = owners.directories();
    let mut failed = None;
    for (name, kept_as) in names {
        // If one directory cannot be removed, go on with the others and return the first error at the end.
        if let Err(error) = remove_directory(root, &directories, name, &kept_as, disposal) {
            failed.get_or_insert(error);
        }
    }
    failed.map_or(Ok(()), Err)
}

/// Removes the directory of a layer whose record was renamed, and then the record. A directory that somebody else owns
/// stays. If the directory may be needed, or is mounted, the record stays with it.
fn remove_directory(
    root: &WritableRoot,
    directories: &Directories<'_>,
    removing: &str,
    kept_as: &str,
    disposal: &Disposal,
) -> Result<(), StoreError> {
    let id = match root.layers.removing_cache_id(removing) {
        // The record's cache-id is invalid, so its directory is not known. Leave the record.
        Err(StoreError::Invalid { .. }) => return Ok(()),
        id => id?,
    };
    if let Some(id) = id {
        match directories.dead(&id, Some(removing)) {
            Ok(dead) => disposal.remove_directory(root, &dead)?,
            Err(reason) if is_anothers(&reason) => {}
            // Somebody may need the directory. Keep the record: only it says to which layer the directory belonged.
            Err(_) => return Ok(()),
        }
    }
    let place = Remains::Removal(removing.to_owned()).place(root.driver.name());
    disposal.remove_as(root, &place, &place.with_file_name(kept_as))
}

/// Removes an image. The config goes first: without it there is no image.
fn remove_image(root: &WritableRoot, image: ImageId, disposal: &Disposal) -> Result<(), StoreError> {
    if matches!(disposal, Disposal::Delete) {
        return root.images.remove(image);
    }
    let metadata = Remains::Metadata(image).place(root.driver.name());
    let config: PathBuf =
        ["image", root.driver.name(), "imagedb", "content", "sha256", &image.0.hex()].iter().collect();
    [config, metadata].iter().try_for_each(|place| disposal.remove(root, place))
}

/// Deletes a directory that a write-set names. The removal of registered layers goes through [`Disposal`], which may
/// keep them.
pub(super) fn delete(root: &WritableRoot, dead: &Dead<CacheId>) -> Result<(), StoreError> {
    root.driver.remove(dead, &root.deletion)
}

/// Whether a directory stays because somebody else owns it, or because it is the driver's own. The record that named it
/// can be removed then. For a directory that is only mounted the answer is no.
pub(super) fn is_anothers(reason: &StillAlive) -> bool {
    match reason {
        StillAlive::Claimed(claims) => claims.iter().any(|claim| !matches!(claim, Claim::Mounted(_))),
        StillAlive::Service => true,
        StillAlive::Unknown(_) => false,
    }
}
