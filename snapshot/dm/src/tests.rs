//! What a block of metadata can have wrong, each made once: the kernel's constants are spelled out here again
//! (`drivers/md/dm-thin-metadata.c`, `drivers/md/persistent-data/dm-btree-spine.c`).

use std::fs::File;
use std::io::Write;

use crc_fast::{CrcAlgorithm, checksum};

use crate::blocks::{BLOCK, Blocks};
use crate::error::BlockProblem;
use crate::node::Node;
use crate::superblock::Superblock;
use crate::tree::Entries;

const OF_SUPERBLOCK: u32 = 160_774;
const OF_NODE: u32 = 121_107;

/// A block with these numbers of 32 bits at their places, its own number, and its checksum.
fn block(number: u64, kind: u32, fields: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    bytes[8..16].copy_from_slice(&number.to_le_bytes());
    for (at, value) in fields {
        bytes[*at..*at + 4].copy_from_slice(&value.to_le_bytes());
    }
    let made = !(checksum(CrcAlgorithm::Crc32Iscsi, &bytes[4..]) as u32) ^ kind;
    bytes[..4].copy_from_slice(&made.to_le_bytes());
    bytes
}

fn file(blocks: &[Vec<u8>]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&blocks.concat()).unwrap();
    file
}

#[test]
fn superblocks_are_refused_for_what_is_wrong_with_them() {
    const GOOD: [(usize, u32); 4] = [(32, 27_022_010), (40, 2), (336, 128), (340, 8)];
    let read = |bytes: Vec<u8>| {
        let file = file(&[bytes]);
        Superblock::read(&Blocks::open(&file).unwrap())
            .map_err(|error| (error.block, error.problem.clone(), error.to_string()))
    };
    assert_eq!(read(block(0, OF_SUPERBLOCK, &GOOD)).unwrap().block_size, 64 << 10);
    let with = |at: usize, value: u32| block(0, OF_SUPERBLOCK, &[&GOOD[..], &[(at, value)]].concat());
    for (bytes, problem, words) in [
        (vec![0; BLOCK], BlockProblem::Empty, "block 0 of the pool's metadata is empty: no pool was ever made there"),
        (
            with(32, 7),
            BlockProblem::Magic { found: 7 },
            "block 0 of the pool's metadata is not the superblock of a thin pool: magic 0x7",
        ),
        (
            with(40, 3),
            BlockProblem::Version { found: 3 },
            "block 0 of the pool's metadata is of version 3 of the format; versions 1 and 2 are known",
        ),
        (
            with(336, 127),
            BlockProblem::Size { what: "a data block size", found: 65_024 },
            "block 0 of the pool's metadata has a data block size of 65024, which no pool has",
        ),
        (
            with(340, 16),
            BlockProblem::Size { what: "a metadata block size", found: 8_192 },
            "block 0 of the pool's metadata has a metadata block size of 8192, which no pool has",
        ),
        (
            block(5, OF_SUPERBLOCK, &GOOD),
            BlockProblem::OtherBlock { found: 5 },
            "block 0 of the pool's metadata holds block 5",
        ),
    ] {
        assert_eq!(read(bytes).unwrap_err(), (0, problem, words.to_owned()));
    }
    let (_, problem, _) = read(block(0, OF_NODE, &GOOD)).unwrap_err();
    let BlockProblem::Checksum { found, made } = problem else { panic!("{problem:?}") };
    let words = format!("has the checksum {found:#010x}, but its bytes make {made:#010x}");
    assert_eq!(problem.to_string(), words);
}

#[test]
fn nodes_are_refused_for_what_is_wrong_with_them() {
    // A leaf with two entries of eight bytes: its keys are at 32 and 40.
    const GOOD: [(usize, u32); 6] = [(4, 2), (16, 2), (20, 252), (24, 8), (32, 1), (40, 2)];
    let read = |fields: &[(usize, u32)]| {
        let file = file(&[block(0, OF_NODE, &[&GOOD[..], fields].concat())]);
        Node::read(&Blocks::open(&file).unwrap(), 0, 8).map(|node| node.entries)
    };
    assert_eq!(read(&[]), Ok(2));
    assert_eq!(read(&[(4, 9)]), Err(BlockProblem::Kind { found: 9 }));
    assert_eq!(read(&[(40, 1)]), Err(BlockProblem::Order { index: 1 }));
    for (fields, words) in [
        ((4, 9), "is no node of a tree: kind 9"),
        ((40, 1), "has a key out of order, entry 1"),
        ((16, 253), "claims 253 entries of 8 bytes, with room for 252"),
    ] {
        assert_eq!(read(&[fields]).unwrap_err().to_string(), words);
    }
    for (fields, entries, size, most) in [
        (&[(16, 253)][..], 253, 8, 252),
        (&[(24, 4)], 2, 4, 252),
        (&[(20, 255)], 2, 8, 255),
        (&[(20, u32::MAX)], 2, 8, u32::MAX),
    ] {
        assert_eq!(read(fields), Err(BlockProblem::Entries { entries, size, most }));
    }
    let file = file(&[]);
    assert_eq!(Node::read(&Blocks::open(&file).unwrap(), 3, 8).unwrap_err(), BlockProblem::Beyond { blocks: 0 });
}

#[test]
fn a_tree_that_is_too_deep_ends() {
    // Each node has one child, the block after it.
    let chain: Vec<Vec<u8>> = (0..100_u32)
        .map(|at| block(at.into(), OF_NODE, &[(4, 1), (16, 1), (20, 252), (24, 8), (32 + 8 * 252, at + 1)]))
        .collect();
    let file = file(&chain);
    let blocks = Blocks::open(&file).unwrap();
    let mut entries = Entries::<8>::new(&blocks, Some(0));
    let damage = entries.next().unwrap().unwrap_err();
    assert_eq!(damage.problem, BlockProblem::Deep, "{damage}");
    assert_eq!(damage.to_string(), format!("block {} of the metadata is too deep in its tree", damage.block));
    assert!(entries.next().is_none());
}
