//! Finds damaged databases and records of the build cache, and also what nobody needs, what a crash has left, and
//! damaged caches of `distribution`. The latter are notes, since nothing fails because of them.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use layerfs::ChainId;

use super::finding::{Affected, Cause, Place, Severity};
use super::findings::Findings;
use super::repair::Repair;
use crate::catalog::{Damage, ImageDamage, with_causes};
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::liveness::{Claim, EntryVerdict};
use crate::schema::distribution;
use crate::schema::paths::is_of_build_cache;
use crate::view::LeftoverKind;

pub(super) fn check(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    if let Err(error) = findings.view.snapshots() {
        let cause = Cause::Damage(Damage::BuildCache { cause: with_causes(error) });
        let repair = Some(Repair::MoveBuildCache);
        findings.add(Severity::Damage, Place::BuildCache, cause, Affected::default(), repair);
    }
    for damage in findings.view.damaged_databases() {
        if let Damage::Database { database, .. } = &damage {
            let repair = is_of_build_cache(database).then_some(Repair::MoveBuildCache);
            let place = Place::File(database.into());
            findings.add(Severity::Damage, place, Cause::Damage(damage), Affected::default(), repair);
        }
    }
    for damage in findings.view.misplaced_directories() {
        if let Damage::Misplaced { directory, .. } = &damage {
            let place = Place::File(directory.into());
            findings.add(Severity::Damage, place, Cause::Damage(damage), Affected::default(), None);
        }
    }
    add_gone_of_build_cache(findings);
    if findings.view.root.driver.is_none() && findings.view.root.home.is_some() {
        let reason = format!("the storage driver {} is not known here", findings.view.root.driver_name);
        let place = Place::Directory(findings.view.root.driver_name.clone());
        findings.add(Severity::Unknown, place, Cause::Unknown { reason }, Affected::default(), None);
    }
    // While another process of ours is writing, its unfinished work looks like what a crash has left.
    if findings.view.writer().is_none() {
        add_leftovers(findings)?;
        add_unowned(findings);
    }
    add_unused(findings);
    check_caches(findings)
}

/// Finds records of the build cache whose directories are gone. If the directory is a layer's as well, the finding about
/// the layer tells it. A snapshot that became a layer is left out: BuildKit keeps its record even after the layer and
/// its directory were removed.
fn add_gone_of_build_cache(findings: &mut Findings<'_>) {
    let view = findings.view;
    let Ok(snapshots) = view.snapshots() else { return };
    let is_there = |id: &CacheId| view.liveness.entry(id.as_str()).is_some();
    let own = snapshots.iter().filter(|(_, snapshot)| snapshot.chain_id.is_none());
    let missing = own.filter_map(|(_, snapshot)| snapshot.committed.as_ref());
    let missing: BTreeSet<&CacheId> = missing.filter(|id| !is_there(id)).collect();
    let layers: HashSet<&CacheId> = view.catalog.layers.values().flatten().map(|record| &record.cache_id).collect();
    for directory in missing.into_iter().filter(|id| !layers.contains(id)) {
        let cause = Cause::BuildCacheDirectoryMissing { directory: directory.to_string() };
        let repair = Some(Repair::PruneBuildCache);
        findings.add(Severity::Damage, Place::BuildCache, cause, Affected::default(), repair);
    }
}

fn add_leftovers(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    for left in findings.view.leftovers()? {
        let name = left.path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        let (place, repair) = match left.kind {
            LeftoverKind::Removal => (Place::Record(name.clone()), Repair::FinishRemoval { record: name }),
            LeftoverKind::Registration => (Place::Record(name), Repair::Collect),
            LeftoverKind::TemporaryFile => (Place::File(left.path), Repair::Collect),
        };
        findings.add(Severity::Note, place, Cause::Leftover(left.kind), Affected::default(), Some(repair));
    }
    Ok(())
}

/// Finds directories and links of the driver's home that nobody owns.
fn add_unowned(findings: &mut Findings<'_>) {
    let liveness = &findings.view.liveness;
    for (name, entry) in liveness.entries() {
        // A directory that an unfinished registration names is reported with the registration, and one that a container
        // has lost with the container.
        if entry.unfinished.is_some() || findings.adopted.contains(name) {
            continue;
        }
        let place = Place::Directory(name.to_owned());
        if liveness.verdict_on(entry) == EntryVerdict::Orphan {
            findings.add(Severity::Note, place, Cause::Orphan, Affected::default(), Some(Repair::Collect));
        } else if let Some(Claim::Lost(container)) = entry.claims.first() {
            let cause = Cause::LostByContainer { container: container.clone() };
            findings.add(Severity::Note, place, cause, Affected::default(), None);
        }
    }
    for link in liveness.links().iter().filter(|(_, entry)| entry.is_none()).map(|(link, _)| link) {
        // If the link names a missing directory that somebody claims, the finding about that directory tells it.
        let claimed = liveness.named_by_stale(link).is_some_and(|name| !liveness.claims_on_absent(name).is_empty());
        if !claimed {
            let place = Place::Link(link.clone());
            findings.add(Severity::Note, place, Cause::StaleLink, Affected::default(), Some(Repair::Collect));
        }
    }
}

/// Finds layers that nobody needs. If it cannot be told which layers an image has, it may need any.
fn add_unused(findings: &mut Findings<'_>) {
    let (view, catalog) = (findings.view, findings.catalog());
    let untold =
        |(_, damage): (_, &ImageDamage)| !matches!(damage, ImageDamage::TopLayer(_) | ImageDamage::OtherSystem { .. });
    if catalog.damaged_images.iter().any(untold) || view.snapshots().is_err() {
        return;
    }
    let records: Vec<(ChainId, Option<ChainId>)> =
        catalog.layers.values().flatten().map(|record| (record.chain_id, record.parent)).collect();
    let below: BTreeMap<ChainId, Option<ChainId>> = records.iter().copied().collect();
    // The layers that the build cache has, and all layers below these.
    let mut held: HashSet<ChainId> = HashSet::new();
    for (layer, _) in &records {
        if !view.held_by_build_cache(*layer) {
            continue;
        }
        let mut next = Some(*layer);
        while let Some(layer) = next.filter(|layer| held.insert(*layer)) {
            next = below.get(&layer).copied().flatten();
        }
    }
    for (layer, _) in records {
        if !findings.standing.is_needed(layer) && !held.contains(&layer) && !findings.is_damaged(&Place::Layer(layer)) {
            let repair = Some(Repair::Collect);
            findings.add(Severity::Note, Place::Layer(layer), Cause::LayerUnused, Affected::default(), repair);
        }
    }
}

/// Checks what dockerd remembers of registries. In normal use, entries stay when their layers are removed, so those are
/// not reported.
fn check_caches(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let Some(images_dir) = &findings.view.root.images_dir else { return Ok(()) };
    for path in distribution::undecodable(images_dir)? {
        let repair = Some(Repair::Collect);
        findings.add(Severity::Note, Place::File(path), Cause::Distribution, Affected::default(), repair);
    }
    Ok(())
}
