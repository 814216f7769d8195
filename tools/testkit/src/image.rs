//! Image archives made of layers, whole or with something wrong in them.

use std::io::Write;
use std::process::{Command, Stdio};

use layerfs::Digest;
use serde_json::{Value, json};

use super::tarfile::{self, TarMember};

/// An archive as `docker save` writes it, in parts.
#[derive(Debug)]
pub struct DockerArchive {
    /// The config.
    pub config: Value,
    /// `manifest.json`
    pub manifest: Value,
    /// The layers' files, or what stands in their place.
    pub layers: Vec<TarMember>,
    /// What else is in it.
    pub more: Vec<TarMember>,
}

/// The config's name.
pub const CONFIG: &str = "config.json";

/// The name of a layer's file. From a pipe, archives are told from layers by such names.
pub fn layer_name(number: usize) -> String {
    format!("{number:064x}/layer.tar")
}

/// An image config for layers with these diff ids.
pub fn config(diff_ids: &[Digest]) -> Value {
    let created = "2023-11-14T22:13:20Z";
    let step = |number| json!({"created": created, "created_by": format!("step {number}")});
    json!({
        "architecture": "amd64",
        "config": {"Cmd": ["/bin/sh"]},
        "created": created,
        "history": (0..diff_ids.len()).map(step).collect::<Vec<_>>(),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    })
}

impl DockerArchive {
    /// An image with the name `tag`, from tars that are stored as they are.
    pub fn new(tag: &str, layers: &[Vec<u8>]) -> Self {
        Self::packed(tag, layers, <[u8]>::to_vec)
    }

    /// [`Self::new`] with each layer's file made by `pack`.
    pub fn packed(tag: &str, layers: &[Vec<u8>], pack: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::hash(layer)).collect();
        let names: Vec<String> = (0..layers.len()).map(layer_name).collect();
        Self {
            config: config(&diff_ids),
            manifest: json!([{"Config": CONFIG, "RepoTags": [tag], "Layers": names}]),
            layers: names.iter().zip(layers).map(|(name, layer)| tarfile::file(name, pack(layer))).collect(),
            more: Vec::new(),
        }
    }

    /// The archive with all its parts.
    pub fn build(&self) -> Vec<u8> {
        self.build_with(&serde_json::to_vec(&self.config).unwrap(), &serde_json::to_vec(&self.manifest).unwrap())
    }

    /// The archive with other bytes for its documents.
    pub fn build_with(&self, config: &[u8], manifest: &[u8]) -> Vec<u8> {
        let config = tarfile::file(CONFIG, config);
        let manifest = tarfile::file("manifest.json", manifest);
        tarfile::tar(self.layers.iter().chain([&config]).chain(&self.more).chain([&manifest]))
    }
}

/// The parts of an OCI layout with one image.
#[derive(Debug)]
pub struct OciLayout {
    /// `oci-layout`
    pub layout: Value,
    /// `index.json`
    pub index: Value,
    /// The manifest that the index names.
    pub manifest: Value,
    /// The config that the manifest names.
    pub config: Value,
    /// The layers' blobs.
    pub layers: Vec<Vec<u8>>,
}

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// What a manifest says of a blob.
pub fn descriptor(media_type: &str, blob: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::hash(blob), "size": blob.len()})
}

fn blob_name(blob: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::hash(blob).hex())
}

impl OciLayout {
    /// An image with the name `tag`, from tars; `suffix` is that of their media type, such as `+gzip`.
    pub fn new(tag: &str, layers: &[Vec<u8>], suffix: &str, pack: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let diff_ids: Vec<Digest> = layers.iter().map(|layer| Digest::hash(layer)).collect();
        let config = config(&diff_ids);
        let layers: Vec<Vec<u8>> = layers.iter().map(|layer| pack(layer)).collect();
        let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
        let descriptors: Vec<Value> = layers.iter().map(|layer| descriptor(&media_type, layer)).collect();
        let config_type = "application/vnd.oci.image.config.v1+json";
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(config_type, &serde_json::to_vec(&config).unwrap()),
            "layers": descriptors,
        });
        let mut entry = descriptor(MANIFEST_TYPE, &serde_json::to_vec(&manifest).unwrap());
        entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        let index = json!({"schemaVersion": 2, "manifests": [entry]});
        Self { layout: json!({"imageLayoutVersion": "1.0.0"}), index, manifest, config, layers }
    }

    /// Makes the index say what the manifest is after it was changed.
    pub fn reindex(&mut self) {
        let manifest = descriptor(MANIFEST_TYPE, &serde_json::to_vec(&self.manifest).unwrap());
        for key in ["digest", "size"] {
            self.index["manifests"][0][key] = manifest[key].clone();
        }
    }

    /// Name and content of each file. Blobs are called by the digests that the documents give them.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let digest = |descriptor: &Value| {
            let text = descriptor["digest"].as_str().unwrap();
            format!("blobs/sha256/{}", text.trim_start_matches("sha256:"))
        };
        let json = |value: &Value| serde_json::to_vec(value).unwrap();
        let mut files = vec![("oci-layout".into(), json(&self.layout)), ("index.json".into(), json(&self.index))];
        files.push((blob_name(&json(&self.manifest)), json(&self.manifest)));
        files.push((digest(&self.manifest["config"]), json(&self.config)));
        let described = self.manifest["layers"].as_array().unwrap().iter().map(digest);
        files.extend(described.zip(self.layers.iter().cloned()));
        files
    }

    /// The layout as a tar.
    pub fn build(&self) -> Vec<u8> {
        let files: Vec<TarMember> =
            self.files().into_iter().map(|(name, content)| tarfile::file(name, content)).collect();
        tarfile::tar(&files)
    }
}

/// Whether the programs that [`pack`] may be asked for are there.
pub fn packers() -> bool {
    ["gzip", "zstd", "xz", "bzip2"].iter().all(|program| {
        let found = Command::new(program).arg("--version").stdin(Stdio::null()).output();
        found.is_ok_and(|output| output.status.success())
    })
}

/// Compresses with a program, so that no codec is tested against itself.
pub fn pack(program: &str, plain: &[u8]) -> Vec<u8> {
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(plain).unwrap();
    std::io::Seek::rewind(&mut input).unwrap();
    // gzip alone writes the time: the same bytes are to be packed alike whenever that is.
    let options: &[&str] = if program == "gzip" { &["-q", "-1", "-c", "-n"] } else { &["-q", "-1", "-c"] };
    let output = Command::new(program).args(options).stdin(input).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
