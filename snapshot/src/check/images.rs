//! Checks images: their configs, their metadata, their names.

use std::collections::BTreeSet;

use super::finding::{Affected, Cause, Place, Severity};
use super::findings::Findings;
use super::layers::join_cause;
use super::repair::Repair;
use crate::catalog::{Damage, ImageDamage, UnusableLayer};
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::reference::Reference;
use crate::schema::references;
use crate::schema::time::Time;

pub(super) fn check(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    check_names(findings)?;
    add_damaged(findings);
    check_metadata(findings)
}

/// Checks `repositories.json` and the names in it.
fn check_names(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let catalog = findings.catalog();
    let place = Place::References;
    let all = || Affected { images: catalog.images.keys().copied().collect(), containers: Vec::new() };
    if let Some(cause) = &catalog.damaged_references {
        let cause = Cause::Damage(Damage::References { cause: cause.clone() });
        findings.add(Severity::Damage, place, cause, all(), Some(Repair::RewriteReferences));
        return Ok(());
    }
    let Some(dir) = &findings.view.root.images_dir else { return Ok(()) };
    if !catalog.images.is_empty() && dir.stat(references::FILE)?.is_none() {
        let repair = Some(Repair::RewriteReferences);
        findings.add(Severity::Damage, place, Cause::ReferencesMissing, all(), repair);
        return Ok(());
    }
    for (name, id) in catalog.references.iter() {
        // docker looks a name up in its familiar form, so only a name that is stored in that form can be found.
        let usable = Reference::parse(name).is_ok_and(|reference| catalog.references.get(&reference) == Some(id));
        if !usable {
            let affected = findings.standing.on_image(id);
            let cause = Cause::NameUnusable { name: name.to_owned() };
            findings.add(Severity::Note, place.clone(), cause, affected, None);
        }
    }
    Ok(())
}

/// Adds the findings for images that dockerd would not show. If the reason is damage of a layer, the image is only
/// added to those whom that damage affects.
fn add_damaged(findings: &mut Findings<'_>) {
    let catalog = findings.catalog();
    for (image, damage) in &catalog.damaged_images {
        let affected = findings.standing.on_image(*image);
        let known = match damage {
            ImageDamage::TopLayer(UnusableLayer::Damaged { layer, cause }) => {
                join_cause(findings, *layer, cause, &affected)
            }
            ImageDamage::TopLayer(UnusableLayer::Missing { layer }) => findings.join(&Place::Layer(*layer), &affected),
            _ => false,
        };
        if known {
            continue;
        }
        let reload = Some(Repair::ReloadImage { image: *image });
        let (severity, repair) = match damage {
            ImageDamage::ConfigMissing | ImageDamage::DigestDiffers | ImageDamage::ConfigUnreadable { .. } => {
                (Severity::Damage, reload)
            }
            // The image was made for another system and is not damaged: dockerd ignores it.
            // Nor is a config damaged because it is longer than what is read here.
            ImageDamage::OtherSystem { .. } | ImageDamage::ConfigNotRead { .. } => (Severity::Note, None),
            _ => (Severity::Damage, None),
        };
        let cause = Cause::Damage(Damage::Image { image: *image, cause: damage.clone() });
        findings.add(severity, Place::Image(*image), cause, affected, repair);
    }
}

/// Checks the metadata that docker keeps beside an image's config.
fn check_metadata(findings: &mut Findings<'_>) -> Result<(), StoreError> {
    let catalog = findings.catalog();
    for image in catalog.images.values() {
        let (id, place) = (image.id, Place::Image(image.id));
        let affected = || findings_affected(id);
        if let Some(found) = &image.parent
            && !image.parent_id().is_some_and(|parent| is_image(findings, parent))
        {
            let cause = Cause::ImageParent { found: found.clone() };
            let repair = Some(Repair::DropImageParent { image: id });
            findings.add(Severity::Damage, place.clone(), cause, affected(), repair);
        }
        if let Some(found) = image.last_tagged.as_ref().filter(|text| Time::parse(text).is_err()) {
            let cause = Cause::ImageTime { found: found.clone() };
            let repair = Some(Repair::DropImageTime { image: id });
            findings.add(Severity::Damage, place.clone(), cause, affected(), repair);
        }
        if image.count_layer_steps() > image.diff_ids.len() {
            findings.add(Severity::Note, place, Cause::ImageHistory, affected(), None);
        }
    }
    let Some(store) = findings.view.root.images()? else { return Ok(()) };
    let with_config: BTreeSet<ImageId> = store.list()?.into_iter().collect();
    for id in store.list_metadata()? {
        if !with_config.contains(&id) && !catalog.damaged_images.contains_key(&id) {
            let repair = Some(Repair::Collect);
            findings.add(Severity::Note, Place::Image(id), Cause::MetadataWithoutImage, Affected::default(), repair);
        }
    }
    Ok(())
}

fn findings_affected(id: ImageId) -> Affected {
    Affected { images: vec![id], containers: Vec::new() }
}

fn is_image(findings: &Findings<'_>, id: ImageId) -> bool {
    let catalog = findings.catalog();
    catalog.images.contains_key(&id) || catalog.damaged_images.contains_key(&id)
}
