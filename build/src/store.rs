//! The store that is built in: its images, and new ones.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use images::export::{ExportError, ExportForm, Exporter};
use images::load::{ImportOptions, ImportRequest, NewImage, Silent, store_image};
use images::pipe::{LayerWriter, piped};
use images::source::{Platform, Select};
use images::tree::LayersOfStore;
use layerfs::DiffId;
use snapshot::catalog::{Catalog, Resolved};
use snapshot::edit::{Edit, Transaction, WriteOptions};
use snapshot::ids::ImageId;
use snapshot::reference::Reference;
use snapshot::root::DataRoot;

use crate::BuildError;
use crate::execute::{Fetch, Place};
use crate::upper::Upper;

/// How long a build waits for another command that writes to the store.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A data-root that is built in.
pub(crate) struct BuildStore<'b> {
    pub(crate) root: PathBuf,
    pub(crate) driver: Option<&'static str>,
    pub(crate) sync: bool,
    pub(crate) interrupted: &'b AtomicBool,
    fetch: &'b Fetch<'b>,
    moment: RwLock<Arc<Moment>>,
    /// Who writes to the store of the stages that are built side by side. The lock of the store itself would do, but others wait
    /// for that only so long.
    writing: Mutex<()>,
}

/// A data-root as a build sees it: as it was when its records were read, with what the build has stored since. Another command
/// may change the root meanwhile; whether a layer can be built on is asked of the root itself when the next layer is stored.
pub(crate) struct Moment {
    pub(crate) root: DataRoot,
    catalog: RwLock<Catalog>,
}

impl Moment {
    fn read(root: &Path, driver: Option<&'static str>) -> Result<Arc<Self>, BuildError> {
        let root = DataRoot::find(root, driver)?;
        let catalog = RwLock::new(Catalog::read(&root)?);
        Ok(Arc::new(Self { root, catalog }))
    }

    /// All records. Nothing that was stored is seen as long as somebody looks at them.
    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The layers of an image.
    pub(crate) fn layers(&self, id: ImageId) -> Result<LayersOfStore<'_>, BuildError> {
        let catalog = self.catalog();
        let image = catalog.images().get(&id).ok_or_else(|| gone(id))?;
        Ok(LayersOfStore::new(&self.root, &catalog, image)?)
    }

    /// The bytes of an image's config, and its layers.
    pub(crate) fn config(&self, id: ImageId) -> Result<(Vec<u8>, Vec<DiffId>), BuildError> {
        let layers = self.catalog().images().get(&id).ok_or_else(|| gone(id))?.diff_ids.clone();
        let bytes = self.root.images()?.map_or(Ok(None), |images| images.config(id))?.ok_or_else(|| gone(id))?;
        Ok((bytes, layers))
    }

    /// The image that a name or an id means.
    fn find(&self, name: &str) -> Option<ImageId> {
        match self.catalog().resolve(name) {
            Resolved::Image(id) => Some(id),
            _ => None,
        }
    }
}

fn gone(id: ImageId) -> BuildError {
    BuildError::NoBase(format!("No such image: {id}"))
}

impl<'b> BuildStore<'b> {
    /// Opens a store and reads its records; a store that does not exist is an error.
    pub(crate) fn open(place: &'b Place<'b>, sync: bool) -> Result<Self, BuildError> {
        let &Place { ref root, driver, interrupted, fetch, .. } = place;
        let moment = RwLock::new(Moment::read(root, driver)?);
        let writing = Mutex::default();
        Ok(Self { root: root.clone(), driver, sync, interrupted, fetch, moment, writing })
    }

    /// The store as it is for this build.
    pub(crate) fn moment(&self) -> Arc<Moment> {
        Arc::clone(&self.moment.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The root as it is now, without its records.
    pub(crate) fn root_now(&self) -> Result<DataRoot, BuildError> {
        Ok(DataRoot::find(&self.root, self.driver)?)
    }

    /// No other stage of this build writes to the store as long as this is held. What is called on this store meanwhile must not ask
    /// for it again.
    pub(crate) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store for whoever runs something in it.
    pub(crate) fn containers(&self) -> containers::Store {
        containers::Store { root: self.root.clone(), driver: self.driver }
    }

    fn read_again(&self) -> Result<(), BuildError> {
        let now = Moment::read(&self.root, self.driver)?;
        *self.moment.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    /// The image that a name means. One that is not there is fetched, and with `pull` any is.
    pub(crate) fn image(&self, name: &str, platform: Option<&Platform>, pull: bool) -> Result<ImageId, BuildError> {
        let there = if pull { None } else { self.moment().find(name) };
        if let Some(id) = there {
            return Ok(id);
        }
        let _writing = self.writing();
        (self.fetch)(name, platform)?;
        self.read_again()?;
        self.moment().find(name).ok_or_else(|| BuildError::NoBase(format!("No such image: {name}")))
    }

    /// What was stored is seen from now on. Only its own records are read.
    fn see(&self, id: ImageId) -> Result<ImageId, BuildError> {
        let moment = self.moment();
        let seen = moment.catalog.write().unwrap_or_else(PoisonError::into_inner).take_in(&moment.root, id)?;
        if !seen {
            // The root had nothing in it when it was opened.
            self.read_again()?;
        }
        Ok(id)
    }

    /// Stores an image: the layers `below`, and on them what `layer` holds, if it holds anything.
    pub(crate) fn add(
        &self,
        below: &[DiffId],
        layer: Option<&Upper<'_>>,
        describe: impl FnOnce(Option<DiffId>) -> NewImage,
    ) -> Result<ImageId, BuildError> {
        let Some(upper) = layer.filter(|upper| !upper.is_empty()) else {
            let _writing = self.writing();
            let stored = self.with_request(|request| store_image(&self.root, below, None, request, describe));
            return self.see(stored?);
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
        let _writing = self.writing();
        let stored = self.with_request(|request| {
            piped(write, |layer| store_image(&self.root, below, Some(layer), request, describe))
        });
        self.see(stored.map_err(BuildError::io("starting to write the layer"))??)
    }

    fn with_request<T>(&self, work: impl FnOnce(&ImportRequest<'_>) -> T) -> T {
        let mut options = ImportOptions::new(self.interrupted);
        (options.driver, options.sync, options.patience) = (self.driver, self.sync, PATIENCE);
        let archive = Path::new("the step's layer");
        work(&ImportRequest { archive, select: &Select::default(), options: &options, observer: &Silent })
    }

    /// Gives an image names: all of them or, after an error, none.
    pub(crate) fn tag(&self, image: ImageId, names: &[Reference], time: &str) -> Result<(), BuildError> {
        if names.is_empty() {
            return Ok(());
        }
        let options = WriteOptions { driver: self.driver, sync: self.sync };
        let _writing = self.writing();
        let mut transaction = Transaction::begin_waiting(&self.root, options, PATIENCE)?;
        for name in names {
            transaction.add(Edit::SetTag { reference: name.clone(), image });
        }
        transaction.add(Edit::SetLastUpdated { image, time: time.to_owned() });
        transaction.commit()?;
        Ok(())
    }
}
