//! Sizes that docker measures when it is asked: what a container has written, and what a volume holds.
//!
//! Follows moby v20.10.24 `daemon/disk_usage.go`, `layer/layer_store.go: RWLayer.Size`.

use crate::catalog::Container;
use crate::dir::Dir;
use crate::ids::VolumeName;
use crate::schema::volume;
use crate::view::View;

/// The sizes of a container, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContainerSize {
    /// What it has written; `None` if that cannot be told.
    pub written: Option<u64>,
    /// Bytes of the layers that it stands on; `None` if it stands on none.
    pub image: Option<u64>,
}

/// Measures a container by docker's rule: the sum of the lengths of the files in its own layer; in containerd's store,
/// the blocks of these files and of the directory itself (containerd v2.1.9 `plugins/snapshots/overlay`).
#[must_use]
pub fn measure_container(view: &View, container: &Container) -> ContainerSize {
    let parent = container.mount.as_ref().and_then(|mount| mount.parent);
    let image = if view.root.is_containerd_only() {
        view.catalog.size_below_container(container.id.as_str())
    } else {
        parent.map(|top| view.catalog.size_with_below(top))
    };
    ContainerSize { written: super::df::written(view, container), image }
}

/// Measures a local volume: the sum of the lengths of its files; 0 if it cannot be read.
#[must_use]
pub fn measure_volume(root: &Dir, name: &VolumeName) -> u64 {
    let content = volume::data(root, name).ok().flatten();
    content.and_then(|content| layerfs::tree_size(&content).ok()).unwrap_or_default()
}
