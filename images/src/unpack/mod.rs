//! An archive, or a bare layer, into plain directories: one for each layer, or all layers flattened into one tree.
//!
//! ```text
//! DIR/000-<12 hex of the diff id>/diff    the layer as overlayfs wants it
//! DIR/layers.json                         what is where
//! ```

use std::fs::File;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::meter::Meter;
use layerfs::{ChainId, DiffId, Unpacked};
use serde::Serialize;

use crate::load::parallel::{Content, Place, Work, unpack_all};
use crate::load::stream::{Arrived, Collected, collect, decoded};
use crate::load::{ImportError, Request, WriteBack, check_arrived, images_of, or_interrupted};
use crate::source::{Archive, ArchiveError, Blob, Contents, Format, Image, LayerRef, Opened, is_archive_name};
use snapshot::StoreError;
use snapshot::dir::{Dir, Skeleton};
use snapshot::driver::{Room, xattr_namespace};
use snapshot::schema::config::ImageConfig;

/// The list of layers in a directory of them.
const LIST: &str = "layers.json";

/// Where layers are unpacked until all of them are there.
const STAGING: &str = ".layerfs-unpacking";

/// One unpacked layer. The JSON form is an entry of `layers.json`.
#[derive(Debug, Clone, Serialize)]
pub struct LayerEntry {
    /// Its directory, relative to the list; absent when layers were flattened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// The layer's content.
    pub diff_id: DiffId,
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// Its name in the archive.
    pub source: String,
    /// Docker's size of it, in bytes.
    pub size: u64,
    /// Length of its tar in bytes.
    pub tar_bytes: u64,
    /// Members of its tar.
    pub members: u64,
    /// What was left out of it.
    pub warnings: u64,
}

/// What was unpacked. The JSON form is `layers.json`, and what `--json` prints.
#[derive(Debug, Clone, Serialize)]
pub struct Unpacking {
    /// The image; absent for a bare layer.
    pub image: Option<snapshot::ids::ImageId>,
    /// Its names.
    pub tags: Vec<String>,
    /// Its layers, base first.
    pub layers: Vec<LayerEntry>,
    /// What of the archive was left out, in sentences.
    pub skipped: Vec<String>,
    /// How the archive describes the image; absent for a bare layer.
    #[serde(skip)]
    pub format: Option<Format>,
}

/// How layers become directories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One overlay directory a layer.
    Layers,
    /// One tree, as a container of the image sees it.
    Rootfs,
}

/// Unpacks one image, or a bare layer, into the directory `to`, which must be empty or not exist.
///
/// `image` chooses by name or id where the archive has several. Without root, [`Form::Rootfs`] unpacks as the user.
///
/// # Errors
/// [`ImportError`]; the directory is then as it was before.
pub fn unpack(
    opened: Opened,
    to: &Path,
    form: Form,
    image: Option<&str>,
    request: &Request<'_>,
) -> Result<Unpacking, ImportError> {
    let _metered = request.options.meter.map(Meter::attach);
    let mut destination = Destination::open(to, form, request.options.sync)?;
    let write_back = WriteBack::begin(&destination.dir, request.options.sync)?;
    let unpacking = match opened {
        Opened::Archive(archive) => from_archive(&archive, &mut destination, image, request),
        // An archive that was cut before its manifest is not a layer.
        Opened::LayerTar(blob) if starts_like_an_archive(&blob) => {
            Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into())
        }
        Opened::LayerTar(blob) => {
            check_not_empty(&blob, request)?;
            bare(&mut destination, Content::File(&blob, None), request)
        }
        Opened::Compressed(file, _) | Opened::Pipe(file) => {
            let unpacked = from_stream(file, &mut destination, image, request);
            unpacked.map_err(|error| or_interrupted(error, request))
        }
    }?;
    drop(write_back);
    destination.complete(&unpacking)?;
    Ok(unpacking)
}

fn from_archive(
    archive: &Archive,
    destination: &mut Destination,
    image: Option<&str>,
    request: &Request<'_>,
) -> Result<Unpacking, ImportError> {
    let contents = archive.images(request.select)?;
    let (image, diff_ids) = choose(&contents, image)?;
    let blobs = image.layers.iter().map(|layer| archive.layer(layer)).collect::<Result<Vec<_>, _>>()?;
    if request.options.preflight {
        let layers: Vec<&Blob> = blobs.iter().map(|layer| &layer.blob).collect();
        crate::load::check_room(&layers, destination.dir.path(), Room::of(&destination.dir)?)?;
    }
    let works = blobs.iter().enumerate().map(|(index, layer)| Work {
        name: layer.source.clone(),
        index,
        diff_id: Some(diff_ids[index]),
        content: Content::File(&layer.blob, layer.descriptor.clone()),
    });
    let place = |number| destination.place(number);
    let unpacked = unpack_all(works.collect(), request, &place)?;
    destination.arrange(unpacked.iter().enumerate())?;
    Ok(describe(Some(image), &contents, &unpacked, destination.form))
}

fn from_stream(
    file: File,
    destination: &mut Destination,
    image: Option<&str>,
    request: &Request<'_>,
) -> Result<Unpacking, ImportError> {
    let mut input = decoded(file, request)?;
    let read = |source| ArchiveError::Read { file: request.archive.display().to_string(), source };
    check_not_empty(input.fill_buf().map_err(read)?, request)?;
    if !starts_like_an_archive(input.fill_buf().map_err(read)?) {
        return bare_or_archive(destination, Content::Stream(input), image, request);
    }
    let mut next = 0;
    let mut collected = collect(input, request, || {
        next += 1;
        Ok(Some((next - 1, destination.place(next - 1)?)))
    })?;
    let contents = images_of(&collected, request)?;
    let (image, diff_ids) = choose(&contents, image)?;
    let mut slots = Vec::new();
    for (index, layer) in image.layers.iter().enumerate() {
        let slot = arrived(&mut collected, layer, &mut next, destination, request)?;
        check_arrived(layer, index, diff_ids[index], &collected.layers[&slot])?;
        if slots.contains(&slot) {
            let reason =
                "an image with the same layer twice cannot be unpacked from a pipe; give the archive as a file";
            return Err(ImportError::Selection { reason: reason.into() });
        }
        slots.push(slot);
    }
    let unpacked: Vec<Unpacked> =
        slots.iter().map(|slot| collected.layers.remove(slot).expect("each slot is taken once").unpacked).collect();
    destination.arrange(slots.into_iter().zip(&unpacked))?;
    Ok(describe(Some(image), &contents, &unpacked, destination.form))
}

/// The slot of a layer that came, or of one so small that it was kept and is unpacked now.
fn arrived(
    collected: &mut Collected,
    layer: &LayerRef,
    next: &mut usize,
    destination: &Destination,
    request: &Request<'_>,
) -> Result<usize, ImportError> {
    match collected.names.resolve(&layer.name).map_err(ArchiveError::Name)?.clone() {
        Arrived::Layer(slot) => Ok(slot),
        Arrived::Kept(bytes) => {
            let slot = *next;
            *next += 1;
            let content = Content::Bytes(&bytes, layer.descriptor.clone());
            let work = Work { name: layer.name.clone(), index: 0, diff_id: None, content };
            let unpacked = unpack_all(vec![work], request, &|_| destination.place(slot))?.pop();
            collected.add(slot, unpacked.expect("one layer, one result"), &bytes);
            Ok(slot)
        }
        Arrived::Skipped(_) => {
            let reason = "neither a tar nor compressed in a known way".to_owned();
            Err(ArchiveError::Json { file: layer.name.clone(), reason }.into())
        }
    }
}

fn bare(destination: &mut Destination, content: Content<'_>, request: &Request<'_>) -> Result<Unpacking, ImportError> {
    let name = request.archive.display().to_string();
    let work = Work { name: name.clone(), index: 0, diff_id: None, content };
    let unpacked = unpack_all(vec![work], request, &|number| destination.place(number))?;
    finish_bare(destination, &unpacked, &name)
}

fn finish_bare(destination: &mut Destination, unpacked: &[Unpacked], name: &str) -> Result<Unpacking, ImportError> {
    destination.arrange(unpacked.iter().enumerate())?;
    let mut unpacking = describe(None, &Contents::default(), unpacked, destination.form);
    for layer in &mut unpacking.layers {
        name.clone_into(&mut layer.source);
    }
    Ok(unpacking)
}

/// A stream that does not begin as archives do is unpacked as a layer. If that turns out to hold an image archive, the
/// image is unpacked from there.
fn bare_or_archive(
    destination: &mut Destination,
    content: Content<'_>,
    image: Option<&str>,
    request: &Request<'_>,
) -> Result<Unpacking, ImportError> {
    let name = request.archive.display().to_string();
    let work = Work { name: name.clone(), index: 0, diff_id: None, content };
    let unpacked = unpack_all(vec![work], request, &|number| destination.place(number))?;
    if let Some(tree) = destination.staging.descend(&["0", "diff"])?
        && (tree.stat("manifest.json")?.is_some() || tree.stat("index.json")?.is_some())
    {
        destination.staging.rename("0", &destination.staging, "archive")?;
        let path = destination.staging.join("archive").join("diff");
        let Opened::Archive(archive) = Archive::open(&path)? else {
            return Err(ArchiveError::NotAnImageArchive { path: request.archive.to_path_buf() }.into());
        };
        return from_archive(&archive, destination, image, request);
    }
    finish_bare(destination, &unpacked, &name)
}

/// Docker takes no bytes at all for an empty layer; given to a person's command they are a download that failed.
fn check_not_empty(head: &[u8], request: &Request<'_>) -> Result<(), ImportError> {
    if head.is_empty() {
        let reason = format!("{}: empty: neither an image archive nor a layer", request.archive.display());
        return Err(ImportError::Selection { reason });
    }
    Ok(())
}

/// Whether a tar that begins with `head` may be an image archive.
fn starts_like_an_archive(head: &[u8]) -> bool {
    let name = head.get(..100).unwrap_or(head).split(|&b| b == 0).next().unwrap_or_default();
    is_archive_name(name)
}

/// The image to unpack, and what its layers must be.
fn choose<'c>(contents: &'c Contents, wanted: Option<&str>) -> Result<(&'c Image, Vec<DiffId>), ImportError> {
    let matches = |image: &&Image| {
        let Some(wanted) = wanted else { return true };
        let reference =
            snapshot::reference::Reference::parse(wanted).map(snapshot::reference::Reference::with_default_tag);
        let by_name = reference.is_ok_and(|reference| image.tags.contains(&reference));
        let hex = wanted.strip_prefix("sha256:").unwrap_or(wanted);
        by_name || (!hex.is_empty() && image.id.hex().starts_with(hex))
    };
    let found: Vec<&Image> = contents.images.iter().filter(matches).collect();
    let names = || {
        let name = |image: &Image| {
            image.tags.first().map_or_else(|| image.id.short(), snapshot::reference::Reference::familiar)
        };
        contents.images.iter().map(name).collect::<Vec<_>>().join(", ")
    };
    let image = match (found.as_slice(), wanted) {
        ([image], _) => *image,
        ([], None) => return Err(ImportError::Selection { reason: "the archive has no image".into() }),
        ([], Some(wanted)) => {
            return Err(ImportError::Selection {
                reason: format!("no image {wanted} in the archive; it has {}", names()),
            });
        }
        (_, _) => return Err(ImportError::SeveralImages { names: names() }),
    };
    let invalid = |source| ImportError::Config { name: image.config_name.clone(), source };
    let config = ImageConfig::parse(&image.config).map_err(invalid)?;
    config.check().map_err(invalid)?;
    if config.diff_ids.len() != image.layers.len() {
        let (expected, found) = (image.layers.len(), config.diff_ids.len());
        return Err(ImportError::LayerCount { config: image.config_name.clone(), expected, found });
    }
    Ok((image, config.diff_ids))
}

fn describe(image: Option<&Image>, contents: &Contents, unpacked: &[Unpacked], form: Form) -> Unpacking {
    let diff_ids: Vec<DiffId> = unpacked.iter().map(|layer| layer.diff_id).collect();
    let entry = |(index, (layer, chain_id)): (usize, (&Unpacked, ChainId))| LayerEntry {
        directory: (form == Form::Layers).then(|| directory_name(index, layer.diff_id)),
        diff_id: layer.diff_id,
        chain_id,
        source: image.map(|image| image.layers[index].name.clone()).unwrap_or_default(),
        size: layer.size,
        tar_bytes: layer.tar_bytes,
        members: layer.members,
        warnings: layer.warnings.total(),
    };
    Unpacking {
        image: image.map(|image| snapshot::ids::ImageId(image.id)),
        tags: image
            .map_or_else(Vec::new, |image| image.tags.iter().map(snapshot::reference::Reference::familiar).collect()),
        layers: unpacked.iter().zip(ChainId::chain(&diff_ids)).enumerate().map(entry).collect(),
        skipped: contents.skipped.clone(),
        format: contents.format,
    }
}

fn directory_name(index: usize, diff_id: DiffId) -> String {
    format!("{index:03}-{}", diff_id.0.short())
}

/// The directory that is filled. Dropped before it is complete, it is as it was.
struct Destination {
    dir: Dir,
    staging: Dir,
    form: Form,
    ownership: Ownership,
    sync: bool,
    /// Final names that exist already.
    placed: Vec<String>,
    skeleton: Option<Skeleton>,
    done: bool,
}

impl Destination {
    fn open(path: &Path, form: Form, sync: bool) -> Result<Self, ImportError> {
        let mut skeleton = Skeleton::default();
        let dir = snapshot::root::open_or_create(path, 0o755, &mut skeleton)?;
        if !dir.is_empty()? {
            let reason = "is not empty; unpacking needs an empty or a new directory".into();
            return Err(ImportError::Destination { path: path.to_path_buf(), reason });
        }
        let root = rustix::process::geteuid().is_root();
        if !root && form == Form::Layers {
            return Err(ImportError::NeedsRoot { path: path.to_path_buf() });
        }
        let ownership = if root { Ownership::Layer } else { Ownership::Caller };
        let staging = dir.create(STAGING, 0o700)?;
        Ok(Self { dir, staging, form, ownership, sync, placed: Vec::new(), skeleton: Some(skeleton), done: false })
    }

    fn place(&self, number: usize) -> Result<Place, ImportError> {
        let layer = self.staging.create(&number.to_string(), 0o755)?;
        let diff = layer.create("diff", 0o755)?;
        let whiteouts = match self.form {
            Form::Layers => WhiteoutMode::Overlay(xattr_namespace()?),
            Form::Rootfs => WhiteoutMode::Record,
        };
        let target = Target {
            root: diff.owned_fd()?,
            scratch: layer.owned_fd()?,
            whiteouts,
            ownership: self.ownership,
            defer_directories: self.form == Form::Rootfs,
        };
        Ok(Place { target, journal: None })
    }

    /// Brings layers, base first, from their slots to where they belong.
    fn arrange<'u>(&mut self, layers: impl Iterator<Item = (usize, &'u Unpacked)>) -> Result<(), ImportError> {
        let layers: Vec<_> = layers.collect();
        match self.form {
            Form::Layers => {
                for (index, (slot, unpacked)) in layers.into_iter().enumerate() {
                    let name = directory_name(index, unpacked.diff_id);
                    self.staging.rename(&slot.to_string(), &self.dir, &name)?;
                    self.placed.push(name);
                }
            }
            Form::Rootfs => self.flatten(&layers)?,
        }
        Ok(())
    }

    /// Merges in the staging directory, then moves the top of the tree out of it.
    fn flatten(&mut self, layers: &[(usize, &Unpacked)]) -> Result<(), StoreError> {
        let failed = || StoreError::io(self.dir.path(), "merging layers into");
        let tree = self.staging.create("tree", 0o755)?;
        let tree_fd = tree.owned_fd()?;
        let mut directories = Vec::new();
        for (slot, unpacked) in layers {
            let diff = self
                .staging
                .descend(&[&slot.to_string(), "diff"])?
                .ok_or_else(|| failed()(rustix::io::Errno::NOENT))?;
            layerfs::flatten::merge(&tree_fd, &diff.owned_fd()?, &unpacked.outcome).map_err(failed())?;
            directories.push(unpacked.outcome.directories.clone());
        }
        for name in layerfs::flatten::entries(&tree_fd).map_err(failed())? {
            let moved = rustix::fs::renameat(&tree_fd, name.as_slice(), &self.dir, name.as_slice());
            moved.map_err(failed())?;
        }
        layerfs::flatten::finish(&self.dir.owned_fd()?, &directories).map_err(failed())
    }

    fn complete(mut self, unpacking: &Unpacking) -> Result<(), ImportError> {
        if self.form == Form::Layers {
            let mut list = serde_json::to_vec_pretty(unpacking).expect("ids and numbers always serialise");
            list.push(b'\n');
            self.dir.write_new(LIST, &list, 0o644)?;
        }
        self.dir.remove_tree(STAGING)?;
        if self.sync {
            self.dir.sync_file_system()?;
        }
        self.done = true;
        if let Some(skeleton) = self.skeleton.take() {
            skeleton.keep();
        }
        Ok(())
    }
}

impl Drop for Destination {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // It was empty before.
        if let Ok(names) = layerfs::flatten::entries(&self.dir) {
            for name in names {
                let _ = layerfs::remove_tree(&self.dir, &name);
            }
        }
    }
}

/// The path of the list of layers below `dir`.
#[must_use]
pub fn list_path(dir: &Path) -> PathBuf {
    dir.join(LIST)
}
