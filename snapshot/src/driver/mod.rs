//! Where a layer's content lives, and how it becomes visible.
//!
//! ```text
//! prepare(id, parent) -> Prepared -> target() is filled -> commit(parent) keeps the layer; a drop takes it back
//! mount(id, access)   -> MountGuard    -> the layer with everything below it, until the drop
//! entries()           -> what the driver's home holds, and what stands on what
//! ```
//!
//! No code outside of this module names a driver or spells a path below a driver's home: it asks the trait, or the
//! [`HomeLayout`] where there is no driver to ask.

mod any;
mod choice;
mod damage;
mod entries;
mod exchange;
mod home_layout;
mod mount;
mod overlay2;
mod prepared;
mod restack;
mod room;
mod vfs;

pub use any::{AnyDriver, xattr_namespace};
pub use choice::{DEFAULT, WRITABLE};
pub(crate) use choice::{FOUND_BY_HOME, HOME_MARKS, HOME_NAMES, NEVER_FOUND, OLD_REPOSITORIES};
pub use damage::{LayerDamage, LayerPart};
pub use entries::{EntryKind, HomeEntries, HomeEntry, UnknownParents};
pub use home_layout::HomeLayout;
pub use mount::{Access, MountGuard};
pub use prepared::Prepared;
pub use restack::{Restacking, Stack, Wanted};
pub use room::Room;

use layerfs::delete::Deletion;

use std::path::PathBuf;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::Dead;

/// In which order the layers of an image can be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// A layer does not need its parent, so all layers can be filled at once.
    Independent,
    /// A layer begins as its parent's content, so the parent must be complete before the layer is prepared.
    ParentFirst,
}

/// A storage driver.
///
/// A layer is [prepared](Driver::prepare), its [target](Prepared::target) is filled, and it is
/// [committed](Prepared::commit) on top of its parent. Until then nothing refers to its directory.
pub trait Driver: std::fmt::Debug + Send + Sync {
    /// The name by which Docker knows it, and of its directories in the data-root.
    fn name(&self) -> &'static str;

    /// In which order layers can be filled.
    fn order(&self) -> Order;

    /// Begins a layer. With [`Order::ParentFirst`] `parent` must be complete, and the new layer begins as a copy of it;
    /// with [`Order::Independent`] `parent` is not looked at.
    ///
    /// # Errors
    /// [`StoreError`], also if there is a layer of this id; nothing is left then of what was made.
    fn prepare(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<Prepared, StoreError>;

    /// Shows a layer with everything below it, until the guard is dropped.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] for a layer that others stand on and that was asked for to be written to.
    fn mount(&self, id: &CacheId, access: Access) -> Result<MountGuard, StoreError>;

    /// The directory in which a layer's own files are, in the driver's [layout](HomeLayout).
    ///
    /// # Errors
    /// [`StoreError`] if it is not there.
    fn content(&self, id: &CacheId) -> Result<Dir, StoreError>;

    /// Everything that the home holds.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the home cannot be listed. A single entry that cannot be read says so itself.
    fn entries(&self) -> Result<HomeEntries, StoreError>;

    /// What is free where layers go.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    fn room(&self) -> Result<Room, StoreError>;

    /// Whether the short name of a layer leads to nothing that is there; so does one that is not there. Drivers without such names
    /// have none.
    ///
    /// # Errors
    /// [`StoreError`]
    fn is_stale_link(&self, _link: &str) -> Result<bool, StoreError> {
        Ok(true)
    }

    /// What there is of a layer, complete or not, below the home, in the order in which it may go.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] for a layer that is mounted.
    fn belongings(&self, id: &CacheId) -> Result<Vec<PathBuf>, StoreError>;

    /// When something was last made on top of a layer, a container or another layer, in seconds since 1970; `None` where the
    /// driver keeps no trace of that.
    ///
    /// # Errors
    /// [`StoreError`]
    fn last_stood_on(&self, _id: &CacheId) -> Result<Option<i64>, StoreError> {
        Ok(None)
    }

    /// Removes a layer, complete or not, with whatever belongs to it, as `deletion` says; a missing one is fine. [Liveness](crate::liveness) has said
    /// that nobody needs it.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] for a layer that is mounted, of which nothing is removed then.
    fn remove(&self, dead: &Dead<CacheId>, deletion: &Deletion) -> Result<(), StoreError>;

    /// Why a layer cannot be used on top of `parents`, which is the chain of its records, the nearest first.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out.
    fn damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError>;

    /// The same for the writable layer of a container, which needs more than a layer that is only read.
    ///
    /// # Errors
    /// [`StoreError`] if that cannot be found out.
    fn writable_damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError>;

    /// What dockerd would have made of a layer that has layers below it or above it, and that is not there. A layer that is
    /// only read does without.
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

    /// What is missing or wrong beside the contents of layers so that each of `stacks` can be mounted on what is below it, in the
    /// order in which it is to be written. A layer whose content is missing is left out.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    fn restacking(&self, stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError>;

    /// Writes one of these, in one step, and durably if `sync`.
    ///
    /// # Errors
    /// [`StoreError`]
    fn restack(&self, what: &Restacking, sync: bool) -> Result<(), StoreError>;

    /// Exchanges the content of a layer with that of one that was [prepared](Driver::prepare) and filled, in one step where
    /// the file system can. The layer's own content, or its directory, need not be there.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Invalid`] for a layer that is mounted.
    fn exchange(&self, id: &CacheId, with: &CacheId) -> Result<(), StoreError>;

    /// Makes everything prepared and committed so far durable.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    fn sync(&self) -> Result<(), StoreError>;

    /// The directory that holds the layers' directories: on its file system layers take up room.
    fn home(&self) -> &Dir;
}
