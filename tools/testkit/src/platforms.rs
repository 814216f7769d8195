//! An OCI layout with one image of several platforms, as BuildKit writes it: an index in `index.json`, and attestations.

use layerfs::Digest;
use serde_json::{Value, json};

use super::image::{self, descriptor};
use super::tarfile::{self, TarMember};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What is in the layout of a platform's image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// All but the config.
    WithoutConfig,
    /// Nothing: only the index names it.
    Nothing,
}

/// An image `name` in full, such as `docker.io/library/app:1`, for each architecture with a layer of its own. With
/// `attested`, each image that is there has an attestation.
pub fn archive(name: &str, architectures: &[(&str, Part)], attested: bool) -> Vec<u8> {
    let mut files = vec![tarfile::file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#.as_slice())];
    let mut manifests = Vec::new();
    for (architecture, part) in architectures {
        let layer = tarfile::tar(&[tarfile::file("where", format!("{name} {architecture}"))]);
        let mut config = image::config(&[Digest::hash(&layer)]);
        config["architecture"] = (*architecture).into();
        let config = serde_json::to_vec(&config).unwrap();
        let manifest = manifest(descriptor(CONFIG, &config), descriptor(LAYER, &layer));
        let mut entry = descriptor(MANIFEST, &manifest);
        entry["platform"] = json!({"architecture": architecture, "os": "linux"});
        let digest = entry["digest"].clone();
        manifests.push(entry);
        if *part == Part::Nothing {
            continue;
        }
        files.extend([blob(&layer), blob(&manifest)]);
        if *part == Part::Whole {
            files.push(blob(&config));
        }
        if attested {
            let statement = format!("{{\"subject\":{digest}}}").into_bytes();
            let config = b"{\"architecture\":\"unknown\",\"os\":\"unknown\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}";
            let manifest =
                self::manifest(descriptor(CONFIG, config), descriptor("application/vnd.in-toto+json", &statement));
            let mut entry = descriptor(MANIFEST, &manifest);
            entry["platform"] = json!({"architecture": "unknown", "os": "unknown"});
            entry["annotations"] = json!({
                "vnd.docker.reference.digest": digest,
                "vnd.docker.reference.type": "attestation-manifest",
            });
            manifests.push(entry);
            files.extend([blob(&statement), blob(config), blob(&manifest)]);
        }
    }
    let index = serde_json::to_vec(&json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": manifests})).unwrap();
    let mut entry = descriptor(INDEX, &index);
    entry["annotations"] = json!({"io.containerd.image.name": name});
    files.push(blob(&index));
    files.push(tarfile::file(
        "index.json",
        serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]})).unwrap(),
    ));
    tarfile::tar(&files)
}

fn manifest(config: Value, layer: Value) -> Vec<u8> {
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]});
    serde_json::to_vec(&manifest).unwrap()
}

fn blob(content: &[u8]) -> TarMember {
    tarfile::file(format!("blobs/sha256/{}", Digest::hash(content).hex()), content)
}
