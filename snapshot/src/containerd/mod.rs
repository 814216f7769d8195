//! containerd's image store: what dockerd keeps images in where it uses no storage driver.
//!
//! ```text
//! io.containerd.metadata.v1.bolt/meta.db               names, and a record for each blob and snapshot   metadata
//! io.containerd.content.v1.content/blobs/sha256/<hex>  indexes, manifests, configs, layers as pulled    content, documents
//! io.containerd.snapshotter.v1.overlayfs/metadata.db   which snapshot is in which directory             snapshots
//! io.containerd.snapshotter.v1.overlayfs/snapshots/<n>/fs   layers, in overlayfs's form
//! ```
//!
//! A blob or a snapshot exists for containerd only if `meta.db` has a record of it in the namespace that is asked for;
//! its file may be there without the record, and the other way round. [`images`] puts records and blobs together as
//! dockerd does. [`writer`] makes a store where there is none, and adds to one that is there.
//!
//! [`Catalog`](crate::catalog::Catalog) shows these images as it shows those of a storage driver, and the driver
//! `overlayfs` shows the snapshots, so that the commands need not know which of the two stores they read.
//!
//! Follows containerd v2.1.9 `core/metadata` and moby v28.5.2 `daemon/containerd`.

pub mod content;
pub mod documents;
pub mod export;
pub(crate) mod gc;
pub mod images;
pub mod metadata;
pub mod migration;
pub mod owner;
pub(crate) mod snapshots;
pub mod writer;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::paths::{CONTAINERD_CONTENT, CONTAINERD_METADATA};
use content::Content;
use metadata::Metadata;
use snapshots::Snapshots;

/// The directory of the blobs in containerd's root.
pub(crate) const BLOBS: [&str; 3] = [CONTAINERD_CONTENT, "blobs", "sha256"];

/// The namespace in which dockerd works unless it is told otherwise.
pub const NAMESPACE: &str = "moby";

/// All records of a store in one namespace, and where its blobs are.
#[derive(Debug)]
pub struct Store {
    /// The records.
    pub metadata: Metadata,
    /// The blobs.
    pub content: Content,
    /// The directories of the snapshotter.
    pub(crate) snapshots: Snapshots,
    /// Databases that are missing while what they recorded is there, by their paths below containerd's root.
    pub(crate) missing: Vec<String>,
}

impl Store {
    /// Reads the records of `namespace` in containerd's root. `snapshotter` is the directory of the snapshotter, and
    /// `name` its name.
    ///
    /// # Errors
    /// [`StoreError`] where a database cannot be read. Without a database there are no records.
    pub(crate) fn read(
        daemon: &Dir,
        snapshotter: Option<&Dir>,
        name: &str,
        namespace: &str,
    ) -> Result<Self, StoreError> {
        let records = daemon.sub(CONTAINERD_METADATA)?;
        let metadata = match &records {
            Some(dir) => Metadata::read(dir, namespace, name)?,
            None => Metadata::default(),
        };
        let snapshots = snapshotter.map_or_else(|| Ok(Snapshots::default()), Snapshots::read)?;
        let content = daemon.descend(&BLOBS)?;
        let missing = missing_databases(records.as_ref(), snapshotter, content.as_ref())?;
        Ok(Self { metadata, content: Content::new(content), snapshots, missing })
    }
}

/// The databases that are missing although there are blobs or snapshots, which only they can have recorded.
fn missing_databases(
    records: Option<&Dir>,
    snapshotter: Option<&Dir>,
    content: Option<&Dir>,
) -> Result<Vec<String>, StoreError> {
    let snapshots = snapshotter.map(|dir| dir.sub("snapshots")).transpose()?.flatten();
    let holds_some = |dir: Option<&Dir>| dir.map_or(Ok(false), |dir| dir.is_empty().map(|empty| !empty));
    let lacks = |dir: Option<&Dir>, file| dir.map_or(Ok(true), |dir| dir.stat(file).map(|stat| stat.is_none()));
    let mut missing = Vec::new();
    let has_snapshots = holds_some(snapshots.as_ref())?;
    if (has_snapshots || holds_some(content)?) && lacks(records, metadata::FILE)? {
        missing.push(format!("{CONTAINERD_METADATA}/{}", metadata::FILE));
    }
    if has_snapshots && lacks(snapshotter, snapshots::FILE)? {
        missing.push(format!("the snapshotter's {}", snapshots::FILE));
    }
    Ok(missing)
}
