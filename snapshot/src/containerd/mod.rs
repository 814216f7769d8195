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
//! dockerd does. Everything is read, and nothing is written here.
//!
//! [`Catalog`](crate::catalog::Catalog) shows these images as it shows those of a storage driver, and the driver
//! `overlayfs` shows the snapshots, so that the commands need not know which of the two stores they read.
//!
//! Follows containerd v2.1.9 `core/metadata` and moby v28.5.2 `daemon/containerd`.

pub mod content;
pub mod documents;
pub mod images;
pub mod metadata;
pub(crate) mod snapshots;

use crate::dir::Dir;
use crate::error::StoreError;
use content::Content;
use metadata::Metadata;
use snapshots::Snapshots;

/// The directory of the blobs in containerd's root.
const CONTENT: [&str; 3] = ["io.containerd.content.v1.content", "blobs", "sha256"];

/// The directory of the database of records in containerd's root.
const METADATA: &str = "io.containerd.metadata.v1.bolt";

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
        let metadata = match daemon.sub(METADATA)? {
            Some(dir) => Metadata::read(&dir, namespace, name)?,
            None => Metadata::default(),
        };
        let snapshots = snapshotter.map_or_else(|| Ok(Snapshots::default()), Snapshots::read)?;
        Ok(Self { metadata, content: Content::new(daemon.descend(&CONTENT)?), snapshots })
    }
}
