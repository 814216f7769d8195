//! The vfs driver: one directory a layer, which holds everything that the layer shows.
//!
//! ```text
//! vfs/                        0710
//!   dir/                      0710
//!     <cache id>/             0755 or as the parent has it: the layer with all below it
//!     .tmp-layerfs-<cache id> 0700 while a layer is being filled: files that its journal still needs
//! ```
//!
//! A layer begins as a copy of its parent, so the parent must be complete before; whiteouts delete files of that copy.
//! No layer refers to another one. Follows moby v20.10.24 `daemon/graphdriver/vfs/driver.go`, but copies extended
//! attributes, which dockerd loses, and gives no SELinux label.

use std::path::PathBuf;
use std::sync::Arc;

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::delete::Deletion;

use super::exchange::exchange;
use super::mount::refuse_mounted;
use super::prepared::{Begun, check_parent};
use super::restack::{Restacking, Stack};
use super::{Access, Driver, HomeEntries, LayerDamage, LayerOrder, LayerPart, MountGuard, Prepared, Room};
use crate::dir::{CreatedDirectories, Dir};
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::Dead;

const NAME: &str = "vfs";

/// The directory of layers in the driver's own.
const LAYERS: &str = "dir";

/// The driver of one `vfs` directory.
#[derive(Debug, Clone)]
pub struct Vfs(Arc<Dir>);

impl Vfs {
    /// Opens the home in a data-root; `None` if there is none.
    pub(super) fn open(root: &Dir) -> Result<Option<Self>, StoreError> {
        Ok(root.descend(&[NAME, LAYERS])?.map(|dir| Self(Arc::new(dir))))
    }

    /// Opens or creates the home.
    pub(super) fn create(root: &Dir, created: &mut CreatedDirectories) -> Result<Self, StoreError> {
        let own = created.ensure(root, NAME, 0o710)?;
        Ok(Self(Arc::new(created.ensure(&own, LAYERS, 0o710)?)))
    }
}

/// Opens a layer's directory; an error if it does not exist.
fn layer(home: &Dir, id: &CacheId) -> Result<Dir, StoreError> {
    let missing = || StoreError::Invalid { path: home.join(id.as_str()), reason: "missing".into() };
    home.sub(id.as_str())?.ok_or_else(missing)
}

/// The name of the directory that holds files which a layer's journal still needs.
fn scratch(id: &CacheId) -> String {
    format!(".tmp-layerfs-{id}")
}

fn remove(home: &Dir, id: &CacheId, deletion: &Deletion) -> Result<(), StoreError> {
    refuse_mounted(home, id.as_str())?;
    home.delete_tree(id.as_str(), deletion)?;
    home.delete_tree(&scratch(id), deletion)
}

/// A layer that was begun.
#[derive(Debug)]
struct Unfinished {
    home: Arc<Dir>,
    id: CacheId,
    parent: Option<CacheId>,
}

impl Begun for Unfinished {
    fn target(&self) -> Result<Target, StoreError> {
        let scratch_name = scratch(&self.id);
        let missing = || StoreError::Invalid { path: self.home.join(&scratch_name), reason: "missing".into() };
        let scratch = self.home.sub(&scratch_name)?.ok_or_else(missing)?;
        Ok(Target {
            root: layer(&self.home, &self.id)?.into(),
            scratch: scratch.into(),
            whiteouts: WhiteoutMode::Delete,
            ownership: Ownership::Layer,
            defer_directories: false,
        })
    }

    fn keep(&self, parent: Option<&CacheId>) -> Result<(), StoreError> {
        check_parent(&self.home, &self.id, self.parent.as_ref(), parent)?;
        self.home.remove_tree(&scratch(&self.id))
    }

    fn take_back(&self) -> Result<(), StoreError> {
        remove(&self.home, &self.id, &Deletion::default())
    }
}

impl Driver for Vfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn order(&self) -> LayerOrder {
        LayerOrder::ParentFirst
    }

    fn prepare(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<Prepared, StoreError> {
        let below = parent.map(|parent| layer(&self.0, parent)).transpose()?;
        let dir = self.0.create(id.as_str(), 0o755)?;
        // From here on a failure takes back what was made.
        let unfinished = Unfinished { home: Arc::clone(&self.0), id: id.clone(), parent: parent.cloned() };
        let prepared = Prepared::new(unfinished);
        self.0.create(&scratch(id), 0o700)?;
        if let Some(below) = below {
            layerfs::copy_tree(&below, &dir).map_err(StoreError::io(dir.path(), "copying the layer below to"))?;
        }
        Ok(prepared)
    }

    fn mount(&self, id: &CacheId, _access: Access) -> Result<MountGuard, StoreError> {
        layer(&self.0, id).map(MountGuard::plain)
    }

    fn content(&self, id: &CacheId) -> Result<Dir, StoreError> {
        layer(&self.0, id)
    }

    fn entries(&self) -> Result<HomeEntries, StoreError> {
        HomeEntries::named(NAME, &self.0)
    }

    fn belongings(&self, id: &CacheId) -> Result<Vec<PathBuf>, StoreError> {
        refuse_mounted(&self.0, id.as_str())?;
        let mut there = Vec::new();
        for name in [id.as_str().to_owned(), scratch(id)] {
            if self.0.stat(&name)?.is_some() {
                there.push(PathBuf::from(name));
            }
        }
        Ok(there)
    }

    fn room(&self) -> Result<Room, StoreError> {
        Room::measure(&self.0)
    }

    fn remove(&self, dead: &Dead<CacheId>, deletion: &Deletion) -> Result<(), StoreError> {
        remove(&self.0, dead.get(), deletion)
    }

    fn damage(&self, id: &CacheId, _parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        let missing = self.0.sub(id.as_str())?.is_none();
        Ok(missing.then(|| LayerDamage::Missing { path: self.0.join(id.as_str()), part: LayerPart::Content }))
    }

    fn writable_damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        self.damage(id, parents)
    }

    fn lacks(&self, _id: &CacheId, _parents: bool, _children: bool) -> Result<Vec<LayerPart>, StoreError> {
        Ok(Vec::new())
    }

    fn written(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<u64, StoreError> {
        let content = layer(&self.0, id)?;
        let size = match parent {
            Some(parent) => layerfs::changed_size(&content, layer(&self.0, parent)?),
            None => layerfs::tree_size(&content),
        };
        size.map_err(StoreError::io(content.path(), "measuring"))
    }

    fn metadata(&self, _id: &CacheId) -> Result<Option<Vec<(&'static str, String)>>, StoreError> {
        Ok(None)
    }

    fn restacking(&self, _stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError> {
        Ok(Vec::new())
    }

    fn restack(&self, what: &Restacking, sync: bool) -> Result<(), StoreError> {
        what.write(&self.0, sync)
    }

    fn exchange(&self, id: &CacheId, with: &CacheId) -> Result<(), StoreError> {
        refuse_mounted(&self.0, id.as_str())?;
        exchange(&self.0, with.as_str(), &self.0, id.as_str())
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.0.sync_file_system()
    }

    fn home(&self) -> &Dir {
        &self.0
    }
}
