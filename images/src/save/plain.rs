//! Uncompressed layers into files, several at once: a journal says how long the tar will be, and so where each layer begins.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use layerfs::pool::{BoxedTask, Pool, Task};
use layerfs::{DiffId, LayerFiles, Rebuilding};
use snapshot::root::DataRoot;
use snapshot::schema::layer::LayerStore;

use super::documents::SavedLayer;
use super::error::SaveError;
use super::layer::Stored;
use super::output::{Files, Output};
use super::plan::{LayerToSave, SavePlan};
use super::{SaveOptions, announced, as_tar, journal, open_layer, record_of, tar_length};

/// Writes the layers of `plan` into `output`, which is no stream.
pub(super) fn write_layers(
    root: &DataRoot,
    store: Option<&LayerStore>,
    plan: &SavePlan,
    output: &mut Output<'_>,
    options: &SaveOptions<'_>,
) -> Result<BTreeMap<DiffId, SavedLayer>, SaveError> {
    let lengths = measure(store, plan, options)?;
    let saved: Vec<SavedLayer> = plan.layers.iter().zip(lengths).map(|(layer, size)| as_tar(layer, size)).collect();
    let written: Vec<usize> = (0..saved.len()).filter(|&number| !saved[number].left_out).collect();
    let blobs: Vec<_> = written.iter().map(|&number| (saved[number].digest, saved[number].size)).collect();
    let begins = output.lay_out(&blobs).map_err(output.failed())?;

    let results = Results::default();
    let shared = Shared { root, store, files: output.files(), options, stop: AtomicBool::new(false) };
    let mut tasks: Vec<Copying<'_>> = Vec::with_capacity(written.len());
    for (number, begin) in written.into_iter().zip(begins) {
        let place = Place { begin, size: saved[number].size, written: 0 };
        let layer = &plan.layers[number];
        tasks.push(Copying { number, layer, place, running: None, shared: &shared, failed: &results });
    }
    // The longest first, so that at the end all threads have work.
    tasks.sort_by_key(|task| std::cmp::Reverse(task.place.size));
    let tasks = tasks.into_iter().map(|task| -> BoxedTask<'_> { Box::new(task) });
    Pool::run(options.threads, tasks.collect(), None);
    first_error(results)?;
    Ok(saved.into_iter().map(|layer| (layer.diff_id, layer)).collect())
}

/// What went wrong, by the numbers of layers.
type Results = Mutex<BTreeMap<usize, SaveError>>;

/// The error of the first layer that has one of its own: the others may only have stopped because of it.
fn first_error(errors: Results) -> Result<(), SaveError> {
    let errors = errors.into_inner().unwrap_or_else(PoisonError::into_inner);
    let (stopped, own): (Vec<_>, Vec<_>) =
        errors.into_values().partition(|error| matches!(error, SaveError::Interrupted));
    own.into_iter().chain(stopped).next().map_or(Ok(()), Err)
}

/// The lengths of all layers' tars.
fn measure(store: Option<&LayerStore>, plan: &SavePlan, options: &SaveOptions<'_>) -> Result<Vec<u64>, SaveError> {
    // The longest journals first, so that at the end all threads have work. One that cannot be opened is opened again below.
    let length =
        |layer| store.and_then(|store| journal(store, layer).ok()?.metadata().ok()).map_or(0, |file| file.len());
    let mut order: Vec<usize> = (0..plan.layers.len()).collect();
    order.sort_by_cached_key(|&number| std::cmp::Reverse(length(&plan.layers[number])));
    let lengths = layerfs::pool::map(plan.layers.len(), options.threads, |at| {
        let layer = &plan.layers[order[at]];
        let is_stopped = options.interrupted.load(Ordering::Relaxed);
        (!is_stopped).then(|| record_of(store, layer).and_then(|store| tar_length(store, layer)))
    });
    // An error of a layer's own says more than that others were not read.
    let mut in_plan: Vec<_> = order.into_iter().zip(lengths).collect();
    in_plan.sort_by_key(|&(number, _)| number);
    let (read, unread): (Vec<_>, Vec<_>) = in_plan.into_iter().map(|(_, length)| length).partition(Option::is_some);
    let read = read.into_iter().flatten().collect::<Result<_, _>>()?;
    if unread.is_empty() { Ok(read) } else { Err(SaveError::Interrupted) }
}

/// What all layers share.
struct Shared<'s> {
    root: &'s DataRoot,
    store: Option<&'s LayerStore>,
    files: Files<'s>,
    options: &'s SaveOptions<'s>,
    /// Becomes true when a layer fails or the user asks to stop.
    stop: AtomicBool,
}

/// Where a layer goes in its file.
struct Place {
    begin: u64,
    size: u64,
    written: u64,
}

/// The task of writing one layer.
struct Copying<'s> {
    number: usize,
    layer: &'s LayerToSave,
    place: Place,
    running: Option<(Rebuilding<'s>, File)>,
    shared: &'s Shared<'s>,
    failed: &'s Results,
}

impl<'s> Task<'s> for Copying<'s> {
    fn step(&mut self, pool: &Pool<'s>) -> ControlFlow<()> {
        match self.advance(pool) {
            Ok(flow) => flow,
            Err(error) => {
                self.shared.stop.store(true, Ordering::Relaxed);
                self.failed.lock().unwrap_or_else(PoisonError::into_inner).insert(self.number, error);
                ControlFlow::Break(())
            }
        }
    }
}

impl<'s> Copying<'s> {
    fn advance(&mut self, pool: &Pool<'s>) -> Result<ControlFlow<()>, SaveError> {
        let Shared { files, options, stop, .. } = self.shared;
        if stop.load(Ordering::Relaxed) || options.interrupted.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted);
        }
        let (rebuilding, file) = match &mut self.running {
            Some(running) => running,
            none => none.insert(begin(self.shared, self.layer, self.number)?),
        };
        let diff_id = self.layer.diff_id;
        let piece = rebuilding.next_piece().map_err(|source| SaveError::Layer { diff_id, source })?;
        if !piece.is_empty() {
            let length = piece.len() as u64;
            self.place.write(file, &piece).map_err(files.failed())?;
            rebuilding.hash(piece, pool);
            options.observer.advance(self.number, length);
            return Ok(ControlFlow::Continue(()));
        }
        let (rebuilding, _) = self.running.take().expect("it runs");
        let found = rebuilding.finish();
        if found != diff_id {
            return Err(SaveError::Differs { diff_id, found: found.0 });
        }
        options.observer.end(self.number);
        Ok(ControlFlow::Break(()))
    }
}

fn begin<'s>(shared: &Shared<'_>, layer: &LayerToSave, number: usize) -> Result<(Rebuilding<'s>, File), SaveError> {
    let Stored { journal, files, .. } = open_layer(shared.root, record_of(shared.store, layer)?, layer)?;
    let file = shared.files.open(layer.diff_id.0).map_err(shared.files.failed())?;
    shared.options.observer.begin(number, &announced(layer));
    Ok((Rebuilding::new(journal, LayerFiles::new(files)), file))
}

impl Place {
    /// Writes the next bytes, but none beyond the layer's place: a tar that is longer than it was measured must not be
    /// written over the next layer. Its digest will show that it is not the layer.
    fn write(&mut self, file: &File, bytes: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.size - self.written).map_or(bytes.len(), |room| room.min(bytes.len()));
        file.write_all_at(&bytes[..room], self.begin + self.written)?;
        self.written += room as u64;
        Ok(())
    }
}
