//! `metadata.db` of a snapshotter of containerd's: which snapshot is in which directory.
//!
//! ```text
//! v1/snapshots/<namespace>/<number>/<key>/    one bucket, its name with slashes
//!   id       the directory below snapshots/, as a varint
//!   kind     one byte: 1 view, 2 active (somebody writes to it), 3 committed
//!   parent   the name of the bucket of the snapshot below
//!   size     of a committed one: the blocks of its files, in bytes, as a signed varint
//! ```
//!
//! Follows containerd v2.1.9 `core/snapshots/storage/bolt.go`; the key of a container's own snapshot is its id.

use std::collections::BTreeMap;

use bolt::{Bolt, BoltError, Bucket, BucketEntry};

use super::database;
use crate::dir::Dir;
use crate::error::StoreError;

/// The database, in the snapshotter's directory.
const FILE: &str = "metadata.db";

const ACTIVE: u8 = 2;

/// The longest chain of parents that is followed, so that a cycle in a damaged database comes to an end.
const MAX_DEPTH: usize = 1000;

/// What the snapshotter knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ContainerdSnapshots {
    by_name: BTreeMap<String, ContainerdSnapshot>,
}

/// One snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct ContainerdSnapshot {
    id: u64,
    active: bool,
    parent: Option<String>,
    size: u64,
}

impl ContainerdSnapshots {
    /// Reads the database of a snapshotter; empty if there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) fn read(snapshotter: &Dir) -> Result<Self, StoreError> {
        let invalid = |source| StoreError::Database { path: snapshotter.join(FILE), source };
        let read = database::read(snapshotter, FILE, by_name)?;
        Ok(Self { by_name: read.transpose().map_err(invalid)?.unwrap_or_default() })
    }

    /// The directory that a container writes to, as names below the snapshotter's, and the bytes of all snapshots below
    /// it.
    #[must_use]
    pub(crate) fn of_container(&self, id: &str) -> Option<([String; 3], u64)> {
        let own = |name: &str| name.rsplit_once('/').is_some_and(|(_, key)| key == id);
        let (_, snapshot) = self.by_name.iter().find(|(name, snapshot)| snapshot.active && own(name))?;
        let below = std::iter::successors(self.below(snapshot), |snapshot| self.below(snapshot));
        let size = below.take(MAX_DEPTH).map(|snapshot| snapshot.size).fold(0, u64::saturating_add);
        Some((["snapshots".into(), snapshot.id.to_string(), "fs".into()], size))
    }

    fn below(&self, snapshot: &ContainerdSnapshot) -> Option<&ContainerdSnapshot> {
        self.by_name.get(snapshot.parent.as_ref()?)
    }
}

fn by_name(bolt: &Bolt<'_>) -> Result<BTreeMap<String, ContainerdSnapshot>, BoltError> {
    let mut found = BTreeMap::new();
    let Some(version) = bolt.root().bucket(b"v1")? else { return Ok(found) };
    let Some(snapshots) = version.bucket(b"snapshots")? else { return Ok(found) };
    for entry in &snapshots {
        if let BucketEntry::Bucket(name, bucket) = entry? {
            found.insert(String::from_utf8_lossy(&name).into_owned(), snapshot(&bucket)?);
        }
    }
    Ok(found)
}

fn snapshot(bucket: &Bucket<'_>) -> Result<ContainerdSnapshot, BoltError> {
    let mut snapshot = ContainerdSnapshot::default();
    for entry in bucket {
        let BucketEntry::Value(key, value) = entry? else { continue };
        match &*key {
            b"id" => snapshot.id = varint(&value),
            b"kind" => snapshot.active = *value == [ACTIVE],
            b"parent" => snapshot.parent = Some(String::from_utf8_lossy(&value).into_owned()),
            // Go writes a signed number in zigzag form: the lowest bit is the sign.
            b"size" => snapshot.size = varint(&value) >> 1,
            _ => {}
        }
    }
    Ok(snapshot)
}

/// Decodes a number as Go's `binary.Uvarint` does; if the bytes end too early, the digits so far count.
fn varint(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().zip((0_u32..64).step_by(7));
    digits.fold(0, |number, (byte, shift)| number | (u64::from(byte & 0x7f) << shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured: containerd 2.1.9 wrote these for the sizes that `docker system df -v` showed.
    #[test]
    fn numbers_are_gos() {
        assert_eq!(varint(&[0x80, 0xc0, 0xf3, 0x01]) >> 1, 1_994_752);
        assert_eq!((varint(&[0xfe, 0x0a]) >> 1, varint(&[0xcc, 0x03]) >> 1, varint(&[0]) >> 1), (703, 230, 0));
        assert_eq!((varint(&[0x16]), varint(&[0xac, 0x02])), (22, 300));
    }
}
