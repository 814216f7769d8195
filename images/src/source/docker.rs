//! `manifest.json`, the index of a `docker save` archive (docker-archive), read as moby's `image/tarexport/load.go` does.
//!
//! ```text
//! [{"Config": "<file>", "RepoTags": ["app:1"] | null, "Layers": ["<file>", ...], "Parent": "sha256:..."}, ...]
//! ```
//!
//! File names of old archives (`<id>.json`, `<v1 id>/layer.tar`) and new ones (`blobs/sha256/<hex>`) mean nothing more than
//! where to look.

use std::collections::BTreeMap;

use snapshot::schema::gojson::{self, Decode, DecodeError, Expected, JsonDecoder};

use super::error::ArchiveError;
use super::image::{Documents, Format, LayerRef, SourceContents, SourceImage};
use super::names::Names;
use super::namespace::check_layer_name;

pub(super) const MANIFEST: &str = "manifest.json";

snapshot::go_struct! {
    /// An item of the list (moby v20.10.24 `image/tarexport/tarexport.go: manifestItem`).
    struct Item {
        config: String = "Config",
        repo_tags: Vec<String> = "RepoTags",
        layers: Vec<String> = "Layers",
        parent: String = "Parent",
        layer_sources: Sources = "LayerSources",
    }
}

snapshot::go_struct! {
    /// Where a layer can be had (distribution v2.8.1 `blobs.go: Descriptor`). Docker checks that it is one and looks no further,
    /// unless it runs on Windows.
    struct Source {
        media_type: String = "mediaType",
        size: i64 = "size",
        digest: String = "digest",
        urls: Vec<String> = "urls",
        annotations: BTreeMap<String, String> = "annotations",
        platform: Option<SourcePlatform> = "platform",
    }
}

snapshot::go_struct! {
    struct SourcePlatform {
        architecture: String = "architecture",
        os: String = "os",
        version: String = "os.version",
        features: Vec<String> = "os.features",
        variant: String = "variant",
    }
}

/// The values of `LayerSources`: each is decoded, and none is kept.
#[derive(Debug, Clone, PartialEq, Default)]
struct Sources;

impl Decode for Sources {
    fn expected() -> Expected {
        Expected::Object
    }

    fn object(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        decoder.members(|decoder, _| Source::default().value(decoder))
    }
}

/// The items that name a config, and the first that names none. Those are not kept, so that a list of empty objects does not
/// become a list of structs many times its size.
#[derive(Debug, Default)]
struct Items {
    named: Vec<Item>,
    unnamed: Option<usize>,
}

impl Decode for Items {
    fn expected() -> Expected {
        Expected::List
    }

    fn array(&mut self, decoder: &mut JsonDecoder<'_>) -> Result<(), DecodeError> {
        decoder.elements(|decoder, at| {
            let mut item = Item::default();
            item.value(decoder)?;
            if item.config.is_empty() {
                self.unnamed.get_or_insert(at);
            } else {
                self.named.push(item);
            }
            Ok(())
        })?;
        Ok(())
    }
}

pub(super) fn contents(manifest: &[u8], documents: &mut Documents<'_>) -> Result<SourceContents, ArchiveError> {
    let broken = |reason| ArchiveError::Json { file: MANIFEST.into(), reason };
    if manifest.is_empty() {
        return Err(broken("empty file".into()));
    }
    let items: Option<Items> = gojson::first_value(manifest).map_err(|error| broken(error.to_string()))?;
    let items = items.ok_or(ArchiveError::NullManifest)?;
    if let Some(number) = items.unnamed {
        let field = format!("item {number}: Config");
        return Err(ArchiveError::Field { file: MANIFEST.into(), field, reason: "is missing".into() });
    }
    let images = items.named.into_iter().enumerate().map(|(number, item)| image(number, item, documents));
    let images = images.collect::<Result<_, _>>()?;
    Ok(SourceContents { format: Some(Format::DockerArchive), images, ..SourceContents::default() })
}

fn image(number: usize, item: Item, documents: &mut Documents<'_>) -> Result<SourceImage, ArchiveError> {
    let place = format!("{MANIFEST}: item {number}");
    let mut names = Names::default();
    item.repo_tags.iter().for_each(|text| names.add_repo_tag(&place, text));
    // As dockerd, which passes over a parent that is no image of this archive, whatever it is called.
    let parent = item.parent.parse().ok();
    let config = documents.config(&item.config, |documents| documents.required(&item.config))?;
    item.layers.iter().try_for_each(|name| check_layer_name(name))?;
    let layers = item.layers.into_iter().map(|name| LayerRef { name, descriptor: None }).collect();
    Ok(SourceImage {
        config: config.bytes,
        config_name: item.config,
        id: config.id,
        tags: names.tags.into_vec(),
        unusable_names: names.unusable.into_vec(),
        layers,
        parent,
        origin: place,
        manifest: None,
        targets: Vec::new(),
    })
}
