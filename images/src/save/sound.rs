//! What can be read of a damaged store: the layers that are sound, and the images that need no others.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use layerfs::DiffId;
use serde::Serialize;
use snapshot::StoreError;
use snapshot::root::DataRoot;
use snapshot::schema::layer::LayerStore;

use super::documents::SavedLayer;
use super::error::SaveError;
use super::output::Output;
use super::plan::{ImageToSave, SavePlan};
use super::{SaveOptions, write_one};

/// A layer that cannot be read as it was stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LostLayer {
    /// The layer.
    pub diff_id: DiffId,
    /// Why, from the outermost cause to the innermost.
    pub reason: String,
}

/// The layers of a plan that were written, and those that are lost.
pub(super) struct Written {
    pub(super) saved: BTreeMap<DiffId, SavedLayer>,
    pub(super) lost: Vec<LostLayer>,
}

/// Writes the layers one after the other, and goes on after one that cannot be read. A layer that only images without hope
/// need is not read.
pub(super) fn write_layers(
    root: &DataRoot,
    layers: Option<&LayerStore>,
    plan: &SavePlan,
    output: &mut Output<'_>,
    options: &SaveOptions<'_>,
) -> Result<Written, SaveError> {
    let mut written = Written { saved: BTreeMap::new(), lost: Vec::new() };
    let mut hopeless: BTreeSet<usize> = BTreeSet::new();
    for (number, layer) in plan.layers.iter().enumerate() {
        let users = plan.images.iter().enumerate().filter(|(_, image)| image.diff_ids.contains(&layer.diff_id));
        let users: Vec<usize> = users.map(|(at, _)| at).collect();
        if users.iter().all(|user| hopeless.contains(user)) {
            continue;
        }
        match write_one(root, layers, (number, layer), output, options) {
            Ok(saved) => drop(written.saved.insert(layer.diff_id, saved)),
            Err(error) if is_of_layer(&error) => {
                output.abandon().map_err(output.failed())?;
                hopeless.extend(users);
                written.lost.push(LostLayer { diff_id: layer.diff_id, reason: causes(&error) });
            }
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}

/// The images of a plan whose layers were all written, and the others.
pub(super) fn divide(plan: &SavePlan, saved: &BTreeMap<DiffId, SavedLayer>) -> (SavePlan, Vec<ImageToSave>) {
    let whole = |image: &ImageToSave| image.diff_ids.iter().all(|layer| saved.contains_key(layer));
    let (mut images, lost): (Vec<_>, Vec<_>) = plan.images.iter().cloned().partition(whole);
    for image in &mut images {
        // A daemon refuses an archive that names a parent and does not have it.
        image.parent = image.parent.filter(|parent| lost.iter().all(|other| other.id != *parent));
    }
    let layers = plan.layers.iter().filter(|layer| saved.contains_key(&layer.diff_id)).cloned().collect();
    (SavePlan { images, layers }, lost)
}

/// Whether an error is one of a layer, and not of the output or of this machine.
pub(crate) fn is_of_layer(error: &SaveError) -> bool {
    match error {
        SaveError::Layer { .. } | SaveError::Missing { .. } | SaveError::Differs { .. } => true,
        // A layer of devicemapper is read from a temporary copy of its device, for which there may be no room.
        SaveError::Store(StoreError::Io { source, .. }) => {
            !matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::PermissionDenied)
        }
        SaveError::Store(_) => true,
        _ => false,
    }
}

/// An error with its causes, in one line.
pub(crate) fn causes(error: &SaveError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
