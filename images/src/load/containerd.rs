//! An image archive into containerd's store of a data-root, which is made where there is none.
//!
//! ```text
//! images -> plan -> each layer unpacked as a snapshot, and its file kept as a blob -> manifests -> records, committed
//! ```
//!
//! A blob is the layer's file as it came, where containerd can read it; else it is the layer's plain tar. A manifest is the
//! archive's own if it describes these blobs; else it is the one that containerd makes of such an archive (containerd v2.1.9
//! `core/images/archive/importer.go`). An index that the archive has for the image is kept, with all that the archive has of what
//! it leads to. So an image has the id that `docker load` gives it in this store.

mod origin;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::compress::{Compression, Decompressor};
use layerfs::{ChainId, DiffId, Digest, Hasher, Unpacked};

use super::error::ImportError;
use super::options::ImportRequest;
use super::plan::{ImportPlan, MissingLayer};
use super::report::{ImportReport, NewLayer};
use super::schedule::{Content, LayerTarget, Work, unpack_all};
use super::stream::decoded;
use super::{BLOCK, Need, WriteBack, check_lengths, check_room, images, keep};
use crate::in_containerd::{StoredBlob, add_document, add_manifest, manifest};
use crate::source::{Archive, ArchiveError, Blob, ImageSource, LayerBytes, LayerRef, Opened, Select};
use origin::{OtherBlob, Planned, give_names, other_blobs};
use snapshot::StoreError;
use snapshot::containerd::writer::{self, NewSnapshot, SnapshotKind, StoreWriter};
use snapshot::driver::{Room, xattr_namespace};
use snapshot::ids::ImageId;

/// Imports the images of an archive into containerd's store in the data-root at `root`, which is created if it does not exist.
///
/// # Errors
/// [`ImportError`]; the root is then as it was before.
pub fn import_into_containerd(
    opened: Opened,
    root: &Path,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    let select = keeping(request);
    let request = &ImportRequest { select: &select, ..*request };
    let not_an_archive = || ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() };
    match opened {
        Opened::Archive(archive) => {
            // An error in the archive must leave the root untouched.
            images(&archive, request)?;
            import_from(&archive, begin(root, request)?, request)
        }
        Opened::LayerTar(_) => Err(not_an_archive().into()),
        Opened::Compressed(file, _) | Opened::Pipe(file) => {
            let input = decoded(file, request)?;
            let store = begin(root, request)?;
            let kept = keep(input, store.staging()).map_err(|error| super::or_interrupted(error, request))?;
            match Archive::from_file(kept, request.archive)? {
                Opened::Archive(archive) => import_from(&archive, store, request),
                _ => Err(not_an_archive().into()),
            }
        }
    }
}

/// Imports the images of any source; else as [`import_into_containerd`].
///
/// # Errors
/// [`ImportError`]; the root is then as it was before.
pub fn import_images_into_containerd(
    source: &dyn ImageSource,
    root: &Path,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    let select = keeping(request);
    let request = &ImportRequest { select: &select, ..*request };
    images(source, request)?;
    import_from(source, begin(root, request)?, request).map_err(|error| super::or_interrupted(error, request))
}

/// What [`import_into_containerd`] would do with an archive that can be read by offset. Reads the archive and the root, writes nothing.
/// The ids are those that the images would have; layers that are compressed are read for them where no manifest tells
/// their digests.
///
/// # Errors
/// Those of the import, as far as they can be foreseen.
pub fn dry_run_into_containerd(
    archive: &Archive,
    root: &Path,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    let select = keeping(request);
    let request = &ImportRequest { select: &select, ..*request };
    let mut contents = images(archive, request)?;
    let present = writer::present(root)?;
    if present.is_new {
        request.observer.new_root(root);
    }
    let Planned { mut plan, origins } = Planned::new(&mut contents, request)?;
    let unpacked_already = find_snapshots(&mut plan, |key, _| Ok(present.snapshots.contains(key)))?;
    let mut need = Need::default();
    let mut blobs = HashMap::new();
    for missing in &plan.missing {
        let bytes = archive.layer(&missing.source)?;
        if let LayerBytes::File(blob) = &bytes
            && !unpacked_already.contains(&missing.chain_id)
        {
            need.add(blob, BLOCK);
        }
        if let Entry::Vacant(entry) = blobs.entry(missing.diff_id) {
            let blob = entry.insert(describe_blob(missing, &bytes)?);
            if !present.blobs.contains_key(&blob.digest) {
                need.add_file(blob.size, BLOCK);
            }
        }
    }
    let others = other_blobs(archive, &origins)?;
    let is_new = |digest: &Digest| !present.blobs.contains_key(digest);
    let new = others.iter().filter(|(blob, ..)| blob.descriptor.as_ref().is_none_or(|known| is_new(&known.digest)));
    new.for_each(|(_, size, _)| need.add_file(*size, BLOCK));
    let mut targets = Vec::with_capacity(plan.images.len());
    for (image, origin) in plan.images.iter_mut().zip(&origins) {
        let layers: Vec<StoredBlob> = image.layers.iter().map(|layer| blobs[&layer.diff_id]).collect();
        let (_, target) = manifest(&image.config, &layers, origin.manifest.as_ref());
        let named = origin.named(target);
        image.id = ImageId(named[0].1.target.digest);
        targets.push(named);
    }
    let known =
        |name: &str| present.images.get(name).and_then(|record| record.target.as_ref()).map(|target| target.digest);
    let (_, tags) = give_names(&plan, &targets, known, request.options.retag);
    Ok(ImportReport::new(&plan, &[], tags, contents, Some(need)))
}

/// What is selected, with the indexes that lead to it.
fn keeping(request: &ImportRequest<'_>) -> Select {
    Select { keep_indexes: true, ..request.select.clone() }
}

fn begin(root: &Path, request: &ImportRequest<'_>) -> Result<StoreWriter, ImportError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ImportError::NeedsRoot { path: root.to_path_buf() });
    }
    let store = writer::extend(root, request.options.sync)?;
    if store.root().is_new() {
        request.observer.new_root(store.root().dir().path());
    }
    Ok(store)
}

fn import_from(
    source: &dyn ImageSource,
    mut store: StoreWriter,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    let mut contents = images(source, request)?;
    let Planned { mut plan, origins } = Planned::new(&mut contents, request)?;
    let unpacked_already = find_snapshots(&mut plan, |key, parent| store.has_snapshot(key, parent))?;
    for image in &plan.images {
        request.observer.planned(&image.layers);
    }
    let bytes = plan.missing.iter().map(|missing| source.layer(&missing.source)).collect::<Result<Vec<_>, _>>()?;
    let others = other_blobs(source, &origins)?;
    if request.options.preflight {
        check(&bytes, &others, &store)?;
    }
    let write_back = WriteBack::begin(store.staging(), request.options.sync)?;
    let new: Vec<_> =
        plan.missing.iter().zip(&bytes).filter(|(missing, _)| !unpacked_already.contains(&missing.chain_id)).collect();
    let unpacked = unpack(&new, &store, request)?;
    let blobs = write_blobs(&plan, &bytes, &unpacked_already, &mut store, request)?;
    for (blob, _, bytes) in &others {
        keep_blob(blob, bytes, &mut store, request.options.interrupted)?;
    }
    drop(write_back);
    record_snapshots(&new, &mut store)?;
    let mut targets = Vec::with_capacity(plan.images.len());
    for (image, origin) in plan.images.iter_mut().zip(&origins) {
        let layers: Vec<StoredBlob> = image.layers.iter().map(|layer| blobs[&layer.diff_id]).collect();
        let top = image.layers.last().map(|layer| layer.chain_id);
        let target = add_manifest(&image.config, top, &layers, origin.manifest.as_ref(), &mut store)?;
        if origin.keeps(&target) {
            for document in origin.indexes().flat_map(|index| &index.documents) {
                add_document(document, &mut store)?;
            }
        }
        let named = origin.named(target);
        image.id = ImageId(named[0].1.target.digest);
        targets.push(named);
    }
    let known = |name: &str| store.image(name).and_then(|record| record.target.as_ref()).map(|target| target.digest);
    let (names, tags) = give_names(&plan, &targets, known, request.options.retag);
    names.record(targets.iter().flatten().map(|(_, named)| named), &mut store);
    if request.is_interrupted() {
        return Err(ImportError::Interrupted);
    }
    store.commit()?;
    let mut report = ImportReport::new(&plan, &[], tags, contents, None);
    report.unpacked =
        new.iter().zip(&unpacked).map(|((missing, _), layer)| NewLayer::new(missing.chain_id, layer)).collect();
    Ok(report)
}

/// Checks that there is room for the snapshots, and for the blobs.
fn check(bytes: &[LayerBytes], others: &[OtherBlob<'_>], store: &StoreWriter) -> Result<(), ImportError> {
    let (path, room) = (store.root().dir().path(), || Room::measure(store.staging()));
    let files: Vec<&Blob> =
        bytes.iter().filter_map(|bytes| if let LayerBytes::File(blob) = bytes { Some(blob) } else { None }).collect();
    check_room(&files, path, room()?)?;
    let others = others.iter().map(|(_, size, _)| *size);
    check_lengths(files.iter().map(|blob| blob.len() as u64).chain(others), path, room()?)
}

/// Keeps a blob that a document describes as it is, unless it is there.
///
/// # Errors
/// [`ImportError`], also if it has another digest.
pub(crate) fn keep_blob(
    blob: &LayerRef,
    bytes: &LayerBytes,
    store: &mut StoreWriter,
    interrupted: &AtomicBool,
) -> Result<(), ImportError> {
    if interrupted.load(Ordering::Relaxed) {
        return Err(ImportError::Interrupted);
    }
    let expected = blob.descriptor.as_ref().expect("it is described").digest;
    if store.has_blob(expected)? {
        return Ok(());
    }
    let mut file = store.create_blob(expected)?;
    let failed = |source| StoreError::io(store.staging().path().to_path_buf(), "writing a blob in")(source).into();
    let mut hasher = Hasher::default();
    let take = |piece: &[u8]| {
        hasher.update(piece);
        file.write_all(piece).map_err(failed)
    };
    copy(&mut open(blob, bytes)?, take, unread(blob))?;
    blob.check_digest(hasher.finish())?;
    store.add_blob(expected, std::iter::empty::<(String, String)>())?;
    Ok(())
}

/// The layers of a plan that the store has unpacked. Marks them as present.
fn find_snapshots(
    plan: &mut ImportPlan,
    has: impl Fn(&str, Option<&str>) -> Result<bool, StoreError>,
) -> Result<HashSet<ChainId>, ImportError> {
    let mut found = HashSet::new();
    for MissingLayer { chain_id, parent, .. } in &plan.missing {
        let parent = parent.map(|parent| parent.to_string());
        if has(&chain_id.to_string(), parent.as_deref())? {
            found.insert(*chain_id);
        }
    }
    let layers = plan.images.iter_mut().flat_map(|image| &mut image.layers);
    layers.filter(|layer| found.contains(&layer.chain_id)).for_each(|layer| layer.present = Some(0));
    Ok(found)
}

/// The number of the snapshot of the layer at a place among the new ones.
fn number(at: usize, store: &StoreWriter) -> u64 {
    store.first_number() + at as u64
}

/// A layer that is not unpacked yet, and its file.
type NewLayers<'n> = [(&'n MissingLayer, &'n LayerBytes)];

/// Unpacks each layer into the directory of its snapshot.
fn unpack(new: &NewLayers<'_>, store: &StoreWriter, request: &ImportRequest<'_>) -> Result<Vec<Unpacked>, ImportError> {
    let mut works = Vec::with_capacity(new.len());
    for (missing, bytes) in new {
        let content = match bytes {
            LayerBytes::File(blob) => Content::File(blob),
            LayerBytes::Memory(bytes) => Content::Memory(bytes),
            LayerBytes::Fetched(fetched) => Content::Fetched(&**fetched),
            LayerBytes::Unpacked(_) | LayerBytes::PassedOver(_) => return Err(not_a_layer(&missing.source)),
        };
        works.push(Work {
            name: missing.source.name.clone(),
            index: missing.index,
            diff_id: Some(missing.diff_id),
            digest: missing.source.descriptor.as_ref().map(|descriptor| descriptor.digest),
            step: missing.step.clone(),
            content,
        });
    }
    let whiteouts = WhiteoutMode::Overlay(xattr_namespace()?);
    let place = |at: usize| {
        let dir = store.create_snapshot(number(at, store))?;
        let root = dir.create("fs", 0o755)?.owned_fd()?;
        let (scratch, ownership) = (dir.owned_fd()?, Ownership::Layer);
        let target = Target { root, scratch, whiteouts, ownership, defer_directories: false };
        Ok(LayerTarget { target, journal: None })
    };
    unpack_all(works, request, &place)
}

fn not_a_layer(blob: &LayerRef) -> ImportError {
    ArchiveError::NotALayer { file: blob.name.clone() }.into()
}

/// Keeps the file of each layer that the store does not have. The layers were unpacked, so that their digests are known to be right, or
/// are hashed here.
fn write_blobs(
    plan: &ImportPlan,
    bytes: &[LayerBytes],
    unpacked_already: &HashSet<ChainId>,
    store: &mut StoreWriter,
    request: &ImportRequest<'_>,
) -> Result<HashMap<DiffId, StoredBlob>, ImportError> {
    let mut seen = HashSet::new();
    let distinct: Vec<_> = plan.missing.iter().zip(bytes).filter(|(missing, _)| seen.insert(missing.diff_id)).collect();
    let written = layerfs::pool::map(distinct.len(), request.options.threads, |at| {
        let (missing, bytes) = distinct[at];
        let verify = unpacked_already.contains(&missing.chain_id);
        (!request.is_interrupted()).then(|| write_blob(missing, bytes, verify, store))
    });
    let mut blobs = HashMap::new();
    for ((missing, _), blob) in distinct.iter().zip(written) {
        let blob = blob.unwrap_or(Err(ImportError::Interrupted))?;
        store.add_blob(blob.digest, [("containerd.io/uncompressed", missing.diff_id.to_string())])?;
        blobs.insert(missing.diff_id, blob);
    }
    Ok(blobs)
}

/// A layer's file as it comes.
fn open<'b>(blob: &LayerRef, bytes: &'b LayerBytes) -> Result<Box<dyn Read + 'b>, ImportError> {
    Ok(match bytes {
        LayerBytes::File(blob) => Box::new(blob.reader()),
        LayerBytes::Memory(bytes) => Box::new(&bytes[..]),
        LayerBytes::Fetched(fetched) => fetched.reader(),
        LayerBytes::Unpacked(_) | LayerBytes::PassedOver(_) => return Err(not_a_layer(blob)),
    })
}

/// Why a layer's file cannot be read.
fn unread(blob: &LayerRef) -> impl Fn(std::io::Error) -> ImportError + Copy {
    let file = &blob.name;
    move |source| ImportError::Archive(ArchiveError::Read { file: file.clone(), source })
}

/// What a layer's blob is called: after its file as it came where containerd can read that, else after its plain tar. Also how
/// the file is packed.
fn name_blob(missing: &MissingLayer, bytes: &LayerBytes) -> Result<(Digest, Compression), ImportError> {
    let mut head = Vec::new();
    let mut file = open(&missing.source, bytes)?.take(layerfs::compress::SNIFF_LEN as u64);
    file.read_to_end(&mut head).map_err(unread(&missing.source))?;
    let described = missing.source.descriptor.as_ref().map(|descriptor| descriptor.digest);
    Ok(match (Compression::sniff(&head), described) {
        (known @ (Compression::Gzip | Compression::Zstd), Some(digest)) => (digest, known),
        (known @ (Compression::Gzip | Compression::Zstd), None) => {
            (hash(&mut open(&missing.source, bytes)?).map_err(unread(&missing.source))?, known)
        }
        (packed, _) => (missing.diff_id.0, packed),
    })
}

/// Keeps a layer's blob, unless the store has it. With `verify`, its digests are compared with what is said of it.
fn write_blob(
    missing: &MissingLayer,
    bytes: &LayerBytes,
    verify: bool,
    store: &StoreWriter,
) -> Result<StoredBlob, ImportError> {
    let (digest, packed) = name_blob(missing, bytes)?;
    let compression = kept(packed);
    if verify && compression != Compression::None {
        let reader = std::io::BufReader::with_capacity(128 << 10, open(&missing.source, bytes)?);
        let mut plain = Decompressor::new(reader).map_err(unread(&missing.source))?;
        missing.source.expect_digest(missing.diff_id.0, hash(&mut plain).map_err(unread(&missing.source))?)?;
    }
    if let Some(size) = store.blob_size(digest)? {
        return Ok(StoredBlob { digest, size, compression });
    }
    let mut file = store.create_blob(digest)?;
    let failed = |source| StoreError::io(store.staging().path().to_path_buf(), "writing a blob in")(source).into();
    let mut hasher = Hasher::default();
    let size = copy_blob(missing, bytes, packed, |piece| {
        if verify {
            hasher.update(piece);
        }
        file.write_all(piece).map_err(failed)
    })?;
    if verify {
        missing.source.expect_digest(digest, hasher.finish())?;
    }
    Ok(StoredBlob { digest, size, compression })
}

/// What [`write_blob`] would write.
fn describe_blob(missing: &MissingLayer, bytes: &LayerBytes) -> Result<StoredBlob, ImportError> {
    let (digest, packed) = name_blob(missing, bytes)?;
    let size = match (bytes, kept(packed) == packed) {
        (LayerBytes::File(blob), true) => blob.len() as u64,
        _ => copy_blob(missing, bytes, packed, |_| Ok(()))?,
    };
    Ok(StoredBlob { digest, size, compression: kept(packed) })
}

/// How a blob is packed whose layer came so: containerd reads no other forms.
fn kept(packed: Compression) -> Compression {
    match packed {
        Compression::Gzip | Compression::Zstd => packed,
        Compression::None | Compression::Bzip2 | Compression::Xz => Compression::None,
    }
}

/// Gives the bytes of a layer's blob to `take`, piece by piece, and returns how many there are.
fn copy_blob(
    missing: &MissingLayer,
    bytes: &LayerBytes,
    packed: Compression,
    take: impl FnMut(&[u8]) -> Result<(), ImportError>,
) -> Result<u64, ImportError> {
    let mut file = open(&missing.source, bytes)?;
    if kept(packed) == packed {
        return copy(&mut file, take, unread(&missing.source));
    }
    let reader = std::io::BufReader::with_capacity(128 << 10, file);
    copy(&mut Decompressor::new(reader).map_err(unread(&missing.source))?, take, unread(&missing.source))
}

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

fn copy(
    from: &mut dyn Read,
    mut take: impl FnMut(&[u8]) -> Result<(), ImportError>,
    read: impl Fn(std::io::Error) -> ImportError,
) -> Result<u64, ImportError> {
    let (mut piece, mut size) = (vec![0; PIECE], 0);
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) => return Ok(size),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read(error)),
        };
        take(&piece[..length])?;
        size += length as u64;
    }
}

fn hash(from: &mut dyn Read) -> std::io::Result<Digest> {
    let (mut hasher, mut piece) = (Hasher::default(), vec![0; PIECE]);
    loop {
        match from.read(&mut piece) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.update(&piece[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Records the snapshots: parents come before children in a plan.
fn record_snapshots(new: &NewLayers<'_>, store: &mut StoreWriter) -> Result<(), ImportError> {
    for (at, (missing, _)) in new.iter().enumerate() {
        let (key, parent) = (missing.chain_id.to_string(), missing.parent.map(|parent| parent.to_string()));
        let kind = SnapshotKind::Committed;
        let number = number(at, store);
        store.add_snapshot(&NewSnapshot { number, key: &key, parent: parent.as_deref(), kind })?;
    }
    Ok(())
}
