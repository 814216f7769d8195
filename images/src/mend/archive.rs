//! An archive or a layout as a source of good content.

use std::collections::HashMap;
use std::io::{BufReader, Read};
use std::sync::Arc;

use layerfs::DiffId;
use layerfs::compress::Decompressor;
use snapshot::ids::ImageId;
use snapshot::reference::Reference;
use snapshot::repair::{Donor, DonorError};
use snapshot::schema::config::ImageConfig;

use crate::source::{Archive, ArchiveError, ImageSource, LayerBytes, LayerRef, Select};

/// An archive or a layout, of which nothing but the documents is read until a layer is asked for.
#[derive(Debug)]
pub(super) struct ArchiveDonor {
    archive: Archive,
    configs: HashMap<ImageId, Arc<[u8]>>,
    names: Vec<(Reference, ImageId)>,
    /// The layers by the diff ids in the configs. Only reading a layer shows whether it has that diff id.
    layers: HashMap<DiffId, LayerRef>,
}

impl ArchiveDonor {
    pub(super) fn new(archive: Archive) -> Result<Self, ArchiveError> {
        let contents = archive.images(&Select::default())?;
        let (mut configs, mut names, mut layers) = (HashMap::new(), Vec::new(), HashMap::new());
        for image in contents.images {
            let id = ImageId(image.id);
            if let Ok(config) = ImageConfig::parse(&image.config)
                && config.diff_ids.len() == image.layers.len()
            {
                layers.extend(config.diff_ids.into_iter().zip(image.layers));
            }
            names.extend(image.tags.into_iter().map(|name| (name, id)));
            configs.insert(id, image.config);
        }
        Ok(Self { archive, configs, names, layers })
    }
}

impl Donor for ArchiveDonor {
    fn name(&self) -> String {
        self.archive.path().display().to_string()
    }

    fn config(&self, image: ImageId) -> Result<Option<Vec<u8>>, DonorError> {
        Ok(self.configs.get(&image).map(|config| config.to_vec()))
    }

    fn names(&self) -> Vec<(Reference, ImageId)> {
        self.names.clone()
    }

    fn has_layer(&self, diff_id: DiffId) -> bool {
        self.layers.contains_key(&diff_id)
    }

    fn layer(&self, diff_id: DiffId) -> Result<Option<Box<dyn Read + Send + '_>>, DonorError> {
        const BUFFER: usize = 128 << 10;
        let Some(layer) = self.layers.get(&diff_id) else { return Ok(None) };
        match self.archive.layer(layer)? {
            LayerBytes::File(blob) => {
                let reader = BufReader::with_capacity(BUFFER, blob.into_reader());
                Ok(Some(Box::new(Decompressor::new(reader)?)))
            }
            // Only an archive that comes through a pipe has other kinds of layers.
            _ => Ok(None),
        }
    }
}
