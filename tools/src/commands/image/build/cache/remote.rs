//! A cache at a registry: an index under one name, which names the manifest of each record. As a layout in a directory it is
//! `index.json` itself.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use layerfs::Digest;
use registry::{CopyListener, CopyOptions, Layout, LayoutSource, RegistryError, Source, Target, copy};
use serde_json::{Value, json};
use snapshot::reference::Reference;

use super::Store;

const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// Blobs that are copied at once.
const MOST: usize = 3;

struct Quiet;

impl CopyListener for Quiet {}

impl Store<'_> {
    fn options(&self) -> CopyOptions<'_> {
        CopyOptions { all: true, referrers: false, platform: None, most: MOST, interrupted: self.interrupted }
    }

    /// Sends the records of a layout to a registry.
    pub(super) fn push(&self, dir: &Path, name: &Reference) -> anyhow::Result<()> {
        let client = Arc::new(self.flags.client_to_push(name, self.interrupted)?);
        let records: Value = serde_json::from_slice(&std::fs::read(dir.join("index.json"))?)?;
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": records["manifests"]});
        let index = serde_json::to_vec(&index)?;
        let digest = Digest::hash(&index);
        std::fs::write(blob(dir, digest), &index)?;
        let entry = json!({"mediaType": INDEX_TYPE, "digest": digest.to_string(), "size": index.len()});
        std::fs::write(
            dir.join("index.json"),
            serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?,
        )?;
        let (from, to) =
            (Source::Layout(LayoutSource::directory(dir.to_owned(), None)), Target::Registry(client, name.clone()));
        copy(&from, &to, self.options(), &Quiet).with_context(|| format!("writing the cache {}", name.familiar()))?;
        Ok(())
    }

    /// Fetches records into a layout. Returns whether there are any: a cache that is not there yet is none.
    pub(super) fn pull(&self, name: &Reference, dir: &Path) -> anyhow::Result<bool> {
        let client = Arc::new(self.flags.client(name, self.interrupted)?);
        let (from, to) = (Source::Registry(client, name.clone()), Target::Layout(Layout::new(dir.to_owned(), None)));
        let copied = match copy(&from, &to, self.options(), &Quiet) {
            Err(RegistryError::ManifestUnknown { .. } | RegistryError::NameUnknown { .. }) => return Ok(false),
            copied => copied.with_context(|| format!("reading the cache {}", name.familiar()))?,
        };
        std::fs::copy(blob(dir, copied.digest), dir.join("index.json"))?;
        Ok(true)
    }
}

fn blob(dir: &Path, digest: Digest) -> std::path::PathBuf {
    dir.join("blobs/sha256").join(digest.hex())
}
