//! Everything a data-root says of images, layers and containers, read once, and seen as dockerd sees it at its start.
//!
//! ```text
//! layerdb/sha256/*      -> layers        a layer counts if it and all below it can be read
//! imagedb/content/*     -> images        an image counts if its digest holds, it can be parsed, and its layers count
//! repositories.json     -> references
//! layerdb/mounts/*      -> mounts
//! containers/*          -> containers    a container counts if it can be read, is this driver's, and has its mount
//! ```
//!
//! What dockerd would pass over in silence is here too, with the reason (moby v20.10.24 `layer/layer_store.go: loadLayer`,
//! `image/store.go: restore`, `daemon/daemon.go: restore`).

mod container;
mod image;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use layerfs::ChainId;

pub use crate::schema::volume::Volume;
pub use container::{Container, ContainerRecord, MountPoint, Port, State, Status};
pub use image::{History, Image};
pub use resolve::Resolved;

use crate::error::StoreError;
use crate::ids::ImageId;
use crate::reference::Reference;
use crate::root::DataRoot;
use crate::schema::layer::LayerRecord;
use crate::schema::mount::{self, MountRecord};
use crate::schema::references::References;
use crate::schema::volume;

/// What a data-root holds. See the [module](self).
#[derive(Debug)]
pub struct Catalog {
    /// The data-root: of a daemon that maps users, the directory of the mapped ids.
    pub root: PathBuf,
    /// The storage driver, by its name.
    pub driver: String,
    /// Layers, or why dockerd would not load them.
    pub layers: BTreeMap<ChainId, Result<LayerRecord, String>>,
    /// Images that dockerd would show.
    pub images: BTreeMap<ImageId, Image>,
    /// Images that it would not show, named or stored, and why.
    pub damaged_images: BTreeMap<ImageId, String>,
    /// Names of images; none if the file is damaged.
    pub references: References,
    /// What [`Catalog::names_of`] answers.
    names: BTreeMap<ImageId, Vec<String>>,
    /// Why dockerd would not start: what is wrong with `repositories.json`.
    pub damaged_references: Option<String>,
    /// Writable layers.
    pub mounts: Vec<MountRecord>,
    /// Containers, those that dockerd would not show included.
    pub containers: Vec<Container>,
    /// Local volumes.
    pub volumes: Vec<Volume>,
}

impl Catalog {
    /// Reads a data-root. Nothing is written or locked.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a directory cannot be listed. Damage of single files is no error.
    pub fn read(root: &DataRoot) -> Result<Self, StoreError> {
        let (references, damaged_references) = match root.references() {
            Ok(references) => (references, None),
            Err(error @ StoreError::Invalid { .. }) => (References::default(), Some(with_causes(&error))),
            Err(error) => return Err(error),
        };
        let mut catalog = Self {
            root: root.dir.path().to_path_buf(),
            driver: root.driver_name.clone(),
            layers: BTreeMap::new(),
            images: BTreeMap::new(),
            damaged_images: BTreeMap::new(),
            names: names(&references),
            references,
            damaged_references,
            mounts: Vec::new(),
            containers: Vec::new(),
            volumes: volume::list(&root.dir)?,
        };
        if let Some(layers) = root.layers()? {
            catalog.layers = load_layers(&layers)?;
            catalog.mounts = mount::list(layers.mounts())?;
        }
        if let Some(images) = root.images()? {
            for id in images.list()? {
                match image::load(&images, id, &catalog.layers) {
                    Ok(image) => drop(catalog.images.insert(id, image)),
                    Err(reason) => drop(catalog.damaged_images.insert(id, reason)),
                }
            }
        }
        catalog.link_children();
        for (_, id) in catalog.references.iter() {
            if !catalog.images.contains_key(&id) {
                catalog.damaged_images.entry(id).or_insert_with(|| "its config is missing".into());
            }
        }
        catalog.containers = container::list(&root.dir, &catalog.driver, &catalog.mounts)?;
        Ok(catalog)
    }

    /// Second pass, as dockerd does it: children by `metadata/parent`.
    fn link_children(&mut self) {
        let links: Vec<(ImageId, ImageId)> =
            self.images.values().filter_map(|image| Some((image.parent_id()?, image.id))).collect();
        for (parent, child) in links {
            if let Some(parent) = self.images.get_mut(&parent) {
                parent.children.push(child);
            }
        }
    }

    /// The record of a layer that dockerd would load.
    #[must_use]
    pub fn layer(&self, chain_id: ChainId) -> Option<&LayerRecord> {
        self.layers.get(&chain_id)?.as_ref().ok()
    }

    /// A layer and all below it, topmost first, by the `parent` files.
    pub fn chain(&self, top: ChainId) -> impl Iterator<Item = &LayerRecord> {
        std::iter::successors(self.layer(top), |layer| self.layer(layer.parent?))
    }

    /// What docker shows as an image's size: the sizes of its layers as the `parent` files link them, in bytes.
    #[must_use]
    pub fn image_size(&self, image: &Image) -> u64 {
        image.chain.last().map_or(0, |top| self.chain(*top).fold(0, |sum: u64, layer| sum.saturating_add(layer.size)))
    }

    /// The references of an image, sorted by their canonical text as docker sorts them: tags before digests.
    #[must_use]
    pub fn names_of(&self, id: ImageId) -> Vec<&str> {
        self.names.get(&id).into_iter().flatten().map(String::as_str).collect()
    }

    /// Images that have neither a name nor a child of their own are shown; those with a child and no name are hidden.
    #[must_use]
    pub fn is_intermediate(&self, image: &Image) -> bool {
        !image.children.is_empty() && !self.names.contains_key(&image.id)
    }

    /// Containers that dockerd would show.
    pub fn live_containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.damage.is_none())
    }

    /// All chain ids that an image's layers have.
    #[must_use]
    pub fn chains_of_images(&self) -> BTreeSet<ChainId> {
        self.images.values().flat_map(|image| image.chain.iter().copied()).collect()
    }
}

/// The references of each image that has any, in docker's order.
fn names(references: &References) -> BTreeMap<ImageId, Vec<String>> {
    let mut names: BTreeMap<ImageId, Vec<String>> = BTreeMap::new();
    for (name, id) in references.iter() {
        names.entry(id).or_default().push(name.to_owned());
    }
    for of_image in names.values_mut() {
        of_image
            .sort_by_cached_key(|name| Reference::parse(name).map_or_else(|_| name.clone(), |name| name.canonical()));
    }
    names
}

/// Layers, each with all below it.
fn load_layers(
    store: &crate::schema::layer::LayerStore,
) -> Result<BTreeMap<ChainId, Result<LayerRecord, String>>, StoreError> {
    let mut layers: BTreeMap<ChainId, Result<LayerRecord, String>> = BTreeMap::new();
    for id in store.list()? {
        let record = match store.get(id) {
            Ok(Some(record)) => Ok(record),
            // Removed since it was listed.
            Ok(None) => continue,
            Err(StoreError::DamagedLayer { reason, .. }) => Err(reason),
            Err(error) => Err(with_causes(&error)),
        };
        layers.insert(id, record);
    }
    // What is wrong with a layer is wrong with all above it. Chains are walked once: a verdict stays.
    let mut verdicts: BTreeMap<ChainId, Option<String>> = BTreeMap::new();
    for id in layers.keys() {
        let (mut path, mut at) = (Vec::new(), *id);
        let mut verdict = loop {
            if let Some(known) = verdicts.get(&at) {
                break known.clone();
            }
            if path.contains(&at) {
                break Some("its parents form a circle".to_owned());
            }
            match layers.get(&at) {
                None => break Some(format!("the layer below it, {at}, is missing")),
                Some(Err(reason)) => {
                    let reason = reason.clone();
                    verdicts.insert(at, Some(reason.clone()));
                    break Some(reason);
                }
                Some(Ok(record)) => {
                    path.push(at);
                    match record.parent {
                        Some(parent) => at = parent,
                        None => break None,
                    }
                }
            }
        };
        let mut below = at;
        for layer in path.into_iter().rev() {
            if let Some(reason) = &verdict
                && below != layer
                && layers.contains_key(&below)
                && !reason.starts_with("the layer below it")
            {
                verdict = Some(format!("the layer below it, {below}, is damaged: {reason}"));
            }
            verdicts.insert(layer, verdict.clone());
            below = layer;
        }
    }
    for (id, verdict) in verdicts {
        if let (Some(reason), Some(layer)) = (verdict, layers.get_mut(&id)) {
            *layer = Err(reason);
        }
    }
    Ok(layers)
}

/// An error and what caused it, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}"));
    std::iter::once(error.to_string()).chain(causes).collect()
}
