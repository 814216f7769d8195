//! What containerd's store has of an image beside its layers: config, manifest and names.

use std::collections::BTreeMap;

use layerfs::compress::Compression;
use layerfs::{ChainId, Digest};
use serde::Serialize;
use snapshot::StoreError;
use snapshot::containerd::images::DANGLING;
use snapshot::containerd::metadata::{ImageRecord, Target};
use snapshot::containerd::writer::{NewImage, StoreWriter};
use snapshot::reference::Reference;

use crate::source::{SourceDocument, SourceManifest, SourceTarget};

/// The media types of docker's own manifests, as containerd makes them of an archive without one (containerd v2.1.9
/// `core/images/mediatypes.go`).
const MANIFEST_TYPE: &str = "application/vnd.docker.distribution.manifest.v2+json";
const CONFIG_TYPE: &str = "application/vnd.docker.container.image.v1+json";
const LAYER_TYPE: &str = "application/vnd.docker.image.rootfs.diff.tar";

/// Those of the image specification.
const OCI_MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const OCI_CONFIG_TYPE: &str = "application/vnd.oci.image.config.v1+json";
const LAYER_FAMILIES: [&str; 2] = ["application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs."];

/// The blob of a layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StoredBlob {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) compression: Compression,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u8,
    media_type: &'static str,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: Digest,
    size: u64,
}

/// Stores an image's config and manifest, each with the labels by which containerd keeps what they need. `top` is the snapshot of
/// its last layer, `own` the manifest that the image came with, which is taken if it names these layers.
pub(crate) fn add_manifest(
    config: &[u8],
    top: Option<ChainId>,
    layers: &[StoredBlob],
    own: Option<&SourceManifest>,
    store: &mut StoreWriter,
) -> Result<Target, StoreError> {
    let (bytes, target) = manifest(config, layers, own);
    let top = top.map(|top| ("containerd.io/gc.ref.snapshot.overlayfs", top.to_string()));
    let config = store.put_blob(config, top)?;
    let label = |(number, layer): (usize, &StoredBlob)| {
        (format!("containerd.io/gc.ref.content.l.{number}"), layer.digest.to_string())
    };
    let config = ("containerd.io/gc.ref.content.config".to_owned(), config.to_string());
    store.put_blob(&bytes, std::iter::once(config).chain(layers.iter().enumerate().map(label)))?;
    Ok(target)
}

/// A layer of an image that is made here, as its manifest describes it.
#[derive(Debug, Clone)]
pub(crate) struct MadeLayer {
    pub(crate) media_type: String,
    pub(crate) digest: Digest,
    pub(crate) size: u64,
}

impl MadeLayer {
    /// The media type of a plain tar.
    pub(crate) const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";
}

/// An image that is made here.
pub(crate) struct Made<'m> {
    /// Its config, in the form of the image specification.
    pub(crate) config: Vec<u8>,
    /// The snapshot of its last layer.
    pub(crate) top: Option<ChainId>,
    pub(crate) layers: Vec<MadeLayer>,
    /// What the container ran with that it was made of, as JSON.
    pub(crate) container_config: Option<&'m [u8]>,
}

/// Stores config and manifest of an image that is made here, and what docker keeps of a container beside them (moby v28.5.2
/// `daemon/containerd/image_builder.go: createImageOCI`).
pub(crate) fn add_made(made: &Made<'_>, store: &mut StoreWriter) -> Result<Target, StoreError> {
    let descriptor = |media_type: &str, digest, size| Descriptor { media_type: media_type.to_owned(), digest, size };
    let manifest = Manifest {
        schema_version: 2,
        media_type: OCI_MANIFEST_TYPE,
        config: descriptor(OCI_CONFIG_TYPE, Digest::hash(&made.config), made.config.len() as u64),
        layers: made.layers.iter().map(|layer| descriptor(&layer.media_type, layer.digest, layer.size)).collect(),
    };
    let bytes = serde_json::to_vec(&manifest).expect("texts and numbers always serialise");
    let target =
        Target { digest: Digest::hash(&bytes), media_type: OCI_MANIFEST_TYPE.into(), size: bytes.len() as u64 };
    let mut of_config: Vec<(&str, String)> =
        made.top.iter().map(|top| ("containerd.io/gc.ref.snapshot.overlayfs", top.to_string())).collect();
    if let Some(container) = made.container_config {
        let digest = store.put_blob(container, [("org.mobyproject.content.image", target.digest.to_string())])?;
        of_config.push(("containerd.io/gc.ref.content.moby/container.config", digest.to_string()));
    }
    store.put_blob(&made.config, of_config)?;
    let needed = std::iter::once(manifest.config.digest).chain(made.layers.iter().map(|layer| layer.digest));
    let label =
        |(number, digest): (usize, Digest)| (format!("containerd.io/gc.ref.content.{number}"), digest.to_string());
    store.put_blob(&bytes, needed.enumerate().map(label))?;
    Ok(target)
}

/// An image's manifest and what leads to it: the one that the image came with if it names these layers, else docker's.
pub(crate) fn manifest(config: &[u8], layers: &[StoredBlob], own: Option<&SourceManifest>) -> (Vec<u8>, Target) {
    let describes = |own: &&SourceManifest| own.layers.iter().eq(layers.iter().map(|layer| &layer.digest));
    let (bytes, media_type) = match own.filter(describes) {
        Some(own) => (own.bytes.to_vec(), own.media_type.clone()),
        None => (docker_manifest(Digest::hash(config), config.len() as u64, layers), MANIFEST_TYPE.to_owned()),
    };
    let target = Target { digest: Digest::hash(&bytes), media_type, size: bytes.len() as u64 };
    (bytes, target)
}

/// The manifest that containerd makes of an archive without one (containerd v2.1.9 `core/images/archive/importer.go`).
fn docker_manifest(config: Digest, config_size: u64, layers: &[StoredBlob]) -> Vec<u8> {
    let layer = |layer: &StoredBlob| {
        let suffix = match layer.compression {
            Compression::Gzip => ".gzip",
            Compression::Zstd => ".zstd",
            Compression::None | Compression::Bzip2 | Compression::Xz => "",
        };
        Descriptor { media_type: format!("{LAYER_TYPE}{suffix}"), digest: layer.digest, size: layer.size }
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST_TYPE,
        config: Descriptor { media_type: CONFIG_TYPE.to_owned(), digest: config, size: config_size },
        layers: layers.iter().map(layer).collect(),
    };
    serde_json::to_vec(&manifest).expect("texts and numbers always serialise")
}

/// What names of images lead to, as a record says it.
#[derive(Debug, Clone)]
pub(crate) struct NamedTarget {
    pub(crate) target: Target,
    /// Annotations of its descriptor.
    pub(crate) annotations: BTreeMap<String, String>,
}

impl From<Target> for NamedTarget {
    fn from(target: Target) -> Self {
        Self { target, annotations: BTreeMap::new() }
    }
}

impl From<&SourceTarget> for NamedTarget {
    fn from(source: &SourceTarget) -> Self {
        let SourceTarget { media_type, digest, size, annotations, .. } = source;
        let target = Target { digest: *digest, media_type: media_type.clone(), size: *size };
        Self { target, annotations: annotations.clone() }
    }
}

/// Stores a manifest or an index that came with an image, with the labels by which containerd keeps what it names: those that
/// containerd sets (v2.1.9 `core/images/mediatypes.go: ChildGCLabels`).
pub(crate) fn add_document(document: &SourceDocument, store: &mut StoreWriter) -> Result<(), StoreError> {
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    let label = |(media_type, digest): &(String, Digest)| {
        let kind = match media_type.as_str() {
            CONFIG_TYPE | OCI_CONFIG_TYPE => return ("containerd.io/gc.ref.content.config".into(), digest.to_string()),
            MANIFEST_TYPE | OCI_MANIFEST_TYPE => "m.",
            layer if LAYER_FAMILIES.iter().any(|family| layer.starts_with(family)) => "l.",
            _ => "",
        };
        let number = numbers.entry(kind).or_default();
        *number += 1;
        (format!("containerd.io/gc.ref.content.{kind}{}", *number - 1), digest.to_string())
    };
    let labels: Vec<(String, String)> = document.children.iter().map(label).collect();
    store.put_blob(&document.bytes, labels).map(drop)
}

/// The names of images, each with what it stands for.
#[derive(Debug, Default)]
pub(crate) struct NamedImages<'t>(BTreeMap<String, &'t NamedTarget>);

impl<'t> NamedImages<'t> {
    /// What a name stands for.
    pub(crate) fn get(&self, name: &Reference) -> Option<&'t NamedTarget> {
        self.0.get(&name.canonical()).copied()
    }

    /// Gives a name to an image, and takes it from the one that had it.
    pub(crate) fn set(&mut self, name: &Reference, target: &'t NamedTarget) {
        self.0.insert(name.canonical(), target);
    }

    /// Records the names. An image of `all` without one, also in the store, gets the name that stands for none.
    pub(crate) fn record(self, all: impl IntoIterator<Item = &'t NamedTarget>, store: &mut StoreWriter) {
        self.record_with(all, &BTreeMap::new(), store);
    }

    /// As [`Self::record`], with labels of the records.
    pub(crate) fn record_with(
        mut self,
        all: impl IntoIterator<Item = &'t NamedTarget>,
        labels: &BTreeMap<String, String>,
        store: &mut StoreWriter,
    ) {
        for named in all {
            let digest = named.target.digest;
            let has_digest =
                |record: &ImageRecord| record.target.as_ref().is_some_and(|target| target.digest == digest);
            let known = |(name, record)| !self.0.contains_key(name) && has_digest(record);
            let is_named = store.images().is_some_and(|images| images.iter().any(known));
            if !is_named && !self.0.values().any(|other| other.target.digest == digest) {
                self.0.insert(format!("{DANGLING}{digest}"), named);
            }
        }
        for (name, NamedTarget { target, annotations }) in &self.0 {
            store.add_image(&NewImage { name, target, annotations, labels });
        }
    }
}
