//! A layer that was begun and is not kept yet.

use layerfs::apply::Target;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;

/// What a driver does for a layer that was begun. An implementation keeps no descriptor open between calls, or only for the
/// layers on which no other was begun yet.
pub(super) trait Begun: std::fmt::Debug + Send + Sync {
    /// Opens the directory to fill.
    fn target(&self) -> Result<Target, StoreError>;

    /// Puts the layer on top of its parent.
    fn keep(&self, parent: Option<&CacheId>) -> Result<(), StoreError>;

    /// Removes everything that was made for the layer.
    fn take_back(&self) -> Result<(), StoreError>;
}

/// Refuses to put the layer `id` on `parent` if it was made on another one.
pub(super) fn check_parent(
    home: &Dir,
    id: &CacheId,
    made_on: Option<&CacheId>,
    parent: Option<&CacheId>,
) -> Result<(), StoreError> {
    if parent == made_on {
        return Ok(());
    }
    let name = |id: Option<&CacheId>| id.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    let reason = format!("it was made on {}, not on {}", name(made_on), name(parent));
    Err(StoreError::Invalid { path: home.join(id.as_str()), reason })
}

/// A layer that was begun: [committed](Prepared::commit) it stays, dropped it is removed.
///
/// It holds no descriptor, or only until a layer is begun on it, so any number of layers can wait for their commit.
#[derive(Debug)]
#[must_use = "dropped, the layer is removed again"]
pub struct Prepared {
    /// `None` once the layer was kept or removed.
    layer: Option<Box<dyn Begun>>,
}

impl Prepared {
    pub(super) fn new(layer: impl Begun + 'static) -> Self {
        Self { layer: Some(Box::new(layer)) }
    }

    fn layer(&self) -> &dyn Begun {
        self.layer.as_deref().expect("only commit, discard and drop take it, and all of them end the guard")
    }

    /// Opens the directory to fill. Call this only when the filling begins, since a target holds descriptors.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn target(&self) -> Result<Target, StoreError> {
        self.layer().target()
    }

    /// Keeps the layer, on top of its parent. This is durable only after the next [sync](super::Driver::sync).
    ///
    /// With [`ParentFirst`](super::LayerOrder::ParentFirst) the parent must be the one that was given when it was
    /// prepared.
    ///
    /// # Errors
    /// [`StoreError`]; the layer is removed then.
    pub fn commit(self, parent: Option<&CacheId>) -> Result<(), StoreError> {
        self.stack(parent)?;
        self.keep();
        Ok(())
    }

    /// Puts the layer on top of its parent, as [`commit`](Self::commit) does. It can be mounted then, and is still removed
    /// when this is dropped.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn stack(&self, parent: Option<&CacheId>) -> Result<(), StoreError> {
        self.layer().keep(parent)
    }

    /// Keeps a layer that was [stacked](Self::stack).
    pub(crate) fn keep(mut self) {
        self.layer = None;
    }

    /// Removes the layer, as a drop does, and says what went wrong.
    ///
    /// # Errors
    /// [`StoreError`]
    pub fn discard(mut self) -> Result<(), StoreError> {
        self.layer.take().map_or(Ok(()), |layer| layer.take_back())
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if let Some(layer) = self.layer.take() {
            // If this fails, the write-set or the record of intent still names the directory, and recovery removes it.
            let _ = layer.take_back();
        }
    }
}
