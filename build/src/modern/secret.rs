//! What proves that a record of the cache was made here: an image that was pulled or loaded may say that it is any step's result.
//!
//! A number that only this store knows goes into a digest which each record has. It is in a volume, as the caches of commands are, so
//! that whoever knows volumes knows it. Without it, nothing is found in the cache, and nothing else is lost.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use containers::Store;
use layerfs::{DiffId, Digest};
use serde_json::json;
use snapshot::ids::CacheId;

use super::cache::Keys;
use crate::BuildError;
use crate::key_volume::{self, key_dir};
use crate::store::BuildStore;

/// Digits of the number.
const LENGTH: usize = 64;

fn file(root: &Path) -> PathBuf {
    key_dir(root).join("key")
}

/// The number of a store, if it has one.
pub(super) fn read(root: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(file(root)).ok()?.take(LENGTH as u64 + 1).read_to_string(&mut text).ok()?;
    (text.len() == LENGTH).then_some(text)
}

/// The number of a store; one that has none gets one.
pub(super) fn read_or_make(store: &BuildStore<'_>) -> Result<String, BuildError> {
    if let Some(known) = read(&store.root) {
        return Ok(known);
    }
    let _writing = store.writing();
    let volumes = Store { root: store.root.clone(), driver: store.driver };
    let labels = BTreeMap::from([("layerfs.build".to_owned(), "key".to_owned())]);
    volumes.create_volume(Some(key_volume::NAME), labels, BTreeMap::new())?;
    let number = CacheId::random().as_str().to_owned();
    let path = file(&store.root);
    let temporary = path.with_file_name(&number);
    let made = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary);
    let made = made.and_then(|mut file| file.write_all(number.as_bytes()));
    // Of two builds that do this at once, one number stays.
    let linked = made.and_then(|()| match std::fs::hard_link(&temporary, &path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    });
    let removed = std::fs::remove_file(&temporary);
    linked.and(removed).map_err(BuildError::io("writing the key of the cache"))?;
    Ok(read(&store.root).unwrap_or(number))
}

/// What a record has that was made with this number.
pub(super) fn proof(number: &str, keys: &Keys, layers: &[DiffId]) -> String {
    Digest::hash(json!([number, keys.key, keys.content, layers, number]).to_string().as_bytes()).hex()
}
