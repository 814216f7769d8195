//! Checks layers: their records, their chains, and their directories in the driver's home.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use layerfs::ChainId;

use super::finding::{Affected, Cause, Place, Severity};
use super::findings::Findings;
use super::repair::{RecordField, Repair};
use super::standing::root_of;
use crate::catalog::{ContainerDamage, Damage, ImageDamage, LayerFault, RecordDamage, UnusableLayer, with_causes};
use crate::driver::{Driver, LayerDamage, LayerPart};
use crate::error::StoreError;
use crate::ids::{CacheId, MountName};
use crate::parallel;
use crate::schema::layer::{LayerStore, RecordFields};
use crate::schema::mount::named_directories;
use crate::view::parents_for;

pub(super) fn check(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let store = findings.view.root.layers()?;
    if let Some(store) = &store {
        check_records(findings, store)?;
    }
    let mut missing = find_missing(findings);
    add_misnamed(findings, &mut missing);
    for layer in missing {
        let affected = findings.standing.on_layer(layer);
        let repair = Some(Repair::ReextractLayer { layer });
        findings.add(Severity::Damage, Place::Layer(layer), Cause::LayerMissing, affected, repair);
    }
    if let Some(store) = &store {
        check_journals(findings, store);
    }
    check_shared(findings);
    check_directories(findings);
    add_lacking(findings);
    Ok(())
}

/// Adds a finding for each wrong file of the records that dockerd would not load.
fn check_records(findings: &mut Findings<'_>, store: &LayerStore) -> Result<(), StoreError> {
    let (catalog, standing) = (findings.catalog(), findings.standing);
    let bent = find_bent(findings, store);
    let on_bent = findings.standing.standing_on(&bent);
    for (layer, damage) in catalog.damaged_layers() {
        let affected = || standing.on_layer(layer);
        let as_it_is = |damage: &RecordDamage| Cause::Damage(Damage::Layer { layer, cause: damage.clone() });
        match damage {
            RecordDamage::BelowMissing { .. } | RecordDamage::BelowDamaged { .. } => continue,
            RecordDamage::Circle => {
                let is_cause = bent.contains(&layer);
                // The finding about the record that closes the circle tells it.
                if !is_cause && on_bent.contains(&layer) {
                    continue;
                }
                let below = findings.standing.below_by_config(layer).filter(|_| is_cause);
                let repair = below.map(|below| Repair::RestoreField {
                    layer,
                    field: RecordField::Parent,
                    value: below.map(|below| below.to_string()),
                });
                findings.add(Severity::Damage, Place::Layer(layer), as_it_is(damage), affected(), repair);
            }
            RecordDamage::Record { .. } => match store.fields(layer) {
                Ok(Some(fields)) => {
                    if !check_fields(findings, layer, &fields, &affected()) {
                        findings.add(Severity::Damage, Place::Layer(layer), as_it_is(damage), affected(), None);
                    }
                }
                _ => findings.add(Severity::Damage, Place::Layer(layer), as_it_is(damage), affected(), None),
            },
        }
    }
    Ok(())
}

/// Layers in circles whose record names another parent than the configs of images do.
fn find_bent(findings: &Findings<'_>, store: &LayerStore) -> HashSet<ChainId> {
    let layers = findings.catalog().damaged_layers().filter(|(_, damage)| **damage == RecordDamage::Circle);
    let is_bent = |layer: &ChainId| {
        let Some(below) = findings.standing.below_by_config(*layer) else { return false };
        let fields = store.fields(*layer).ok().flatten();
        fields.is_none_or(|fields| fields.parent != Ok(below))
    };
    layers.map(|(layer, _)| layer).filter(is_bent).collect()
}

/// Adds a finding for each wrong file of a record. Returns whether there is any.
fn check_fields(findings: &mut Findings<'_>, layer: ChainId, fields: &RecordFields, affected: &Affected) -> bool {
    let place = Place::Layer(layer);
    if fields.empty {
        let repair = Some(Repair::DropRecord { layer });
        findings.add(Severity::Damage, place, Cause::RecordEmpty, affected.clone(), repair);
        return true;
    }
    let restore = |field, value| Some(Repair::RestoreField { layer, field, value });
    let below = findings.standing.below_by_config(layer).flatten();
    let mut wrong: Vec<(RecordField, &String, Option<Repair>)> = Vec::new();
    if let Err(reason) = &fields.size {
        wrong.push((RecordField::Size, reason, restore(RecordField::Size, None)));
    }
    if let Err(reason) = &fields.diff_id {
        let known = findings.diff_id(layer).map(|diff_id| diff_id.to_string());
        wrong.push((RecordField::Diff, reason, known.and_then(|known| restore(RecordField::Diff, Some(known)))));
    }
    if let Err(reason) = &fields.cache_id {
        // Nothing says any more which directory is the layer's. Once the record is removed, the layer can be loaded
        // again.
        wrong.push((RecordField::CacheId, reason, Some(Repair::DropRecord { layer })));
    }
    if let Err(reason) = &fields.parent {
        let value = below.map(|below| below.to_string());
        wrong.push((RecordField::Parent, reason, value.and_then(|value| restore(RecordField::Parent, Some(value)))));
    }
    if let Err(reason) = &fields.descriptor {
        wrong.push((RecordField::Descriptor, reason, restore(RecordField::Descriptor, None)));
    }
    let any = !wrong.is_empty();
    for (field, reason, repair) in wrong {
        let cause = Cause::Field { field, reason: reason.clone() };
        findings.add(Severity::Damage, place.clone(), cause, affected.clone(), repair);
    }
    any
}

/// Layers that something needs and that have no record.
fn find_missing(findings: &Findings<'_>) -> BTreeSet<ChainId> {
    let catalog = findings.catalog();
    let mut missing = BTreeSet::new();
    for (_, damage) in catalog.damaged_layers() {
        if let RecordDamage::BelowMissing { below } = damage {
            missing.insert(*below);
        }
    }
    for (image, damage) in &catalog.damaged_images {
        if let ImageDamage::TopLayer(UnusableLayer::Missing { .. }) = damage {
            let chain = catalog.layers_of_damaged(*image).unwrap_or_default();
            missing.extend(chain.iter().filter(|layer| !catalog.layers.contains_key(layer)));
        }
    }
    for container in &catalog.containers {
        if let Some(ContainerDamage::LayerBelow(UnusableLayer::Missing { layer })) = container.damage {
            missing.insert(layer);
        }
    }
    missing
}

/// Adds a finding for each record whose chain id is not the one that follows from its files: either the chain id or a
/// file is wrong. A `missing` layer may have such a record, and is not missing then.
fn add_misnamed(findings: &mut Findings<'_>, missing: &mut BTreeSet<ChainId>) {
    let catalog = findings.catalog();
    let faults = findings.view.faults().iter();
    let layers: Vec<ChainId> =
        faults.filter(|(_, fault)| *fault == LayerFault::WrongName).map(|(layer, _)| *layer).collect();
    for layer in &layers {
        let Some(record) = catalog.layer(*layer) else { continue };
        let named = ChainId::next(record.parent, record.diff_id);
        let mut affected = findings.standing.on_layer(*layer);
        let repair = if missing.remove(&named) {
            affected.join(findings.standing.on_layer(named));
            findings.note_renamed(named, *layer);
            Some(Repair::RenameRecord { layer: *layer, to: named })
        } else {
            wrong_file(findings, *layer)
        };
        let cause = Cause::Damage(Damage::LayerFault { layer: *layer, fault: LayerFault::WrongName });
        findings.add(Severity::Damage, Place::Layer(*layer), cause, affected, repair);
    }
    let layers: HashSet<ChainId> = layers.into_iter().collect();
    note_misnamed_above(findings, &layers);
}

/// Notes that the chain of `layers`, and of all that stand on them, is not known from their records.
fn note_misnamed_above(findings: &mut Findings<'_>, layers: &HashSet<ChainId>) {
    let on_them = findings.standing.standing_on(layers);
    let known = findings.catalog().layers.keys().copied();
    findings.note_misnamed(known.filter(|layer| on_them.contains(layer)).collect());
}

/// The repair of a record that is under a wrong chain id: the file that is wrong, if the configs of images tell.
fn wrong_file(findings: &Findings<'_>, layer: ChainId) -> Option<Repair> {
    let record = findings.catalog().layer(layer)?;
    let below = findings.standing.below_by_config(layer)?;
    if record.parent != below {
        let value = below.map(|below| below.to_string())?;
        return Some(Repair::RestoreField { layer, field: RecordField::Parent, value: Some(value) });
    }
    let known = findings.diff_id(layer).filter(|known| *known != record.diff_id)?;
    Some(Repair::RestoreField { layer, field: RecordField::Diff, value: Some(known.to_string()) })
}

/// Adds findings for journals that are missing, or whose first bytes are not those of a gzip file.
fn check_journals(findings: &mut Findings<'_>, store: &LayerStore) {
    let catalog = findings.catalog();
    let bad: HashSet<ChainId> =
        findings.view.faults().iter().filter_map(|(layer, fault)| is_journal(fault).then_some(*layer)).collect();
    for (layer, fault) in findings.view.faults().iter().filter(|(_, fault)| is_journal(fault)) {
        let cause = Cause::Damage(Damage::LayerFault { layer: *layer, fault: fault.clone() });
        journal_finding(findings, *layer, cause);
    }
    let layers: Vec<ChainId> =
        catalog.layers.values().flatten().map(|record| record.chain_id).filter(|layer| !bad.contains(layer)).collect();
    let beginnings = parallel::map_files(&layers, |layer| store.journal_begins_well(*layer));
    for (layer, begins) in layers.into_iter().zip(beginnings) {
        let reason = match begins {
            Ok(true) => continue,
            Ok(false) => "it is no gzip file".to_owned(),
            Err(error) => with_causes(&error),
        };
        journal_finding(findings, layer, Cause::JournalInvalid { reason });
    }
}

fn is_journal(fault: &LayerFault) -> bool {
    matches!(fault, LayerFault::JournalMissing | LayerFault::JournalEmpty)
}

pub(super) fn journal_finding(findings: &mut Findings<'_>, layer: ChainId, cause: Cause) {
    let affected = findings.standing.on_layer(layer);
    findings.add(Severity::Damage, Place::Layer(layer), cause, affected, Some(Repair::RebuildJournal { layer }));
}

/// Finds layers whose records name the same directory. Which of them it belongs to is only known from the files, so each
/// is reported.
fn check_shared(findings: &mut Findings<'_>) {
    let catalog = findings.catalog();
    let mut first: HashMap<&CacheId, ChainId> = HashMap::new();
    let mut pairs = Vec::new();
    for record in catalog.layers.values().flatten() {
        match first.entry(&record.cache_id) {
            Entry::Vacant(place) => drop(place.insert(record.chain_id)),
            Entry::Occupied(other) => pairs.push((record.chain_id, *other.get())),
        }
    }
    let mounts: HashMap<CacheId, &MountName> = catalog
        .mounts
        .iter()
        .flat_map(|mount| named_directories(mount).into_iter().map(move |id| (id, &mount.name)))
        .collect();
    let records = catalog.layers.values().flatten();
    let of_mounts: Vec<(ChainId, &MountName)> =
        records.filter_map(|record| Some((record.chain_id, *mounts.get(&record.cache_id)?))).collect();
    // One of two layers with the same directory has a wrong record, so what the layers above should stand on is not
    // known.
    let mut layers: HashSet<ChainId> = pairs.iter().flat_map(|(one, other)| [*one, *other]).collect();
    layers.extend(of_mounts.iter().map(|(layer, _)| *layer));
    note_misnamed_above(findings, &layers);
    for (layer, mount) in of_mounts {
        let affected = findings.standing.on_layer(layer);
        let repair = Some(Repair::RestoreField { layer, field: RecordField::CacheId, value: None });
        let cause = Cause::DirectoryOfMount { mount: mount.clone() };
        findings.add(Severity::Damage, Place::Layer(layer), cause, affected, repair);
    }
    for (layer, with) in pairs.into_iter().flat_map(|(one, other)| [(one, other), (other, one)]) {
        let affected = findings.standing.on_layer(layer);
        let repair = Some(Repair::ReextractLayer { layer });
        findings.add(Severity::Damage, Place::Layer(layer), Cause::DirectoryShared { with }, affected, repair);
    }
}

/// Checks the directory of each layer in the driver's home. If damage of a layer below also shows in the layers above,
/// that is one finding.
pub(super) fn check_directories(findings: &mut Findings<'_>) {
    let mut faults: BTreeMap<ChainId, &LayerFault> = BTreeMap::new();
    for (layer, fault) in findings.view.faults() {
        if matches!(fault, LayerFault::CannotMount { .. } | LayerFault::MountUnknown { .. }) {
            faults.insert(*layer, fault);
        }
    }
    // Layers that are damaged themselves come before layers that only stand on them.
    let is_own = |fault: &LayerFault| match fault {
        LayerFault::CannotMount { cause } => !follows(cause),
        _ => true,
    };
    let (own, faults): (BTreeMap<_, _>, BTreeMap<_, _>) = faults.into_iter().partition(|(_, fault)| is_own(fault));
    for (layer, fault) in own {
        add_fault(findings, layer, fault);
    }
    // Of a layer and one below it, the lower one comes first, whose damage may be the cause.
    let mut met = HashSet::new();
    for top in faults.keys() {
        let (mut path, mut next) = (Vec::new(), Some(*top));
        while let Some(layer) = next.filter(|layer| met.insert(*layer)) {
            path.push(layer);
            next = findings.standing.below(layer);
        }
        for (layer, fault) in path.iter().rev().filter_map(|layer| Some((*layer, *faults.get(layer)?))) {
            let below = findings.standing.below(layer);
            if below.and_then(|below| findings.nearest_damage(below)).is_none() {
                add_fault(findings, layer, fault);
            }
        }
    }
}

/// Adds the finding about a layer's directory.
fn add_fault(findings: &mut Findings<'_>, layer: ChainId, fault: &LayerFault) {
    let affected = || findings.standing.on_layer(layer);
    let place = Place::Layer(layer);
    let cause = Cause::Damage(Damage::LayerFault { layer, fault: fault.clone() });
    let LayerFault::CannotMount { cause: damage } = fault else {
        return findings.add(Severity::Unknown, place, cause, affected(), None);
    };
    // The chain by the records is not known here, so what the file names is not known to be wrong.
    if findings.is_misnamed(layer) && disagrees(damage) {
        return;
    }
    let catalog = findings.catalog();
    let (Some(record), Some(driver)) = (catalog.layer(layer), &findings.view.root.driver) else { return };
    let below = || parents_for(driver, catalog, record.parent);
    let repair = repair_of(damage, &record.cache_id, below, || Some(Repair::ReextractLayer { layer }));
    findings.add(Severity::Damage, place, cause, affected(), repair);
}

/// Whether a damage may be only a consequence of damage of a layer below.
pub(super) fn follows(damage: &LayerDamage) -> bool {
    matches!(damage, LayerDamage::Dangling { .. } | LayerDamage::Misled { .. })
}

/// Whether a damage is that the files in a layer's directory disagree with the records.
pub(super) fn disagrees(damage: &LayerDamage) -> bool {
    matches!(
        damage,
        LayerDamage::Short { .. }
            | LayerDamage::Reordered { .. }
            | LayerDamage::OnAnother { .. }
            | LayerDamage::Missing { part: LayerPart::Lower, .. }
    )
}

/// The repair of a layer's directory. `content` is the repair that would bring back its files.
pub(super) fn repair_of(
    damage: &LayerDamage,
    directory: &CacheId,
    below: impl FnOnce() -> Vec<CacheId>,
    content: impl FnOnce() -> Option<Repair>,
) -> Option<Repair> {
    let directory = directory.clone();
    let part = match damage {
        LayerDamage::TooDeep { .. } => return None,
        LayerDamage::Missing { part, .. } | LayerDamage::Invalid { part, .. } => *part,
        LayerDamage::WrongLink { .. } => LayerPart::Link,
        _ => LayerPart::Lower,
    };
    match part {
        LayerPart::Content => content(),
        LayerPart::Link | LayerPart::Links => Some(Repair::RelinkLayer { directory }),
        LayerPart::Lower => Some(Repair::RewriteLower { directory, below: below() }),
        LayerPart::Work => Some(Repair::CreateWork { directory }),
        LayerPart::Committed => Some(Repair::MarkCommitted { directory }),
    }
}

/// Adds notes for parts of a layer's directory that dockerd would have made, but does not need while the layer is only
/// read.
fn add_lacking(findings: &mut Findings<'_>) {
    let catalog = findings.catalog();
    let Some(driver) = &findings.view.root.driver else { return };
    let mounted = catalog.mounts.iter().filter_map(|mount| mount.parent);
    let parents: HashSet<ChainId> =
        catalog.layers.values().flatten().filter_map(|record| record.parent).chain(mounted).collect();
    let records: Vec<_> = catalog.layers.values().flatten().collect();
    let found = parallel::map(&records, |record| {
        let (below, above) = (record.parent.is_some(), parents.contains(&record.chain_id));
        driver.lacks(&record.cache_id, below, above).unwrap_or_default()
    });
    // Docker before 2019 did not make the file `committed`, so if all layers below others lack it, that is not worth a
    // note.
    let old = |part: &LayerPart| {
        *part == LayerPart::Committed && found.iter().filter(|parts| parts.contains(part)).count() == parents.len()
    };
    for (record, parts) in records.iter().zip(&found) {
        let layer = record.chain_id;
        if findings.is_damaged(&Place::Layer(layer)) {
            continue;
        }
        for part in parts.iter().filter(|part| !old(part)) {
            let directory = record.cache_id.clone();
            let (cause, repair) = match part {
                LayerPart::Work => (Cause::WorkMissing, Repair::CreateWork { directory }),
                _ => (Cause::CommittedMissing, Repair::MarkCommitted { directory }),
            };
            let affected = findings.standing.on_layer(layer);
            findings.add(Severity::Note, Place::Layer(layer), cause, affected, Some(repair));
        }
    }
}

/// Adds `affected` to those whom the cause of a damaged layer affects. Returns whether that cause was found.
pub(super) fn join_cause(
    findings: &mut Findings<'_>,
    layer: ChainId,
    damage: &RecordDamage,
    affected: &Affected,
) -> bool {
    findings.join(&Place::Layer(root_of(layer, damage)), affected)
        || (*damage == RecordDamage::Circle && findings.join_nearest(layer, affected))
}
