//! The archives on tmpfs: copied there before the first run, so that every run finds them in memory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::rows::Workload;
use super::scratch::text;

/// What a workload needs, on tmpfs. Dropping it frees the memory.
#[derive(Debug)]
pub struct Staged {
    directory: PathBuf,
    /// The archive itself.
    pub archive: PathBuf,
    /// Its layers, base first, for programs that take nothing else. Of a layer: the archive.
    pub layers: Vec<PathBuf>,
    /// `DIRECTORY:TAG` of an OCI layout.
    pub layout: Option<String>,
}

/// Of `manifest.json`, what is needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    layers: Vec<PathBuf>,
}

/// Of `index.json`, what is needed.
#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

/// One manifest of `index.json`.
#[derive(Deserialize)]
struct Descriptor {
    #[serde(default)]
    annotations: std::collections::BTreeMap<String, String>,
}

/// The annotation that names an image of a layout.
const REFERENCE: &str = "org.opencontainers.image.ref.name";

impl Staged {
    /// Copies the archive of a workload from `inputs` to a directory below `base`, and takes it apart there.
    ///
    /// # Errors
    ///
    /// If it is missing, or cannot be copied or read.
    pub fn copy(workload: Workload, inputs: &Path, base: &Path) -> Result<Self> {
        let directory = base.join("inputs");
        fs::create_dir(&directory)?;
        let archive = directory.join(workload.archive());
        let mut staged = Self { directory, archive, layers: Vec::new(), layout: None };
        let source = inputs.join(workload.archive());
        fs::copy(&source, &staged.archive).with_context(|| format!("copying {}", source.display()))?;
        match workload {
            Workload::Image => staged.layers = staged.saved_layers()?,
            Workload::ImageGzip => staged.layout = Some(staged.tagged_layout()?),
            Workload::LayerGzip | Workload::LayerZstd | Workload::Small => {
                staged.layers = vec![staged.archive.clone()];
            }
        }
        Ok(staged)
    }

    /// Where the files are.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    fn extract(&self) -> Result<PathBuf> {
        let to = self.directory.join("extracted");
        fs::create_dir(&to)?;
        let status = Command::new("tar").args(["-xf", text(&self.archive)?, "-C", text(&to)?]).status()?;
        ensure!(status.success(), "extracting {}: {status}", self.archive.display());
        Ok(to)
    }

    fn saved_layers(&self) -> Result<Vec<PathBuf>> {
        let extracted = self.extract()?;
        let manifest = fs::read(extracted.join("manifest.json")).context("image.tar has no manifest.json")?;
        let images: Vec<SavedImage> = serde_json::from_slice(&manifest).context("parsing manifest.json")?;
        ensure!(images.len() == 1, "image.tar has {} images, not one", images.len());
        let layers = images.into_iter().flat_map(|image| image.layers);
        layers
            .map(|layer| fs::canonicalize(extracted.join(&layer)).with_context(|| layer.display().to_string()))
            .collect()
    }

    fn tagged_layout(&self) -> Result<String> {
        let extracted = self.extract()?;
        let index = fs::read(extracted.join("index.json")).context("the OCI layout has no index.json")?;
        let index: Index = serde_json::from_slice(&index).context("parsing index.json")?;
        let tag = index.manifests.first().and_then(|manifest| manifest.annotations.get(REFERENCE));
        Ok(format!("{}:{}", text(&extracted)?, tag.context("the image of the OCI layout has no name")?))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // The whole tmpfs goes at the end.
        let _ = fs::remove_dir_all(&self.directory);
    }
}
