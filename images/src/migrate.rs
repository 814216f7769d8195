//! The store of the driver overlay2 into containerd's, without a daemon.
//!
//! ```text
//! plan -> layers' tars, put together and verified, become blobs, or the files that a registry has of them, fetched from elsewhere
//!      -> layers' directories become snapshots: hard links, or copies
//!      -> configs, manifests, names -> containers: copies of what they wrote, and leases -> committed
//! ```
//!
//! The old store is not touched before the commit. Layers are never written to, so both stores can have the same files; what a
//! container has written is copied, sharing blocks where the file system can do that.

mod back;
mod containers;
mod digests;
mod error;
mod plan;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::compress::Compression;
use layerfs::compress::encode::Encoding;
use layerfs::{ChainId, DiffId};
use serde::Serialize;
use snapshot::StoreError;
use snapshot::catalog::Catalog;
use snapshot::containerd::writer::{NewSnapshot, SnapshotKind, StoreWriter};
use snapshot::dir::Dir;
use snapshot::ids::{CacheId, ImageId};
use snapshot::reference::Reference;
use snapshot::root::{DataRoot, LockedRoot};

pub use back::{ReturnOptions, ReturnPlan, return_containers};
pub use digests::{KeptDigests, PlannedDigest, digests_of};
pub use error::MigrateError;
pub use plan::{MigrationPlan, PlannedContainer, PlannedSnapshot};

use digests::{Migrated, PackedLayers};

use crate::in_containerd::{NamedImages, NamedTarget, StoredBlob, add_manifest};
use crate::load::{Observer, WriteBack};
use crate::save::{SaveError, SaveForm, SaveOptions, read_config, save_blobs};

/// Where the blobs are while they are made, in the store's directory.
const SAVED: &str = "saved";

/// How layers' directories become snapshots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Both stores have the same files, where the file system allows it.
    Link,
    /// Each store has its own, which may share blocks.
    Copy,
}

/// How to migrate.
#[derive(Clone, Copy)]
pub struct MigrateOptions<'o> {
    /// How layers' directories become snapshots.
    pub way: Way,
    /// Busy threads.
    pub threads: usize,
    /// Make everything durable before it is committed.
    pub sync: bool,
    /// Becomes true when the user asks to stop.
    pub interrupted: &'o AtomicBool,
    /// Who is told how it goes. Layers are numbered as in the plan.
    pub observer: &'o dyn Observer,
}

impl std::fmt::Debug for MigrateOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MigrateOptions").field("way", &self.way).field("threads", &self.threads).finish_non_exhaustive()
    }
}

/// An image in its new place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigratedImage {
    /// Its id in the old store.
    pub id: ImageId,
    /// Its id in the new one: the digest of its manifest.
    pub new_id: ImageId,
    /// Its names.
    pub names: Vec<String>,
}

/// What was migrated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MigrationReport {
    /// The images.
    pub images: Vec<MigratedImage>,
    /// How many layers were made into snapshots.
    pub snapshots: usize,
    /// Bytes of the layers' blobs.
    pub blob_bytes: u64,
    /// The containers, by their ids.
    pub containers: Vec<String>,
}

/// Migrates what `plan` says, which was made from what `catalog` says of `from`, into `store`, which is then in force. `kept` was
/// found for this plan. Returns the root of that store, still locked.
///
/// # Errors
/// [`MigrateError`]; there is no new store then, unless it was committed and only the config of a container could not be written:
/// [`Migration::finish`](snapshot::containerd::migration::Migration::finish) does the rest.
pub fn migrate(
    from: &DataRoot,
    catalog: &Catalog,
    plan: &MigrationPlan,
    kept: &KeptDigests<'_>,
    mut store: StoreWriter,
    options: &MigrateOptions<'_>,
) -> Result<(MigrationReport, LockedRoot), MigrateError> {
    let write_back = WriteBack::begin(store.staging(), options.sync)?;
    kept.expect();
    let blobs = add_blobs(from, plan, &mut store, options)?;
    add_snapshots(from, plan, &mut store, options)?;
    let images = from.images()?;
    let mut packed = PackedLayers::new();
    let mut targets = Vec::with_capacity(plan.save.images.len());
    for image in &plan.save.images {
        let config = read_config(images.as_ref(), image.id)?;
        let migrated =
            match kept.add(image.id, (&config, &image.diff_ids), &mut packed, &mut store, options.interrupted)? {
                Some(migrated) => migrated,
                None => {
                    let layers: Vec<StoredBlob> = image.diff_ids.iter().map(|diff_id| blobs[diff_id]).collect();
                    let top = ChainId::chain(&image.diff_ids).last().copied();
                    let manifest = add_manifest(&config, top, &layers, None, &mut store)?;
                    Migrated { named: NamedTarget::from(manifest.clone()), manifest }
                }
            };
        targets.push(migrated);
    }
    kept.label(&mut store)?;
    let mut names = NamedImages::default();
    for (image, target) in plan.save.images.iter().zip(&targets) {
        let tags: Vec<Reference> = image.references().cloned().collect();
        tags.iter().chain(kept.names_without_tag(image.id, &tags)).for_each(|name| names.set(name, &target.named));
    }
    names.record(targets.iter().map(|target| &target.named), &mut store);
    let by_id: HashMap<ImageId, &Migrated> = plan.save.images.iter().map(|image| image.id).zip(&targets).collect();
    let configs = containers::add(from, catalog, plan, &by_id, &mut store, options)?;
    if plan.same_root {
        store.note_migration(plan.complete, &configs)?;
    }
    drop(write_back);
    if options.interrupted.load(Ordering::Relaxed) {
        return Err(SaveError::Interrupted.into());
    }
    let root = store.commit()?;
    if let Some(migration) = snapshot::containerd::migration::Migration::find(&root, options.sync)? {
        migration.finish()?;
    }
    let moved = plan.save.images.iter().zip(&targets);
    let report = MigrationReport {
        images: moved
            .map(|(image, target)| MigratedImage {
                id: image.id,
                new_id: ImageId(target.named.target.digest),
                names: image.names.clone(),
            })
            .collect(),
        snapshots: plan.snapshots.len(),
        blob_bytes: blobs.values().map(|blob| blob.size).sum::<u64>() + plan.packed_bytes,
        containers: configs.iter().map(|config| config.id.to_string()).collect(),
    };
    Ok((report, root))
}

/// Makes the layers' tars, each verified by its diff id, into blobs.
fn add_blobs(
    from: &DataRoot,
    plan: &MigrationPlan,
    store: &mut StoreWriter,
    options: &MigrateOptions<'_>,
) -> Result<HashMap<DiffId, StoredBlob>, MigrateError> {
    let saving = SaveOptions {
        form: SaveForm::Oci,
        encoding: Encoding::None,
        threads: options.threads,
        skip_damaged: false,
        interrupted: options.interrupted,
        observer: options.observer,
    };
    let saved = save_blobs(from, &plan.save, store.staging().path().join(SAVED), &saving)?;
    store.adopt_blobs(SAVED)?;
    let mut blobs = HashMap::new();
    for layer in saved {
        store.add_blob(layer.digest, [("containerd.io/uncompressed", layer.diff_id.to_string())])?;
        let blob = StoredBlob { digest: layer.digest, size: layer.size, compression: Compression::None };
        blobs.insert(layer.diff_id, blob);
    }
    Ok(blobs)
}

/// Makes the layers' directories into snapshots, several at once.
fn add_snapshots(
    from: &DataRoot,
    plan: &MigrationPlan,
    store: &mut StoreWriter,
    options: &MigrateOptions<'_>,
) -> Result<(), MigrateError> {
    let made = layerfs::pool::map(plan.snapshots.len(), options.threads, |at| {
        let snapshot = &plan.snapshots[at];
        let stopped = options.interrupted.load(Ordering::Relaxed);
        (!stopped).then(|| fill(from, &snapshot.cache_id, &store.create_snapshot(number(at))?, options.way))
    });
    made.into_iter().try_for_each(|made| made.unwrap_or(Err(SaveError::Interrupted.into())))?;
    for (at, snapshot) in plan.snapshots.iter().enumerate() {
        let (key, parent) = (snapshot.chain_id.to_string(), snapshot.parent.map(|parent| parent.to_string()));
        let kind = SnapshotKind::Committed;
        store.add_snapshot(&NewSnapshot { number: number(at), key: &key, parent: parent.as_deref(), kind })?;
    }
    Ok(())
}

/// The number of the snapshot at a place of a plan.
fn number(at: usize) -> u64 {
    at as u64 + 1
}

/// Makes the content of a new snapshot from a layer's directory.
fn fill(from: &DataRoot, layer: &CacheId, snapshot: &Dir, way: Way) -> Result<(), MigrateError> {
    let content = from.content(layer)?.ok_or_else(|| StoreError::Invalid {
        path: from.dir().join("overlay2").join(layer.as_str()),
        reason: "the layer's directory is missing".into(),
    })?;
    let to = snapshot.create("fs", 0o755)?;
    let filled = match way {
        Way::Link => layerfs::link_tree(&content, &to),
        Way::Copy => layerfs::copy_tree(&content, &to),
    };
    Ok(filled.map_err(StoreError::io(content.path(), "copying"))?)
}
