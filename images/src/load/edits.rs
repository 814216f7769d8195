//! What an import does to the store, as edits of one transaction: layers, then images, then names.

use std::sync::Arc;

use super::error::ImportError;
use super::layers::Staged;
use super::options::ImportRequest;
use super::plan::{ImportPlan, MissingLayer, PlannedImage};
use super::report::{ImportReport, TagReport};
use crate::source::SourceContents;
use snapshot::edit::{Edit, Transaction};
use snapshot::reference::Reference;
use snapshot::schema::distribution::BlobSource;
use snapshot::schema::references::References;

/// Registers what was unpacked, and names it.
pub(super) fn commit(
    mut transaction: Transaction,
    plan: &ImportPlan,
    staged: &[Staged],
    contents: SourceContents,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    if request.is_interrupted() {
        return Err(ImportError::Interrupted);
    }
    let (references, tags) = tag_all(plan, References::load(transaction.root().images_dir())?, request.options.retag);
    let repository = contents.repository.clone();
    let report = ImportReport::new(plan, staged, tags, contents, None);
    for Staged { missing, slot, unpacked } in staged {
        let &MissingLayer { chain_id, diff_id, parent, .. } = missing;
        transaction.add(Edit::AddLayer { slot: *slot, chain_id, diff_id, parent, size: unpacked.size });
    }
    for image in &plan.images {
        transaction.add(Edit::AddImage { config: Arc::clone(&image.config), parent: image.parent });
        for reference in &image.tags {
            if references.get(reference) == Some(image.id) {
                transaction.add(Edit::SetTag { reference: reference.clone(), image: image.id });
            }
        }
    }
    if let Some(repository) = &repository {
        // dockerd notes nothing of an image that it has already.
        for layer in plan.images.iter().filter(|image| !image.present).flat_map(|image| &image.layers) {
            if let Some(blob) = layer.blob {
                let source = BlobSource { digest: blob, repository: repository.clone() };
                transaction.add(Edit::NoteSource { source, diff_id: layer.diff_id, hmac: String::new() });
            }
        }
    }
    transaction.commit()?;
    Ok(report)
}

/// Sets the tags of all images, in the archive's order.
pub(super) fn tag_all(plan: &ImportPlan, mut references: References, retag: bool) -> (References, Vec<Vec<TagReport>>) {
    let mut tag = |image: &PlannedImage, reference: &Reference| {
        let before = references.get(reference).filter(|&id| id != image.id);
        let kept = before.is_some() && !retag;
        if !kept {
            references.tag(reference, image.id);
        }
        TagReport { name: reference.familiar(), kept, moved_from: before.filter(|_| !kept) }
    };
    let tags =
        plan.images.iter().map(|image| image.tags.iter().map(|reference| tag(image, reference)).collect()).collect();
    (references, tags)
}
