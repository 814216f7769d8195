//! The overlay2 driver: one directory a layer, stacked by the kernel.
//!
//! ```text
//! overlay2/               0710
//!   l/                    0700   l/<link id> -> ../<cache id>/diff
//!   <cache id>/           0710
//!     diff/               0755   the layer's content
//!     link                0644   the link id
//!     lower               0644   l/<link id> of all layers below, topmost first, `:` between; only with a parent
//!     work/               0700   only with a parent
//!     committed           0600   something stands on top of it
//!     merged/             0700   while mounted
//! ```
//!
//! Follows moby v20.10.24 `daemon/graphdriver/overlay2/overlay.go`.

mod chain;
mod entries;
mod layout;
mod mount;
mod restack;
mod sound;

use std::path::PathBuf;
use std::sync::Arc;

use layerfs::apply::{Ownership, Target, WhiteoutMode, XattrNamespace};
use layerfs::delete::Deletion;
use rustix::fs::FileType;

pub(super) use layout::{COMMITTED, DIFF, LINKS, LOWER, WORK};
pub(super) use mount::show;

use super::exchange::exchange;
use super::mount::refuse_mounted;
use super::prepared::Begun;
use super::restack::{Restacking, Stack};
use super::{Access, Driver, HomeEntries, LayerDamage, LayerOrder, LayerPart, MountGuard, Prepared, Room, Stacked};
use crate::dir::{CreatedDirectories, Dir};
use crate::error::StoreError;
use crate::ids::{CacheId, LinkId};
use crate::liveness::Dead;
use chain::LinkCache;

/// The driver of one `overlay2` directory, or of another driver's home of the same form.
#[derive(Debug, Clone)]
pub struct Overlay2(Arc<Home>);

#[derive(Debug)]
struct Home {
    name: &'static str,
    dir: Dir,
    links: Option<Dir>,
    namespace: XattrNamespace,
    /// Where links led when they were last looked at.
    resolved: LinkCache,
}

impl Overlay2 {
    /// Opens the home `name` in a data-root; `None` if there is none.
    pub(super) fn open(name: &'static str, root: &Dir, namespace: XattrNamespace) -> Result<Option<Self>, StoreError> {
        let Some(dir) = root.sub(name)? else { return Ok(None) };
        let links = dir.sub(LINKS)?;
        Ok(Some(Self::over(name, dir, links, namespace)))
    }

    /// Opens or creates the home.
    pub(super) fn create(
        root: &Dir,
        namespace: XattrNamespace,
        created: &mut CreatedDirectories,
    ) -> Result<Self, StoreError> {
        let name = "overlay2";
        let dir = created.ensure(root, name, 0o710)?;
        let links = created.ensure(&dir, LINKS, 0o700)?;
        Ok(Self::over(name, dir, Some(links), namespace))
    }

    fn over(name: &'static str, dir: Dir, links: Option<Dir>, namespace: XattrNamespace) -> Self {
        Self(Arc::new(Home { name, dir, links, namespace, resolved: LinkCache::default() }))
    }
}

impl Home {
    fn links(&self) -> Result<&Dir, StoreError> {
        let missing = || StoreError::Invalid { path: self.dir.join(LINKS), reason: "missing".into() };
        self.links.as_ref().ok_or_else(missing)
    }

    fn layer(&self, id: &CacheId) -> Result<Dir, StoreError> {
        let missing = || StoreError::Invalid { path: self.dir.join(id.as_str()), reason: "missing".into() };
        self.dir.sub(id.as_str())?.ok_or_else(missing)
    }

    fn content(&self, id: &CacheId) -> Result<Dir, StoreError> {
        let layer = self.layer(id)?;
        let missing = || StoreError::Invalid { path: layer.join(DIFF), reason: "missing".into() };
        layer.sub_unless_file(DIFF)?.ok_or_else(missing)
    }

    /// Exchanges the contents of two layers. The content of the first may be missing.
    fn exchange(&self, id: &CacheId, with: &CacheId) -> Result<(), StoreError> {
        let other = self.layer(with)?;
        if self.dir.sub_unless_file(id.as_str())?.is_none() && self.dir.stat(id.as_str())?.is_some() {
            // A file in the place of the directory goes with the other layer's.
            self.dir.rename(id.as_str(), &other, "replaced")?;
        }
        let layer = self.dir.sub_or_create(id.as_str(), 0o710)?;
        refuse_mounted(&layer, layout::MERGED)?;
        self.resolved.forget();
        exchange(&other, DIFF, &layer, DIFF)
    }

    fn remove(&self, id: &CacheId, deletion: &Deletion) -> Result<(), StoreError> {
        let Some(layer) = self.dir.sub(id.as_str())? else { return Ok(()) };
        refuse_mounted(&layer, layout::MERGED)?;
        self.resolved.forget();
        // The link in `l/` goes first: if a crash left a link that leads nowhere, dockerd would never remove it.
        if let (Some(links), Some(link)) = (&self.links, self.own_link(&layer, id)?) {
            links.unlink(link.as_str())?;
        }
        self.dir.delete_tree(id.as_str(), deletion)
    }

    /// The short name of a layer, if it leads to the layer.
    fn own_link(&self, layer: &Dir, id: &CacheId) -> Result<Option<LinkId>, StoreError> {
        let link = match layout::link(layer) {
            Ok(link) => link,
            // The file `link` is missing or damaged, so the layer does not tell its short name.
            Err(StoreError::Invalid { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Some(links) = &self.links else { return Ok(None) };
        let leads_here = links.read_link(link.as_str())? == Some(layout::link_target(id));
        Ok(leads_here.then_some(link))
    }
}

/// A layer that was begun.
#[derive(Debug)]
struct Unfinished {
    home: Arc<Home>,
    id: CacheId,
}

impl Begun for Unfinished {
    fn target(&self) -> Result<Target, StoreError> {
        Ok(Target {
            root: self.home.content(&self.id)?.into(),
            scratch: self.home.layer(&self.id)?.into(),
            whiteouts: WhiteoutMode::Overlay(self.home.namespace),
            ownership: Ownership::Layer,
            defer_directories: false,
        })
    }

    fn keep(&self, parent: Option<&CacheId>) -> Result<(), StoreError> {
        let layer = self.home.layer(&self.id)?;
        self.home.resolved.forget();
        let link = layout::create_link(&layer, self.home.links()?, &self.id)?;
        let Some(parent) = parent else { return Ok(()) };
        let parent = self.home.layer(parent)?;
        let lower = layout::lower_on(&parent)?;
        debug_assert!(!lower.contains(link.as_str()));
        layer.create(layout::WORK, 0o700)?;
        layer.write_new(layout::LOWER, lower.as_bytes(), 0o644)?;
        layout::touch_committed(&parent)
    }

    fn take_back(&self) -> Result<(), StoreError> {
        self.home.remove(&self.id, &Deletion::default())
    }
}

impl Driver for Overlay2 {
    fn name(&self) -> &'static str {
        self.0.name
    }

    fn order(&self) -> LayerOrder {
        LayerOrder::Independent
    }

    fn prepare(&self, id: &CacheId, _parent: Option<&CacheId>) -> Result<Prepared, StoreError> {
        let layer = self.0.dir.create(id.as_str(), 0o710)?;
        // From here on a failure takes back what was made.
        let prepared = Prepared::new(Unfinished { home: Arc::clone(&self.0), id: id.clone() });
        layer.create(DIFF, 0o755)?;
        Ok(prepared)
    }

    fn mount(&self, id: &CacheId, access: Access) -> Result<MountGuard, StoreError> {
        mount::mount(&self.0.dir, self.0.layer(id)?, self.0.namespace, access)
    }

    fn content(&self, id: &CacheId) -> Result<Dir, StoreError> {
        self.0.content(id)
    }

    fn entries(&self) -> Result<HomeEntries, StoreError> {
        entries::read(&self.0)
    }

    fn room(&self) -> Result<Room, StoreError> {
        Room::measure(&self.0.dir)
    }

    fn remove(&self, dead: &Dead<CacheId>, deletion: &Deletion) -> Result<(), StoreError> {
        self.0.remove(dead.get(), deletion)
    }

    fn belongings(&self, id: &CacheId) -> Result<Vec<PathBuf>, StoreError> {
        let Some(layer) = self.0.dir.sub(id.as_str())? else { return Ok(Vec::new()) };
        refuse_mounted(&layer, layout::MERGED)?;
        self.0.resolved.forget();
        let link = self.0.own_link(&layer, id)?.map(|link| PathBuf::from(LINKS).join(link.as_str()));
        Ok(link.into_iter().chain([PathBuf::from(id.as_str())]).collect())
    }

    fn is_stale_link(&self, link: &str) -> Result<bool, StoreError> {
        let Some(links) = &self.0.links else { return Ok(true) };
        let Some(stat) = links.stat(link)? else { return Ok(true) };
        // A driver makes only symlinks here, so anything else is not its short name.
        if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
            return Ok(false);
        }
        let entry = links.read_link(link)?.as_deref().and_then(layout::entry_of);
        let leads_somewhere = match entry {
            Some(entry) => self.0.dir.stat(&entry)?.is_some(),
            None => false,
        };
        Ok(!leads_somewhere)
    }

    /// dockerd writes the empty file `committed` each time it makes something on top of the layer (moby v20.10.24
    /// `overlay.go: create`), so the file's time says when dockerd did so last. We write the file only if it is
    /// missing.
    fn last_stood_on(&self, id: &CacheId) -> Result<Option<i64>, StoreError> {
        let Some(layer) = self.0.dir.sub(id.as_str())? else { return Ok(None) };
        layout::committed(&layer)
    }

    fn most_parents(&self) -> Option<usize> {
        Some(layout::MAX_LOWER)
    }

    fn damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        chain::damage(&self.0, id, parents)
    }

    fn certainly_sound(&self, layers: &[Stacked<'_>]) -> Vec<bool> {
        sound::certainly(&self.0, layers)
    }

    fn entries_and_sound(&self, layers: &[Stacked<'_>]) -> Result<(HomeEntries, Vec<bool>), StoreError> {
        entries::read_with(&self.0, layers)
    }

    fn writable_damage(&self, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
        if let Some(damage) = chain::damage(&self.0, id, parents)? {
            return Ok(Some(damage));
        }
        if parents.is_empty() {
            return Ok(None);
        }
        Ok(chain::directory(&self.0.layer(id)?, layout::WORK, LayerPart::Work)?.err())
    }

    fn lacks(&self, id: &CacheId, parents: bool, children: bool) -> Result<Vec<LayerPart>, StoreError> {
        let layer = self.0.layer(id)?;
        let mut lacking = Vec::new();
        if parents && !layout::has_work(&layer)? {
            lacking.push(LayerPart::Work);
        }
        if children && !layout::is_committed(&layer)? {
            lacking.push(LayerPart::Committed);
        }
        Ok(lacking)
    }

    /// Where `lower` does not begin with the parent, dockerd mounts both and compares them (moby v20.10.24
    /// `daemon/graphdriver/overlay2/overlay.go: DiffSize`), which fails if a link or the parent is gone.
    fn written(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<u64, StoreError> {
        let layer = self.0.layer(id)?;
        let invalid = |reason: String| StoreError::Invalid { path: layer.join(layout::LOWER), reason };
        let mut first = None;
        for link in layout::lower(&layer)? {
            let target = self.0.links.as_ref().map_or(Ok(None), |links| links.read_link(link.as_str()))?;
            let target = target.ok_or_else(|| invalid(format!("{}/{} is missing", layout::LINKS, link.as_str())))?;
            first = first.or(Some(layout::layer_of(&target)));
        }
        if let Some(parent) = parent.filter(|parent| first.flatten().as_ref() != Some(parent))
            && self.0.dir.sub(parent.as_str())?.is_none()
        {
            return Err(invalid(format!("{parent}, on which it stands, is missing")));
        }
        let content = self.0.content(id)?;
        layerfs::tree_size(&content).map_err(StoreError::io(content.path(), "measuring"))
    }

    fn metadata(&self, id: &CacheId) -> Result<Option<Vec<(&'static str, String)>>, StoreError> {
        layout::metadata(&self.0.dir, &self.0.layer(id)?).map(Some)
    }

    fn restacking(&self, stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError> {
        restack::plan(&self.0, stacks)
    }

    fn restack(&self, what: &Restacking, sync: bool) -> Result<(), StoreError> {
        self.0.resolved.forget();
        what.write(&self.0.dir, sync)
    }

    fn exchange(&self, id: &CacheId, with: &CacheId) -> Result<(), StoreError> {
        self.0.exchange(id, with)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.0.dir.sync_file_system()
    }

    fn home(&self) -> &Dir {
        &self.0.dir
    }
}
