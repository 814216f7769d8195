//! The images of containerd's store of a data-root, for the store of a storage driver.
//!
//! The blobs are those of an OCI layout; what the layout's index would say is in the store's records.

use std::collections::BTreeMap;

use layerfs::Digest;
use serde::Serialize;
use snapshot::catalog::Catalog;
use snapshot::containerd::content::Content;
use snapshot::containerd::images::DANGLING;
use snapshot::ids::ImageId;

use super::blob::Blob;
use super::error::ArchiveError;
use super::image::{self, LayerRef, Select, SourceContents};
use super::json::MAX_JSON;
use super::namespace::NameError;
use super::{ImageSource, LayerBytes, oci};

/// Where the blobs are in a layout.
const BLOBS: &str = "blobs/sha256/";

/// The annotation with an image's whole name.
const NAME: &str = "io.containerd.image.name";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Index {
    schema_version: u8,
    manifests: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
    annotations: BTreeMap<&'static str, String>,
}

/// Images of containerd's store.
#[derive(Debug)]
pub struct ContainerdImages<'c> {
    content: &'c Content,
    index: Vec<u8>,
}

impl<'c> ContainerdImages<'c> {
    /// The images of a catalog that `wants`, or `None` if the catalog is not that of such a store.
    pub fn new(catalog: &'c Catalog, wants: impl Fn(ImageId) -> bool) -> Option<Self> {
        let store = &catalog.in_containerd()?.store;
        let mut manifests = Vec::new();
        for (name, record) in &store.metadata.images {
            let Some(target) = record.target.as_ref().filter(|target| wants(ImageId(target.digest))) else { continue };
            let name = Some(name).filter(|name| !name.starts_with(DANGLING));
            manifests.push(Descriptor {
                media_type: target.media_type.clone(),
                digest: target.digest,
                size: target.size,
                annotations: name.map(|name| (NAME, name.clone())).into_iter().collect(),
            });
        }
        let index = serde_json::to_vec(&Index { schema_version: 2, manifests });
        Some(Self { content: &store.content, index: index.expect("texts and numbers always serialise") })
    }

    fn blob(&self, file: &str) -> Result<Option<Blob>, ArchiveError> {
        let read = |source| ArchiveError::Read { file: file.to_owned(), source };
        let Some(digest) = file.strip_prefix(BLOBS).and_then(|hex| format!("sha256:{hex}").parse().ok()) else {
            return Ok(None);
        };
        let opened = self.content.open(digest).map_err(|error| read(std::io::Error::other(error)))?;
        opened.map(Blob::map).transpose().map_err(read)
    }
}

impl ImageSource for ContainerdImages<'_> {
    fn images(&self, select: &Select) -> Result<SourceContents, ArchiveError> {
        let mut read = |file: &str| {
            if file == oci::INDEX {
                return Ok(Some(self.index.clone()));
            }
            let Some(blob) = self.blob(file)? else { return Ok(None) };
            let size = blob.len() as u64;
            if size > MAX_JSON {
                return Err(ArchiveError::TooLarge { file: file.to_owned(), size, limit: MAX_JSON });
            }
            Ok(Some(blob.to_vec()))
        };
        Ok(image::contents(select, &mut read)?.unwrap_or_default())
    }

    fn layer(&self, layer: &LayerRef) -> Result<LayerBytes, ArchiveError> {
        let missing = || layer.or_foreign(NameError::Missing { file: layer.name.clone() });
        let blob = self.blob(&layer.name)?.ok_or_else(missing)?;
        layer.check_size(blob.len() as u64)?;
        Ok(LayerBytes::File(blob))
    }
}
