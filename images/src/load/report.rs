//! What an import did, or would do.

use layerfs::{ChainId, Unpacked};
use serde::Serialize;

use super::layers::Staged;
use super::plan::{ImportPlan, PlannedLayer};
use super::room::Need;
use crate::source::{Format, SourceContents, UnusableName};
use snapshot::ids::ImageId;

/// What became of one tag.
#[derive(Debug, Clone, Serialize)]
pub struct TagReport {
    /// The tag, as docker shows it.
    pub name: String,
    /// The tag belongs to another image and was left there.
    pub kept: bool,
    /// The image that had the tag before.
    pub moved_from: Option<ImageId>,
}

/// One image.
#[derive(Debug, Clone, Serialize)]
pub struct ImageReport {
    /// Its id.
    pub id: ImageId,
    /// Its config was in the store before.
    pub present: bool,
    /// Its tags.
    pub tags: Vec<TagReport>,
    /// Names that the archive gives it and that it cannot have, each with the reason.
    pub unusable_names: Vec<UnusableName>,
    /// Its layers, base first.
    pub layers: Vec<PlannedLayer>,
}

/// A layer that was unpacked.
#[derive(Debug, Clone, Serialize)]
pub struct NewLayer {
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// The layer's size in bytes, as Docker counts it.
    pub size: u64,
    /// Length of its tar in bytes.
    pub tar_bytes: u64,
    /// Members of its tar.
    pub members: u64,
    /// How many things were left out of it.
    pub warnings: u64,
}

impl NewLayer {
    pub(crate) fn new(chain_id: ChainId, unpacked: &Unpacked) -> Self {
        let Unpacked { size, tar_bytes, members, .. } = *unpacked;
        Self { chain_id, size, tar_bytes, members, warnings: unpacked.warnings.total() }
    }
}

/// What an import did. Its JSON form is for programs, and keeps its keys.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// The images, in the archive's order.
    pub images: Vec<ImageReport>,
    /// The layers that were unpacked, parents first.
    pub unpacked: Vec<NewLayer>,
    /// Chain ids of the layers that the store lacks: all of `unpacked`, or, in a dry run, what would be.
    pub missing: Vec<ChainId>,
    /// Parts of the archive that were left out, in sentences.
    pub skipped: Vec<String>,
    /// Oddities of the archive that did not stop the import, in sentences.
    pub warnings: Vec<String>,
    /// What the missing layers take up, in a dry run.
    pub need: Option<Need>,
    /// How the archive describes its images.
    #[serde(skip)]
    pub format: Option<Format>,
}

impl ImportReport {
    pub(crate) fn new(
        plan: &ImportPlan,
        staged: &[Staged],
        tags: Vec<Vec<TagReport>>,
        contents: SourceContents,
        need: Option<Need>,
    ) -> Self {
        let image = |(image, tags): (&super::plan::PlannedImage, _)| ImageReport {
            id: image.id,
            present: image.present,
            tags,
            unusable_names: image.unusable_names.clone(),
            layers: image.layers.clone(),
        };
        let layer = |layer: &Staged| NewLayer::new(layer.missing.chain_id, &layer.unpacked);
        Self {
            images: plan.images.iter().zip(tags).map(image).collect(),
            unpacked: staged.iter().map(layer).collect(),
            missing: plan.missing.iter().map(|missing| missing.chain_id).collect(),
            skipped: contents.skipped,
            warnings: contents.warnings,
            need,
            format: contents.format,
        }
    }
}
