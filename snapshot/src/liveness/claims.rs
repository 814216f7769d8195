//! The records of all owners.

use std::collections::HashMap;

use layerfs::{ChainId, Digest};

use super::{Claim, Doubt};
use crate::catalog::{Catalog, with_causes};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::root::DataRoot;
use crate::schema::buildkit::Snapshots;

const SMALL_FILE: usize = 4096;
const CACHE_ID: &str = "cache-id";

/// Who claims which name in the driver's home.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) by_name: HashMap<String, Vec<Claim>>,
    /// Names that unfinished registrations name, and the registrations.
    pub(super) unfinished: HashMap<String, String>,
    /// What could not be read.
    pub(super) doubts: Vec<Doubt>,
}

impl Claims {
    pub(super) fn add(&mut self, name: &str, claim: Claim) {
        if let Some(claims) = self.by_name.get_mut(name) {
            claims.push(claim);
        } else {
            self.by_name.insert(name.to_owned(), vec![claim]);
        }
    }

    /// Asks all owners.
    pub(super) fn collect(
        root: &DataRoot,
        catalog: &Catalog,
        snapshots: Result<&Snapshots, &StoreError>,
    ) -> Result<Self, StoreError> {
        let mut claims = Self::default();
        claims.layers(root, catalog)?;
        claims.mounts(catalog);
        match snapshots {
            Ok(snapshots) => {
                for id in snapshots.driver_ids() {
                    claims.add(id.as_str(), Claim::BuildKit(id.to_string()));
                }
            }
            Err(error) => claims.doubts.push(Doubt::BuildCache { cause: with_causes(error) }),
        }
        Ok(claims)
    }

    fn layers(&mut self, root: &DataRoot, catalog: &Catalog) -> Result<(), StoreError> {
        let db = |name: &str| root.images_dir.as_ref().map_or(Ok(None), |dir| dir.descend(&["layerdb", name]));
        for record in catalog.layers.values().flatten() {
            self.add(record.cache_id.as_str(), Claim::Layer(record.chain_id));
        }
        if let Some(layers) = db("sha256")? {
            for name in layers.names()? {
                let owner = match (Digest::from_hex(&name), name.ends_with("-removing")) {
                    (Ok(digest), _) if catalog.layer(ChainId(digest)).is_some() => continue,
                    (Ok(digest), _) => Claim::Layer(ChainId(digest)),
                    (Err(_), true) => Claim::Removing(name.clone()),
                    // dockerd passes over other names.
                    (Err(_), false) => continue,
                };
                match cache_id(&layers, &name) {
                    Ok(Some(id)) => self.add(&id, owner),
                    // Its directory went before its record.
                    Ok(None) if matches!(owner, Claim::Removing(_)) => {}
                    Ok(None) => {
                        let cause = format!("{CACHE_ID} is missing or empty");
                        self.doubts.push(Doubt::LayerRecord { record: name, cause });
                    }
                    Err(error) => {
                        self.doubts.push(Doubt::LayerRecord { record: name, cause: with_causes(&error) });
                    }
                }
            }
        }
        if let Some(tmp) = db("tmp")? {
            for name in tmp.names()? {
                if let Ok(Some(id)) = cache_id(&tmp, &name) {
                    self.unfinished.insert(id, name);
                }
            }
        }
        Ok(())
    }

    fn mounts(&mut self, catalog: &Catalog) {
        for mount in &catalog.mounts {
            if let Some(id) = &mount.mount_id {
                self.add(id.as_str(), Claim::Mount(mount.name.clone()));
                // Where dockerd lost the record of it, it is still that one's.
                let init = mount.init_id.as_ref().map_or_else(|| format!("{id}-init"), ToString::to_string);
                self.add(&init, Claim::Init(mount.name.clone()));
            }
            for name in &mount.also_names {
                self.add(name, Claim::Mount(mount.name.clone()));
            }
            for cause in [mount.unknown_layer(), mount.unknown_init()].into_iter().flatten() {
                self.doubts.push(Doubt::Mount { mount: mount.name.clone(), cause: cause.clone() });
            }
        }
    }
}

/// A record's `cache-id`; `None` if it is missing or empty.
fn cache_id(records: &Dir, name: &str) -> Result<Option<String>, StoreError> {
    let Some(dir) = records.sub(name)? else { return Ok(None) };
    let bytes = dir.read(CACHE_ID, SMALL_FILE)?;
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).trim().to_owned());
    Ok(text.filter(|text| !text.is_empty()))
}
