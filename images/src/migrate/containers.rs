//! Containers on their way into containerd's store.
//!
//! Follows moby v28.5.2 `daemon/containerd/image_snapshot.go` and `container/container.go`: the snapshots of a container have its id
//! for a key, a lease of its id keeps them, and its config names the snapshotter as its driver and the manifest as its image.

use std::collections::HashMap;
use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};
use snapshot::StoreError;
use snapshot::catalog::Catalog;
use snapshot::containerd::migration::ChangedConfig;
use snapshot::containerd::writer::{NewSnapshot, SnapshotKind, StoreWriter};
use snapshot::ids::{ContainerId, ImageId};
use snapshot::root::DataRoot;
use snapshot::schema::container;

use super::digests::Migrated;
use super::error::MigrateError;
use super::plan::{MigrationPlan, PlannedContainer};
use super::{MigrateOptions, Way, fill, number};
use crate::save::SaveError;

/// Adds the snapshots and leases of the containers of a plan, and returns their configs. `targets` has the migrated images.
pub(super) fn add(
    from: &DataRoot,
    catalog: &Catalog,
    plan: &MigrationPlan,
    targets: &HashMap<ImageId, &Migrated>,
    store: &mut StoreWriter,
    options: &MigrateOptions<'_>,
) -> Result<Vec<ChangedConfig>, MigrateError> {
    let mut next = plan.snapshots.len();
    let mut configs = Vec::with_capacity(plan.containers.len());
    for container in &plan.containers {
        if options.interrupted.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted.into());
        }
        add_snapshots(from, container, &mut next, store)?;
        configs.push(changed_config(from, catalog, container, targets)?);
    }
    Ok(configs)
}

/// Copies what the container has written, and its init files: two stores must not write to one file.
fn add_snapshots(
    from: &DataRoot,
    container: &PlannedContainer,
    next: &mut usize,
    store: &mut StoreWriter,
) -> Result<(), MigrateError> {
    let (key, mut parent) = (container.id.as_str(), container.parent.map(|parent| parent.to_string()));
    let init_key = format!("{key}-init");
    let mut add = |layer, key: &str, parent: Option<&str>, kind| -> Result<(), MigrateError> {
        let number = number(*next);
        *next += 1;
        fill(from, layer, &store.create_snapshot(number)?, Way::Copy)?;
        Ok(store.add_snapshot(&NewSnapshot { number, key, parent, kind })?)
    };
    let mut kept = vec![key];
    if let Some(init) = &container.init {
        add(init, &init_key, parent.as_deref(), SnapshotKind::Committed)?;
        parent = Some(init_key.clone());
        kept.push(&init_key);
    }
    add(&container.written, key, parent.as_deref(), SnapshotKind::Active)?;
    store.add_lease(key, &kept);
    Ok(())
}

/// The container's config as it is, and as containerd's store needs it.
fn changed_config(
    from: &DataRoot,
    catalog: &Catalog,
    container: &PlannedContainer,
    targets: &HashMap<ImageId, &Migrated>,
) -> Result<ChangedConfig, MigrateError> {
    let id = container.id.clone();
    let old = own_config(from, &id)?;
    let new = rewritten(&id, &old, |_| {
        let mut changes = vec![("Driver", Some(container::OVERLAYFS.into()))];
        if let Some((image, target)) =
            container.image.and_then(|image| Some((catalog.images().get(&image)?, targets.get(&image)?)))
        {
            let platform = json!({ "architecture": image.config.architecture, "os": image.config.os });
            let manifest = json!({
                "mediaType": target.manifest.media_type,
                "digest": target.manifest.digest.to_string(),
                "size": target.manifest.size,
                "platform": platform.clone(),
            });
            changes.push(("Image", Some(target.named.target.digest.to_string().into())));
            changes.extend([("ImageManifest", Some(manifest)), ("ImagePlatform", Some(platform))]);
        }
        changes
    })?;
    Ok(ChangedConfig { id, old, new })
}

/// The config of a container.
pub(super) fn own_config(from: &DataRoot, id: &ContainerId) -> Result<Vec<u8>, MigrateError> {
    let missing = || StoreError::Invalid {
        path: container::own_path(from.dir().path(), id),
        reason: "the container's config is missing".into(),
    };
    let own = container::open_own(from.dir(), id)?.ok_or_else(missing)?;
    Ok(container::raw_config(&own)?.ok_or_else(missing)?)
}

/// A container's config with other values for some keys, or without them.
pub(super) fn rewritten(
    id: &ContainerId,
    old: &[u8],
    changes: impl FnOnce(&Map<String, Value>) -> Vec<(&'static str, Option<Value>)>,
) -> Result<Vec<u8>, MigrateError> {
    let failed = |source| MigrateError::Config { id: id.clone(), source };
    let mut config: Map<String, Value> = serde_json::from_slice(old).map_err(failed)?;
    for (key, value) in changes(&config) {
        // dockerd decodes keys in any case, and the last one counts.
        config.retain(|known, _| !known.eq_ignore_ascii_case(key));
        config.extend(value.map(|value| (key.to_owned(), value)));
    }
    serde_json::to_vec(&config).map_err(failed)
}
