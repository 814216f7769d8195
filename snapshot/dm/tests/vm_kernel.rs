//! The device mapper of a real kernel, in a virtual machine: what it makes, and how it refuses.
//!
//! The tests that are marked as ignored run there, started by the one that is not.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use dm::{
    Control, DeviceName, LoopDevice, Mapper, MapperError, PoolMode, PoolStatus, PoolTable, Problem, Removal, SECTOR,
    Table, ThinId, ThinPool, ThinStatus, ThinTable, Used, WorkingPool, cancel_removal,
};

/// Blocks of the data, of 64 KiB each.
const BLOCKS: u64 = 256;

#[test]
fn vm_the_kernel_makes_what_it_is_told_and_refuses_by_number() {
    let Some(_turn) = testkit::vm::vm() else { return };
    let machine = testkit::vm::Machine::new(512, 1, &["thin_check"]);
    machine.run_tests("inside_", true, 5, Duration::from_secs(240));
}

fn name(text: &str) -> DeviceName {
    text.parse().unwrap()
}

/// A pool on two files, which is there until the end of a test.
struct Pool {
    mapper: Control,
    dir: tempfile::TempDir,
    table: PoolTable,
    name: DeviceName,
}

impl Pool {
    /// `test` makes its names its own: all tests run on one kernel.
    fn new(test: &str) -> Self {
        let mapper = Control::open().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let table = Self::attach(dir.path(), BLOCKS);
        let name = name(&format!("{test}-pool"));
        mapper.create(&name, &Table::Pool(table.clone())).unwrap();
        Self { mapper, dir, table, name }
    }

    /// Shows the files as loop devices, which last as long as the pool has them.
    fn attach(dir: &Path, blocks: u64) -> PoolTable {
        let shown = [("metadata", 8 << 20), ("data", blocks << 16)].map(|(name, size)| {
            let file =
                File::options().read(true).write(true).create(true).truncate(false).open(dir.join(name)).unwrap();
            file.set_len(size).unwrap();
            LoopDevice::attach(&file).unwrap()
        });
        let [metadata, data] = [shown[0].number().unwrap(), shown[1].number().unwrap()];
        let features = vec!["skip_block_zeroing".to_owned()];
        // The loop devices must last until the pool has them open.
        std::mem::forget(shown);
        PoolTable { length: blocks << 7, metadata, data, block: 128, low_water: 0, features }
    }

    fn says(&self, text: &str) -> Result<(), MapperError> {
        self.mapper.message(&self.name, text)
    }

    fn status(&self) -> WorkingPool {
        match self.mapper.status(&self.name).unwrap().parse() {
            Ok(PoolStatus::Working(status)) => status,
            other => panic!("{other:?}"),
        }
    }

    /// A thin device of 4 MiB.
    fn thin(&self, id: u64) -> Table {
        let pool = self.mapper.info(&self.name).unwrap().unwrap().number;
        Table::Thin(ThinTable { length: (4 << 20) / SECTOR, pool, id: ThinId::new(id).unwrap() })
    }

    fn end(self) {
        self.mapper.remove(&self.name, Removal::Now).unwrap();
        assert_eq!(self.mapper.info(&self.name).unwrap(), None);
        let path = self.dir.path().join("metadata");
        let checked = std::process::Command::new("thin_check").arg(&path).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
    }
}

macro_rules! refused {
    ($result:expr, $problem:pat) => {
        let error = $result.unwrap_err();
        assert!(matches!(error.problem, $problem), "{error}: {:?}", error.problem);
    };
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_a_pool_and_its_devices() {
    let pool = Pool::new("whole");
    assert_eq!(pool.mapper.table(&pool.name).unwrap(), Table::Pool(pool.table.clone()));
    let status = pool.status();
    assert_eq!((status.transaction, status.mode, status.needs_check), (0, PoolMode::ReadWrite, false));
    assert_eq!(status.data, Used { used: 0, total: BLOCKS });

    pool.says("create_thin 1").unwrap();
    pool.says("set_transaction_id 0 1").unwrap();
    let one = name("whole-one");
    let number = pool.mapper.create(&one, &pool.thin(1)).unwrap();
    let (path, mut device) = pool.mapper.open(number).unwrap();
    assert!(path.starts_with("/dev"), "{}", path.display());
    device.write_all(&[7; 1 << 20]).unwrap();
    device.sync_all().unwrap();
    assert_eq!(
        pool.mapper.status(&one).unwrap().parse(),
        Ok(ThinStatus::Working { mapped: 2048, highest: Some(2047) })
    );
    assert_eq!(pool.mapper.info(&one).unwrap().unwrap().open, 1);

    // A snapshot has what its origin had, and goes its own way.
    pool.mapper.suspend(&one).unwrap();
    pool.says("create_snap 2 1").unwrap();
    pool.mapper.resume(&one).unwrap();
    let two = name("whole-two");
    let (_, mut snapshot) = pool.mapper.open(pool.mapper.create(&two, &pool.thin(2)).unwrap()).unwrap();
    snapshot.write_all(&[9; 64 << 10]).unwrap();
    snapshot.sync_all().unwrap();
    let mut first = [0; 1];
    device.seek(SeekFrom::Start(0)).unwrap();
    device.read_exact(&mut first).unwrap();
    assert_eq!(first, [7]);
    assert_eq!(pool.status().data.used, 17);
    assert_eq!(pool.status().transaction, 1);

    // What is given back is free again.
    dm::discard(&snapshot, 4 << 20).unwrap();
    assert_eq!(pool.status().data.used, 16);
    drop((device, snapshot));
    pool.mapper.remove(&one, Removal::Now).unwrap();
    pool.mapper.remove(&two, Removal::Now).unwrap();
    pool.says("delete 1").unwrap();

    // The same pool, read without the kernel.
    let file = File::open(pool.dir.path().join("metadata")).unwrap();
    pool.end();
    let read = ThinPool::open(&file).unwrap();
    assert_eq!(read.superblock().transaction, 1);
    assert_eq!(read.devices().by_id.keys().copied().collect::<Vec<u64>>(), [2]);
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_each_refusal_has_its_name() {
    let pool = Pool::new("refusal");
    let missing = name("refusal-missing");
    assert_eq!(pool.mapper.info(&missing).unwrap(), None);
    pool.mapper.remove(&missing, Removal::Now).unwrap();
    pool.mapper.remove(&missing, Removal::WhenClosed).unwrap();
    assert!(!cancel_removal(&pool.mapper, &missing).unwrap());
    refused!(pool.mapper.status(&missing), Problem::Missing);

    refused!(pool.mapper.create(&pool.name, &Table::Pool(pool.table.clone())), Problem::Busy);
    let again = name("refusal-again");
    refused!(pool.mapper.create(&again, &Table::Pool(pool.table.clone())), Problem::Busy);
    assert_eq!(pool.mapper.info(&again).unwrap(), None, "a device without a table is not left");
    let odd = PoolTable { block: 100, ..pool.table.clone() };
    refused!(pool.mapper.create(&again, &Table::Pool(odd)), Problem::Other(_));

    pool.says("create_thin 1").unwrap();
    refused!(pool.says("create_thin 1"), Problem::Exists);
    refused!(pool.says("create_thin 16777216"), Problem::Other(_));
    refused!(pool.says("create_snap 2 99"), Problem::NoThinDevice);
    refused!(pool.says("delete 99"), Problem::NoThinDevice);
    refused!(pool.says("set_transaction_id 5 6"), Problem::Other(_));
    refused!(pool.mapper.create(&again, &pool.thin(99)), Problem::NoThinDevice);
    pool.says("delete 1").unwrap();
    pool.end();
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_an_open_device_goes_when_it_is_closed() {
    let pool = Pool::new("open");
    pool.says("create_thin 1").unwrap();
    let one = name("open-one");
    let number = pool.mapper.create(&one, &pool.thin(1)).unwrap();
    let (_, device) = pool.mapper.open(number).unwrap();
    refused!(pool.says("delete 1"), Problem::Busy);
    refused!(pool.mapper.remove(&one, Removal::Now), Problem::Busy);
    refused!(pool.mapper.remove(&pool.name, Removal::Now), Problem::Busy);
    assert!(!pool.mapper.info(&one).unwrap().unwrap().is_being_removed);
    pool.mapper.remove(&one, Removal::WhenClosed).unwrap();
    assert!(pool.mapper.info(&one).unwrap().unwrap().is_being_removed);
    assert!(cancel_removal(&pool.mapper, &one).unwrap());
    assert!(!pool.mapper.info(&one).unwrap().unwrap().is_being_removed);
    pool.mapper.remove(&one, Removal::WhenClosed).unwrap();
    drop(device);
    // The name goes first; the pool learns a moment later that nobody has the device open.
    let start = std::time::Instant::now();
    while pool.mapper.info(&one).unwrap().is_some() || pool.says("delete 1").is_err() {
        assert!(start.elapsed() < Duration::from_secs(60), "it is still there");
    }
    pool.end();
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_damaged_metadata_and_another_block_size() {
    let pool = Pool::new("damaged");
    pool.says("create_thin 1").unwrap();
    pool.mapper.remove(&pool.name, Removal::Now).unwrap();
    let other = PoolTable { block: 256, length: pool.table.length, ..Pool::attach(pool.dir.path(), BLOCKS) };
    refused!(pool.mapper.create(&pool.name, &Table::Pool(other)), Problem::Other(_));
    let path = pool.dir.path().join("metadata");
    // A wrong checksum, and then another block in the superblock's place.
    for (offset, bytes) in [(48, &[1; 1][..]), (0, &[1; 4096])] {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
        file.sync_all().unwrap();
        let table = Pool::attach(pool.dir.path(), BLOCKS);
        refused!(pool.mapper.create(&pool.name, &Table::Pool(table)), Problem::Damaged);
    }
    assert_eq!(pool.mapper.info(&pool.name).unwrap(), None);
}

#[test]
#[ignore = "runs in the virtual machine"]
fn inside_a_full_pool_says_so_and_grows() {
    let pool = Pool::new("full");
    let table = PoolTable { features: vec!["error_if_no_space".to_owned()], ..pool.table.clone() };
    pool.mapper.reload(&pool.name, &Table::Pool(table.clone())).unwrap();
    for id in 1..=5 {
        pool.says(&format!("create_thin {id}")).unwrap();
    }
    let names: Vec<DeviceName> = (1..=5).map(|id| name(&format!("full-{id}"))).collect();
    let mut failed = false;
    for (id, name) in (1..).zip(&names) {
        let (_, mut device) = pool.mapper.open(pool.mapper.create(name, &pool.thin(id)).unwrap()).unwrap();
        failed = device.write_all(&[1; 4 << 20]).and_then(|()| device.sync_all()).is_err();
    }
    assert!(failed, "five devices of 4 MiB do not fit");
    assert_eq!((pool.status().mode, pool.status().data.free()), (PoolMode::OutOfDataSpace, 0));
    let data = File::options().write(true).open(pool.dir.path().join("data")).unwrap();
    data.set_len((2 * BLOCKS) << 16).unwrap();
    let backing = table.data.minor;
    let device = File::options().read(true).write(true).open(format!("/dev/loop{backing}")).unwrap();
    dm::read_size_again(&device).unwrap();
    drop(device);
    pool.mapper.suspend(&pool.name).unwrap();
    pool.mapper.reload(&pool.name, &Table::Pool(PoolTable { length: 2 * table.length, ..table })).unwrap();
    assert_eq!((pool.status().mode, pool.status().data.total), (PoolMode::ReadWrite, 2 * BLOCKS));
    names.iter().for_each(|name| pool.mapper.remove(name, Removal::Now).unwrap());
    pool.end();
}
