//! The documents of an OCI layout: index, manifest, descriptor.

use std::collections::BTreeMap;

use layerfs::Digest;

use super::super::error::ArchiveError;
use super::super::image::Documents;
use super::super::json::{self, Anything, Field, object};
use super::super::platform::Platform;

pub(in super::super) const INDEX: &str = "index.json";
const LAYOUT: &str = "oci-layout";

/// What a descriptor's media type says it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
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
        manifests: Vec<Descriptor> = "manifests",
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
        config: Descriptor = "config",
        layers: Vec<Descriptor> = "layers",
        manifests: Anything = "manifests",
        fs_layers: Anything = "fslayers",
    }
);
object!(once
    struct LayoutFields {
        version: String = "imagelayoutversion",
    }
);

/// A reference to a blob, complete.
#[derive(Debug, Clone)]
pub(super) struct Descriptor {
    pub(super) media_type: String,
    pub(super) digest: Digest,
    pub(super) size: u64,
    pub(super) urls: Vec<String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) platform: Option<Platform>,
}

impl<'de> serde::Deserialize<'de> for Descriptor {
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

impl Descriptor {
    pub(super) fn kind(&self) -> Kind {
        match self.media_type.as_str() {
            index if INDEX_TYPES.contains(&index) => Kind::Index,
            manifest if MANIFEST_TYPES.contains(&manifest) => Kind::Manifest,
            _ => Kind::Other,
        }
    }

    pub(super) fn is_image_config(&self) -> bool {
        CONFIG_TYPES.contains(&self.media_type.as_str())
    }

    pub(super) fn is_layer(&self) -> bool {
        LAYER_TYPES.contains(&self.media_type.as_str())
    }

    /// What BuildKit adds to an index to go with an image.
    pub(super) fn is_attestation(&self) -> bool {
        let annotation = self.annotations.get("vnd.docker.reference.type");
        annotation.is_some_and(|kind| kind == "attestation-manifest")
            || self.platform.as_ref().is_some_and(Platform::is_unknown)
    }

    /// The file of the blob.
    pub(super) fn file(&self) -> String {
        format!("blobs/sha256/{}", self.digest.hex())
    }

    /// The blob, as long as it must be and with the digest it must have.
    pub(super) fn load(&self, documents: &mut Documents<'_>) -> Result<Vec<u8>, ArchiveError> {
        let file = self.file();
        let bytes = documents.required(&file)?;
        if bytes.len() as u64 != self.size {
            return Err(ArchiveError::Size { file, expected: self.size, found: bytes.len() as u64 });
        }
        let found = Digest::of(&bytes);
        if found != self.digest {
            return Err(ArchiveError::Digest { file, expected: self.digest, found });
        }
        Ok(bytes)
    }
}

/// A manifest of an image or of something else.
pub(super) struct Manifest {
    pub(super) artifact_type: Option<String>,
    pub(super) config: Descriptor,
    pub(super) layers: Vec<Descriptor>,
}

/// The descriptors of `index.json`.
pub(super) fn top_index(bytes: &[u8]) -> Result<Vec<Descriptor>, ArchiveError> {
    index(INDEX, bytes, &INDEX_TYPES)
}

/// The descriptors of an index that another one names.
pub(super) fn nested_index(
    descriptor: &Descriptor,
    documents: &mut Documents<'_>,
) -> Result<Vec<Descriptor>, ArchiveError> {
    let bytes = descriptor.load(documents)?;
    index(&descriptor.file(), &bytes, &[&descriptor.media_type])
}

fn index(file: &str, bytes: &[u8], media_types: &[&str]) -> Result<Vec<Descriptor>, ArchiveError> {
    let fields: IndexFields = json::whole(file, bytes)?;
    check_type(file, &fields.schema_version, &fields.media_type, media_types)?;
    let foreign = [("config", &fields.config), ("layers", &fields.layers), ("fsLayers", &fields.fs_layers)];
    refuse_fields(file, "an index", &foreign)?;
    required_list(file, "manifests", fields.manifests)
}

/// The manifest that a descriptor names.
pub(super) fn manifest(descriptor: &Descriptor, documents: &mut Documents<'_>) -> Result<Manifest, ArchiveError> {
    let file = descriptor.file();
    let fields: ManifestFields = json::whole(&file, &descriptor.load(documents)?)?;
    check_type(&file, &fields.schema_version, &fields.media_type, &[&descriptor.media_type])?;
    let foreign = [("manifests", &fields.manifests), ("fsLayers", &fields.fs_layers)];
    refuse_fields(&file, "a manifest", &foreign)?;
    Ok(Manifest {
        artifact_type: fields.artifact_type.value().filter(|kind| !kind.is_empty()),
        config: fields.config.value().ok_or_else(|| missing(&file, "config"))?,
        layers: required_list(&file, "layers", fields.layers)?,
    })
}

/// Refuses a layout of a version that we do not know. The file itself may be missing.
pub(super) fn check_layout(documents: &mut Documents<'_>) -> Result<(), ArchiveError> {
    let Some(bytes) = documents.optional(LAYOUT)? else { return Ok(()) };
    let fields: LayoutFields = json::whole(LAYOUT, &bytes)?;
    match fields.version.as_ref().map(String::as_str) {
        Some("1.0.0") => Ok(()),
        found => Err(ArchiveError::Field {
            file: LAYOUT.into(),
            field: "imageLayoutVersion".into(),
            reason: format!("{:?} is not supported, only \"1.0.0\"", found.unwrap_or_default()),
        }),
    }
}

/// The version must be 2, the media type one of those expected, where they are given.
fn check_type(
    file: &str,
    version: &Field<u64>,
    media_type: &Field<String>,
    expected: &[&str],
) -> Result<(), ArchiveError> {
    if let Some(version) = version.as_ref().filter(|&&version| version != 2) {
        let reason = format!("{version} is not supported, only 2");
        return Err(ArchiveError::Field { file: file.into(), field: "schemaVersion".into(), reason });
    }
    match media_type.as_ref().map(String::as_str) {
        Some(found) if !found.is_empty() && !expected.contains(&found) => Err(ArchiveError::Field {
            file: file.into(),
            field: "mediaType".into(),
            reason: format!("{found:?} where {} is expected", expected.join(" or ")),
        }),
        _ => Ok(()),
    }
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

fn required_list(file: &str, name: &str, list: Field<Vec<Descriptor>>) -> Result<Vec<Descriptor>, ArchiveError> {
    if list.is_absent() {
        return Err(missing(file, name));
    }
    Ok(list.value().unwrap_or_default())
}

fn missing(file: &str, field: &str) -> ArchiveError {
    ArchiveError::Field { file: file.into(), field: field.into(), reason: "is missing".into() }
}
