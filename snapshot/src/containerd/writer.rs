//! Images, blobs and snapshots for containerd's store of a data-root: into a store made anew where there is none, or into the
//! existing one.
//!
//! A new store:
//!
//! ```text
//! containerd/.layerfs-new/                                    everything, out of sight
//!   io.containerd.content.v1.content/blobs/sha256/<hex>       0444
//!   io.containerd.snapshotter.v1.overlayfs/snapshots/<n>/fs
//!   io.containerd.snapshotter.v1.overlayfs/metadata.db
//!   io.containerd.metadata.v1.bolt/meta.db
//! containerd/daemon                                           the same, after one rename: the commit point
//! ```
//!
//! A containerd without an image has made the directory `daemon`, too, and has manifests in it that dockerd has pulled for a storage
//! driver; the two directories then change places, and the old one is removed, or kept for the way back of a migration. A crash before the commit point leaves `.layerfs-new`, which dockerd ignores and the next writer removes; a crash
//! after it leaves a whole store, at worst with the old directory under that name.
//!
//! Follows containerd v2.1.9 `core/metadata/buckets.go`, `core/snapshots/storage/bolt.go` and
//! `plugins/snapshots/overlay/overlay.go`.

mod encode;
mod existing;
mod records;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use layerfs::Digest;
use rustix::fs::{AtFlags, Mode, RenameFlags};
use rustix::io::Errno;

pub use records::{NewImage, NewSnapshot, SnapshotKind};

use super::metadata::{ImageRecord, Metadata};
use super::migration::{self, ChangedConfig};
use super::{BLOBS, NAMESPACE, Store, metadata, snapshots};
use crate::dir::Dir;
use crate::driver::DEFAULT;
use crate::error::StoreError;
use crate::root::{Guard, LockedRoot, Refusal};
use crate::schema::paths::{
    CONTAINERD, CONTAINERD_CONTENT, CONTAINERD_DAEMON, CONTAINERD_METADATA, OVERLAYFS_SNAPSHOTTER, SNAPSHOTTER_PREFIX,
};
use existing::Existing;
use records::Records;

/// The directory that is filled, in that of containerd.
const STAGING: &str = ".layerfs-new";

/// The directory of the store itself, in that of containerd.
const DAEMON: &str = CONTAINERD_DAEMON[1];

/// The snapshotter.
const SNAPSHOTTER: &str = "overlayfs";

/// What is being made for a store. Until it is [committed](Self::commit) nobody sees it; dropped before that, it is removed.
#[derive(Debug)]
pub struct StoreWriter {
    /// `None` after the commit.
    root: Option<LockedRoot>,
    /// The directory `containerd`.
    containerd: Dir,
    /// The directory that becomes `daemon`, or whose content goes into that of an existing store.
    staging: Dir,
    blobs: Dir,
    snapshots: Dir,
    records: Records,
    /// The store to which it is added.
    existing: Option<Existing>,
    sync: bool,
}

impl StoreWriter {
    /// Begins a store in `root`, which must have none.
    ///
    /// # Errors
    /// [`StoreError::Refused`] if there is something in containerd's store already.
    pub fn begin(root: LockedRoot, sync: bool) -> Result<Self, StoreError> {
        match contents(root.dir())? {
            None => Self::begin_new(root, sync),
            Some(what) => {
                let (root, refusal) = (root.dir().path().to_path_buf(), Refusal::ContainerdHolds { what });
                Err(StoreError::Refused { root, refusal })
            }
        }
    }

    /// Begins to add to the store in `root`, or a store where there is none. What an interrupted change of a store has left is
    /// taken back first.
    ///
    /// # Errors
    /// [`StoreError`], also for a store that is damaged so that what is added could be lost.
    pub fn extend(root: LockedRoot, sync: bool) -> Result<Self, StoreError> {
        if contents(root.dir())?.is_none() { Self::begin_new(root, sync) } else { Self::begin_existing(root, sync) }
    }

    fn begin_new(mut root: LockedRoot, sync: bool) -> Result<Self, StoreError> {
        let containerd = root.ensure(CONTAINERD, 0o700)?;
        containerd.remove_tree(STAGING)?;
        let staging = containerd.create(STAGING, 0o700)?;
        let made = || -> Result<(Dir, Dir), StoreError> {
            let content = staging.create(CONTAINERD_CONTENT, 0o755)?;
            content.create("ingest", 0o755)?;
            let blobs = content.create("blobs", 0o755)?.create("sha256", 0o755)?;
            let snapshots = staging.create(OVERLAYFS_SNAPSHOTTER, 0o700)?.create("snapshots", 0o700)?;
            staging.create(CONTAINERD_METADATA, 0o711)?;
            Ok((blobs, snapshots))
        };
        let (blobs, snapshots) = made().inspect_err(|_| {
            // The first error is the one to report.
            let _ = containerd.remove_tree(STAGING);
        })?;
        let (root, records) = (Some(root), Records::default());
        Ok(Self { root, containerd, staging, blobs, snapshots, records, existing: None, sync })
    }

    fn begin_existing(mut root: LockedRoot, sync: bool) -> Result<Self, StoreError> {
        let existing = Existing::open(&root, sync)?;
        let containerd = root.ensure(CONTAINERD, 0o700)?;
        let staging = containerd.create(existing::STAGING, 0o700)?;
        let made = || -> Result<(Dir, Dir), StoreError> {
            Ok((staging.create("blobs", 0o700)?, staging.create("snapshots", 0o700)?))
        };
        let (blobs, snapshots) = made().inspect_err(|_| {
            // The first error is the one to report.
            let _ = containerd.remove_tree(existing::STAGING);
        })?;
        let (root, records) = (Some(root), existing.records());
        Ok(Self { root, containerd, staging, blobs, snapshots, records, existing: Some(existing), sync })
    }

    /// The root that it is made in.
    #[must_use]
    pub fn root(&self) -> &LockedRoot {
        self.root.as_ref().expect("only the commit takes it away")
    }

    /// The directory that is filled: what is put into it beside the store becomes part of containerd's root.
    #[must_use]
    pub fn staging(&self) -> &Dir {
        &self.staging
    }

    /// Creates the file of a blob, which the caller fills. [`Self::add_blob`] records it.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if it exists.
    pub fn create_blob(&self, digest: Digest) -> Result<File, StoreError> {
        self.blobs.write_new(&digest.hex(), b"", 0o644)
    }

    /// Opens the file of a blob.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if there is none.
    pub fn open_blob(&self, digest: Digest) -> Result<File, StoreError> {
        let missing = || StoreError::io(self.blobs.join(&digest.hex()), "opening")(Errno::NOENT);
        let known = |existing: &Existing| existing.open_blob(digest);
        let there = self.existing.as_ref().map_or(Ok(None), known)?;
        there.map_or_else(|| self.blobs.open_file(&digest.hex())?.ok_or_else(missing), Ok)
    }

    /// Whether a blob is recorded.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the existing store has a record of it, and its file is missing or has another length.
    pub fn has_blob(&self, digest: Digest) -> Result<bool, StoreError> {
        Ok(self.blob_size(digest)?.is_some())
    }

    /// The length of a blob that is recorded, in bytes; `None` if it is not.
    ///
    /// # Errors
    /// As [`Self::has_blob`].
    pub fn blob_size(&self, digest: Digest) -> Result<Option<u64>, StoreError> {
        match self.records.new_blob(digest) {
            Some(size) => Ok(Some(size)),
            None => self.existing.as_ref().map_or(Ok(None), |existing| existing.blob_size(digest)),
        }
    }

    /// Whether the existing store has a layer, unpacked on the one below.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if it is recorded, and not whole.
    pub fn has_snapshot(&self, key: &str, parent: Option<&str>) -> Result<bool, StoreError> {
        self.existing.as_ref().map_or(Ok(false), |existing| existing.has_snapshot(key, parent))
    }

    /// The number of the first new snapshot: the others follow it.
    #[must_use]
    pub fn first_number(&self) -> u64 {
        self.records.first_number()
    }

    /// The record of a name of the existing store.
    #[must_use]
    pub fn image(&self, name: &str) -> Option<&ImageRecord> {
        self.existing.as_ref()?.images().get(name)
    }

    /// All names of the existing store.
    #[must_use]
    pub fn images(&self) -> Option<&BTreeMap<String, ImageRecord>> {
        self.existing.as_ref().map(Existing::images)
    }

    /// Records a blob whose file is whole, and takes the permission to write to it away, as containerd does. A blob may be
    /// recorded several times, with more labels.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if there is no such file.
    pub fn add_blob<L: Into<String>>(
        &mut self,
        digest: Digest,
        labels: impl IntoIterator<Item = (L, String)>,
    ) -> Result<(), StoreError> {
        let labels = labels.into_iter().map(|(label, value)| (label.into(), value));
        if self.records.new_blob(digest).is_none()
            && let Some(size) = self.blob_size(digest)?
        {
            self.records.label_blob(digest, size, labels);
            return Ok(());
        }
        let name = digest.hex();
        let failed = |call| StoreError::io(self.blobs.join(&name), call);
        let stat = rustix::fs::statat(&self.blobs, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(failed("stat"))?;
        let mode = Mode::from_raw_mode(0o444);
        rustix::fs::chmodat(&self.blobs, &name, mode, AtFlags::empty()).map_err(failed("chmod"))?;
        let size = u64::try_from(stat.st_size).unwrap_or_default();
        self.records.add_blob(digest, size, labels);
        Ok(())
    }

    /// Stores a small blob, unless it is there, and records it.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn put_blob<L: Into<String>>(
        &mut self,
        bytes: &[u8],
        labels: impl IntoIterator<Item = (L, String)>,
    ) -> Result<Digest, StoreError> {
        let digest = Digest::hash(bytes);
        if !self.has_blob(digest)? && self.blobs.stat(&digest.hex())?.is_none() {
            self.blobs.write_new(&digest.hex(), bytes, 0o444)?;
        }
        self.add_blob(digest, labels)?;
        Ok(digest)
    }

    /// Makes the directory of the snapshot with a number. Its content goes into the directory `fs` in it, which the caller makes.
    ///
    /// # Errors
    /// [`StoreError::Io`], also if it exists.
    pub fn create_snapshot(&self, number: u64) -> Result<Dir, StoreError> {
        let dir = self.snapshots.create(&number.to_string(), 0o700)?;
        dir.create("work", 0o711)?;
        Ok(dir)
    }

    /// Removes the directory of a snapshot that is not recorded.
    ///
    /// # Errors
    /// [`StoreError::Undeletable`]
    pub fn drop_snapshot(&self, number: u64) -> Result<(), StoreError> {
        self.snapshots.remove_tree(&number.to_string())
    }

    /// Gives an [unnamed](Dir::unnamed_file) file of [`Self::staging`] the name of a blob, and returns its length.
    /// [`Self::add_blob`] records it.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn keep_file(&self, digest: Digest, file: &File) -> Result<u64, StoreError> {
        let failed = |call| StoreError::io(self.blobs.join(&digest.hex()), call);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let follow = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(rustix::fs::CWD, path, &self.blobs, digest.hex(), follow).map_err(failed("creating"))?;
        let stat = rustix::fs::fstat(file).map_err(failed("stat"))?;
        Ok(u64::try_from(stat.st_size).unwrap_or_default())
    }

    /// Records a snapshot whose directory is whole. Its parent must be recorded first.
    ///
    /// # Errors
    /// [`StoreError::Io`] if its content cannot be measured.
    pub fn add_snapshot(&mut self, snapshot: &NewSnapshot<'_>) -> Result<(), StoreError> {
        let size = match snapshot.kind {
            SnapshotKind::Active => None,
            SnapshotKind::Committed => {
                let number = snapshot.number.to_string();
                let missing = || StoreError::io(self.snapshots.join(&number), "opening")(Errno::NOENT);
                let content = self.snapshots.descend(&[&number, "fs"])?.ok_or_else(missing)?;
                Some(layerfs::tree_blocks(&content).map_err(StoreError::io(content.path(), "measuring"))?)
            }
        };
        self.records.add_snapshot(snapshot, size);
        Ok(())
    }

    /// Records a lease: as long as it is there, containerd keeps these snapshots.
    pub fn add_lease(&mut self, id: &str, snapshots: &[&str]) {
        self.records.add_lease(id, snapshots);
    }

    /// Records a name of an image. An image that loses its last name to another one gets the name that stands for none.
    pub fn add_image(&mut self, image: &NewImage<'_>) {
        self.records.add_image(image);
    }

    /// Makes files of the directory `name` in [`Self::staging`], each named by the hexadecimal digits of its digest, the files of
    /// blobs, and removes the directory. [`Self::add_blob`] records them.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn adopt_blobs(&self, name: &str) -> Result<(), StoreError> {
        if let Some(from) = self.staging.descend(&[name, "blobs", "sha256"])? {
            from.names()?.iter().try_for_each(|blob| from.rename(blob, &self.blobs, blob))?;
        }
        self.staging.remove_tree(name)
    }

    /// Notes that the store is migrated from that of overlay2 in the same root: see [`Migration`](super::migration::Migration).
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn note_migration(&self, complete: bool, configs: &[ChangedConfig]) -> Result<(), StoreError> {
        migration::note(&self.staging, complete, configs)
    }

    /// Makes everything durable, and puts it in the place of containerd's store. Returns the root, still locked.
    ///
    /// # Errors
    /// [`StoreError`]; the root is then as it was before, unless only the last sync has failed.
    pub fn commit(mut self) -> Result<LockedRoot, StoreError> {
        if self.existing.is_some() {
            return self.commit_existing();
        }
        let invalid = |reason: bolt::write::WriteError| StoreError::Invalid {
            path: self.staging.join(CONTAINERD_METADATA),
            reason: reason.to_string(),
        };
        let (records, snapshots) = std::mem::take(&mut self.records).into_databases().map_err(invalid)?;
        let sub = |name: &str| {
            self.staging.sub(name)?.ok_or_else(|| StoreError::io(self.staging.join(name), "opening")(Errno::NOENT))
        };
        if let Some(snapshots) = snapshots {
            sub(OVERLAYFS_SNAPSHOTTER)?.write_new(snapshots::FILE, &snapshots, 0o600)?;
        }
        sub(CONTAINERD_METADATA)?.write_new(metadata::FILE, &records, 0o644)?;
        if self.sync {
            self.staging.sync_file_system()?;
        }
        let root = self.root.as_mut().expect("only the commit takes it away");
        root.check_again()?;
        let failed = || StoreError::io(self.containerd.join(DAEMON), "renaming to");
        let exchange = RenameFlags::EXCHANGE;
        match rustix::fs::renameat_with(&self.containerd, STAGING, &self.containerd, DAEMON, exchange) {
            Ok(()) => {}
            Err(Errno::NOENT) => self.containerd.rename(STAGING, &self.containerd, DAEMON)?,
            // This file system exchanges nothing. Without the old directory, which holds nothing, containerd makes a new one.
            Err(Errno::INVAL | Errno::NOSYS) => {
                self.containerd.remove_tree(DAEMON)?;
                self.containerd.rename(STAGING, &self.containerd, DAEMON)?;
            }
            Err(errno) => return Err(failed()(errno)),
        }
        let mut root = self.root.take().expect("only the commit takes it away");
        root.keep();
        if self.sync {
            self.containerd.sync()?;
            root.dir().sync()?;
        }
        migration::keep_before(&self.containerd, STAGING)?;
        self.containerd.remove_tree(STAGING)?;
        Ok(root)
    }

    fn commit_existing(mut self) -> Result<LockedRoot, StoreError> {
        let existing = self.existing.as_ref().expect("it was asked before");
        let root = self.root.as_mut().expect("only the commit takes it away");
        root.check_again()?;
        existing.commit(std::mem::take(&mut self.records), &self.staging)?;
        let mut root = self.root.take().expect("only the commit takes it away");
        root.keep();
        self.containerd.remove_tree(existing::STAGING)?;
        Ok(root)
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        if self.root.is_some() {
            // The error that led here is the one to report.
            let _ = match &self.existing {
                None => self.containerd.remove_tree(STAGING),
                Some(existing) => existing.take_back(&self.containerd),
            };
        }
    }
}

/// What is in containerd's store of a root, in words; `None` if nothing is that could be lost. Manifests that dockerd has pulled for a
/// storage driver are no loss: it fetches them again.
fn contents(root: &Dir) -> Result<Option<String>, StoreError> {
    let Some(daemon) = root.descend(&CONTAINERD_DAEMON)? else { return Ok(None) };
    let mut pulled = BTreeSet::new();
    if let Some(records) = daemon.sub(CONTAINERD_METADATA)? {
        let found = Metadata::read(&records, NAMESPACE, SNAPSHOTTER)?;
        pulled = metadata::pulled(&records)?;
        let blobs = found.blobs.keys().chain(&found.other_blobs).filter(|blob| !pulled.contains(blob));
        for (count, what) in [
            (found.images.len(), "names of images"),
            (blobs.count(), "blobs"),
            (found.snapshots.len() + found.other_snapshots.len(), "snapshots"),
        ] {
            if count > 0 {
                return Ok(Some(format!("{what} ({count})")));
            }
        }
    }
    let filled = |dir: Option<Dir>| dir.map_or(Ok(false), |dir| dir.is_empty().map(|empty| !empty));
    let is_pulled = |name: &String| Digest::from_hex(name).is_ok_and(|digest| pulled.contains(&digest));
    let files = daemon.descend(&BLOBS)?.map_or(Ok(Vec::new()), |blobs| blobs.names())?;
    if !files.iter().all(is_pulled) {
        return Ok(Some("blobs that no record names".into()));
    }
    for name in daemon.names()?.iter().filter(|name| name.starts_with(SNAPSHOTTER_PREFIX)) {
        if filled(daemon.descend(&[name, "snapshots"])?)? {
            return Ok(Some(format!("snapshots of {}", name.trim_start_matches(SNAPSHOTTER_PREFIX))));
        }
    }
    Ok(None)
}

/// What a store has that would be used again.
#[derive(Debug, Default)]
pub struct Present {
    /// Whether there is no data-root yet.
    pub is_new: bool,
    /// The names of images.
    pub images: BTreeMap<String, ImageRecord>,
    /// Blobs, and their lengths.
    pub blobs: BTreeMap<Digest, u64>,
    /// The keys of snapshots.
    pub snapshots: BTreeSet<String>,
}

/// Checks that containerd's store could be made or added to in a data-root now, and changes nothing. Returns what is in it.
///
/// # Errors
/// [`StoreError::Refused`] if the root must not be written to.
pub fn present(root: &Path) -> Result<Present, StoreError> {
    let permit = Guard { driver: Some(DEFAULT) }.ask(root)?;
    let is_new = permit.is_new();
    let known = permit.into_reader()?.map_or(Ok(None), |known| known.dir.descend(&CONTAINERD_DAEMON))?;
    let Some(daemon) = known else { return Ok(Present { is_new, ..Present::default() }) };
    let Store { metadata, .. } = existing::read(&daemon)?;
    let snapshots = metadata.snapshots.into_keys().collect();
    Ok(Present { is_new, images: metadata.images, blobs: metadata.blobs, snapshots })
}

/// Opens a data-root, which is made where there is none, and begins a store in it, which must have none.
///
/// # Errors
/// Those of [`LockedRoot::open`] and [`StoreWriter::begin`].
pub fn begin(root: &Path, sync: bool) -> Result<StoreWriter, StoreError> {
    StoreWriter::begin(LockedRoot::open(root)?, sync)
}

/// Opens a data-root, which is made where there is none, and begins to add to containerd's store in it.
///
/// # Errors
/// Those of [`LockedRoot::open`] and [`StoreWriter::extend`].
pub fn extend(root: &Path, sync: bool) -> Result<StoreWriter, StoreError> {
    StoreWriter::extend(LockedRoot::open(root)?, sync)
}
