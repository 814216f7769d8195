//! The superblock.

use crate::SECTOR;
use crate::blocks::{BLOCK, Blocks, Kind, u32_at, u64_at};
use crate::error::{BlockProblem, PoolError};

const MAGIC: u64 = 27_022_010;

/// Set in the flags when the kernel found an error and wants the pool checked before it is written again.
const NEEDS_CHECK: u32 = 1;

/// Bytes of the smallest and of the largest data block (`thin-provisioning.rst`, "Setting up a fresh pool device").
const DATA_BLOCK: std::ops::RangeInclusive<u64> = 64 << 10..=1 << 30;

/// What the superblock of a pool says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Superblock {
    /// The number that the pool's user counts transactions with.
    pub transaction: u64,
    /// The pool's clock, which ticks with each snapshot.
    pub time: u32,
    /// Whether the kernel wants the pool checked.
    pub needs_check: bool,
    /// Bytes of a data block.
    pub block_size: u64,
    /// Blocks that the metadata has room for.
    pub metadata_blocks: u64,
    /// Blocks of the metadata in use.
    pub metadata_used: u64,
    /// Blocks of the data.
    pub data_blocks: u64,
    /// Blocks of the data in use, as the pool counts them.
    pub data_used: u64,
    /// Whether a snapshot of the metadata is reserved.
    pub has_metadata_snapshot: bool,
    pub(crate) mapping_root: u64,
    pub(crate) details_root: u64,
}

impl Superblock {
    pub(crate) fn read(blocks: &Blocks<'_>) -> Result<Self, PoolError> {
        let failed = |problem| PoolError { block: 0, problem };
        let raw = blocks.raw(0).map_err(failed)?;
        if raw.iter().all(|byte| *byte == 0) {
            return Err(failed(BlockProblem::Empty));
        }
        let magic = u64_at(&*raw, 32);
        if magic != MAGIC {
            return Err(failed(BlockProblem::Magic { found: magic }));
        }
        let block = blocks.read(0, Kind::Superblock).map_err(failed)?;
        let (u32_at, u64_at) = (|at| u32_at(&*block, at), |at| u64_at(&*block, at));
        let version = u32_at(40);
        if !(1..=2).contains(&version) {
            return Err(failed(BlockProblem::Version { found: version }));
        }
        let block_size = u64::from(u32_at(336)) * SECTOR;
        if !DATA_BLOCK.contains(&block_size) || !block_size.is_multiple_of(*DATA_BLOCK.start()) {
            return Err(failed(BlockProblem::Size { what: "a data block size", found: block_size }));
        }
        let metadata_block_size = u64::from(u32_at(340)) * SECTOR;
        if metadata_block_size != BLOCK as u64 {
            return Err(failed(BlockProblem::Size { what: "a metadata block size", found: metadata_block_size }));
        }
        Ok(Self {
            transaction: u64_at(48),
            time: u32_at(44),
            needs_check: u32_at(4) & NEEDS_CHECK != 0,
            block_size,
            // What the space map has: the number at 344 is that of the beginning, and stays when the metadata grows.
            metadata_blocks: u64_at(192),
            metadata_used: u64_at(192 + 8),
            data_blocks: u64_at(64),
            data_used: u64_at(64 + 8),
            has_metadata_snapshot: u64_at(56) != 0,
            mapping_root: u64_at(320),
            details_root: u64_at(328),
        })
    }
}
