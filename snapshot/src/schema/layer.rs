//! `layerdb`: what Docker knows of each layer.
//!
//! ```text
//! layerdb/sha256/<64 hex of the chain id>/
//!   diff                 sha256:<diff id>
//!   size                 decimal, no newline: dockerd does not trim it
//!   cache-id             name of the layer's directory in the driver's home
//!   parent               sha256:<chain id>; absent for a base layer
//!   tar-split.json.gz    the journal
//! layerdb/tmp/write-set-<digits>/    a layer that is being registered; renamed to its place in one step
//! ```
//!
//! Follows moby v20.10.24 `layer/filestore.go`. Our own write-sets are named `write-set-layerfs-*`. A write-set gets
//! its `cache-id` before the directory of that name is made in the driver's home, so after a crash the write-set tells
//! which directory to remove.

mod quick;

use std::fs::File;

use layerfs::{ChainId, DiffId, JournalFile};

use crate::dir::{CreatedDirectories, Dir};
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::schema::paths::{LAYER_RECORDS, MOUNTS, REMOVING, WRITE_SETS};

/// The journal's name in a layer's directory.
pub(crate) const JOURNAL: &str = "tar-split.json.gz";

const CACHE_ID: &str = "cache-id";
const DIFF: &str = "diff";
const PARENT: &str = "parent";
const SIZE: &str = "size";

/// The prefix of the names of all write-sets.
pub(crate) const WRITE_SET: &str = "write-set-";

/// The prefix of the names of our write-sets; dockerd's have digits after `write-set-`.
const OUR_WRITE_SET: &str = "write-set-layerfs-";

/// Bytes of the largest small file that is read; Docker writes less than a hundred.
const SMALL_FILE: usize = 4096;

/// One layer as registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerRecord {
    /// The layer with all below it.
    pub chain_id: ChainId,
    /// The layer's own content.
    pub diff_id: DiffId,
    /// The layer below.
    pub parent: Option<ChainId>,
    /// The layer's directory in the driver's home.
    pub cache_id: CacheId,
    /// The layer's size in bytes, by the rule of whoever registered it.
    pub size: u64,
}

/// A file of a layer's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RecordField {
    /// `size`
    Size,
    /// `diff`
    Diff,
    /// `cache-id`
    CacheId,
    /// `parent`
    Parent,
}

impl RecordField {
    /// The file's name.
    #[must_use]
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Size => SIZE,
            Self::Diff => DIFF,
            Self::CacheId => CACHE_ID,
            Self::Parent => PARENT,
        }
    }
}

/// The files of a layer's record, each read on its own: its value, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecordFields {
    pub(crate) diff_id: Result<DiffId, String>,
    pub(crate) size: Result<u64, String>,
    pub(crate) cache_id: Result<CacheId, String>,
    /// A base layer has none.
    pub(crate) parent: Result<Option<ChainId>, String>,
    /// Whether none of the files that a record must have has any content: its registration was interrupted.
    pub(crate) empty: bool,
}

/// The layers of one driver.
#[derive(Debug)]
pub struct LayerStore {
    layers: Option<Dir>,
    tmp: Option<Dir>,
    mounts: Option<Dir>,
}

impl LayerStore {
    /// Opens `layerdb`; a missing directory in it counts as empty.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn open(image_root: &Dir) -> Result<Self, StoreError> {
        let open = |place: &[&str]| image_root.descend(place);
        Ok(Self { layers: open(&LAYER_RECORDS)?, tmp: open(&WRITE_SETS)?, mounts: open(&MOUNTS)? })
    }

    /// Opens or creates `layerdb`.
    pub(crate) fn create(image_root: &Dir, created: &mut CreatedDirectories) -> Result<Self, StoreError> {
        let mut ensure = |[database, name]: [&str; 2]| {
            let database = created.ensure(image_root, database, 0o700)?;
            created.ensure(&database, name, 0o755)
        };
        let (layers, tmp) = (ensure(LAYER_RECORDS)?, ensure(WRITE_SETS)?);
        Ok(Self { layers: Some(layers), tmp: Some(tmp), mounts: image_root.descend(&MOUNTS)? })
    }

    /// Reads a layer's record; `None` if it is not registered.
    ///
    /// # Errors
    /// [`StoreError::DamagedLayer`] where dockerd would not load it.
    pub fn get(&self, chain_id: ChainId) -> Result<Option<LayerRecord>, StoreError> {
        let Some(layers) = &self.layers else { return Ok(None) };
        if let Some(record) = quick::record(layers, chain_id) {
            return Ok(Some(record));
        }
        let Some(dir) = layers.sub(&chain_id.0.hex())? else { return Ok(None) };
        let damaged = |name: &str, reason: String| StoreError::DamagedLayer {
            chain_id,
            reason: format!("{}: {reason}", dir.join(name).display()),
        };
        let text = |name: &str| {
            let bytes = dir.read(name, SMALL_FILE)?;
            let text = bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| damaged(name, "not text".into())));
            text.transpose()
        };
        let required = |name: &str| text(name)?.ok_or_else(|| damaged(name, "missing".into()));
        let id = |name: &str, text: String| {
            text.trim().parse().map_err(|error: layerfs::InvalidDigest| damaged(name, error.to_string()))
        };
        let size = required(SIZE)?;
        Ok(Some(LayerRecord {
            chain_id,
            diff_id: DiffId(id(DIFF, required(DIFF)?)?),
            parent: text(PARENT)?.map(|text| id(PARENT, text)).transpose()?.map(ChainId),
            cache_id: required(CACHE_ID)?
                .trim()
                .parse()
                .map_err(|error: crate::ids::InvalidId| damaged(CACHE_ID, error.to_string()))?,
            size: parse_size(&size).ok_or_else(|| damaged(SIZE, format!("{size:?} is not a number")))?,
        }))
    }

    /// The files of a layer's record, whether dockerd would load it or not; `None` if it is not registered.
    pub(crate) fn fields(&self, chain_id: ChainId) -> Result<Option<RecordFields>, StoreError> {
        let Some(layers) = &self.layers else { return Ok(None) };
        let Some(dir) = layers.sub(&chain_id.0.hex())? else { return Ok(None) };
        let text = |name: &str| match dir.read(name, SMALL_FILE) {
            Ok(bytes) => bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| "not text".to_owned())).transpose(),
            Err(error) => Err(crate::catalog::with_causes(&error)),
        };
        let required = |name: &str| text(name)?.ok_or_else(|| "missing".to_owned());
        let digest = |text: String| match text.trim() {
            "" => Err("empty".to_owned()),
            text => text.parse().map_err(|error: layerfs::InvalidDigest| error.to_string()),
        };
        let number = |text: String| parse_size(&text).ok_or_else(|| format!("{text:?} is not a number"));
        let id = |text: String| match text.trim() {
            "" => Err("empty".to_owned()),
            text => text.parse().map_err(|error: crate::ids::InvalidId| error.to_string()),
        };
        let is_empty = |name| dir.stat(name).is_ok_and(|stat| stat.is_none_or(|stat| stat.st_size == 0));
        Ok(Some(RecordFields {
            diff_id: required(DIFF).and_then(digest).map(DiffId),
            size: required(SIZE).and_then(number),
            cache_id: required(CACHE_ID).and_then(id),
            parent: text(PARENT).and_then(|text| text.map(digest).transpose()).map(|id| id.map(ChainId)),
            empty: [DIFF, SIZE, CACHE_ID].into_iter().all(is_empty),
        }))
    }

    /// The number in `size`, without the white space around it that keeps dockerd from reading it; `None` if the rest
    /// is no number.
    pub(crate) fn untrimmed_size(&self, chain_id: ChainId) -> Option<u64> {
        let dir = self.layers.as_ref()?.sub(&chain_id.0.hex()).ok()??;
        parse_size(String::from_utf8(dir.read(SIZE, SMALL_FILE).ok()??).ok()?.trim())
    }

    /// Replaces a file of a layer's record in one step.
    pub(crate) fn set_field(
        &self,
        chain: ChainId,
        field: RecordField,
        text: &str,
        sync: bool,
    ) -> Result<(), StoreError> {
        let dir = self.registered(chain)?;
        dir.remove_temporaries()?;
        dir.replace(field.file(), text.as_bytes(), 0o644, sync)
    }

    /// Removes a file of a layer's record.
    pub(crate) fn unset_field(&self, chain: ChainId, field: RecordField, sync: bool) -> Result<(), StoreError> {
        let dir = self.registered(chain)?;
        dir.unlink(field.file())?;
        if sync { dir.sync() } else { Ok(()) }
    }

    /// Replaces the journal of a layer in one step.
    pub(crate) fn set_journal(&self, chain: ChainId, gzip: &[u8], sync: bool) -> Result<(), StoreError> {
        let dir = self.registered(chain)?;
        dir.remove_temporaries()?;
        dir.replace(JOURNAL, gzip, 0o644, sync)
    }

    /// Moves the journal of a staged layer to a registered layer and replaces that layer's journal by it, in one step.
    pub(crate) fn move_journal(&self, set: &WriteSet, chain: ChainId, sync: bool) -> Result<(), StoreError> {
        let (from, to) = (self.open_set(set)?, self.registered(chain)?);
        if from.stat(JOURNAL)?.is_none() {
            return Ok(());
        }
        from.rename(JOURNAL, &to, JOURNAL)?;
        if sync { to.sync() } else { Ok(()) }
    }

    /// Moves the record of a registered layer to another chain id: the one that follows from its content.
    pub(crate) fn rename(&self, from: ChainId, to: ChainId) -> Result<(), StoreError> {
        let layers = self.layers()?;
        layers.rename(&from.0.hex(), layers, &to.0.hex())
    }

    fn registered(&self, chain_id: ChainId) -> Result<Dir, StoreError> {
        let layers = self.layers()?;
        let missing = || StoreError::DamagedLayer { chain_id, reason: "missing".into() };
        layers.sub(&chain_id.0.hex())?.ok_or_else(missing)
    }

    /// The chain ids of all registered layers, usable or not.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn list(&self) -> Result<Vec<ChainId>, StoreError> {
        Ok(self.list_with_removals()?.0)
    }

    /// The chain ids of all registered layers, and the names of the records of those whose removal was begun.
    pub(crate) fn list_with_removals(&self) -> Result<(Vec<ChainId>, Vec<String>), StoreError> {
        let names = self.layers.as_ref().map_or(Ok(Vec::new()), Dir::names)?;
        let ids = names.iter().filter_map(|name| layerfs::Digest::from_hex(name).ok().map(ChainId)).collect();
        Ok((ids, names.into_iter().filter(|name| name.ends_with(REMOVING)).collect()))
    }

    /// Opens the journal of a layer; `None` if it has none.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::Invalid`] if it is no regular file.
    pub fn journal(&self, chain_id: ChainId) -> Result<Option<File>, StoreError> {
        let Some(dir) = self.layers.as_ref().map_or(Ok(None), |layers| layers.sub(&chain_id.0.hex()))? else {
            return Ok(None);
        };
        dir.open_file(JOURNAL)
    }

    /// Whether a layer's journal begins as a gzip file.
    pub(crate) fn journal_begins_well(&self, chain_id: ChainId) -> Result<bool, StoreError> {
        const GZIP: [u8; 3] = [0x1f, 0x8b, 8];
        let Some(journal) = self.journal(chain_id)? else { return Ok(false) };
        let mut beginning = [0; GZIP.len()];
        let read = std::os::unix::fs::FileExt::read_at(&journal, &mut beginning, 0);
        let read = read.map_err(StoreError::io(chain_id.0.hex() + "/" + JOURNAL, "reading"))?;
        Ok(beginning[..read] == GZIP)
    }

    /// The directory of mounts.
    pub(crate) fn mounts(&self) -> Option<&Dir> {
        self.mounts.as_ref()
    }

    /// Writes the record of a mount that has none, in one step. A crash leaves nothing, or a write-set that names no
    /// directory.
    pub(crate) fn put_mount(
        &self,
        image_root: &Dir,
        name: &str,
        files: &[(&str, String)],
        sync: bool,
    ) -> Result<(), StoreError> {
        let mounts = match &self.mounts {
            Some(mounts) => mounts.duplicate()?,
            None => {
                let [database, own] = MOUNTS;
                let missing = || StoreError::Invalid { path: image_root.join(database), reason: "missing".into() };
                let database = image_root.sub(database)?.ok_or_else(missing)?;
                match database.sub(own)? {
                    Some(mounts) => mounts,
                    None => database.create(own, 0o755)?,
                }
            }
        };
        let temporary = write_set_name(&CacheId::random());
        let record = self.tmp()?.create(&temporary, 0o755)?;
        let written = files.iter().try_for_each(|(file, text)| record.replace(file, text.as_bytes(), 0o644, sync));
        let placed = written.and_then(|()| self.tmp()?.rename(&temporary, &mounts, name));
        if placed.is_err() {
            // The first error is the one to report.
            let _ = self.tmp()?.remove_tree(&temporary);
        }
        placed?;
        if sync { mounts.sync() } else { Ok(()) }
    }

    /// Begins a layer: makes a write-set that names the layer's directory, which does not exist yet. A failure leaves
    /// nothing behind.
    pub(crate) fn begin(&self, cache_id: &CacheId, sync: bool) -> Result<WriteSet, StoreError> {
        let set = WriteSet::of_layer(cache_id);
        let dir = self.tmp()?.create(&set.name, 0o700)?;
        let named = name_directory(&dir, cache_id, sync);
        if named.is_err() {
            // The first error is the one to report. Close the directory before the cleanup, which needs a descriptor:
            // this may have been the last one that the process could have.
            drop(dir);
            let _ = self.abandon(&set);
        }
        named.map(|()| set)
    }

    /// Opens a write-set's directory. It is opened for each use and not kept open: an import may have more layers than
    /// a process may have descriptors.
    fn open_set(&self, set: &WriteSet) -> Result<Dir, StoreError> {
        let tmp = self.tmp()?;
        let missing = || StoreError::Invalid { path: tmp.join(&set.name), reason: "missing".into() };
        tmp.sub(&set.name)?.ok_or_else(missing)
    }

    /// The file that the journal of a staged layer is written to.
    pub(crate) fn staged_journal(&self, set: &WriteSet) -> Result<JournalFile, StoreError> {
        Ok(JournalFile { dir: self.open_set(set)?.owned_fd()?, name: JOURNAL })
    }

    /// Opens the journal of a staged layer; `None` if it has none.
    pub(crate) fn open_staged_journal(&self, set: &WriteSet) -> Result<Option<File>, StoreError> {
        self.open_set(set)?.open_file(JOURNAL)
    }

    /// Makes the names of write-sets durable.
    pub(crate) fn sync_write_sets(&self) -> Result<(), StoreError> {
        self.tmp()?.sync()
    }

    /// Completes the record of a layer in its write-set.
    pub(crate) fn describe(&self, set: &WriteSet, record: &LayerRecord) -> Result<(), StoreError> {
        let dir = self.open_set(set)?;
        dir.write_new(DIFF, record.diff_id.to_string().as_bytes(), 0o644)?;
        dir.write_new(SIZE, record.size.to_string().as_bytes(), 0o644)?;
        if let Some(parent) = record.parent {
            dir.write_new(PARENT, parent.to_string().as_bytes(), 0o644)?;
        }
        Ok(())
    }

    /// Registers a described layer. Durable after [`LayerStore::sync`].
    pub(crate) fn publish(&self, set: &WriteSet, chain_id: ChainId) -> Result<(), StoreError> {
        self.tmp()?.rename(&set.name, self.layers()?, &chain_id.0.hex())
    }

    /// Makes registrations durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.layers()?.sync()?;
        self.tmp()?.sync()
    }

    /// Draws the name under which a layer's record waits for its removal, in dockerd's form. dockerd does not load a
    /// record of such a name as a layer, and finishes the removal itself (moby v20.10.24 `layer/filestore.go: Remove,
    /// getOrphan`).
    pub(crate) fn removing_name(chain_id: ChainId) -> String {
        format!("{}-{}{REMOVING}", chain_id.0.hex(), CacheId::random())
    }

    /// Begins the removal of a registered layer, in one step, by renaming its record to `name`, which is from
    /// [`LayerStore::removing_name`]. Does nothing if the layer is not registered.
    pub(crate) fn withdraw(&self, chain_id: ChainId, name: &str) -> Result<(), StoreError> {
        let layers = self.layers()?;
        let hex = chain_id.0.hex();
        if layers.stat(&hex)?.is_none() { Ok(()) } else { layers.rename(&hex, layers, name) }
    }

    /// The directory that belongs to a layer whose removal was begun; `None` if the record is gone or has lost it.
    pub(crate) fn removing_cache_id(&self, name: &str) -> Result<Option<CacheId>, StoreError> {
        cache_id_in(self.layers()?, name)
    }

    /// Layers whose removal was begun, by the names of their records.
    pub(crate) fn removing(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.list_with_removals()?.1)
    }

    /// The directory of a registered layer, whatever else its record lacks; `None` if the record has lost it.
    pub(crate) fn registered_cache_id(&self, chain_id: ChainId) -> Result<Option<CacheId>, StoreError> {
        cache_id_in(self.layers()?, &chain_id.0.hex())
    }

    /// The diff ids of all registered layers.
    ///
    /// # Errors
    /// [`StoreError`], also if the record of any layer has no readable diff id.
    pub(crate) fn diff_ids(&self) -> Result<std::collections::HashSet<DiffId>, StoreError> {
        let content = |chain_id: ChainId| {
            let damaged = |reason: String| StoreError::DamagedLayer { chain_id, reason };
            let bytes = match self.layers()?.sub(&chain_id.0.hex())? {
                Some(dir) => dir.read(DIFF, SMALL_FILE)?.ok_or_else(|| damaged(format!("{DIFF} is missing")))?,
                None => return Err(damaged("missing".into())),
            };
            let text = String::from_utf8_lossy(&bytes);
            Ok(DiffId(text.trim().parse().map_err(|error: layerfs::InvalidDigest| damaged(error.to_string()))?))
        };
        self.list()?.into_iter().map(content).collect()
    }

    /// The layer below a registered one, whatever else its record lacks; `None` for a base layer.
    pub(crate) fn registered_parent(&self, chain_id: ChainId) -> Result<Option<ChainId>, StoreError> {
        let Some(dir) = self.layers()?.sub(&chain_id.0.hex())? else { return Ok(None) };
        let Some(bytes) = dir.read(PARENT, SMALL_FILE)? else { return Ok(None) };
        let damaged = |error: layerfs::InvalidDigest| StoreError::DamagedLayer { chain_id, reason: error.to_string() };
        Ok(Some(ChainId(String::from_utf8_lossy(&bytes).trim().parse().map_err(damaged)?)))
    }

    /// Unfinished registrations, ours and dockerd's, each with the directory that it names. Those that name none are
    /// left out.
    pub(crate) fn unfinished(&self) -> Result<Vec<(String, CacheId)>, StoreError> {
        let Some(tmp) = &self.tmp else { return Ok(Vec::new()) };
        let named = |name: String| cache_id_in(tmp, &name).ok().flatten().map(|id| (name, id));
        Ok(tmp.names()?.into_iter().filter_map(named).collect())
    }

    /// All registrations that were not finished, dockerd's and ours.
    pub(crate) fn registrations(&self) -> Result<Vec<String>, StoreError> {
        let names = self.tmp.as_ref().map_or(Ok(Vec::new()), Dir::names)?;
        Ok(names.into_iter().filter(|name| name.starts_with(WRITE_SET)).collect())
    }

    /// All names in `layerdb/tmp`.
    pub(crate) fn tmp_names(&self) -> Result<Vec<String>, StoreError> {
        self.tmp.as_ref().map_or(Ok(Vec::new()), Dir::names)
    }

    /// Whether a registration that was not finished is ours.
    pub(crate) fn is_own(registration: &str) -> bool {
        registration.starts_with(OUR_WRITE_SET)
    }

    /// Removes a write-set.
    pub(crate) fn abandon(&self, set: &WriteSet) -> Result<(), StoreError> {
        self.tmp()?.remove_tree(&set.name)
    }

    /// Write-sets of ours that a crash has left.
    pub(crate) fn leftovers(&self) -> Result<Vec<String>, StoreError> {
        let names = self.tmp.as_ref().map_or(Ok(Vec::new()), Dir::names)?;
        Ok(names.into_iter().filter(|name| name.starts_with(OUR_WRITE_SET)).collect())
    }

    /// The directory that a write-set names; `None` if the crash came before it was written down.
    pub(crate) fn leftover_cache_id(&self, name: &str) -> Result<Option<CacheId>, StoreError> {
        cache_id_in(self.tmp()?, name)
    }

    /// The directory of write-sets and records of intent.
    pub(crate) fn tmp(&self) -> Result<&Dir, StoreError> {
        Ok(self.tmp.as_ref().expect("a store that is written to was created, with its directories"))
    }

    fn layers(&self) -> Result<&Dir, StoreError> {
        Ok(self.layers.as_ref().expect("a store that is written to was created, with its directories"))
    }
}

/// Parses a size as Go's `strconv.ParseInt` does: digits, perhaps with a sign, and nothing around them. dockerd loads a
/// layer with a negative size; here that counts as 0.
fn parse_size(text: &str) -> Option<u64> {
    let size: i64 = text.parse().ok()?;
    Some(u64::try_from(size).unwrap_or(0))
}

/// Whether Go's `digest.Parse` accepts a text. It also accepts SHA-384 and SHA-512, which no file of a layer has in
/// practice.
pub(super) fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == digits && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The name of a layer's write-set.
fn write_set_name(cache_id: &CacheId) -> String {
    let id = cache_id.as_str();
    format!("{OUR_WRITE_SET}{}", &id[..20.min(id.len())])
}

/// The `cache-id` of a record; `None` if it is missing or not written yet.
pub(crate) fn cache_id_in(records: &Dir, name: &str) -> Result<Option<CacheId>, StoreError> {
    let Some(dir) = records.sub(name)? else { return Ok(None) };
    let Some(bytes) = dir.read(CACHE_ID, SMALL_FILE)? else { return Ok(None) };
    let invalid = |reason: String| StoreError::Invalid { path: dir.join(CACHE_ID), reason };
    let text = String::from_utf8(bytes).map_err(|_| invalid("not text".into()))?;
    if text.trim().is_empty() {
        return Ok(None);
    }
    text.trim().parse().map(Some).map_err(|error: crate::ids::InvalidId| invalid(error.to_string()))
}

/// Writes the `cache-id` of a write-set: the name of the layer's directory.
fn name_directory(dir: &Dir, cache_id: &CacheId, sync: bool) -> Result<(), StoreError> {
    let file = dir.write_new(CACHE_ID, cache_id.as_str().as_bytes(), 0o644)?;
    if sync {
        file.sync_all().map_err(StoreError::io(dir.join(CACHE_ID), "fsync"))?;
        dir.sync()?;
    }
    Ok(())
}

/// The write-set of a layer that is being registered.
#[derive(Debug)]
pub(crate) struct WriteSet {
    name: String,
    pub(crate) cache_id: CacheId,
}

impl WriteSet {
    /// The one that is made for a layer whose directory will have this name.
    pub(crate) fn of_layer(cache_id: &CacheId) -> Self {
        Self { name: write_set_name(cache_id), cache_id: cache_id.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_what_go_parses() {
        for (text, size) in
            [("0", 0), ("007", 7), ("+5", 5), ("-5", 0), ("9223372036854775807", i64::MAX.unsigned_abs())]
        {
            assert_eq!(parse_size(text), Some(size), "{text}");
        }
        for bad in ["", " 3", "3\n", "3.0", "1e3", "0x10", "1_000", "9223372036854775808", "--1", "+"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }
}
