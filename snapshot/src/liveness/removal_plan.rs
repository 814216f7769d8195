//! What goes if images and containers go.
//!
//! An image goes as with `docker rmi -f ID`: all its names, its config and metadata; then the images it was built from, as
//! far as they have no name, no other child and no container; then each layer that nothing holds any more. A layer is held
//! by the layers upon it, by images whose topmost it is, by mounts, and by BuildKit. A layer that nothing held before is
//! never removed (moby v20.10.24 `daemon/images/image_delete.go`, `layer/layer_store.go`).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use layerfs::ChainId;

use super::Doubt;
use crate::catalog::{Catalog, Container, Image, ImageDamage, with_causes};
use crate::error::StoreError;
use crate::ids::{ContainerId, ImageId, MountName};
use crate::schema::buildkit::Snapshots;

/// What somebody wants to remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RemovalRequest {
    /// Images, with all their names.
    pub images: Vec<ImageId>,
    /// Containers, which go first.
    pub containers: Vec<ContainerId>,
    /// How sure it must be that a layer is held by nobody.
    pub certainty: Certainty,
}

/// How sure it must be that a layer is held by nobody.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Certainty {
    /// A record that cannot be read holds everything that it might name. For code that deletes.
    #[default]
    Proven,
    /// Only what dockerd could load holds layers, as dockerd itself counts. For reports of what dockerd would do.
    AsDockerd,
}

/// What a removal takes, and what stays although its removal was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RemovalPlan {
    /// The images that go, including parents on which nothing is built any more.
    pub images: BTreeSet<ImageId>,
    /// Layers that go because nothing holds them any more.
    pub layers: BTreeSet<ChainId>,
    /// Containers.
    pub containers: BTreeSet<ContainerId>,
    /// Images that stay, and why.
    pub kept: Vec<(ImageId, ImageStays)>,
    /// Doubts because of which layers stay although no holder is known.
    pub doubts: Vec<Doubt>,
}

impl RemovalPlan {
    /// Whether the container goes whose mount this is.
    pub(crate) fn takes_mount(&self, mount: &MountName) -> bool {
        self.containers.contains(mount.as_str())
    }
}

/// Why an image stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageStays {
    /// There is no such image.
    NoSuchImage,
    /// It is damaged, so that dockerd does not know it.
    Damaged(ImageDamage),
    /// Other images are built on it.
    HasChildren,
    /// A running container was made from it.
    UsedByRunning(ContainerId),
    /// A container was made from it.
    UsedBy(ContainerId),
    /// It has a name.
    Named,
}

impl fmt::Display for ImageStays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchImage => f.write_str("there is no such image"),
            Self::Damaged(cause) => write!(f, "it is damaged: {cause}"),
            Self::HasChildren => f.write_str("images are built on it"),
            Self::UsedByRunning(container) => write!(f, "the running container {} uses it", container.short()),
            Self::UsedBy(container) => write!(f, "the container {} uses it", container.short()),
            Self::Named => f.write_str("it has a name"),
        }
    }
}

/// Who holds what, as dockerd counts it at its start.
#[derive(Debug)]
pub struct Holders<'c> {
    catalog: &'c Catalog,
    /// How many hold each layer, by the layer's number.
    holders: Vec<u32>,
    /// Holders that dockerd does not count: damaged records that still name a layer.
    also: Vec<u32>,
    /// Images with a name.
    named: BTreeSet<ImageId>,
    /// Records that might hold any layer.
    doubts: Vec<Doubt>,
}

impl<'c> Holders<'c> {
    /// Counts the holders. `snapshots` are BuildKit's records; where they cannot be read, BuildKit may hold everything.
    #[must_use]
    pub(crate) fn new(catalog: &'c Catalog, snapshots: Result<&Snapshots, &StoreError>) -> Self {
        let graph = catalog.graph();
        let mut holders = vec![0_u32; graph.len()];
        let mut hold = |chain: ChainId| {
            if let Some(number) = graph.number(chain) {
                holders[number as usize] += 1;
            }
        };
        for layer in catalog.layers.values().flatten() {
            layer.parent.into_iter().for_each(&mut hold);
            if snapshots.as_ref().map_or(true, |snapshots| snapshots.holds_chain(&layer.chain_id)) {
                hold(layer.chain_id);
            }
        }
        catalog.images.values().filter_map(|image| image.chain.last().copied()).for_each(&mut hold);
        let mounts = catalog.mounts.iter().filter(|mount| mount.mount_id.is_some());
        mounts.filter_map(|mount| mount.parent).for_each(&mut hold);
        let named = catalog.references.iter().map(|(_, id)| id).collect();
        let mut counted = Self { catalog, holders, also: vec![0; graph.len()], named, doubts: Vec::new() };
        counted.count_damaged();
        if let Err(error) = snapshots {
            counted.doubts.push(Doubt::BuildCache { cause: with_causes(error) });
        }
        counted
    }

    /// Counts what damaged records hold, and notes those that might hold anything.
    fn count_damaged(&mut self) {
        let graph = self.catalog.graph();
        let mut also = |chain: ChainId| {
            if let Some(number) = graph.number(chain) {
                self.also[number as usize] += 1;
            }
        };
        for mount in &self.catalog.mounts {
            if mount.mount_id.is_none() {
                mount.parent.into_iter().for_each(&mut also);
            }
            if let Some(cause) = mount.unknown_parent() {
                self.doubts.push(Doubt::Mount { mount: mount.name.clone(), cause: cause.clone() });
            }
        }
        for (id, cause) in &self.catalog.damaged_images {
            match self.catalog.layers_of_damaged(*id) {
                Some(layers) => layers.iter().copied().for_each(&mut also),
                None => self.doubts.push(Doubt::Image { image: *id, cause: cause.to_string() }),
            }
        }
        for (id, cause) in self.catalog.damaged_layers() {
            match self.catalog.parent_of_damaged(id) {
                Some(parent) => parent.into_iter().for_each(&mut also),
                None => self.doubts.push(Doubt::LayerRecord { record: id.0.hex(), cause: cause.to_string() }),
            }
        }
    }

    /// What goes when these images and containers are removed, containers first.
    #[must_use]
    pub fn if_removed(&self, request: &RemovalRequest) -> RemovalPlan {
        let mut state = Removing {
            of: self,
            going: RemovalPlan::default(),
            released: HashMap::new(),
            certainty: request.certainty,
        };
        for container in &request.containers {
            state.container(container);
        }
        // An image goes after the images that are built on it, so those that cannot go yet are tried again.
        let mut waiting: Vec<ImageId> = request.images.clone();
        let mut reasons: BTreeMap<ImageId, ImageStays> = BTreeMap::new();
        loop {
            let before = waiting.len();
            waiting.retain(|id| {
                !state.going.images.contains(id)
                    && match state.image(*id, true) {
                        Ok(()) => false,
                        Err(reason) => {
                            reasons.insert(*id, reason);
                            true
                        }
                    }
            });
            if waiting.is_empty() || waiting.len() == before {
                break;
            }
        }
        state.going.kept = waiting.into_iter().filter_map(|id| Some((id, reasons.remove(&id)?))).collect();
        state.going
    }
}

struct Removing<'h, 'c> {
    of: &'h Holders<'c>,
    going: RemovalPlan,
    /// How many holders of each layer are gone, by the layer's number.
    released: HashMap<u32, u32>,
    certainty: Certainty,
}

impl Removing<'_, '_> {
    fn container(&mut self, id: &ContainerId) {
        if !self.going.containers.insert(id.clone()) {
            return;
        }
        let mount = self.of.catalog.mount_of(id);
        if let Some(parent) = mount.filter(|mount| mount.mount_id.is_some()).and_then(|mount| mount.parent) {
            self.release(parent);
        }
    }

    /// Removes an image, or says why dockerd would not.
    fn image(&mut self, id: ImageId, force: bool) -> Result<(), ImageStays> {
        let catalog = self.of.catalog;
        let mut next = Some((id, force));
        while let Some((id, force)) = next.take() {
            let Some(image) = catalog.images.get(&id) else {
                let damage = catalog.damaged_images.get(&id);
                return Err(damage.map_or(ImageStays::NoSuchImage, |damage| ImageStays::Damaged(damage.clone())));
            };
            match self.conflict(image, force) {
                Some(reason) if force => return Err(reason),
                // A parent image that must stay ends the walk without an error; only an image that was asked for says why it stays.
                Some(_) => return Ok(()),
                None => {}
            }
            self.going.images.insert(id);
            if let Some(top) = image.chain.last() {
                self.release(*top);
            }
            next = image.parent_id().filter(|parent| catalog.images.contains_key(parent)).map(|id| (id, false));
        }
        Ok(())
    }

    fn conflict(&self, image: &Image, force: bool) -> Option<ImageStays> {
        if image.children.iter().any(|child| !self.going.images.contains(child)) {
            return Some(ImageStays::HasChildren);
        }
        let uses =
            |container: &&Container| container.damage.is_none() && !self.going.containers.contains(&container.id);
        let using = || self.of.catalog.containers_of(image.id).filter(uses);
        if let Some(container) = using().find(|container| container.status().is_up()) {
            return Some(ImageStays::UsedByRunning(container.id.clone()));
        }
        if force {
            return None;
        }
        if self.of.named.contains(&image.id) {
            return Some(ImageStays::Named);
        }
        using().next().map(|container| ImageStays::UsedBy(container.id.clone()))
    }

    /// Takes one holder from a layer. When the last one is gone the layer goes, and no longer holds the layer below it.
    fn release(&mut self, layer: ChainId) {
        let graph = self.of.catalog.graph();
        let mut next = graph.number(layer);
        while let Some(number) = next.take() {
            let released = self.released.entry(number).or_default();
            *released += 1;
            let left = self.of.holders[number as usize].saturating_sub(*released);
            if left > 0 || self.of.holders[number as usize] == 0 {
                // If BuildKit's records cannot be read, a holder that is left may be the build cache.
                let unknown = |doubt: &Doubt| matches!(doubt, Doubt::BuildCache { .. });
                if self.certainty == Certainty::Proven && self.of.doubts.iter().any(unknown) {
                    self.going.doubts.clone_from(&self.of.doubts);
                }
                return;
            }
            if self.certainty == Certainty::Proven {
                if self.of.also[number as usize] > 0 {
                    return;
                }
                if !self.of.doubts.is_empty() {
                    self.going.doubts.clone_from(&self.of.doubts);
                    return;
                }
            }
            if self.going.layers.insert(graph.chain_id(number)) {
                next = graph.parent(number);
            }
        }
    }
}
