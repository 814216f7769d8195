//! What a manifest or an index names, of whatever kind it is.

use layerfs::Digest;
use serde::Deserialize;

use crate::error::RegistryError;
use crate::resolve::Document;

/// A blob that a manifest names.
#[derive(Debug, Clone)]
pub(super) struct Descriptor {
    pub(super) digest: Digest,
    pub(super) size: u64,
}

/// What a document names.
#[derive(Debug, Default)]
pub(super) struct Parsed {
    /// Manifests and indexes.
    pub(super) documents: Vec<Digest>,
    /// Config and layers.
    pub(super) blobs: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    config: Option<Entry>,
    layers: Option<Vec<Entry>>,
    /// What an artifact of OCI 1.1's drafts has.
    blobs: Option<Vec<Entry>>,
    manifests: Option<Vec<Entry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
}

impl Parsed {
    /// Reads a document; `of` is where it is from.
    pub(super) fn of(document: &Document, of: &str) -> Result<Self, RegistryError> {
        let wrong = |reason: String| RegistryError::Document { url: format!("{of}: {}", document.digest), reason };
        let manifest: Manifest =
            serde_json::from_slice(&document.bytes).map_err(|error| wrong(format!("no manifest: {error}")))?;
        if manifest.schema_version != 2 {
            return Err(RegistryError::MediaType { media_type: document.media_type.clone() });
        }
        let digest = |text: &str| text.parse::<Digest>().map_err(|_| wrong(format!("{text:?} is no SHA-256 digest")));
        let mut parsed = Self::default();
        if document.is_index() {
            for entry in manifest.manifests.unwrap_or_default() {
                parsed.documents.push(digest(&entry.digest)?);
            }
            return Ok(parsed);
        }
        let layers = [manifest.layers, manifest.blobs].into_iter().flatten().flatten();
        for entry in manifest.config.into_iter().chain(layers) {
            // Layers that are not distributed are nowhere but at their own addresses.
            if !is_foreign(&entry.media_type) {
                parsed.blobs.push(Descriptor { digest: digest(&entry.digest)?, size: entry.size });
            }
        }
        Ok(parsed)
    }
}

/// Whether registries do not keep blobs of this type.
fn is_foreign(media_type: &str) -> bool {
    media_type.contains("nondistributable") || media_type.starts_with("application/vnd.docker.image.rootfs.foreign.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Parsed, RegistryError> {
        let media_type = if text.contains("manifests") { "application/vnd.oci.image.index.v1+json" } else { "x" };
        let (digest, bytes) = (Digest::hash(text.as_bytes()), text.as_bytes().to_vec());
        Parsed::of(&Document { media_type: media_type.into(), digest, bytes }, "a.test/b")
    }

    #[test]
    fn documents_name_what_is_copied() {
        let digest = Digest::hash(b"x");
        let foreign = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip";
        let manifest = format!(
            "{{\"schemaVersion\":2,\"config\":{{\"digest\":\"{digest}\",\"size\":1}},\"layers\":[{{\"digest\":\"{digest}\",\
             \"size\":2,\"mediaType\":\"{foreign}\"}},{{\"digest\":\"{digest}\",\"size\":3}}]}}"
        );
        let sizes: Vec<u64> = parse(&manifest).unwrap().blobs.iter().map(|blob| blob.size).collect();
        assert_eq!(sizes, [1, 3]);
        let index = format!("{{\"schemaVersion\":2,\"manifests\":[{{\"digest\":\"{digest}\",\"size\":1}}]}}");
        assert_eq!(parse(&index).unwrap().documents, [digest]);
        for bad in [
            "",
            "{}",
            "{\"schemaVersion\":1}",
            "{\"schemaVersion\":2,\"manifests\":[{\"digest\":\"sha256:../x\",\"size\":1}]}",
            "{\"schemaVersion\":2,\"layers\":[{\"digest\":\"md5:00\",\"size\":1}]}",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
