//! The layers of a container: what it sees, and what it has written.

use std::path::Path;

use anyhow::{anyhow, bail};
use images::tree::LayersOfContainer;
use snapshot::catalog::Container;
use snapshot::view::{Needs, View};

/// Finds the container that `text` means, and calls `work` with its layers. The last layer is the container's own, and the
/// one before it holds docker's init files.
pub(super) fn with_layers<T>(
    text: &str,
    root: &Path,
    driver: Option<&str>,
    work: impl FnOnce(&View, &Container, &LayersOfContainer<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let view = View::read(root, driver, Needs::RECORDS)?;
    let container = containers::find(view.catalog(), text)?;
    let layers = layers_of(&view, container)?;
    work(&view, container, &layers)
}

/// The layers of a container.
pub(crate) fn layers_of<'v>(view: &'v View, container: &Container) -> anyhow::Result<LayersOfContainer<'v>> {
    let mount = container.mount.as_ref().ok_or_else(|| anyhow!("container {} has no writable layer", container.id))?;
    if view.root().driver().is_none() {
        bail!("what a container has written cannot be told with storage driver {}", view.root().driver_name());
    }
    let own = mount.init_id.iter().chain(&mount.mount_id).cloned().collect();
    Ok(LayersOfContainer::new(view.root(), view.catalog(), mount.parent, own)?)
}
