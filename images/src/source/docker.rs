//! `manifest.json`, the index of a `docker save` archive (docker-archive), read as moby's `image/tarexport/load.go` does.
//!
//! ```text
//! [{"Config": "<file>", "RepoTags": ["app:1"] | null, "Layers": ["<file>", ...], "Parent": "sha256:..."}, ...]
//! ```
//!
//! File names of old archives (`<id>.json`, `<v1 id>/layer.tar`) and new ones (`blobs/sha256/<hex>`) mean nothing more than
//! where to look. All tags are checked before anything is loaded; dockerd finds a bad one after it has made the image.

use super::error::ArchiveError;
use super::image::{Contents, Documents, Format, Image, LayerRef, Select};
use super::json::{self, object};
use super::namespace::clean_name;
use snapshot::reference::Reference;

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

pub(super) fn contents(
    manifest: &[u8],
    select: &Select,
    documents: &mut Documents<'_>,
) -> Result<Contents, ArchiveError> {
    let items: Option<Vec<Item>> = json::first(MANIFEST, manifest)?;
    let items = items.ok_or(ArchiveError::NullManifest)?;
    let images = items.into_iter().enumerate().map(|(number, item)| image(number, item, select, documents));
    let images = images.collect::<Result<_, _>>()?;
    Ok(Contents { format: Some(Format::DockerArchive), images, skipped: Vec::new() })
}

fn image(number: usize, item: Item, select: &Select, documents: &mut Documents<'_>) -> Result<Image, ArchiveError> {
    let tags = item.repo_tags.into_iter().map(|text| tag(number, text)).collect::<Result<_, _>>()?;
    let layer = |name: String| {
        clean_name(&name)?;
        Ok(LayerRef { name, descriptor: None })
    };
    let layers = item.layers.into_iter().map(layer).collect::<Result<_, ArchiveError>>()?;
    let parent = item.parent.map(|parent| parent.parse()).transpose().map_err(|error: layerfs::InvalidDigest| {
        let field = format!("item {number}: Parent");
        ArchiveError::Field { file: MANIFEST.into(), field, reason: error.to_string() }
    })?;
    clean_name(&item.config)?;
    let config = documents.config(&item.config, |documents| documents.required(&item.config))?;
    config.check_platform(&item.config, select)?;
    Ok(Image {
        config: config.bytes,
        config_name: item.config,
        id: config.id,
        tags,
        layers,
        parent,
        origin: format!("{MANIFEST}: item {number}"),
    })
}

fn tag(item: usize, text: String) -> Result<Reference, ArchiveError> {
    match Reference::parse(&text) {
        Ok(reference) if reference.tag().is_some() && reference.digest().is_none() => Ok(reference),
        Ok(_) => Err(ArchiveError::InvalidTag { item, tag: text, source: None }),
        Err(source) => Err(ArchiveError::InvalidTag { item, tag: text, source: Some(source) }),
    }
}
