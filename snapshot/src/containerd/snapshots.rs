//! `metadata.db` of a snapshotter: which snapshot is in which directory.
//!
//! ```text
//! v1/snapshots/<namespace>/<number>/<key>/    one bucket, its name with slashes
//!   id       the directory below snapshots/, as a varint
//!   kind     one byte: 1 view, 2 active (somebody writes to it), 3 committed
//!   parent   the name of the bucket of the snapshot below
//!   size     of a committed one: the blocks of its files, in bytes, as a signed varint
//! v1/parents/<id of the one below> 00 <id>    the name of the bucket
//! ```
//!
//! Follows containerd v2.1.9 `core/snapshots/storage/bolt.go`; the key of a container's own snapshot is its id.

use std::collections::{BTreeMap, BTreeSet};

use bolt::{Bolt, BoltError, Bucket, BucketEntry};

use super::metadata::{number, unsigned};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::schema::database;

/// The database, in the snapshotter's directory.
pub(crate) const FILE: &str = "metadata.db";

/// What a snapshot is for (`core/snapshots/snapshotter.go`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Kind {
    /// It is shown, and nobody writes to it.
    View,
    /// Somebody writes to it.
    Active,
    /// It is finished, and others may stand on it.
    Committed,
    /// Its record does not say.
    #[default]
    Unknown,
}

impl From<&[u8]> for Kind {
    fn from(written: &[u8]) -> Self {
        match written {
            [1] => Self::View,
            [2] => Self::Active,
            [3] => Self::Committed,
            _ => Self::Unknown,
        }
    }
}

/// What the snapshotter knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshots {
    pub(crate) by_name: BTreeMap<String, Snapshot>,
    /// The number that was given last to a directory.
    pub(crate) sequence: u64,
    /// The numbers of snapshots, and of those that are listed as standing on each.
    pub(crate) listed: BTreeSet<(u64, u64)>,
}

/// One snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Its directory below `snapshots`.
    pub(crate) id: u64,
    /// What it is for.
    pub(crate) kind: Kind,
    /// The name of the snapshot below.
    pub(crate) parent: Option<String>,
    /// Bytes of the blocks of its files, where it is committed.
    pub(crate) size: u64,
}

impl Snapshot {
    /// The directory as the driver knows it.
    pub(crate) fn cache_id(&self) -> CacheId {
        self.id.to_string().parse().expect("a number is a plain name")
    }
}

impl Snapshots {
    /// Reads the database of a snapshotter; empty if there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) fn read(snapshotter: &Dir) -> Result<Self, StoreError> {
        Ok(database::read_all(snapshotter, FILE, Self::of_database)?.unwrap_or_default())
    }

    /// What a database says.
    ///
    /// # Errors
    /// [`BoltError`]
    pub(crate) fn of_database(bolt: &Bolt<'_>) -> Result<Self, BoltError> {
        let mut found = Self::default();
        let Some(version) = bolt.root().bucket(b"v1")? else { return Ok(found) };
        let Some(snapshots) = version.bucket(b"snapshots")? else { return Ok(found) };
        found.sequence = snapshots.sequence();
        for entry in &snapshots {
            if let BucketEntry::Bucket(name, bucket) = entry? {
                found.by_name.insert(String::from_utf8_lossy(&name).into_owned(), snapshot(&bucket)?);
            }
        }
        for entry in version.bucket(b"parents")?.iter().flatten() {
            if let BucketEntry::Value(key, _) = entry?
                && let Some(pair) = pair(&key)
            {
                found.listed.insert(pair);
            }
        }
        Ok(found)
    }
}

/// The two numbers of a key of `parents`: varints with a zero between them.
fn pair(key: &[u8]) -> Option<(u64, u64)> {
    let end = key.iter().position(|byte| byte & 0x80 == 0)?;
    let (parent, rest) = key.split_at_checked(end + 1)?;
    let child = rest.strip_prefix(&[0])?;
    Some((unsigned(parent), unsigned(child)))
}

fn snapshot(bucket: &Bucket<'_>) -> Result<Snapshot, BoltError> {
    let mut snapshot = Snapshot::default();
    for entry in bucket {
        let BucketEntry::Value(key, value) = entry? else { continue };
        match &*key {
            b"id" => snapshot.id = unsigned(&value),
            b"kind" => snapshot.kind = Kind::from(&*value),
            b"parent" if !value.is_empty() => snapshot.parent = Some(String::from_utf8_lossy(&value).into_owned()),
            b"size" => snapshot.size = number(&value),
            _ => {}
        }
    }
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key is one that containerd 2.1.9 wrote for the parent 21 and the child 22.
    #[test]
    fn pairs_are_containerds() {
        assert_eq!(pair(&[0x15, 0x00, 0x16]), Some((21, 22)));
        assert_eq!(pair(&[0xac, 0x02, 0x00, 0xad, 0x02]), Some((300, 301)));
        for key in [&[][..], &[0x80], &[0x15], &[0x15, 0x16]] {
            assert_eq!(pair(key), None, "{key:?}");
        }
    }
}
