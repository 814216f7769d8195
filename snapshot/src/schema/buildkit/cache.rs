//! `buildkit/metadata_v2.db`: the records of the build cache, as `docker system df -v` lists them.
//!
//! ```text
//! _main/<record id>/           a bucket for each record; values are JSON: {"value": ..., "index": ...}
//!   cache.parent               the record below
//!   cache.equalMutable         on an immutable record: the writable record that still holds its data
//!   cache.snapshot             the key in snapshots.db, if it is not the record's id
//!   cache.blobonly             true: nothing was unpacked for this record
//!   cache.recordType           source.local, exec.cachemount, ...; none for a regular one
//!   cache.description  cache.createdAt  cache.lastUsedAt  cache.usageCount      times in nanoseconds since 1970
//!   cache.deleted        true: BuildKit was about to delete the record
//!   snapshot.size              -1 or none until it was asked for
//!   snapshot.committed         true: immutable
//! _index/ _external/           not read
//! ```
//!
//! A step's result is first a writable record; committing it adds an immutable twin that only points to it. As long as
//! nothing was built upon it, both are there and the writable one is listed. Follows BuildKit as vendored by moby v20.10.24
//! (`cache/manager.go` `DiskUsage`, `cache/refs.go` `Size`, `cache/metadata.go`), and `builder/builder-next`.
//!
//! The database does not say whether a record is in use: the daemon counts that in memory, and while no build runs, no
//! record is.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use layerfs::ChainId;
use serde_json::Value;

use super::snapshots::{cache_id, text};
use super::{BUILDKIT, Snapshots, Unreadable, with_database};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::schema::database;
use bolt::{Bolt, Bucket, BucketEntry};

pub(crate) const FILE: &str = "metadata_v2.db";
/// The name of the database before Docker 20.10, which converts it to `metadata_v2.db` when it starts.
const OLD_FILE: &str = "metadata.db";

/// The type of a record that has none.
const REGULAR: &str = "regular";

/// One record of the build cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheRecord {
    /// Its id, of which docker prints the first twelve characters. It is a text, since BuildKit draws it freely, and nothing here
    /// opens a path by it.
    pub id: String,
    /// The record it was made upon.
    pub parent: Option<String>,
    /// What it is: `regular`, `source.local`, `source.git.checkout`, `exec.cachemount`, `frontend`, `internal`.
    pub kind: String,
    /// Which step made it.
    pub description: String,
    /// How large it is, without the records below it.
    pub size: CacheSize,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// When a build last used it.
    pub last_used: Option<Timestamp>,
    /// How many builds used it.
    pub usage_count: u64,
    /// Whether this record, or a record that was made upon it, is a layer of an image.
    pub shared: bool,
    /// Whether it is still writable.
    pub mutable: bool,
}

/// The size of a record, or where to get it: dockerd measures only when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CacheSize {
    /// In bytes.
    Known(u64),
    /// The layer store has the size of this layer.
    Layer(ChainId),
    /// The sum of the files in this directory of the driver's, a hard link counted once.
    Directory(CacheId),
}

impl CacheSize {
    /// The size in bytes, if it is known.
    #[must_use]
    pub fn known(&self) -> Option<u64> {
        if let Self::Known(bytes) = self { Some(*bytes) } else { None }
    }
}

/// The row `Build Cache` of `docker system df`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CacheSummary {
    /// TOTAL: all records.
    pub total: usize,
    /// ACTIVE: records that a running build uses. Always 0 here.
    pub active: usize,
    /// SIZE and RECLAIMABLE: the bytes of all records that are in no image.
    pub size: u64,
    /// How many records `size` leaves out, because their size is not known yet.
    pub unmeasured: usize,
}

/// The build cache.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildCache {
    /// In the order of `docker system df -v`: the least recently used first.
    pub records: Vec<CacheRecord>,
}

impl BuildCache {
    /// The build cache of a root whose layers a snapshotter of containerd keeps: an empty one, if it has no records. Records
    /// would name snapshots and blobs of containerd's, which are not looked up here.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if there are records, and the errors of [`BuildCache::read`].
    pub(crate) fn of_snapshotter(root: &Dir, snapshotter: &str) -> Result<Self, StoreError> {
        let Some(dir) = root.descend(&[BUILDKIT, &format!("containerd-{snapshotter}")])? else {
            return Ok(Self::default());
        };
        let path = || dir.join(FILE);
        match database::read(&dir, FILE, read_items)?.transpose().map_err(|error| error.at(path()))? {
            Some(items) if !items.is_empty() => {
                let reason = "the records of builds on containerd's store are not read".to_owned();
                Err(StoreError::Invalid { path: path(), reason })
            }
            _ => Ok(Self::default()),
        }
    }

    /// Reads the build cache of a data-root. `in_image` says whether a layer is in the layer store and belongs to an
    /// image, which may be an intermediate or untagged one.
    ///
    /// # Errors
    /// [`StoreError::Database`] and [`StoreError::Invalid`] for a damaged or unknown database, [`StoreError::Io`]
    pub fn read(root: &Dir, snapshots: &Snapshots, in_image: impl Fn(&ChainId) -> bool) -> Result<Self, StoreError> {
        let Some(items) = with_database(root, FILE, read_items)? else {
            let old = root.sub(BUILDKIT)?.map_or(Ok(None), |dir| dir.stat(OLD_FILE))?;
            let reason = || "it is of a Docker before 20.10; a newer Docker converts it when it starts".into();
            return match old {
                None => Ok(Self::default()),
                Some(_) => Err(StoreError::Invalid { path: root.join(BUILDKIT).join(OLD_FILE), reason: reason() }),
            };
        };
        let loaded = loaded(&items);
        let mut twins = HashMap::new();
        for (id, item) in &items {
            if let Some(mutable) = &item.equal_mutable
                && loaded.contains(id.as_str())
            {
                twins.insert(mutable.as_str(), item);
            }
        }
        let listed = items.iter().filter(|(id, item)| item.equal_mutable.is_none() && loaded.contains(id.as_str()));
        let records = listed.map(|(id, item)| {
            Ok(CacheRecord {
                id: id.clone(),
                parent: item.parent.clone(),
                kind: item.kind.clone().unwrap_or_else(|| REGULAR.to_owned()),
                description: item.description.clone(),
                size: size(id, item, twins.get(id.as_str()).copied(), snapshots)?,
                created: item.created,
                last_used: item.last_used,
                usage_count: item.usage_count,
                shared: false,
                mutable: !item.committed,
            })
        });
        let records =
            records.collect::<Result<_, Unreadable>>().map_err(|error| error.at(root.join(BUILDKIT).join(FILE)))?;
        let mut cache = Self { records };
        cache.mark_shared(snapshots, in_image);
        cache.records.sort_by(|a, b| a.last_used.cmp(&b.last_used).then_with(|| a.id.cmp(&b.id)));
        Ok(cache)
    }

    /// Marks each record as shared whose layer is in an image, and all records below it.
    fn mark_shared(&mut self, snapshots: &Snapshots, in_image: impl Fn(&ChainId) -> bool) {
        let places: HashMap<_, _> =
            self.records.iter().enumerate().map(|(at, record)| (record.id.clone(), at)).collect();
        for start in 0..self.records.len() {
            let chain = snapshots.get(&self.records[start].id).and_then(|snapshot| snapshot.chain_id);
            let mut next = Some(start).filter(|_| chain.is_some_and(|chain| in_image(&chain)));
            while let Some(at) = next {
                let record = &mut self.records[at];
                let before = std::mem::replace(&mut record.shared, true);
                next = record.parent.as_ref().and_then(|parent| places.get(parent)).copied().filter(|_| !before);
            }
        }
    }

    /// Counts and sums as plain `docker system df` prints them.
    #[must_use]
    pub fn summary(&self) -> CacheSummary {
        let mut summary = CacheSummary { total: self.records.len(), ..CacheSummary::default() };
        for record in self.records.iter().filter(|record| !record.shared) {
            match record.size.known() {
                Some(size) => summary.size = summary.size.saturating_add(size),
                None => summary.unmeasured += 1,
            }
        }
        summary
    }
}

/// What is stored of one record.
#[derive(Debug, Default)]
struct Item {
    parent: Option<String>,
    equal_mutable: Option<String>,
    snapshot: Option<String>,
    kind: Option<String>,
    description: String,
    created: Option<Timestamp>,
    last_used: Option<Timestamp>,
    usage_count: u64,
    size: Option<u64>,
    blob_only: bool,
    committed: bool,
    deleted: bool,
}

/// A value as stored. `index` is of no use here.
#[derive(serde::Deserialize)]
struct Stored {
    #[serde(default)]
    value: Value,
}

fn read_items(bolt: &Bolt<'_>) -> Result<BTreeMap<String, Item>, Unreadable> {
    let mut items = BTreeMap::new();
    let Some(main) = bolt.root().bucket(b"_main")? else { return Ok(items) };
    for entry in &main {
        if let BucketEntry::Bucket(id, bucket) = entry? {
            items.insert(text(&id)?.to_owned(), Item::from_bucket(bucket)?);
        }
    }
    Ok(items)
}

impl Item {
    fn from_bucket(bucket: Bucket<'_>) -> Result<Self, Unreadable> {
        let mut item = Self::default();
        for entry in &bucket {
            match entry? {
                // BuildKit empties a value that it takes back, and leaves the key.
                BucketEntry::Value(key, value) if !value.is_empty() => item.set(&key, &value)?,
                _ => {}
            }
        }
        Ok(item)
    }

    /// A value of the wrong type counts as missing; one that is no JSON at all is an error, since BuildKit does not
    /// start with it.
    fn set(&mut self, key: &[u8], stored: &[u8]) -> Result<(), Unreadable> {
        if !key.starts_with(b"cache.") && !key.starts_with(b"snapshot.") {
            return Ok(());
        }
        let broken = |error| Unreadable::Content(format!("the value of \"{}\": {error}", key.escape_ascii()));
        let value = serde_json::from_slice::<Stored>(stored).map_err(broken)?.value;
        let text = || value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let flag = value.as_bool().unwrap_or(false);
        let count = value.as_u64();
        let time =
            || value.as_i64().filter(|&time| time != 0).and_then(|time| Timestamp::from_nanosecond(time.into()).ok());
        match key {
            b"cache.parent" => self.parent = text(),
            b"cache.equalMutable" => self.equal_mutable = text(),
            b"cache.snapshot" => self.snapshot = text(),
            b"cache.recordType" => self.kind = text(),
            b"cache.description" => self.description = text().unwrap_or_default(),
            b"cache.createdAt" => self.created = time(),
            b"cache.lastUsedAt" => self.last_used = time(),
            b"cache.usageCount" => self.usage_count = count.unwrap_or_default(),
            b"cache.blobonly" => self.blob_only = flag,
            b"cache.deleted" => self.deleted = flag,
            b"snapshot.committed" => self.committed = flag,
            b"snapshot.size" => self.size = count,
            _ => {}
        }
        Ok(())
    }
}

/// The ids of the records that dockerd would load. It drops a record that it was about to delete, and every record that
/// depends on one that is dropped or missing.
fn loaded(items: &BTreeMap<String, Item>) -> HashSet<&str> {
    let mut known: HashMap<&str, bool> = HashMap::new();
    for id in items.keys() {
        let (mut way, mut at) = (Vec::new(), Some(id.as_str()));
        let good = loop {
            let Some(id) = at else { break true };
            if let Some(&good) = known.get(id) {
                break good;
            }
            let Some((id, item)) = items.get_key_value(id) else { break false };
            if item.equal_mutable.is_none() && item.deleted {
                known.insert(id, false);
                break false;
            }
            // Mark the record as bad before following it: in a cycle the walk meets this mark and stops.
            known.insert(id, false);
            way.push(id.as_str());
            at = item.equal_mutable.as_deref().or(item.parent.as_deref());
        };
        known.extend(way.into_iter().map(|id| (id, good)));
    }
    known.into_iter().filter_map(|(id, good)| good.then_some(id)).collect()
}

/// The size that dockerd has on record, searched in dockerd's order; else the directory that it would measure.
fn size(id: &str, item: &Item, twin: Option<&Item>, snapshots: &Snapshots) -> Result<CacheSize, Unreadable> {
    if let Some(size) = item.size.or(twin.and_then(|twin| twin.size)) {
        return Ok(CacheSize::Known(size));
    }
    if twin.unwrap_or(item).blob_only {
        return Ok(CacheSize::Known(0));
    }
    let key = item.snapshot.as_deref().unwrap_or(id);
    let snapshot = snapshots.get(key);
    if let Some(chain) = key.parse().ok().or(snapshot.and_then(|snapshot| snapshot.chain_id)) {
        return Ok(CacheSize::Layer(chain));
    }
    if let Some(size) = snapshot.and_then(|snapshot| snapshot.size) {
        return Ok(CacheSize::Known(size));
    }
    let committed = snapshot.and_then(|snapshot| snapshot.committed.clone());
    committed.map_or_else(|| cache_id(key), Ok).map(CacheSize::Directory)
}
