//! `volumes/`: local volumes.
//!
//! ```text
//! volumes/<name>/_data       its content
//! volumes/<name>/opts.json   how it is mounted, for those that are not plain directories
//! volumes/metadata.db        a bbolt database: bucket `volumes`, name -> JSON with the labels
//! ```
//!
//! Follows moby v20.10.24 `volume/local/local.go: New`, `volume/service/db.go`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::config::get;
use super::database;
use crate::dir::Dir;
use crate::error::StoreError;
use bolt::Bolt;

/// The directory of volumes in a data-root.
pub const VOLUMES: &str = "volumes";
/// The directory of a volume's content, in its own.
pub const DATA: &str = "_data";
/// The file that says how a volume is mounted.
const OPTIONS: &str = "opts.json";
/// The database of all volumes.
pub const DATABASE: &str = "metadata.db";

const MAX_OPTIONS: usize = 1 << 20;

/// A local volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// Its name, of its directory too.
    pub name: String,
    /// Its labels; none if the database cannot be read.
    pub labels: BTreeMap<String, String>,
    /// Whether its content is elsewhere and mounted on use.
    pub mounted_on_use: bool,
}

/// Lists the volumes, sorted by name.
///
/// # Errors
/// [`StoreError::Io`] where the directory cannot be listed.
pub fn list(root: &Dir) -> Result<Vec<Volume>, StoreError> {
    let Some(dir) = root.sub(VOLUMES)? else { return Ok(Vec::new()) };
    let mut volumes = Vec::new();
    let database = database::read(&dir, DATABASE).ok().flatten();
    let known = database.as_deref().and_then(|bytes| Bolt::parse(bytes).ok());
    for name in dir.names()? {
        let Ok(Some(own)) = dir.sub(&name) else { continue };
        let options = own.read(OPTIONS, MAX_OPTIONS).ok().flatten();
        let options: Option<Value> = options.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let text = |key: &str| {
            let object = options.as_ref().and_then(Value::as_object)?;
            get(object, key)?.as_str().filter(|text| !text.is_empty())
        };
        let labels = known.as_ref().and_then(|known| labels(known, &name)).unwrap_or_default();
        volumes.push(Volume { mounted_on_use: text("MountType").or(text("MountDevice")).is_some(), labels, name });
    }
    volumes.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(volumes)
}

fn labels(database: &Bolt<'_>, name: &str) -> Option<BTreeMap<String, String>> {
    let bucket = database.root().bucket(b"volumes").ok()??;
    let record: Value = serde_json::from_slice(bucket.get(name.as_bytes()).ok()??).ok()?;
    let labels = get(record.as_object()?, "Labels")?.as_object()?;
    Some(labels.iter().map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect())
}
