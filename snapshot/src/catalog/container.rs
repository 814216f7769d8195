//! Containers as dockerd sees them at its start: their records, joined with their writable layers.

use std::ops::Deref;
use std::path::Path;

pub use crate::schema::container::{ContainerRecord, ContainerState, ContainerStatus, MountPoint, Port};

use super::budget;
use super::damage::{ContainerDamage, UnusableLayer};
use super::layers::Layers;
use crate::error::StoreError;
use crate::ids::ContainerId;
use crate::parallel;
use crate::root::DataRoot;
use crate::schema::container::{self, ContainerFault};
use crate::schema::mount::{self, MountRecord};

/// A container: what its record says, and what the catalog knows besides.
#[derive(Debug, Clone)]
pub struct Container {
    /// What its own directory says.
    pub record: ContainerRecord,
    /// Its writable layer, `layerdb/mounts/<id>`.
    pub mount: Option<MountRecord>,
    /// Why dockerd would not show it; `None` if it would.
    pub damage: Option<ContainerDamage>,
}

impl Deref for Container {
    type Target = ContainerRecord;

    fn deref(&self) -> &ContainerRecord {
        &self.record
    }
}

impl Container {
    /// What can be said of its state on this machine.
    #[must_use]
    pub fn status(&self) -> ContainerStatus {
        self.state.status(self.state.running && self.process_is_its_own())
    }

    /// Whether the recorded process exists and is in a control group of this container's, or holds its mount: since a reboot
    /// the number may belong to another process.
    fn process_is_its_own(&self) -> bool {
        if self.state.pid == 0 {
            return false;
        }
        let of_process = Path::new("/proc").join(self.state.pid.to_string());
        // A process that has ended, and that nobody has waited for, is still there by its number.
        let status = std::fs::read(of_process.join("stat")).unwrap_or_default();
        let status = String::from_utf8_lossy(&status).into_owned();
        if status.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['Z', 'X'])) {
            return false;
        }
        let names = |file: &str, what: &str| {
            std::fs::read_to_string(of_process.join(file)).is_ok_and(|text| text.contains(what))
        };
        let mount = self.mount.as_ref().and_then(|mount| mount.mount_id.as_ref());
        names("cgroup", self.id.as_str()) || mount.is_some_and(|id| names("mountinfo", id.as_str()))
    }
}

/// Reads all containers, sorted by id.
///
/// A container counts if it and what it stands on can be loaded (moby v20.10.24 `daemon/daemon.go: restore`,
/// `layer/layer_store.go: loadMount`).
pub(super) fn list(root: &DataRoot, mounts: &[MountRecord], layers: &Layers) -> Result<Vec<Container>, StoreError> {
    let Some(dir) = container::open(&root.dir)? else { return Ok(Vec::new()) };
    let mut ids: Vec<ContainerId> = dir.names()?.iter().filter_map(|name| name.parse().ok()).collect();
    // Read the containers in the order of their names: if there is too much to read, the same ones are left out each time.
    ids.sort_unstable();
    let own = |id: &ContainerId| dir.sub(id.as_str()).ok().flatten();
    let lengths = parallel::map(&ids, |id| own(id).map_or(0, |own| container::length(&own)));
    let admitted = budget::admit(&lengths);
    let ids: Vec<(ContainerId, u64, bool)> =
        ids.into_iter().zip(lengths).zip(admitted).map(|((id, length), fits)| (id, length, fits)).collect();
    let mut containers: Vec<Container> = parallel::map(&ids, |(id, length, fits)| {
        let own = own(id)?;
        let mount = mount::find(mounts, id).cloned();
        let read = match fits {
            true => container::read(&own, id),
            false => Err(container::not_read(&own, budget::refusal(*length))),
        };
        let (record, damage) = match read {
            Ok(record) => {
                let damage = find_damage(&record, root, layers, mount.as_ref());
                (record, damage)
            }
            Err(fault) => (ContainerRecord::unread(id.clone()), Some(fault.into())),
        };
        Some(Container { record, mount, damage })
    })
    .into_iter()
    .flatten()
    .collect();
    containers.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(containers)
}

impl From<ContainerFault> for ContainerDamage {
    fn from(fault: ContainerFault) -> Self {
        let cause = fault.to_string();
        match fault {
            ContainerFault::Missing => Self::ConfigMissing,
            ContainerFault::Decode { file: container::HOST_CONFIG, .. } => Self::HostConfigInvalid { cause },
            _ => Self::ConfigInvalid { cause },
        }
    }
}

/// Why dockerd would not show a container whose files can be decoded.
fn find_damage(
    container: &ContainerRecord,
    root: &DataRoot,
    layers: &Layers,
    mount: Option<&MountRecord>,
) -> Option<ContainerDamage> {
    if let Some(crash) = container.crash.filter(|crash| crash.on_read) {
        return Some(ContainerDamage::Crash { crash });
    }
    if let Some(found) = &container.other_id {
        return Some(ContainerDamage::OtherId { found: found.clone() });
    }
    if container.os != "linux" {
        return Some(ContainerDamage::OtherSystem { os: container.os.clone() });
    }
    let driver = root.driver_name.as_str();
    if container.driver != driver && !(container.driver.is_empty() && driver == "aufs") {
        return Some(ContainerDamage::OtherDriver { driver: container.driver.clone() });
    }
    if root.is_containerd_only() {
        return container.crash.map(|crash| ContainerDamage::Crash { crash });
    }
    let Some(mount) = mount.filter(|mount| !mount.is_empty()) else { return Some(ContainerDamage::MountMissing) };
    if let Some(cause) = mount.damage.first() {
        return Some(ContainerDamage::MountInvalid { cause: cause.clone() });
    }
    let layer = match mount.parent.map(|layer| (layer, layers.get(&layer))) {
        None | Some((_, Some(Ok(_)))) => None,
        Some((layer, Some(Err(cause)))) => Some(UnusableLayer::Damaged { layer, cause: cause.clone() }),
        Some((layer, None)) => Some(UnusableLayer::Missing { layer }),
    };
    layer.map(ContainerDamage::LayerBelow).or_else(|| container.crash.map(|crash| ContainerDamage::Crash { crash }))
}
