//! Pools that `thin_restore` made, read here and by `thin_dump` and `thin_ls`: the same devices, mappings and sharing.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use dm::{BlockProblem, MappedRun, MetadataDamage, ThinPool, ThinVolume};
use testkit::Random;

const BLOCK: u64 = 64 << 10;

/// Whether Debian's thin-provisioning-tools are there.
fn tools() -> bool {
    let found = Command::new("thin_restore").arg("--version").output().is_ok_and(|output| output.status.success());
    testkit::tier("root", found, "install thin_restore (Debian: thin-provisioning-tools)")
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A pool as `thin_dump` writes it: by device, the block of the data and the time of each mapped block.
type Mapped = BTreeMap<u64, BTreeMap<u64, (u64, u64)>>;

/// Devices with blocks of their own and blocks that earlier devices have as well.
fn random_pool(random: &mut Random, devices: u64, blocks: u64) -> Mapped {
    let mut pool = Mapped::new();
    let (mut fresh, mut id) = (0, 0);
    for number in 0..devices {
        id += 1 + random.below(3);
        let mut mapped = BTreeMap::new();
        if number > 0 && random.below(4) > 0 {
            let earlier: Vec<u64> = pool.keys().copied().collect();
            mapped.clone_from(&pool[&earlier[random.below(number) as usize]]);
        }
        let mut at = 0;
        for _ in 0..random.below(blocks) {
            at += 1 + random.below(3) * random.below(7);
            mapped.insert(at, (fresh, number));
            fresh += 1 + u64::from(random.below(9) == 0);
        }
        pool.insert(id, mapped);
    }
    pool
}

fn xml(pool: &Mapped) -> String {
    let mut xml = String::from(
        "<superblock uuid=\"\" time=\"7\" transaction=\"42\" flags=\"0\" version=\"2\" data_block_size=\"128\" nr_data_blocks=\"900000\">\n",
    );
    for (device, mapped) in pool {
        let (transaction, blocks) = (device * 2, mapped.len());
        writeln!(xml, "  <device dev_id=\"{device}\" mapped_blocks=\"{blocks}\" transaction=\"{transaction}\" creation_time=\"{device}\" snap_time=\"7\">").unwrap();
        for (origin, (data, time)) in mapped {
            writeln!(xml, "    <single_mapping origin_block=\"{origin}\" data_block=\"{data}\" time=\"{time}\"/>")
                .unwrap();
        }
        xml.push_str("  </device>\n");
    }
    xml + "</superblock>\n"
}

fn restored(dir: &Path, pool: &Mapped) -> std::path::PathBuf {
    let (source, metadata) = (dir.join("pool.xml"), dir.join("metadata"));
    std::fs::write(&source, xml(pool)).unwrap();
    let _ = std::fs::remove_file(&metadata);
    File::create(&metadata).unwrap().set_len(64 << 20).unwrap();
    said("thin_restore", &["-i", source.to_str().unwrap(), "-o", metadata.to_str().unwrap()]);
    metadata
}

/// A pool as it is read here, in the form of `thin_dump`.
fn dumped(pool: &ThinPool<'_>) -> String {
    let superblock = pool.superblock();
    let mut xml = format!(
        "<superblock uuid=\"\" time=\"{}\" transaction=\"{}\" flags=\"0\" version=\"2\" data_block_size=\"{}\" nr_data_blocks=\"{}\">\n",
        superblock.time,
        superblock.transaction,
        superblock.block_size / dm::SECTOR,
        superblock.data_blocks
    );
    for device in pool.devices().by_id.values() {
        let (id, details) = (device.id, device.details.unwrap());
        writeln!(
            xml,
            "  <device dev_id=\"{id}\" mapped_blocks=\"{}\" transaction=\"{}\" creation_time=\"{}\" snap_time=\"{}\">",
            details.mapped_blocks, details.transaction, details.created, details.snapshotted
        )
        .unwrap();
        for run in pool.mappings(device) {
            let MappedRun { origin, data, length, time } = run.unwrap();
            if length == 1 {
                writeln!(xml, "    <single_mapping origin_block=\"{origin}\" data_block=\"{data}\" time=\"{time}\"/>")
            } else {
                writeln!(xml, "    <range_mapping origin_begin=\"{origin}\" data_begin=\"{data}\" length=\"{length}\" time=\"{time}\"/>")
            }
            .unwrap();
        }
        xml.push_str("  </device>\n");
    }
    xml + "</superblock>\n"
}

/// Who has which blocks, in the form of `thin_ls --no-headers`, with single spaces.
fn listed(pool: &ThinPool<'_>) -> String {
    let devices = pool.devices();
    let sharing = pool.sharing(&devices);
    let mut lines = String::new();
    for (id, device) in &devices.by_id {
        let (details, share) = (device.details.unwrap(), &sharing.by_device[id]);
        assert_eq!(share.lost, []);
        let (exclusive, shared) = (share.exclusive, share.shared);
        writeln!(lines, "{id} {} {exclusive} {shared} {}", details.mapped_blocks, details.transaction).unwrap();
    }
    lines
}

#[test]
fn root_pools_are_read_as_the_thin_tools_read_them() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(16);
    for (devices, blocks) in [(0, 1), (1, 1), (1, 3000), (7, 40), (40, 700), (300, 3), (3, 40_000)] {
        let pool = random_pool(&mut random, devices, blocks);
        let metadata = restored(dir.path(), &pool);
        let file = File::open(&metadata).unwrap();
        let read = ThinPool::open(&file).unwrap();
        assert_eq!(dumped(&read), said("thin_dump", &[metadata.to_str().unwrap()]), "{devices} devices");
        let fields = "DEV,MAPPED_BLOCKS,EXCLUSIVE_BLOCKS,SHARED_BLOCKS,TRANSACTION";
        let theirs = said("thin_ls", &["--no-headers", "-o", fields, metadata.to_str().unwrap()]);
        let theirs: String =
            theirs.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n").collect();
        assert_eq!(listed(&read), theirs, "{devices} devices");
        let used = read.superblock().data_used;
        assert_eq!(read.sharing(&read.devices()).mapped, used, "each block that the pool counts belongs to a device");
    }
}

/// Each block of the metadata is damaged in turn: what is read is a part of what was there, and what is missing is
/// named.
#[test]
fn root_a_damaged_pool_is_read_but_for_the_damage() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pool = random_pool(&mut Random::new(3), 6, 1500);
    let metadata = restored(dir.path(), &pool);
    let blocks = {
        let file = File::open(&metadata).unwrap();
        ThinPool::open(&file).unwrap().superblock().metadata_used
    };
    let file = File::options().read(true).write(true).open(&metadata).unwrap();
    let (mut harmless, mut lost_blocks) = (0, 0);
    for block in 1..blocks + 2 {
        let mut kept = [0; 4096];
        file.read_exact_at(&mut kept, block * 4096).unwrap();
        let mut damaged = kept;
        damaged[100 + block as usize * 13 % 3000] ^= 0x40;
        file.write_all_at(&damaged, block * 4096).unwrap();
        let read = ThinPool::open(&file).unwrap();
        let devices = read.devices();
        let mut damages: Vec<MetadataDamage> = devices.lost_details.clone();
        damages.extend(devices.lost_mappings.clone());
        for (id, mapped) in &pool {
            let Some(device) = devices.by_id.get(id).filter(|device| device.is_mapped()) else {
                assert!(devices.lost_mappings.iter().any(|damage| damage.keys.contains(id)), "block {block}: {id}");
                continue;
            };
            let volume = ThinVolume::read(&read, device, u64::MAX);
            let mut found = BTreeMap::new();
            for run in read.mappings(device).flatten() {
                (0..run.length).for_each(|step| {
                    found.insert(run.origin + step, (run.data + step, u64::from(run.time)));
                });
            }
            for (origin, what) in mapped {
                match found.remove(origin) {
                    Some(found) => assert_eq!(found, *what),
                    None => assert!(
                        volume.lost().iter().any(|damage| damage.keys.contains(origin)),
                        "block {block}, device {id}: {origin} is gone and not named"
                    ),
                }
            }
            assert!(found.is_empty(), "block {block}, device {id}: invented {found:?}");
            lost_blocks += volume.lost().iter().filter(|damage| damage.block == block).count();
            damages.extend(volume.lost().to_vec());
        }
        harmless += usize::from(damages.is_empty());
        for damage in damages {
            assert!(damage.block == block && matches!(damage.problem, BlockProblem::Checksum { .. }), "{damage:?}");
        }
        file.write_all_at(&kept, block * 4096).unwrap();
    }
    assert!(lost_blocks > 10, "{lost_blocks} of {blocks} blocks held mappings");
    // Space maps are not needed to read the devices: 56 blocks of bitmaps for the data, and a few beside them.
    assert!((56..80).contains(&harmless), "{harmless} of {blocks} blocks were not missed");
}

/// Writes `block` with a checksum that is right, as an attacker would.
fn write_checked(file: &File, number: u64, block: &mut [u8; 4096]) {
    const SUPERBLOCK: u32 = 160_774;
    const NODE: u32 = 121_107;
    let mixed_in = if number == 0 { SUPERBLOCK } else { NODE };
    let made = !(crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, &block[4..]) as u32) ^ mixed_in;
    block[..4].copy_from_slice(&made.to_le_bytes());
    file.write_all_at(block, number * 4096).unwrap();
}

/// Metadata that somebody made up, with right checksums: loops, shared nodes, wrong counts. Reading ends, with no more
/// entries than there is room for, and no key comes twice.
#[test]
fn root_what_is_made_up_does_no_harm() {
    const ROUNDS: usize = 1500;
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(9);
    let metadata = restored(dir.path(), &random_pool(&mut random, 5, 900));
    let file = File::options().read(true).write(true).open(&metadata).unwrap();
    let blocks = ThinPool::open(&file).unwrap().superblock().metadata_used;
    let mut damaged = 0;
    for round in 0..ROUNDS {
        // Mostly the nodes, whose numbers are behind those of the bitmaps, and sometimes the superblock.
        let number = if round % 50 == 0 { 0 } else { 1 + random.below(blocks + 4) };
        let mut kept = [0; 4096];
        file.read_exact_at(&mut kept, number * 4096).unwrap();
        let mut block = kept;
        for _ in 0..=random.below(3) {
            let (at, value) = match random.below(4) {
                // A header's fields, or the superblock's roots.
                0 => (4 + 4 * random.below(7), random.below(300)),
                1 if number == 0 => (320 + 8 * random.below(2), random.below(blocks)),
                // A child, often one that leads back.
                1 => (32 + 8 * (random.below(252) + 252), random.below(blocks)),
                2 => (32 + 8 * random.below(504), random.below(1 << 20)),
                _ => (8 * random.below(512), u64::MAX - random.below(2)),
            };
            let at = (at as usize).min(4088);
            block[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        if number != 0 {
            block[8..16].copy_from_slice(&number.to_le_bytes());
        }
        write_checked(&file, number, &mut block);
        if let Ok(pool) = ThinPool::open(&file) {
            let devices = pool.devices();
            damaged += devices.lost_mappings.len();
            for device in devices.by_id.values().take(300) {
                let (mut entries, mut next) = (0, 0);
                for run in pool.mappings(device) {
                    match run {
                        Ok(run) => {
                            assert!(run.origin >= next, "round {round}: {run:?} comes after {next}");
                            next = run.origin + run.length;
                            entries += run.length;
                        }
                        Err(_) => damaged += 1,
                    }
                }
                assert!(entries <= (blocks + 4) * 252, "round {round}: {entries}");
            }
            let _ = pool.sharing(&devices);
        } else {
            damaged += 1;
        }
        file.write_all_at(&kept, number * 4096).unwrap();
    }
    assert!(damaged > ROUNDS / 10, "{damaged}");
}

/// A device's bytes are those of the blocks that it maps; the others are holes.
#[test]
fn root_a_volume_is_made_of_its_blocks() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let pool = random_pool(&mut Random::new(5), 3, 30);
    let metadata = restored(dir.path(), &pool);
    let file = File::open(&metadata).unwrap();
    let read = ThinPool::open(&file).unwrap();
    let data = File::options().read(true).write(true).create_new(true).open(dir.path().join("data")).unwrap();
    for (block, _) in pool.values().flat_map(BTreeMap::values) {
        data.write_all_at(&[(block % 251) as u8 + 1; BLOCK as usize], block * BLOCK).unwrap();
    }
    for (id, mapped) in &pool {
        let last = mapped.keys().next_back().copied().unwrap_or(0);
        // The last block is only half in the device.
        let size = last * BLOCK + BLOCK / 2;
        let volume = ThinVolume::read(&read, &read.devices().by_id[id], size);
        let to = tempfile::tempfile().unwrap();
        volume.copy_to(&data, &to).unwrap();
        assert_eq!(to.metadata().unwrap().len(), size);
        let blocks = mapped.len() as u64;
        assert_eq!(volume.mapped(), (blocks * BLOCK).saturating_sub(if blocks > 0 { BLOCK / 2 } else { 0 }));
        let mut content = vec![0; size as usize];
        to.read_exact_at(&mut content, 0).unwrap();
        for block in 0..=last {
            let start = (block * BLOCK) as usize;
            let wanted = mapped.get(&block).map_or(0, |(data, _)| (data % 251) as u8 + 1);
            let end = (start + BLOCK as usize).min(content.len());
            assert!(content[start..end].iter().all(|byte| *byte == wanted), "device {id}, block {block}");
        }
    }
    data.set_len(BLOCK).unwrap();
    let (id, mapped) = pool.iter().max_by_key(|(_, mapped)| mapped.len()).unwrap();
    let size = (mapped.keys().next_back().unwrap() + 1) * BLOCK;
    let volume = ThinVolume::read(&read, &read.devices().by_id[id], size);
    let error = volume.copy_to(&data, &tempfile::tempfile().unwrap()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
}

/// What is no pool says so.
#[test]
fn what_is_no_pool_is_named() {
    let file = tempfile::tempfile().unwrap();
    let said = |file: &File| ThinPool::open(file).unwrap_err().to_string();
    assert_eq!(said(&file), "block 0 of the pool's metadata is not there: the metadata has 0 blocks");
    file.set_len(8192).unwrap();
    assert_eq!(said(&file), "block 0 of the pool's metadata is empty: no pool was ever made there");
    file.write_all_at(b"something else", 32).unwrap();
    assert!(said(&file).contains("is not the superblock of a thin pool: magic 0x6e696874656d6f73"), "{}", said(&file));
    file.write_all_at(&27_022_010_u64.to_le_bytes(), 32).unwrap();
    assert!(said(&file).contains("has the checksum"), "{}", said(&file));
}
