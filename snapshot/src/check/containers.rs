//! Checks containers, their mounts and writable layers, and volumes.

use std::collections::{BTreeSet, HashMap};

use layerfs::ChainId;

use super::finding::{Affected, Cause, Place, Severity};
use super::findings::Findings;
use super::layers::{disagrees, follows, join_cause, repair_of};
use super::repair::Repair;
use crate::catalog::{Container, ContainerDamage, Damage, MountDamage, UnusableLayer, with_causes};
use crate::driver::{Driver, LayerDamage};
use crate::edit::held_mounts;
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId};
use crate::liveness::{Claim, OwnedEntry};
use crate::schema::mount::MountRecord;
use crate::view::parents_for;

const MOUNT_ID: &str = "mount-id";
const INIT_ID: &str = "init-id";
const PARENT: &str = "parent";

pub(super) fn check(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let catalog = findings.catalog();
    let adopted = find_adopted(findings);
    for container in &catalog.containers {
        if let Some(damage) = &container.damage {
            add_damaged(findings, container, damage, &adopted);
        }
    }
    let layers = findings.view.root.layers()?;
    let held = held_mounts(layers.as_ref())?;
    for mount in catalog.mounts.iter().filter(|mount| !held.contains(&mount.name)) {
        check_mount(findings, mount);
    }
    let faulty = || catalog.volumes.iter().filter_map(|volume| Some((volume, volume.fault.as_ref()?)));
    let mut users: HashMap<&str, Vec<ContainerId>> =
        faulty().map(|(volume, _)| (volume.name.as_str(), Vec::new())).collect();
    for container in &catalog.containers {
        for point in &container.mount_points {
            if let Some(users) = users.get_mut(point.name.as_str()) {
                users.push(container.id.clone());
            }
        }
    }
    for (volume, fault) in faulty() {
        let cause = format!("{}: {fault}", crate::schema::volume::OPTIONS);
        let name = volume.name.clone();
        let affected = Affected::new([], users.remove(name.as_str()).unwrap_or_default());
        let cause = Cause::Damage(Damage::Volume { volume: name.clone(), cause });
        findings.add(Severity::Damage, Place::Volume(name), cause, affected, None);
    }
    findings.adopted = adopted.into_values().flat_map(|found| [found.mount_id, found.init_id]).collect();
    Ok(())
}

/// The directories found for a container that has lost its mount.
struct Adopted {
    mount_id: String,
    init_id: String,
    parent: ChainId,
}

/// Finds the writable layers of containers that have lost their mounts, among the directories that nobody else owns: a
/// pair that stands on the layers of the container's image and on nothing else, if there is only one such pair and one
/// such container.
fn find_adopted(findings: &Findings<'_>) -> HashMap<ContainerId, Adopted> {
    let catalog = findings.catalog();
    let liveness = &findings.view.liveness;
    let lost: Vec<(&Container, ChainId)> = catalog
        .containers
        .iter()
        .filter(|container| container.damage == Some(ContainerDamage::MountMissing))
        .filter_map(|container| Some((container, *catalog.images.get(&container.image?)?.chain.last()?)))
        .collect();
    if lost.is_empty() {
        return HashMap::new();
    }
    let is_lost = |entry: &OwnedEntry| entry.claims.iter().any(|claim| matches!(claim, Claim::Lost(_)));
    let orphans: BTreeSet<&str> =
        liveness.entries().filter(|(_, entry)| is_lost(entry)).map(|(name, _)| name).collect();
    // The pairs, by the layers that they stand on.
    let mut pairs: HashMap<Vec<&str>, Vec<&str>> = HashMap::new();
    for id in orphans.iter().copied() {
        let init = format!("{id}-init");
        let on = |name| liveness.below_entry(name).collect::<Vec<&str>>();
        let init_on = on(&init);
        if orphans.contains(init.as_str()) && on(id).split_first() == Some((&init.as_str(), &init_on[..])) {
            pairs.entry(init_on).or_default().push(id);
        }
    }
    let mut on_top: HashMap<ChainId, u32> = HashMap::new();
    for (_, top) in &lost {
        *on_top.entry(*top).or_default() += 1;
    }
    let mut adopted = HashMap::new();
    for (container, top) in lost.iter().filter(|(_, top)| on_top.get(top) == Some(&1)) {
        let chain: Vec<&str> = catalog.chain(*top).map(|record| record.cache_id.as_str()).collect();
        if let Some([id]) = pairs.get(&chain).map(Vec::as_slice) {
            let (mount_id, init_id) = ((*id).to_owned(), format!("{id}-init"));
            adopted.insert(container.id.clone(), Adopted { mount_id, init_id, parent: *top });
        }
    }
    adopted
}

/// Adds the finding for a container that dockerd would not show. If the reason is damage of what the container stands
/// on, the container is only added to those whom that damage affects.
fn add_damaged(
    findings: &mut Findings<'_>,
    container: &Container,
    damage: &ContainerDamage,
    adopted: &HashMap<ContainerId, Adopted>,
) {
    let affected = Affected::container(&container.id);
    let known = match damage {
        ContainerDamage::LayerBelow(UnusableLayer::Missing { layer }) => {
            findings.join(&Place::Layer(*layer), &affected)
        }
        ContainerDamage::LayerBelow(UnusableLayer::Damaged { layer, cause }) => {
            join_cause(findings, *layer, cause, &affected)
        }
        // The finding about the mount tells this.
        ContainerDamage::MountInvalid { .. } => true,
        _ => false,
    };
    if known {
        return;
    }
    let repair = match damage {
        ContainerDamage::MountMissing => adopted.get(&container.id).map(|found| Repair::RestoreMount {
            container: container.id.clone(),
            mount_id: found.mount_id.clone(),
            init_id: found.init_id.clone(),
            parent: found.parent,
        }),
        _ => None,
    };
    let severity = match damage {
        // A container of another driver or another operating system: dockerd ignores it on purpose.
        ContainerDamage::OtherDriver { .. } | ContainerDamage::OtherSystem { .. } => Severity::Note,
        _ => Severity::Damage,
    };
    let cause = Cause::Damage(Damage::Container { container: container.id.clone(), cause: damage.clone() });
    findings.add(severity, Place::Container(container.id.clone()), cause, affected, repair);
}

fn check_mount(findings: &mut Findings<'_>, mount: &MountRecord) {
    let container = findings.catalog().container_of_mount(&mount.name);
    let affected = container.map_or_else(Affected::default, |container| Affected::container(&container.id));
    let place = match container {
        Some(container) => Place::Container(container.id.clone()),
        None => Place::Mount(mount.name.clone()),
    };
    if mount.is_empty() {
        // If there is a container, its finding tells that it has no writable layer.
        if container.is_none() {
            let cause = Cause::Damage(Damage::Mount { mount: mount.name.clone(), cause: MountDamage::Empty });
            findings.add(Severity::Note, place, cause, affected, Some(Repair::Collect));
        }
        return;
    }
    for damage in &mount.damage {
        let cause = Cause::Damage(Damage::Mount { mount: mount.name.clone(), cause: damage.clone() });
        let severity = if *damage == MountDamage::NotADirectory { Severity::Note } else { Severity::Damage };
        let repair = container.and_then(|container| restored(findings, mount, container, damage));
        findings.add(severity, place.clone(), cause, affected.clone(), repair);
    }
    if !mount.damage.is_empty() {
        return;
    }
    let Some(container) = container else {
        // In containerd's store a lease keeps it, which has a finding of its own, or nothing does.
        if findings.view.root.is_containerd_only() {
            return;
        }
        let repair = Some(Repair::Collect);
        findings.add(Severity::Note, place, Cause::MountWithoutContainer, affected, repair);
        return;
    };
    let top = image_top(findings, container);
    if let (None, Some(top)) = (mount.parent, top) {
        let repair = restore(mount, PARENT, top.to_string());
        findings.add(Severity::Damage, place.clone(), Cause::MountParentMissing, affected.clone(), repair);
    }
    if let (None, Some(id)) = (&mount.init_id, &mount.mount_id)
        && findings.view.liveness.entry(&format!("{id}-init")).is_some()
    {
        let repair = restore(mount, INIT_ID, format!("{id}-init"));
        findings.add(Severity::Damage, place.clone(), Cause::MountInitMissing, affected.clone(), repair);
    }
    // A container that cannot be loaded for another reason has a finding for that reason already.
    if container.damage.is_none() {
        writable_layer(findings, mount, top, &place, &affected);
    }
}

fn restore(mount: &MountRecord, file: &'static str, value: String) -> Option<Repair> {
    Some(Repair::RestoreMountFile { mount: mount.name.clone(), file, value })
}

/// The repair of a file of a mount. Its right content follows from the other files, the driver's home and the
/// container.
fn restored(
    findings: &Findings<'_>,
    mount: &MountRecord,
    container: &Container,
    damage: &MountDamage,
) -> Option<Repair> {
    let (MountDamage::FileMissing { file } | MountDamage::FileInvalid { file, .. }) = damage else { return None };
    let exists = |id: &str| findings.view.liveness.entry(id).is_some();
    let value = match *file {
        MOUNT_ID => mount.init_id.as_ref()?.as_str().strip_suffix("-init").filter(|id| exists(id))?.to_owned(),
        INIT_ID => Some(format!("{}-init", mount.mount_id.as_ref()?)).filter(|id| exists(id))?,
        PARENT => image_top(findings, container)?.to_string(),
        _ => return None,
    };
    restore(mount, file, value)
}

/// The topmost layer of a container's image.
fn image_top(findings: &Findings<'_>, container: &Container) -> Option<ChainId> {
    findings.catalog().images.get(&container.image?)?.chain.last().copied()
}

/// Checks the directory that a container writes to, and the directory of its init files.
fn writable_layer(
    findings: &mut Findings<'_>,
    mount: &MountRecord,
    image_top: Option<ChainId>,
    place: &Place,
    affected: &Affected,
) {
    let catalog = findings.catalog();
    let (Some(driver), Some(id)) = (&findings.view.root.driver, &mount.mount_id) else { return };
    let top = mount.parent.or(image_top);
    let chain = parents_for(driver, catalog, top);
    // Without the file `init-id`, the directory of init files may exist all the same, under the usual name.
    let by_name: Option<CacheId> = format!("{id}-init").parse().ok();
    let by_name = by_name.filter(|init| findings.view.liveness.entry(init.as_str()).is_some());
    let init = mount.init_id.clone().or(by_name);
    let under: Vec<CacheId> = init.iter().cloned().chain(chain.iter().cloned()).collect();
    let looked = [
        Some((id.clone(), under.clone(), driver.writable_damage(id, &under))),
        init.map(|init| {
            let damage = driver.damage(&init, &chain);
            (init, chain.clone(), damage)
        }),
    ];
    for (directory, below, damage) in looked.into_iter().flatten() {
        let damage = match damage {
            Ok(None) => continue,
            Ok(Some(damage)) => damage,
            Err(error) => {
                let cause = Cause::Unknown { reason: with_causes(&error) };
                findings.add(Severity::Unknown, place.clone(), cause, affected.clone(), None);
                continue;
            }
        };
        let below_known = follows(&damage)
            && (top.is_some_and(|top| findings.join_nearest(top, affected))
                // If both directories are damaged, the lower one is the cause.
                || findings.is_damaged(place));
        let unsure = disagrees(&damage) && (mount.parent.is_none() || top.is_some_and(|top| findings.is_misnamed(top)));
        if below_known || unsure || init_is_gone(&damage, &directory, id) {
            continue;
        }
        let repair = repair_of(&damage, &directory, || below, || None);
        findings.add(Severity::Damage, place.clone(), Cause::WritableLayer { damage }, affected.clone(), repair);
    }
}

/// Whether the damage of the writable layer is only that its init layer is missing: then the init layer has the
/// finding.
fn init_is_gone(damage: &LayerDamage, directory: &CacheId, mount_id: &CacheId) -> bool {
    directory == mount_id && follows(damage)
}
