//! `buildkit/snapshots.db`: which directories and layers BuildKit uses.
//!
//! ```text
//! <key>/            a bucket for each snapshot; the key is an id of BuildKit's, or sha256:<chain id> of a layer
//!   parent          the key of the snapshot below, empty for none; only where BuildKit made the directory
//!   committed       on an immutable snapshot: the id under which its directory was made
//!   iscommitted     empty; on the snapshot that `committed` names
//!   chainid         sha256:<chain id> of the layer as which it was registered, or which it came from
//!   size            decimal
//! ```
//!
//! BuildKit makes a directory in the driver's home, named as the key, before there is any layer; exporting an image
//! registers the same directory as a layer. A key may outlive its directory or layer: a dockerd that was restarted
//! leaves some keys behind when it prunes the cache, so a directory named here need not exist. Follows moby v20.10.24
//! `builder/builder-next/adapters/snapshot`.

use std::collections::{BTreeMap, BTreeSet};

use layerfs::ChainId;

use super::{Unreadable, with_database};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::CacheId;
use bolt::{Bolt, Bucket, BucketEntry};

/// The file, below `buildkit`.
pub(crate) const FILE: &str = "snapshots.db";

/// The prefix of the keys that are chain ids.
const CHAIN: &str = "sha256:";

/// One snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The key of the snapshot it was made upon: [plain text](crate::ids#names-that-stay-text).
    pub parent: Option<String>,
    /// The directory it was committed from, by its id in the driver's home.
    pub committed: Option<CacheId>,
    /// Whether another snapshot was committed from this one.
    pub is_committed: bool,
    /// The layer as which it was registered.
    pub chain_id: Option<ChainId>,
    /// Its size, if it was asked for.
    pub size: Option<u64>,
}

/// All snapshots of BuildKit.
///
/// An empty value means that BuildKit was never used; an error means that its records cannot be read, which must not be
/// taken for "owns nothing".
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshots {
    by_key: BTreeMap<String, Snapshot>,
    driver_ids: BTreeSet<CacheId>,
    chains: BTreeSet<ChainId>,
}

impl Snapshots {
    /// Reads all snapshots of a data-root.
    ///
    /// # Errors
    /// [`StoreError::Database`] and [`StoreError::Invalid`] for a damaged or unknown database, [`StoreError::Io`]
    pub fn read(root: &Dir) -> Result<Self, StoreError> {
        Ok(with_database(root, FILE, Self::from_bolt)?.unwrap_or_default())
    }

    fn from_bolt(bolt: &Bolt<'_>) -> Result<Self, Unreadable> {
        let mut snapshots = Self::default();
        for entry in &bolt.root() {
            let (key, bucket) = match entry? {
                BucketEntry::Bucket(key, bucket) => (key, bucket),
                BucketEntry::Value(key, _) => return Err(unknown("value", &key)),
            };
            let key = text(&key)?;
            let snapshot = Snapshot::from_bucket(bucket)?;
            // A parent usually has a bucket of its own. Where that bucket was lost, this line still counts the parent
            // as BuildKit's.
            for name in [Some(key), snapshot.parent.as_deref()].into_iter().flatten() {
                snapshots.own(name)?;
            }
            snapshots.driver_ids.extend(snapshot.committed.clone());
            snapshots.chains.extend(snapshot.chain_id);
            snapshots.by_key.insert(key.to_owned(), snapshot);
        }
        Ok(snapshots)
    }

    fn own(&mut self, key: &str) -> Result<(), Unreadable> {
        if key.starts_with(CHAIN) {
            self.chains.insert(chain_id(key)?);
        } else {
            self.driver_ids.insert(cache_id(key)?);
        }
        Ok(())
    }

    /// The snapshot with this key.
    #[must_use]
    pub(crate) fn get(&self, key: &str) -> Option<&Snapshot> {
        self.by_key.get(key)
    }

    /// All snapshots by their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Snapshot)> {
        self.by_key.iter().map(|(key, snapshot)| (key.as_str(), snapshot))
    }

    /// Every directory in the driver's home that BuildKit owns, whether or not a layer has it too. Some have never
    /// existed: an immutable snapshot has a key of its own, but the directory of the one it was committed from.
    #[must_use]
    pub fn driver_ids(&self) -> &BTreeSet<CacheId> {
        &self.driver_ids
    }

    /// Whether BuildKit holds the layer.
    #[must_use]
    pub fn holds_chain(&self, chain: &ChainId) -> bool {
        self.chains.contains(chain)
    }

    /// Every layer that BuildKit names. The layers below these are not listed, because these hold them.
    #[must_use]
    pub(crate) fn chains(&self) -> &BTreeSet<ChainId> {
        &self.chains
    }
}

impl Snapshot {
    fn from_bucket(bucket: Bucket<'_>) -> Result<Self, Unreadable> {
        let mut snapshot = Self::default();
        for entry in &bucket {
            let (key, value) = match entry? {
                BucketEntry::Value(key, value) => (key, value),
                BucketEntry::Bucket(key, _) => return Err(unknown("bucket", &key)),
            };
            let value = text(&value)?;
            match &*key {
                b"parent" => snapshot.parent = Some(value.to_owned()).filter(|parent| !parent.is_empty()),
                b"committed" => snapshot.committed = Some(cache_id(value)?),
                b"iscommitted" => snapshot.is_committed = true,
                b"chainid" => snapshot.chain_id = Some(chain_id(value)?),
                b"size" => {
                    let size = value.parse().map_err(|_| Unreadable::Content(format!("{value:?} is not a size")))?;
                    snapshot.size = Some(size);
                }
                _ => {}
            }
        }
        Ok(snapshot)
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Unreadable> {
    std::str::from_utf8(bytes).map_err(|_| Unreadable::Content(format!("\"{}\" is not text", bytes.escape_ascii())))
}

pub(super) fn cache_id(text: &str) -> Result<CacheId, Unreadable> {
    text.parse().map_err(|error: crate::ids::InvalidId| Unreadable::Content(error.to_string()))
}

fn chain_id(text: &str) -> Result<ChainId, Unreadable> {
    text.parse().map_err(|_| Unreadable::Content(format!("{text:?} is not a chain id")))
}

fn unknown(what: &str, key: &[u8]) -> Unreadable {
    Unreadable::Content(format!("the {what} \"{}\" is in a place where Docker has none", key.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::Value;

    use super::*;

    const GOLDEN: &[u8] = include_bytes!("../../../../testdata/buildkit/snapshots-measured.db");
    const RECORDED: &str = include_str!("../../../../testdata/buildkit/RECORDED.json");

    /// A data-root with this database.
    fn root(bytes: Option<&[u8]>) -> (tempfile::TempDir, Dir) {
        let temporary = tempfile::tempdir().unwrap();
        fs::create_dir(temporary.path().join("buildkit")).unwrap();
        if let Some(bytes) = bytes {
            fs::write(temporary.path().join("buildkit").join(FILE), bytes).unwrap();
        }
        let dir = Dir::open(temporary.path()).unwrap();
        (temporary, dir)
    }

    fn read(bytes: &[u8]) -> Result<Snapshots, StoreError> {
        Snapshots::read(&root(Some(bytes)).1)
    }

    #[test]
    fn as_dockerd_recorded_them() {
        let snapshots = read(GOLDEN).unwrap();
        let recorded: Value = serde_json::from_str(RECORDED).unwrap();
        for record in recorded["BuildCache"].as_array().unwrap() {
            let (key, parent) = (record["ID"].as_str().unwrap(), record["Parent"].as_str().unwrap());
            let snapshot = snapshots.get(key).unwrap();
            assert!(snapshots.driver_ids().contains(&key.parse().unwrap()), "{key}");
            // The layer store knows the size of a snapshot that became a layer.
            assert!(snapshot.size.is_none_or(|size| record["Size"] == size), "{key}");
            let Some(committed) = &snapshot.committed else { continue };
            assert!(snapshots.driver_ids().contains(committed), "{key}");
            let made = snapshots.get(committed.as_str()).unwrap();
            assert!(made.is_committed && made.chain_id.is_none(), "{key}");
            let below = snapshots.get(parent).and_then(|parent| parent.chain_id);
            // It stands on a layer that existed before the build, or on another record.
            let upon = made.parent.as_deref().unwrap();
            assert!(upon == parent || Some(upon.to_owned()) == below.map(|chain| chain.to_string()), "{key}");
        }
        // The layers of the images, base first.
        let layers = |image: usize| -> Vec<_> {
            let diff_ids = recorded["ImageLayers"][image].as_array().unwrap().iter();
            ChainId::chain(&diff_ids.map(|id| id.as_str().unwrap().parse().unwrap()).collect::<Vec<_>>())
        };
        for chain in layers(0).iter().chain(&layers(1)) {
            assert!(snapshots.holds_chain(chain), "{chain}");
        }
        assert_eq!(snapshots.chains().len(), layers(1).len() + 1, "and that of an image which is gone");
        assert!(!snapshots.holds_chain(&chain_of("another")));
        assert_eq!(snapshots.iter().count(), 21);
    }

    fn chain_of(text: &str) -> ChainId {
        layerfs::Digest::hash(text.as_bytes()).to_string().parse().unwrap()
    }

    #[test]
    fn never_used_is_not_unreadable() {
        let temporary = tempfile::tempdir().unwrap();
        let nothing = Snapshots::read(&Dir::open(temporary.path()).unwrap()).unwrap();
        assert!(nothing.iter().next().is_none() && nothing.driver_ids().is_empty());
        assert!(Snapshots::read(&root(None).1).unwrap().iter().next().is_none());
        for bytes in [b"".as_slice(), b"text", &[0; 32768], &GOLDEN[..8192]] {
            let error = read(bytes).unwrap_err();
            assert!(matches!(error, StoreError::Database { .. }), "{error}");
        }
        let (temporary, dir) = root(None);
        fs::create_dir(temporary.path().join("buildkit").join(FILE)).unwrap();
        Snapshots::read(&dir).unwrap_err();
        let (temporary, dir) = root(None);
        std::os::unix::fs::symlink("/dev/zero", temporary.path().join("buildkit").join(FILE)).unwrap();
        Snapshots::read(&dir).unwrap_err();
    }

    #[test]
    fn too_large_is_not_read() {
        let (temporary, dir) = root(Some(GOLDEN));
        let file = fs::OpenOptions::new().write(true).open(temporary.path().join("buildkit").join(FILE)).unwrap();
        file.set_len(crate::schema::database::MAX_DATABASE as u64 + 1).unwrap();
        let error = Snapshots::read(&dir).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
    }

    /// A value that Docker would not write may still name a directory that must not be removed, so it is an error.
    #[test]
    fn strange_values_are_errors() {
        let replaced = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let mut bytes = GOLDEN.to_vec();
            let places: Vec<_> = (0..bytes.len()).filter(|&at| bytes[at..].starts_with(from.as_bytes())).collect();
            assert!(!places.is_empty(), "{from}");
            for at in places {
                bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
            }
            read(&bytes)
        };
        let whole = read(GOLDEN).unwrap();
        let committed = whole.iter().find_map(|(_, snapshot)| snapshot.committed.clone()).unwrap();
        let error = replaced(committed.as_str(), &format!("../{}", &committed.as_str()[3..])).unwrap_err();
        assert!(matches!(error, StoreError::Invalid { .. }), "{error}");
        let chain = whole.chains().first().unwrap().to_string();
        replaced(&chain, &chain.replace("sha256:", "sha256:x")[..71]).unwrap_err();
        replaced("size100004", "size10000x").unwrap_err();
        let other = format!("committed{}", "x".repeat(committed.as_str().len()));
        let odd = replaced(&format!("committed{committed}"), &other).unwrap();
        assert!(odd.driver_ids().contains(&other[9..].parse().unwrap()), "owned, though it has no key of its own");
        assert!(replaced("iscommitted", "iscommitteX").is_ok(), "unknown keys are for others");
    }
}
