//! What is no image although `manifest.json` lists it like one.

use std::collections::{HashMap, HashSet};

use layerfs::Digest;

use super::super::image::Documents;
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
