//! The build cache, with the sizes that BuildKit has not measured yet.

use crate::error::StoreError;
use crate::ids::CacheId;
use crate::schema::buildkit::{BuildCache, CacheSize, Snapshots};
use crate::view::View;

/// The build cache as `docker system df` shows it. dockerd measures each record that has no size yet when it is asked,
/// and so do we. A record that cannot be measured stays without a size.
///
/// # Errors
/// Those of [`BuildCache::read`]. If the view could not read BuildKit's records, they are read once more to return the
/// error.
pub fn build_cache(view: &View) -> Result<BuildCache, StoreError> {
    measured(view, |id| {
        let content = view.root.content(id).ok().flatten();
        content.and_then(|content| layerfs::tree_size(&content).ok())
    })
}

/// As [`build_cache`]; `directory` returns the bytes of the files of one cache directory.
pub(super) fn measured(view: &View, directory: impl Fn(&CacheId) -> Option<u64>) -> Result<BuildCache, StoreError> {
    if view.root.is_containerd_only() {
        return BuildCache::of_snapshotter(&view.root.dir, &view.root.driver_name);
    }
    let again;
    let snapshots = match view.snapshots() {
        Ok(snapshots) => snapshots,
        Err(_) => {
            again = Snapshots::read(&view.root.dir)?;
            &again
        }
    };
    let catalog = &view.catalog;
    let in_images = catalog.chains_of_images();
    let mut cache = BuildCache::read(&view.root.dir, snapshots, |chain| in_images.contains(chain))?;
    for record in &mut cache.records {
        let bytes = match &record.size {
            CacheSize::Known(_) => continue,
            CacheSize::Layer(chain) => catalog.layer(*chain).map(|layer| layer.size),
            CacheSize::Directory(id) => directory(id),
        };
        if let Some(bytes) = bytes {
            record.size = CacheSize::Known(bytes);
        }
    }
    Ok(cache)
}
