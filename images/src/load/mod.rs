//! An image archive into a data-root, as if a dockerd had loaded it.
//!
//! ```text
//! file   images -> plan against the store -> room? -> unpack what is missing, all at once -> edits, committed
//! pipe   unpack each layer as it comes -> images -> plan -> throw away what was there -> edits, committed
//! ```
//!
//! A driver may want each layer to begin as a copy of its parent. Then layers are unpacked one after the other; and since
//! only the end of a pipe says which layer stands on which, an archive from a pipe is first copied to a file without a name,
//! on the file system of the data-root.
//!
//! Chain ids are computed from the configs before any layer is read, so a layer that the store has already is not read. A
//! failure, or an interrupt, takes back everything (see [`snapshot::edit`]).

mod containerd;
mod edits;
mod error;
mod layers;
mod made;
mod options;
mod plan;
mod report;
mod room;
pub(crate) mod schedule;
pub(crate) mod stream;
mod write_back;

use std::fs::File;
use std::io::{BufRead, Seek, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use layerfs::meter::Meter;

pub(crate) use containerd::keep_blob;
pub use containerd::{dry_run_into_containerd, import_images_into_containerd, import_into_containerd};
pub use error::ImportError;
pub use made::{NewImage, OnStored, StoredBase, store_image, store_image_in_containerd};
pub use options::{Announced, ImportOptions, ImportRequest, Observer, Silent};
pub use plan::PlannedLayer;
pub(crate) use plan::checked_config;
pub use report::{ImageReport, ImportReport, NewLayer, TagReport};
pub use room::Need;
pub(crate) use room::check as check_room;
pub(crate) use room::check_lengths;
pub use stream::EndsInside;
pub(crate) use write_back::WriteBack;

use crate::source::{Archive, ArchiveError, ImageSource, LayerBytes, LayerRef, Opened, SourceContents, SourceImage};
use edits::{commit, tag_all};
use layers::Slots;
use plan::{Existing, ImportPlan};
use schedule::LayerTarget;
use snapshot::StoreError;
use snapshot::dir::Dir;
use snapshot::driver::{Driver, LayerOrder};
use snapshot::edit::Transaction;
use snapshot::root::{DataRoot, Guard, Refusal, WritableRoot};
use snapshot::schema::references::References;
use stream::{Stream, collect, decoded};

/// Imports the images of an archive into the data-root at `root`, which is created if it does not exist.
///
/// # Examples
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::atomic::AtomicBool;
///
/// use images::load::{ImportOptions, ImportRequest, Silent, import};
/// use images::source::{Archive, Select};
///
/// let archive = Path::new("app.tar");
/// let interrupted = AtomicBool::new(false);
/// let (select, options) = (Select::default(), ImportOptions::new(&interrupted));
/// let request = ImportRequest { archive, select: &select, options: &options, observer: &Silent };
/// let report = import(Archive::open(archive)?, Path::new("docker-root"), &request)?;
/// println!("{} images", report.images.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ImportError`]; the root is then as it was before.
pub fn import(opened: Opened, root: &Path, request: &ImportRequest<'_>) -> Result<ImportReport, ImportError> {
    let _metered = request.options.meter.map(Meter::attach);
    match opened {
        Opened::Archive(archive) => {
            // Check the archive before the root is opened: an error in the archive must leave the root untouched.
            images(&archive, request)?;
            let transaction = begin(root, request)?;
            import_from(&archive, Slots::default(), transaction, request)
        }
        Opened::LayerTar(_) => Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into()),
        Opened::Compressed(file, _) | Opened::Pipe(file) => {
            let imported = import_unseekable(file, root, request);
            imported.map_err(|error| or_interrupted(error, request))
        }
    }
}

/// Imports the images of any source into the data-root at `root`, which is created if it does not exist.
///
/// # Errors
/// [`ImportError`]; the root is then as it was before.
pub fn import_images(
    source: &dyn ImageSource,
    root: &Path,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    let _metered = request.options.meter.map(Meter::attach);
    images(source, request)?;
    let transaction = begin_with(root, request, || foresee(source, root, request))?;
    import_from(source, Slots::default(), transaction, request).map_err(|error| or_interrupted(error, request))
}

/// A read that an interrupt ended is reported as the interrupt.
pub(crate) fn or_interrupted(error: ImportError, request: &ImportRequest<'_>) -> ImportError {
    if request.is_interrupted() { ImportError::Interrupted } else { error }
}

/// The images of the archive that the user wants: one chosen by name or id, or all. A name that dockerd does not take is an
/// error, as for dockerd. But an image that the user chose or gave another name is taken without it.
fn images(source: &dyn ImageSource, request: &ImportRequest<'_>) -> Result<SourceContents, ImportError> {
    let mut contents = source.images(request.select)?;
    if let Some(wanted) = &request.select.image {
        let image: SourceImage = contents.one(Some(wanted))?.clone();
        contents.images = vec![image];
    } else if request.options.tag.is_none() {
        let mut names = contents.images.iter().flat_map(|image| &image.unusable_names);
        if let Some(name) = names.find(|name| !name.is_left_out_by_docker()) {
            return Err(name.clone().into());
        }
    }
    Ok(contents)
}

/// What [`import`] would do. Reads the archive and the store, writes nothing.
///
/// # Errors
/// Those of [`import`], as far as they can be foreseen. A root that may not be written to is refused here as well.
pub fn dry_run(opened: Opened, root: &Path, request: &ImportRequest<'_>) -> Result<ImportReport, ImportError> {
    // As in an import, an error in the archive is reported before one in the root.
    match &opened {
        Opened::Archive(archive) => drop(images(archive, request)?),
        Opened::LayerTar(_) => {
            return Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into());
        }
        Opened::Compressed(..) | Opened::Pipe(_) => {}
    }
    let permit = Guard { driver: request.options.driver }.ask(root)?;
    if permit.is_new() {
        request.observer.new_root(permit.path());
    }
    let root = permit.into_reader()?;
    let source: Box<dyn ImageSource> = match opened {
        Opened::Archive(archive) => Box::new(archive),
        Opened::LayerTar(_) => {
            return Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into());
        }
        Opened::Compressed(file, _) | Opened::Pipe(file) => {
            Box::new(collect(decoded(file, request)?, request, || Ok(None))?.0)
        }
    };
    let (layers, image_store) = match &root {
        Some(root) => (root.layers()?, root.images()?),
        None => (None, None),
    };
    let driver = root.as_ref().and_then(|root| root.driver()).map(|driver| driver as &dyn Driver);
    let existing = Existing { layers: layers.as_ref(), images: image_store.as_ref(), driver };
    let references = root.as_ref().map_or_else(|| Ok(References::default()), DataRoot::references)?;
    let mut contents = images(&*source, request)?;
    let plan = ImportPlan::new(std::mem::take(&mut contents.images), request.options.tag.as_ref(), existing)?;
    let mut need = Need::default();
    for missing in &plan.missing {
        match source.layer(&missing.source)? {
            LayerBytes::File(blob) => need.add(&blob, BLOCK),
            LayerBytes::Memory(_) | LayerBytes::Fetched(_) | LayerBytes::Unpacked(_) | LayerBytes::PassedOver(_) => {
                need.lower_bound = true;
            }
        }
    }
    let (_, tags) = tag_all(&plan, references, request.options.retag);
    Ok(ImportReport::new(&plan, &[], tags, contents, Some(need)))
}

/// Lets a source begin to fetch what the store seems to lack, while another process writes to it. What that process is about
/// to add counts as missing. What cannot be read now is for the import to complain of.
fn foresee(source: &dyn ImageSource, root: &Path, request: &ImportRequest<'_>) {
    let Ok(mut contents) = images(source, request) else { return };
    let Ok(root) = DataRoot::find(root, request.options.driver) else { return };
    let (Ok(layers), Ok(image_store)) = (root.layers(), root.images()) else { return };
    let driver = root.driver().map(|driver| driver as &dyn Driver);
    let existing = Existing { layers: layers.as_ref(), images: image_store.as_ref(), driver };
    let images = std::mem::take(&mut contents.images);
    let Ok(plan) = ImportPlan::new(images, request.options.tag.as_ref(), existing) else { return };
    let missing: Vec<&LayerRef> = plan.missing.iter().map(|missing| &missing.source).collect();
    if request.options.preflight
        && let Some(driver) = driver
    {
        let sizes = missing.iter().filter_map(|layer| layer.descriptor.as_ref()).map(|descriptor| descriptor.size);
        let Ok(room) = driver.room() else { return };
        if room::check_lengths(sizes, driver.home().path(), room).is_err() {
            return;
        }
    }
    source.expect(&missing);
}

/// Begins to write. If another process writes to the root, waits for it as long as the options allow.
fn begin(root: &Path, request: &ImportRequest<'_>) -> Result<Transaction, ImportError> {
    begin_with(root, request, || {})
}

/// [`begin`], which calls `meanwhile` once if it has to wait.
fn begin_with(root: &Path, request: &ImportRequest<'_>, meanwhile: impl Fn()) -> Result<Transaction, ImportError> {
    /// How often the wait looks whether the user asks to stop.
    const SLICE: Duration = Duration::from_millis(100);
    let begun = Instant::now();
    let mut told = false;
    let transaction = loop {
        let left = request.options.patience.saturating_sub(begun.elapsed());
        match Transaction::begin_waiting(root, request.options.write(), left.min(SLICE)) {
            Err(StoreError::Refused { refusal: Refusal::Busy(_), .. }) if !left.is_zero() => {
                if request.is_interrupted() {
                    return Err(ImportError::Interrupted);
                }
                if !std::mem::replace(&mut told, true) {
                    request.observer.waiting(root);
                    meanwhile();
                }
            }
            transaction => break transaction?,
        }
    };
    if transaction.root().is_new() {
        request.observer.new_root(transaction.root().dir().path());
    }
    Ok(transaction)
}

/// The size of a block that a dry run assumes.
const BLOCK: u64 = 4096;

fn existing(root: &WritableRoot) -> Existing<'_> {
    Existing { layers: Some(root.layers()), images: Some(root.images()), driver: Some(root.driver()) }
}

/// Imports an archive that can be read only from its beginning to its end.
fn import_unseekable(file: File, root: &Path, request: &ImportRequest<'_>) -> Result<ImportReport, ImportError> {
    let input = decoded(file, request)?;
    let transaction = begin(root, request)?;
    match transaction.root().driver().order() {
        LayerOrder::Independent => import_stream(input, transaction, request),
        LayerOrder::ParentFirst => {
            let kept = keep(input, transaction.root().driver().home())?;
            match Archive::from_file(kept, request.archive)? {
                Opened::Archive(archive) => import_from(&archive, Slots::default(), transaction, request),
                _ => Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into()),
            }
        }
    }
}

/// Copies an archive to a file without a name on the file system of `dir`.
pub(crate) fn keep(mut archive: impl BufRead, dir: &Dir) -> Result<File, ImportError> {
    let mut kept = dir.unnamed_file()?;
    let read = |source| ArchiveError::Read { file: "the archive".into(), source };
    loop {
        let piece = archive.fill_buf().map_err(read)?;
        if piece.is_empty() {
            break;
        }
        let length = piece.len();
        kept.write_all(piece).map_err(StoreError::io(dir.path(), "keeping the archive in"))?;
        archive.consume(length);
    }
    kept.rewind().map_err(StoreError::io(dir.path(), "keeping the archive in"))?;
    Ok(kept)
}

/// Unpacks the layers of a stream as they come, then imports the images to which they turn out to belong.
fn import_stream(
    input: impl BufRead + Send,
    mut transaction: Transaction,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    let write_back = WriteBack::begin(transaction.root().driver().home(), request.options.sync)?;
    let mut slots = Slots::default();
    let (stream, arrivals): (Stream, _) = collect(input, request, || {
        let slot = transaction.stage()?;
        let number = slots.add(slot);
        transaction.announce()?;
        let (target, journal) = transaction.prepare(slot, None)?;
        Ok(Some((number, LayerTarget { target, journal: Some(journal) })))
    })?;
    drop(write_back);
    slots.fill(arrivals);
    import_from(&stream, slots, transaction, request)
}

/// Imports the images of `source`; `slots` holds those of its layers that are unpacked already.
fn import_from(
    source: &dyn ImageSource,
    slots: Slots,
    mut transaction: Transaction,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    let mut contents = images(source, request)?;
    let images = std::mem::take(&mut contents.images);
    let plan = ImportPlan::new(images, request.options.tag.as_ref(), existing(transaction.root()))?;
    for image in plan.images.iter().filter(|image| !image.present) {
        request.observer.planned(&image.layers);
    }
    let staged = layers::stage(&plan, source, slots, &mut transaction, request)?;
    commit(transaction, &plan, &staged, contents, request)
}
