//! What the device mapper says, and the metadata of its thin pools.

use std::fs::File;
use std::io::Write;
use std::str::FromStr;

use dm::{DeviceName, DeviceNumber, METADATA_BLOCK, PoolStatus, Table, ThinPool, ThinStatus, ThinVolume};

/// What the checksums of a superblock and of a node are mixed with.
const MIXED: [u32; 2] = [160_774, 121_107];

/// The size of a device whose content is looked at.
const SIZE: u64 = 1 << 40;

/// A line of a table or a status, a name or a number: written anew, it is read as the same.
pub fn lines(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    same::<Table>(text);
    same::<PoolStatus>(text);
    same::<ThinStatus>(text);
    same::<DeviceName>(text);
    same::<DeviceNumber>(text);
}

fn same<T: FromStr + ToString + PartialEq + std::fmt::Debug>(text: &str) {
    let Ok(read) = text.parse::<T>() else { return };
    assert_eq!(read.to_string().parse::<T>().ok().as_ref(), Some(&read), "{text:?}");
}

/// The metadata of a thin pool, as it is, and as blocks of which only the beginning is there (two bytes for its length before each, the
/// least significant first) with the numbers and checksums that belong there: no block of the pool counts twice.
pub fn pool(bytes: &[u8]) {
    read_pool(bytes);
    read_pool(&blocks(bytes));
}

fn blocks(mut bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(([low, high], rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(METADATA_BLOCK).min(rest.len());
        let (part, rest) = rest.split_at(length);
        let mut block = part.to_vec();
        block.resize(METADATA_BLOCK, 0);
        let number = out.len() / METADATA_BLOCK;
        block[8..16].copy_from_slice(&(number as u64).to_le_bytes());
        let sum = !crc32c(&block[4..]) ^ MIXED[usize::from(number > 0)];
        block[..4].copy_from_slice(&sum.to_le_bytes());
        out.append(&mut block);
        bytes = rest;
    }
    out
}

/// CRC-32C, which the crate that is tested has from elsewhere.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32| if sum & 1 == 1 { (sum >> 1) ^ 0x82f6_3b78 } else { sum >> 1 };
    !bytes.iter().fold(u32::MAX, |sum, &byte| (0..8).fold(sum ^ u32::from(byte), |sum, _| step(sum)))
}

fn read_pool(bytes: &[u8]) {
    let mut file: File = tempfile::tempfile_in("/dev/shm").or_else(|_| tempfile::tempfile()).unwrap();
    file.write_all(bytes).unwrap();
    let Ok(pool) = ThinPool::open(&file) else { return };
    let devices = pool.devices();
    let sharing = pool.sharing(&devices);
    let mut exclusive = 0;
    for device in devices.by_id.values() {
        let mut end = 0;
        for run in pool.mappings(device).flatten() {
            assert!(run.origin >= end && run.length > 0, "{run:?}");
            end = run.origin + run.length;
        }
        let share = &sharing.by_device[&device.id];
        exclusive += share.exclusive;
        let volume = ThinVolume::read(&pool, device, SIZE);
        assert!(volume.mapped() <= SIZE && volume.lost() == share.lost);
    }
    assert!(exclusive <= sharing.mapped);
}
