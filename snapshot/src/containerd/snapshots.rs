//! `metadata.db` of a snapshotter: which snapshot is in which directory.
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

use super::metadata::{number, unsigned};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::schema::database;

/// The database, in the snapshotter's directory.
pub(super) const FILE: &str = "metadata.db";

const ACTIVE: u8 = 2;

/// What the snapshotter knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshots {
    pub(crate) by_name: BTreeMap<String, Snapshot>,
}

/// One snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// Its directory below `snapshots`.
    pub(crate) id: u64,
    /// Whether somebody writes to it.
    pub(crate) active: bool,
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
        Ok(Self { by_name: database::read_all(snapshotter, FILE, by_name)?.unwrap_or_default() })
    }
}

fn by_name(bolt: &Bolt<'_>) -> Result<BTreeMap<String, Snapshot>, BoltError> {
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

fn snapshot(bucket: &Bucket<'_>) -> Result<Snapshot, BoltError> {
    let mut snapshot = Snapshot::default();
    for entry in bucket {
        let BucketEntry::Value(key, value) = entry? else { continue };
        match &*key {
            b"id" => snapshot.id = unsigned(&value),
            b"kind" => snapshot.active = *value == [ACTIVE],
            b"parent" if !value.is_empty() => snapshot.parent = Some(String::from_utf8_lossy(&value).into_owned()),
            b"size" => snapshot.size = number(&value),
            _ => {}
        }
    }
    Ok(snapshot)
}
