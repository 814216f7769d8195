//! Plans the removal of images as `docker rmi` and `docker image prune` do it, request by request. Nothing is written.
//!
//! [`ImageRemoval`] holds what dockerd would hold in memory: names, images with their children, and for each layer how
//! many hold it. Each request changes these, and adds the [`Edit`]s that make the same change to the store. A request
//! that docker would refuse changes nothing.
//!
//! Follows moby v20.10.24 `daemon/images/image_delete.go: ImageDelete, imageDeleteHelper, checkImageDeleteConflict`,
//! `image_prune.go: ImagesPrune`, `image/store.go: Delete`, `layer/layer_store.go: releaseLayer`. Two things differ
//! from moby. A container counts as running if its process is there; a container that is running only according to its
//! config counts as stopped, as it does for a dockerd that starts on the root. And where docker's message names any one
//! of several containers, ours names the first by id.

mod answer;

use std::collections::{BTreeMap, BTreeSet};

use layerfs::ChainId;

use super::changes::Edit;
use crate::catalog::{Catalog, Image};
use crate::ids::{ContainerId, ImageId};
use crate::reference::{Reference, ReferenceError};
use crate::schema::container::ContainerStatus;
use crate::schema::references::References;
pub use answer::{Conflict, RemovalError, RemovedItem};

/// Removals of images, as a sequence of requests, each with docker's order of steps and docker's words.
#[derive(Debug)]
pub struct ImageRemoval<'c> {
    catalog: &'c Catalog,
    references: References,
    /// The names of each image that is left, sorted as docker sorts them.
    names: BTreeMap<ImageId, Vec<Reference>>,
    images: BTreeSet<ImageId>,
    children: BTreeMap<ImageId, BTreeSet<ImageId>>,
    /// The first container of each image.
    containers: BTreeMap<ImageId, ContainerId>,
    /// The first container of each image that runs now.
    running: BTreeMap<ImageId, ContainerId>,
    /// How many images, containers and layers above hold each layer.
    holders: BTreeMap<ChainId, usize>,
    edits: Vec<Edit>,
}

impl<'c> ImageRemoval<'c> {
    /// Begins with the images, names and containers of the catalog. `cached` says which layers BuildKit holds.
    #[must_use]
    pub fn new(catalog: &'c Catalog, cached: impl Fn(ChainId) -> bool) -> Self {
        let mut removal = Self {
            catalog,
            references: catalog.references.clone(),
            names: BTreeMap::new(),
            images: catalog.images.keys().copied().collect(),
            children: BTreeMap::new(),
            containers: BTreeMap::new(),
            running: BTreeMap::new(),
            holders: BTreeMap::new(),
            edits: Vec::new(),
        };
        for (name, id) in catalog.references.iter() {
            // dockerd ignores a name that it cannot read.
            if let Ok(name) = Reference::parse(name) {
                removal.names.entry(id).or_default().push(name);
            }
        }
        for names in removal.names.values_mut() {
            names.sort_by_cached_key(Reference::canonical);
        }
        for container in catalog.live_containers() {
            if let Some(image) = container.image {
                removal.containers.entry(image).or_insert_with(|| container.id.clone());
                if matches!(container.status(), ContainerStatus::Running | ContainerStatus::Paused) {
                    removal.running.entry(image).or_insert_with(|| container.id.clone());
                }
            }
        }
        for image in catalog.images.values() {
            if let Some(parent) = image.parent_id() {
                removal.children.entry(parent).or_default().insert(image.id);
            }
            image.chain.last().into_iter().for_each(|top| removal.hold(*top));
        }
        for layer in catalog.layers.values().flatten() {
            layer.parent.into_iter().for_each(|parent| removal.hold(parent));
            if cached(layer.chain_id) {
                removal.hold(layer.chain_id);
            }
        }
        let mounts = catalog.mounts.iter().filter(|mount| mount.mount_id.is_some());
        mounts.filter_map(|mount| mount.parent).for_each(|parent| removal.hold(parent));
        removal
    }

    fn hold(&mut self, layer: ChainId) {
        *self.holders.entry(layer).or_default() += 1;
    }

    /// The edits that make all removals so far.
    #[must_use]
    pub fn into_edits(self) -> Vec<Edit> {
        self.edits
    }

    /// Removes what `docker rmi TEXT` would: a name, and with its last name the image. `force` removes an image
    /// although stopped containers use it, or although it has several names; `prune` also removes the images that it
    /// was built from, as far as nobody needs them.
    ///
    /// # Errors
    /// [`RemovalError`]. After [`RemovalError::UnknownParent`], what comes before the parent is removed, as docker does
    /// it; after any other error nothing is removed.
    pub fn remove(&mut self, text: &str, force: bool, prune: bool) -> Result<Vec<RemovedItem>, RemovalError> {
        let id = self.find(text)?;
        let mut removed = Vec::new();
        let by_name = !is_id_prefix(id, text);
        if by_name {
            if let (false, true, Some(container)) = (force, self.has_single_name(id), self.containers.get(&id)) {
                let container = container.clone();
                return Err(RemovalError::NameInUse { name: text.to_owned(), container, image: id });
            }
            let name = Reference::parse(text)?.with_default_tag();
            if !self.untag(&name, &mut removed) {
                return Err(RemovalError::NoSuchReference);
            }
            if name.digest().is_none() {
                self.untag_digests_without_tag(id, &name, &mut removed);
            }
            if self.has_names(id) {
                return Ok(removed);
            }
        } else if self.has_single_name(id) {
            // Its names do not count in this check: they are removed next.
            self.check(id, force, false)?;
            for name in self.names.get(&id).cloned().unwrap_or_default() {
                self.untag(&name, &mut removed);
            }
        }
        self.delete(id, &mut removed, force, prune, by_name)?;
        Ok(removed)
    }

    /// Removes the images that `docker image prune` would, as far as `selects` accepts them: those without a tag and
    /// without children, or with `all` every image that no container uses. The order is by id, where docker's is
    /// random.
    pub fn prune(&mut self, all: bool, selects: impl Fn(&Image) -> bool) -> Vec<RemovedItem> {
        let mut candidates = Vec::new();
        for image in self.catalog.images.values() {
            let has_children = self.has_children(image.id);
            // An image with children and without a name is a step of a build.
            let considered = if all { self.has_names(image.id) || !has_children } else { !has_children };
            if considered && selects(image) {
                candidates.push(image.id);
            }
        }
        let mut removed = Vec::new();
        for id in candidates {
            let names = self.names.get(&id).cloned().unwrap_or_default();
            if names.is_empty() {
                removed.extend(self.remove(&id.0.hex(), false, true).unwrap_or_default());
            } else if all || names.iter().all(|name| name.tag().is_none()) {
                for name in names {
                    removed.extend(self.remove(&name.canonical(), false, true).unwrap_or_default());
                }
            }
        }
        removed
    }

    /// The image that docker takes `text` to mean: by its whole id, by its name, or by the beginning of its id
    /// (`daemon/images/image.go: GetImage`).
    fn find(&self, text: &str) -> Result<ImageId, RemovalError> {
        let not_found = |name: String| RemovalError::NotFound { name };
        let hex = text.strip_prefix("sha256:").unwrap_or(text);
        if let Ok(digest) = layerfs::Digest::from_hex(hex) {
            let id = ImageId(digest);
            return if self.images.contains(&id) { Ok(id) } else { Err(not_found(id.to_string())) };
        }
        if text.is_empty() {
            return Err(not_found(String::new()));
        }
        let name = match Reference::parse(text) {
            Ok(reference) => {
                let reference = reference.with_default_tag();
                let key = reference.clone().stored();
                if let Some(id) = self.references.get(&key).filter(|id| self.images.contains(id)) {
                    return Ok(id);
                }
                reference.familiar()
            }
            // No image can have such a name, but `sha256:` and some digits are the beginning of an id.
            Err(ReferenceError::NamedLikeAlgorithm { .. }) => text.to_owned(),
            Err(error) => return Err(error.into()),
        };
        if !hex.is_empty() && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            let mut matching = self.images.iter().filter(|id| id.0.hex().starts_with(hex));
            if let (Some(id), None) = (matching.next(), matching.next()) {
                return Ok(*id);
            }
        }
        Err(not_found(name))
    }

    fn has_names(&self, id: ImageId) -> bool {
        self.names.get(&id).is_some_and(|names| !names.is_empty())
    }

    fn has_children(&self, id: ImageId) -> bool {
        self.children.get(&id).is_some_and(|children| !children.is_empty())
    }

    /// Whether an image has at most one tag, and all of its names in one repository (`isSingleReference`).
    fn has_single_name(&self, id: ImageId) -> bool {
        let names = self.names.get(&id).map(Vec::as_slice).unwrap_or_default();
        let [first, _, ..] = names else { return true };
        let mut tags = names.iter().filter(|name| name.digest().is_none());
        let (tag, more) = (tags.next(), tags.next());
        let repositories: BTreeSet<String> =
            names.iter().filter(|name| name.digest().is_some()).map(Reference::name).collect();
        more.is_none() && repositories.len() == 1 && repositories.contains(&tag.unwrap_or(first).name())
    }

    /// Takes a name away. Returns whether it existed.
    fn untag(&mut self, name: &Reference, removed: &mut Vec<RemovedItem>) -> bool {
        let key = name.clone().stored();
        let Some(id) = self.references.untag(&key) else { return false };
        if let Some(names) = self.names.get_mut(&id) {
            names.retain(|other| *other != key);
        }
        self.edits.push(Edit::Untag { reference: key });
        removed.push(RemovedItem::Untagged(name.familiar()));
        true
    }

    /// If `name` was the last tag in its repository, takes away the image's names with digests there as well.
    fn untag_digests_without_tag(&mut self, id: ImageId, name: &Reference, removed: &mut Vec<RemovedItem>) {
        let names = self.names.get(&id).cloned().unwrap_or_default();
        let same: Vec<&Reference> = names.iter().filter(|other| other.name() == name.name()).collect();
        if same.iter().all(|other| other.digest().is_some()) {
            for other in same {
                self.untag(other, removed);
            }
        }
    }

    /// Fails if an image must not be removed. `names` says whether its names count as a reason.
    fn check(&self, id: ImageId, force: bool, names: bool) -> Result<(), RemovalError> {
        let conflict = |conflict| Err(RemovalError::Conflict { image: id, conflict });
        if self.has_children(id) {
            return conflict(Conflict::Children);
        }
        if let Some(container) = self.running.get(&id) {
            return conflict(Conflict::Running { container: container.clone() });
        }
        if force {
            return Ok(());
        }
        if names && self.has_names(id) {
            return conflict(Conflict::Names);
        }
        match self.containers.get(&id) {
            Some(container) => conflict(Conflict::Container { container: container.clone() }),
            None => Ok(()),
        }
    }

    /// Removes an image, then, if `prune`, those it was built from. With `quiet`, it is no error if something needs the
    /// image: the image stays.
    fn delete(
        &mut self,
        id: ImageId,
        removed: &mut Vec<RemovedItem>,
        force: bool,
        prune: bool,
        quiet: bool,
    ) -> Result<(), RemovalError> {
        let mut next = Some((id, force, quiet));
        while let Some((id, force, quiet)) = next.take() {
            if let Err(error) = self.check(id, force, true) {
                let used = matches!(
                    error,
                    RemovalError::Conflict { conflict: Conflict::Container { .. } | Conflict::Running { .. }, .. }
                );
                let dangling = !self.has_names(id) && !self.has_children(id);
                return if quiet && (!dangling || used) { Ok(()) } else { Err(error) };
            }
            for name in self.names.get(&id).cloned().unwrap_or_default() {
                self.untag(&name, removed);
            }
            if !self.images.remove(&id) {
                return Err(RemovalError::UnknownParent { id: id.to_string() });
            }
            let image = &self.catalog.images[&id];
            self.edits.push(Edit::RemoveImage { image: id });
            removed.push(RemovedItem::Image(id));
            image.chain.last().into_iter().for_each(|top| self.release(*top, removed));
            let Some(text) = image.parent.as_deref() else { continue };
            match image.parent_id() {
                Some(parent) => {
                    if let Some(children) = self.children.get_mut(&parent) {
                        children.remove(&id);
                    }
                    next = prune.then_some((parent, false, true));
                }
                None if prune => return Err(RemovalError::UnknownParent { id: text.to_owned() }),
                None => {}
            }
        }
        Ok(())
    }

    /// Takes one holder from a layer. With its last holder the layer is removed, and no longer holds the layer below.
    fn release(&mut self, layer: ChainId, removed: &mut Vec<RemovedItem>) {
        let mut next = Some(layer);
        while let Some(chain_id) = next.take() {
            let Some(left) = self.holders.get_mut(&chain_id) else { return };
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.holders.remove(&chain_id);
                self.edits.push(Edit::RemoveLayer { chain_id });
                removed.push(RemovedItem::Layer(chain_id));
                next = self.catalog.layer(chain_id).and_then(|layer| layer.parent);
            }
        }
    }
}

/// Whether docker takes `text` for the beginning of the image's id, with or without its algorithm (`isImageIDPrefix`).
fn is_id_prefix(id: ImageId, text: &str) -> bool {
    id.to_string().starts_with(text) || id.0.hex().starts_with(text)
}
