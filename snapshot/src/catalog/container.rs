//! Containers as dockerd sees them at its start: their records, joined with their writable layers.

use std::ops::Deref;
use std::path::Path;

pub use crate::schema::container::{ContainerRecord, MountPoint, Port, State, Status};

use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::container;
use crate::schema::mount::MountRecord;

/// A container: what its record says, and what the catalog knows besides.
#[derive(Debug, Clone, Default)]
pub struct Container {
    /// What its own directory says.
    pub record: ContainerRecord,
    /// Its writable layer, `layerdb/mounts/<id>`.
    pub mount: Option<MountRecord>,
    /// Why dockerd would not show it; `None` if it would.
    pub damage: Option<String>,
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
    pub fn status(&self) -> Status {
        self.state.status(self.state.running && self.process_is_its_own())
    }

    /// Whether the recorded process exists and is in a control group of this container's, or holds its mount: a number alone
    /// may be another's since a reboot.
    fn process_is_its_own(&self) -> bool {
        if self.state.pid == 0 {
            return false;
        }
        let of_process = Path::new("/proc").join(self.state.pid.to_string());
        let names = |file: &str, what: &str| {
            std::fs::read_to_string(of_process.join(file)).is_ok_and(|text| text.contains(what))
        };
        let mount = self.mount.as_ref().and_then(|mount| mount.mount_id.as_ref());
        names("cgroup", &self.id) || mount.is_some_and(|id| names("mountinfo", id.as_str()))
    }
}

/// Reads all containers, sorted by id.
pub(super) fn list(root: &Dir, driver: &str, mounts: &[MountRecord]) -> Result<Vec<Container>, StoreError> {
    let Some(dir) = container::open(root)? else { return Ok(Vec::new()) };
    let mut containers = Vec::new();
    for id in dir.names()? {
        let Ok(Some(own)) = dir.sub(&id) else { continue };
        let mount = mounts.iter().find(|mount| mount.name == id).cloned();
        let mut container = match container::read(&own, &id) {
            Ok(record) => Container { record, ..Container::default() },
            Err(fault) => Container { damage: Some(fault.to_string()), ..Container::default() },
        };
        if container.damage.is_none() {
            container.damage = damage(&container, &id, driver, mount.as_ref());
        }
        container.record.id = id;
        container.mount = mount;
        containers.push(container);
    }
    containers.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(containers)
}

fn damage(container: &Container, directory: &str, driver: &str, mount: Option<&MountRecord>) -> Option<String> {
    if container.id != directory {
        return Some(format!("its config has the id {:?}", container.id));
    }
    if container.os != "linux" {
        return Some(format!("it is for the operating system {}", container.os));
    }
    if container.driver != driver && !(container.driver.is_empty() && driver == "aufs") {
        return Some(format!("it belongs to the storage driver {}", container.driver));
    }
    match mount {
        None => Some("it has no writable layer (layerdb/mounts)".into()),
        Some(mount) => match (&mount.fault, container.crash) {
            (Some(fault), _) => Some(format!("its mount cannot be loaded: {fault}")),
            (None, Some(crash)) => Some(crash.to_string()),
            (None, None) => None,
        },
    }
}
