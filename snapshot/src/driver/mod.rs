//! Where a layer's content is stored, and how a layer is shown with all layers below it.
//!
//! ```text
//! prepare(id, parent) -> Prepared -> target() is filled -> commit(parent) keeps the layer; a drop removes it
//! mount(id, access)   -> MountGuard    -> the layer with everything below it, until the drop
//! entries()           -> what the driver's home holds, and which entries stand on which
//! ```
//!
//! No code outside of this module names a driver or spells a path below a driver's home: it asks the trait, or the
//! [`HomeLayout`] where there is no driver to ask.

mod any;
mod choice;
mod damage;
mod devicemapper;
mod entries;
mod exchange;
mod home_layout;
mod mount;
mod overlay2;
mod overlayfs;
mod prepared;
mod restack;
mod room;
mod stacked;
mod vfs;

pub use any::{AnyDriver, xattr_namespace};
pub use choice::WRITABLE;
pub(crate) use choice::{DEFAULT, FOUND_BY_HOME, HOME_NAMES, NEVER_FOUND, OLD_REPOSITORIES};
pub use damage::{LayerDamage, LayerPart};
pub use devicemapper::{
    DataFile, DeviceMapper, Grown, InactivePool, LvmOptions, PoolFileSystem, PoolOptions, PoolTrouble, Trimmed,
};
pub use entries::{EntryKind, HomeEntries, HomeEntry, Parents, UnknownParents};
pub(crate) use home_layout::HOME_MARKS;
pub use home_layout::HomeLayout;
pub use mount::{Access, MountGuard};
pub(crate) use overlayfs::NAME as OVERLAYFS;
pub use overlayfs::Overlayfs;
pub use prepared::Prepared;
pub use restack::{Restacking, Stack, Wanted};
pub use room::Room;
pub use stacked::Stacked;

use layerfs::delete::Deletion;

use std::path::PathBuf;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::Dead;

/// In which order the layers of an image can be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerOrder {
    /// A layer does not need its parent, so all layers can be filled at once.
    Independent,
    /// A layer begins as its parent's content, so the parent must be complete before the layer is prepared.
    ParentFirst,
}

/// A storage driver.
///
/// A layer is [prepared](Driver::prepare), its [target](Prepared::target) is filled, and it is
/// [committed](Prepared::commit) on top of its parent. Until then nothing in the driver's home refers to its directory.
pub trait Driver: std::fmt::Debug + Send + Sync {
    /// Docker's name for it, which is also the name of its directories in the data-root.
    fn name(&self) -> &'static str;

    /// In which order the layers of an image can be filled.
    fn order(&self) -> LayerOrder;

    /// Begins a layer. With [`LayerOrder::ParentFirst`] `parent` must be complete, and the new layer begins as a copy
    /// of it; with [`LayerOrder::Independent`] `parent` is not looked at.
    ///
    /// # Errors
    /// [`StoreError`], also if a layer of this id exists. Everything that was made is removed then.
    fn prepare(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<Prepared, StoreError>;

    /// Shows a layer with everything below it, until the guard is dropped.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if `access` is to write and other layers stand on this one.
    fn mount(&self, id: &CacheId, access: Access) -> Result<MountGuard, StoreError>;

    /// The directory in which a layer's own files are, in the driver's [layout](HomeLayout).
    ///
    /// # Errors
    /// [`StoreError`] if it is not there.
    fn content(&self, id: &CacheId) -> Result<Dir, StoreError>;

    /// Whether a layer's own files are in a directory below the home. If not, only [`content`](Driver::content) shows
    /// them.
    fn keeps_directories(&self) -> bool {
        true
    }

    /// Whether a layer can be mounted for writing by whoever only reads the root. If not, that takes the root's lock.
    fn is_mounted_by_readers(&self) -> bool {
        true
    }

    /// Everything that the home holds.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the home cannot be listed. A single entry that cannot be read says so itself.
    fn entries(&self) -> Result<HomeEntries, StoreError>;

    /// How much room is free on the file system that holds the layers.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    fn room(&self) -> Result<Room, StoreError>;

    /// Gets ready to remove layers. A driver that cannot remove any says so here, before anything is changed.
    ///
    /// # Errors
    /// [`StoreError`]
    fn get_ready(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// What keeps layers from being written, if the driver knows more of it than the call that has failed.
    fn trouble(&self) -> Option<StoreError> {
        None
    }

    /// Whether a short name leads to no existing layer; a name that does not exist counts as such. A driver without
    /// short names has no stale ones.
    ///
    /// # Errors
    /// [`StoreError`]
    fn is_stale_link(&self, _link: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// The paths, below the home, of everything that exists of a layer, complete or not, in the order in which they may
    /// be removed.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] for a layer that is mounted.
    fn belongings(&self, id: &CacheId) -> Result<Vec<PathBuf>, StoreError>;

    /// When a container or another layer was last made on top of a layer, in seconds since 1970; `None` if that never
    /// happened, or if the driver keeps no trace of it.
    ///
    /// # Errors
    /// [`StoreError`]
    fn last_stood_on(&self, _id: &CacheId) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    /// Removes a layer, complete or not, with everything that belongs to it, as `deletion` says. Does nothing if the
    /// layer is missing. `dead` proves that [liveness](crate::liveness) found nobody who needs it.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] for a mounted layer, of which nothing is removed.
    fn remove(&self, dead: &Dead<CacheId>, deletion: &Deletion) -> Result<(), StoreError>;

    /// The most layers below one layer with which it can be used; `None` if any number will do.
    fn most_parents(&self) -> Option<usize> {
        None
    }

    /// Why a layer cannot be used on top of `parents`; `None` if it can. `parents` are the layers below it by the
    /// records, the nearest first: all of them, or more than [`most_parents`](Driver::most_parents).
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out.
    fn damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError>;

    /// For each layer whether it can certainly be used on those below it. `false` says nothing:
    /// [`damage`](Driver::damage) has to be asked. For many layers this is much faster.
    fn certainly_sound(&self, layers: &[Stacked<'_>]) -> Vec<bool> {
        vec![false; layers.len()]
    }

    /// The answers of [`entries`](Driver::entries) and [`certainly_sound`](Driver::certainly_sound) together, for which a driver may
    /// read less than for one after the other.
    ///
    /// # Errors
    /// Those of [`entries`](Driver::entries).
    fn entries_and_sound(&self, layers: &[Stacked<'_>]) -> Result<(HomeEntries, Vec<bool>), StoreError> {
        Ok((self.entries()?, self.certainly_sound(layers)))
    }

    /// Why the writable layer of a container cannot be used on top of `parents`; `None` if it can. It needs more parts
    /// than a layer that is only read.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out.
    fn writable_damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError>;

    /// The parts of a layer that dockerd would have made and that are missing. `parents` says whether it has layers
    /// below it, `children` whether it has layers above. A layer that is only read can be used without these parts.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out.
    fn lacks(&self, id: &CacheId, parents: bool, children: bool) -> Result<Vec<LayerPart>, StoreError>;

    /// Bytes that a container's layer holds beyond `parent`, the layer right below it, as Docker counts them.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    fn written(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<u64, StoreError>;

    /// What `docker inspect` shows under `GraphDriver.Data`, sorted by key; `None` where Docker shows `null`.
    ///
    /// # Errors
    /// [`StoreError`]
    fn metadata(&self, id: &CacheId) -> Result<Option<Vec<(&'static str, String)>>, StoreError>;

    /// What has to be written, beside the contents of layers, so that the layer of each of `stacks` can be mounted on
    /// the layers below it; in the order of writing. A layer whose content is missing is left out.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    fn restacking(&self, stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError>;

    /// Writes one item of [`restacking`](Driver::restacking), in one step, and durably if `sync`.
    ///
    /// # Errors
    /// [`StoreError`]
    fn restack(&self, what: &Restacking, sync: bool) -> Result<(), StoreError>;

    /// Exchanges the content of the layer `id` with the content of `with`, which was [prepared](Driver::prepare) and
    /// filled, in one step where the file system can do that. The content of `id`, or its directory, may be missing.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] for a layer that is mounted.
    fn exchange(&self, id: &CacheId, with: &CacheId) -> Result<(), StoreError>;

    /// Makes everything prepared and committed so far durable.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    fn sync(&self) -> Result<(), StoreError>;

    /// The directory that holds the layers' directories.
    fn home(&self) -> &Dir;
}
