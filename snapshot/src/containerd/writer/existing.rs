//! A store that containerd has made, and what is added to it.
//!
//! ```text
//! containerd/.layerfs-edit/               out of sight: dockerd and containerd look at nothing here
//!   blobs/<hex>  snapshots/<n>/fs         what is added, until it is whole
//!   moved                                 what is moved to its place from here on: a line for each blob and snapshot
//! ```
//!
//! The order of a change, and what a crash leaves after each step:
//!
//! 1. `blobs` and `snapshots` are filled and made durable: a directory that the next writer removes.
//! 2. The numbers of the new snapshots are taken, in both databases, so that containerd gives them to nobody else whatever happens.
//! 3. `moved` is written. Blobs and snapshots are moved to where the store has its own: files that no record names, which the next
//!    writer removes, and containerd's collector as well, when it next deletes something of that kind.
//! 4. The snapshotter's database gets the records of the snapshots: containerd shows none that `meta.db` does not name.
//! 5. `meta.db` gets all records: the commit point. The directory is removed.
//!
//! Both databases are changed in their files ([`bolt::edit`]), under the locks that containerd takes: whoever waits for one of
//! these finds the changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;

use bolt::edit::{EditError, EditOptions};
use bolt::write::NewBucket;
use layerfs::Digest;

use super::super::metadata::{self, ImageRecord};
use super::super::snapshots::{self, Kind};
use super::super::{NAMESPACE, Store};
use super::records::{self, Records, VERSION};
use super::{SNAPSHOTTER, encode};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::root::{LockedRoot, Refusal};
use crate::schema::database;
use crate::schema::paths::{
    CONTAINERD_CONTENT, CONTAINERD_DAEMON, CONTAINERD_METADATA, OVERLAYFS_SNAPSHOTTER, SNAPSHOTTER_PREFIX,
};

/// The directory that is filled, in that of containerd.
pub(super) const STAGING: &str = ".layerfs-edit";

/// What has been moved out of it.
const MOVED: &str = "moved";

/// A list with more bytes than this is none of ours.
const MAX_MOVED: usize = 64 << 20;

/// A store that is there.
#[derive(Debug)]
pub(super) struct Existing {
    daemon: Dir,
    records: Dir,
    blobs: Dir,
    snapshotter: Dir,
    snapshots: Dir,
    store: Store,
    /// `meta.db`, locked by the root, and the snapshotter's database.
    meta: File,
    own: File,
    /// The numbers that were handed out last, to directories and to names of snapshots.
    last: (u64, u64),
    sync: bool,
}

impl Existing {
    /// Reads the store of a root, after what an interrupted change has left was taken back.
    pub(super) fn open(root: &LockedRoot, sync: bool) -> Result<Self, StoreError> {
        let daemon = root.dir().descend(&CONTAINERD_DAEMON)?;
        let daemon = daemon.ok_or_else(|| missing(root.dir(), "containerd/daemon"))?;
        let store = read(&daemon)?;
        if let Some(lacks) = store.missing.first() {
            return Err(invalid(&daemon, lacks, "it is missing, so that nobody knows what the store holds"));
        }
        check_others(root, &daemon)?;
        let records = daemon.sub(CONTAINERD_METADATA)?.ok_or_else(|| missing(&daemon, CONTAINERD_METADATA))?;
        check_version(&records)?;
        let content = daemon.sub_or_create(CONTAINERD_CONTENT, 0o755)?;
        content.sub_or_create("ingest", 0o755)?;
        let blobs = content.sub_or_create("blobs", 0o755)?.sub_or_create("sha256", 0o755)?;
        let snapshotter = daemon.sub_or_create(OVERLAYFS_SNAPSHOTTER, 0o700)?;
        let snapshots = snapshotter.sub_or_create("snapshots", 0o700)?;
        if snapshotter.stat(snapshots::FILE)?.is_none() {
            let empty = NewBucket::default().into_database().expect("it has no key");
            snapshotter.replace(snapshots::FILE, &empty, 0o600, sync)?;
        }
        let meta = root.records().and_then(|file| file.try_clone().ok());
        let meta = meta.ok_or_else(|| missing(&records, metadata::FILE))?;
        let own = root.lock_database(&[&CONTAINERD_DAEMON[..], &[OVERLAYFS_SNAPSHOTTER, snapshots::FILE]].concat())?;
        let own = own.ok_or_else(|| missing(&snapshotter, snapshots::FILE))?;
        let mut existing =
            Self { daemon, records, blobs, snapshotter, snapshots, store, meta, own, last: (0, 0), sync };
        if let Some(containerd) = root.dir().sub(CONTAINERD_DAEMON[0])?
            && containerd.sub(STAGING)?.is_some()
        {
            existing.take_back(&containerd)?;
            existing.store = read(&existing.daemon)?;
        }
        existing.last = existing.last_numbers()?;
        Ok(existing)
    }

    /// The numbers beyond which nobody has any: whatever the databases say was given last, what is there counts.
    fn last_numbers(&self) -> Result<(u64, u64), StoreError> {
        let names = self.snapshots.names()?;
        let directories = names.iter().filter_map(|name| name.parse::<u64>().ok());
        let known = &self.store.snapshots;
        let number =
            directories.chain(known.by_name.values().map(|snapshot| snapshot.id)).chain([known.sequence]).max();
        let given =
            |name: &str| name.strip_prefix(NAMESPACE)?.strip_prefix('/')?.split('/').next()?.parse::<u64>().ok();
        let recorded = self.store.metadata.snapshots.values().map(|record| &record.name);
        let names = known.by_name.keys().chain(recorded).filter_map(|name| given(name));
        let sequence = self.store.metadata.snapshot_sequence;
        Ok((number.unwrap_or_default(), names.chain([sequence]).max().unwrap_or_default()))
    }

    /// The records of additions to it.
    pub(super) fn records(&self) -> Records {
        let number = |name: &str| Some(self.store.snapshots.by_name.get(name)?.id);
        let snapshots = self.store.metadata.snapshots.iter();
        let known =
            snapshots.filter_map(|(key, record)| Some((key.clone(), (record.name.clone(), number(&record.name)?))));
        Records::beside(known.collect(), self.last, &self.store.metadata.images)
    }

    pub(super) fn images(&self) -> &BTreeMap<String, ImageRecord> {
        &self.store.metadata.images
    }

    /// Opens the file of a blob that is recorded.
    pub(super) fn open_blob(&self, digest: Digest) -> Result<Option<File>, StoreError> {
        if self.blob_size(digest)?.is_some() { self.blobs.open_file(&digest.hex()) } else { Ok(None) }
    }

    /// The length of a blob that is recorded, whose file has it.
    pub(super) fn blob_size(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        let Some(&size) = self.store.metadata.blobs.get(&digest) else { return Ok(None) };
        let name = digest.hex();
        match self.blobs.stat(&name)?.map(|stat| u64::try_from(stat.st_size).unwrap_or_default()) {
            Some(found) if found == size => Ok(Some(size)),
            Some(found) => {
                Err(invalid(&self.blobs, &name, &format!("this blob has {found} bytes, and its record says {size}")))
            }
            None => Err(invalid(&self.blobs, &name, "the file of this blob is missing, and there is a record of it")),
        }
    }

    /// Whether there is a layer with this key on this parent, unpacked.
    pub(super) fn has_snapshot(&self, key: &str, parent: Option<&str>) -> Result<bool, StoreError> {
        let Some(record) = self.store.metadata.snapshots.get(key) else { return Ok(false) };
        let damaged = |reason: &str| {
            let reason = format!("the snapshot {key} cannot be built on: {reason}");
            Err(invalid(&self.records, metadata::FILE, &reason))
        };
        if record.parent.as_deref() != parent {
            return damaged("it is recorded on another one");
        }
        let Some(own) = self.store.snapshots.by_name.get(&record.name) else {
            return damaged("the snapshotter has no record of it");
        };
        if own.kind != Kind::Committed {
            return damaged("it is recorded as one that is being written to");
        }
        match self.snapshots.descend(&[&own.id.to_string(), "fs"])? {
            Some(_) => Ok(true),
            None => damaged(&format!("the directory snapshots/{}/fs is missing", own.id)),
        }
    }

    /// Moves what `staging` holds to its place, and records it.
    pub(super) fn commit(&self, records: Records, staging: &Dir) -> Result<(), StoreError> {
        let (numbers, blobs) = (records.new_snapshots(), records.new_blobs().collect::<Vec<_>>());
        let (meta, own) = records.into_changes();
        if !blobs.is_empty() || !numbers.is_empty() {
            if self.sync {
                staging.sync_file_system()?;
            }
            if !numbers.is_empty() {
                let last_name = self.last.1 + (numbers.end() - self.last.0) * 2;
                let (meta, own) = records::reserve(*numbers.end(), last_name);
                self.change_own(&own)?;
                self.change_meta(&meta)?;
            }
            let mut moved = String::new();
            blobs.iter().for_each(|digest| moved.push_str(&format!("blob {}\n", digest.hex())));
            numbers.clone().for_each(|number| moved.push_str(&format!("snapshot {number}\n")));
            staging.replace(MOVED, moved.as_bytes(), 0o600, self.sync)?;
            let sub = |name: &str| staging.sub(name)?.ok_or_else(|| missing(staging, name));
            let (from_blobs, from_snapshots) = (sub("blobs")?, sub("snapshots")?);
            for digest in &blobs {
                from_blobs.rename(&digest.hex(), &self.blobs, &digest.hex())?;
            }
            for number in numbers {
                from_snapshots.rename(&number.to_string(), &self.snapshots, &number.to_string())?;
            }
            if self.sync {
                self.blobs.sync()?;
                self.snapshots.sync()?;
            }
        }
        if let Some(own) = own {
            self.change_own(&own)?;
        }
        self.change_meta(&meta)
    }

    /// Takes back what was moved to its place by a change that was not committed: what `meta.db` names stays. Removes the
    /// directory of the change.
    pub(super) fn take_back(&self, containerd: &Dir) -> Result<(), StoreError> {
        let staging = containerd.sub(STAGING)?.ok_or_else(|| missing(containerd, STAGING))?;
        let moved = staging.read(MOVED, MAX_MOVED)?.unwrap_or_default();
        let Store { metadata, snapshots, .. } = read(&self.daemon)?;
        let named: BTreeSet<&str> = metadata.snapshots.values().map(|record| record.name.as_str()).collect();
        let is_named = |name: &str| named.contains(name) || metadata.other_snapshots.contains(name);
        let mut own = NewBucket::default();
        let mut directories = Vec::new();
        for line in String::from_utf8_lossy(&moved).lines() {
            if let Some(digest) = line.strip_prefix("blob ").and_then(|hex| Digest::from_hex(hex).ok()) {
                if !metadata.blobs.contains_key(&digest) && !metadata.other_blobs.contains(&digest) {
                    self.blobs.unlink(&digest.hex())?;
                }
            } else if let Some(number) = line.strip_prefix("snapshot ").and_then(|number| number.parse::<u64>().ok()) {
                let mut records = snapshots.by_name.iter().filter(|(_, snapshot)| snapshot.id == number);
                let record = records.next();
                if record.is_some_and(|(name, _)| is_named(name)) {
                    continue;
                }
                if let Some((name, snapshot)) = record {
                    own.bucket("v1").bucket("snapshots").remove(name.as_str());
                    if let Some(parent) = snapshot.parent.as_ref().and_then(|parent| snapshots.by_name.get(parent)) {
                        own.bucket("v1").bucket("parents").remove(encode::link(parent.id, number));
                    }
                }
                directories.push(number.to_string());
            }
        }
        self.change_own(&own)?;
        directories.iter().try_for_each(|number| self.snapshots.remove_tree(number))?;
        containerd.remove_tree(STAGING)
    }

    fn change_meta(&self, changes: &NewBucket) -> Result<(), StoreError> {
        self.change(&self.meta, changes, (&self.records, metadata::FILE))
    }

    fn change_own(&self, changes: &NewBucket) -> Result<(), StoreError> {
        self.change(&self.own, changes, (&self.snapshotter, snapshots::FILE))
    }

    fn change(&self, file: &File, changes: &NewBucket, (dir, name): (&Dir, &str)) -> Result<(), StoreError> {
        let options = EditOptions { most: database::MAX_DATABASE as u64, sync: self.sync };
        bolt::edit::apply(file, changes, options).map_err(|error| match error {
            EditError::Read(source) => StoreError::Database { path: dir.join(name), source },
            EditError::Io { source, doing } => StoreError::Io { path: dir.join(name), call: doing, source },
            error @ (EditError::Write(_) | EditError::Long { .. }) => invalid(dir, name, &error.to_string()),
        })
    }
}

/// Reads a store.
pub(super) fn read(daemon: &Dir) -> Result<Store, StoreError> {
    Store::read(daemon, daemon.sub(OVERLAYFS_SNAPSHOTTER)?.as_ref(), SNAPSHOTTER, NAMESPACE)
}

/// Checks that no other snapshotter has the layers of images: what is unpacked for overlayfs would not be found.
fn check_others(root: &LockedRoot, daemon: &Dir) -> Result<(), StoreError> {
    for name in daemon.names()?.iter().filter(|name| name.starts_with(SNAPSHOTTER_PREFIX)) {
        let snapshots = daemon.descend(&[name, "snapshots"])?;
        if name != OVERLAYFS_SNAPSHOTTER && !snapshots.map_or(Ok(true), |snapshots| snapshots.is_empty())? {
            let what = format!("snapshots of {}", name.trim_start_matches(SNAPSHOTTER_PREFIX));
            let (root, refusal) = (root.dir().path().to_path_buf(), Refusal::ContainerdHolds { what });
            return Err(StoreError::Refused { root, refusal });
        }
    }
    Ok(())
}

/// Checks that the records are of the version that we write.
fn check_version(records: &Dir) -> Result<(), StoreError> {
    let version = database::read_all(records, metadata::FILE, |bolt| {
        let version = bolt.root().bucket(b"v1")?;
        version.map_or(Ok(None), |version| version.get(b"version"))
    })?;
    match version.flatten().map(|version| metadata::number(&version)) {
        Some(VERSION) => Ok(()),
        found => {
            let found = found.map_or_else(|| "none".to_owned(), |found| found.to_string());
            let reason = format!("its records are of version {found}; only version {VERSION} is written");
            Err(invalid(records, metadata::FILE, &reason))
        }
    }
}

fn invalid(dir: &Dir, name: &str, reason: &str) -> StoreError {
    StoreError::Invalid { path: dir.join(name), reason: reason.to_owned() }
}

fn missing(dir: &Dir, name: &str) -> StoreError {
    StoreError::io(dir.join(name), "opening")(rustix::io::Errno::NOENT)
}
