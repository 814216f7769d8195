//! Containers of containerd's store on their way into that of overlay2, where their images are already.

use layerfs::{ChainId, Digest};
use serde::Serialize;
use serde_json::Value;
use snapshot::StoreError;
use snapshot::catalog::Catalog;
use snapshot::containerd::migration::{ChangedConfig, Return, ReturnRecord};
use snapshot::edit::{AdoptedContainer, Transaction};
use snapshot::ids::ImageId;
use snapshot::root::DataRoot;
use snapshot::schema::container;
use std::sync::atomic::{AtomicBool, Ordering};

use super::containers::{own_config, rewritten};
use super::error::MigrateError;
use super::plan::{PlannedContainer, planned};
use crate::save::SaveError;

/// The containers that come over, and what does not.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReturnPlan {
    /// The containers.
    pub containers: Vec<PlannedContainer>,
    /// What cannot be kept, in sentences.
    pub lost: Vec<String>,
    /// The ids that the images have then.
    #[serde(skip)]
    pub images: Vec<ImageId>,
}

impl ReturnPlan {
    /// Plans which containers of containerd's store come over with these images, or with all, if there are none.
    #[must_use]
    pub fn new(catalog: &Catalog, images: &[ImageId], same_root: bool) -> Self {
        let mut plan = Self::default();
        let wanted = catalog.images().keys().filter(|id| images.is_empty() || images.contains(id));
        plan.images = wanted.filter_map(|id| image_of(catalog, *id, None)).collect();
        for container in catalog.live_containers().filter(|container| container.driver == container::OVERLAYFS) {
            if !images.is_empty() && !container.image.is_some_and(|image| images.contains(&image)) {
                continue;
            }
            let found = if same_root { planned(catalog, container) } else { Err("containers stay in their data-root") };
            match found {
                Ok(planned) => plan.containers.push(planned),
                Err(why) => plan.lost.push(format!("container {}: {why}", container.name)),
            }
        }
        let damaged = catalog.containers().iter().filter(|container| images.is_empty() && container.damage.is_some());
        plan.lost.extend(damaged.map(|damaged| format!("container {}: it is damaged", damaged.id)));
        plan
    }
}

/// How containers come over.
#[derive(Debug, Clone, Copy)]
pub struct ReturnOptions<'o> {
    /// Whether the root had no store of overlay2 before.
    pub made_store: bool,
    /// Whether all images and containers of containerd's store come over.
    pub complete: bool,
    /// Make each step durable.
    pub sync: bool,
    /// Becomes true when the user asks to stop.
    pub interrupted: &'o AtomicBool,
}

/// Gives the containers of `plan`, which was made from what `catalog` says of `from`, to the store that `transaction` writes, where
/// their images are. Returns their names, and in sentences what stayed.
///
/// # Errors
/// [`MigrateError`]; the containers that came over by then stay there, and the next call goes on.
pub fn return_containers(
    from: &DataRoot,
    catalog: &Catalog,
    plan: &ReturnPlan,
    transaction: &mut Transaction,
    options: &ReturnOptions<'_>,
) -> Result<(Vec<String>, Vec<String>), MigrateError> {
    let (mut adopted, mut names, mut lost) = (Vec::new(), Vec::new(), Vec::new());
    for planned in &plan.containers {
        let is_there = |layer: ChainId| transaction.root().layers().get(layer).map(|layer| layer.is_some());
        if !planned.parent.map_or(Ok(true), is_there)? {
            lost.push(format!("container {}: the layers that it stands on did not come over", planned.name));
            continue;
        }
        adopted.push(adoption(from, catalog, planned)?);
        names.push(planned.name.clone());
    }
    let configs: Vec<ChangedConfig> = adopted.iter().map(|adopted| adopted.config.clone()).collect();
    let record = ReturnRecord {
        complete: options.complete && lost.is_empty(),
        made_store: options.made_store,
        images: transaction.root().images().list()?,
        containers: configs.iter().map(|config| config.id.clone()).collect(),
        giving_up: false,
    };
    Return::note(transaction.root().dir(), record, &configs, options.sync)?;
    for adopted in &adopted {
        if options.interrupted.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted.into());
        }
        transaction.adopt_container(adopted)?;
    }
    Ok((names, lost))
}

fn adoption(from: &DataRoot, catalog: &Catalog, planned: &PlannedContainer) -> Result<AdoptedContainer, MigrateError> {
    let content = |layer| {
        let missing = || StoreError::Invalid {
            path: from.dir().path().to_path_buf(),
            reason: format!("snapshot {layer} is missing"),
        };
        from.content(layer)?.ok_or_else(missing)
    };
    let init = planned.init.as_ref().map(content).transpose()?;
    let written = content(&planned.written)?;
    let old = own_config(from, &planned.id)?;
    let new = rewritten(&planned.id, &old, |config| {
        let manifest = config.get("ImageManifest").and_then(|manifest| manifest.get("digest")).and_then(Value::as_str);
        let manifest = manifest.and_then(|manifest| manifest.parse::<Digest>().ok());
        let image = planned.image.and_then(|image| image_of(catalog, image, manifest));
        let mut changes = vec![("Driver", Some("overlay2".into())), ("ImageManifest", None)];
        changes.extend(image.map(|image| ("Image", Some(image.to_string().into()))));
        changes
    })?;
    Ok(AdoptedContainer {
        layer: planned.parent,
        init,
        written,
        config: ChangedConfig { id: planned.id.clone(), old, new },
    })
}

/// The id that an image has in the store of a storage driver: the digest of the config of this manifest, or of the one that
/// docker shows.
fn image_of(catalog: &Catalog, image: ImageId, manifest: Option<Digest>) -> Option<ImageId> {
    let stored = catalog.stored_image(image)?;
    let used = stored.manifests.iter().find(|part| Some(part.digest) == manifest).or(stored.shown())?;
    used.manifest.as_ref()?.config.blob().map(ImageId)
}
