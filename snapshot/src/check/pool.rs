//! Compares the pool of devicemapper with the files that name its devices.
//!
//! A pool is read where it is in files of the data-root and nobody is changing it. One that is on block devices, or active, is not
//! looked at: `system pool` reads it where its parts are named.

use std::collections::BTreeMap;

use layerfs::ChainId;

use super::finding::{Affected, Cause, Place, Severity};
use super::findings::Findings;
use super::repair::Repair;
use crate::catalog::with_causes;
use crate::driver::{AnyDriver, DeviceMapper, InactivePool};
use crate::error::StoreError;
use crate::ids::ContainerId;
use crate::schema::mount::named_directories;
use crate::usage::pool::{PoolDevice, PoolUsage};

pub(super) fn check(findings: &mut Findings<'_>) {
    // While another process of ours is writing, the pool and the files differ for a moment.
    let Some(AnyDriver::DeviceMapper(driver)) = findings.view.root.driver.as_ref() else { return };
    if findings.view.writer().is_some() {
        return;
    }
    let Ok(pool) = driver.pool() else { return };
    match read(&pool, driver) {
        Ok(usage) => compare(findings, driver, &usage),
        Err(StoreError::Pool { path, source }) => {
            let reason = with_causes(&StoreError::Pool { path: path.clone(), source });
            findings.add(
                Severity::Damage,
                Place::File(path),
                Cause::PoolUnreadable { reason },
                everybody(findings),
                None,
            );
        }
        // What is wrong with the file of a device is a finding about the layer.
        Err(_) => {}
    }
}

fn read(pool: &InactivePool, driver: &DeviceMapper) -> Result<PoolUsage, StoreError> {
    PoolUsage::read(pool, Some(driver))
}

/// All images and containers: each has layers in the pool.
fn everybody(findings: &Findings<'_>) -> Affected {
    let catalog = findings.catalog();
    let images = catalog.images.values().filter(|image| !image.chain.is_empty()).map(|image| image.id);
    Affected::new(images, catalog.containers.iter().map(|container| container.id.clone()))
}

fn compare(findings: &mut Findings<'_>, driver: &DeviceMapper, usage: &PoolUsage) {
    let open = driver.open_change(usage.superblock.transaction).ok().flatten();
    if usage.superblock.needs_check {
        findings.add(Severity::Damage, Place::Pool, Cause::PoolNeedsCheck, everybody(findings), None);
    }
    for lost in &usage.lost {
        let reason = format!("devices {} to {} may be lost: {lost}", lost.keys.start, lost.keys.end.saturating_sub(1));
        findings.add(Severity::Damage, Place::Pool, Cause::PoolUnreadable { reason }, Affected::default(), None);
    }
    let owners = Owners::new(findings);
    for (id, device) in &usage.devices {
        if open == Some(*id) {
            let cause = Cause::DeviceChangeOpen;
            findings.add(Severity::Note, Place::Device(*id), cause, Affected::default(), Some(Repair::Collect));
        } else if device.files.is_empty() {
            let repair = Some(Repair::TrimPool);
            findings.add(Severity::Note, Place::Device(*id), Cause::DeviceUnnamed, Affected::default(), repair);
        } else {
            check_named(findings, &owners, *id, device, usage.lost.is_empty());
        }
    }
}

/// Looks at a device that files name.
fn check_named(findings: &mut Findings<'_>, owners: &Owners, id: u64, device: &PoolDevice, is_whole: bool) {
    let cause = if let Some(lost) = device.share.lost.first() {
        Cause::DeviceDamaged { reason: lost.to_string() }
    } else if !device.exists && is_whole {
        Cause::DeviceMissing
    } else if device.files.len() > 1 {
        Cause::DeviceShared { names: device.files.keys().cloned().collect() }
    } else {
        return;
    };
    let mut affected = Affected::default();
    for name in device.files.keys() {
        if let Some(layer) = owners.layers.get(name) {
            affected.join(findings.standing.on_layer(*layer));
        }
        if let Some(container) = owners.containers.get(name) {
            affected.join(Affected::container(container));
        }
    }
    findings.add(Severity::Damage, Place::Device(id), cause, affected, None);
}

/// Who has a directory, by its name.
struct Owners {
    layers: BTreeMap<String, ChainId>,
    containers: BTreeMap<String, ContainerId>,
}

impl Owners {
    fn new(findings: &Findings<'_>) -> Self {
        let catalog = findings.catalog();
        let layers = catalog.layers.values().flatten();
        let layers = layers.map(|record| (record.cache_id.to_string(), record.chain_id)).collect();
        let mut containers = BTreeMap::new();
        for container in &catalog.containers {
            for name in container.mount.iter().flat_map(named_directories) {
                containers.insert(name.to_string(), container.id.clone());
            }
        }
        Self { layers, containers }
    }
}
