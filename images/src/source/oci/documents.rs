//! The documents of an OCI layout: index, manifest, descriptor.

use std::collections::BTreeMap;
use std::sync::Arc;

use layerfs::Digest;

use super::super::error::ArchiveError;
use super::super::image::{BlobNames, Documents, SourceDocument, SourceManifest};
use super::super::json::{self, Anything, Field, object};
use snapshot::platform::Platform;

pub(in super::super) const INDEX: &str = "index.json";
pub(in super::super) const LAYOUT: &str = "oci-layout";

/// What a descriptor's media type says it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DocumentKind {
    Index,
    Manifest,
    Other,
}

const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];
const CONFIG_TYPES: [&str; 2] =
    ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYER_TYPES: [&str; 11] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

/// What the media types of an image's layers begin with.
const LAYER_FAMILIES: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];

object!(once
    struct DescriptorFields {
        media_type: String = "mediatype",
        digest: Digest = "digest",
        size: u64 = "size",
        urls: Vec<String> = "urls",
        annotations: BTreeMap<String, String> = "annotations",
        platform: PlatformFields = "platform",
    }
);
object!(once
    struct PlatformFields {
        os: String = "os",
        architecture: String = "architecture",
        variant: String = "variant",
    }
);
object!(once
    struct IndexFields {
        schema_version: u64 = "schemaversion",
        media_type: String = "mediatype",
        manifests: Vec<BlobDescriptor> = "manifests",
        config: Anything = "config",
        layers: Anything = "layers",
        fs_layers: Anything = "fslayers",
    }
);
object!(once
    struct ManifestFields {
        schema_version: u64 = "schemaversion",
        media_type: String = "mediatype",
        artifact_type: String = "artifacttype",
        config: BlobDescriptor = "config",
        layers: Vec<BlobDescriptor> = "layers",
        manifests: Anything = "manifests",
        fs_layers: Anything = "fslayers",
    }
);
object!(once
    struct LayoutFields {
        version: String = "imagelayoutversion",
    }
);

/// A reference to a blob, with everything that a descriptor must have.
#[derive(Debug, Clone)]
pub(super) struct BlobDescriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) urls: Vec<String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) platform: Option<Platform>,
}

impl<'de> serde::Deserialize<'de> for BlobDescriptor {
    /// Checks at once, so that a list of empty objects does not become a list of structs many times its size.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = DescriptorFields::deserialize(deserializer)?;
        let missing = <D::Error as serde::de::Error>::missing_field;
        let platform = fields.platform.value().map(|platform| {
            let text = |field: Field<String>| field.value().unwrap_or_default();
            let (os, architecture) = (text(platform.os), text(platform.architecture));
            Platform::new(&os, &architecture, platform.variant.as_ref().map(String::as_str))
        });
        Ok(Self {
            media_type: fields.media_type.value().ok_or_else(|| missing("mediaType"))?,
            digest: fields.digest.value().ok_or_else(|| missing("digest"))?,
            size: fields.size.value().ok_or_else(|| missing("size"))?,
            urls: fields.urls.value().unwrap_or_default(),
            annotations: fields.annotations.value().unwrap_or_default(),
            platform,
        })
    }
}

impl BlobDescriptor {
    pub(super) fn kind(&self) -> DocumentKind {
        match self.media_type.as_str() {
            index if INDEX_TYPES.contains(&index) => DocumentKind::Index,
            manifest if MANIFEST_TYPES.contains(&manifest) => DocumentKind::Manifest,
            _ => DocumentKind::Other,
        }
    }

    pub(super) fn is_image_config(&self) -> bool {
        CONFIG_TYPES.contains(&self.media_type.as_str())
    }

    pub(super) fn is_layer(&self) -> bool {
        LAYER_TYPES.contains(&self.media_type.as_str())
    }

    /// Whether it is a layer of an image, even of a kind that this program does not know, such as an encrypted one.
    pub(super) fn is_of_an_image(&self) -> bool {
        self.is_layer() || LAYER_FAMILIES.iter().any(|family| self.media_type.starts_with(family))
    }

    /// Whether it is an attestation, which BuildKit adds to an index to go with an image.
    pub(super) fn is_attestation(&self) -> bool {
        let annotation = self.annotations.get("vnd.docker.reference.type");
        annotation.is_some_and(|kind| kind == "attestation-manifest")
            || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }

    /// Reads the blob, and checks its length and its digest.
    pub(super) fn load(&self, documents: &mut Documents<'_>) -> Result<Vec<u8>, ArchiveError> {
        let file = documents.file_of(self);
        let bytes = documents.required(&file)?;
        if bytes.len() as u64 != self.size {
            return Err(ArchiveError::Size { file, expected: self.size, found: bytes.len() as u64 });
        }
        let found = Digest::hash(&bytes);
        if found != self.digest {
            return Err(ArchiveError::Digest { file, expected: self.digest, found });
        }
        Ok(bytes)
    }
}

impl Documents<'_> {
    /// The file of a blob.
    pub(super) fn file_of(&self, descriptor: &BlobDescriptor) -> String {
        let hex = descriptor.digest.hex();
        match (self.blobs, descriptor.kind()) {
            (BlobNames::Layout, _) => format!("blobs/sha256/{hex}"),
            (BlobNames::Flat, DocumentKind::Manifest | DocumentKind::Index) => format!("{hex}.manifest.json"),
            (BlobNames::Flat, DocumentKind::Other) => hex,
        }
    }
}

/// A manifest of an image or of something else.
pub(super) struct Manifest {
    artifact_type: Option<String>,
    bytes: Arc<[u8]>,
    media_type: String,
    pub(super) config: BlobDescriptor,
    pub(super) layers: Vec<BlobDescriptor>,
}

impl Manifest {
    /// The manifest as it is written.
    pub(super) fn source(&self) -> SourceManifest {
        let layers = self.layers.iter().map(|layer| layer.digest).collect();
        SourceManifest { bytes: Arc::clone(&self.bytes), media_type: self.media_type.clone(), layers }
    }

    /// The manifest with the types and digests of all that it names.
    pub(super) fn document(&self) -> SourceDocument {
        SourceDocument {
            bytes: Arc::clone(&self.bytes),
            children: children(std::iter::once(&self.config).chain(&self.layers)),
        }
    }

    /// What it is, if it is no image.
    pub(super) fn artifact(&self) -> Option<String> {
        if let Some(kind) = &self.artifact_type {
            return Some(format!("an artifact of type {kind:?}"));
        }
        if !self.config.is_image_config() {
            return Some(format!("an artifact of type {:?}", self.config.media_type));
        }
        // Signatures of cosign, and attestations, come with the config of an image.
        let first = self.layers.first().filter(|_| self.has_only_other_layers())?;
        Some(format!("an artifact with layers of type {:?}", first.media_type))
    }

    /// Whether it has layers, and none of them is one of an image.
    pub(super) fn has_only_other_layers(&self) -> bool {
        !self.layers.is_empty() && !self.layers.iter().any(BlobDescriptor::is_of_an_image)
    }
}

/// The descriptors of the index that the archive begins with.
pub(super) fn top_index(
    file: &str,
    bytes: &[u8],
    documents: &mut Documents<'_>,
) -> Result<Vec<BlobDescriptor>, ArchiveError> {
    index(file, bytes, None, documents)
}

/// The descriptors of an index that another one names.
pub(super) fn nested_index(
    descriptor: &BlobDescriptor,
    documents: &mut Documents<'_>,
) -> Result<Vec<BlobDescriptor>, ArchiveError> {
    let bytes = descriptor.load(documents)?;
    index(&documents.file_of(descriptor), &bytes, Some(&descriptor.media_type), documents)
}

/// The descriptors of an index that another one names, and the index as it is written.
pub(super) fn index_document(
    descriptor: &BlobDescriptor,
    documents: &mut Documents<'_>,
) -> Result<(Vec<BlobDescriptor>, SourceDocument), ArchiveError> {
    let bytes = descriptor.load(documents)?;
    let descriptors = index(&documents.file_of(descriptor), &bytes, Some(&descriptor.media_type), documents)?;
    let children = children(&descriptors);
    Ok((descriptors, SourceDocument { bytes: bytes.into(), children }))
}

fn children<'d>(descriptors: impl IntoIterator<Item = &'d BlobDescriptor>) -> Vec<(String, Digest)> {
    descriptors.into_iter().map(|descriptor| (descriptor.media_type.clone(), descriptor.digest)).collect()
}

fn index(
    file: &str,
    bytes: &[u8],
    expected: Option<&str>,
    documents: &mut Documents<'_>,
) -> Result<Vec<BlobDescriptor>, ArchiveError> {
    let fields: IndexFields = json::whole(file, bytes)?;
    check_version(file, &fields.schema_version)?;
    check_type(file, &fields.media_type, expected, &INDEX_TYPES, &MANIFEST_TYPES, documents)?;
    let foreign = [("config", &fields.config), ("layers", &fields.layers), ("fsLayers", &fields.fs_layers)];
    refuse_fields(file, "an index", &foreign)?;
    required_list(file, "manifests", fields.manifests)
}

/// The manifest that a descriptor names.
pub(super) fn manifest(descriptor: &BlobDescriptor, documents: &mut Documents<'_>) -> Result<Manifest, ArchiveError> {
    let bytes = descriptor.load(documents)?;
    manifest_of(&documents.file_of(descriptor), &bytes, Some(&descriptor.media_type), documents)
}

/// The manifest that the archive begins with.
pub(super) fn top_manifest(file: &str, bytes: &[u8], documents: &mut Documents<'_>) -> Result<Manifest, ArchiveError> {
    manifest_of(file, bytes, None, documents)
}

fn manifest_of(
    file: &str,
    bytes: &[u8],
    expected: Option<&str>,
    documents: &mut Documents<'_>,
) -> Result<Manifest, ArchiveError> {
    let fields: ManifestFields = json::whole(file, bytes)?;
    check_version(file, &fields.schema_version)?;
    check_type(file, &fields.media_type, expected, &MANIFEST_TYPES, &INDEX_TYPES, documents)?;
    let foreign = [("manifests", &fields.manifests), ("fsLayers", &fields.fs_layers)];
    refuse_fields(file, "a manifest", &foreign)?;
    Ok(Manifest {
        artifact_type: fields.artifact_type.value().filter(|kind| !kind.is_empty()),
        bytes: bytes.into(),
        media_type: expected.map(str::to_owned).or_else(|| fields.media_type.value()).unwrap_or_default(),
        config: fields.config.value().ok_or_else(|| missing(file, "config"))?,
        layers: required_list(file, "layers", fields.layers)?,
    })
}

/// Refuses a layout of a version that we do not know. The file itself may be missing.
pub(super) fn check_layout(documents: &mut Documents<'_>) -> Result<(), ArchiveError> {
    let Some(bytes) = documents.optional(LAYOUT)? else { return Ok(()) };
    let fields: LayoutFields = json::whole(LAYOUT, &bytes)?;
    match fields.version.as_ref().map(String::as_str) {
        Some("1.0.0") => Ok(()),
        found => Err(ArchiveError::Version {
            file: LAYOUT.into(),
            field: "imageLayoutVersion",
            found: format!("{:?}", found.unwrap_or_default()),
            supported: "\"1.0.0\"",
        }),
    }
}

/// Refuses a version other than 2, where one is given.
fn check_version(file: &str, version: &Field<u64>) -> Result<(), ArchiveError> {
    match version.as_ref() {
        Some(version) if *version != 2 => Err(ArchiveError::Version {
            file: file.into(),
            field: "schemaVersion",
            found: version.to_string(),
            supported: "2",
        }),
        _ => Ok(()),
    }
}

/// Refuses a media type, where one is given, that is one of documents of the other kind. If it is not the type that the
/// descriptor says, that is worth a warning: registries and tools that convert between docker's types and those of the
/// image-spec leave such documents behind.
fn check_type(
    file: &str,
    media_type: &Field<String>,
    expected: Option<&str>,
    known: &[&str],
    other_kind: &[&str],
    documents: &mut Documents<'_>,
) -> Result<(), ArchiveError> {
    let Some(found) = media_type.as_ref().map(String::as_str).filter(|found| !found.is_empty()) else { return Ok(()) };
    if other_kind.contains(&found) {
        return Err(ArchiveError::Field {
            file: file.into(),
            field: "mediaType".into(),
            reason: format!("{found:?} where {} is expected", known.join(" or ")),
        });
    }
    let warning = match expected {
        Some(expected) if expected != found => {
            format!("{file}: its media type is {found:?}, its descriptor says {expected:?}")
        }
        None if !known.contains(&found) => format!("{file}: its media type is {found:?}, not {}", known.join(" or ")),
        _ => return Ok(()),
    };
    documents.warnings.push(warning);
    Ok(())
}

fn refuse_fields(file: &str, what: &str, fields: &[(&str, &Field<Anything>)]) -> Result<(), ArchiveError> {
    match fields.iter().find(|(_, field)| !field.is_absent()) {
        None => Ok(()),
        Some((name, _)) => Err(ArchiveError::Field {
            file: file.into(),
            field: (*name).into(),
            reason: format!("has no place in {what}: ambiguous document"),
        }),
    }
}

fn required_list(
    file: &str,
    name: &str,
    list: Field<Vec<BlobDescriptor>>,
) -> Result<Vec<BlobDescriptor>, ArchiveError> {
    if list.is_absent() {
        return Err(missing(file, name));
    }
    Ok(list.value().unwrap_or_default())
}

fn missing(file: &str, field: &str) -> ArchiveError {
    ArchiveError::Field { file: file.into(), field: field.into(), reason: "is missing".into() }
}
