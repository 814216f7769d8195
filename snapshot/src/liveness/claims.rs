//! The records of all owners.

use std::collections::BTreeMap;

use layerfs::{ChainId, Digest};

use super::Claim;
use crate::catalog::{Catalog, with_causes};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::root::DataRoot;
use crate::schema::buildkit::Snapshots;

const SMALL_FILE: usize = 4096;
const CACHE_ID: &str = "cache-id";

/// Tells `claim` of each name in the driver's home that a record claims; what cannot be read goes to `unreadable`.
pub(super) fn collect(
    root: &DataRoot,
    catalog: &Catalog,
    unreadable: &mut Vec<String>,
    unfinished: &mut BTreeMap<String, String>,
    claim: &mut impl FnMut(&str, Claim),
) -> Result<(), StoreError> {
    let db = |name: &str| root.images_dir.as_ref().map_or(Ok(None), |dir| dir.descend(&["layerdb", name]));
    if let Some(layers) = db("sha256")? {
        for name in layers.names()? {
            let owner = match (Digest::from_hex(&name), name.ends_with("-removing")) {
                (Ok(digest), _) => Claim::Layer(ChainId(digest)),
                (Err(_), true) => Claim::Removing(name.clone()),
                // dockerd passes over other names.
                (Err(_), false) => continue,
            };
            match cache_id(&layers, &name) {
                Ok(Some(id)) => claim(&id, owner),
                // Its directory went before its record.
                Ok(None) if matches!(owner, Claim::Removing(_)) => {}
                Ok(None) => {
                    unreadable.push(format!("{}: missing or empty", layers.join(&name).join(CACHE_ID).display()));
                }
                Err(error) => unreadable.push(with_causes(&error)),
            }
        }
    }
    if let Some(tmp) = db("tmp")? {
        for name in tmp.names()? {
            if let Ok(Some(id)) = cache_id(&tmp, &name) {
                unfinished.insert(id, name);
            }
        }
    }
    for mount in &catalog.mounts {
        match &mount.mount_id {
            Some(id) => {
                claim(id.as_str(), Claim::Mount(mount.name.clone()));
                // Where dockerd lost the record of it, it is still that one's.
                let init = mount.init_id.as_ref().map_or_else(|| format!("{id}-init"), ToString::to_string);
                claim(&init, Claim::Init(mount.name.clone()));
            }
            None => unreadable.push(format!("layerdb/mounts/{}/mount-id: missing or invalid", mount.name)),
        }
    }
    match Snapshots::read(&root.dir) {
        Ok(snapshots) => {
            for id in snapshots.driver_ids() {
                claim(id.as_str(), Claim::BuildKit(id.to_string()));
            }
        }
        Err(error) => unreadable.push(with_causes(&error)),
    }
    Ok(())
}

/// A record's `cache-id`; `None` if it is missing or empty.
fn cache_id(records: &Dir, name: &str) -> Result<Option<String>, StoreError> {
    let Some(dir) = records.sub(name)? else { return Ok(None) };
    let bytes = dir.read(CACHE_ID, SMALL_FILE)?;
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    Ok(text.filter(|text| !text.is_empty()))
}
