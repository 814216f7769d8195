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

pub(crate) mod budget;
mod container;
mod containerd;
mod contents;
mod damage;
mod graph;
mod image;
mod layers;
mod resolve;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;

use layerfs::ChainId;

pub use crate::schema::volume::Volume;
pub use container::{Container, ContainerRecord, ContainerState, ContainerStatus, MountPoint, Port};
pub use containerd::InContainerd;
pub use damage::{
    ContainerDamage, Damage, ImageDamage, LayerFault, MountDamage, RecordDamage, Subject, UnusableLayer, UseOfDirectory,
};
pub use graph::{LayerUse, Uses};
pub(crate) use image::ConfigParts;
pub use image::{History, Image};
pub use resolve::Resolved;

use crate::error::StoreError;
use crate::ids::ImageId;
use crate::parallel;
use crate::reference::Reference;
use crate::root::DataRoot;
use crate::schema::layer::LayerRecord;
use crate::schema::mount::{self, MountRecord};
use crate::schema::references::{self, References};
use crate::schema::volume;

/// What a data-root holds. See the [module](self).
///
/// # Examples
///
/// ```no_run
/// # let root = snapshot::root::DataRoot::find(std::path::Path::new("/var/lib/docker"), None)?;
/// let catalog = snapshot::catalog::Catalog::read(&root)?;
/// for image in catalog.images().values() {
///     println!("{} {} {}", image.id, catalog.image_size(image), catalog.names_of(image.id).join(", "));
/// }
/// # Ok::<(), snapshot::StoreError>(())
/// ```
#[derive(Debug)]
pub struct Catalog {
    /// The data-root: of a daemon that maps users, the directory of the mapped ids.
    pub(crate) root: PathBuf,
    /// The storage driver, by its name.
    pub(crate) driver: String,
    /// Layers, or why dockerd would not load them.
    pub(crate) layers: BTreeMap<ChainId, Result<LayerRecord, RecordDamage>>,
    /// The numbers of all layers, by their ids, in the order in which their directory lists them; empty if only some were read.
    as_listed: Vec<u32>,
    /// The number of the layer below each layer, in the order of the ids; empty if only some were read.
    below: Vec<Option<u32>>,
    /// Images that dockerd would show.
    pub(crate) images: BTreeMap<ImageId, Image>,
    /// Images that dockerd would not show, named or stored, and why.
    pub(crate) damaged_images: BTreeMap<ImageId, ImageDamage>,
    /// For each layer that cannot be loaded, the layer below it, as far as its own record tells.
    damaged_parents: BTreeMap<ChainId, Option<ChainId>>,
    /// The layers of those damaged images whose config could be read.
    damaged_chains: BTreeMap<ImageId, Vec<ChainId>>,
    /// Names of images; none if the file is damaged.
    pub(crate) references: References,
    /// What [`Catalog::names_of`] answers.
    names: BTreeMap<ImageId, Vec<String>>,
    /// Why dockerd would not start: what is wrong with `repositories.json`, or with containerd's databases.
    pub(crate) damaged_references: Option<String>,
    /// Whether all images are in containerd's store, and that store is not in this root.
    pub(crate) images_elsewhere: bool,
    /// containerd's store, if the images are there.
    pub(crate) in_containerd: Option<InContainerd>,
    /// Writable layers.
    pub(crate) mounts: Vec<MountRecord>,
    /// Containers, those that dockerd would not show included.
    pub(crate) containers: Vec<Container>,
    /// Local volumes.
    pub(crate) volumes: Vec<Volume>,
    /// Made when it is first asked for.
    graph: OnceLock<graph::Graph>,
}

impl Catalog {
    /// Reads all of a data-root. Nothing is written or locked.
    ///
    /// # Errors
    /// [`StoreError::Io`] where a directory cannot be listed. Damage of single files is no error.
    pub fn read(root: &DataRoot) -> Result<Self, StoreError> {
        Self::read_parts(root, ConfigParts::All)
    }

    /// Reads all of a data-root, and keeps these parts of image configs.
    ///
    /// # Errors
    /// As [`Catalog::read`].
    pub(crate) fn read_parts(root: &DataRoot, configs: ConfigParts) -> Result<Self, StoreError> {
        let mut catalog = Self::with_names(root)?;
        catalog.volumes = volume::list(&root.dir)?;
        catalog.read_containerd(root)?;
        let (mut records, mut images) = (None, None);
        if let Some(layers) = root.layers()? {
            records = Some(layers::read_all(&layers)?);
            catalog.mounts = mount::list(layers.mounts())?;
        }
        if let Some(store) = root.images()? {
            images = Some((store.list()?, store));
        }
        // The layers were read before the images. Only to put them in order is left to a thread of its own.
        let (layers, read) = parallel::beside(
            || records.map(layers::Records::into_layers),
            || {
                images.map(|(ids, store)| {
                    let read = image::read_all(&store, &ids, configs);
                    ids.into_iter().zip(read).collect::<Vec<_>>()
                })
            },
        );
        if let Some(all) = layers {
            (catalog.layers, catalog.damaged_parents) = (all.layers, all.damaged_parents);
            (catalog.as_listed, catalog.below) = (all.as_listed, all.below);
        }
        // Without a store of this kind, the images are containerd's.
        if let Some(read) = read {
            catalog.set_images(read);
        }
        for (_, id) in catalog.references.iter() {
            if !catalog.images.contains_key(&id) {
                catalog.damaged_images.entry(id).or_insert(ImageDamage::ConfigMissing);
            }
        }
        catalog.containers = container::list(root, &catalog.mounts, &catalog.layers)?;
        root.dir.check_shortage()?;
        Ok(catalog)
    }

    /// Reads only what [`Catalog::resolve`] needs to find the images that these texts mean, with their layers and the images
    /// they were built from. There are no containers, volumes or mounts in it, and images do not know all their children.
    ///
    /// # Errors
    /// As [`Catalog::read`].
    pub fn read_images<T: AsRef<str>>(root: &DataRoot, texts: &[T]) -> Result<Self, StoreError> {
        let mut catalog = Self::with_names(root)?;
        if root.is_containerd_only() {
            catalog.read_containerd(root)?;
            return Ok(catalog);
        }
        let Some(images) = root.images()? else { return Ok(catalog) };
        let stored: BTreeSet<ImageId> = images.list()?.into_iter().collect();
        let mut wanted: BTreeSet<ImageId> = BTreeSet::new();
        for text in texts {
            wanted.extend(resolve::candidates(text.as_ref(), &catalog.references, &stored));
        }
        let mut read: BTreeMap<ImageId, Result<Image, ImageDamage>> = BTreeMap::new();
        while let Some(id) = wanted.pop_first() {
            let image = if stored.contains(&id) {
                image::read(&images, id, ConfigParts::All)
            } else {
                Err(ImageDamage::ConfigMissing)
            };
            let parent = image.as_ref().ok().and_then(Image::parent_id).filter(|parent| stored.contains(parent));
            read.insert(id, image);
            wanted.extend(parent.filter(|parent| !read.contains_key(parent)));
        }
        if let Some(layers) = root.layers()? {
            let tops = read.values().flatten().filter_map(|image| image.chain.last().copied());
            let mut tops: Vec<ChainId> = tops.collect();
            tops.sort_unstable();
            tops.dedup();
            catalog.layers = layers::read_chains(&layers, tops);
        }
        catalog.set_images(read);
        root.dir.check_shortage()?;
        Ok(catalog)
    }

    /// Reads only what is needed to do something with containers: all of them, with their mounts, the layers below these, and
    /// volumes; and the images that these texts mean, as [`read_images`](Self::read_images) does. So the time does not grow with
    /// the images of the store.
    ///
    /// # Errors
    /// As [`Catalog::read`].
    pub fn read_containers<T: AsRef<str>>(root: &DataRoot, images: &[T]) -> Result<Self, StoreError> {
        if root.is_containerd_only() {
            return Self::read(root);
        }
        let mut catalog = Self::read_images(root, images)?;
        catalog.volumes = volume::list(&root.dir)?;
        if let Some(layers) = root.layers()? {
            catalog.mounts = mount::list(layers.mounts())?;
            let tops = catalog.mounts.iter().filter_map(|mount| mount.parent);
            catalog.layers.extend(layers::read_chains(&layers, tops));
        }
        catalog.containers = container::list(root, &catalog.mounts, &catalog.layers)?;
        root.dir.check_shortage()?;
        Ok(catalog)
    }

    /// A catalog that only knows names.
    fn with_names(root: &DataRoot) -> Result<Self, StoreError> {
        let (references, damaged_references) = match root.references() {
            Ok(references) => (references, None),
            Err(error @ StoreError::Invalid { .. }) => (References::default(), Some(with_causes(&error))),
            Err(error) => return Err(error),
        };
        Ok(Self {
            root: root.dir.path().to_path_buf(),
            driver: root.driver_name.clone(),
            images_elsewhere: root.expect_images().is_err(),
            in_containerd: None,
            layers: BTreeMap::new(),
            as_listed: Vec::new(),
            below: Vec::new(),
            images: BTreeMap::new(),
            damaged_images: BTreeMap::new(),
            damaged_chains: BTreeMap::new(),
            damaged_parents: BTreeMap::new(),
            names: names(&references),
            references,
            damaged_references,
            mounts: Vec::new(),
            containers: Vec::new(),
            volumes: Vec::new(),
            graph: OnceLock::new(),
        })
    }

    /// Takes the images that were read in place of those that are there. An image counts if its topmost layer does.
    fn set_images(&mut self, read: impl IntoIterator<Item = (ImageId, Result<Image, ImageDamage>)>) {
        let mut sound = Vec::new();
        for (id, image) in read {
            let image = match image {
                Ok(image) => image,
                Err(damage) => {
                    self.damaged_images.insert(id, damage);
                    continue;
                }
            };
            let damage = image.chain.last().and_then(|top| match self.layers.get(top) {
                Some(Ok(_)) => None,
                Some(Err(cause)) => Some(UnusableLayer::Damaged { layer: *top, cause: cause.clone() }),
                None => Some(UnusableLayer::Missing { layer: *top }),
            });
            if let Some(damage) = damage.map(ImageDamage::TopLayer) {
                self.damaged_chains.insert(id, image.chain);
                self.damaged_images.insert(id, damage);
            } else {
                sound.push((id, image));
            }
        }
        // Build the map in one step: nodes of a map that grows image by image are half empty.
        self.images = sound.into_iter().collect();
        self.link_children();
    }

    /// Adds an image of Docker's own store that was stored after this was read, with those of its layers that are not known yet.
    /// Everything else stays as it was read. Returns whether the image counts now.
    ///
    /// # Errors
    /// As [`Catalog::read`].
    pub fn take_in(&mut self, root: &DataRoot, id: ImageId) -> Result<bool, StoreError> {
        if self.images.contains_key(&id) {
            return Ok(true);
        }
        let (Some(images), Some(layers)) = (root.images()?, root.layers()?) else { return Ok(false) };
        let Ok(image) = image::read(&images, id, ConfigParts::All) else { return Ok(false) };
        for &chain in &image.chain {
            if !self.layers.contains_key(&chain) {
                self.layers.extend(layers::read_one(&layers, chain).map(|record| (chain, record)));
            }
            let below = self.layer(chain).map(|record| record.parent);
            if below.is_none_or(|below| below.is_some_and(|below| self.layer(below).is_none())) {
                return Ok(false);
            }
        }
        if let Some(parent) = image.parent_id().and_then(|parent| self.images.get_mut(&parent)) {
            parent.children.push(id);
        }
        self.damaged_images.remove(&id);
        self.images.insert(id, image);
        self.graph = OnceLock::new();
        (self.as_listed, self.below) = (Vec::new(), Vec::new());
        Ok(true)
    }

    /// Everything that is wrong with the records, grouped by kinds of records.
    #[must_use]
    pub(crate) fn damage(&self) -> Vec<Damage> {
        let references = self.damaged_references.iter().map(|cause| Damage::References { cause: cause.clone() });
        let images = self.damaged_images.iter();
        let images = images.map(|(image, cause)| Damage::Image { image: *image, cause: cause.clone() });
        let containers = self.containers.iter().filter_map(|container| {
            Some(Damage::Container { container: container.id.clone(), cause: container.damage.clone()? })
        });
        let known =
            |mount: &&MountRecord| self.container_of_mount(&mount.name).is_none_or(|known| known.damage.is_none());
        let mounts = self.mounts.iter().filter(known).flat_map(|mount| {
            mount.damage.iter().map(|cause| Damage::Mount { mount: mount.name.clone(), cause: cause.clone() })
        });
        let volumes = self.volumes.iter().filter_map(|volume| {
            let cause = format!("{}: {}", crate::schema::volume::OPTIONS, volume.fault.as_ref()?);
            Some(Damage::Volume { volume: volume.name.clone(), cause })
        });
        let databases = self.in_containerd.iter().flat_map(|known| &known.store.missing);
        let databases = databases.map(|database| Damage::DatabaseMissing { database: database.clone() });
        references
            .chain(databases)
            .chain(self.damaged_names())
            .chain(volumes)
            .chain(images)
            .chain(self.damaged_blobs())
            .chain(self.lowest_damage())
            .chain(containers)
            .chain(mounts)
            .collect()
    }

    /// The layers with which the damage of a chain begins.
    fn lowest_damage(&self) -> impl Iterator<Item = Damage> {
        let begins = |id: ChainId, cause: &RecordDamage| match cause {
            RecordDamage::Record { .. } | RecordDamage::Circle => true,
            RecordDamage::BelowMissing { below } => self.parent_of_damaged(id) == Some(Some(*below)),
            RecordDamage::BelowDamaged { .. } => false,
        };
        let lowest = self.damaged_layers().filter(move |(id, cause)| begins(*id, cause));
        lowest.map(|(layer, cause)| Damage::Layer { layer, cause: cause.clone() })
    }

    /// The layer below a layer that cannot be loaded: `Some(None)` if it has none, `None` where its record does not tell, so
    /// that any layer may be below it.
    pub(crate) fn parent_of_damaged(&self, id: ChainId) -> Option<Option<ChainId>> {
        self.damaged_parents.get(&id).copied()
    }

    /// Layers that dockerd would not load.
    pub(crate) fn damaged_layers(&self) -> impl Iterator<Item = (ChainId, &RecordDamage)> {
        self.layers.iter().filter_map(|(id, layer)| Some((*id, layer.as_ref().err()?)))
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

    /// The layers that dockerd would load, each with its number, in the order in which their directory lists them. Files that were
    /// made one after the other are near each other in the kernel's memory, so passes over all of them are faster in this order
    /// than in that of the ids, which are random.
    pub(crate) fn layers_as_listed(&self) -> Vec<(u32, &LayerRecord)> {
        let all: Vec<Option<&LayerRecord>> = self.layers.values().map(|layer| layer.as_ref().ok()).collect();
        let numbered = |number: u32| Some((number, (*all.get(number as usize)?)?));
        if self.as_listed.len() == all.len() {
            self.as_listed.iter().filter_map(|number| numbered(*number)).collect()
        } else {
            (0..).take(all.len()).filter_map(numbered).collect()
        }
    }

    /// A layer and all below it, topmost first, by the `parent` files.
    pub fn chain(&self, top: ChainId) -> impl Iterator<Item = &LayerRecord> {
        std::iter::successors(self.layer(top), |layer| self.layer(layer.parent?))
    }

    /// What docker shows as an image's size: the sizes of its layers as the `parent` files link them,
    /// in bytes; in containerd's store, of its blobs and snapshots.
    #[must_use]
    pub fn image_size(&self, image: &Image) -> u64 {
        if let Some(stored) = self.stored_image(image.id) {
            return stored.size();
        }
        image.chain.last().map_or(0, |top| self.size_with_below(*top))
    }

    /// Bytes of a layer and all below it, by the `parent` files.
    pub(crate) fn size_with_below(&self, layer: ChainId) -> u64 {
        self.graph().total(layer)
    }

    /// The references of an image, sorted by their canonical text as docker sorts them: tags before digests.
    #[must_use]
    pub fn names_of(&self, id: ImageId) -> Vec<&str> {
        self.names.get(&id).into_iter().flatten().map(String::as_str).collect()
    }

    /// Whether docker hides the image: it has no name, and another image was built from it.
    #[must_use]
    pub fn is_intermediate(&self, image: &Image) -> bool {
        !image.children.is_empty() && !self.names.contains_key(&image.id)
    }

    /// Containers that dockerd would show.
    pub fn live_containers(&self) -> impl Iterator<Item = &Container> {
        self.containers.iter().filter(|container| container.damage.is_none())
    }

    /// The layers that a damaged image may need: `None` where its config does not tell, so that it may be any.
    pub(crate) fn layers_of_damaged(&self, id: ImageId) -> Option<&[ChainId]> {
        match self.damaged_images.get(&id) {
            None | Some(ImageDamage::ConfigMissing) => Some(&[]),
            Some(_) => self.damaged_chains.get(&id).map(Vec::as_slice),
        }
    }

    /// The chain ids of the layers of all images.
    pub(crate) fn chains_of_images(&self) -> BTreeSet<ChainId> {
        self.images.values().flat_map(|image| image.chain.iter().copied()).collect()
    }
}

/// The references of each image that has any, in docker's order. What is no reference is no name for dockerd.
fn names(references: &References) -> BTreeMap<ImageId, Vec<String>> {
    let mut names: BTreeMap<ImageId, Vec<String>> = BTreeMap::new();
    for (key, id) in references.iter() {
        if let Some(name) = references::shown(key) {
            names.entry(id).or_default().push(name);
        }
    }
    for of_image in names.values_mut() {
        of_image
            .sort_by_cached_key(|name| Reference::parse(name).map_or_else(|_| name.clone(), |name| name.canonical()));
    }
    names
}

/// An error and what caused it, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source()).map(|cause| format!(": {cause}"));
    std::iter::once(error.to_string()).chain(causes).collect()
}
