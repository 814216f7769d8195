//! Plans the repair of containers' writable layers, and of what each layer stands on.

use std::collections::HashMap;

use layerfs::ChainId;

use super::RepairPlanner;
use crate::catalog::{Container, ContainerDamage, Subject, UnusableLayer};
use crate::driver::{Driver, Stack};
use crate::ids::{CacheId, ContainerId};
use crate::repair::error::RepairError;
use crate::repair::mending::{Advice, Mending};
use crate::schema::mount::{INIT_ID, MOUNT_ID, MountRecord, PARENT};

impl RepairPlanner<'_> {
    /// Plans to write files of mounts whose content is proven by the mount's other files, or by what its directories
    /// stand on.
    pub(super) fn plan_mounts(&mut self) {
        let mut mounts = std::mem::take(&mut self.mounts);
        let layers: HashMap<&str, ChainId> =
            self.records.values().map(|record| (record.cache_id.as_str(), record.chain_id)).collect();
        // The place of each mount in the list, the name of a file in it, and what that file must say.
        let mut wanted: Vec<(usize, &'static str, String)> = Vec::new();
        for (at, mount) in mounts.iter_mut().enumerate() {
            let mut restore = |file, value: String| wanted.push((at, file, value));
            let invalid = |file: &str| mount.damage.iter().any(|damage| damage.file() == Some(file));
            if invalid(MOUNT_ID)
                && let Some(id) = mount.init_id.as_ref().and_then(|init| init.as_str().strip_suffix("-init"))
                && self.home.entries.contains_key(id)
            {
                restore(MOUNT_ID, id.to_owned());
                mount.mount_id = id.parse().ok();
            }
            let Some(id) = mount.mount_id.clone() else { continue };
            let init = format!("{id}-init");
            if (mount.init_id.is_none() || invalid(INIT_ID)) && self.home.entries.contains_key(init.as_str()) {
                restore(INIT_ID, init.clone());
                mount.init_id = init.parse().ok();
            }
            if (mount.parent.is_none() || invalid(PARENT))
                && let Some(parent) = self.stands_on(mount, &layers)
            {
                restore(PARENT, parent.to_string());
                mount.parent = Some(parent);
            }
        }
        self.mounts = mounts;
        for (at, file, value) in wanted {
            let MountRecord { name: mount, parent, .. } = &self.mounts[at];
            if self.chosen.is_none() || parent.is_some_and(|layer| self.is_chosen(layer)) {
                let mount = mount.clone();
                let cause = format!("{file} is missing or wrong");
                self.step(Subject::Mount(mount.clone()), cause, Mending::RestoreMountFile { mount, file, value });
            }
        }
    }

    /// The container that a mount belongs to.
    fn container_of(&self, mount: &MountRecord) -> Option<&Container> {
        self.view.catalog.container(&mount.name.parse().ok()?)
    }

    /// The layer that a mount stands on: by the directory of its init layer, by its own directory, or else by the image
    /// of its container.
    fn stands_on(&self, mount: &MountRecord, layers: &HashMap<&str, ChainId>) -> Option<ChainId> {
        let below = |id: &CacheId| self.home.nearest_below(id.as_str()).cloned();
        let lowest = mount.init_id.as_ref().or(mount.mount_id.as_ref());
        let by_directory = lowest.and_then(below).and_then(|id| layers.get(&*id).copied());
        by_directory.or_else(|| {
            let image = self.container_of(mount)?.image?;
            self.chains.get(&image)?.last().copied()
        })
    }

    /// Plans to write what the directories of layers and containers lack to stand on the layers below.
    pub(super) fn plan_stacks(&mut self) -> Result<(), RepairError> {
        let Some(driver) = &self.view.root.driver else { return Ok(()) };
        let (mut stacks, mut subjects) = (Vec::new(), HashMap::new());
        // What lies deeper cannot be mounted, whatever is written there.
        let most = driver.most_parents().unwrap_or(usize::MAX);
        for record in self.records.values() {
            let Some(below) = self.directories_from(record.parent, most) else { continue };
            subjects.insert(record.cache_id.clone(), (Subject::Layer(record.chain_id), record.chain_id));
            stacks.push(Stack { id: record.cache_id.clone(), below, writable: false });
        }
        // Lower layers first: their short names are what the layers above name in `lower`.
        stacks.sort_by_key(|stack| stack.below.len());
        for mount in &self.mounts {
            let (Some(id), Some(parent)) = (&mount.mount_id, mount.parent) else { continue };
            let Some(mut below) = self.directories_from(Some(parent), most) else { continue };
            if let Some(init) = &mount.init_id {
                subjects.insert(init.clone(), (Subject::Mount(mount.name.clone()), parent));
                stacks.push(Stack { id: init.clone(), below: below.clone(), writable: false });
                below.insert(0, init.clone());
            }
            subjects.insert(id.clone(), (Subject::Mount(mount.name.clone()), parent));
            stacks.push(Stack { id: id.clone(), below, writable: true });
        }
        for what in driver.restacking(&stacks)? {
            let Some((subject, layer)) = subjects.get(&what.id).cloned() else { continue };
            if self.is_chosen(layer) {
                let cause = format!("{}: {}", what.place().display(), what.reason);
                self.step(subject, cause, Mending::Restack(what));
            }
        }
        self.tell_lost_writable_layers()
    }

    fn tell_lost_writable_layers(&mut self) -> Result<(), RepairError> {
        let mut lost = Vec::new();
        for mount in &self.mounts {
            let Some(container) = self.container_of(mount).filter(|_| self.chosen.is_none()) else { continue };
            for id in [&mount.mount_id, &mount.init_id].into_iter().flatten() {
                if self.view.root.content(id)?.is_none() {
                    // Only the directory itself matters here, and not what it stands on.
                    let damage = self.view.root.driver.as_ref().and_then(|driver| driver.damage(id, &[]).ok()?);
                    let damage =
                        damage.map_or_else(|| format!("its directory {id} is missing"), |damage| damage.to_string());
                    lost.push((container.id.clone(), damage));
                }
            }
        }
        for (container, damage) in lost {
            let reason = format!("what it has written is lost: {damage}");
            self.cannot(Subject::Container(container), reason, Advice::RemoveContainer);
        }
        Ok(())
    }

    /// Adds a container that dockerd would not show to the unmended ones, if no step mends it.
    pub(super) fn tell_container(&mut self, container: &ContainerId, cause: &ContainerDamage) {
        let mended = |layer: &ChainId| self.records.contains_key(layer) || self.added.contains(layer);
        let advice = match cause {
            ContainerDamage::LayerBelow(UnusableLayer::Missing { layer } | UnusableLayer::Damaged { layer, .. }) => {
                if mended(layer) {
                    return;
                }
                Advice::NameSource
            }
            ContainerDamage::MountInvalid { cause } => {
                let file = |file| self.about.mount_files.contains(&(container.to_string(), file));
                if cause.file().is_some_and(file) {
                    return;
                }
                Advice::RemoveContainer
            }
            ContainerDamage::Crash { .. } | ContainerDamage::ConfigInvalid { .. } => Advice::LookAtFile,
            _ => Advice::RemoveContainer,
        };
        self.cannot(Subject::Container(container.clone()), cause.to_string(), advice);
    }
}
