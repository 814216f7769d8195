//! The kinds of corpus: which layers each has, and of what.

use std::collections::BTreeSet;

use super::changes::Changes;
use super::content::Class;
use super::entry::{Entry, EntryKind, day};
use super::extremes::Extremes;
use super::measured::{BASE, BINS, DOCUMENTS, LANGUAGES, LIBRARIES, SAMPLES, Spec, TOOLCHAIN, WHOLE};
use super::member::Style;
use super::random::{Random, mix};
use super::tree::{Tree, Visit};
use super::{CorpusKind, Error};

/// Small files are below 8 KiB: the bins of three files in four.
const SMALL_BINS: usize = 14;

/// All layers of a corpus, lowest first.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) layers: Vec<Layer>,
}

/// What a layer is made of: any layer can be walked at any time, with nothing of the others in memory.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) seed: u64,
    pub(super) style: Style,
    shape: Shape,
    changes: Option<Changes>,
}

#[derive(Debug)]
enum Shape {
    Tree(Tree),
    /// Files of this size.
    Few(u64, &'static [&'static str]),
    Extremes(Extremes),
    Nothing,
}

impl Image {
    pub(super) fn new(kind: CorpusKind, scale: f64, seed: u64) -> Self {
        let layers = match kind {
            CorpusKind::ManySmall => vec![Shape::Tree(many_small(scale))],
            CorpusKind::FewLarge => {
                vec![Shape::Few(times(1_000_000_000, scale), &["srv/data/disk.img", "srv/data/records.db"])]
            }
            CorpusKind::Typical => [&BASE, &TOOLCHAIN, &LANGUAGES, &DOCUMENTS, &LIBRARIES, &SAMPLES]
                .map(|spec| Shape::Tree(tree(spec, scale)))
                .into_iter()
                .chain([Shape::Nothing])
                .collect(),
            // Less by the headers, so that the layer has 1.1 GB.
            CorpusKind::OneLarge => vec![Shape::Tree(tree(&WHOLE, scale * 0.7424))],
            CorpusKind::DeepAndWide => vec![Shape::Extremes(Extremes {
                chains: times(9, scale).max(3),
                depth: times(1_000, scale).clamp(100, 1_000),
                width: times(50_000, scale),
            })],
            CorpusKind::HundredLayers => hundred(scale, seed),
        };
        let numbered = (0..).zip(layers);
        let layers = numbered.map(|(number, shape)| Layer::new(kind, number, shape, scale, seed)).collect();
        Self { layers }
    }

    /// Shows all members of layer `number` to `visit`, in order.
    pub(super) fn walk(&self, number: usize, visit: &mut Visit<'_>) -> Result<(), Error> {
        let layer = &self.layers[number];
        let taken = match &layer.changes {
            Some(changes) => changes.walk(self, layer.seed, visit)?,
            None => BTreeSet::new(),
        };
        layer.own(&taken, visit)
    }
}

impl Layer {
    fn new(kind: CorpusKind, number: usize, shape: Shape, scale: f64, seed: u64) -> Self {
        let changes = match kind {
            CorpusKind::Typical if number == 6 => Some(Changes {
                below: 0..6,
                deleted: times(121, scale),
                replaced: times(112, scale),
                emptied: times(3, scale),
            }),
            // Every fifth changes what the one before it brought.
            CorpusKind::HundredLayers if number % 5 == 4 => {
                Some(Changes { below: number - 1..number, deleted: 5, replaced: 10, emptied: 1 })
            }
            _ => None,
        };
        let seed = mix(seed ^ mix(number as u64 ^ (kind as u64) << 32));
        let style = if kind == CorpusKind::Typical && number == 0 { Style::Gnu } else { Style::Go };
        Self { seed, style, shape, changes }
    }

    /// Shows the members that have nothing to do with other layers to `visit`.
    pub(super) fn own(&self, taken: &BTreeSet<String>, visit: &mut Visit<'_>) -> Result<(), Error> {
        match &self.shape {
            Shape::Tree(tree) => tree.walk(self.seed, taken, visit),
            Shape::Few(size, paths) => {
                visit(&Entry::new("srv", EntryKind::Directory, day(0)))?;
                visit(&Entry::new("srv/data", EntryKind::Directory, day(0)))?;
                let file = EntryKind::File { size: *size, class: Class::Mixed };
                paths.iter().try_for_each(|path| visit(&Entry::new(path, file.clone(), day(1))))
            }
            Shape::Extremes(extremes) => extremes.walk(self.seed, visit),
            Shape::Nothing => Ok(()),
        }
    }
}

/// `count` at a scale, at least one.
fn times(count: u64, scale: f64) -> u64 {
    // Multiplication is the same on every machine; nothing else here is a fraction.
    ((count as f64 * scale) as u64).max(1)
}

fn tree(spec: &'static Spec, scale: f64) -> Tree {
    Tree {
        spec,
        bins: BINS,
        files: times(spec.files, scale),
        symlinks: if spec.symlinks == 0 { 0 } else { times(spec.symlinks, scale) },
        dirs: times(spec.dirs, scale).max(spec.below.len() as u64),
        bytes: times(spec.bytes, scale),
    }
}

fn many_small(scale: f64) -> Tree {
    Tree {
        bins: SMALL_BINS,
        files: times(200_000, scale),
        symlinks: times(10_000, scale),
        dirs: times(19_000, scale).max(20),
        ..tree(&WHOLE, scale)
    }
}

/// Layers of 5 to 15 MB.
fn hundred(scale: f64, seed: u64) -> Vec<Shape> {
    let mut random = Random::new(seed, 4);
    let megabyte = 1_000_000.0 / WHOLE.bytes as f64 * scale;
    // What stands in the way of exactness are the headers: 4 %.
    (0..100).map(|_| Shape::Tree(tree(&WHOLE, megabyte * (4_800 + random.below(9_600)) as f64 / 1_000.0))).collect()
}
