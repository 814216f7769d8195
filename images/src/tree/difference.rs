//! What is different between two images. Of the layers that both begin with, only the names are wanted that the other
//! layers say something about; in a store, nothing else is read of them.

use std::io::Read;
use std::ops::Range;

use layerfs::pool::map;

use super::compare::{Change, Pair, compare};
use super::node::NodeId;
use super::read::read_part;
use super::{Layers, Tree, TreeError, WantedPaths};

/// Two images, as far as they differ.
#[derive(Debug)]
pub struct ImageDifference {
    /// The first one.
    pub before: Tree,
    /// The second one.
    pub after: Tree,
    /// The differences, in the order of a walk.
    pub changes: Vec<Change>,
}

/// Compares two images, whose first `common` layers are the same, with up to `threads` threads.
///
/// # Errors
/// [`TreeError`]
pub fn difference(
    before: &dyn Layers,
    after: &dyn Layers,
    common: usize,
    threads: usize,
) -> Result<ImageDifference, TreeError> {
    let own = [(before, common..before.len()), (after, common..after.len())];
    let all: Vec<(&dyn Layers, usize)> =
        own.iter().flat_map(|(layers, which)| which.clone().map(|n| (*layers, n))).collect();
    // A layer that cannot be read does not keep the others from being read; the first error is returned in the end.
    let read = map(all.len(), threads, |at| Some(all[at].0.tree(all[at].1)));
    let mut trees = read.into_iter().map(|tree| tree.expect("each has a result")).collect::<Result<Vec<_>, _>>()?;
    let mut wanted = WantedPaths::default();
    trees.iter().for_each(|tree| wanted.add_layer(tree));
    let base = if trees.is_empty() { Tree::empty() } else { read_part(before, 0..common, &wanted)? };
    let (mut old, mut new) = (base.clone(), base);
    let later = trees.split_off(before.len() - common);
    let stack = |tree: &mut Tree, layers: Vec<Tree>, which: Range<usize>| {
        which.zip(layers).for_each(|(number, layer)| tree.stack(layer, number, None));
    };
    stack(&mut old, trees, common..before.len());
    stack(&mut new, later, common..after.len());
    let changes = compare(&old, &new, &mut |pairs| same(pairs, (before, &old), (after, &new), common, threads))?;
    Ok(ImageDifference { before: old, after: new, changes })
}

/// Pairs that a thread takes at a time.
const AT_ONCE: usize = 64;

/// Says of each pair of files whether they have the same bytes.
fn same(
    pairs: &[Pair],
    (before, old): (&dyn Layers, &Tree),
    (after, new): (&dyn Layers, &Tree),
    common: usize,
    threads: usize,
) -> Result<Vec<bool>, TreeError> {
    let pieces: Vec<&[Pair]> = pairs.chunks(AT_ONCE).collect();
    let compared = map(pieces.len(), threads, |at| {
        let mut buffers = Buffers::default();
        let is_same = |(path, one, other): &Pair| {
            // If both names are from the same common layer, they are the same file.
            if old.node(*one).layer == new.node(*other).layer && old.node(*one).layer < common {
                return Ok(true);
            }
            buffers.are_same((before, old, *one), (after, new, *other), path)
        };
        Some(pieces[at].iter().map(is_same).collect::<Result<Vec<bool>, TreeError>>())
    });
    let compared = compared.into_iter().map(|piece| piece.expect("each has a result"));
    Ok(compared.collect::<Result<Vec<_>, _>>()?.concat())
}

/// Room for the bytes of two files, used again and again.
struct Buffers {
    one: Vec<u8>,
    other: Vec<u8>,
}

impl Default for Buffers {
    fn default() -> Self {
        Self { one: vec![0; 64 << 10], other: vec![0; 64 << 10] }
    }
}

impl Buffers {
    /// Whether two files of the same length have the same bytes.
    fn are_same(
        &mut self,
        (before, old, one): (&dyn Layers, &Tree, NodeId),
        (after, new, other): (&dyn Layers, &Tree, NodeId),
        path: &[u8],
    ) -> Result<bool, TreeError> {
        let failed = |source| TreeError::File { path: path.to_vec(), source };
        let mut files = (old.open(before, path, one)?, new.open(after, path, other)?);
        let mut left = old.node(one).size();
        while left > 0 {
            let now = usize::try_from(left).map_or(self.one.len(), |left| left.min(self.one.len()));
            // A file that has become shorter is an error.
            files.0.read_exact(&mut self.one[..now]).map_err(failed)?;
            files.1.read_exact(&mut self.other[..now]).map_err(failed)?;
            if self.one[..now] != self.other[..now] {
                return Ok(false);
            }
            left -= now as u64;
        }
        Ok(true)
    }
}
