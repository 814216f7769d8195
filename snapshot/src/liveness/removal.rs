//! What dockerd would remove if images and containers went.
//!
//! An image goes with `docker rmi -f ID`: all its names, its config and metadata; then, unless told not to, the images it
//! was built from, as far as they have no name, no other child and no container; then each layer that nothing holds any
//! more. A layer is held by the layers upon it, by images whose topmost it is, by mounts, and by BuildKit. One that nothing
//! held before is never removed (moby v20.10.24 `daemon/images/image_delete.go`, `layer/layer_store.go`).

use std::collections::{BTreeMap, BTreeSet};

use layerfs::ChainId;

use crate::catalog::{Catalog, Container, Image, Status};
use crate::ids::ImageId;

/// What goes, and what does not although it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removal {
    /// Images, those included that go because nothing is built on them any more.
    pub images: BTreeSet<ImageId>,
    /// Layers.
    pub layers: BTreeSet<ChainId>,
    /// Containers.
    pub containers: BTreeSet<String>,
    /// Images that stay, and why.
    pub kept: Vec<(ImageId, String)>,
}

/// Who holds what, as dockerd counts it at its start.
#[derive(Debug)]
pub struct Holders<'c> {
    catalog: &'c Catalog,
    /// How many hold each layer.
    holders: BTreeMap<ChainId, usize>,
    /// Images with a name.
    named: BTreeSet<ImageId>,
}

impl<'c> Holders<'c> {
    /// Counts. `cached` says which layers BuildKit holds.
    #[must_use]
    pub fn new(catalog: &'c Catalog, cached: impl Fn(ChainId) -> bool) -> Self {
        let mut holders: BTreeMap<ChainId, usize> = BTreeMap::new();
        let mut hold = |chain: ChainId| *holders.entry(chain).or_default() += 1;
        for layer in catalog.layers.values().flatten() {
            layer.parent.into_iter().for_each(&mut hold);
            if cached(layer.chain_id) {
                hold(layer.chain_id);
            }
        }
        catalog.images.values().filter_map(|image| image.chain.last().copied()).for_each(&mut hold);
        let mounts = catalog.mounts.iter().filter(|mount| mount.mount_id.is_some());
        mounts.filter_map(|mount| mount.parent).for_each(&mut hold);
        let named = catalog.references.iter().map(|(_, id)| id).collect();
        Self { catalog, holders, named }
    }

    /// What goes when these images and containers are removed, containers first.
    #[must_use]
    pub fn remove(&self, images: &[ImageId], containers: &[&str]) -> Removal {
        let mut state = State { of: self, going: Removal::default(), left: self.holders.clone() };
        for container in containers {
            state.container(container);
        }
        // One that others are built on goes after them.
        let mut waiting: Vec<ImageId> = images.to_vec();
        loop {
            let before = waiting.len();
            waiting.retain(|id| !state.going.images.contains(id) && state.image(*id, true).is_err());
            if waiting.len() == before {
                break;
            }
        }
        for id in waiting {
            if let Err(reason) = state.image(id, true) {
                state.going.kept.push((id, reason));
            }
        }
        state.going
    }
}

struct State<'h, 'c> {
    of: &'h Holders<'c>,
    going: Removal,
    left: BTreeMap<ChainId, usize>,
}

impl State<'_, '_> {
    fn container(&mut self, id: &str) {
        if !self.going.containers.insert(id.to_owned()) {
            return;
        }
        let mount = self.of.catalog.mounts.iter().find(|mount| mount.name == id && mount.mount_id.is_some());
        if let Some(parent) = mount.and_then(|mount| mount.parent) {
            self.release(parent);
        }
    }

    /// Removes an image, or says why dockerd would not.
    fn image(&mut self, id: ImageId, force: bool) -> Result<(), String> {
        let mut next = Some((id, force));
        while let Some((id, force)) = next.take() {
            let Some(image) = self.of.catalog.images.get(&id) else {
                return Err(self
                    .of
                    .catalog
                    .damaged_images
                    .get(&id)
                    .map_or_else(|| "there is no such image".to_owned(), |reason| format!("it is damaged: {reason}")));
            };
            match self.conflict(image, force) {
                Some(reason) if force => return Err(reason),
                // Of those it was built from, silently.
                Some(_) => return Ok(()),
                None => {}
            }
            self.going.images.insert(id);
            if let Some(top) = image.chain.last() {
                self.release(*top);
            }
            next = image.parent_id().filter(|parent| self.of.catalog.images.contains_key(parent)).map(|id| (id, false));
        }
        Ok(())
    }

    fn conflict(&self, image: &Image, force: bool) -> Option<String> {
        if image.children.iter().any(|child| !self.going.images.contains(child)) {
            return Some("images are built on it".into());
        }
        let uses = |container: &&Container| {
            container.image == Some(image.id) && !self.going.containers.contains(&container.id)
        };
        let using: Vec<&Container> = self.of.catalog.live_containers().filter(uses).collect();
        let running = |status| matches!(status, Status::Running | Status::Paused | Status::Restarting);
        if let Some(container) = using.iter().find(|container| running(container.status())) {
            return Some(format!("the running container {} uses it", short(&container.id)));
        }
        if force {
            return None;
        }
        if self.of.named.contains(&image.id) {
            return Some("it has a name".into());
        }
        using.first().map(|container| format!("the container {} uses it", short(&container.id)))
    }

    /// One holder less; with the last one the layer goes, and holds the one below no more.
    fn release(&mut self, layer: ChainId) {
        let mut next = Some(layer);
        while let Some(chain) = next.take() {
            let Some(left) = self.left.get_mut(&chain) else { return };
            *left = left.saturating_sub(1);
            if *left == 0 && self.going.layers.insert(chain) {
                next = self.of.catalog.layer(chain).and_then(|layer| layer.parent);
            }
        }
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}
