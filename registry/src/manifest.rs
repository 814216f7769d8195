//! Manifests of images that are pushed.

use layerfs::Digest;
use layerfs::compress::Compression;
use serde::Serialize;

use crate::resolve::MANIFESTS;

/// Which kind of manifest is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ManifestForm {
    /// Docker's image manifest, version 2, schema 2, in the very bytes that docker makes.
    #[default]
    Docker,
    /// The manifest of the OCI image specification.
    Oci,
}

/// A blob in a manifest.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: &'static str,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest<'m> {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: &'m [Descriptor],
}

impl ManifestForm {
    /// The type of the manifest itself.
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Docker => MANIFESTS[0],
            Self::Oci => MANIFESTS[1],
        }
    }

    /// The type of a layer's blob; `None` for a compression that such a manifest has no name for.
    pub(crate) fn layer_type(self, compression: Compression) -> Option<&'static str> {
        match (self, compression) {
            (Self::Docker, Compression::None) => Some("application/vnd.docker.image.rootfs.diff.tar"),
            (Self::Docker, Compression::Gzip) => Some("application/vnd.docker.image.rootfs.diff.tar.gzip"),
            (Self::Oci, Compression::None) => Some("application/vnd.oci.image.layer.v1.tar"),
            (Self::Oci, Compression::Gzip) => Some("application/vnd.oci.image.layer.v1.tar+gzip"),
            (Self::Oci, Compression::Zstd) => Some("application/vnd.oci.image.layer.v1.tar+zstd"),
            _ => None,
        }
    }

    /// The manifest of an image, as docker lays it out (distribution `manifest/schema2/manifest.go`: indented by three).
    pub(crate) fn document(self, config: (Digest, u64), layers: &[Descriptor]) -> Vec<u8> {
        let media_type = match self {
            Self::Docker => "application/vnd.docker.container.image.v1+json",
            Self::Oci => "application/vnd.oci.image.config.v1+json",
        };
        let config = Descriptor { media_type, size: config.1, digest: config.0 };
        let manifest = Manifest { schema_version: 2, media_type: self.media_type(), config, layers };
        let mut bytes = Vec::new();
        let formatter = serde_json::ser::PrettyFormatter::with_indent(b"   ");
        let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
        manifest.serialize(&mut serializer).expect("texts and numbers always serialise");
        bytes
    }
}
