//! What `image tag` does in containerd's store, as dockerd does it there.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::bail;
use snapshot::catalog::{Catalog, Resolved};
use snapshot::containerd::NAMESPACE;
use snapshot::containerd::metadata::ImageRecord;
use snapshot::containerd::writer::{self, NewImage, StoreWriter};
use snapshot::ids::ImageId;
use snapshot::reference::Reference;
use snapshot::root::DataRoot;

use super::no_such_image;
use crate::commands::store::Store;
use crate::rootless;

/// Whether the images of a root are in containerd's store, which is then one that we write.
pub(crate) fn is_in_containerd(root: &Path, driver: Option<&str>) -> anyhow::Result<bool> {
    let found = DataRoot::find(root, driver)?;
    found.expect_images()?;
    let Some(containerd) = found.containerd().filter(|_| found.is_containerd_only()) else { return Ok(false) };
    if containerd.is_root || containerd.namespace != NAMESPACE {
        bail!(
            "{}: containerd's store is written where dockerd has it in its data-root, in the namespace {NAMESPACE}, and nowhere else",
            root.display()
        );
    }
    Ok(true)
}

/// Whether new images go into containerd's store: if the user named it, or if the root has no other. A root that is not there yet gets
/// that of the storage driver.
pub(crate) fn goes_to_containerd(root: &Path, driver: Option<&str>) -> bool {
    // Why a root cannot be read is said by whoever writes to it.
    driver == Some(Store::Containerd.driver()) || is_in_containerd(root, driver).unwrap_or(false)
}

/// Begins a change of the store, and reads the images that it has then.
fn begin(root: &Path, driver: Option<&str>) -> anyhow::Result<(StoreWriter, Catalog)> {
    rootless::check(root, "")?;
    let store = writer::extend(root, true)?;
    let catalog = Catalog::read(&DataRoot::find(root, driver)?)?;
    Ok((store, catalog))
}

/// The record of an image: that of the name that was typed, else the first one.
fn record_of<'s>(store: &'s StoreWriter, text: &str, id: ImageId) -> Option<&'s ImageRecord> {
    let is_meant = |record: &&ImageRecord| record.target.as_ref().is_some_and(|target| target.digest == id.0);
    let named = Reference::parse(text).ok().and_then(|name| store.image(&name.with_default_tag().canonical()));
    named.filter(is_meant).or_else(|| store.images()?.values().find(is_meant))
}

/// Gives an image a name (moby v28.5.2 `daemon/containerd/image_tag.go`).
pub(super) fn tag(
    source: &str,
    target: impl FnOnce() -> anyhow::Result<Reference>,
    root: &Path,
    driver: Option<&str>,
) -> anyhow::Result<()> {
    let (mut store, catalog) = begin(root, driver)?;
    let Resolved::Image(id) = catalog.resolve(source) else { return Err(no_such_image(source)) };
    let name = target()?;
    let record = record_of(&store, source, id).cloned();
    let Some(ImageRecord { target: Some(target), annotations, labels, .. }) = record else {
        return Err(no_such_image(source));
    };
    let annotations: BTreeMap<String, String> = annotations;
    store.add_image(&NewImage { name: &name.canonical(), target: &target, annotations: &annotations, labels: &labels });
    store.commit()?;
    Ok(())
}
