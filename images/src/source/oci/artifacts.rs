//! What the index of an OCI layout knows of the images that `manifest.json` beside it lists: which are none, and the manifests
//! of the others.

use std::collections::{HashMap, HashSet};

use layerfs::Digest;

use super::super::image::{Documents, SourceManifest};
use super::documents::{self, DocumentKind, INDEX};
use super::walk::ATTESTATION;

/// What the index of an OCI layout knows to be no image, by the digests of the configs. What docker would load stays an image,
/// whatever else it is called. A document that cannot be read tells nothing.
pub(in super::super) fn artifacts(index: &[u8], documents: &mut Documents<'_>) -> HashMap<Digest, String> {
    let mut descriptors = documents::top_index(INDEX, index, documents).unwrap_or_default();
    let (mut found, mut of_images, mut seen) = (HashMap::new(), HashSet::new(), HashSet::new());
    while let Some(descriptor) = descriptors.pop() {
        if !seen.insert(descriptor.digest) {
            continue;
        }
        match descriptor.kind() {
            DocumentKind::Index => {
                descriptors.extend(documents::nested_index(&descriptor, documents).unwrap_or_default());
            }
            DocumentKind::Manifest => {
                let Ok(manifest) = documents::manifest(&descriptor, documents) else { continue };
                let attestation = descriptor.is_attestation().then(|| ATTESTATION.to_owned());
                let artifact = || manifest.artifact().filter(|_| manifest.has_only_other_layers());
                match attestation.or_else(|| artifact().map(|artifact| format!("{artifact}, not an image"))) {
                    Some(reason) => drop(found.insert(manifest.config.digest, reason)),
                    None => drop(of_images.insert(manifest.config.digest)),
                }
            }
            DocumentKind::Other => {}
        }
    }
    found.retain(|config, _| !of_images.contains(config));
    found
}

/// The manifests of images that the index of an OCI layout leads to, by the digests of the configs. A document that cannot be
/// read tells nothing.
pub(in super::super) fn manifests(index: &[u8], documents: &mut Documents<'_>) -> HashMap<Digest, SourceManifest> {
    let mut descriptors = documents::top_index(INDEX, index, documents).unwrap_or_default();
    let (mut found, mut seen) = (HashMap::new(), HashSet::new());
    while let Some(descriptor) = descriptors.pop() {
        if !seen.insert(descriptor.digest) {
            continue;
        }
        match descriptor.kind() {
            DocumentKind::Index => {
                descriptors.extend(documents::nested_index(&descriptor, documents).unwrap_or_default());
            }
            DocumentKind::Manifest => {
                let manifest = documents::manifest(&descriptor, documents);
                if let Some(manifest) = manifest.ok().filter(|manifest| manifest.artifact().is_none()) {
                    found.insert(manifest.config.digest, manifest.source());
                }
            }
            DocumentKind::Other => {}
        }
    }
    found
}
