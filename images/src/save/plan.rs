//! What goes into an archive, decided before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use layerfs::{ChainId, DiffId};
use serde::Serialize;
use snapshot::catalog::{Catalog, Image};
use snapshot::ids::{CacheId, ImageId};
use snapshot::reference::Reference;

use super::select::Selection;

/// An image that is saved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageToSave {
    /// Its id.
    pub id: ImageId,
    /// The names it is saved by, as docker shows them.
    pub names: Vec<String>,
    /// The same names, parsed.
    #[serde(skip)]
    pub(super) references: Vec<Reference>,
    /// Its layers' own contents, base first.
    pub diff_ids: Vec<DiffId>,
    /// The layers that the receiver must have, base first; not in the archive.
    pub needed: Vec<ChainId>,
    /// The image it was built from, if that is saved as well.
    #[serde(skip)]
    pub(crate) parent: Option<ImageId>,
}

impl ImageToSave {
    /// The names it is saved by.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.references.iter()
    }
}

/// A layer's own content, saved once however many images have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerToSave {
    /// Its content.
    pub diff_id: DiffId,
    /// The layer of the store that it is read from.
    pub chain_id: ChainId,
    /// The bytes of its files, as the store has them recorded.
    pub size: u64,
    /// The receiver has it, so that it is left out.
    pub left_out: bool,
    /// The layer's directory.
    #[serde(skip)]
    pub(super) cache_id: CacheId,
}

/// What goes into an archive: a function of the images, their names and what the receiver has, and of nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SavePlan {
    /// Images without a name come first, ordered by id, then the others, ordered by name: a daemon that loads the archive
    /// prints names only if the last image has one.
    pub images: Vec<ImageToSave>,
    /// The layers, ordered by diff id.
    pub layers: Vec<LayerToSave>,
}

impl SavePlan {
    /// Plans the saving of `selection` for a receiver that has the layers in `have`.
    ///
    /// A layer is left out only if the receiver has it wherever an image needs it: a daemon looks for what it has by chain ids.
    #[must_use]
    pub fn new(catalog: &Catalog, selection: &Selection, have: &BTreeSet<ChainId>) -> Self {
        let mut layers: BTreeMap<DiffId, LayerToSave> = BTreeMap::new();
        let mut images = Vec::new();
        for (&id, names) in selection {
            let image = &catalog.images()[&id];
            for (&diff_id, &chain_id) in image.diff_ids.iter().zip(&image.chain) {
                let record = catalog.layer(chain_id).expect("an image counts only if all its layers do");
                let has = have.contains(&chain_id);
                let layer = layers.entry(diff_id).or_insert_with(|| LayerToSave {
                    diff_id,
                    chain_id,
                    size: record.size,
                    left_out: true,
                    cache_id: record.cache_id.clone(),
                });
                layer.left_out &= has;
                // Take the smallest chain id, so that the order of images does not decide.
                if chain_id < layer.chain_id {
                    (layer.chain_id, layer.size, layer.cache_id) = (chain_id, record.size, record.cache_id.clone());
                }
            }
            images.push(ImageToSave {
                id,
                names: names.iter().map(Reference::familiar).collect(),
                references: names.iter().cloned().collect(),
                diff_ids: image.diff_ids.clone(),
                needed: Vec::new(),
                parent: image
                    .parent_id()
                    .filter(|parent| selection.contains_key(parent) && is_child(image, &catalog.images()[parent])),
            });
        }
        for image in &mut images {
            let chain = ChainId::chain(&image.diff_ids);
            let needed = image.diff_ids.iter().zip(chain).filter(|(diff_id, _)| layers[diff_id].left_out);
            image.needed = needed.map(|(_, chain_id)| chain_id).collect();
        }
        images.sort_by(|one, other| (&one.names, one.id).cmp(&(&other.names, other.id)));
        Self { images, layers: layers.into_values().collect() }
    }

    /// The bytes of the files of all layers that are written, as the store has them recorded.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layers.iter().filter(|layer| !layer.left_out).map(|layer| layer.size).fold(0, u64::saturating_add)
    }
}

/// Whether a daemon accepts `parent` as the image from which `image` was built (moby `image/tarexport/load.go:
/// checkValidParent`). If not, a daemon refuses the whole archive that says so.
fn is_child(image: &Image, parent: &Image) -> bool {
    let (steps, before) = (image.history(), parent.history());
    steps.len() == before.len() + 1 && steps.starts_with(before) && image.diff_ids.starts_with(&parent.diff_ids)
}
