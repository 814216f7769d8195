//! `--files` and the thresholds on what images waste.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use images::measure::Measured;
use layerfs::ChainId;
use snapshot::ids::ImageId;
use snapshot::reference::Reference;
use snapshot::usage::files::{self, Collector, Files, Identical, IdenticalFiles, Waste, compare_files, waste};
use snapshot::usage::{Account, Part};

use super::rules::{Rules, Verdict};
use crate::exit::UsageError;

/// How many entries of each list are shown if `--top` does not say.
pub(super) const SHOWN: usize = 20;

/// What is known of the files of layers.
#[derive(Debug)]
pub(super) struct FileReport {
    pub(super) files: Files,
    /// The images, in the order in which they are listed.
    pub(super) images: Vec<ImageWaste>,
    /// Whether this is of an archive, where nothing is allocated.
    pub(super) archived: bool,
    /// Whether these images were asked for.
    pub(super) chosen: bool,
    /// The layers of the images.
    pub(super) layers: BTreeSet<ChainId>,
    /// The largest directories of these layers.
    pub(super) directories: Vec<LargeDirectory>,
    pub(super) identical: Vec<Identical>,
    /// Files that could not be compared.
    pub(super) unread: u64,
    /// Files that were not compared since they consist of holes.
    pub(super) sparse: u64,
}

/// A directory as one of the largest.
#[derive(Debug)]
pub(super) struct LargeDirectory {
    pub(super) layer: ChainId,
    pub(super) path: Vec<u8>,
    pub(super) allocated: u64,
    pub(super) apparent: u64,
    pub(super) files: u64,
}

/// A directory that is smaller than one in this many parts of its layer is not listed among the largest.
const SMALL_PART: u64 = 2_000;

/// The largest directories of some layers, each in one layer. `bytes_of` tells how large a layer is.
fn largest_directories(
    files: &Files,
    layers: &BTreeSet<ChainId>,
    bytes_of: impl Fn(ChainId) -> u64,
    most: usize,
) -> Vec<LargeDirectory> {
    let mut found: Vec<LargeDirectory> = Vec::new();
    for layer in layers {
        let tree = files.tree_of(*layer, bytes_of(*layer) / SMALL_PART);
        found.extend(files::largest_directories(&tree, most).into_iter().map(|(path, node)| LargeDirectory {
            layer: *layer,
            path,
            allocated: node.allocated,
            apparent: node.apparent,
            files: node.files,
        }));
    }
    found.sort_by(|a, b| (Reverse(a.allocated), a.layer, &a.path).cmp(&(Reverse(b.allocated), b.layer, &b.path)));
    found.truncate(most);
    found
}

/// What one image wastes.
#[derive(Debug)]
pub(super) struct ImageWaste {
    pub(super) id: String,
    pub(super) names: Vec<String>,
    pub(super) waste: Waste,
    /// What the rules say.
    pub(super) verdicts: Vec<Verdict>,
}

impl FileReport {
    /// `only` are the images that are meant; all that docker lists if there are none.
    pub(super) fn new(
        account: &Account<'_>,
        found: Vec<Collector>,
        (only, rules): (&[ImageId], &Rules),
        (top, threads): (usize, usize),
    ) -> anyhow::Result<Self> {
        let catalog = account.view.catalog();
        let files = Files::merge(found, top);
        for id in only {
            if let Some(reason) = catalog.damaged_images().get(id) {
                return Err(UsageError(format!("image {} is damaged: {reason}", id.0.short())).into());
            }
        }
        let mut ids = only.to_vec();
        if only.is_empty() {
            let listed = catalog.images().values().filter(|image| !catalog.is_intermediate(image));
            ids.extend(listed.map(|image| image.id));
        }
        let mut images: Vec<ImageWaste> = ids
            .iter()
            .filter_map(|id| catalog.images().get(id))
            .map(|image| {
                let waste = waste(&files, image);
                let verdicts = rules.judge(&waste);
                let names = catalog.names_of(image.id).into_iter().map(str::to_owned).collect();
                ImageWaste { id: image.id.to_string(), names, waste, verdicts }
            })
            .collect();
        images.sort_by(|a, b| b.waste.wasted.cmp(&a.waste.wasted).then_with(|| a.id.cmp(&b.id)));
        let IdenticalFiles { identical, unread, sparse } = compare_files(&files, account.view, threads);
        let layers: BTreeSet<ChainId> = ids
            .iter()
            .filter_map(|id| catalog.images().get(id))
            .flat_map(|image| image.chain.iter().copied())
            .collect();
        let bytes_of = |layer| {
            let usage = account.usage(&Part::Layer(layer));
            usage.allocated.max(usage.apparent)
        };
        let directories = largest_directories(&files, &layers, bytes_of, top);
        Ok(Self {
            files,
            images,
            archived: false,
            chosen: !only.is_empty(),
            layers,
            directories,
            identical,
            unread,
            sparse,
        })
    }

    /// Makes the same report of an archive.
    pub(super) fn of_archive(measured: &mut Measured, rules: &Rules, top: usize) -> Self {
        let mut files = Files::default();
        for layer in &mut measured.layers {
            if let Ok(sizes) = &mut layer.sizes {
                files.add_layer(layer.chain_id, std::mem::take(&mut sizes.entries));
            }
        }
        let images = measured.images.iter().map(|image| {
            let waste = files::measure_chain(&files, &image.layers);
            let verdicts = rules.judge(&waste);
            let names = image.names.iter().map(Reference::familiar).collect();
            ImageWaste { id: image.id.to_string(), names, waste, verdicts }
        });
        let images = images.collect();
        let sizes: BTreeMap<ChainId, u64> = measured
            .layers
            .iter()
            .filter_map(|layer| Some((layer.chain_id, layer.sizes.as_ref().ok()?.content)))
            .collect();
        let layers = sizes.keys().copied().collect();
        let directories = largest_directories(&files, &layers, |layer| sizes[&layer], top);
        let (identical, unread, sparse) = (Vec::new(), 0, 0);
        Self { files, images, archived: true, chosen: true, layers, directories, identical, unread, sparse }
    }

    /// Whether an image breaks a rule.
    pub(super) fn failed(&self) -> bool {
        self.images.iter().any(|image| image.verdicts.iter().any(|verdict| verdict.failed))
    }
}
