//! The records that containerd's garbage collector looks at, of all namespaces.
//!
//! ```text
//! v1/<namespace>/
//!   leases/<id>/      labels/  content/<digest>  snapshots/<snapshotter>/<key>  ingests/<ref>  images/<name>
//!   images/<name>/    labels/  target/digest
//!   content/blob/<digest>/labels/      content/ingests/<ref>/{expireat, expected}
//!   snapshots/<snapshotter>/<key>/     labels/  parent
//!   containers/<id>/  labels/  snapshotter  snapshotKey
//!   sandboxes/<id>/   labels/
//! ```
//!
//! Of labels only those of the collector are kept. Follows containerd v2.1.9 `core/metadata/buckets.go`.

use std::collections::BTreeMap;

use bolt::{Bolt, BoltError, Bucket, BucketEntry};
use jiff::Timestamp;

use super::Node;
use crate::containerd::metadata::{FILE, each_bucket, text};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::database;
use crate::schema::time::Time;

/// How the collector's labels begin.
const OURS: &[u8] = b"containerd.io/gc.";

/// Labels by their names.
pub(crate) type Labels = BTreeMap<String, String>;

/// The records of all namespaces, by their names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Records(pub(crate) BTreeMap<String, NamespaceRecords>);

/// The records of one namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NamespaceRecords {
    pub(crate) leases: BTreeMap<String, LeaseRecord>,
    pub(crate) images: BTreeMap<String, NameRecord>,
    /// By digest.
    pub(crate) blobs: BTreeMap<String, Labels>,
    /// By snapshotter and key.
    pub(crate) snapshots: BTreeMap<(String, String), SnapshotNode>,
    /// By snapshotter, the number that was given last to a snapshot's name.
    pub(crate) sequences: BTreeMap<String, u64>,
    pub(crate) containers: BTreeMap<String, ContainerRecord>,
    pub(crate) sandboxes: BTreeMap<String, Labels>,
    pub(crate) ingests: BTreeMap<String, IngestRecord>,
}

/// A lease.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct LeaseRecord {
    pub(crate) labels: Labels,
    pub(crate) lists: Vec<Node>,
}

/// A name of an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct NameRecord {
    pub(crate) labels: Labels,
    pub(crate) target: Option<String>,
}

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct SnapshotNode {
    pub(crate) labels: Labels,
    pub(crate) parent: Option<String>,
    /// Its name in the snapshotter's database.
    pub(crate) name: String,
    /// The keys that the record has as its children's.
    pub(crate) children: Vec<String>,
}

/// A container that containerd runs.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct ContainerRecord {
    pub(crate) labels: Labels,
    /// Snapshotter and key.
    pub(crate) snapshot: Option<(String, String)>,
}

/// A blob that is being written.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct IngestRecord {
    pub(crate) expires: Option<Timestamp>,
    pub(crate) expected: Option<String>,
    /// The name that the directory is made of in which the blob is being written.
    pub(crate) written_as: Option<String>,
}

impl Records {
    /// Reads the database in `dir`; nothing if there is none.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(crate) fn read(dir: &Dir) -> Result<Self, StoreError> {
        Ok(database::read_all(dir, FILE, Self::of_database)?.unwrap_or_default())
    }

    /// What a database says.
    ///
    /// # Errors
    /// [`BoltError`]
    pub(crate) fn of_database(bolt: &Bolt<'_>) -> Result<Self, BoltError> {
        let mut found = Self::default();
        let Some(version) = bolt.root().bucket(b"v1")? else { return Ok(found) };
        each_bucket(&version, |name, bucket| {
            found.0.insert(text(name), namespace(&bucket)?);
            Ok(())
        })?;
        Ok(found)
    }
}

fn namespace(bucket: &Bucket<'_>) -> Result<NamespaceRecords, BoltError> {
    let mut found = NamespaceRecords::default();
    each_bucket(bucket, |kind, records| match kind {
        b"leases" => each_bucket(&records, |id, record| {
            found.leases.insert(text(id), lease(&record)?);
            Ok(())
        }),
        b"images" => each_bucket(&records, |name, record| {
            let target = record.bucket(b"target")?.map_or(Ok(None), |target| value(&target, b"digest"))?;
            found.images.insert(text(name), NameRecord { labels: labels(&record)?, target });
            Ok(())
        }),
        b"content" => each_bucket(&records, |kind, records| match kind {
            b"blob" => each_bucket(&records, |digest, record| {
                found.blobs.insert(text(digest), labels(&record)?);
                Ok(())
            }),
            b"ingests" => each_bucket(&records, |name, record| {
                let expires = record.get(b"expireat")?.and_then(|time| Time::from_go_binary(&time)?.moment());
                let expected = value(&record, b"expected")?;
                let written_as = value(&record, b"ref")?;
                found.ingests.insert(text(name), IngestRecord { expires, expected, written_as });
                Ok(())
            }),
            _ => Ok(()),
        }),
        b"snapshots" => each_bucket(&records, |snapshotter, records| {
            found.sequences.insert(text(snapshotter), records.sequence());
            each_bucket(&records, |key, record| {
                found.snapshots.insert((text(snapshotter), text(key)), snapshot(&record)?);
                Ok(())
            })
        }),
        b"containers" => each_bucket(&records, |id, record| {
            let snapshot = value(&record, b"snapshotter")?.zip(value(&record, b"snapshotKey")?);
            found.containers.insert(text(id), ContainerRecord { labels: labels(&record)?, snapshot });
            Ok(())
        }),
        b"sandboxes" => each_bucket(&records, |id, record| {
            found.sandboxes.insert(text(id), labels(&record)?);
            Ok(())
        }),
        _ => Ok(()),
    })?;
    Ok(found)
}

fn lease(record: &Bucket<'_>) -> Result<LeaseRecord, BoltError> {
    let mut lists = Vec::new();
    each_bucket(record, |kind, listed| match kind {
        b"content" => keys(&listed, |digest| lists.push(Node::Blob(digest))),
        b"images" => keys(&listed, |name| lists.push(Node::Image(name))),
        b"ingests" => keys(&listed, |name| lists.push(Node::Ingest(name))),
        b"snapshots" => each_bucket(&listed, |snapshotter, listed| {
            keys(&listed, |key| lists.push(Node::Snapshot(text(snapshotter), key)))
        }),
        _ => Ok(()),
    })?;
    Ok(LeaseRecord { labels: labels(record)?, lists })
}

fn snapshot(record: &Bucket<'_>) -> Result<SnapshotNode, BoltError> {
    let mut found = SnapshotNode { labels: labels(record)?, ..SnapshotNode::default() };
    found.parent = value(record, b"parent")?;
    found.name = value(record, b"name")?.unwrap_or_default();
    if let Some(children) = record.bucket(b"children")? {
        keys(&children, |key| found.children.push(key))?;
    }
    Ok(found)
}

/// A text; `None` for an empty one.
fn value(bucket: &Bucket<'_>, key: &[u8]) -> Result<Option<String>, BoltError> {
    Ok(bucket.get(key)?.filter(|value| !value.is_empty()).map(|value| text(&value)))
}

fn labels(record: &Bucket<'_>) -> Result<Labels, BoltError> {
    let mut found = Labels::new();
    let Some(labels) = record.bucket(b"labels")? else { return Ok(found) };
    for entry in &labels {
        if let BucketEntry::Value(key, value) = entry?
            && key.starts_with(OURS)
        {
            found.insert(text(&key), text(&value));
        }
    }
    Ok(found)
}

fn keys(bucket: &Bucket<'_>, mut each: impl FnMut(String)) -> Result<(), BoltError> {
    for entry in bucket {
        if let BucketEntry::Value(key, _) = entry? {
            each(text(&key));
        }
    }
    Ok(())
}
