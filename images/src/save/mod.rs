//! Images out of a store, into one archive that every tool reads.
//!
//! ```text
//! arguments -> images and names -> plan -> layers, each verified while it is written -> configs -> documents -> shown
//! ```
//!
//! The archive is at once what `docker save` writes and an OCI image layout. Its bytes depend on the images, their
//! names, what the receiver has, the form and the compression, and on nothing else: layers are ordered by their
//! digests, nothing has a time or an owner, and compression does not know how many threads there are.
//!
//! A failure or an interrupt leaves nothing: a file has no name before it is whole, where the file system can do that, and a
//! directory has a temporary name. A killed process leaves no file, but it may leave a directory called
//! `.<name>.layerfs-<digits>`.
//! Nothing waits for the disk: a power cut right after may lose the file, as with `docker save`.

mod blobs;
mod compressor;
mod documents;
mod error;
mod have;
mod layer;
mod output;
mod plain;
mod plan;
mod recompressed;
mod select;
mod sound;
mod stored;
mod ustar;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::compress::encode::Encoding;
use layerfs::{DiffId, Digest, LayerFiles};
use serde::Serialize;
use snapshot::ids::ImageId;
use snapshot::root::DataRoot;
use snapshot::schema::image::ImageStore;
use snapshot::schema::layer::LayerStore;

pub use blobs::NewArchive;
pub use documents::SavedLayer;
pub(crate) use documents::ref_name;
pub use error::SaveError;
pub use have::chains_of;
pub use output::SaveDestination;
pub use plan::{ImageToSave, LayerToSave, SavePlan};
pub use recompressed::{MadeBlobs, recompressed};
pub use select::{
    SelectError, SelectedImage, Selection, select, select_all, select_all_stored, select_stored, texts_to_read,
};
pub use sound::LostLayer;
pub(crate) use sound::{causes, is_of_layer};
pub(crate) use stored::NAMES;
pub use stored::{BlobToSave, StoredImageToSave, StoredPlan, save_stored};

use crate::load::{Announced, Observer};
use documents::{Documents, INDEX, MANIFEST, OCI_LAYOUT, blob_name};
use layer::{Stored, To, Writing};
use output::Output;

/// Which documents there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SaveForm {
    /// Those of `docker save` and those of an OCI image layout.
    #[default]
    Docker,
    /// Those of an OCI image layout alone.
    Oci,
}

/// How to save.
#[derive(Clone, Copy)]
pub struct SaveOptions<'o> {
    /// Which documents there are.
    pub form: SaveForm,
    /// How layers are compressed.
    pub encoding: Encoding,
    /// Busy threads.
    pub threads: usize,
    /// Leave out what cannot be read, and the images that need it, instead of failing. The layers of a stream must be
    /// compressed then: of those that are not, a part is gone when the damage is seen.
    pub skip_damaged: bool,
    /// Becomes true when the user asks to stop.
    pub interrupted: &'o AtomicBool,
    /// Who is told how it goes. Layers are numbered as in the plan.
    pub observer: &'o dyn Observer,
}

impl std::fmt::Debug for SaveOptions<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut text = f.debug_struct("Options");
        text.field("form", &self.form).field("encoding", &self.encoding).field("threads", &self.threads);
        text.finish_non_exhaustive()
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SaveReport {
    /// The images.
    pub images: Vec<ImageToSave>,
    /// Their layers.
    pub layers: Vec<SavedLayer>,
    /// The layers that cannot be read, if those were to be left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_layers: Vec<LostLayer>,
    /// The images that need one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lost_images: Vec<ImageToSave>,
}

/// Writes the images of `plan`, which was made from what `root` holds.
///
/// # Errors
/// [`SaveError`]; there is no output then, but for what has gone through a stream.
pub fn save(
    root: &DataRoot,
    plan: &SavePlan,
    destination: SaveDestination<'_>,
    options: &SaveOptions<'_>,
) -> Result<SaveReport, SaveError> {
    let images = root.images()?;
    let layers = root.layers()?;
    let mut output = Output::open(destination)?;
    if options.skip_damaged {
        let sound::Written { saved, lost } = sound::write_layers(root, layers.as_ref(), plan, &mut output, options)?;
        let (sound, lost_images) = sound::divide(plan, &saved);
        write_documents(images.as_ref(), &sound, &saved, &mut output, options)?;
        output.finish()?;
        let layers = saved.into_values().collect();
        return Ok(SaveReport { images: sound.images, layers, lost_layers: lost, lost_images });
    }
    let saved = if options.encoding == Encoding::None && !output.is_stream() {
        plain::write_layers(root, layers.as_ref(), plan, &mut output, options)?
    } else {
        write_layers(root, layers.as_ref(), plan, &mut output, options)?
    };
    write_documents(images.as_ref(), plan, &saved, &mut output, options)?;
    output.finish()?;
    let layers = saved.into_values().collect();
    Ok(SaveReport { images: plan.images.clone(), layers, lost_layers: Vec::new(), lost_images: Vec::new() })
}

/// Writes the layers' tars of `plan` alone into a new directory, several at once: `blobs/sha256/<hex>`.
///
/// # Errors
/// [`SaveError`]; there is no directory then.
pub(crate) fn save_blobs(
    root: &DataRoot,
    plan: &SavePlan,
    directory: PathBuf,
    options: &SaveOptions<'_>,
) -> Result<Vec<SavedLayer>, SaveError> {
    let mut output = Output::open(SaveDestination::Directory(directory))?;
    let saved = plain::write_layers(root, root.layers()?.as_ref(), plan, &mut output, options)?;
    output.finish()?;
    Ok(saved.into_values().collect())
}

/// Writes the layers one after the other.
fn write_layers(
    root: &DataRoot,
    layers: Option<&LayerStore>,
    plan: &SavePlan,
    output: &mut Output<'_>,
    options: &SaveOptions<'_>,
) -> Result<BTreeMap<DiffId, SavedLayer>, SaveError> {
    let mut saved = BTreeMap::new();
    for (number, layer) in plan.layers.iter().enumerate() {
        saved.insert(layer.diff_id, write_one(root, layers, (number, layer), output, options)?);
    }
    Ok(saved)
}

/// Writes a layer, or only describes it if the receiver has it.
fn write_one(
    root: &DataRoot,
    layers: Option<&LayerStore>,
    (number, layer): (usize, &LayerToSave),
    output: &mut Output<'_>,
    options: &SaveOptions<'_>,
) -> Result<SavedLayer, SaveError> {
    let store = record_of(layers, layer)?;
    if layer.left_out {
        return Ok(as_tar(layer, tar_length(store, layer)?));
    }
    write_layer(root, store, (number, layer), output, options)
}

fn record_of<'s>(layers: Option<&'s LayerStore>, layer: &LayerToSave) -> Result<&'s LayerStore, SaveError> {
    layers.ok_or(SaveError::Missing { diff_id: layer.diff_id, what: "its record" })
}

/// What the documents say of an uncompressed layer. A layer that is left out because the receiver has it is described
/// in the same way.
fn as_tar(layer: &LayerToSave, size: u64) -> SavedLayer {
    let LayerToSave { diff_id, left_out, .. } = *layer;
    SavedLayer { diff_id, digest: diff_id.0, size, media: Encoding::None.into(), left_out }
}

/// The length of a layer's tar.
fn tar_length(store: &LayerStore, layer: &LayerToSave) -> Result<u64, SaveError> {
    layerfs::tar_length(journal(store, layer)?).map_err(|source| SaveError::Layer { diff_id: layer.diff_id, source })
}

fn journal(store: &LayerStore, layer: &LayerToSave) -> Result<File, SaveError> {
    let missing = || SaveError::Missing { diff_id: layer.diff_id, what: "the journal of its tar (tar-split.json.gz)" };
    store.journal(layer.chain_id)?.ok_or_else(missing)
}

/// Opens what a layer's tar is put together from.
fn open_layer(root: &DataRoot, store: &LayerStore, layer: &LayerToSave) -> Result<Stored, SaveError> {
    let diff_id = layer.diff_id;
    let missing = || SaveError::Missing { diff_id, what: "the directory of its files" };
    let files = root.content(&layer.cache_id)?.ok_or_else(missing)?.owned_fd()?;
    Ok(Stored { diff_id, journal: journal(store, layer)?, files })
}

fn announced(layer: &LayerToSave) -> Announced<'static> {
    Announced { name: "", diff_id: Some(layer.diff_id), step: None, total: Some(layer.size) }
}

fn writing<'w>(options: &SaveOptions<'w>, advance: &'w (dyn Fn(u64) + Sync)) -> Writing<'w> {
    Writing { encoding: options.encoding, threads: options.threads, interrupted: options.interrupted, advance }
}

fn write_layer(
    root: &DataRoot,
    store: &LayerStore,
    (number, layer): (usize, &LayerToSave),
    output: &mut Output<'_>,
    options: &SaveOptions<'_>,
) -> Result<SavedLayer, SaveError> {
    let diff_id = layer.diff_id;
    let stored = open_layer(root, store, layer)?;
    options.observer.begin(number, &announced(layer));
    let advance = |bytes| options.observer.advance(number, bytes);
    let writing = writing(options, &advance);
    let (digest, size) = if !output.is_stream() {
        output.begin(None).map_err(output.failed())?;
        layer::write(stored, To::Output(output), &writing)?
    } else if options.encoding == Encoding::None {
        let size = tar_length(store, layer)?;
        output.begin(Some((diff_id.0, size))).map_err(output.failed())?;
        layer::write(stored, To::Output(output), &writing)?
    } else {
        through_a_file(stored, output, &writing)?
    };
    output.end(digest, size).map_err(output.failed())?;
    options.observer.end(number);
    Ok(SavedLayer { diff_id, digest, size, media: options.encoding.into(), left_out: false })
}

/// Writes the file of one layer of a plan, as an archive would hold it, into a temporary file without a name, from
/// which it can be sent elsewhere. `number` is the layer's place in the plan.
///
/// # Errors
/// [`SaveError`]
pub fn layer_file(
    root: &DataRoot,
    (number, layer): (usize, &LayerToSave),
    options: &SaveOptions<'_>,
) -> Result<(File, SavedLayer), SaveError> {
    let layers = root.layers()?;
    let stored = open_layer(root, record_of(layers.as_ref(), layer)?, layer)?;
    let advance = |bytes| options.observer.advance(number, bytes);
    let writing = writing(options, &advance);
    let (file, digest, size) = spool(stored, &writing)?;
    let diff_id = layer.diff_id;
    Ok((file, SavedLayer { diff_id, digest, size, media: options.encoding.into(), left_out: false }))
}

/// What the tar of a layer is put together from: its journal, and its files.
pub(crate) fn parts_of(root: &DataRoot, layer: &LayerToSave) -> Result<(File, LayerFiles), SaveError> {
    let layers = root.layers()?;
    let Stored { journal, files, .. } = open_layer(root, record_of(layers.as_ref(), layer)?, layer)?;
    Ok((journal, LayerFiles::new(files)))
}

/// What there is to say of the tar of a layer before it is put together.
pub(crate) fn tar_of(root: &DataRoot, layer: &LayerToSave) -> Result<SavedLayer, SaveError> {
    let layers = root.layers()?;
    Ok(as_tar(layer, tar_length(record_of(layers.as_ref(), layer)?, layer)?))
}

fn spool(stored: Stored, writing: &Writing<'_>) -> Result<(File, Digest, u64), SaveError> {
    let mut file = snapshot::dir::Dir::open(&std::env::temp_dir())?.unnamed_file()?;
    let (digest, size) = layer::write(stored, To::Spool(&mut file), writing)?;
    Ok((file, digest, size))
}

/// Writes a compressed layer to a temporary file first: a stream must be told its digest and length before its bytes.
fn through_a_file(stored: Stored, output: &mut Output<'_>, writing: &Writing<'_>) -> Result<(Digest, u64), SaveError> {
    let (mut file, digest, size) = spool(stored, writing)?;
    let read = || SaveError::output(&std::env::temp_dir(), "reading a temporary file in");
    file.rewind().map_err(read())?;
    output.begin(Some((digest, size))).map_err(output.failed())?;
    let mut piece = vec![0; 256 << 10];
    loop {
        if writing.interrupted.load(Ordering::Relaxed) {
            return Err(SaveError::Interrupted);
        }
        let count = file.read(&mut piece).map_err(read())?;
        if count == 0 {
            return Ok((digest, size));
        }
        output.write(&piece[..count]).map_err(output.failed())?;
    }
}

/// Writes configs and OCI manifests in the order of the images, then the documents that name them.
fn write_documents(
    images: Option<&ImageStore>,
    plan: &SavePlan,
    saved: &BTreeMap<DiffId, SavedLayer>,
    output: &mut Output<'_>,
    options: &SaveOptions<'_>,
) -> Result<(), SaveError> {
    let mut documents = Documents::default();
    // Each image has a config of its own, and its manifest is made from that config: no document is written twice.
    for image in &plan.images {
        let config = read_config(images, image.id)?;
        let manifest = documents.add(image, config.len() as u64, saved);
        for blob in [&config, &manifest] {
            output.add(&blob_name(Digest::hash(blob)), blob).map_err(output.failed())?;
        }
    }
    let (index, manifest) = documents.finish();
    output.add(INDEX, &index).map_err(output.failed())?;
    if options.form == SaveForm::Docker {
        output.add(MANIFEST, &manifest).map_err(output.failed())?;
    }
    output.add(OCI_LAYOUT.0, OCI_LAYOUT.1).map_err(output.failed())?;
    if options.interrupted.load(Ordering::Relaxed) {
        return Err(SaveError::Interrupted);
    }
    Ok(())
}

/// The config of an image, as the store has it.
///
/// # Errors
/// [`SaveError::ConfigGone`] if the store does not have it any more; [`SaveError`] if it cannot be read.
pub fn read_config(images: Option<&ImageStore>, image: ImageId) -> Result<Vec<u8>, SaveError> {
    let config = images.map_or(Ok(None), |images| images.config(image))?;
    config.ok_or(SaveError::ConfigGone { image })
}
