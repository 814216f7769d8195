//! The records of the storage driver devicemapper.
//!
//! ```text
//! devicemapper/metadata/               0700
//!   <cache id>, base                   0600  which thin device holds a layer
//!   transaction-metadata               0600  the last change of the pool that was begun
//!   deviceset-metadata                 0600  the file system of the base, and the next device's number at the last shutdown
//! ```
//!
//! dockerd does not start with a file of a device that it cannot decode. Follows moby v20.10.24
//! `daemon/graphdriver/devmapper/deviceset.go: devInfo, transaction, DeviceSet, loadMetadata`.

use dm::ThinId;

use super::gojson::{self, DecodeError, Encode};
use crate::go_file;

/// The directory of these files in the driver's own.
pub const DEVICES: &str = "metadata";

/// The file of the device that all layers without a parent were made from.
pub const BASE: &str = "base";

/// The file of the last change of the pool that was begun.
pub const TRANSACTION: &str = "transaction-metadata";

/// The file of what belongs to no single device.
pub const DEVICE_SET: &str = "deviceset-metadata";

/// Bytes of the largest file that is read. Docker has no limit of its own; its files have about 100.
pub(crate) const MAX_DEVICE: usize = 64 << 10;

go_file! {
    /// The thin device of a layer.
    pub struct DeviceFile {
        /// Its number in the pool.
        pub id: i64 = "device_id",
        /// Its size in bytes.
        pub size: u64 = "size",
        /// The pool's transaction that made it.
        pub transaction: u64 = "transaction_id",
        /// Whether it has a file system of its own: true for the base alone.
        pub initialized: bool = "initialized",
        /// Whether it is to be deleted as soon as nobody uses it.
        pub deleted: bool = "deleted",
    }
}

go_file! {
    /// A change of the pool that was begun: a device is made or deleted. The change was finished if the pool has its number.
    pub struct TransactionFile {
        /// The number that the pool has once the change is made.
        pub transaction: u64 = "open_transaction_id",
        /// The name of the device's file; empty for the base.
        pub name: String = "device_hash",
        /// The number of the device.
        pub id: i64 = "device_id",
    }
}

go_file! {
    /// What belongs to no single device.
    pub struct DeviceSetFile {
        /// The number that was to be given next when dockerd was shut down; stale after a crash.
        pub next: i64 = "next_device_id",
        /// The UUID of the base's file system.
        pub uuid: String = "BaseDeviceUUID",
        /// The kind of the base's file system.
        pub file_system: String = "BaseDeviceFilesystem",
    }
}

go_file! {
    /// What dockerd has noted when it set up LVM for a store (`device_setup.go: directLVMConfig`).
    pub struct SetupFile {
        /// The block device that it gave LVM; empty if it gave none.
        pub device: String = "Device",
        /// Percent of the volume group for data, as all of these 0 for the default.
        pub data_percent: u64 = "ThinpPercent",
        /// Percent of the volume group for metadata.
        pub metadata_percent: u64 = "ThinpMetaPercent",
        /// By how many percent the pool grows.
        pub extend_percent: u64 = "AutoExtendPercent",
        /// Percent in use at which it grows.
        pub extend_threshold: u64 = "AutoExtendThreshold",
    }
}

/// The content of a file, as dockerd writes it: without white space, and without an end of line.
#[must_use]
pub fn encode(record: &impl Encode) -> Vec<u8> {
    let mut text = String::new();
    record.encode(&mut text);
    text.into_bytes()
}

impl DeviceFile {
    /// Decodes the content of a file.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        gojson::from_slice(bytes)
    }

    /// The number of the device, if a pool can have such a number: dockerd passes over a file with any other
    /// (`deviceset.go: maxDeviceID`).
    #[must_use]
    pub fn thin_id(&self) -> Option<ThinId> {
        thin_id(self.id)
    }
}

impl TransactionFile {
    /// The number of the device, if a pool can have such a number.
    pub(crate) fn thin_id(&self) -> Option<ThinId> {
        thin_id(self.id)
    }
}

impl DeviceSetFile {
    /// The number that was to be given next, if a pool can have such a number.
    pub(crate) fn next_id(&self) -> Option<ThinId> {
        thin_id(self.next)
    }
}

fn thin_id(number: i64) -> Option<ThinId> {
    u64::try_from(number).ok().and_then(ThinId::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_decoded() {
        let file = br#"{"device_id":7,"size":536870912,"transaction_id":8,"initialized":false,"deleted":true}"#;
        let device = DeviceFile::decode(file).unwrap();
        assert_eq!((device.thin_id(), device.size, device.transaction), (ThinId::new(7), 536_870_912, 8));
        assert!(!device.initialized && device.deleted);
        assert_eq!(DeviceFile::decode(br#"{"device_id":16777216}"#).unwrap().thin_id(), None);
        assert!(DeviceFile::decode(b"").is_err());
    }

    /// Files that dockerd wrote.
    #[test]
    fn files_are_written_as_dockerd_writes_them() {
        let device = br#"{"device_id":7,"size":536870912,"transaction_id":8,"initialized":false,"deleted":false}"#;
        assert_eq!(encode(&DeviceFile::decode(device).unwrap()), device);
        let transaction = br#"{"open_transaction_id":1,"device_hash":"","device_id":1}"#;
        assert_eq!(encode(&gojson::from_slice::<TransactionFile>(transaction).unwrap()), transaction);
        let setup = br#"{"Device":"/dev/vdd","ThinpPercent":0,"ThinpMetaPercent":0,"AutoExtendPercent":0,"AutoExtendThreshold":0}"#;
        assert_eq!(encode(&gojson::from_slice::<SetupFile>(setup).unwrap()), setup);
        let set = br#"{"next_device_id":10,"BaseDeviceUUID":"40419af9-","BaseDeviceFilesystem":"xfs"}"#;
        assert_eq!(encode(&gojson::from_slice::<DeviceSetFile>(set).unwrap()), set);
    }

    /// Five whole directories that dockerd wrote, two of them cut off by a loss of power.
    #[test]
    fn directories_of_dockerd_are_written_as_they_were() {
        let lines = std::fs::read_to_string(testkit::testdata("devicemapper/metadata.txt")).unwrap();
        let (mut directories, mut devices) = (std::collections::BTreeSet::new(), 0);
        for line in lines.lines() {
            let mut words = line.splitn(3, ' ');
            let [directory, name, content] = std::array::from_fn(|_| words.next().unwrap());
            directories.insert(directory);
            let bytes = content.as_bytes();
            let written = match name {
                TRANSACTION => encode(&gojson::from_slice::<TransactionFile>(bytes).unwrap()),
                DEVICE_SET => encode(&gojson::from_slice::<DeviceSetFile>(bytes).unwrap()),
                _ => {
                    let device = DeviceFile::decode(bytes).unwrap();
                    devices += 1;
                    assert_eq!(device.initialized, name == BASE, "{line}");
                    encode(&device)
                }
            };
            assert_eq!(String::from_utf8(written).unwrap(), content, "{line}");
        }
        assert_eq!((directories.len(), devices), (5, 34));
    }
}
