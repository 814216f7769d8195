//! The record of a registered layer: its small files, read together or one by one, and replaced.

use std::cell::Cell;
use std::collections::BTreeMap;

use layerfs::{ChainId, DiffId};
use rustix::fs::FileType;

use super::{JOURNAL, LayerStore, quick};
use crate::catalog::with_causes;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::go_struct;
use crate::ids::CacheId;
use crate::schema::gojson;

pub(super) const CACHE_ID: &str = "cache-id";
pub(super) const DIFF: &str = "diff";
pub(super) const PARENT: &str = "parent";
pub(super) const SIZE: &str = "size";
pub(super) const DESCRIPTOR: &str = "descriptor.json";

/// Bytes of the largest small file that is read; Docker writes less than a hundred.
const SMALL_FILE: usize = 4096;

/// Bytes of the longest `descriptor.json` that is read.
const LONG_DESCRIPTOR: usize = 1 << 20;

go_struct! {
    /// The fields of `distribution.Descriptor`, which dockerd decodes from `descriptor.json`. Only dockerd for Windows writes that file.
    struct Descriptor {
        media_type: String = "mediaType",
        size: i64 = "size",
        digest: String = "digest",
        urls: Option<Vec<String>> = "urls",
        annotations: Option<BTreeMap<String, String>> = "annotations",
        platform: Option<Box<Platform>> = "platform",
    }
}

go_struct! {
    /// `v1.Platform`.
    struct Platform {
        architecture: String = "architecture",
        os: String = "os",
        os_version: String = "os.version",
        os_features: Option<Vec<String>> = "os.features",
        variant: String = "variant",
    }
}

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordField {
    /// `size`
    Size,
    /// `diff`
    Diff,
    /// `cache-id`
    CacheId,
    /// `parent`
    Parent,
    /// `descriptor.json`, which a layer for Linux does not have. dockerd does not load a layer with one that it cannot decode.
    Descriptor,
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
            Self::Descriptor => DESCRIPTOR,
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
    /// What dockerd would not decode; most layers have no such file.
    pub(crate) descriptor: Result<(), String>,
    /// Whether none of the files that a record must have has any content: its registration was interrupted.
    pub(crate) empty: bool,
    /// Why one of the files could not be read, though it may be sound.
    pub(crate) unread: Option<String>,
}

impl LayerStore {
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
        read_descriptor(&dir).map_err(|reason| damaged(DESCRIPTOR, reason))?;
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
        let unread = Cell::new(None);
        let text = |name: &str| match dir.read(name, SMALL_FILE) {
            Ok(bytes) => bytes.map(|bytes| String::from_utf8(bytes).map_err(|_| "not text".to_owned())).transpose(),
            Err(error) => {
                let cause = with_causes(&error);
                if error.leaves_open() {
                    unread.set(Some(cause.clone()));
                }
                Err(cause)
            }
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
            descriptor: read_descriptor(&dir),
            empty: [DIFF, SIZE, CACHE_ID].into_iter().all(is_empty),
            unread: unread.take(),
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
        dir.clear(field.file(), FileType::RegularFile)?;
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
}

/// Reads `descriptor.json` as dockerd does: one that is missing is fine, any other must be decoded. Returns what is wrong.
fn read_descriptor(dir: &Dir) -> Result<(), String> {
    let bytes = dir.read(DESCRIPTOR, LONG_DESCRIPTOR).map_err(|error| with_causes(&error))?;
    let decoded = bytes.map(|bytes| gojson::from_slice::<Descriptor>(&bytes)).transpose();
    decoded.map(drop).map_err(|error| error.to_string())
}

/// Parses a size as Go's `strconv.ParseInt` does: digits, perhaps with a sign, and nothing around them. dockerd loads a
/// layer with a negative size; here that counts as 0.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let size: i64 = text.parse().ok()?;
    Some(u64::try_from(size).unwrap_or(0))
}

/// Whether Go's `digest.Parse` accepts a text. It also accepts SHA-384 and SHA-512, which no file of a layer has in
/// practice.
pub(in crate::schema) fn is_digest(text: &str) -> bool {
    let Some((algorithm, hex)) = text.split_once(':') else { return false };
    let digits = match algorithm {
        "sha256" => 64,
        "sha384" => 96,
        "sha512" => 128,
        _ => return false,
    };
    hex.len() == digits && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
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
