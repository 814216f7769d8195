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

mod layout;
mod mount;

use std::path::PathBuf;

use layerfs::apply::{Ownership, Target, WhiteoutMode, XattrNamespace};

use super::Driver;
use crate::dir::{Dir, Skeleton};
use crate::error::StoreError;
use crate::ids::CacheId;

/// The driver over one `overlay2` directory.
#[derive(Debug)]
pub struct Overlay2 {
    name: &'static str,
    home: Dir,
    links: Option<Dir>,
    namespace: XattrNamespace,
}

impl Overlay2 {
    /// The name of the driver and of its home.
    pub const NAME: &'static str = "overlay2";

    /// The drivers whose homes have this form.
    pub const SAME_FORM: [&'static str; 2] = [Self::NAME, "fuse-overlayfs"];

    /// Opens the driver's home in a data-root; `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn open(root: &Dir, namespace: XattrNamespace) -> Result<Option<Self>, StoreError> {
        Self::open_as(Self::NAME, root, namespace)
    }

    /// Opens the home of one of the drivers of this [form](Self::SAME_FORM).
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn open_as(
        name: &'static str,
        root: &Dir,
        namespace: XattrNamespace,
    ) -> Result<Option<Self>, StoreError> {
        let Some(home) = root.sub(name)? else { return Ok(None) };
        let links = home.sub(layout::LINKS)?;
        Ok(Some(Self { name, home, links, namespace }))
    }

    /// Opens or creates the driver's home.
    pub(crate) fn create(root: &Dir, namespace: XattrNamespace, skeleton: &mut Skeleton) -> Result<Self, StoreError> {
        let home = skeleton.ensure(root, Self::NAME, 0o710)?;
        let links = skeleton.ensure(&home, layout::LINKS, 0o700)?;
        Ok(Self { name: Self::NAME, home, links: Some(links), namespace })
    }

    /// The content of a layer.
    ///
    /// # Errors
    /// [`StoreError`] if it is not there.
    pub fn diff(&self, id: &CacheId) -> Result<Dir, StoreError> {
        self.layer(id)?.sub(layout::DIFF)?.ok_or_else(|| StoreError::Invalid {
            path: self.home.join(id.as_str()).join(layout::DIFF),
            reason: "missing".into(),
        })
    }

    /// The directory of all its layers.
    pub fn home(&self) -> &Dir {
        &self.home
    }

    fn links(&self) -> Result<&Dir, StoreError> {
        let missing = || StoreError::Invalid { path: self.home.join(layout::LINKS), reason: "missing".into() };
        self.links.as_ref().ok_or_else(missing)
    }

    fn layer(&self, id: &CacheId) -> Result<Dir, StoreError> {
        let missing = || StoreError::Invalid { path: self.home.join(id.as_str()), reason: "missing".into() };
        self.home.sub(id.as_str())?.ok_or_else(missing)
    }
}

impl Driver for Overlay2 {
    fn name(&self) -> &'static str {
        self.name
    }

    fn layers_are_independent(&self) -> bool {
        true
    }

    fn prepare(&self, id: &CacheId, _parent: Option<&CacheId>) -> Result<Target, StoreError> {
        let layer = self.home.create(id.as_str(), 0o710)?;
        let diff = layer.create(layout::DIFF, 0o755)?;
        Ok(Target {
            root: diff.owned_fd()?,
            scratch: layer.owned_fd()?,
            whiteouts: WhiteoutMode::Overlay(self.namespace),
            ownership: Ownership::Layer,
            defer_directories: false,
        })
    }

    fn commit(&self, id: &CacheId, parent: Option<&CacheId>) -> Result<(), StoreError> {
        let layer = self.layer(id)?;
        let link = layout::create_link(&layer, self.links()?, id)?;
        let Some(parent) = parent else { return Ok(()) };
        let parent = self.layer(parent)?;
        let lower = layout::lower_on(&parent)?;
        debug_assert!(!lower.contains(link.as_str()));
        layer.create(layout::WORK, 0o700)?;
        layer.write_new(layout::LOWER, lower.as_bytes(), 0o644)?;
        layout::touch_committed(&parent)
    }

    fn remove(&self, id: &CacheId) -> Result<(), StoreError> {
        let Some(layer) = self.home.sub(id.as_str())? else { return Ok(()) };
        // The link first: one that leads nowhere is never cleaned by anybody.
        if let (Some(links), Ok(link)) = (&self.links, layout::link(&layer)) {
            let leads_here = links.read_link(link.as_str())? == Some(layout::link_target(id));
            if leads_here {
                links.unlink(link.as_str())?;
            }
        }
        self.home.remove_tree(id.as_str())
    }

    fn damage(&self, id: &CacheId) -> Result<Option<String>, StoreError> {
        let Some(layer) = self.home.sub(id.as_str())? else {
            return Ok(Some(format!("{} is missing", self.home.join(id.as_str()).display())));
        };
        layout::damage(&layer, self.links.as_ref(), id)
    }

    fn mount(&self, id: &CacheId) -> Result<PathBuf, StoreError> {
        mount::mount(&self.home, &self.layer(id)?, self.namespace)
    }

    fn unmount(&self, id: &CacheId) -> Result<(), StoreError> {
        mount::unmount(&self.layer(id)?)
    }

    fn metadata(&self, id: &CacheId) -> Result<Vec<(&'static str, String)>, StoreError> {
        layout::metadata(&self.home, &self.layer(id)?)
    }

    fn list(&self) -> Result<Vec<CacheId>, StoreError> {
        let mut ids: Vec<CacheId> = self.home.names()?.iter().filter_map(|name| name.parse().ok()).collect();
        ids.retain(|id| id.as_str() != layout::QUOTA_DEVICE);
        ids.sort();
        Ok(ids)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.home.sync_file_system()
    }
}
