//! The two databases of a new store: `meta.db`, and that of the snapshotter.
//!
//! A snapshot has a name `moby/<number>/<key>` in both. containerd hands out two such numbers for each committed snapshot, one
//! while it is written; so do we, and both databases say which number was the last.

use std::collections::BTreeMap;

use bolt::write::{NewBucket, WriteError};
use jiff::Timestamp;
use layerfs::Digest;

use super::super::NAMESPACE;
use super::super::metadata::Target;
use super::SNAPSHOTTER;
use super::encode;
use crate::schema::time::Time;

/// containerd's version of the layout of `meta.db` (v2.1.9 `core/metadata/db.go: dbVersion`).
const VERSION: u64 = 4;

/// Whether somebody writes to a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// A container does.
    Active,
    /// Nobody does: it is a layer.
    Committed,
}

/// A snapshot that is to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct NewSnapshot<'s> {
    /// The name of its directory, from 1 on.
    pub number: u64,
    /// A chain id, or a container's id.
    pub key: &'s str,
    /// The key of the snapshot below.
    pub parent: Option<&'s str>,
    /// Whether somebody writes to it.
    pub kind: SnapshotKind,
}

/// A name of an image that is to be recorded.
#[derive(Debug, Clone, Copy)]
pub struct NewImage<'s> {
    /// The whole name: `docker.io/library/alpine:3`, or `moby-dangling@<digest>` for none.
    pub name: &'s str,
    /// The manifest, or an index.
    pub target: &'s Target,
    /// Annotations of the descriptor of the target.
    pub annotations: &'s BTreeMap<String, String>,
    /// Labels of the record.
    pub labels: &'s BTreeMap<String, String>,
}

/// What is recorded so far.
#[derive(Debug)]
pub(super) struct Records {
    now: Time,
    /// The bucket of the namespace.
    namespace: NewBucket,
    blobs: BTreeMap<Digest, NewBucket>,
    /// The snapshotter's buckets `snapshots` and `parents`.
    snapshots: NewBucket,
    parents: NewBucket,
    /// By key: a snapshot's name in the snapshotter's database, and its number.
    known: BTreeMap<String, (String, u64)>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            now: Timestamp::now().into(),
            namespace: NewBucket::default(),
            blobs: BTreeMap::new(),
            snapshots: NewBucket::default(),
            parents: NewBucket::default(),
            known: BTreeMap::new(),
        }
    }
}

impl Records {
    fn set_times(&self, record: &mut NewBucket) {
        record.put("createdat", encode::time(self.now));
        record.put("updatedat", encode::time(self.now));
    }

    pub(super) fn has_blob(&self, digest: Digest) -> bool {
        self.blobs.contains_key(&digest)
    }

    pub(super) fn add_blob(&mut self, digest: Digest, size: u64, labels: impl Iterator<Item = (String, String)>) {
        let mut record = self.blobs.remove(&digest).unwrap_or_default();
        self.set_times(&mut record);
        record.put("size", encode::signed(size));
        for (label, value) in labels {
            record.bucket("labels").put(label, value);
        }
        self.blobs.insert(digest, record);
    }

    pub(super) fn add_image(&mut self, image: &NewImage<'_>) {
        let mut record = NewBucket::default();
        self.set_times(&mut record);
        let target = record.bucket("target");
        target.put("digest", image.target.digest.to_string());
        target.put("mediatype", image.target.media_type.clone());
        target.put("size", encode::signed(image.target.size));
        for (key, value) in image.annotations {
            record.bucket("annotations").put(key.clone(), value.clone());
        }
        for (label, value) in image.labels {
            record.bucket("labels").put(label.clone(), value.clone());
        }
        *self.namespace.bucket("images").bucket(image.name) = record;
    }

    /// `size` has the bytes and inodes of a committed one.
    pub(super) fn add_snapshot(&mut self, snapshot: &NewSnapshot<'_>, size: Option<(u64, u64)>) {
        let NewSnapshot { number, key, parent, kind } = *snapshot;
        let name = format!("{NAMESPACE}/{}/{key}", number * 2);
        let mut record = NewBucket::default();
        self.set_times(&mut record);
        record.put("name", name.clone());
        if let Some(parent) = parent {
            record.put("parent", parent);
        }
        let mut own = NewBucket::default();
        self.set_times(&mut own);
        own.put("id", encode::unsigned(number));
        own.put(
            "kind",
            [match kind {
                SnapshotKind::Active => 2,
                SnapshotKind::Committed => 3,
            }],
        );
        if let Some((bytes, inodes)) = size {
            own.put("size", encode::signed(bytes));
            own.put("inodes", encode::signed(inodes));
        }
        let keys = self.namespace.bucket("snapshots").bucket(SNAPSHOTTER);
        if let Some(parent) = parent {
            // Both sides know of each other, so that containerd removes no parent before its child.
            let (parent_name, parent_number) = self.known.get(parent).expect("parents are recorded first");
            keys.bucket(parent).bucket("children").put(key, "");
            own.put("parent", parent_name.clone());
            let link = [encode::unsigned(*parent_number), vec![0], encode::unsigned(number)].concat();
            self.parents.put(link, name.clone());
        }
        *keys.bucket(key) = record;
        *self.snapshots.bucket(name.clone()) = own;
        self.known.insert(key.to_owned(), (name, number));
    }

    pub(super) fn add_lease(&mut self, id: &str, snapshots: &[&str]) {
        let now = encode::time(self.now);
        let lease = self.namespace.bucket("leases").bucket(id);
        lease.put("createdat", now);
        for key in snapshots {
            lease.bucket("snapshots").bucket(SNAPSHOTTER).put(*key, "");
        }
    }

    /// The contents of `meta.db`, and of the snapshotter's database if there is a snapshot.
    pub(super) fn into_databases(mut self) -> Result<(Vec<u8>, Option<Vec<u8>>), WriteError> {
        let last = self.known.values().map(|(_, number)| *number).max().unwrap_or_default();
        if last > 0 {
            self.namespace.bucket("snapshots").bucket(SNAPSHOTTER).set_sequence(last * 2);
        }
        for (digest, record) in self.blobs {
            *self.namespace.bucket("content").bucket("blob").bucket(digest.to_string()) = record;
        }
        let mut records = NewBucket::default();
        let version = records.bucket("v1");
        version.put("version", encode::signed(VERSION));
        *version.bucket(NAMESPACE) = self.namespace;
        let mut own = NewBucket::default();
        self.snapshots.set_sequence(last);
        *own.bucket("v1").bucket("snapshots") = self.snapshots;
        *own.bucket("v1").bucket("parents") = self.parents;
        let own = (last > 0).then(|| own.into_database()).transpose()?;
        Ok((records.into_database()?, own))
    }
}
