//! An image archive into an overlay2 data-root, as if a dockerd had loaded it.
//!
//! ```text
//! archive -> images -> plan against the store -> room? -> unpack what is missing, all at once -> commit
//! pipe    -> unpack each layer as it comes -> images -> plan -> throw away what was there -> commit
//! ```
//!
//! Chain ids come from the configs before any layer is read: what the store has is never looked at. A failure, or an
//! interrupt, takes back everything (see `transaction`).

mod error;
mod options;
pub(crate) mod parallel;
mod plan;
mod preflight;
mod report;
pub(crate) mod stream;
mod write_back;

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;
use std::sync::Arc;

use layerfs::meter::Meter;
use layerfs::{DiffId, LayerFiles, Unpacked};
use tarsplit::journal::EntryReader;

pub use error::ImportError;
pub use options::{Observer, Options, Request, Silent};
pub use plan::PlannedLayer;
pub use preflight::Need;
pub(crate) use preflight::check as check_room;
pub use report::{ImageReport, Report, TagReport};
pub(crate) use write_back::WriteBack;

use crate::source::{Archive, ArchiveError, Blob, Contents, LayerRef, NameError, Opened, contents};
use parallel::{Content, Place, Work, unpack_all};
use plan::{Existing, MissingLayer, Plan};
use snapshot::driver::Driver;
use snapshot::edit::{Edit, Slot, Transaction};
use snapshot::root::{DataRoot, Guard, WritableRoot};
use snapshot::schema::references::References;
use stream::{Arrived, ArrivedLayer, Collected, collect, decoded};

/// Imports the images of an archive into the data-root at `root`, which is created if it does not exist.
///
/// # Examples
///
/// ```no_run
/// use std::path::Path;
/// use std::sync::atomic::AtomicBool;
///
/// use images::load::{Options, Request, Silent, import};
/// use images::source::{Archive, Select};
///
/// let archive = Path::new("app.tar");
/// let interrupted = AtomicBool::new(false);
/// let (select, options) = (Select::default(), Options::new(&interrupted));
/// let request = Request { archive, select: &select, options: &options, observer: &Silent };
/// let report = import(Archive::open(archive)?, Path::new("docker-root"), &request)?;
/// println!("{} images", report.images.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ImportError`]; the root is then as it was before.
pub fn import(opened: Opened, root: &Path, request: &Request<'_>) -> Result<Report, ImportError> {
    let _metered = request.options.meter.map(Meter::attach);
    match opened {
        Opened::Archive(archive) => import_archive(&archive, root, request),
        Opened::LayerTar(_) => Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into()),
        Opened::Compressed(file, _) | Opened::Pipe(file) => {
            let imported = import_stream(file, root, request);
            imported.map_err(|error| or_interrupted(error, request))
        }
    }
}

/// A read that an interrupt ended is reported as the interrupt.
pub(crate) fn or_interrupted(error: ImportError, request: &Request<'_>) -> ImportError {
    if request.is_interrupted() { ImportError::Interrupted } else { error }
}

/// What [`import`] would do. Reads the archive and the store, writes nothing.
///
/// # Errors
/// As [`import`], as far as they can be foreseen; where the root may not be written to, the same.
pub fn dry_run(opened: Opened, root: &Path, request: &Request<'_>) -> Result<Report, ImportError> {
    // As for an import: what is wrong with the archive itself comes first.
    match &opened {
        Opened::Archive(archive) => drop(archive.images(request.select)?),
        Opened::LayerTar(_) => {
            return Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into());
        }
        Opened::Compressed(..) | Opened::Pipe(_) => {}
    }
    let permit = Guard { insist: request.options.insist }.ask(root)?;
    if permit.is_new() {
        request.observer.new_root(permit.path());
    }
    let root = permit.into_reader()?;
    let (layers, images) = match &root {
        Some(root) => (root.layers()?, root.images()?),
        None => (None, None),
    };
    let driver = root.as_ref().and_then(|root| root.driver.as_ref()).map(|driver| driver as &dyn Driver);
    let existing = Existing { layers: layers.as_ref(), images: images.as_ref(), driver };
    let references = root.as_ref().map_or_else(|| Ok(References::default()), DataRoot::references)?;
    let mut need = Need::default();
    let (contents, plan) = match opened {
        Opened::Archive(archive) => {
            let (contents, plan) = read_images(&archive, request, existing)?;
            for missing in &plan.missing {
                need.add(&archive.layer(&missing.source)?.blob, BLOCK);
            }
            (contents, plan)
        }
        Opened::LayerTar(_) => {
            return Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into());
        }
        Opened::Compressed(file, _) | Opened::Pipe(file) => {
            let collected = collect(decoded(file, request)?, request, || Ok(None))?;
            let contents = images_of(&collected, request)?;
            need.lower_bound = true;
            let plan = Plan::new(contents.images.clone(), request.options.tag.as_ref(), existing)?;
            plan.missing.iter().try_for_each(|missing| check_unread(&collected, &missing.source))?;
            (contents, plan)
        }
    };
    let (_, tags) = tag_all(&plan, references, request.options.retag);
    Ok(Report::new(&plan, &[], tags, contents, Some(need)))
}

/// Begins to write.
fn begin(root: &Path, request: &Request<'_>) -> Result<Transaction, ImportError> {
    let transaction = Transaction::begin(root, request.options.write())?;
    if transaction.root().is_new() {
        request.observer.new_root(transaction.root().dir().path());
    }
    Ok(transaction)
}

/// The block size that a dry run reckons with.
const BLOCK: u64 = 4096;

fn read_images(
    archive: &Archive,
    request: &Request<'_>,
    existing: Existing<'_>,
) -> Result<(Contents, Plan), ImportError> {
    let contents = archive.images(request.select)?;
    let plan = Plan::new(contents.images.clone(), request.options.tag.as_ref(), existing)?;
    Ok((contents, plan))
}

fn existing(root: &WritableRoot) -> Existing<'_> {
    Existing { layers: Some(&root.layers), images: Some(&root.images), driver: Some(&root.driver) }
}

fn import_archive(archive: &Archive, root: &Path, request: &Request<'_>) -> Result<Report, ImportError> {
    // Before the root is touched: what is wrong with the archive itself is found without it.
    archive.images(request.select)?;
    let mut transaction = begin(root, request)?;
    let (contents, plan) = read_images(archive, request, existing(transaction.root()))?;
    let blobs = plan.missing.iter().map(|missing| archive.layer(&missing.source)).collect::<Result<Vec<_>, _>>()?;
    if request.options.preflight {
        let layers: Vec<&Blob> = blobs.iter().map(|layer| &layer.blob).collect();
        preflight::check(&layers, transaction.root().driver.home().path(), transaction.root().driver.room()?)?;
    }
    let slots = plan.missing.iter().map(|_| transaction.stage()).collect::<Result<Vec<_>, _>>()?;
    transaction.announce()?;
    let work = |(missing, layer): (&MissingLayer, _)| {
        let layer: &crate::source::Layer = layer;
        work(missing, Content::File(&layer.blob, layer.descriptor.clone()))
    };
    let works = plan.missing.iter().zip(&blobs).map(work).collect();
    let place = |number: usize| {
        let (target, journal) = transaction.prepare(slots[number])?;
        Ok(Place { target, journal: Some(journal) })
    };
    let write_back = WriteBack::begin(transaction.root().driver.home(), request.options.sync)?;
    let unpacked = unpack_all(works, request, &place)?;
    drop(write_back);
    let staged: Vec<Staged> = plan
        .missing
        .iter()
        .zip(slots)
        .zip(unpacked)
        .map(|((missing, slot), unpacked)| Staged { missing: missing.clone(), slot, unpacked })
        .collect();
    commit(transaction, &plan, &staged, contents, request)
}

fn work<'a>(missing: &MissingLayer, content: Content<'a>) -> Work<'a> {
    Work { name: missing.source.name.clone(), index: missing.index, diff_id: Some(missing.diff_id), content }
}

fn import_stream(file: File, root: &Path, request: &Request<'_>) -> Result<Report, ImportError> {
    let mut transaction = begin(root, request)?;
    let write_back = WriteBack::begin(transaction.root().driver.home(), request.options.sync)?;
    // The slots of layers that came, by their number in the stream.
    let mut slots: Vec<Slot> = Vec::new();
    let mut collected = collect(decoded(file, request)?, request, || {
        let slot = transaction.stage()?;
        slots.push(slot);
        transaction.announce()?;
        let (target, journal) = transaction.prepare(slot)?;
        Ok(Some((slots.len() - 1, Place { target, journal: Some(journal) })))
    })?;
    drop(write_back);
    let contents = images_of(&collected, request)?;
    let plan = Plan::new(contents.images.clone(), request.options.tag.as_ref(), existing(transaction.root()))?;
    let mut staged: Vec<Staged> = Vec::new();
    for missing in &plan.missing {
        let layer = place_arrived(&mut transaction, &mut collected, &slots, missing, request)?;
        staged.push(layer);
    }
    for number in collected.layers.into_keys() {
        transaction.discard(slots[number])?;
    }
    commit(transaction, &plan, &staged, contents, request)
}

/// A layer that was unpacked into its place in the transaction.
pub(crate) struct Staged {
    missing: MissingLayer,
    slot: Slot,
    unpacked: Unpacked,
}

/// The images of a stream.
pub(crate) fn images_of(collected: &Collected, request: &Request<'_>) -> Result<Contents, ImportError> {
    let mut read = |name: &str| match collected.names.resolve(name) {
        Ok(Arrived::Kept(bytes)) => Ok(Some(bytes.to_vec())),
        Ok(Arrived::Layer(_)) => {
            let reason = "not JSON, but a tar or a compressed file".to_owned();
            Err(ArchiveError::Json { file: name.to_owned(), reason })
        }
        Ok(&Arrived::Skipped(size)) => {
            Err(ArchiveError::TooLarge { file: name.to_owned(), size, limit: crate::source::MAX_JSON })
        }
        Err(NameError::Missing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    };
    let contents = contents(request.select, &mut read)?;
    Ok(contents.ok_or_else(|| ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() })?)
}

/// A layer that a dry run passed over: is it there, and as long as its descriptor says?
fn check_unread(collected: &Collected, layer: &LayerRef) -> Result<(), ArchiveError> {
    let found = match collected.names.resolve(&layer.name)? {
        Arrived::Kept(bytes) => bytes.len() as u64,
        &Arrived::Skipped(size) => size,
        Arrived::Layer(_) => return Ok(()),
    };
    match &layer.descriptor {
        Some(descriptor) if descriptor.size != found => {
            Err(ArchiveError::Size { file: layer.name.clone(), expected: descriptor.size, found })
        }
        _ => Ok(()),
    }
}

/// Finds the layer that came from the stream for a place in a chain; one that is needed twice is made again.
fn place_arrived(
    transaction: &mut Transaction,
    collected: &mut Collected,
    slots: &[Slot],
    missing: &MissingLayer,
    request: &Request<'_>,
) -> Result<Staged, ImportError> {
    let arrived = collected.names.resolve(&missing.source.name).map_err(ArchiveError::Name)?.clone();
    let again = |transaction: &mut Transaction, content: Content<'_>| {
        let slot = transaction.stage()?;
        transaction.announce()?;
        let place = |_| {
            let (target, journal) = transaction.prepare(slot)?;
            Ok(Place { target, journal: Some(journal) })
        };
        let unpacked = unpack_all(vec![work(missing, content)], request, &place)?.pop();
        let unpacked = unpacked.expect("one layer, one result");
        Ok::<_, ImportError>(Staged { missing: missing.clone(), slot, unpacked })
    };
    match arrived {
        Arrived::Kept(bytes) => again(transaction, Content::Bytes(&bytes, missing.source.descriptor.clone())),
        Arrived::Skipped(_) => {
            let reason = "neither a tar nor compressed in a known way";
            Err(ArchiveError::Json { file: missing.source.name.clone(), reason: reason.into() }.into())
        }
        Arrived::Layer(number) => match collected.layers.remove(&number) {
            Some(layer) => {
                check_arrived(&missing.source, missing.index, missing.diff_id, &layer)?;
                Ok(Staged { missing: missing.clone(), slot: slots[number], unpacked: layer.unpacked })
            }
            None => copy_of(transaction, slots[number], again),
        },
    }
}

/// A layer that came before its manifest is checked against it now: `layer` is the one numbered `index` in an image.
pub(crate) fn check_arrived(
    layer: &LayerRef,
    index: usize,
    expected: DiffId,
    arrived: &ArrivedLayer,
) -> Result<(), ImportError> {
    let LayerRef { name, descriptor } = layer;
    let found = arrived.unpacked.diff_id;
    if found != expected {
        return Err(ImportError::DiffId { layer: name.clone(), index, expected, found });
    }
    match descriptor {
        Some(expected) if expected.size != arrived.size => {
            Err(ArchiveError::Size { file: name.clone(), expected: expected.size, found: arrived.size }.into())
        }
        Some(expected) if expected.digest != arrived.digest => {
            let reason = format!("its digest is {}, the manifest says {}", arrived.digest, expected.digest);
            Err(ArchiveError::Json { file: name.clone(), reason }.into())
        }
        _ => Ok(()),
    }
}

/// Unpacks once more a layer of a stream that cannot be read again: from its journal and its files.
fn copy_of(
    transaction: &mut Transaction,
    slot: Slot,
    again: impl FnOnce(&mut Transaction, Content<'_>) -> Result<Staged, ImportError>,
) -> Result<Staged, ImportError> {
    let files = LayerFiles::new(transaction.root().driver.content(transaction.cache_id(slot))?.into());
    let journal = transaction.journal(slot)?;
    let broken =
        |source| ImportError::Archive(ArchiveError::Read { file: "a layer that is needed twice".into(), source });
    let journal = rustix::fs::openat(&journal.dir, journal.name, rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty());
    let journal = File::from(journal.map_err(|errno| broken(errno.into()))?);
    let (reader, writer) = std::io::pipe().map_err(broken)?;
    std::thread::scope(|scope| {
        let assemble = move || {
            tarsplit::assemble::assemble(EntryReader::new(BufReader::new(journal)), &files, BufWriter::new(writer))
        };
        let assembling = std::thread::Builder::new().spawn_scoped(scope, assemble).map_err(broken)?;
        let staged = again(transaction, Content::Stream(Box::new(BufReader::with_capacity(128 << 10, reader))));
        // A tar that was not rebuilt whole does not have the diff id either, so the layer's own error is the one to tell.
        let _ = assembling.join();
        staged
    })
}

fn commit(
    mut transaction: Transaction,
    plan: &Plan,
    staged: &[Staged],
    contents: Contents,
    request: &Request<'_>,
) -> Result<Report, ImportError> {
    if request.is_interrupted() {
        return Err(ImportError::Interrupted);
    }
    let (references, tags) = tag_all(plan, References::load(&transaction.root().images_dir)?, request.options.retag);
    let report = Report::new(plan, staged, tags, contents, None);
    for Staged { missing, slot, unpacked } in staged {
        let &MissingLayer { chain_id, diff_id, parent, .. } = missing;
        transaction.add(Edit::AddLayer { slot: *slot, chain_id, diff_id, parent, size: unpacked.size });
    }
    for image in &plan.images {
        transaction.add(Edit::AddImage { config: Arc::clone(&image.config), parent: image.parent });
        for reference in &image.tags {
            if references.get(reference) == Some(image.id) {
                transaction.add(Edit::SetTag { reference: reference.clone(), image: image.id });
            }
        }
    }
    transaction.commit()?;
    Ok(report)
}

/// Sets the tags of all images, in the archive's order.
fn tag_all(plan: &Plan, mut references: References, retag: bool) -> (References, Vec<Vec<TagReport>>) {
    let mut tag = |image: &plan::PlannedImage, reference: &snapshot::reference::Reference| {
        let before = references.get(reference).filter(|&id| id != image.id);
        let kept = before.is_some() && !retag;
        if !kept {
            references.tag(reference, image.id);
        }
        TagReport { name: reference.familiar(), kept, moved_from: before.filter(|_| !kept) }
    };
    let tags =
        plan.images.iter().map(|image| image.tags.iter().map(|reference| tag(image, reference)).collect()).collect();
    (references, tags)
}
