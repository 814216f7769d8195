//! Layers, read with several threads and put on top of each other.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::thread;

use layerfs::pool::spawn_helpers;

use super::stack::HiddenName;
use super::{Layers, Tree, TreeError};

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
        each_tree(layers, which, &mut stack)
    }
}

/// Reads the layers with several threads, and calls `take` for each, in order, while others are read.
fn each_tree(layers: &dyn Layers, which: Range<usize>, take: &mut dyn FnMut(usize, Tree)) -> Result<(), TreeError> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(which.len());
    let next = AtomicUsize::new(which.start);
    let (done, trees) = sync_channel(threads);
    thread::scope(|scope| {
        // Threads that wait for room end when this is dropped, at the first error.
        let trees = trees;
        let read = {
            let (end, next) = (which.end, &next);
            move || {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end || done.send((number, layers.tree(number))).is_err() {
                        return;
                    }
                }
            }
        };
        let one = which.len() < 2 || threads < 2;
        if one || spawn_helpers(scope, threads, read).is_empty() {
            return which.clone().try_for_each(|number| {
                take(number, layers.tree(number)?);
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
