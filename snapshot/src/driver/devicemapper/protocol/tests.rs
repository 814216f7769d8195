//! The protocol on a pool that is made up: it answers as Linux 6.1 does, and its power can be cut at each message.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use dm::{DeviceNumber, Info, Removal, Table};

use super::*;
use crate::dir::Dir;

const SIZE: u64 = 1 << 30;

/// A pool, and whether somebody has the devices open.
#[derive(Debug, Default)]
struct Pool {
    transaction: u64,
    devices: BTreeSet<u64>,
    /// The messages so far, and the one at which the power is cut.
    messages: usize,
    cut: Option<Cut>,
    /// What it says of itself, instead of what it would say.
    status: Option<&'static str>,
}

/// When the power is cut: at which message, and whether the pool has done what it says.
#[derive(Debug, Clone, Copy)]
struct Cut {
    message: usize,
    done: bool,
}

#[derive(Debug, Default)]
struct Fake(Mutex<Pool>);

impl Fake {
    fn pool(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.0.lock().unwrap()
    }
}

impl Pool {
    fn obey(&mut self, text: &str) -> Result<(), Problem> {
        let words: Vec<&str> = text.split(' ').collect();
        let number = |at: usize| words[at].parse::<u64>().unwrap();
        match words[0] {
            "create_thin" | "create_snap" if self.devices.contains(&number(1)) => Err(Problem::Exists),
            "create_snap" if !self.devices.contains(&number(2)) => Err(Problem::NoThinDevice),
            "create_thin" | "create_snap" => {
                self.devices.insert(number(1));
                Ok(())
            }
            "delete" if self.devices.remove(&number(1)) => Ok(()),
            "delete" => Err(Problem::NoThinDevice),
            "set_transaction_id" if number(1) == self.transaction => {
                self.transaction = number(2);
                Ok(())
            }
            _ => Err(Problem::Other(io::Error::from_raw_os_error(22))),
        }
    }
}

impl Mapper for Fake {
    fn info(&self, _name: &DeviceName) -> Result<Option<Info>, MapperError> {
        Ok(None)
    }

    fn create(&self, _name: &DeviceName, _table: &Table) -> Result<DeviceNumber, MapperError> {
        unreachable!("the protocol makes nothing active")
    }

    fn reload(&self, _name: &DeviceName, _table: &Table) -> Result<(), MapperError> {
        unreachable!("the protocol changes no table")
    }

    fn suspend(&self, _name: &DeviceName) -> Result<(), MapperError> {
        unreachable!("nothing is active")
    }

    fn resume(&self, _name: &DeviceName) -> Result<(), MapperError> {
        unreachable!("nothing is active")
    }

    fn remove(&self, _name: &DeviceName, _removal: Removal) -> Result<(), MapperError> {
        unreachable!("the protocol removes no active device")
    }

    fn message(&self, name: &DeviceName, text: &str) -> Result<(), MapperError> {
        let failed = |problem| MapperError { what: "sending a message to", name: name.clone(), problem };
        let power = || failed(Problem::Other(io::Error::other("the power is cut")));
        let mut pool = self.pool();
        pool.messages += 1;
        let cut = pool.cut.filter(|cut| cut.message <= pool.messages);
        if let Some(cut) = cut {
            if cut.done && cut.message == pool.messages {
                pool.obey(text).map_err(failed)?;
            }
            return Err(power());
        }
        pool.obey(text).map_err(failed)
    }

    fn table(&self, _name: &DeviceName) -> Result<Table, MapperError> {
        unreachable!("the protocol asks for no table")
    }

    fn status(&self, _name: &DeviceName) -> Result<String, MapperError> {
        let pool = self.pool();
        let transaction = pool.transaction;
        let usual = format!("{transaction} 1/100 1/100 - rw discard_passdown queue_if_no_space - 1024 ");
        Ok(pool.status.map_or(usual, str::to_owned))
    }

    fn open(&self, _number: DeviceNumber) -> io::Result<(PathBuf, File)> {
        unreachable!("the protocol opens no device")
    }
}

/// A pool with its records, which stay when a process ends.
struct Store {
    dir: tempfile::TempDir,
    fake: Arc<Fake>,
}

impl Store {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), fake: Arc::new(Fake::default()) }
    }

    fn records(&self) -> Records {
        Records::new(Dir::open(self.dir.path()).unwrap())
    }

    fn open(&self) -> Result<Protocol, StoreError> {
        let mapper: Arc<dyn Mapper> = Arc::clone(&self.fake) as _;
        let protocol = Protocol::new(mapper, "pool".parse().unwrap(), Arc::new(self.records()));
        protocol.recover().map(|()| protocol)
    }

    /// The names of the devices' files and the numbers that these name.
    fn files(&self) -> Vec<(String, i64)> {
        self.records().devices().unwrap().into_iter().map(|(name, file)| (name, file.id)).collect()
    }

    fn devices(&self) -> Vec<u64> {
        self.fake.pool().devices.iter().copied().collect()
    }

    /// Cuts the power at a message from now on, counted from 1.
    fn cut(&self, message: usize, done: bool) {
        let mut pool = self.fake.pool();
        pool.messages = 0;
        pool.cut = Some(Cut { message, done });
    }

    fn power_on(&self) {
        self.fake.pool().cut = None;
    }
}

fn empty() -> Origin<'static> {
    Origin::Empty { size: SIZE }
}

/// Both messages of a change, before and after the pool has obeyed.
const CUTS: [(usize, bool); 4] = [(1, false), (1, true), (2, false), (2, true)];

#[test]
fn a_device_is_there_with_its_file_or_not_at_all() {
    for (message, done) in CUTS {
        let store = Store::new();
        let base = store.open().unwrap().create(BASE, &empty()).unwrap();
        assert_eq!((base.id, base.transaction), (1, 1));
        store.cut(message, done);
        let protocol = store.open().unwrap();
        let active = "base".parse().unwrap();
        protocol.create("layer", &Origin::Device { file: &base, active: &active }).unwrap_err();
        store.power_on();
        let protocol = store.open().unwrap();
        let (devices, files): (&[u64], Vec<(String, i64)>) = match (message, done) {
            (2, true) => (&[1, 2], vec![("base".into(), 1), ("layer".into(), 2)]),
            _ => (&[1], vec![("base".into(), 1)]),
        };
        assert_eq!((store.devices(), store.files()), (devices.to_vec(), files), "message {message}, done: {done}");
        // The next change works.
        let next = protocol.create("next", &Origin::Device { file: &base, active: &active }).unwrap();
        assert_eq!(next.size, SIZE);
        assert_eq!(store.fake.pool().transaction, next.transaction);
    }
}

#[test]
fn a_device_whose_deletion_was_begun_is_gone() {
    for (message, done) in CUTS {
        let store = Store::new();
        let protocol = store.open().unwrap();
        let layer = protocol.create("layer", &empty()).unwrap();
        protocol.create("other", &empty()).unwrap();
        store.cut(message, done);
        protocol.delete("layer", &layer).unwrap_err();
        store.power_on();
        store.open().unwrap();
        assert_eq!((store.devices(), store.files()), (vec![2], vec![("other".into(), 2)]), "{message}, done: {done}");
        assert_eq!(store.records().transaction().unwrap().is_none(), (message, done) != (2, true));
    }
}

/// After the pool was restored from a copy, a record may be about a device that somebody uses.
#[test]
fn what_is_not_provably_ours_is_left_alone() {
    for (transaction, id) in [(3, 1), (2, 7), (1000, 1), (2, -1)] {
        let store = Store::new();
        store.open().unwrap().create("layer", &empty()).unwrap();
        store.records().write_transaction(&TransactionFile { transaction, name: "layer".into(), id }).unwrap();
        let error = store.open().unwrap_err().to_string();
        assert!(error.contains("nothing is changed"), "{error}");
        assert_eq!((store.devices(), store.files()), (vec![1], vec![("layer".into(), 1)]));
    }
    // A record whose number is not above the pool's is of a change that has ended.
    let store = Store::new();
    store.open().unwrap().create("layer", &empty()).unwrap();
    store.records().write_transaction(&TransactionFile { transaction: 0, name: "layer".into(), id: 1 }).unwrap();
    store.open().unwrap();
    assert_eq!(store.devices(), [1]);
}

#[test]
fn numbers_of_devices_without_files_are_passed_over() {
    let store = Store::new();
    store.fake.pool().devices.extend([1, 2, 4]);
    let protocol = store.open().unwrap();
    let ids = ["a", "b", "c"].map(|name| protocol.create(name, &empty()).unwrap().id);
    assert_eq!(ids, [3, 5, 6]);
    assert_eq!(store.devices(), [1, 2, 3, 4, 5, 6]);
}

/// What no file names goes, whenever the power is cut, and nothing else does.
#[test]
fn a_device_that_no_file_names_is_deleted() {
    for (message, done) in CUTS {
        let store = Store::new();
        let protocol = store.open().unwrap();
        protocol.create("layer", &empty()).unwrap();
        store.fake.pool().devices.insert(7);
        let [named, unnamed] = [1, 7].map(|id| ThinId::new(id).unwrap());
        assert!(!protocol.delete_unnamed(named).unwrap());
        store.cut(message, done);
        protocol.delete_unnamed(unnamed).unwrap_err();
        store.power_on();
        store.open().unwrap();
        assert_eq!((store.devices(), store.files()), (vec![1], vec![("layer".into(), 1)]), "{message}, done: {done}");
    }
    let store = Store::new();
    store.fake.pool().devices.insert(7);
    assert!(store.open().unwrap().delete_unnamed(ThinId::new(7).unwrap()).unwrap());
    assert!(store.devices().is_empty());
}

/// Each state in which the kernel takes no changes is told with its numbers, and nothing is begun.
#[test]
fn no_device_is_made_in_a_pool_that_is_full_or_failed() {
    let states = [
        ("3 100/100 7/100 - ro discard_passdown queue_if_no_space - 1024", "(mode ro): 100 of 100 blocks of metadata"),
        ("3 9/100 100/100 - out_of_data_space discard_passdown error_if_no_space - 1024", "100 of 100 blocks of data"),
        ("3 9/100 7/100 - ro discard_passdown queue_if_no_space needs_check 1024", "wants it checked"),
        ("Fail", "has failed"),
    ];
    for (status, told) in states {
        let store = Store::new();
        let protocol = store.open().unwrap();
        store.fake.pool().status = Some(status);
        let error = protocol.create("layer", &empty()).unwrap_err();
        assert!(matches!(error, StoreError::ThinPool { .. }) && error.to_string().contains(told), "{error}");
        let why = protocol.trouble().unwrap().to_string();
        assert!(why.contains(told), "{why}");
        assert!(store.files().is_empty() && store.records().transaction().unwrap().is_none());
        // With the trouble gone, the next change works.
        store.fake.pool().status = None;
        protocol.create("layer", &empty()).unwrap();
    }
    // A pool that is full to the last block and still takes changes: what fails there has failed for that.
    let store = Store::new();
    let protocol = store.open().unwrap();
    assert!(protocol.trouble().is_none());
    store.fake.pool().status = Some("0 9/100 100/100 - rw discard_passdown queue_if_no_space - 1024");
    assert!(protocol.trouble().unwrap().to_string().contains("its pool is full: 100 of 100 blocks of data"));
    protocol.create("layer", &empty()).unwrap();
}

/// A pool that has failed or only reads takes no deletion either: it is not even begun. From a full one something can be deleted,
/// which is what helps.
#[test]
fn what_is_deleted_from_a_pool_in_trouble() {
    for status in ["Fail", "1 100/100 1/100 - ro discard_passdown queue_if_no_space - 1024"] {
        let store = Store::new();
        let protocol = store.open().unwrap();
        let layer = protocol.create("layer", &empty()).unwrap();
        let before = store.records().transaction().unwrap();
        store.fake.pool().status = Some(status);
        let error = protocol.delete("layer", &layer).unwrap_err();
        assert!(matches!(error, StoreError::ThinPool { .. }), "{error}");
        assert_eq!((store.devices(), store.files()), (vec![1], vec![("layer".into(), 1)]));
        assert_eq!(store.records().transaction().unwrap(), before);
        store.fake.pool().status = None;
        store.open().unwrap().delete("layer", &layer).unwrap();
    }
    let store = Store::new();
    let protocol = store.open().unwrap();
    let layer = protocol.create("layer", &empty()).unwrap();
    store.fake.pool().status = Some("1 9/100 100/100 - out_of_data_space discard_passdown queue_if_no_space - 1024");
    protocol.delete("layer", &layer).unwrap();
    assert!(store.devices().is_empty() && store.files().is_empty());
}

/// A number that no pool gives leads to no device, so nothing is deleted, and nobody may be told that it was.
#[test]
fn a_device_without_a_number_is_not_deleted() {
    let store = Store::new();
    let protocol = store.open().unwrap();
    let layer = protocol.create("layer", &empty()).unwrap();
    for id in [-1, 1 << 24] {
        let error = protocol.delete("layer", &DeviceFile { id, ..layer.clone() }).unwrap_err().to_string();
        assert!(error.contains(&format!("device_id {id} is no number")), "{error}");
    }
    assert_eq!((store.devices(), store.files()), (vec![1], vec![("layer".into(), 1)]));
    assert_eq!(store.records().transaction().unwrap().map(|last| last.transaction), Some(layer.transaction));
}
