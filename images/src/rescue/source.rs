//! One image of a store, as a source that an import reads from.

use std::io::{self, BufReader, BufWriter, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use layerfs::DiffId;
use snapshot::view::View;
use tarsplit::JournalError;
use tarsplit::assemble::assemble;
use tarsplit::journal::EntryReader;

use crate::save::{ImageToSave, LayerToSave, SaveError, SavePlan, parts_of, read_config, tar_of};
use crate::source::{
    ArchiveError, Fetch, ImageSource, LayerBytes, LayerRef, NameError, Select, SourceContents, SourceImage,
};

/// Bytes of a tar between the thread that puts it together and the one that unpacks it.
const PIECE: usize = 128 << 10;

/// Why a layer could not be read, and which.
type Failure = Arc<Mutex<Option<(DiffId, SaveError)>>>;

/// An image of a store, with the image that it was built from, whose layers the new store has.
#[derive(Debug)]
pub(super) struct OneImage<'p> {
    from: Arc<View>,
    plan: &'p SavePlan,
    images: Vec<SourceImage>,
    failure: Failure,
}

impl<'p> OneImage<'p> {
    pub(super) fn new(
        from: Arc<View>,
        plan: &'p SavePlan,
        image: &ImageToSave,
        parent: Option<&ImageToSave>,
    ) -> Result<Self, SaveError> {
        let store = from.root().images()?;
        let described = |image: &ImageToSave, parent: Option<&ImageToSave>| {
            let layer = |diff_id: &DiffId| LayerRef { name: diff_id.to_string(), descriptor: None };
            Ok::<_, SaveError>(SourceImage {
                config: read_config(store.as_ref(), image.id)?.into(),
                config_name: image.id.to_string(),
                id: image.id.0,
                tags: image.references().cloned().collect(),
                unusable_names: Vec::new(),
                layers: image.diff_ids.iter().map(layer).collect(),
                parent: parent.map(|parent| parent.id.0),
                origin: image.id.to_string(),
                manifest: None,
                targets: Vec::new(),
            })
        };
        let mut images = parent.map(|parent| described(parent, None)).into_iter().collect::<Result<Vec<_>, _>>()?;
        images.push(described(image, parent)?);
        Ok(Self { from, plan, images, failure: Failure::default() })
    }

    /// The first layer that could not be read, and why.
    pub(super) fn take_failure(&self) -> Option<(DiffId, SaveError)> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ImageSource for OneImage<'_> {
    fn images(&self, _select: &Select) -> Result<SourceContents, ArchiveError> {
        Ok(SourceContents { images: self.images.clone(), ..SourceContents::default() })
    }

    fn layer(&self, layer: &LayerRef) -> Result<LayerBytes, ArchiveError> {
        let planned = self.plan.layers.iter().find(|planned| planned.diff_id.to_string() == layer.name);
        let planned = planned.ok_or_else(|| NameError::Missing { file: layer.name.clone() })?;
        let stored = StoredLayer {
            from: Arc::clone(&self.from),
            layer: planned.clone(),
            size: 0,
            failure: Arc::clone(&self.failure),
        };
        match tar_of(self.from.root(), planned) {
            Ok(tar) => Ok(LayerBytes::Fetched(Arc::new(StoredLayer { size: tar.size, ..stored }))),
            Err(error) => Err(ArchiveError::Read { file: layer.name.clone(), source: stored.failed(error) }),
        }
    }
}

/// A layer whose tar is put together while it is read. Nothing of it is opened before that: a store has many layers, and each
/// of some drivers' takes a device.
#[derive(Debug)]
struct StoredLayer {
    from: Arc<View>,
    layer: LayerToSave,
    /// Bytes of its tar.
    size: u64,
    failure: Failure,
}

impl StoredLayer {
    /// Keeps the reason, for which the reader's error only stands.
    fn failed(&self, error: SaveError) -> io::Error {
        keep(&self.failure, self.layer.diff_id, error);
        io::Error::other("the layer cannot be read")
    }

    fn begin(&self) -> Result<io::PipeReader, SaveError> {
        let (journal, files) = parts_of(self.from.root(), &self.layer)?;
        let failed = || SaveError::output(&std::env::temp_dir(), "making a pipe, with a thread that writes to it, for");
        let (reader, writer) = io::pipe().map_err(failed())?;
        let (failure, diff_id) = (Arc::clone(&self.failure), self.layer.diff_id);
        let write = move || {
            let mut out = BufWriter::with_capacity(PIECE, &writer);
            let assembled = assemble(EntryReader::new(BufReader::new(journal)), &files, &mut out);
            match assembled.map(|_| out.flush()) {
                // Nobody reads any more: the reader knows why.
                Ok(_) | Err(JournalError::Write { .. }) => {}
                Err(source) => keep(&failure, diff_id, SaveError::Layer { diff_id, source }),
            }
            // Only now the reader finds the end, and then the reason is there.
            drop(out);
            drop(writer);
        };
        std::thread::Builder::new().spawn(write).map_err(failed())?;
        Ok(reader)
    }
}

/// Keeps the first failure.
fn keep(failure: &Failure, diff_id: DiffId, error: SaveError) {
    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert((diff_id, error));
}

impl Fetch for StoredLayer {
    fn size(&self) -> u64 {
        self.size
    }

    fn reader(&self) -> Box<dyn Read + Send> {
        match self.begin() {
            Ok(reader) => Box::new(reader),
            Err(error) => Box::new(Failed(Some(self.failed(error)))),
        }
    }
}

/// A reader of nothing.
struct Failed(Option<io::Error>);

impl Read for Failed {
    fn read(&mut self, _output: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::Error::other("the layer cannot be read")))
    }
}
