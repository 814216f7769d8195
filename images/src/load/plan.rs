//! What an import has to do: which images and layers are there already, which are missing.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use layerfs::{ChainId, DiffId, Digest};
use serde::Serialize;

use super::error::ImportError;
use crate::source::{LayerRef, SelectionError, SourceImage, UnusableName, steps};
use snapshot::StoreError;
use snapshot::driver::Driver;
use snapshot::ids::{CacheId, ImageId};
use snapshot::reference::Reference;
use snapshot::schema::config::ImageConfig;
use snapshot::schema::image::ImageStore;
use snapshot::schema::layer::{LayerRecord, LayerStore};

/// A layer of an image.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedLayer {
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// The layer's own content.
    pub diff_id: DiffId,
    /// Its name in the archive.
    pub name: String,
    /// Its size in bytes, if the store has it already.
    pub present: Option<u64>,
    /// The digest of its file, if a manifest tells it.
    #[serde(skip)]
    pub blob: Option<Digest>,
}

/// An image of the archive.
#[derive(Debug, Clone)]
pub(crate) struct PlannedImage {
    pub(crate) id: ImageId,
    pub(crate) config: Arc<[u8]>,
    pub(crate) tags: Vec<Reference>,
    pub(crate) unusable_names: Vec<UnusableName>,
    pub(crate) parent: Option<ImageId>,
    pub(crate) layers: Vec<PlannedLayer>,
    /// The store has it already.
    pub(crate) present: bool,
}

/// A layer that the store does not have. Parents come before children.
#[derive(Debug, Clone)]
pub(crate) struct MissingLayer {
    pub(crate) chain_id: ChainId,
    pub(crate) diff_id: DiffId,
    pub(crate) parent: Option<ChainId>,
    /// Its number in the first image that needs it.
    pub(crate) index: usize,
    /// The build step that made it, for messages.
    pub(crate) step: Option<String>,
    pub(crate) source: LayerRef,
}

#[derive(Debug, Clone)]
pub(crate) struct ImportPlan {
    pub(crate) images: Vec<PlannedImage>,
    pub(crate) missing: Vec<MissingLayer>,
    /// The directories of the layers that the store has and on which missing layers stand.
    pub(crate) present: HashMap<ChainId, CacheId>,
}

/// The stores that a plan is made against; all `None` for an empty root.
#[derive(Clone, Copy)]
pub(crate) struct Existing<'s> {
    pub(crate) layers: Option<&'s LayerStore>,
    pub(crate) images: Option<&'s ImageStore>,
    pub(crate) driver: Option<&'s dyn Driver>,
}

impl Existing<'_> {
    /// The record of a layer that the store has, or `None`. A layer that is registered but damaged is an error.
    fn layer(
        &self,
        chain_id: ChainId,
        diff_id: DiffId,
        parent: Option<ChainId>,
        below: &[CacheId],
    ) -> Result<Option<LayerRecord>, StoreError> {
        let Some(record) = self.layers.map_or(Ok(None), |layers| layers.get(chain_id))? else { return Ok(None) };
        let damaged = |reason: String| StoreError::DamagedLayer { chain_id, reason };
        if (record.diff_id, record.parent) != (diff_id, parent) {
            return Err(damaged(format!("it is recorded with diff id {} on {:?}", record.diff_id, record.parent)));
        }
        let Some(driver) = self.driver else { return Err(damaged("the driver's directory is missing".to_owned())) };
        match driver.damage(&record.cache_id, below)? {
            Some(damage) => Err(damaged(damage.to_string())),
            None => Ok(Some(record)),
        }
    }
}

impl ImportPlan {
    /// Checks the images of an archive and compares them with the store.
    pub(crate) fn new(
        images: Vec<SourceImage>,
        extra_tag: Option<&Reference>,
        existing: Existing<'_>,
    ) -> Result<Self, ImportError> {
        if extra_tag.is_some() && images.len() != 1 {
            return Err(SelectionError::NameForSeveral { found: images.len() }.into());
        }
        let mut plan = Self { images: Vec::new(), missing: Vec::new(), present: HashMap::new() };
        let mut missing = HashSet::new();
        for image in images {
            let config = checked_config(&image)?;
            let id = ImageId(image.id);
            let mut steps = steps(&image.config, image.layers.len());
            let mut layers = Vec::new();
            // The directories of the layers so far, the nearest first.
            let mut below: Vec<CacheId> = Vec::new();
            for (index, (chain_id, source)) in
                ChainId::chain(&config.diff_ids).into_iter().zip(image.layers).enumerate()
            {
                let diff_id = config.diff_ids[index];
                let parent = layers.last().map(|layer: &PlannedLayer| layer.chain_id);
                let record = existing.layer(chain_id, diff_id, parent, &below)?;
                let name = source.name.clone();
                let blob = source.descriptor.as_ref().map(|descriptor| descriptor.digest);
                match &record {
                    Some(record) => {
                        below.insert(0, record.cache_id.clone());
                        plan.present.insert(chain_id, record.cache_id.clone());
                    }
                    None if missing.insert(chain_id) => {
                        let step = steps[index].take();
                        plan.missing.push(MissingLayer { chain_id, diff_id, parent, index, step, source });
                    }
                    None => {}
                }
                let present = record.map(|record| record.size);
                layers.push(PlannedLayer { chain_id, diff_id, name, present, blob });
            }
            let mut tags = image.tags;
            tags.extend(extra_tag.filter(|tag| !tags.contains(tag)).cloned());
            let present = existing.images.map_or(Ok(None), |images| images.config(id))?.is_some();
            let parent = image.parent.map(ImageId);
            let (config, unusable_names) = (image.config, image.unusable_names);
            plan.images.push(PlannedImage { id, config, tags, unusable_names, parent, layers, present });
        }
        plan.check_parents()?;
        Ok(plan)
    }

    /// Checks the parent that each image names. A parent outside the archive is forgotten, and so is the image itself (moby
    /// v20.10.24 `image/tarexport/load.go: validatedParentLinks`); another one inside it must fit.
    /// Configs are parsed once more here, instead of being kept parsed: a parsed config may take many times as much memory as
    /// its text, and an archive has many configs.
    fn check_parents(&mut self) -> Result<(), ImportError> {
        let configs: HashMap<ImageId, Arc<[u8]>> =
            self.images.iter().map(|image| (image.id, Arc::clone(&image.config))).collect();
        for image in &mut self.images {
            let Some(parent) = image.parent else { continue };
            let read = |id: ImageId, bytes: &[u8]| {
                ImageConfig::parse(bytes).map_err(|source| ImportError::Config { name: id.to_string(), source })
            };
            match configs.get(&parent).filter(|_| parent != image.id) {
                None => image.parent = None,
                Some(bytes) if read(image.id, &image.config)?.is_child_of(&read(parent, bytes)?) => {}
                Some(_) => return Err(ImportError::Parent { config: image.id.0.hex(), parent: parent.0 }),
            }
        }
        Ok(())
    }
}

/// Reads an image's config, and checks that dockerd would take the image with as many layers as its manifest has.
///
/// # Errors
/// [`ImportError::Config`], [`ImportError::LayerCount`]
pub(crate) fn checked_config(image: &SourceImage) -> Result<ImageConfig, ImportError> {
    let invalid = |source| ImportError::Config { name: image.config_name.clone(), source };
    let config = ImageConfig::parse(&image.config).map_err(invalid)?;
    config.check().map_err(invalid)?;
    if image.layers.len() != config.diff_ids.len() {
        return Err(ImportError::LayerCount {
            config: image.config_name.clone(),
            expected: image.layers.len(),
            found: config.diff_ids.len(),
        });
    }
    Ok(config)
}
