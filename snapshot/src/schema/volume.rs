//! `volumes/`: local volumes.
//!
//! ```text
//! volumes/<name>/_data       its content
//! volumes/<name>/opts.json   how it is mounted, for those that are not plain directories
//! volumes/metadata.db        a bbolt database: bucket `volumes`, name -> JSON with labels and options
//! ```
//!
//! dockerd does not start with an `opts.json` that it cannot decode. Follows moby v20.10.24 `volume/local/local.go: New`,
//! `volume/service/db.go`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::database;
use super::gojson::{self, Checked, DecodeError};
use super::runconfig::Map;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::go_struct;
use crate::ids::VolumeName;
use bolt::{Bolt, BoltError, BucketEntry};

/// The directory of volumes in a data-root.
pub(crate) const VOLUMES: &str = "volumes";
/// The directory of a volume's content, in its own.
pub(crate) const DATA: &str = "_data";
/// The file that says how a volume is mounted.
pub(crate) const OPTIONS: &str = "opts.json";
/// The database of all volumes.
pub(crate) const DATABASE: &str = "metadata.db";

/// Bytes of the largest `opts.json` that is read. Docker has no limit of its own.
const MAX_OPTIONS: usize = 1 << 20;

go_struct! {
    /// `opts.json` (`local.optsConfig`).
    struct Options {
        mount_type: String = "MountType",
        mount_opts: String = "MountOpts",
        mount_device: String = "MountDevice",
        quota: Checked<Quota> = "Quota",
    }
}

go_struct! {
    struct Quota { size: Checked<u64> = "Size" }
}

go_struct! {
    /// A value of the database (`service.volumeMetadata`).
    struct Metadata {
        name: Checked<String> = "Name",
        driver: Checked<String> = "Driver",
        labels: Map<String> = "Labels",
        options: Map<String> = "Options",
    }
}

/// A local volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name, which is also its directory's.
    pub name: VolumeName,
    /// Its labels; none if the database cannot be read.
    pub labels: BTreeMap<String, String>,
    /// Whether it was made with options, as the database has it; no if the database cannot be read.
    pub has_options: bool,
    /// What is wrong with its options, so that dockerd does not start; `None` if nothing is.
    pub fault: Option<DecodeError>,
}

/// Where a volume's content is: `volumes/<name>/_data`.
///
/// # Errors
/// [`StoreError::Io`]
pub fn data(root: &Dir, name: &VolumeName) -> Result<Option<Dir>, StoreError> {
    root.descend(&[VOLUMES, name.as_str(), DATA])
}

/// The path of a volume's content in the data-root at `root`, whether it exists or not.
#[must_use]
pub fn content_path(root: &Path, name: &VolumeName) -> PathBuf {
    root.join(VOLUMES).join(name.as_str()).join(DATA)
}

/// Lists the volumes, sorted by name.
///
/// # Errors
/// [`StoreError::Io`] where the directory cannot be listed.
pub(crate) fn list(root: &Dir) -> Result<Vec<Volume>, StoreError> {
    let Some(dir) = root.sub(VOLUMES)? else { return Ok(Vec::new()) };
    let mut volumes = Vec::new();
    let known = database::read_all(&dir, DATABASE, all_known).ok().flatten().unwrap_or_default();
    for name in dir.names()? {
        let Ok(name) = name.parse::<VolumeName>() else { continue };
        let Ok(Some(own)) = dir.sub(name.as_str()) else { continue };
        // dockerd ignores an options file that it cannot read, unlike one that it cannot decode.
        let options = own.read(OPTIONS, MAX_OPTIONS).ok().flatten();
        let options: Result<Options, _> =
            options.map_or_else(|| Ok(Options::default()), |bytes| gojson::from_slice(&bytes));
        let (labels, has_options) = known.get(name.as_str()).cloned().unwrap_or_default();
        volumes.push(Volume { name, labels, has_options, fault: options.err() });
    }
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(volumes)
}

/// The labels of a volume, and whether it has options.
type Known = (BTreeMap<String, String>, bool);

/// What is known of all volumes by their names.
fn all_known(database: &Bolt<'_>) -> Result<BTreeMap<String, Known>, BoltError> {
    let mut all = BTreeMap::new();
    let Some(bucket) = database.root().bucket(b"volumes")? else { return Ok(all) };
    for entry in &bucket {
        if let BucketEntry::Value(name, record) = entry?
            && let (Ok(name), Ok(record)) = (std::str::from_utf8(&name), gojson::from_slice::<Metadata>(&record))
        {
            let has_options = record.options.is_some_and(|options| !options.is_empty());
            all.insert(name.to_owned(), (record.labels.unwrap_or_default(), has_options));
        }
    }
    Ok(all)
}

/// How a volume is mounted, as its `opts.json` says (`local.optsConfig`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounting {
    /// The type of the file system; `none` for a bind.
    pub kind: String,
    /// The options of the mount.
    pub options: String,
    /// What is mounted.
    pub device: String,
}

impl Mounting {
    /// As dockerd writes it.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let (kind, options, device) = (&self.kind, &self.options, &self.device);
        let quota = serde_json::json!({"Size": 0});
        serde_json::json!({"MountType": kind, "MountOpts": options, "MountDevice": device, "Quota": quota})
            .to_string()
            .into_bytes()
    }
}

/// How a volume is mounted (`local.go: needsMount`); `None` for one that is a plain directory.
///
/// # Errors
/// [`StoreError::Io`]; [`StoreError::Invalid`] for options that dockerd does not start with.
pub fn mounting(root: &Dir, name: &VolumeName) -> Result<Option<Mounting>, StoreError> {
    let Some(own) = root.descend(&[VOLUMES, name.as_str()])? else { return Ok(None) };
    let Some(bytes) = own.read(OPTIONS, MAX_OPTIONS)? else { return Ok(None) };
    let options: Options = gojson::from_slice(&bytes)
        .map_err(|error| StoreError::Invalid { path: own.join(OPTIONS), reason: error.to_string() })?;
    let mounting = Mounting { kind: options.mount_type, options: options.mount_opts, device: options.mount_device };
    Ok(Some(mounting).filter(|mounting| !mounting.kind.is_empty() || !mounting.device.is_empty()))
}

/// What the database says of a volume: its name, labels and options.
pub(crate) type Noted<'n> = (&'n VolumeName, &'n BTreeMap<String, String>, &'n BTreeMap<String, String>);

/// Notes volumes in the database of all volumes, as `volume/service/db.go: setMeta` does, and takes away what is noted of the
/// volumes `gone`. The file is made anew and put in the place of the old one. Where there is nothing to change, nothing is
/// written.
///
/// # Errors
/// [`StoreError::Database`], [`StoreError::Io`]; [`StoreError::Invalid`] for a database that holds more than volumes.
pub(crate) fn note(volumes: &Dir, noted: &[Noted<'_>], gone: &[VolumeName], sync: bool) -> Result<(), StoreError> {
    // dockerd begins a new one in the place of an empty file, too.
    let length = volumes.stat(DATABASE)?.map_or(0, |stat| stat.st_size);
    let found = if length > 0 { database::read_all(volumes, DATABASE, all_values)? } else { None };
    let invalid = |reason: &str| StoreError::Invalid { path: volumes.join(DATABASE), reason: reason.to_owned() };
    let mut all = found.unwrap_or_else(|| Some(BTreeMap::new()));
    let all = all.as_mut().ok_or_else(|| invalid("it holds more than volumes, so it is not written"))?;
    let bucket = all.entry(b"volumes".to_vec()).or_default();
    let before = bucket.clone();
    for name in gone {
        bucket.remove(name.as_str().as_bytes());
    }
    for (name, labels, options) in noted {
        let record =
            serde_json::json!({"Name": name.as_str(), "Driver": "local", "Labels": labels, "Options": options});
        bucket.insert(name.as_str().as_bytes().to_vec(), record.to_string().into_bytes());
    }
    if *bucket == before {
        return Ok(());
    }
    let content = bolt::write::database(all).ok_or_else(|| invalid("it would be too long"))?;
    volumes.replace(DATABASE, &content, 0o600, sync)
}

/// All buckets with their values; `None` if there is anything else.
fn all_values(database: &Bolt<'_>) -> Result<Option<BTreeMap<Vec<u8>, bolt::write::Values>>, BoltError> {
    let mut all = BTreeMap::new();
    for entry in &database.root() {
        let BucketEntry::Bucket(name, bucket) = entry? else { return Ok(None) };
        let mut values = bolt::write::Values::new();
        for entry in &bucket {
            let BucketEntry::Value(key, value) = entry? else { return Ok(None) };
            values.insert(key.to_vec(), value.to_vec());
        }
        all.insert(name.to_vec(), values);
    }
    Ok(Some(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_decoded_as_dockerd_decodes_them() {
        let dir = tempfile::tempdir().unwrap();
        let volume = |options: &str| {
            let own = dir.path().join(VOLUMES).join("v");
            std::fs::create_dir_all(&own).unwrap();
            std::fs::write(own.join(OPTIONS), options).unwrap();
            let volume = list(&Dir::open(dir.path()).unwrap()).unwrap().pop().unwrap();
            volume.fault.map(|fault| fault.to_string())
        };
        assert_eq!(volume(r#"{"MountType":"","MountOpts":"","MountDevice":"","Quota":{"Size":0}}"#), None);
        assert_eq!(volume(r#"{"mounttype":"nfs"}"#), None);
        assert_eq!(volume("null"), None);
        assert_eq!(volume("").unwrap(), "unexpected end of JSON input (byte 0)");
        assert_eq!(volume(r#"{"MountType":1}"#).unwrap(), "MountType must be a string, not a number (byte 14)");
        let negative = "Quota.Size must be a whole number of 64 bits without sign, not number -1 (byte 19)";
        assert_eq!(volume(r#"{"Quota":{"Size":-1}}"#).unwrap(), negative);
        assert!(volume("{} x").is_some());
    }
}
