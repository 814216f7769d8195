//! An image that is made here: layers that the store has, and perhaps one more on top, whose bytes come from a stream.
//!
//! It goes the way of every import: the layer is unpacked into a directory that nothing refers to, and layer, image and
//! name are edits of one transaction.

mod stored;

use std::io::BufRead;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use layerfs::{ChainId, DiffId, Digest};

use super::edits::commit;
use super::error::ImportError;
use super::layers::{Slots, stage};
use super::options::ImportRequest;
use super::plan::ImportPlan;
use super::schedule::{Content, LayerTarget, Work, unpack_all};
use super::stream::Arrivals;
use super::write_back::WriteBack;
use super::{begin, existing, or_interrupted};
use crate::source::{ArchiveError, ImageSource, LayerBytes, LayerRef, Select, SourceContents, SourceImage};
use snapshot::driver::Driver;
use snapshot::edit::Edit;
use snapshot::ids::ImageId;
use snapshot::reference::Reference;

pub use stored::{OnStored, StoredBase, store_image_in_containerd};

/// An image to be stored.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Its config, byte for byte.
    pub config: Vec<u8>,
    /// The image it was made from. It is recorded as the image's parent, if the store has it.
    pub parent: Option<ImageId>,
    /// Its names, each once, and the time at which they were given, as Go prints it: RFC 3339.
    pub names: Option<(Vec<Reference>, String)>,
}

/// What the new layer is called in a report of progress. It has no name.
const NEW: &str = "new";

/// Stores an image made of the layers `below`, base first, which the store has, and of a new layer on top, if there is one,
/// whose tar, perhaps compressed, is read from `layer`. `describe` is given the diff id of the new layer and returns the
/// image to store.
///
/// # Errors
/// [`ImportError`]; the root is then as it was before.
pub fn store_image<'l>(
    root: &Path,
    below: &[DiffId],
    layer: Option<Box<dyn BufRead + Send + 'l>>,
    request: &ImportRequest<'_>,
    describe: impl FnOnce(Option<DiffId>) -> NewImage,
) -> Result<ImageId, ImportError> {
    let mut transaction = begin(root, request)?;
    let mut slots = Slots::default();
    let mut diff_ids = below.to_vec();
    let mut new = None;
    if let Some(stream) = layer {
        let parent = ChainId::chain(below).last().copied();
        let parent = parent.map_or(Ok(None), |chain| transaction.root().layers().get(chain))?;
        let write_back = WriteBack::begin(transaction.root().driver().home(), request.options.sync)?;
        let slot = transaction.stage()?;
        let number = slots.add(slot);
        transaction.announce()?;
        let (target, journal) = transaction.prepare(slot, parent.as_ref().map(|record| &record.cache_id))?;
        let place = Mutex::new(Some(LayerTarget { target, journal: Some(journal) }));
        let give = |_| {
            let place = place.lock().unwrap_or_else(PoisonError::into_inner).take();
            Ok(place.expect("one layer asks once"))
        };
        let content = Content::Stream(stream);
        let work = Work { name: NEW.into(), index: below.len(), diff_id: None, digest: None, step: None, content };
        let unpacked = unpack_all(vec![work], request, &give).map_err(|error| match error {
            // An interrupt also stops whatever writes the stream, and that error may come first.
            ImportError::Layer { source, .. } => or_interrupted(ImportError::NewLayer(source), request),
            other => other,
        })?;
        let unpacked = unpacked.into_iter().next().expect("one layer, one result");
        drop(write_back);
        diff_ids.push(unpacked.diff_id);
        new = Some(unpacked.diff_id);
        slots.fill(Arrivals::from([(number, unpacked)]));
    }
    let NewImage { config, parent, names } = describe(new);
    let id = Digest::hash(&config);
    let name = |(number, diff_id): (usize, &DiffId)| {
        let name = if new.is_some() && number == below.len() { NEW.to_owned() } else { diff_id.to_string() };
        LayerRef { name, descriptor: None }
    };
    let image = SourceImage {
        config: config.into(),
        config_name: id.to_string(),
        id,
        tags: names.iter().flat_map(|(names, _)| names.clone()).collect(),
        unusable_names: Vec::new(),
        layers: diff_ids.iter().enumerate().map(name).collect(),
        parent: None,
        origin: "made here".into(),
        manifest: None,
        targets: Vec::new(),
    };
    let mut plan = ImportPlan::new(vec![image], None, existing(transaction.root()))?;
    // Another command may have removed the image that this one was made from.
    let parent = match parent {
        Some(parent) => transaction.root().images().config(parent)?.map(|_| parent),
        None => None,
    };
    plan.images.iter_mut().for_each(|image| image.parent = parent);
    let staged = stage(&plan, &Made, slots, &mut transaction, request)?;
    if let Some((_, time)) = names {
        transaction.add(Edit::SetLastUpdated { image: ImageId(id), time });
    }
    commit(transaction, &plan, &staged, SourceContents::default(), request)?;
    Ok(ImageId(id))
}

/// The source of an image whose only new bytes came as a stream and are unpacked already.
#[derive(Debug)]
struct Made;

impl ImageSource for Made {
    fn images(&self, _select: &Select) -> Result<SourceContents, ArchiveError> {
        Ok(SourceContents::default())
    }

    fn layer(&self, layer: &LayerRef) -> Result<LayerBytes, ArchiveError> {
        if layer.name == NEW {
            return Ok(LayerBytes::Unpacked(0));
        }
        // This layer was in the store when the work began, and is gone now.
        Err(ArchiveError::NotALayer { file: layer.name.clone() })
    }
}
