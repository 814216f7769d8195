//! What was unpacked, and the list of it that is left beside it.

use layerfs::{ChainId, DiffId, Unpacked};
use serde::Serialize;

use super::destination::{UnpackForm, directory_name};
use crate::source::{Format, SourceContents, SourceImage, UnusableName};
use snapshot::ids::ImageId;
use snapshot::reference::Reference;

/// One unpacked layer. The JSON form is an entry of `layers.json`.
#[derive(Debug, Clone, Serialize)]
pub struct UnpackedLayer {
    /// Its directory, relative to the list; absent when layers were flattened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The layer's content.
    pub diff_id: DiffId,
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// Its name in the archive.
    pub source: String,
    /// The layer's size in bytes, as Docker counts it.
    pub size: u64,
    /// Length of its tar in bytes.
    pub tar_bytes: u64,
    /// Members of its tar.
    pub members: u64,
    /// How many things were left out of it.
    pub warnings: u64,
}

/// What was unpacked. The JSON form is `layers.json`.
#[derive(Debug, Clone, Serialize)]
pub struct UnpackReport {
    /// The image; absent for a bare layer.
    pub image: Option<ImageId>,
    /// Its names.
    pub tags: Vec<String>,
    /// Names that the archive gives it and that it cannot have, each with the reason.
    pub unusable_names: Vec<UnusableName>,
    /// Its layers, base first.
    pub layers: Vec<UnpackedLayer>,
    /// Parts of the archive that were left out, in sentences.
    pub skipped: Vec<String>,
    /// Oddities of the archive that did not stop the unpacking, in sentences.
    pub warnings: Vec<String>,
    /// How the archive describes the image; absent for a bare layer.
    #[serde(skip)]
    pub format: Option<Format>,
    /// The image's config, as it is in the archive; absent for a bare layer.
    #[serde(skip)]
    pub config: Option<std::sync::Arc<[u8]>>,
}

impl UnpackReport {
    /// The report of an image, or of a bare layer called `name`.
    pub(super) fn new(
        name: &str,
        image: Option<&SourceImage>,
        contents: &SourceContents,
        unpacked: &[&Unpacked],
        form: UnpackForm,
    ) -> Self {
        let diff_ids: Vec<DiffId> = unpacked.iter().map(|layer| layer.diff_id).collect();
        let entry = |(index, (layer, chain_id)): (usize, (&&Unpacked, ChainId))| UnpackedLayer {
            directory: (form == UnpackForm::Layers).then(|| directory_name(index, layer.diff_id)),
            diff_id: layer.diff_id,
            chain_id,
            source: image.map_or(name, |image| &image.layers[index].name).to_owned(),
            size: layer.size,
            tar_bytes: layer.tar_bytes,
            members: layer.members,
            warnings: layer.warnings.total(),
        };
        Self {
            image: image.map(|image| ImageId(image.id)),
            tags: image.map_or_else(Vec::new, |image| image.tags.iter().map(Reference::familiar).collect()),
            unusable_names: image.map_or_else(Vec::new, |image| image.unusable_names.clone()),
            layers: unpacked.iter().zip(ChainId::chain(&diff_ids)).enumerate().map(entry).collect(),
            skipped: contents.skipped.clone(),
            warnings: contents.warnings.clone(),
            format: contents.format,
            config: image.map(|image| image.config.clone()),
        }
    }
}
