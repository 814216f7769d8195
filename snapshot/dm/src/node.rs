//! A node of a B-tree.

use crate::blocks::{BLOCK, Block, Blocks, Kind, u32_at, u64_at};
use crate::error::BlockProblem;

const HEADER: usize = 32;
const KEY: usize = 8;
const INTERNAL: u32 = 1;
const LEAF: u32 = 2;

/// A node whose entries are in their place and whose keys are in order.
#[derive(Debug)]
pub(crate) struct Node {
    block: Block,
    pub(crate) is_leaf: bool,
    pub(crate) entries: usize,
    most: usize,
    value_size: usize,
}

impl Node {
    /// Reads a node. A leaf's values have `value_size` bytes.
    pub(crate) fn read(blocks: &Blocks<'_>, number: u64, value_size: usize) -> Result<Self, BlockProblem> {
        let block = blocks.read(number, Kind::Node)?;
        let is_leaf = match u32_at(&*block, 4) {
            INTERNAL => false,
            LEAF => true,
            found => return Err(BlockProblem::Kind { found }),
        };
        let (entries, most, size) = (u32_at(&*block, 16), u32_at(&*block, 20), u32_at(&*block, 24));
        let wanted = if is_leaf { value_size } else { KEY };
        let has_room = most as usize <= (BLOCK - HEADER) / (KEY + wanted);
        if size as usize != wanted || entries > most || !has_room {
            return Err(BlockProblem::Entries { entries, size, most });
        }
        let node = Self { block, is_leaf, entries: entries as usize, most: most as usize, value_size: wanted };
        match (1..node.entries).find(|index| node.key(*index) <= node.key(index - 1)) {
            Some(index) => Err(BlockProblem::Order { index }),
            None => Ok(node),
        }
    }

    /// The key of an entry.
    pub(crate) fn key(&self, index: usize) -> u64 {
        u64_at(&self.block[..], HEADER + KEY * index)
    }

    /// The value of an entry.
    pub(crate) fn value(&self, index: usize) -> &[u8] {
        let start = HEADER + KEY * self.most + self.value_size * index;
        &self.block[start..start + self.value_size]
    }
}
