//! What nobody needs, what a crash has left, and caches: notes, since nothing fails for it.

use std::collections::{BTreeMap, HashSet};

use layerfs::ChainId;

use super::finding::{Affected, Cause, Place, Severity};
use super::findings::Findings;
use super::repair::Repair;
use crate::catalog::{Damage, ImageDamage, with_causes};
use crate::error::StoreError;
use crate::liveness::EntryVerdict;
use crate::schema::distribution;
use crate::view::LeftoverKind;

pub(super) fn check(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    if let Err(error) = findings.view.snapshots() {
        let cause = Cause::Damage(Damage::BuildCache { cause: with_causes(error) });
        findings.add(Severity::Damage, Place::BuildCache, cause, Affected::default(), None);
    }
    if findings.view.root.driver.is_none() && findings.view.root.home.is_some() {
        let reason = format!("the storage driver {} is not known here", findings.view.root.driver_name);
        let place = Place::Directory(findings.view.root.driver_name.clone());
        findings.add(Severity::Unknown, place, Cause::Unknown { reason }, Affected::default(), None);
    }
    // What another process of ours is writing now looks like what a crash has left.
    if findings.view.writer().is_none() {
        leftovers(findings)?;
        entries(findings);
    }
    unused(findings);
    caches(findings)
}

fn leftovers(findings: &mut Findings<'_>) -> Result<(), StoreError> {
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

/// Directories and links of the driver's home that are nobody's.
fn entries(findings: &mut Findings<'_>) {
    let liveness = &findings.view.liveness;
    for (name, entry) in liveness.entries() {
        // What an unfinished registration names goes with it; what a container has lost is told with that.
        let told = entry.unfinished.is_some() || findings.adopted.contains(name);
        if liveness.verdict_on(entry) == EntryVerdict::Orphan && !told {
            let place = Place::Directory(name.to_owned());
            findings.add(Severity::Note, place, Cause::Orphan, Affected::default(), Some(Repair::Collect));
        }
    }
    for link in liveness.links().iter().filter(|(_, entry)| entry.is_none()).map(|(link, _)| link) {
        // Whose directory is missing is told with the directory.
        let claimed = liveness.named_by_stale(link).is_some_and(|name| !liveness.claims_on_absent(name).is_empty());
        if !claimed {
            let (place, repair) = (Place::Link(link.clone()), Repair::RemoveStaleLink { link: link.clone() });
            findings.add(Severity::Note, place, Cause::StaleLink, Affected::default(), Some(repair));
        }
    }
}

/// Layers that nobody needs. Where an image does not tell its layers, it may need any.
fn unused(findings: &mut Findings<'_>) {
    let (view, catalog) = (findings.view, findings.catalog());
    let untold =
        |(_, damage): (_, &ImageDamage)| !matches!(damage, ImageDamage::TopLayer(_) | ImageDamage::OtherSystem { .. });
    if catalog.damaged_images.iter().any(untold) || view.snapshots().is_err() {
        return;
    }
    let records: Vec<(ChainId, Option<ChainId>)> =
        catalog.layers.values().flatten().map(|record| (record.chain_id, record.parent)).collect();
    let below: BTreeMap<ChainId, Option<ChainId>> = records.iter().copied().collect();
    // What the build cache has, and all below.
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

/// What dockerd remembers of registries. Entries of layers that are gone stay in normal life.
fn caches(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let Some(images_dir) = &findings.view.root.images_dir else { return Ok(()) };
    for path in distribution::undecodable(images_dir)? {
        let repair = Some(Repair::Collect);
        findings.add(Severity::Note, Place::File(path), Cause::Distribution, Affected::default(), repair);
    }
    Ok(())
}
