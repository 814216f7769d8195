//! Space that an image wastes: files that upper layers replace or delete.
//!
//! The figures are those of `dive` (wagoodman/dive v0.13 `dive/filetree/efficiency.go`, `dive/image/analysis.go`), so
//! that thresholds keep their meaning. A path's sizes in all layers are added up; deleting a directory counts what it
//! held, deleting a file nothing.
//!
//! - efficiency: the smallest sizes of all paths, divided by all their sizes
//! - wasted bytes: all sizes of the paths that are in more than one layer
//! - wasted user percent: wasted bytes divided by the sizes of all layers but the first
//!
//! Two things differ from dive. An opaque directory counts like the deletion of what the layers below have in it; dive
//! gives up on such a layer. And of several hard links the first by name counts; dive takes the first in the archive.

use std::collections::BTreeMap;
use std::ops::Bound;

use layerfs::ChainId;

use super::{Files, What};
use crate::catalog::Image;

/// A path that is in more than one layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// The path in the image.
    pub path: Vec<u8>,
    /// Its sizes in all layers.
    pub bytes: u64,
    /// How many layers have the path or delete it.
    pub layers: usize,
}

/// What an image wastes.
#[derive(Debug, Clone, PartialEq)]
pub struct Waste {
    /// 1 where nothing is wasted.
    pub efficiency: f64,
    /// Bytes of all versions of paths that have several.
    pub wasted: u64,
    /// Bytes of all layers but the first.
    pub user: u64,
    /// Bytes of files that are not visible any more.
    pub hidden: u64,
    /// How many files those are.
    pub hidden_files: usize,
    /// Paths that have several versions, the largest first.
    pub repeated: Vec<Repeated>,
}

impl Waste {
    /// Wasted bytes as a share of the bytes of all layers but the first. If both are zero, the result is not a number.
    #[must_use]
    pub fn user_share(&self) -> f64 {
        self.wasted as f64 / self.user as f64
    }
}

#[derive(Default)]
struct Sizes {
    sum: u64,
    smallest: u64,
    layers: usize,
}

/// What an image wastes. `files` has the files of its layers.
#[must_use]
pub fn waste(files: &Files, image: &Image) -> Waste {
    measure_chain(files, &image.chain)
}

/// What a chain of layers wastes. `chain` begins with the base layer.
#[must_use]
pub fn measure_chain(files: &Files, chain: &[ChainId]) -> Waste {
    let mut paths: BTreeMap<&[u8], Sizes> = BTreeMap::new();
    // The files that are visible on top of the layers so far, with their bytes.
    let mut visible: BTreeMap<&[u8], u64> = BTreeMap::new();
    let (mut user, mut hidden, mut hidden_files) = (0_u64, 0_u64, 0);
    for (place, layer) in chain.iter().enumerate() {
        let entries = files.files_of(*layer);
        let mut hide = |visible: &mut BTreeMap<&[u8], u64>, path: &[u8], itself: bool| {
            let gone = take_below(visible, path, itself);
            hidden = hidden.saturating_add(gone.0);
            hidden_files += gone.1;
            gone.0
        };
        let mut note = |path, size| {
            let sizes = paths.entry(path).or_default();
            sizes.smallest = if sizes.layers == 0 { size } else { sizes.smallest.min(size) };
            sizes.sum = sizes.sum.saturating_add(size);
            sizes.layers += 1;
        };
        // Deletions first: a layer deletes only what is below it, not its own files.
        for entry in entries {
            match entry.what {
                What::File => {}
                What::Whiteout => {
                    let was_file = visible.contains_key(&*entry.path);
                    let gone = hide(&mut visible, &entry.path, true);
                    note(&*entry.path, if was_file { 0 } else { gone });
                }
                What::Opaque => {
                    let gone = hide(&mut visible, &entry.path, false);
                    if gone > 0 {
                        note(&*entry.path, gone);
                    }
                }
            }
        }
        for entry in entries.iter().filter(|entry| entry.what == What::File) {
            hide(&mut visible, &entry.path, true);
            note(&*entry.path, entry.size);
            if place > 0 {
                user = user.saturating_add(entry.size);
            }
            visible.insert(&entry.path, entry.size);
        }
    }
    let all: u64 = paths.values().fold(0, |all, sizes| all.saturating_add(sizes.sum));
    let needed: u64 = paths.values().fold(0, |all, sizes| all.saturating_add(sizes.smallest));
    let several = paths.iter().filter(|(_, sizes)| sizes.layers > 1);
    let mut repeated: Vec<Repeated> =
        several.map(|(path, sizes)| Repeated { path: path.to_vec(), bytes: sizes.sum, layers: sizes.layers }).collect();
    repeated.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.path.cmp(&b.path)));
    Waste {
        efficiency: if all == 0 { 1.0 } else { needed as f64 / all as f64 },
        wasted: repeated.iter().fold(0, |all, path| all.saturating_add(path.bytes)),
        user,
        hidden,
        hidden_files,
        repeated,
    }
}

/// Removes from `visible` what is below a path, and the path itself if `itself`. Returns the bytes and the number of
/// the removed files.
fn take_below(visible: &mut BTreeMap<&[u8], u64>, path: &[u8], itself: bool) -> (u64, usize) {
    let own = if itself { visible.remove(path) } else { None };
    if path.is_empty() {
        // The path is the layer's root, so everything is below it.
        return std::mem::take(visible)
            .into_values()
            .chain(own)
            .fold((0, 0), |(bytes, files), size| (bytes + size, files + 1));
    }
    // All names from "path/" up to "path0": `0` is the character after `/`.
    let (mut from, mut to) = (path.to_vec(), path.to_vec());
    from.push(b'/');
    to.push(b'/' + 1);
    let range = (Bound::Included(from.as_slice()), Bound::Excluded(to.as_slice()));
    let below: Vec<&[u8]> = visible.range::<[u8], _>(range).map(|(path, _)| *path).collect();
    let sizes = below.iter().filter_map(|path| visible.remove(path));
    sizes.chain(own).fold((0, 0), |(bytes, files), size| (bytes + size, files + 1))
}
