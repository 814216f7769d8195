//! Images as files: what `docker save` writes, an OCI layout, one bare layer.

use std::fs::File;
use std::io::{BufWriter, Write};

use layerfs::Digest;
use serde_json::{Value, json};

use super::archive::Archive;
use super::kinds::Image;
use super::layer::{self, Written};
use super::{CorpusCompression, CorpusOptions, Error};

/// All times that documents say.
const CREATED: &str = "2022-05-01T00:00:00Z";
const NAME: &str = "layerfs-corpus";

/// Hears of each layer when it is written, with its number.
pub(super) type Report<'r> = dyn FnMut(usize, &Written) + 'r;

/// `docker save` of 20.10: a directory for each layer, in the order of their names. These are drawn, where docker hashes
/// a document; nobody checks them, and so layers need not be known before they are written.
pub(super) fn docker(image: &Image, options: &CorpusOptions, file: File, report: &mut Report<'_>) -> Result<(), Error> {
    let kind = options.kind.to_string();
    let ids: Vec<String> = (0..image.layers.len())
        .map(|number| Digest::hash(format!("{kind} {} {number}", options.seed).as_bytes()).hex())
        .collect();
    let mut order: Vec<usize> = (0..ids.len()).collect();
    order.sort_by_key(|&number| &ids[number]);
    let mut archive = Archive::new(file);
    let mut written = vec![None; ids.len()];
    for number in order {
        let id = &ids[number];
        archive.directory(id)?;
        archive.file(&format!("{id}/VERSION"), b"1.0")?;
        archive.file(&format!("{id}/json"), &version_one(&ids, number))?;
        let (at, out) = archive.begin()?;
        let (out, layer) = layer::write(image, number, options.compression, out)?;
        archive = Archive::end((at, out), &format!("{id}/layer.tar"), layer.bytes)?;
        report(number, &layer);
        written[number] = Some(layer);
    }
    let diff_ids: Vec<Digest> = written.iter().flatten().map(|layer| layer.diff_id).collect();
    let config = config(&diff_ids).to_string().into_bytes();
    let name = format!("{}.json", Digest::hash(&config).hex());
    archive.file(&name, &config)?;
    let layers: Vec<String> = ids.iter().map(|id| format!("{id}/layer.tar")).collect();
    let manifest =
        json!([{ "Config": name, "RepoTags": [format!("{NAME}/{kind}:{}", options.seed)], "Layers": layers }]);
    archive.file("manifest.json", manifest.to_string().as_bytes())?;
    let top = ids.last();
    let repositories = json!({ format!("{NAME}/{kind}"): { options.seed.to_string(): top } });
    archive.file("repositories", format!("{repositories}\n").as_bytes())?;
    Ok(archive.finish()?)
}

/// The document beside each layer, for daemons before 1.10.
fn version_one(ids: &[String], number: usize) -> Vec<u8> {
    let mut document = json!({ "id": ids[number] });
    if let Some(parent) = number.checked_sub(1) {
        document["parent"] = json!(ids[parent]);
    }
    document["created"] = json!(if number + 1 == ids.len() { CREATED } else { "1970-01-01T00:00:00Z" });
    document["container_config"] = container();
    if number + 1 == ids.len() {
        document["docker_version"] = json!("20.10.24");
        document["config"] = container();
        document["architecture"] = json!("amd64");
    }
    document["os"] = json!("linux");
    document.to_string().into_bytes()
}

/// An OCI layout in a tar.
pub(super) fn oci(image: &Image, options: &CorpusOptions, file: File, report: &mut Report<'_>) -> Result<(), Error> {
    let mut archive = Archive::new(file);
    archive.directory("blobs")?;
    archive.directory("blobs/sha256")?;
    let (mut diff_ids, mut layers) = (Vec::new(), Vec::new());
    for number in 0..image.layers.len() {
        let (at, out) = archive.begin()?;
        let (out, layer) = layer::write(image, number, options.compression, out)?;
        archive = Archive::end((at, out), &format!("blobs/sha256/{}", layer.digest.hex()), layer.bytes)?;
        report(number, &layer);
        diff_ids.push(layer.diff_id);
        layers.push(descriptor(layer_type(options.compression), &layer.digest, layer.bytes));
    }
    let config = blob(&mut archive, "application/vnd.oci.image.config.v1+json", &config(&diff_ids))?;
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({ "schemaVersion": 2, "mediaType": media_type, "config": config, "layers": layers });
    let mut manifest = blob(&mut archive, media_type, &manifest)?;
    let tag = format!("{}-{}", options.kind, options.seed);
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": tag });
    let index = json!({ "schemaVersion": 2, "manifests": [manifest] });
    archive.file("index.json", index.to_string().as_bytes())?;
    archive.file("oci-layout", json!({ "imageLayoutVersion": "1.0.0" }).to_string().as_bytes())?;
    Ok(archive.finish()?)
}

fn layer_type(compression: CorpusCompression) -> &'static str {
    match compression {
        CorpusCompression::None => "application/vnd.oci.image.layer.v1.tar",
        CorpusCompression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        CorpusCompression::Gzip | CorpusCompression::Pigz | CorpusCompression::Members => {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        }
    }
}

fn blob(archive: &mut Archive, media_type: &str, document: &Value) -> Result<Value, Error> {
    let bytes = document.to_string().into_bytes();
    let digest = Digest::hash(&bytes);
    archive.file(&format!("blobs/sha256/{}", digest.hex()), &bytes)?;
    Ok(descriptor(media_type, &digest, bytes.len() as u64))
}

fn descriptor(media_type: &str, digest: &Digest, size: u64) -> Value {
    json!({ "mediaType": media_type, "digest": digest.to_string(), "size": size })
}

/// One layer and nothing around it.
pub(super) fn bare(image: &Image, options: &CorpusOptions, file: File, report: &mut Report<'_>) -> Result<(), Error> {
    if image.layers.len() != 1 {
        return Err(Error::NotOneLayer { kind: options.kind, layers: image.layers.len() });
    }
    let (mut out, layer) = layer::write(image, 0, options.compression, BufWriter::with_capacity(256 << 10, file))?;
    out.flush()?;
    report(0, &layer);
    Ok(())
}

/// The image's configuration, as docker and OCI both read it.
fn config(diff_ids: &[Digest]) -> Value {
    let diff_ids: Vec<String> = diff_ids.iter().map(ToString::to_string).collect();
    let step = |(number, _)| json!({ "created": CREATED, "created_by": format!("corpus: layer {number}") });
    let history: Vec<Value> = diff_ids.iter().enumerate().map(step).collect();
    json!({
        "architecture": "amd64",
        "config": container(),
        "created": CREATED,
        "history": history,
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": diff_ids },
    })
}

fn container() -> Value {
    json!({ "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/sh"] })
}
