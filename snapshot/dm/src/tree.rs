//! A walk through a B-tree, which goes on after a damaged node.

use std::ops::Range;

use crate::blocks::{Blocks, u64_at};
use crate::error::{BlockProblem, MetadataDamage};
use crate::node::Node;

/// The most levels of a tree: with two entries a node, more than any tree with keys of 64 bits has.
const LEVELS: usize = 64;

/// A node on the way, the entry that comes next, and the keys that the node may have.
#[derive(Debug)]
struct Level {
    node: Node,
    next: usize,
    keys: Range<u64>,
}

/// The entries of the leaves in the order of their keys; `N` is the size of a value.
///
/// Each child's keys are held against the keys that its parent has for it, so a loop of nodes ends and no entry comes
/// twice.
#[derive(Debug)]
pub(crate) struct Entries<'a, const N: usize> {
    blocks: &'a Blocks<'a>,
    levels: Vec<Level>,
    /// The root, as long as it has not been read.
    root: Option<u64>,
}

impl<'a, const N: usize> Entries<'a, N> {
    pub(crate) fn new(blocks: &'a Blocks<'a>, root: Option<u64>) -> Self {
        Self { blocks, levels: Vec::new(), root }
    }

    /// Reads the node `block`, and goes there.
    fn descend(&mut self, block: u64, keys: Range<u64>) -> Result<(), MetadataDamage> {
        let failed = |problem| MetadataDamage { block, problem, keys: keys.clone() };
        if self.levels.len() == LEVELS {
            return Err(failed(BlockProblem::Deep));
        }
        let node = Node::read(self.blocks, block, N).map_err(failed)?;
        if let Some(last) = node.entries.checked_sub(1) {
            // The last key of all is never in use: a device has fewer blocks, and there are fewer devices.
            let outside = [0, last].into_iter().find(|index| !keys.contains(&node.key(*index)));
            if let Some(index) = outside {
                return Err(failed(BlockProblem::Order { index }));
            }
        }
        self.levels.push(Level { node, next: 0, keys });
        Ok(())
    }
}

impl<const N: usize> Iterator for Entries<'_, N> {
    type Item = Result<(u64, [u8; N]), MetadataDamage>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(root) = self.root.take()
            && let Err(damage) = self.descend(root, 0..u64::MAX)
        {
            return Some(Err(damage));
        }
        loop {
            let level = self.levels.last_mut()?;
            let index = level.next;
            if index == level.node.entries {
                self.levels.pop();
                continue;
            }
            level.next += 1;
            let key = level.node.key(index);
            if level.node.is_leaf {
                let mut value = [0; N];
                value.copy_from_slice(level.node.value(index));
                return Some(Ok((key, value)));
            }
            let end = if level.next < level.node.entries { level.node.key(level.next) } else { level.keys.end };
            let child = u64_at(level.node.value(index), 0);
            if let Err(damage) = self.descend(child, key..end) {
                return Some(Err(damage));
            }
        }
    }
}
