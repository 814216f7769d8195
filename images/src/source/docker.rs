//! `manifest.json`, the index of a `docker save` archive (docker-archive), read as moby's `image/tarexport/load.go` does.
//!
//! ```text
//! [{"Config": "<file>", "RepoTags": ["app:1"] | null, "Layers": ["<file>", ...], "Parent": "sha256:..."}, ...]
//! ```
//!
//! File names of old archives (`<id>.json`, `<v1 id>/layer.tar`) and new ones (`blobs/sha256/<hex>`) mean nothing more than
//! where to look.

use super::error::ArchiveError;
use super::image::{Documents, Format, LayerRef, SourceContents, SourceImage};
use super::json::{self, object};
use super::names::Names;

pub(super) const MANIFEST: &str = "manifest.json";

object!(last
    struct ItemFields {
        config: String = "config",
        repo_tags: Vec<String> = "repotags",
        layers: Vec<String> = "layers",
        parent: String = "parent",
    }
);

/// An item that names a config.
struct Item {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
    parent: Option<String>,
}

impl<'de> serde::Deserialize<'de> for Item {
    /// Checks at once, so that a list of empty objects does not become a list of structs many times its size.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = ItemFields::deserialize(deserializer)?;
        Ok(Self {
            config: fields.config.value().ok_or_else(|| serde::de::Error::missing_field("Config"))?,
            repo_tags: fields.repo_tags.value().unwrap_or_default(),
            layers: fields.layers.value().unwrap_or_default(),
            parent: fields.parent.value().filter(|parent| !parent.is_empty()),
        })
    }
}

pub(super) fn contents(manifest: &[u8], documents: &mut Documents<'_>) -> Result<SourceContents, ArchiveError> {
    let items: Option<Vec<Item>> = json::first(MANIFEST, manifest)?;
    let items = items.ok_or(ArchiveError::NullManifest)?;
    let images = items.into_iter().enumerate().map(|(number, item)| image(number, item, documents));
    let images = images.collect::<Result<_, _>>()?;
    Ok(SourceContents { format: Some(Format::DockerArchive), images, ..SourceContents::default() })
}

fn image(number: usize, item: Item, documents: &mut Documents<'_>) -> Result<SourceImage, ArchiveError> {
    let place = format!("{MANIFEST}: item {number}");
    let mut names = Names::default();
    item.repo_tags.iter().for_each(|text| names.add_repo_tag(&place, text));
    let layers = item.layers.into_iter().map(|name| LayerRef { name, descriptor: None }).collect();
    let parent = item.parent.map(|parent| parent.parse()).transpose().map_err(|error: layerfs::InvalidDigest| {
        let field = format!("item {number}: Parent");
        ArchiveError::Field { file: MANIFEST.into(), field, reason: error.to_string() }
    })?;
    let config = documents.config(&item.config, |documents| documents.required(&item.config))?;
    Ok(SourceImage {
        config: config.bytes,
        config_name: item.config,
        id: config.id,
        tags: names.tags.into_vec(),
        unusable_names: names.unusable.into_vec(),
        layers,
        parent,
        origin: place,
    })
}
