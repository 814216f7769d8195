//! The build cache, with the sizes that BuildKit has not measured yet.

use crate::catalog::Catalog;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::root::DataRoot;
use crate::schema::buildkit::{BuildCache, CacheSize, Snapshots};

/// The build cache as `docker system df` shows it: dockerd measures what has no size when it is asked, and so do we. What
/// cannot be measured stays unmeasured.
///
/// # Errors
/// As of [`BuildCache::read`].
pub fn build_cache(root: &DataRoot, catalog: &Catalog) -> Result<BuildCache, StoreError> {
    measured(root, catalog, |id| {
        let content = root.content(id).ok().flatten();
        content.and_then(|content| layerfs::tree_size(&content).ok())
    })
}

/// The same; `directory` says how long the files of one are.
pub(super) fn measured(
    root: &DataRoot,
    catalog: &Catalog,
    directory: impl Fn(&CacheId) -> Option<u64>,
) -> Result<BuildCache, StoreError> {
    let snapshots = Snapshots::read(&root.dir)?;
    let in_images = catalog.chains_of_images();
    let mut cache = BuildCache::read(&root.dir, &snapshots, |chain| in_images.contains(chain))?;
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
