//! Blocks of the metadata, with their checksums.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use crc_fast::CrcAlgorithm;

use crate::error::{BlockProblem, PoolError};

/// Bytes of a block of the metadata.
pub const BLOCK: usize = 4096;

/// What a block holds. Its checksum is mixed with a number for this, so that no block is taken for one of another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Superblock,
    Node,
}

impl Kind {
    fn mixed_in(self) -> u32 {
        match self {
            Self::Superblock => 160_774,
            Self::Node => 121_107,
        }
    }
}

/// The bytes of one block.
pub(crate) type Block = Box<[u8; BLOCK]>;

/// The file or block device that holds the metadata.
#[derive(Debug)]
pub(crate) struct Blocks<'a> {
    file: &'a File,
    count: u64,
}

impl<'a> Blocks<'a> {
    pub(crate) fn open(file: &'a File) -> Result<Self, PoolError> {
        let mut end = file;
        let length = end.seek(SeekFrom::End(0)).map_err(|error| {
            let problem = BlockProblem::Unreadable { kind: error.kind() };
            PoolError { block: 0, problem }
        })?;
        Ok(Self { file, count: length / BLOCK as u64 })
    }

    /// A block whose number and checksum are right.
    pub(crate) fn read(&self, number: u64, kind: Kind) -> Result<Block, BlockProblem> {
        let block = self.raw(number)?;
        let made = !(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, &block[4..]) as u32) ^ kind.mixed_in();
        let found = u32_at(&*block, 0);
        if made != found {
            return Err(BlockProblem::Checksum { found, made });
        }
        match u64_at(&*block, 8) {
            found if found == number => Ok(block),
            found => Err(BlockProblem::OtherBlock { found }),
        }
    }

    /// A block, whatever it is.
    pub(crate) fn raw(&self, number: u64) -> Result<Block, BlockProblem> {
        if number >= self.count {
            return Err(BlockProblem::Beyond { blocks: self.count });
        }
        let mut block = Box::new([0; BLOCK]);
        let read = self.file.read_exact_at(&mut block[..], number * BLOCK as u64);
        read.map_err(|error| BlockProblem::Unreadable { kind: error.kind() })?;
        Ok(block)
    }
}

/// The number at `at`, which is inside `bytes`.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

/// The number at `at`, which is inside `bytes`.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}
