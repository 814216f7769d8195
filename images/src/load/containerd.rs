//! An image archive into containerd's store of a data-root, which must not have one yet.
//!
//! ```text
//! images -> plan -> each layer unpacked as a snapshot, and its file kept as a blob -> manifests -> records, committed
//! ```
//!
//! A blob is the layer's file as it came, where containerd can read it; else it is the layer's plain tar. A manifest is the
//! archive's own if it describes these blobs; else it is the one that containerd makes of such an archive (containerd v2.1.9
//! `core/images/archive/importer.go`). So an image has the id that `docker load` gives it in this store.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::compress::{Compression, Decompressor};
use layerfs::{DiffId, Digest, Hasher, Unpacked};

use super::error::ImportError;
use super::options::ImportRequest;
use super::plan::{Existing, ImportPlan, MissingLayer};
use super::report::{ImportReport, NewLayer, TagReport};
use super::schedule::{Content, LayerTarget, Work, unpack_all};
use super::stream::decoded;
use super::{WriteBack, check_lengths, check_room, images, keep};
use crate::in_containerd::{NamedImages, StoredBlob, add_manifest};
use crate::source::{Archive, ArchiveError, Blob, ImageSource, LayerBytes, Opened};
use snapshot::StoreError;
use snapshot::containerd::fresh::{self, FreshStore, NewSnapshot, SnapshotKind};
use snapshot::containerd::metadata::Target as Named;
use snapshot::driver::{Room, xattr_namespace};
use snapshot::ids::ImageId;

/// Imports the images of an archive into containerd's store in the data-root at `root`, which is created if it does not exist.
/// The store must be empty.
///
/// # Errors
/// [`ImportError`]; the root is then as it was before.
pub fn import_into_containerd(
    opened: Opened,
    root: &Path,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
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
    images(source, request)?;
    import_from(source, begin(root, request)?, request).map_err(|error| super::or_interrupted(error, request))
}

fn begin(root: &Path, request: &ImportRequest<'_>) -> Result<FreshStore, ImportError> {
    if !rustix::process::geteuid().is_root() {
        return Err(ImportError::NeedsRoot { path: root.to_path_buf() });
    }
    let store = fresh::begin(root, request.options.sync)?;
    if store.root().is_new() {
        request.observer.new_root(store.root().dir().path());
    }
    Ok(store)
}

fn import_from(
    source: &dyn ImageSource,
    mut store: FreshStore,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, ImportError> {
    let mut contents = images(source, request)?;
    let sources = std::mem::take(&mut contents.images);
    let manifests: Vec<_> = sources.iter().map(|image| image.manifest.clone()).collect();
    let nothing = Existing { layers: None, images: None, driver: None };
    let mut plan = ImportPlan::new(sources, request.options.tag.as_ref(), nothing)?;
    for image in &plan.images {
        request.observer.planned(&image.layers);
    }
    let bytes = plan.missing.iter().map(|missing| source.layer(&missing.source)).collect::<Result<Vec<_>, _>>()?;
    if request.options.preflight {
        check(&bytes, &store)?;
    }
    let write_back = WriteBack::begin(store.staging(), request.options.sync)?;
    let unpacked = unpack(&plan, &bytes, &store, request)?;
    let blobs = write_blobs(&plan, &bytes, &mut store, request)?;
    drop(write_back);
    record_snapshots(&plan, &mut store)?;
    let mut targets = Vec::with_capacity(plan.images.len());
    for (image, manifest) in plan.images.iter_mut().zip(manifests) {
        let layers: Vec<StoredBlob> = image.layers.iter().map(|layer| blobs[&layer.diff_id]).collect();
        let top = image.layers.last().map(|layer| layer.chain_id);
        let target = add_manifest(&image.config, top, &layers, manifest.as_ref(), &mut store)?;
        image.id = ImageId(target.digest);
        targets.push(target);
    }
    let tags = add_names(&plan, &targets, request.options.retag, &mut store);
    if request.is_interrupted() {
        return Err(ImportError::Interrupted);
    }
    store.commit()?;
    let mut report = ImportReport::new(&plan, &[], tags, contents, None);
    report.unpacked =
        plan.missing.iter().zip(&unpacked).map(|(missing, layer)| NewLayer::new(missing.chain_id, layer)).collect();
    Ok(report)
}

/// Checks that there is room for the snapshots, and for the blobs.
fn check(bytes: &[LayerBytes], store: &FreshStore) -> Result<(), ImportError> {
    let (path, room) = (store.root().dir().path(), || Room::measure(store.staging()));
    let files: Vec<&Blob> =
        bytes.iter().filter_map(|bytes| if let LayerBytes::File(blob) = bytes { Some(blob) } else { None }).collect();
    check_room(&files, path, room()?)?;
    check_lengths(files.iter().map(|blob| blob.len() as u64), path, room()?)
}

/// The number of the snapshot of the layer at a place in a plan.
fn number(at: usize) -> u64 {
    at as u64 + 1
}

/// Unpacks each layer into the directory of its snapshot.
fn unpack(
    plan: &ImportPlan,
    bytes: &[LayerBytes],
    store: &FreshStore,
    request: &ImportRequest<'_>,
) -> Result<Vec<Unpacked>, ImportError> {
    let mut works = Vec::with_capacity(bytes.len());
    for (missing, bytes) in plan.missing.iter().zip(bytes) {
        let content = match bytes {
            LayerBytes::File(blob) => Content::File(blob),
            LayerBytes::Memory(bytes) => Content::Memory(bytes),
            LayerBytes::Fetched(fetched) => Content::Fetched(&**fetched),
            LayerBytes::Unpacked(_) | LayerBytes::PassedOver(_) => return Err(not_a_layer(missing)),
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
        let dir = store.create_snapshot(number(at))?;
        let root = dir.create("fs", 0o755)?.owned_fd()?;
        let (scratch, ownership) = (dir.owned_fd()?, Ownership::Layer);
        let target = Target { root, scratch, whiteouts, ownership, defer_directories: false };
        Ok(LayerTarget { target, journal: None })
    };
    unpack_all(works, request, &place)
}

fn not_a_layer(missing: &MissingLayer) -> ImportError {
    ArchiveError::NotALayer { file: missing.source.name.clone() }.into()
}

/// Keeps the file of each layer. The layers were unpacked, so that their digests are known to be right.
fn write_blobs(
    plan: &ImportPlan,
    bytes: &[LayerBytes],
    store: &mut FreshStore,
    request: &ImportRequest<'_>,
) -> Result<HashMap<DiffId, StoredBlob>, ImportError> {
    let mut seen = HashSet::new();
    let distinct: Vec<_> = plan.missing.iter().zip(bytes).filter(|(missing, _)| seen.insert(missing.diff_id)).collect();
    let written = layerfs::pool::map(distinct.len(), request.options.threads, |at| {
        let (missing, bytes) = distinct[at];
        (!request.is_interrupted()).then(|| write_blob(missing, bytes, store))
    });
    let mut blobs = HashMap::new();
    for ((missing, _), blob) in distinct.iter().zip(written) {
        let blob = blob.unwrap_or(Err(ImportError::Interrupted))?;
        store.add_blob(blob.digest, [("containerd.io/uncompressed", missing.diff_id.to_string())])?;
        blobs.insert(missing.diff_id, blob);
    }
    Ok(blobs)
}

fn write_blob(missing: &MissingLayer, bytes: &LayerBytes, store: &FreshStore) -> Result<StoredBlob, ImportError> {
    let read = |source| ImportError::Archive(ArchiveError::Read { file: missing.source.name.clone(), source });
    let open = || -> Result<Box<dyn Read + '_>, ImportError> {
        Ok(match bytes {
            LayerBytes::File(blob) => Box::new(blob.reader()),
            LayerBytes::Memory(bytes) => Box::new(&bytes[..]),
            LayerBytes::Fetched(fetched) => fetched.reader(),
            LayerBytes::Unpacked(_) | LayerBytes::PassedOver(_) => return Err(not_a_layer(missing)),
        })
    };
    let mut head = Vec::new();
    open()?.take(layerfs::compress::SNIFF_LEN as u64).read_to_end(&mut head).map_err(read)?;
    let described = missing.source.descriptor.as_ref().map(|descriptor| descriptor.digest);
    let (digest, compression) = match Compression::sniff(&head) {
        known @ (Compression::Gzip | Compression::Zstd) => match described {
            Some(digest) => (digest, known),
            None => (hash(&mut open()?).map_err(read)?, known),
        },
        _ => (missing.diff_id.0, Compression::None),
    };
    let mut file = store.create_blob(digest)?;
    let path = || store.staging().path().to_path_buf();
    let size = match Compression::sniff(&head) {
        Compression::Xz | Compression::Bzip2 => {
            let reader = std::io::BufReader::with_capacity(128 << 10, open()?);
            copy(&mut Decompressor::new(reader).map_err(read)?, &mut file, read, path)?
        }
        _ => copy(&mut open()?, &mut file, read, path)?,
    };
    Ok(StoredBlob { digest, size, compression })
}

/// Bytes that are copied at once.
const PIECE: usize = 256 << 10;

fn copy(
    from: &mut dyn Read,
    to: &mut File,
    read: impl Fn(std::io::Error) -> ImportError,
    path: impl Fn() -> std::path::PathBuf,
) -> Result<u64, ImportError> {
    let (mut piece, mut size) = (vec![0; PIECE], 0);
    loop {
        let length = match from.read(&mut piece) {
            Ok(0) => return Ok(size),
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(read(error)),
        };
        to.write_all(&piece[..length]).map_err(StoreError::io(path(), "writing a blob in"))?;
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
fn record_snapshots(plan: &ImportPlan, store: &mut FreshStore) -> Result<(), ImportError> {
    for (at, missing) in plan.missing.iter().enumerate() {
        let (key, parent) = (missing.chain_id.to_string(), missing.parent.map(|parent| parent.to_string()));
        let kind = SnapshotKind::Committed;
        store.add_snapshot(&NewSnapshot { number: number(at), key: &key, parent: parent.as_deref(), kind })?;
    }
    Ok(())
}

/// Records the names of all images, in the archive's order: as in a daemon, a name belongs to the last image that asks for it.
fn add_names(plan: &ImportPlan, targets: &[Named], retag: bool, store: &mut FreshStore) -> Vec<Vec<TagReport>> {
    let mut names = NamedImages::default();
    let mut tags = Vec::with_capacity(targets.len());
    for (image, target) in plan.images.iter().zip(targets) {
        let mut of_image = Vec::with_capacity(image.tags.len());
        for reference in &image.tags {
            let before = names.get(reference).map(|before| before.digest).filter(|before| *before != target.digest);
            let kept = before.is_some() && !retag;
            if !kept {
                names.set(reference, target);
            }
            let moved_from = before.filter(|_| !kept).map(ImageId);
            of_image.push(TagReport { name: reference.familiar(), kept, moved_from });
        }
        tags.push(of_image);
    }
    names.record(targets, store);
    tags
}
