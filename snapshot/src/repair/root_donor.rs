//! Another data-root as a source of good content.

use std::collections::HashMap;
use std::io::{BufReader, BufWriter, Read};
use std::path::Path;

use layerfs::{DiffId, LayerFiles};
use tarsplit::assemble::assemble;
use tarsplit::journal::EntryReader;

use super::donor::{Donor, DonorError};
use crate::catalog::Catalog;
use crate::error::StoreError;
use crate::ids::ImageId;
use crate::reference::Reference;
use crate::root::DataRoot;
use crate::schema::layer::LayerRecord;

/// Another data-root. It is only read, so it may be in use.
#[derive(Debug)]
pub struct RootDonor {
    root: DataRoot,
    names: Vec<(Reference, ImageId)>,
    layers: HashMap<DiffId, Vec<LayerRecord>>,
}

impl RootDonor {
    /// Opens the data-root at `path`.
    ///
    /// # Errors
    /// [`StoreError`] if there is no data-root, or if it cannot be listed.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let root = DataRoot::find(path, None)?;
        let catalog = Catalog::read(&root)?;
        let mut layers: HashMap<DiffId, Vec<LayerRecord>> = HashMap::new();
        for record in catalog.layers.values().flatten() {
            layers.entry(record.diff_id).or_default().push(record.clone());
        }
        let names = catalog.references.iter().filter_map(|(name, id)| Some((Reference::parse(name).ok()?, id)));
        Ok(Self { names: names.collect(), layers, root })
    }
}

impl Donor for RootDonor {
    fn name(&self) -> String {
        self.root.dir.path().display().to_string()
    }

    fn config(&self, image: ImageId) -> Result<Option<Vec<u8>>, DonorError> {
        Ok(self.root.images()?.map_or(Ok(None), |images| images.config(image))?)
    }

    fn names(&self) -> Vec<(Reference, ImageId)> {
        self.names.clone()
    }

    fn has_layer(&self, diff_id: DiffId) -> bool {
        self.layers.contains_key(&diff_id)
    }

    /// Replays the layer in a thread, through a pipe. If the layer is damaged in that store, the tar ends early or has
    /// another digest, so it is refused.
    fn layer(&self, diff_id: DiffId) -> Result<Option<Box<dyn Read + Send + '_>>, DonorError> {
        let Some(layers) = self.root.layers()? else { return Ok(None) };
        for record in self.layers.get(&diff_id).into_iter().flatten() {
            let (Some(journal), Some(content)) =
                (layers.journal(record.chain_id)?, self.root.content(&record.cache_id)?)
            else {
                continue;
            };
            let (reader, writer) = std::io::pipe()?;
            let files = LayerFiles::new(content.into());
            // The thread ends with its layer, or when nobody reads from the pipe any more.
            std::thread::Builder::new().spawn(move || {
                let _ = assemble(EntryReader::new(BufReader::new(journal)), &files, BufWriter::new(writer));
            })?;
            return Ok(Some(Box::new(reader)));
        }
        Ok(None)
    }
}
