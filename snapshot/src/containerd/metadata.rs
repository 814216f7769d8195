//! `meta.db`: what containerd knows in one namespace.
//!
//! ```text
//! v1/<namespace>/
//!   images/<name>/               createdat updatedat target/{digest mediatype size} labels/ annotations/
//!   content/blob/<digest>/       createdat updatedat size
//!   snapshots/<snapshotter>/<key>/   name parent
//! ```
//!
//! Follows containerd v2.1.9 `core/metadata/buckets.go`, `boltutil/helpers.go`. Sizes are Go's signed varints, times Go's
//! binary form; all else is text. Keys that are not known here are passed over.

use std::collections::{BTreeMap, BTreeSet};

use bolt::{Bolt, BoltError, Bucket, BucketEntry};
use layerfs::Digest;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::database;
use crate::schema::time::Time;

/// The database's name in its directory.
pub(crate) const FILE: &str = "meta.db";

/// How the label of a blob begins that names a registry: the rest is its domain, and the value has the repositories.
pub const DISTRIBUTION_SOURCE: &str = "containerd.io/distribution.source.";

/// The records of one namespace.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// Images by their names, as they are written.
    pub images: BTreeMap<String, ImageRecord>,
    /// Blobs, and their lengths in bytes.
    pub blobs: BTreeMap<Digest, u64>,
    /// Snapshots of the snapshotter by their keys: a chain id, or a container's id.
    pub snapshots: BTreeMap<String, SnapshotRecord>,
    /// The number that was given last to the name of a snapshot.
    pub(crate) snapshot_sequence: u64,
    /// Blobs that other namespaces record. All namespaces share the files.
    pub(crate) other_blobs: BTreeSet<Digest>,
    /// The names of the snapshotter's snapshots that other namespaces record.
    pub(crate) other_snapshots: BTreeSet<String>,
}

/// A name of an image.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ImageRecord {
    /// What it names; `None` where the record has no digest that can be read.
    pub target: Option<Target>,
    /// When the name was given first.
    pub created: Time,
    /// When it was given last.
    pub updated: Time,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The annotations of what it names, in the order of their keys.
    pub annotations: BTreeMap<String, String>,
    /// What is wrong with the record.
    pub fault: Option<NameFault>,
}

/// What can be wrong with the record of a name (measured with Docker 28.5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameFault {
    /// A time is none that Go would decode.
    Time,
    /// Nothing is said of what it names.
    NoTarget,
    /// What it names has no digest that could be one.
    NoDigest,
}

impl NameFault {
    /// Whether docker lists no image at all because of it.
    #[must_use]
    pub fn hides_all(self) -> bool {
        self != Self::NoDigest
    }
}

impl std::fmt::Display for NameFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Time => "its time cannot be decoded: docker lists no image at all",
            Self::NoTarget => "it does not say what it names: docker lists no image at all",
            Self::NoDigest => "what it names is no digest: nothing can be done with the name",
        })
    }
}

/// A manifest or an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its digest: the id of the image.
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its length in bytes.
    pub size: u64,
}

/// A snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// Its name in the snapshotter's database.
    pub name: String,
    /// The key of the snapshot below.
    pub parent: Option<String>,
}

impl Metadata {
    /// Reads what the database in `dir` says of a namespace and a snapshotter; nothing if there is no database.
    ///
    /// # Errors
    /// [`StoreError`]
    pub(super) fn read(dir: &Dir, namespace: &str, snapshotter: &str) -> Result<Self, StoreError> {
        let read = database::read_all(dir, FILE, |bolt| Self::of_database(bolt, namespace, snapshotter));
        Ok(read?.unwrap_or_default())
    }
}

/// The namespaces of the database in `dir`, and how many names of images each has; none if there is no database.
///
/// # Errors
/// [`StoreError`]
pub(crate) fn namespaces(dir: &Dir) -> Result<BTreeMap<String, usize>, StoreError> {
    let read = database::read_all(dir, FILE, |bolt| {
        let mut found = BTreeMap::new();
        let Some(version) = bolt.root().bucket(b"v1")? else { return Ok(found) };
        each_bucket(&version, |name, bucket| {
            let images = bucket.bucket(b"images")?.map_or(0, |images| images.iter().count());
            found.insert(text(name), images);
            Ok(())
        })?;
        Ok(found)
    });
    Ok(read?.unwrap_or_default())
}

/// The blobs that dockerd has pulled, of whatever namespace: their labels say from which registry. Where dockerd keeps its images in
/// a storage driver, these are the manifests of what it pulled.
///
/// # Errors
/// [`StoreError`]
pub(super) fn pulled(dir: &Dir) -> Result<BTreeSet<Digest>, StoreError> {
    let read = database::read_all(dir, FILE, |bolt| {
        let mut found = BTreeSet::new();
        let Some(version) = bolt.root().bucket(b"v1")? else { return Ok(found) };
        each_bucket(&version, |_, namespace| {
            let blobs = namespace.bucket(b"content")?.map_or(Ok(None), |content| content.bucket(b"blob"))?;
            let Some(blobs) = blobs else { return Ok(()) };
            each_bucket(&blobs, |digest, record| {
                let labels = record.bucket(b"labels")?.map_or(Ok(BTreeMap::new()), |labels| texts(&labels))?;
                if labels.keys().any(|label| label.starts_with(DISTRIBUTION_SOURCE)) {
                    found.extend(text(digest).parse::<Digest>());
                }
                Ok(())
            })
        })?;
        Ok(found)
    });
    Ok(read?.unwrap_or_default())
}

impl Metadata {
    /// What a database says of a namespace and a snapshotter.
    ///
    /// # Errors
    /// [`BoltError`]
    pub(crate) fn of_database(bolt: &Bolt<'_>, namespace: &str, snapshotter: &str) -> Result<Self, BoltError> {
        let mut found = Self::default();
        let Some(version) = bolt.root().bucket(b"v1")? else { return Ok(found) };
        each_bucket(&version, |name, bucket| {
            if name == namespace.as_bytes() {
                return found.fill(&bucket, snapshotter);
            }
            let mut other = Self::default();
            other.fill(&bucket, snapshotter)?;
            found.other_blobs.extend(other.blobs.into_keys());
            found.other_snapshots.extend(other.snapshots.into_values().map(|record| record.name));
            Ok(())
        })?;
        Ok(found)
    }

    fn fill(&mut self, namespace: &Bucket<'_>, snapshotter: &str) -> Result<(), BoltError> {
        each_bucket(namespace, |kind, bucket| match kind {
            b"images" => each_bucket(&bucket, |name, record| {
                self.images.insert(text(name), image(&record)?);
                Ok(())
            }),
            b"content" => each_bucket(&bucket, |kind, blobs| {
                if kind != b"blob" {
                    return Ok(());
                }
                each_bucket(&blobs, |digest, record| {
                    // A record whose name is no digest means no blob.
                    if let Ok(digest) = text(digest).parse() {
                        self.blobs.insert(digest, blob(&record)?);
                    }
                    Ok(())
                })
            }),
            b"snapshots" => each_bucket(&bucket, |name, records| {
                if name != snapshotter.as_bytes() {
                    return Ok(());
                }
                self.snapshot_sequence = records.sequence();
                each_bucket(&records, |key, record| {
                    self.snapshots.insert(text(key), snapshot(&record)?);
                    Ok(())
                })
            }),
            _ => Ok(()),
        })
    }
}

/// Calls `work` for each bucket in `bucket`.
pub(super) fn each_bucket<'b>(
    bucket: &Bucket<'b>,
    mut work: impl FnMut(&[u8], Bucket<'b>) -> Result<(), BoltError>,
) -> Result<(), BoltError> {
    for entry in bucket {
        if let BucketEntry::Bucket(name, inner) = entry? {
            work(&name, inner)?;
        }
    }
    Ok(())
}

fn image(bucket: &Bucket<'_>) -> Result<ImageRecord, BoltError> {
    let mut record = ImageRecord::default();
    for entry in bucket {
        match entry? {
            BucketEntry::Value(key, value) => {
                let time = match &*key {
                    b"createdat" => &mut record.created,
                    b"updatedat" => &mut record.updated,
                    _ => continue,
                };
                match Time::from_go_binary(&value) {
                    Some(read) => *time = read,
                    None => record.fault = Some(NameFault::Time),
                }
            }
            BucketEntry::Bucket(name, inner) => match &*name {
                b"target" => record.target = target(&inner)?,
                b"labels" => record.labels = texts(&inner)?,
                b"annotations" => record.annotations = texts(&inner)?,
                _ => {}
            },
        }
    }
    if record.target.is_none() && record.fault.is_none() {
        let says_nothing = bucket.bucket(b"target")?.is_none();
        record.fault = Some(if says_nothing { NameFault::NoTarget } else { NameFault::NoDigest });
    }
    Ok(record)
}

fn target(bucket: &Bucket<'_>) -> Result<Option<Target>, BoltError> {
    let (mut digest, mut media_type, mut size) = (None, String::new(), 0);
    for entry in bucket {
        let BucketEntry::Value(key, value) = entry? else { continue };
        match &*key {
            b"digest" => digest = text(&value).parse().ok(),
            b"mediatype" => media_type = text(&value),
            b"size" => size = number(&value),
            _ => {}
        }
    }
    Ok(digest.map(|digest| Target { digest, media_type, size }))
}

/// The length of a blob.
fn blob(bucket: &Bucket<'_>) -> Result<u64, BoltError> {
    Ok(bucket.get(b"size")?.map(|size| number(&size)).unwrap_or_default())
}

fn snapshot(bucket: &Bucket<'_>) -> Result<SnapshotRecord, BoltError> {
    let mut record = SnapshotRecord::default();
    for entry in bucket {
        let BucketEntry::Value(key, value) = entry? else { continue };
        match &*key {
            b"name" => record.name = text(&value),
            b"parent" if !value.is_empty() => record.parent = Some(text(&value)),
            _ => {}
        }
    }
    Ok(record)
}

/// All values, as texts.
fn texts(bucket: &Bucket<'_>) -> Result<BTreeMap<String, String>, BoltError> {
    let mut found = BTreeMap::new();
    for entry in bucket {
        if let BucketEntry::Value(key, value) = entry? {
            found.insert(text(&key), text(&value));
        }
    }
    Ok(found)
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Decodes a number as Go's `binary.Varint` does, where it is not negative: the lowest bit is the sign.
pub(super) fn number(bytes: &[u8]) -> u64 {
    unsigned(bytes) >> 1
}

/// Decodes a number as Go's `binary.Uvarint` does; if the bytes end too early, the digits so far count.
pub(super) fn unsigned(bytes: &[u8]) -> u64 {
    let digits = bytes.iter().zip((0_u32..64).step_by(7));
    let mut number = 0;
    for (byte, shift) in digits {
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Measured: containerd 2.1.9 wrote these for the sizes that `docker system df -v` showed.
    #[test]
    fn numbers_are_gos() {
        assert_eq!(number(&[0x80, 0xc0, 0xf3, 0x01]), 1_994_752);
        assert_eq!((number(&[0xfe, 0x0a]), number(&[0xcc, 0x03]), number(&[0])), (703, 230, 0));
        assert_eq!((unsigned(&[0x16]), unsigned(&[0xac, 0x02]), unsigned(&[0x16, 0xff])), (22, 300, 22));
    }

    /// The first was written by containerd 2.1.9, which showed this time.
    #[test]
    fn times_are_gos() {
        let read = |hex: &str| {
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
            Time::from_go_binary(&bytes).map(|time| time.to_string())
        };
        let cases = [
            ("010000000ee29d33661ce7e340ffff", Some("2026-11-28T20:41:10.48495904Z")),
            ("010000000ee29d33661ce7e340003c", Some("2026-11-28T21:41:10.48495904+01:00")),
            ("01000000000000000000000000ffff", Some("0001-01-01T00:00:00Z")),
            // Another version, a byte less, a byte more, too many nanoseconds, and years that are none.
            ("020000000ee29d33661ce7e340ffff", None),
            ("010000000ee29d33661ce7e340ff", None),
            ("010000000ee29d33661ce7e340ffff00", None),
            ("010000000ee29d3366ffffffffffff", None),
            ("017fffffffffffffff00000000ffff", None),
            ("01800000000000000000000000ffff", None),
            ("", None),
        ];
        for (hex, expected) in cases {
            assert_eq!(read(hex).as_deref(), expected, "{hex}");
        }
    }
}
