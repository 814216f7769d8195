//! An image, or a bare layer, into plain directories: one for each layer, or all layers flattened into one tree.
//!
//! ```text
//! DIR/000-<12 hex of the diff id>/diff    the layer as overlayfs wants it
//! DIR/layers.json                         what is where
//! ```

mod bare;
mod destination;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::path::Path;

use layerfs::Unpacked;
use layerfs::meter::Meter;

pub use destination::{UnpackForm, blobs_dir};
pub use report::{UnpackReport, UnpackedLayer};

use crate::load::schedule::{Content, Work, unpack_all};
use crate::load::stream::{Arrivals, collect, decoded};
use crate::load::{ImportError, ImportRequest, WriteBack, check_lengths, check_room, checked_config, or_interrupted};
use crate::source::{ArchiveError, Blob, ImageSource, LayerBytes, LayerRef, Opened, steps};
use destination::Destination;
use snapshot::driver::Room;

/// Unpacks one image, or a bare layer, into the directory `to`, which must be empty or not exist.
///
/// Of an archive with several images, [`Select::image`](crate::source::Select::image) must name one. Without root,
/// [`UnpackForm::Rootfs`] unpacks as the user.
///
/// # Errors
/// [`ImportError`]; the directory is then as it was before.
pub fn unpack(
    opened: Opened,
    to: &Path,
    form: UnpackForm,
    request: &ImportRequest<'_>,
) -> Result<UnpackReport, ImportError> {
    fill(to, form, request, |destination| match opened {
        Opened::Archive(archive) => unpack_from(&archive, Slots::default(), destination, request),
        // An archive that was cut before its manifest is not a layer.
        Opened::LayerTar(blob) if bare::starts_like_an_archive(&blob) => {
            Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into())
        }
        Opened::LayerTar(blob) => bare::unpack(Content::File(&blob), destination, request),
        Opened::Compressed(file, _) | Opened::Pipe(file) => {
            unpack_stream(file, destination, request).map_err(|error| or_interrupted(error, request))
        }
    })
}

/// Unpacks the one image that is wanted of any source; else as [`unpack`].
///
/// # Errors
/// [`ImportError`]; the directory is then as it was before.
pub fn unpack_image(
    source: &dyn ImageSource,
    to: &Path,
    form: UnpackForm,
    request: &ImportRequest<'_>,
) -> Result<UnpackReport, ImportError> {
    fill(to, form, request, |destination| {
        unpack_from(source, Slots::default(), destination, request).map_err(|error| or_interrupted(error, request))
    })
}

fn fill(
    to: &Path,
    form: UnpackForm,
    request: &ImportRequest<'_>,
    work: impl FnOnce(&mut Destination) -> Result<UnpackReport, ImportError>,
) -> Result<UnpackReport, ImportError> {
    let _metered = request.options.meter.map(Meter::attach);
    let mut destination = Destination::open(to, form, request.options.sync)?;
    let write_back = WriteBack::begin(&destination.dir, request.options.sync)?;
    let report = work(&mut destination)?;
    drop(write_back);
    destination.complete(&report)?;
    Ok(report)
}

fn unpack_stream(
    file: File,
    destination: &mut Destination,
    request: &ImportRequest<'_>,
) -> Result<UnpackReport, ImportError> {
    let mut input = decoded(file, request)?;
    let read = |source| ArchiveError::Read { file: request.archive.display().to_string(), source };
    if !bare::starts_like_an_archive(input.fill_buf().map_err(read)?) {
        return bare::unpack_or_open(Content::Stream(input), destination, request);
    }
    let mut next = 0;
    let (stream, arrivals) = collect(input, request, || {
        next += 1;
        Ok(Some((next - 1, destination.place(next - 1)?)))
    })?;
    unpack_from(&stream, Slots { next, arrivals }, destination, request)
}

/// The slots of the destination: how many are taken, and what is unpacked in them already.
#[derive(Debug, Default)]
struct Slots {
    next: usize,
    arrivals: Arrivals,
}

/// Unpacks the one image that is wanted of `source`.
fn unpack_from(
    source: &dyn ImageSource,
    slots: Slots,
    destination: &mut Destination,
    request: &ImportRequest<'_>,
) -> Result<UnpackReport, ImportError> {
    let contents = source.images(request.select)?;
    let image = contents.one(request.select.image.as_deref())?;
    let config = checked_config(image)?;
    let Slots { next, mut arrivals } = slots;
    if request.options.preflight && source.is_remote() {
        // The lengths in the manifest are checked before any byte is asked for.
        let lengths =
            image.layers.iter().filter_map(|layer| layer.descriptor.as_ref()).map(|descriptor| descriptor.size);
        check_lengths(lengths, destination.dir.path(), Room::measure(&destination.dir)?)?;
    }
    let bytes = image.layers.iter().map(|layer| source.layer(layer)).collect::<Result<Vec<_>, _>>()?;
    if request.options.preflight {
        let files: Vec<&Blob> = bytes
            .iter()
            .filter_map(|bytes| if let LayerBytes::File(blob) = bytes { Some(blob) } else { None })
            .collect();
        check_room(&files, destination.dir.path(), Room::measure(&destination.dir)?)?;
    }
    let steps = steps(&image.config, image.layers.len());
    let work = |index: usize, content| {
        let LayerRef { name, descriptor }: &LayerRef = &image.layers[index];
        let digest = descriptor.as_ref().map(|descriptor| descriptor.digest);
        Work {
            name: name.clone(),
            index,
            diff_id: Some(config.diff_ids[index]),
            digest,
            step: steps[index].clone(),
            content,
        }
    };
    // For each index in the image: the slot, and the place in `results`.
    let mut placed: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
    let mut results: Vec<Unpacked> = Vec::new();
    // For each number in the stream: the place in `results`.
    let mut arrived: HashMap<usize, usize> = HashMap::new();
    let (mut slots, mut fresh, mut works) = (next.., Vec::new(), Vec::new());
    let mut slot = || slots.next().expect("there are fewer layers than numbers");
    for (index, bytes) in bytes.iter().enumerate() {
        let content = match bytes {
            LayerBytes::File(blob) => Content::File(blob),
            LayerBytes::Memory(bytes) => Content::Memory(bytes),
            LayerBytes::Fetched(fetched) => Content::Fetched(&**fetched),
            &LayerBytes::Unpacked(number) => {
                let (slot, at) = match (arrivals.remove(&number), arrived.get(&number)) {
                    (Some(layer), _) => {
                        arrived.insert(number, results.len());
                        results.push(layer);
                        (number, results.len() - 1)
                    }
                    // The image has this layer twice, and its bytes came through a pipe: copy what was unpacked.
                    (None, Some(&at)) => {
                        let copy = slot();
                        destination.copy(number, copy)?;
                        (copy, at)
                    }
                    (None, None) => {
                        return Err(ArchiveError::NotALayer { file: image.layers[index].name.clone() }.into());
                    }
                };
                let (expected, found) = (config.diff_ids[index], results[at].diff_id);
                if found != expected {
                    let layer = image.layers[index].name.clone();
                    return Err(ImportError::DiffId { layer, index, expected, found });
                }
                placed.insert(index, (slot, at));
                continue;
            }
            LayerBytes::PassedOver(_) => {
                return Err(ArchiveError::NotALayer { file: image.layers[index].name.clone() }.into());
            }
        };
        fresh.push((index, slot()));
        works.push(work(index, content));
    }
    for unpacked in unpack_all(works, request, &|number| destination.place(fresh[number].1))? {
        let (index, slot) = fresh[results.len() - arrived.len()];
        placed.insert(index, (slot, results.len()));
        results.push(unpacked);
    }
    destination.arrange(placed.values().map(|&(slot, at)| (slot, &results[at])))?;
    let layers: Vec<&Unpacked> = placed.values().map(|&(_, at)| &results[at]).collect();
    let name = request.archive.display().to_string();
    Ok(UnpackReport::new(&name, Some(image), &contents, &layers, destination.form))
}
