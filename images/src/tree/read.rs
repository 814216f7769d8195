//! Layers, read with several threads and put on top of each other.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use layerfs::pool::spawn_helpers;

use super::stack::HiddenName;
use super::{Layers, Tree, TreeError, WantedPaths};

/// Reads all layers, and puts them on top of each other. Names that a layer takes away are added to `removed`.
///
/// # Errors
/// [`TreeError`]
pub fn read_tree(layers: &dyn Layers, removed: Option<&mut Vec<HiddenName>>) -> Result<Tree, TreeError> {
    read_trees(layers, 0..layers.len(), removed)
}

/// Like [`read_tree`], but of some of the layers.
///
/// # Errors
/// [`TreeError`]
pub fn read_trees(
    layers: &dyn Layers,
    which: Range<usize>,
    removed: Option<&mut Vec<HiddenName>>,
) -> Result<Tree, TreeError> {
    let mut tree = Tree::empty();
    tree.stack_layers(layers, which, removed)?;
    Ok(tree)
}

/// Like [`read_trees`], but only what is wanted is sure to be in the tree.
///
/// # Errors
/// [`TreeError`]
pub(super) fn read_part(layers: &dyn Layers, which: Range<usize>, wanted: &WantedPaths) -> Result<Tree, TreeError> {
    let mut tree = Tree::empty();
    let read = |number| layers.part(number, wanted, &AtomicBool::new(false));
    each(which, &read, &mut |number, part| tree.stack(part, number, None))?;
    Ok(tree)
}

/// Reads as much as it takes to [find](Tree::find) these paths, with all symlinks on the way, as in the whole tree.
///
/// # Errors
/// [`TreeError`]
pub fn read_for(layers: &dyn Layers, paths: &[&[u8]]) -> Result<Tree, TreeError> {
    let mut wanted = WantedPaths::default();
    paths.iter().for_each(|path| {
        wanted.add(path);
    });
    for _ in 0..ROUNDS {
        let tree = read_from_the_top(layers, &wanted)?;
        // Whatever a symlink leads to is wanted, too.
        let mut more = false;
        for path in paths {
            let _ = tree.find_on_the_way(path, true, &mut |names, left| {
                more |= wanted.add_on_the_way(names, left);
            });
        }
        if !more {
            return Ok(tree);
        }
    }
    read_tree(layers, None)
}

/// How often symlinks may lead to what was not read, before everything is read.
const ROUNDS: usize = 4;

/// Reads what is wanted, the highest layer first, and no layer below those that decide about all of it. Other threads begin with
/// the layers that take the longest.
fn read_from_the_top(layers: &dyn Layers, wanted: &WantedPaths) -> Result<Tree, TreeError> {
    let count = layers.len();
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&layer| Reverse(layers.weight(layer)));
    let claimed: Vec<AtomicBool> = (0..count).map(|_| AtomicBool::new(false)).collect();
    let claim = |layer: usize| !claimed[layer].swap(true, Ordering::Relaxed);
    let stop = AtomicBool::new(false);
    let (done, parts) = channel();
    let read = {
        let (order, claim, stop) = (&order, &claim, &stop);
        move || {
            for &layer in order {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // Sending fails once the reader knows all that it wants and has closed the channel.
                if claim(layer) && done.send((layer, layers.part(layer, wanted, stop))).is_err() {
                    return;
                }
            }
        }
    };
    let threads = layerfs::pool::processors().get().min(count);
    let found = thread::scope(|scope| {
        let _stopping = Stop(&stop);
        spawn_helpers(scope, threads.saturating_sub(1), read);
        let (mut early, mut found) = (BTreeMap::new(), Vec::new());
        for layer in (0..count).rev() {
            let part = if claim(layer) {
                layers.part(layer, wanted, &AtomicBool::new(false))
            } else {
                loop {
                    if let Some(part) = early.remove(&layer) {
                        break part;
                    }
                    let (other, part) = parts.recv().expect("a thread reads what it has claimed");
                    early.insert(other, part);
                }
            };
            let part = part?;
            let is_settled = wanted.is_settled_by(&part);
            found.push((layer, part));
            if is_settled {
                break;
            }
        }
        Ok::<_, TreeError>(found)
    })?;
    let mut tree = Tree::empty();
    for (number, part) in found.into_iter().rev() {
        tree.stack(part, number, None);
    }
    Ok(tree)
}

/// Tells the other threads to stop, whatever ends the work.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Tree {
    /// Puts the trees of layers on top. Names that a layer takes away are added to `removed`.
    ///
    /// # Errors
    /// [`TreeError`]
    pub fn stack_layers(
        &mut self,
        layers: &dyn Layers,
        which: Range<usize>,
        mut removed: Option<&mut Vec<HiddenName>>,
    ) -> Result<(), TreeError> {
        let mut stack = |number, tree| self.stack(tree, number, removed.as_deref_mut());
        each(which, &|number| layers.tree(number), &mut stack)
    }
}

/// Reads layers with several threads, and calls `take` for each, in order, while others are read.
fn each(
    which: Range<usize>,
    read: &(dyn Fn(usize) -> Result<Tree, TreeError> + Sync),
    take: &mut dyn FnMut(usize, Tree),
) -> Result<(), TreeError> {
    let threads = layerfs::pool::processors().get().min(which.len());
    let next = AtomicUsize::new(which.start);
    let (done, trees) = sync_channel(threads);
    thread::scope(|scope| {
        // Threads that wait for room end when this is dropped, at the first error.
        let trees = trees;
        let work = {
            let (end, next) = (which.end, &next);
            move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end || done.send((number, read(number))).is_err() {
                        return;
                    }
                }
            }
        };
        let one = which.len() < 2 || threads < 2;
        if one || spawn_helpers(scope, threads, work).is_empty() {
            return which.clone().try_for_each(|number| {
                take(number, read(number)?);
                Ok(())
            });
        }
        let mut early = BTreeMap::new();
        for number in which {
            let tree = loop {
                if let Some(tree) = early.remove(&number) {
                    break tree;
                }
                let (number, tree) = trees.recv().expect("a thread reads each tree");
                early.insert(number, tree);
            };
            take(number, tree?);
        }
        Ok(())
    })
}
