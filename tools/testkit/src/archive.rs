//! Archives as `docker save` writes them, made here.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use layerfs::Digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// One image to be written.
#[derive(Debug)]
pub struct ArchiveImage {
    /// Its name.
    pub tag: String,
    /// The tars of its layers, base first; compressed or not.
    pub layers: Vec<Vec<u8>>,
    /// The digests of the uncompressed layers.
    pub diff_ids: Vec<Digest>,
    /// Makes images with the same layers different ones.
    pub comment: String,
}

impl ArchiveImage {
    fn config(&self) -> Vec<u8> {
        let created = "2023-11-14T22:13:20Z";
        let step = |_| json!({"created": created, "created_by": "layerfs test"});
        let config: Value = json!({
            "architecture": "amd64",
            "comment": self.comment,
            "config": {"Cmd": ["/bin/sh"]},
            "created": created,
            "history": self.layers.iter().map(step).collect::<Vec<_>>(),
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
        });
        serde_json::to_vec(&config).unwrap()
    }
}

/// Writes an archive of the images, in this order.
pub fn write(path: &Path, images: &[ArchiveImage]) {
    let item = |image: &ArchiveImage| ArchiveItem {
        config: image.config(),
        tags: vec![image.tag.clone()],
        layers: image.layers.clone(),
    };
    write_items(path, &images.iter().map(item).collect::<Vec<_>>());
}

/// One image with a config of any kind.
#[derive(Debug)]
pub struct ArchiveItem {
    /// The config, whatever it says.
    pub config: Vec<u8>,
    /// Its names.
    pub tags: Vec<String>,
    /// The tars of its layers, base first; compressed or not.
    pub layers: Vec<Vec<u8>>,
}

/// Writes an archive of the items, in this order.
pub fn write_items(path: &Path, items: &[ArchiveItem]) {
    let mut archive = Builder::new(File::create(path).unwrap());
    let mut manifest = Vec::new();
    for (number, item) in items.iter().enumerate() {
        let name = format!("{}.json", Digest::hash(&item.config).hex());
        append(&mut archive, &name, &item.config);
        let layers = (0..item.layers.len()).map(|layer| format!("{number}-{layer}/layer.tar")).collect::<Vec<_>>();
        for (name, layer) in layers.iter().zip(&item.layers) {
            append(&mut archive, name, layer);
        }
        manifest.push(json!({"Config": name, "RepoTags": item.tags, "Layers": layers}));
    }
    append(&mut archive, "manifest.json", &serde_json::to_vec(&manifest).unwrap());
    archive.finish().unwrap();
}

/// The layers of the only image in an archive that dockerd wrote, base first.
pub fn layers(path: &Path) -> Vec<(Vec<u8>, Digest)> {
    let mut files = HashMap::new();
    for entry in tar::Archive::new(File::open(path).unwrap()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        files.insert(name, content);
    }
    let manifest: Value = serde_json::from_slice(&files["manifest.json"]).unwrap();
    let names = manifest[0]["Layers"].as_array().unwrap();
    let layers = names.iter().map(|name| files.remove(name.as_str().unwrap()).unwrap());
    layers
        .map(|layer| {
            let digest = Digest::hash(&layer);
            (layer, digest)
        })
        .collect()
}

/// A layer with one file.
pub fn layer(name: &str, content: &str) -> (Vec<u8>, Digest) {
    let mut layer = Builder::new(Vec::new());
    append(&mut layer, name, content.as_bytes());
    let layer = layer.into_inner().unwrap();
    let digest = Digest::hash(&layer);
    (layer, digest)
}

fn append<W: std::io::Write>(archive: &mut Builder<W>, name: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_mtime(1_700_000_000);
    archive.append_data(&mut header, name, content).unwrap();
}
