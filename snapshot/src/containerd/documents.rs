//! Indexes and manifests, as containerd decodes them (image-spec v1.1; containerd v2.1.9 `core/images/image.go`).

use std::collections::BTreeMap;

use layerfs::Digest;

use crate::go_struct;
use crate::platform::Platform;
use crate::schema::gojson;

/// Media types of what leads to the manifests of several platforms.
const INDEX_TYPES: [&str; 2] =
    ["application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json"];

/// Media types of what leads to a config and layers.
const MANIFEST_TYPES: [&str; 2] =
    ["application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json"];

/// The annotation by which BuildKit marks a manifest that only says something about an image.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

go_struct! {
    /// The platform that an index gives to a manifest (`ocispec.Platform`).
    #[derive(Eq)]
    pub struct WrittenPlatform {
        /// The processor.
        pub architecture: String = "architecture",
        /// The operating system.
        pub os: String = "os",
        /// The variant of the processor.
        pub variant: String = "variant",
    }
}

go_struct! {
    /// What leads to a blob (`ocispec.Descriptor`).
    #[derive(Eq)]
    pub struct Descriptor {
        /// What it is.
        pub media_type: String = "mediaType",
        /// Its digest, as it is written.
        pub digest: String = "digest",
        /// Its length in bytes.
        pub size: i64 = "size",
        /// Annotations: what is said of the blob in free form.
        pub annotations: BTreeMap<String, String> = "annotations",
        /// The platform it is for.
        pub platform: Option<WrittenPlatform> = "platform",
    }
}

go_struct! {
    /// An index or a manifest: the fields of both.
    struct Document {
        media_type: String = "mediaType",
        manifests: Vec<Descriptor> = "manifests",
        config: Option<Descriptor> = "config",
        layers: Vec<Descriptor> = "layers",
    }
}

/// What a descriptor leads to, by its media type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Manifests of several platforms.
    Index,
    /// A config and layers.
    Manifest,
    /// Anything else.
    Other,
}

impl Kind {
    /// Tells the kind by a media type.
    #[must_use]
    pub fn of(media_type: &str) -> Self {
        match media_type {
            index if INDEX_TYPES.contains(&index) => Self::Index,
            manifest if MANIFEST_TYPES.contains(&manifest) => Self::Manifest,
            _ => Self::Other,
        }
    }
}

impl Descriptor {
    /// Its digest; `None` if no blob here can have such a digest.
    #[must_use]
    pub fn blob(&self) -> Option<Digest> {
        self.digest.parse().ok()
    }

    /// Its length in bytes; 0 where a negative one is written.
    #[must_use]
    pub fn length(&self) -> u64 {
        u64::try_from(self.size).unwrap_or_default()
    }

    /// Whether it leads to what BuildKit says of an image, and not to an image.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotations.get(REFERENCE_TYPE).is_some_and(|kind| kind == "attestation-manifest")
    }
}

impl From<&WrittenPlatform> for Platform {
    fn from(written: &WrittenPlatform) -> Self {
        Self::new(&written.os, &written.architecture, Some(&written.variant))
    }
}

/// What a manifest leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The config.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
}

/// The manifests of an index.
///
/// # Errors
/// What is wrong with it.
pub(super) fn index(bytes: &[u8]) -> Result<Vec<Descriptor>, String> {
    Ok(decode(bytes)?.manifests)
}

/// A manifest.
///
/// # Errors
/// What is wrong with it.
pub(super) fn manifest(bytes: &[u8]) -> Result<Manifest, String> {
    let document = decode(bytes)?;
    let config = document.config.ok_or("it names no config")?;
    Ok(Manifest { config, layers: document.layers })
}

fn decode(bytes: &[u8]) -> Result<Document, String> {
    gojson::from_slice(bytes).map_err(|error| error.to_string())
}
