//! `devicemapper/metadata/<cache id>`: which thin device holds a layer.
//!
//! dockerd does not start with a file that it cannot decode. Follows moby v20.10.24
//! `daemon/graphdriver/devmapper/deviceset.go: devInfo, loadMetadata`.

use super::gojson::{self, DecodeError};
use crate::go_struct;

/// The directory of these files in the driver's own.
pub const DEVICES: &str = "metadata";

/// The file of the device that all layers without a parent were made from.
pub const BASE: &str = "base";

/// Bytes of the largest file that is read. Docker has no limit of its own; its files have about 100.
pub(crate) const MAX_DEVICE: usize = 64 << 10;

/// The largest number of a thin device (`deviceset.go: maxDeviceID`).
const MAX_ID: i64 = 0xff_ffff;

go_struct! {
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

impl DeviceFile {
    /// Decodes the content of a file.
    ///
    /// # Errors
    /// [`DecodeError`]
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        gojson::from_slice(bytes)
    }

    /// The number of the device, if a pool can have such a one: dockerd passes over a file with another.
    #[must_use]
    pub fn thin_id(&self) -> Option<u64> {
        (0..=MAX_ID).contains(&self.id).then_some(self.id.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_decoded() {
        let file = br#"{"device_id":7,"size":536870912,"transaction_id":8,"initialized":false,"deleted":true}"#;
        let device = DeviceFile::decode(file).unwrap();
        assert_eq!((device.thin_id(), device.size, device.transaction), (Some(7), 536_870_912, 8));
        assert!(!device.initialized && device.deleted);
        assert_eq!(DeviceFile::decode(br#"{"device_id":16777216}"#).unwrap().thin_id(), None);
        assert!(DeviceFile::decode(b"").is_err());
    }
}
