//! The layers that are mounted at the moment.

use std::sync::{Mutex, PoisonError};

use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;

/// How many layers stay mounted. Each has a loop device and a temporary file.
const MOST: usize = 8;

/// Layers that were mounted, the last used one at the end.
#[derive(Debug, Default)]
pub(super) struct Shown(Mutex<Vec<(CacheId, Dir)>>);

impl Shown {
    /// The content of a layer: as it is mounted already, or as `show` mounts it. The layer that was used least recently is
    /// unmounted when there are too many and nobody has it open any more.
    pub(super) fn layer(
        &self,
        id: &CacheId,
        show: impl FnOnce() -> Result<Dir, StoreError>,
    ) -> Result<Dir, StoreError> {
        let mut shown = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let dir = match shown.iter().position(|(other, _)| other == id) {
            Some(found) => shown.remove(found).1,
            None => show()?,
        };
        let copy = dir.duplicate()?;
        shown.push((id.clone(), dir));
        if shown.len() > MOST {
            shown.remove(0);
        }
        Ok(copy)
    }
}
