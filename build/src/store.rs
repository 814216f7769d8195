//! The store that is built in: its images, and new ones.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use images::export::{ExportError, ExportForm, Exporter};
use images::load::{ImportOptions, ImportRequest, NewImage, Silent, store_image};
use images::pipe::{LayerWriter, piped};
use images::source::Select;
use images::tree::LayersOfStore;
use layerfs::DiffId;
use snapshot::catalog::{Catalog, Resolved};
use snapshot::edit::{Edit, Transaction, WriteOptions};
use snapshot::ids::ImageId;
use snapshot::reference::Reference;
use snapshot::root::DataRoot;

use crate::BuildError;
use crate::upper::Upper;

/// How long a build waits for another command that writes to the store.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A data-root that is built in.
#[derive(Debug)]
pub(crate) struct BuildStore<'b> {
    pub(crate) root: PathBuf,
    pub(crate) driver: Option<&'static str>,
    pub(crate) sync: bool,
    pub(crate) interrupted: &'b AtomicBool,
}

/// A data-root at one moment.
pub(crate) struct Moment {
    pub(crate) root: DataRoot,
    pub(crate) catalog: Catalog,
}

impl Moment {
    /// The layers of an image.
    pub(crate) fn layers(&self, id: ImageId) -> Result<LayersOfStore<'_>, BuildError> {
        let image = self.catalog.images().get(&id).ok_or_else(|| gone(id))?;
        Ok(LayersOfStore::new(&self.root, &self.catalog, image)?)
    }

    /// The bytes of an image's config, and its layers.
    pub(crate) fn config(&self, id: ImageId) -> Result<(Vec<u8>, Vec<DiffId>), BuildError> {
        let image = self.catalog.images().get(&id).ok_or_else(|| gone(id))?;
        let bytes = self.root.images()?.map_or(Ok(None), |images| images.config(id))?.ok_or_else(|| gone(id))?;
        Ok((bytes, image.diff_ids.clone()))
    }

    /// The image that a name or an id means.
    pub(crate) fn find(&self, name: &str) -> Option<ImageId> {
        match self.catalog.resolve(name) {
            Resolved::Image(id) => Some(id),
            _ => None,
        }
    }
}

fn gone(id: ImageId) -> BuildError {
    BuildError::NoBase(format!("No such image: {id}"))
}

impl BuildStore<'_> {
    /// Reads the store; a store that does not exist is an error.
    pub(crate) fn read(&self) -> Result<Moment, BuildError> {
        let root = DataRoot::find(&self.root, self.driver)?;
        let catalog = Catalog::read(&root)?;
        Ok(Moment { root, catalog })
    }

    /// Stores an image: the layers `below`, and on them what `layer` holds, if it holds anything.
    pub(crate) fn add(
        &self,
        below: &[DiffId],
        layer: Option<&Upper<'_>>,
        describe: impl FnOnce(Option<DiffId>) -> NewImage,
    ) -> Result<ImageId, BuildError> {
        let Some(upper) = layer.filter(|upper| !upper.is_empty()) else {
            return self
                .with_request(|request| store_image(&self.root, below, None, request, describe))
                .map_err(Into::into);
        };
        let write = |out: LayerWriter| {
            let mut exporter = Exporter::new(out, ExportForm::Layer, self.interrupted);
            exporter.all(&upper.layer, &upper.picked)?;
            exporter.finish().map(drop)
        };
        self.add_written(below, write, describe)
    }

    /// Stores an image with the layer that `write` writes on top.
    pub(crate) fn add_written(
        &self,
        below: &[DiffId],
        write: impl FnOnce(LayerWriter) -> Result<(), ExportError> + Send,
        describe: impl FnOnce(Option<DiffId>) -> NewImage,
    ) -> Result<ImageId, BuildError> {
        self.with_request(|request| {
            let stored = piped(write, |layer| store_image(&self.root, below, Some(layer), request, describe));
            stored.map_err(BuildError::io("starting to write the layer"))?.map_err(Into::into)
        })
    }

    fn with_request<T>(&self, work: impl FnOnce(&ImportRequest<'_>) -> T) -> T {
        let mut options = ImportOptions::new(self.interrupted);
        (options.driver, options.sync, options.patience) = (self.driver, self.sync, PATIENCE);
        let archive = std::path::Path::new("the step's layer");
        work(&ImportRequest { archive, select: &Select::default(), options: &options, observer: &Silent })
    }

    /// Gives an image names: all of them or, after an error, none.
    pub(crate) fn tag(&self, image: ImageId, names: &[Reference], time: &str) -> Result<(), BuildError> {
        if names.is_empty() {
            return Ok(());
        }
        let options = WriteOptions { driver: self.driver, sync: self.sync };
        let mut transaction = Transaction::begin_waiting(&self.root, options, PATIENCE)?;
        for name in names {
            transaction.add(Edit::SetTag { reference: name.clone(), image });
        }
        transaction.add(Edit::SetLastUpdated { image, time: time.to_owned() });
        transaction.commit()?;
        Ok(())
    }
}
