//! The snapshotter `overlayfs` of containerd, in the place of a storage driver: its snapshots are only read.
//!
//! ```text
//! containerd/daemon/io.containerd.snapshotter.v1.overlayfs/snapshots/
//!   <number>/    0700
//!     fs/        the layer's content, in the form of overlay2's `diff`
//!     work/      where something may write to it, or has
//! ```
//!
//! Follows containerd v2.1.9 `plugins/snapshots/overlay/overlay.go`.

use std::path::PathBuf;
use std::sync::Arc;

use layerfs::delete::Deletion;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::overlay2::show;
use super::{
    Access, Driver, HomeEntries, LayerDamage, LayerOrder, LayerPart, MountGuard, Prepared, Restacking, Room, Stack,
};
use crate::containerd::snapshots::Snapshots;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::Dead;

/// The snapshotter's name.
pub(crate) const NAME: &str = "overlayfs";

/// The directory of the snapshots in the snapshotter's own.
const SNAPSHOTS: &str = "snapshots";

/// Where a snapshot's content is in its directory.
const CONTENT: &str = "fs";

/// What the kernel needs to mount a snapshot for writing, in its directory.
const WORK: &str = "work";

/// The most snapshots below one that are shown together, so that a cycle in a damaged database comes to an end. The kernel takes
/// 500.
const MAX_BELOW: usize = 500;

/// The snapshots of one snapshotter.
#[derive(Debug, Clone)]
pub struct Overlayfs {
    /// The snapshotter's directory, with its database.
    snapshotter: Arc<Dir>,
    /// The directory of the snapshots.
    home: Arc<Dir>,
}

impl Overlayfs {
    /// Opens the snapshots in the directory of a snapshotter; `None` if there are none.
    pub(super) fn open(snapshotter: &Dir) -> Result<Option<Self>, StoreError> {
        let Some(home) = snapshotter.sub(SNAPSHOTS)? else { return Ok(None) };
        Ok(Some(Self { snapshotter: Arc::new(snapshotter.duplicate()?), home: Arc::new(home) }))
    }

    /// The contents of a snapshot and of all below it, the topmost first, as the snapshotter's database has them.
    fn stack(&self, id: &CacheId) -> Result<Vec<Dir>, StoreError> {
        let known = Snapshots::read(&self.snapshotter)?;
        let mut next = known.by_name.values().find(|snapshot| snapshot.cache_id() == *id);
        let mut stack = Vec::new();
        while let Some(snapshot) = next {
            let invalid = |reason: String| StoreError::Invalid { path: self.snapshotter.path().to_path_buf(), reason };
            if stack.len() > MAX_BELOW {
                return Err(invalid(format!("more than {MAX_BELOW} snapshots are below {id}")));
            }
            stack.push(self.content(&snapshot.cache_id())?);
            next =
                match &snapshot.parent {
                    None => None,
                    Some(name) => {
                        let below = known.by_name.get(name);
                        Some(below.ok_or_else(|| {
                            invalid(format!("its database does not have {name}, which {id} stands on"))
                        })?)
                    }
                };
        }
        if stack.is_empty() { Ok(vec![self.content(id)?]) } else { Ok(stack) }
    }

    fn find(&self, id: &CacheId) -> Result<Option<Dir>, StoreError> {
        self.home.sub(id.as_str())?.map_or(Ok(None), |snapshot| snapshot.sub_unless_file(CONTENT))
    }

    /// Whether a snapshot's content is there, found out with one call, since a store has thousands of snapshots. What is odd about one
    /// is for [`Self::find`] to say.
    fn is_there(&self, id: &CacheId) -> bool {
        let (path, kind) = (format!("{id}/{CONTENT}"), OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC);
        let within = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(&*self.home, &path, kind, Mode::empty(), within).is_ok()
    }

    fn only_read(&self) -> StoreError {
        let reason = "the snapshots of containerd are only read".to_owned();
        StoreError::Invalid { path: self.home.path().to_path_buf(), reason }
    }
}

impl Driver for Overlayfs {
    fn name(&self) -> &'static str {
        NAME
    }

    fn order(&self) -> LayerOrder {
        LayerOrder::Independent
    }

    fn prepare(&self, _id: &CacheId, _parent: Option<&CacheId>) -> Result<Prepared, StoreError> {
        Err(self.only_read())
    }

    /// Needs a kernel that can mount without a mount point, since nothing is made here.
    fn mount(&self, id: &CacheId, access: Access) -> Result<MountGuard, StoreError> {
        if access == Access::ReadWrite {
            return Err(self.only_read());
        }
        show(self.stack(id)?, &self.home.join(id.as_str()), super::xattr_namespace()?)
    }

    fn content(&self, id: &CacheId) -> Result<Dir, StoreError> {
        let missing = || StoreError::Invalid { path: self.home.join(id.as_str()), reason: "missing".into() };
        self.find(id)?.ok_or_else(missing)
    }

    /// Only containerd's two databases together say whose a snapshot is, so no entry is offered to callers that look
    /// for directories without an owner.
    fn entries(&self) -> Result<HomeEntries, StoreError> {
        Ok(HomeEntries::default())
    }

    fn room(&self) -> Result<Room, StoreError> {
        Room::measure(&self.home)
    }

    fn belongings(&self, _id: &CacheId) -> Result<Vec<PathBuf>, StoreError> {
        Err(self.only_read())
    }

    fn remove(&self, _dead: &Dead<CacheId>, _deletion: &Deletion) -> Result<(), StoreError> {
        Err(self.only_read())
    }

    fn damage(&self, id: &CacheId, _parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        if self.is_there(id) {
            return Ok(None);
        }
        let missing =
            || LayerDamage::Missing { path: self.home.join(id.as_str()).join(CONTENT), part: LayerPart::Content };
        Ok(self.find(id)?.is_none().then(missing))
    }

    /// containerd makes `work` with the snapshot, and not again when it mounts it.
    fn writable_damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        if let Some(damage) = self.damage(id, parents)? {
            return Ok(Some(damage));
        }
        let snapshot = self.home.sub(id.as_str())?;
        let has_work = snapshot.map_or(Ok(None), |snapshot| snapshot.sub_unless_file(WORK))?.is_some();
        let missing = || LayerDamage::Missing { path: self.home.join(id.as_str()).join(WORK), part: LayerPart::Work };
        Ok((!has_work).then(missing))
    }

    fn lacks(&self, _id: &CacheId, _parents: bool, _children: bool) -> Result<Vec<LayerPart>, StoreError> {
        Ok(Vec::new())
    }

    /// The blocks of the snapshot's files and of its directory, as containerd counts them.
    fn written(&self, id: &CacheId, _parent: Option<&CacheId>) -> Result<u64, StoreError> {
        crate::usage::walk::allocated(&self.content(id)?)
    }

    fn metadata(&self, _id: &CacheId) -> Result<Option<Vec<(&'static str, String)>>, StoreError> {
        Ok(None)
    }

    fn restacking(&self, _stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError> {
        Ok(Vec::new())
    }

    fn restack(&self, _what: &Restacking, _sync: bool) -> Result<(), StoreError> {
        Err(self.only_read())
    }

    fn exchange(&self, _id: &CacheId, _with: &CacheId) -> Result<(), StoreError> {
        Err(self.only_read())
    }

    fn sync(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn home(&self) -> &Dir {
        &self.home
    }
}
