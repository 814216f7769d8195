//! A layer that was begun: its device is there, and its file system is being filled.

use std::sync::Arc;

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use rustix::fs::FileType;

use super::OpenHome;
use super::file_system::Writing;
use super::pool::CONTENT;
use crate::dir::Dir;
use crate::driver::prepared::{Begun, check_parent};
use crate::error::StoreError;
use crate::ids::CacheId;

/// Files that a layer's journal still needs, beside its content.
const SCRATCH: &str = ".tmp-layerfs-scratch";

/// The first layer of a chain that was mounted leaves its id here (`driver.go: Get`).
const ID: &str = "id";

/// A layer that was begun. Its file system stays mounted as long as a target of it is open.
#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) state: Arc<OpenHome>,
    pub(super) id: CacheId,
    pub(super) parent: Option<CacheId>,
}

impl Unfinished {
    fn mount(&self) -> Result<Dir, StoreError> {
        self.state.pool()?.mount(self.id.as_str(), Writing::Here).map(Dir::unnamed)
    }

    /// Removes what only the journal needed, and waits until the rest is on the device.
    fn write_out(&self) -> Result<(), StoreError> {
        let mounted = self.mount()?;
        let content = content_in(&mounted, &self.id)?;
        mounted.remove_tree(SCRATCH)?;
        // The one that was open before hears of what failed before.
        self.state.write_out(&self.id)?;
        // The descriptor of the mount itself is an `O_PATH` one, which cannot be synced.
        content.sync_file_system()
    }
}

/// What dockerd makes in the file system of a device when it is mounted for the first time.
pub(super) fn make_content(state: &OpenHome, id: &CacheId) -> Result<(), StoreError> {
    content_in(&Dir::unnamed(state.pool()?.mount(id.as_str(), Writing::Here)?), id).map(drop)
}

fn content_in(mounted: &Dir, id: &CacheId) -> Result<Dir, StoreError> {
    let content = mounted.sub_or_create(CONTENT, 0o755)?;
    if mounted.stat(ID)?.is_none_or(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile) {
        mounted.write_new(ID, id.as_str().as_bytes(), 0o600)?;
    }
    Ok(content)
}

impl Begun for Unfinished {
    fn target(&self) -> Result<Target, StoreError> {
        let mounted = self.mount()?;
        let content = content_in(&mounted, &self.id)?;
        // If the layer below was not committed yet, the snapshot has a copy of its scratch directory.
        mounted.remove_tree(SCRATCH)?;
        let scratch = mounted.create(SCRATCH, 0o700)?;
        self.state.begun().insert(self.id.clone(), content.duplicate()?);
        Ok(Target {
            root: content.into(),
            scratch: scratch.into(),
            whiteouts: WhiteoutMode::Delete,
            ownership: Ownership::Layer,
            defer_directories: false,
        })
    }

    fn keep(&self, parent: Option<&CacheId>) -> Result<(), StoreError> {
        check_parent(self.state.records.home(), &self.id, self.parent.as_ref(), parent)?;
        let pool = self.state.pool()?;
        self.write_out().and_then(|()| pool.check_taken()).map_err(|error| pool.explain(error))
    }

    fn take_back(&self) -> Result<(), StoreError> {
        drop(self.state.begun().remove(&self.id));
        self.state.pool()?.remove(self.id.as_str())
    }
}
