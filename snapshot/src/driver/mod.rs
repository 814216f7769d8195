//! Where a layer's content lives, and how it becomes visible.

pub mod overlay2;

use std::path::PathBuf;

use layerfs::apply::Target;

use crate::error::StoreError;
use crate::ids::CacheId;

/// A storage driver.
///
/// A layer is [prepared](Driver::prepare), filled by its target's user, and [committed](Driver::commit) on top of its
/// parent. Until then it is a directory that nothing refers to, and [`remove`](Driver::remove) takes it away.
pub trait Driver: Sync {
    /// The name by which Docker knows it, and of its directories in the data-root.
    fn name(&self) -> &'static str;

    /// Whether a layer can be filled without its parent, so that all layers can be filled at once.
    fn layers_are_independent(&self) -> bool;

    /// Creates an empty layer. A driver whose layers are independent does not look at `parent`.
    ///
    /// # Errors
    /// [`StoreError`]
    fn prepare(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<Target, StoreError>;

    /// Puts a filled layer on top of its parent. Not durable before the next sync of the file system.
    ///
    /// # Errors
    /// [`StoreError`]
    fn commit(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<(), StoreError>;

    /// Removes a layer, committed or not; a missing one is fine.
    ///
    /// # Errors
    /// [`StoreError`]
    fn remove(&self, id: &CacheId) -> Result<(), StoreError>;

    /// Why a committed layer cannot be used, or nothing.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out.
    fn damage(&self, id: &CacheId) -> Result<Option<String>, StoreError>;

    /// Shows a layer with everything below it. Returns where; to be [unmounted](Driver::unmount).
    ///
    /// # Errors
    /// [`StoreError`]
    fn mount(&self, id: &CacheId) -> Result<PathBuf, StoreError>;

    /// Ends what [`mount`](Driver::mount) began.
    ///
    /// # Errors
    /// [`StoreError`]
    fn unmount(&self, id: &CacheId) -> Result<(), StoreError>;

    /// What `docker inspect` shows under `GraphDriver.Data`, sorted by key.
    ///
    /// # Errors
    /// [`StoreError`]
    fn metadata(&self, id: &CacheId) -> Result<Vec<(&'static str, String)>, StoreError>;

    /// The layers it has, mounts and unfinished ones included.
    ///
    /// # Errors
    /// [`StoreError`]
    fn list(&self) -> Result<Vec<CacheId>, StoreError>;

    /// Makes everything prepared and committed so far durable.
    ///
    /// # Errors
    /// [`StoreError`]
    fn sync(&self) -> Result<(), StoreError>;
}
