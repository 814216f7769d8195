//! What a catalog holds, for readers. The parts cannot be changed from outside, because the graph of who uses what is built
//! from them once and refers to their positions.

use std::collections::BTreeMap;
use std::path::Path;

use layerfs::ChainId;

use super::{Catalog, Container, Image, ImageDamage, RecordDamage};
use crate::ids::ImageId;
use crate::schema::layer::LayerRecord;
use crate::schema::references::References;
use crate::schema::volume::Volume;

impl Catalog {
    /// The data-root: of a daemon that maps users, the directory of the mapped ids.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The storage driver, by its name.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// Layers, or why dockerd would not load them.
    #[must_use]
    pub fn layers(&self) -> &BTreeMap<ChainId, Result<LayerRecord, RecordDamage>> {
        &self.layers
    }

    /// Images that dockerd would show.
    #[must_use]
    pub fn images(&self) -> &BTreeMap<ImageId, Image> {
        &self.images
    }

    /// Images that dockerd would not show, named or stored, and why.
    #[must_use]
    pub fn damaged_images(&self) -> &BTreeMap<ImageId, ImageDamage> {
        &self.damaged_images
    }

    /// Names of images; none if the file is damaged.
    #[must_use]
    pub fn references(&self) -> &References {
        &self.references
    }

    /// Why dockerd would not start: what is wrong with `repositories.json`, or with containerd's databases.
    #[must_use]
    pub fn damaged_references(&self) -> Option<&str> {
        self.damaged_references.as_deref()
    }

    /// Whether all images are in containerd's store, and that store is not in this root.
    #[must_use]
    pub fn images_elsewhere(&self) -> bool {
        self.images_elsewhere
    }

    /// Containers, those that dockerd would not show included.
    #[must_use]
    pub fn containers(&self) -> &[Container] {
        &self.containers
    }

    /// Local volumes.
    #[must_use]
    pub fn volumes(&self) -> &[Volume] {
        &self.volumes
    }
}
