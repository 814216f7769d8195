//! What the two databases of a store get: `meta.db`, and that of the snapshotter.
//!
//! A snapshot has a name `moby/<number>/<key>` in both. containerd hands out two such numbers for each committed snapshot, one
//! while it is written; so do we, and both databases say which number was the last.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use bolt::write::{NewBucket, WriteError};
use jiff::Timestamp;
use layerfs::Digest;

use super::super::NAMESPACE;
use super::super::images::DANGLING;
use super::super::metadata::{ImageRecord, Target};
use super::SNAPSHOTTER;
use super::encode;
use crate::schema::time::Time;

/// containerd's version of the layout of `meta.db` (v2.1.9 `core/metadata/db.go: dbVersion`).
pub(super) const VERSION: u64 = 4;

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
    /// By digest: what is new in a blob's record, and its length.
    blobs: BTreeMap<Digest, (NewBucket, u64)>,
    /// The blobs among these that had a record before.
    labelled: BTreeSet<Digest>,
    /// The snapshotter's buckets `snapshots` and `parents`.
    snapshots: NewBucket,
    parents: NewBucket,
    /// By key: a snapshot's name in the snapshotter's database, and its number.
    known: BTreeMap<String, (String, u64)>,
    /// The numbers that an existing store has handed out last, to directories and to names of snapshots.
    last_number: u64,
    last_name: u64,
    /// The number of the last new snapshot.
    added: Option<u64>,
    /// The names that an existing store has, and what they lead to, with the changes so far.
    names: BTreeMap<String, Option<Digest>>,
    /// What has lost a name: it may need the one that stands for none.
    unnamed: BTreeMap<Digest, ImageRecord>,
    /// The names of an existing store as they are recorded.
    images: BTreeMap<String, ImageRecord>,
}

impl Default for Records {
    fn default() -> Self {
        Self {
            now: Timestamp::now().into(),
            namespace: NewBucket::default(),
            blobs: BTreeMap::new(),
            labelled: BTreeSet::new(),
            snapshots: NewBucket::default(),
            parents: NewBucket::default(),
            known: BTreeMap::new(),
            last_number: 0,
            last_name: 0,
            added: None,
            names: BTreeMap::new(),
            unnamed: BTreeMap::new(),
            images: BTreeMap::new(),
        }
    }
}

impl Records {
    fn set_times(&self, record: &mut NewBucket) {
        record.put("createdat", encode::time(self.now));
        record.put("updatedat", encode::time(self.now));
    }

    /// Additions to a store with these snapshots and images, that has handed out these numbers.
    pub(super) fn beside(
        known: BTreeMap<String, (String, u64)>,
        (last_number, last_name): (u64, u64),
        images: &BTreeMap<String, ImageRecord>,
    ) -> Self {
        let target = |record: &ImageRecord| record.target.as_ref().map(|target| target.digest);
        let names = images.iter().map(|(name, record)| (name.clone(), target(record))).collect();
        Self { known, last_number, last_name, names, images: images.clone(), ..Self::default() }
    }

    pub(super) fn first_number(&self) -> u64 {
        self.last_number + 1
    }

    /// The length of a blob that is added.
    pub(super) fn new_blob(&self, digest: Digest) -> Option<u64> {
        self.blobs.get(&digest).filter(|_| !self.labelled.contains(&digest)).map(|(_, size)| *size)
    }

    /// The blobs that are added.
    pub(super) fn new_blobs(&self) -> impl Iterator<Item = Digest> {
        self.blobs.keys().filter(|digest| !self.labelled.contains(digest)).copied()
    }

    /// The numbers of the snapshots that are added.
    pub(super) fn new_snapshots(&self) -> RangeInclusive<u64> {
        self.first_number()..=self.added.unwrap_or(self.last_number)
    }

    /// Adds labels to the record that a blob has.
    pub(super) fn label_blob(&mut self, digest: Digest, size: u64, labels: impl Iterator<Item = (String, String)>) {
        let (record, _) = self.blobs.entry(digest).or_insert_with(|| (NewBucket::default(), size));
        for (label, value) in labels {
            record.put("updatedat", encode::time(self.now));
            record.bucket("labels").put(label, value);
        }
        self.labelled.insert(digest);
    }

    pub(super) fn add_blob(&mut self, digest: Digest, size: u64, labels: impl Iterator<Item = (String, String)>) {
        let (mut record, _) = self.blobs.remove(&digest).unwrap_or_default();
        self.set_times(&mut record);
        record.put("size", encode::signed(size));
        for (label, value) in labels {
            record.bucket("labels").put(label, value);
        }
        self.blobs.insert(digest, (record, size));
    }

    pub(super) fn add_image(&mut self, image: &NewImage<'_>) {
        let digest = image.target.digest;
        if let Some(before) = self.images.get(image.name) {
            let target = before.target.as_ref().map(|target| target.digest);
            // It is as it was.
            if target == Some(digest) && self.names.get(image.name) == Some(&target) {
                return;
            }
            self.unnamed.extend(target.map(|target| (target, before.clone())));
        }
        self.names.insert(image.name.to_owned(), Some(digest));
        let mut record = NewBucket::replacing();
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
        let none = format!("{DANGLING}{digest}");
        if none != image.name && self.names.contains_key(&none) {
            self.remove_image(&none);
        }
    }

    pub(super) fn remove_image(&mut self, name: &str) {
        self.names.remove(name);
        self.namespace.bucket("images").remove(name);
    }

    /// Gives what has lost its last name the name that stands for none (moby v28.5.2 `daemon/containerd/image_delete.go:
    /// softImageDelete`).
    fn name_what_has_none(&mut self) {
        for (digest, record) in std::mem::take(&mut self.unnamed) {
            if self.names.values().any(|target| *target == Some(digest)) {
                continue;
            }
            let Some(target) = &record.target else { continue };
            let name = format!("{DANGLING}{digest}");
            let (annotations, labels) = (&record.annotations, &record.labels);
            self.add_image(&NewImage { name: &name, target, annotations, labels });
        }
    }

    /// `size` has the bytes and inodes of a committed one.
    pub(super) fn add_snapshot(&mut self, snapshot: &NewSnapshot<'_>, size: Option<(u64, u64)>) {
        let NewSnapshot { number, key, parent, kind } = *snapshot;
        let name = format!("{NAMESPACE}/{}/{key}", self.last_name + (number - self.last_number) * 2);
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
            self.parents.put(encode::link(*parent_number, number), name.clone());
        }
        *keys.bucket(key) = record;
        *self.snapshots.bucket(name.clone()) = own;
        self.known.insert(key.to_owned(), (name, number));
        self.added = self.added.max(Some(number));
    }

    pub(super) fn add_lease(&mut self, id: &str, snapshots: &[&str]) {
        let now = encode::time(self.now);
        let lease = self.namespace.bucket("leases").bucket(id);
        lease.put("createdat", now);
        for key in snapshots {
            lease.bucket("snapshots").bucket(SNAPSHOTTER).put(*key, "");
        }
    }

    /// What `meta.db` gets, and the snapshotter's database if there is a snapshot.
    pub(super) fn into_changes(mut self) -> (NewBucket, Option<NewBucket>) {
        self.name_what_has_none();
        if let Some(last) = self.added {
            let names = self.last_name + (last - self.last_number) * 2;
            self.namespace.bucket("snapshots").bucket(SNAPSHOTTER).set_sequence(names);
            self.snapshots.set_sequence(last);
        }
        for (digest, (record, _)) in self.blobs {
            if !record.is_empty() {
                *self.namespace.bucket("content").bucket("blob").bucket(digest.to_string()) = record;
            }
        }
        let mut records = NewBucket::default();
        if !self.namespace.is_empty() {
            *records.bucket("v1").bucket(NAMESPACE) = self.namespace;
        }
        let own = self.added.map(|_| {
            let mut own = NewBucket::default();
            *own.bucket("v1").bucket("snapshots") = self.snapshots;
            *own.bucket("v1").bucket("parents") = self.parents;
            own
        });
        (records, own)
    }

    /// The contents of `meta.db`, and of the snapshotter's database if there is a snapshot.
    pub(super) fn into_databases(self) -> Result<(Vec<u8>, Option<Vec<u8>>), WriteError> {
        let (mut records, own) = self.into_changes();
        records.bucket("v1").put("version", encode::signed(VERSION));
        let own = own.map(NewBucket::into_database).transpose()?;
        Ok((records.into_database()?, own))
    }
}

/// What reserves the numbers of snapshots that are added, in both databases: nobody else gets them, whatever becomes of these snapshots.
pub(super) fn reserve(last_number: u64, last_name: u64) -> (NewBucket, NewBucket) {
    let (mut records, mut own) = (NewBucket::default(), NewBucket::default());
    records.bucket("v1").bucket(NAMESPACE).bucket("snapshots").bucket(SNAPSHOTTER).set_sequence(last_name);
    own.bucket("v1").bucket("snapshots").set_sequence(last_number);
    (records, own)
}
