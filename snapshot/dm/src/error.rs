//! What can be wrong with the metadata of a pool.

use std::ops::Range;

/// The metadata of a pool cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[error("block {block} of the pool's metadata {problem}")]
pub struct PoolError {
    /// The block of the metadata.
    pub block: u64,
    /// What is wrong with it.
    pub problem: BlockProblem,
}

/// A part of the metadata that cannot be read, and what is lost with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("block {block} of the metadata {problem}")]
pub struct MetadataDamage {
    /// The block of the metadata.
    pub block: u64,
    /// What is wrong with it.
    pub problem: BlockProblem,
    /// The keys that it may have held: thin ids, or blocks of a device.
    pub keys: Range<u64>,
}

/// What is wrong with a block of the metadata.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlockProblem {
    /// It is not in the file.
    #[error("is not there: the metadata has {blocks} blocks")]
    Beyond {
        /// Blocks of the file or device.
        blocks: u64,
    },
    /// The system cannot read it.
    #[error("cannot be read: {kind}")]
    Unreadable {
        /// What the system says.
        kind: std::io::ErrorKind,
    },
    /// All bytes are zero: a pool that was never used.
    #[error("is empty: no pool was ever made there")]
    Empty,
    /// Not a thin pool.
    #[error("is not the superblock of a thin pool: magic {found:#x}")]
    Magic {
        /// The number in its place.
        found: u64,
    },
    /// A newer format.
    #[error("is of version {found} of the format; versions 1 and 2 are known")]
    Version {
        /// The version in the block.
        found: u32,
    },
    /// The bytes are not those that were written.
    #[error("has the checksum {found:#010x}, but its bytes make {made:#010x}")]
    Checksum {
        /// As the block has it.
        found: u32,
        /// Of its bytes.
        made: u32,
    },
    /// The block of another place.
    #[error("holds block {found}")]
    OtherBlock {
        /// The number it bears.
        found: u64,
    },
    /// A size that no pool has.
    #[error("has {what} of {found}, which no pool has")]
    Size {
        /// Of what.
        what: &'static str,
        /// The size in the block.
        found: u64,
    },
    /// Neither an internal node nor a leaf.
    #[error("is no node of a tree: kind {found}")]
    Kind {
        /// The kind in the block.
        found: u32,
    },
    /// More entries than there is room for.
    #[error("claims {entries} entries of {size} bytes, with room for {most}")]
    Entries {
        /// How many entries it claims.
        entries: u32,
        /// Bytes of a value.
        size: u32,
        /// How many entries it says there is room for.
        most: u32,
    },
    /// A key that is not above the one before, or outside of what the node's parent says.
    #[error("has a key out of order, entry {index}")]
    Order {
        /// Which entry.
        index: usize,
    },
    /// Farther from the root than any node can be.
    #[error("is too deep in its tree")]
    Deep,
}
