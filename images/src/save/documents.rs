//! The documents of an archive: for docker `manifest.json`, for everybody else an OCI image layout.
//!
//! ```text
//! blobs/sha256/<hex>    layers, configs, OCI manifests
//! index.json            a descriptor for each name
//! manifest.json         docker's; not in a pure OCI layout
//! oci-layout
//! ```
//!
//! They are those that `docker save` of version 25 and later writes (moby v26.1 `image/tarexport/save.go`), without what
//! nobody reads.

use std::collections::BTreeMap;

use layerfs::compress::encode::Encoding;
use layerfs::{DiffId, Digest};
use serde::Serialize;
use snapshot::containerd::documents::Manifest;
use snapshot::ids::ImageId;
use snapshot::reference::Reference;

use super::plan::ImageToSave;

/// The name and the content of the file that tells the layout's version; there is only one.
pub(super) const OCI_LAYOUT: (&str, &[u8]) = ("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);

pub(super) const INDEX: &str = "index.json";
pub(super) const MANIFEST: &str = "manifest.json";

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_TYPE: &str = "application/vnd.oci.image.layer.v1.tar";

/// Where a blob is in an archive.
pub(super) fn blob_name(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

/// A layer's file as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SavedLayer {
    /// The digest of the uncompressed tar.
    pub diff_id: DiffId,
    /// The digest of the file.
    pub digest: Digest,
    /// The length of the file in bytes.
    pub size: u64,
    #[serde(skip)]
    pub(super) media: Media,
    /// Whether it was left out, because the receiver has it.
    pub left_out: bool,
}

/// How a layer's file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Media {
    Tar,
    Gzip,
    Zstd,
}

impl From<Encoding> for Media {
    fn from(encoding: Encoding) -> Self {
        match encoding {
            Encoding::None => Self::Tar,
            Encoding::Gzip(_) => Self::Gzip,
            Encoding::Zstd(_) => Self::Zstd,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<&'static str, String>,
}

impl Descriptor {
    fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self { media_type: media_type.into(), digest, size, annotations: BTreeMap::new() }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OciManifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// `index.json`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OciIndex<D> {
    pub(super) schema_version: u8,
    pub(super) media_type: &'static str,
    pub(super) manifests: Vec<D>,
}

/// An image in `manifest.json`; `N` are its names.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Item<N> {
    config: String,
    pub(super) repo_tags: Option<N>,
    layers: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent: Option<ImageId>,
}

/// A manifest of containerd's store in `manifest.json`, without names.
pub(super) fn save_item(manifest: &Manifest) -> Item<Vec<String>> {
    let path =
        |blob: &snapshot::containerd::documents::Descriptor| format!("blobs/{}", blob.digest.replacen(':', "/", 1));
    let layers = Some(manifest.layers.iter().map(path).collect()).filter(|layers: &Vec<String>| !layers.is_empty());
    Item { config: path(&manifest.config), repo_tags: None, layers, parent: None }
}

/// The documents about images, made one after the other.
#[derive(Default)]
pub(super) struct Documents<'p> {
    descriptors: Vec<Descriptor>,
    items: Vec<Item<&'p [String]>>,
}

impl<'p> Documents<'p> {
    /// Adds an image whose config has `config_size` bytes. Returns its OCI manifest, a blob.
    pub(super) fn add(
        &mut self,
        image: &'p ImageToSave,
        config_size: u64,
        layers: &BTreeMap<DiffId, SavedLayer>,
    ) -> Vec<u8> {
        let layers = || image.diff_ids.iter().map(|diff_id| &layers[diff_id]);
        let manifest = OciManifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE,
            config: Descriptor::new(CONFIG_TYPE, image.id.0, config_size),
            layers: layers().map(describe).collect(),
        };
        let manifest = json(&manifest);
        let descriptor = || Descriptor::new(MANIFEST_TYPE, Digest::hash(&manifest), manifest.len() as u64);
        if image.references.is_empty() {
            self.descriptors.push(descriptor());
        }
        self.descriptors.extend(image.references.iter().map(|name| named(descriptor(), name)));
        self.items.push(Item {
            config: blob_name(image.id.0),
            repo_tags: Some(image.names.as_slice()).filter(|names| !names.is_empty()),
            layers: Some(layers().map(|layer| blob_name(layer.digest)).collect()),
            parent: image.parent,
        });
        manifest
    }

    /// `index.json` and `manifest.json`.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<u8>) {
        let index = OciIndex { schema_version: 2, media_type: INDEX_TYPE, manifests: self.descriptors };
        let mut manifest = json(&self.items);
        manifest.push(b'\n');
        (json(&index), manifest)
    }
}

fn describe(layer: &SavedLayer) -> Descriptor {
    let compression = match layer.media {
        Media::Tar => "",
        Media::Gzip => "+gzip",
        Media::Zstd => "+zstd",
    };
    Descriptor::new(format!("{LAYER_TYPE}{compression}"), layer.digest, layer.size)
}

/// Gives a descriptor a name: containerd and podman take it from the first annotation, umoci and skopeo from the
/// second.
fn named(mut descriptor: Descriptor, name: &Reference) -> Descriptor {
    descriptor.annotations.insert("io.containerd.image.name", name.canonical());
    descriptor.annotations.insert("org.opencontainers.image.ref.name", ref_name(name));
    descriptor
}

/// What an OCI layout calls an image: its tag alone.
pub(crate) fn ref_name(name: &Reference) -> String {
    name.tag().unwrap_or_default().to_owned()
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts and numbers always serialise")
}
