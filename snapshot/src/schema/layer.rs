//! `layerdb`: what Docker knows of each layer.
//!
//! ```text
//! layerdb/sha256/<64 hex of the chain id>/
//!   diff                 sha256:<diff id>
//!   size                 decimal, no newline: dockerd does not trim it
//!   cache-id             name of the layer's directory in the driver's home
//!   parent               sha256:<chain id>; absent for a base layer
//!   tar-split.json.gz    the journal
//!   descriptor.json      of dockerd for Windows alone; one that cannot be decoded keeps dockerd from loading the layer
//! layerdb/tmp/write-set-<digits>/    a layer that is being registered; renamed to its place in one step
//! ```
//!
//! Follows moby v20.10.24 `layer/filestore.go`.

mod quick;
mod record;
mod removal;
mod write_set;

use std::fs::File;

use layerfs::ChainId;

use crate::dir::{CreatedDirectories, Dir};
use crate::error::StoreError;
use crate::ids::CacheId;
use crate::schema::paths::{LAYER_RECORDS, MOUNTS, REMOVING, WRITE_SETS};
pub(super) use record::is_digest;
pub use record::{LayerRecord, RecordField};
pub(crate) use record::{RecordFields, cache_id_in};
pub(crate) use write_set::WriteSet;
use write_set::write_set_name;

/// The journal's name in a layer's directory.
pub(crate) const JOURNAL: &str = "tar-split.json.gz";

/// The prefix of the names of all write-sets.
pub(crate) const WRITE_SET: &str = "write-set-";

/// The layers of one driver.
#[derive(Debug)]
pub struct LayerStore {
    layers: Option<Dir>,
    tmp: Option<Dir>,
    mounts: Option<Dir>,
}

impl LayerStore {
    /// Opens `layerdb`; a missing directory in it counts as empty. So does a file in the place of `tmp`, with which dockerd starts.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub fn open(image_root: &Dir) -> Result<Self, StoreError> {
        let open = |place: &[&str]| image_root.descend(place);
        Ok(Self {
            layers: open(&LAYER_RECORDS)?,
            tmp: image_root.descend_unless_file(&WRITE_SETS)?,
            mounts: open(&MOUNTS)?,
        })
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
        let (mut ids, mut removals) = (Vec::new(), Vec::new());
        let Some(layers) = &self.layers else { return Ok((ids, removals)) };
        layers.each_name(|name| {
            let name = name.to_str().unwrap_or_default();
            ids.extend(layerfs::Digest::from_hex(name).ok().map(ChainId));
            removals.extend(name.ends_with(REMOVING).then(|| name.to_owned()));
            true
        })?;
        Ok((ids, removals))
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
                image_root.sub(database)?.ok_or_else(missing)?.sub_or_create(own, 0o755)?
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

    /// Makes registrations durable.
    pub(crate) fn sync(&self) -> Result<(), StoreError> {
        self.layers()?.sync()?;
        self.tmp()?.sync()
    }

    /// All names in `layerdb/tmp`.
    pub(crate) fn tmp_names(&self) -> Result<Vec<String>, StoreError> {
        self.tmp.as_ref().map_or(Ok(Vec::new()), Dir::names)
    }

    /// The directory of write-sets and records of intent.
    pub(crate) fn tmp(&self) -> Result<&Dir, StoreError> {
        Ok(self.tmp.as_ref().expect("a store that is written to was created, with its directories"))
    }

    /// The same for a store that may lack it.
    pub(crate) fn tmp_or_none(&self) -> Option<&Dir> {
        self.tmp.as_ref()
    }

    fn layers(&self) -> Result<&Dir, StoreError> {
        Ok(self.layers.as_ref().expect("a store that is written to was created, with its directories"))
    }
}
