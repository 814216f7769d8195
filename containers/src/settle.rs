//! What is done about containers whose monitor, daemon or machine has ended before them.

use jiff::Timestamp;
use snapshot::catalog::{Catalog, ContainerStatus};
use snapshot::driver::Driver;
use snapshot::edit::Transaction;
use snapshot::ids::{CacheId, VolumeName};
use snapshot::schema::container::ContainerFiles;
use snapshot::schema::containerfile::StateFile;
use snapshot::schema::time::Time;

use crate::ContainerError;
use crate::create::read;
use crate::lifecycle::own_runtime;
use crate::place::Place;

/// Writes the end of a process into a container's files.
pub(crate) fn end(files: &mut ContainerFiles, code: i64, finished: Timestamp) {
    let probe = files.config.config.as_ref().and_then(|config| config.healthcheck.as_ref()?.test.as_ref());
    let is_probed = probe.is_some_and(|test| !test.is_empty() && test != &["NONE"]);
    let state = files.state();
    let mut health = state.health.take();
    // Who is not looked after any more is unhealthy (moby v20.10.24 `container/health.go: CloseMonitorChannel`).
    if is_probed {
        health.get_or_insert_default().status = "unhealthy".into();
    }
    *state = StateFile {
        exit_code: code,
        started: state.started,
        finished: Time::from(finished),
        health,
        ..StateFile::default()
    };
}

/// Volumes that go with their container: those that nobody has named (moby v20.10.24 `daemon/delete.go`,
/// `daemon/mounts.go: removeMountPoints`).
pub(crate) fn anonymous_volumes(files: &ContainerFiles) -> Vec<VolumeName> {
    let points = files.config.mount_points.values().flatten();
    let anonymous =
        points.filter(|point| point.kind != "bind" && point.kind != "tmpfs" && point.spec.source.is_empty());
    anonymous.filter_map(|point| point.name.parse().ok()).collect()
}

/// Removes a mount point that a killed monitor has left.
pub(crate) fn remove_mount_point(driver: &impl Driver, id: &CacheId) {
    if let Ok(Some(data)) = driver.metadata(id)
        && let Some((_, path)) = data.iter().find(|(key, _)| *key == "MergedDir")
    {
        // If something is mounted there, or in it, this fails, and so does the mount that follows.
        let _ = rustix::fs::rmdir(path);
    }
}

/// Kills the containers of monitors that are gone, and writes down that they have ended. Returns whether there were any.
pub(crate) fn settle(transaction: &mut Transaction, catalog: &Catalog) -> Result<bool, ContainerError> {
    let mut changed = false;
    for container in catalog.containers() {
        let place = Place::for_container(&container.id);
        let is_ours = place.dir.exists();
        if is_ours && !place.is_watched() {
            let was_alive = container.status() == ContainerStatus::Running;
            if let Ok(runtime) = own_runtime(&place) {
                let _ = runtime.delete(container.id.as_str(), true);
                runtime.clear(&place.bundle(), container.id.as_str());
            }
            place.remove();
            if let Some(mount) = container.mount.as_ref().and_then(|mount| mount.mount_id.as_ref()) {
                remove_mount_point(transaction.root().driver(), mount);
            }
            if container.state.running {
                let mut files = read(transaction.root().dir(), &container.id)?;
                // Nobody has seen the exit status of the process itself.
                end(&mut files, if was_alive { 137 } else { 255 }, Timestamp::now());
                transaction.set_container(&container.id, &files)?;
                if files.host.auto_remove {
                    transaction.remove_container(&container.id, &anonymous_volumes(&files))?;
                }
            }
            changed = true;
        } else if !is_ours
            && container.state.running
            && container.status() == ContainerStatus::Interrupted
            && container.damage.is_none()
        {
            // Another daemon ran this container, or the machine has stopped since.
            let mut files = read(transaction.root().dir(), &container.id)?;
            end(&mut files, 255, Timestamp::now());
            transaction.set_container(&container.id, &files)?;
            changed = true;
        }
    }
    Ok(changed)
}
