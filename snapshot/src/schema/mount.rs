//! `layerdb/mounts`: layers that containers and builds write to.
//!
//! ```text
//! layerdb/mounts/<container id>/
//!   mount-id   the writable layer's directory in the driver's home
//!   init-id    <mount-id>-init
//!   parent     sha256:<chain id> of the layer below; holds that layer
//! ```

use layerfs::ChainId;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;

const SMALL_FILE: usize = 4096;

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRecord {
    /// The container, or whatever asked for the mount.
    pub name: String,
    /// The writable layer; `None` where dockerd would not load the mount.
    pub mount_id: Option<CacheId>,
    /// The layer of init files.
    pub init_id: Option<CacheId>,
    /// The layer below.
    pub parent: Option<ChainId>,
}

/// Reads all mounts; `None` for a store without any.
///
/// # Errors
/// [`StoreError`]
pub fn list(mounts: Option<&Dir>) -> Result<Vec<MountRecord>, StoreError> {
    let Some(mounts) = mounts else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    for name in mounts.names()? {
        let Some(dir) = mounts.sub(&name)? else { continue };
        let text = |file: &str| {
            let bytes = dir.read(file, SMALL_FILE)?;
            Ok::<_, StoreError>(
                bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| text.trim().to_owned()),
            )
        };
        let id = |file: &str| Ok::<_, StoreError>(text(file)?.and_then(|text| text.parse().ok()));
        let parent = text("parent")?.and_then(|text| text.parse().ok());
        records.push(MountRecord { mount_id: id("mount-id")?, init_id: id("init-id")?, parent, name });
    }
    records.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(records)
}

pub(crate) fn held_layers(mounts: Option<&Dir>) -> Result<Vec<ChainId>, StoreError> {
    Ok(list(mounts)?.into_iter().filter_map(|mount| mount.parent).collect())
}
