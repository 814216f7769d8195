//! skopeo's `dir:` transport, which is podman's `docker-dir`, too (containers/image v5 `directory/directory_transport.go`).
//!
//! ```text
//! version                "Directory Transport Version: 1.1"
//! manifest.json          the manifest as a registry has it, or an index of several
//! <hex>.manifest.json    the manifests of that index
//! <hex>                  config and layers
//! ```
//!
//! No name is recorded anywhere.

use super::super::docker::MANIFEST;
use super::super::error::ArchiveError;
use super::super::image::{BlobNames, Documents, Format, Select, SourceContents};
use super::super::json::{self, Anything, object};
use super::documents;
use super::walk::IndexWalk;

object!(last
    /// Fields by which a registry's manifest is told from the `manifest.json` of `docker save`, which is a list.
    struct Signs {
        schema_version: Anything = "schemaversion",
        config: Anything = "config",
        layers: Anything = "layers",
        manifests: Anything = "manifests",
    }
);

/// Whether a `manifest.json` is one that a registry has, and not the list that `docker save` writes.
pub(in super::super) fn is_registry_manifest(manifest: &[u8]) -> bool {
    let signs: Result<Signs, _> = json::first(MANIFEST, manifest);
    signs.is_ok_and(|signs| {
        let fields = [&signs.schema_version, &signs.config, &signs.layers, &signs.manifests];
        fields.iter().any(|field| !field.is_absent())
    })
}

/// The images of such a directory.
pub(in super::super) fn directory_contents(
    manifest: &[u8],
    select: &Select,
    documents: &mut Documents<'_>,
) -> Result<SourceContents, ArchiveError> {
    documents.blobs = BlobNames::Flat;
    let signs: Signs = json::first(MANIFEST, manifest)?;
    if signs.manifests.is_absent() {
        let manifest = documents::top_manifest(MANIFEST, manifest, documents)?;
        return IndexWalk::new(MANIFEST, select, documents).only(Format::SkopeoDir, &manifest);
    }
    let descriptors = documents::top_index(MANIFEST, manifest, documents)?;
    IndexWalk::new(MANIFEST, select, documents).images(Format::SkopeoDir, descriptors)
}
