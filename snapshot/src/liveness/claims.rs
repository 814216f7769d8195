//! The rules by which records claim directories. Reports and writers use the same ones.
//!
//! A record that cannot be read is a [`Doubt`]. Some doubts are so unlikely to matter that a report leaves them out; only code that
//! deletes heeds them. These are called reservations.
//!
//! | cannot be read, or is wrong | counts as |
//! |---|---|
//! | the `cache-id` of a layer, or of one whose removal was begun | a doubt |
//! | the `parent` of a layer | a reservation |
//! | a mount's `mount-id` or `init-id` | a doubt |
//! | a mount's `parent`, and an entry of the mounts that is no directory | a reservation |
//! | a directory of two owners, one of them a layer, so that one record is wrong | a reservation |
//! | a container's own entry of the mounts, which is missing | no doubt: the container claims each pair of directories that might be its own |
//! | a `parent` that is not there, of a mount whose directory stands on layers by what the driver says, or is not there | a reservation |
//! | `buildkit/snapshots.db` | a doubt |

use std::collections::{HashMap, HashSet};

use layerfs::ChainId;

use super::{Claim, Doubt};
use crate::catalog::{Catalog, MountDamage, with_causes};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId};
use crate::root::DataRoot;
use crate::schema::buildkit::Snapshots;
use crate::schema::container::{self, ContainerFault};
use crate::schema::layer::LayerStore;
use crate::schema::mount::MountRecord;

/// Who claims which name in the driver's home.
#[derive(Debug, Default)]
pub(super) struct Claims {
    pub(super) by_name: HashMap<String, Vec<Claim>>,
    /// Names of directories, each with the unfinished registration that names it.
    pub(super) unfinished: HashMap<String, String>,
    /// What could not be read.
    pub(super) doubts: Vec<Doubt>,
    /// Doubts that only code that deletes heeds.
    pub(super) reservations: Vec<Doubt>,
    /// Mounts without a `parent`. An image without layers has such containers, so that the driver is asked what they stand on.
    pub(super) without_parent: Vec<WithoutParent>,
    /// A container whose entry of the mounts is gone, so that nothing says which directories are its own.
    pub(super) lost: Option<ContainerId>,
    /// The first call that failed and that may succeed the next time.
    pub(super) failed: Option<StoreError>,
}

/// A mount that does not say on which layer it stands.
#[derive(Debug)]
pub(super) struct WithoutParent {
    /// The directory of the writable layer.
    pub(super) writable: CacheId,
    /// That of its init files, which may not exist.
    pub(super) init: String,
    /// The doubt to record if it stands on layers.
    pub(super) doubt: Doubt,
}

impl Claims {
    pub(super) fn add(&mut self, name: &str, claim: Claim) {
        if let Some(claims) = self.by_name.get_mut(name) {
            claims.push(claim);
        } else {
            self.by_name.insert(name.to_owned(), vec![claim]);
        }
    }

    pub(super) fn note_failure(&mut self, error: StoreError) {
        if matches!(error, StoreError::Io { .. }) {
            self.failed.get_or_insert(error);
        }
    }

    /// Asks all owners. Layers that the catalog could load are not read again.
    pub(super) fn collect(
        root: &DataRoot,
        catalog: &Catalog,
        snapshots: Result<&Snapshots, &StoreError>,
    ) -> Result<Self, StoreError> {
        let mut claims = Self::default();
        for record in catalog.layers.values().flatten() {
            claims.add(record.cache_id.as_str(), Claim::Layer(record.chain_id));
        }
        if let Some(layers) = root.layers()? {
            let (registered, removing) = layers.list_with_removals()?;
            for chain_id in registered.into_iter().filter(|id| catalog.layer(*id).is_none()) {
                claims.registered(&layers, chain_id);
            }
            claims.removing(&layers, removing);
            claims.unfinished = layers.unfinished()?.into_iter().map(|(name, id)| (id.to_string(), name)).collect();
        }
        catalog.mounts.iter().for_each(|mount| claims.mount(mount));
        claims.find_lost(&root.dir, &root.driver_name, &catalog.mounts)?;
        claims.build_cache(snapshots);
        Ok(claims)
    }

    /// Claims the directory of a registered layer, by its record. Returns the layer below it.
    pub(super) fn registered(&mut self, layers: &LayerStore, chain_id: ChainId) -> Option<ChainId> {
        let record = chain_id.0.hex();
        match layers.registered_cache_id(chain_id) {
            Ok(Some(id)) => self.add(id.as_str(), Claim::Layer(chain_id)),
            Ok(None) => {
                self.doubts
                    .push(Doubt::LayerRecord { record: record.clone(), cause: "its cache-id is missing".into() });
            }
            Err(error) => {
                self.doubts.push(Doubt::LayerRecord { record: record.clone(), cause: with_causes(&error) });
                self.note_failure(error);
            }
        }
        layers.registered_parent(chain_id).unwrap_or_else(|error| {
            self.reservations.push(Doubt::LayerRecord { record, cause: with_causes(&error) });
            self.note_failure(error);
            None
        })
    }

    /// Claims the directories of layers whose removal was begun.
    pub(super) fn removing(&mut self, layers: &LayerStore, records: Vec<String>) {
        for record in records {
            match layers.removing_cache_id(&record) {
                Ok(Some(id)) => self.add(id.as_str(), Claim::Removing(record)),
                // A removal deletes the directory first, so a `-removing` record without a cache-id claims nothing.
                Ok(None) => {}
                Err(error) => {
                    self.doubts.push(Doubt::LayerRecord { record, cause: with_causes(&error) });
                    self.note_failure(error);
                }
            }
        }
    }

    /// Finds a container that has none of the entries of `layerdb/mounts`.
    pub(super) fn find_lost(&mut self, root: &Dir, driver: &str, mounts: &[MountRecord]) -> Result<(), StoreError> {
        let Some(containers) = container::open(root)? else { return Ok(()) };
        let known: HashSet<&str> =
            mounts.iter().filter(|mount| !mount.is_empty()).map(|mount| mount.name.as_str()).collect();
        for name in containers.names()? {
            let Ok(id) = name.parse::<ContainerId>() else { continue };
            if known.contains(name.as_str()) {
                continue;
            }
            let Ok(Some(own)) = containers.sub(&name) else { continue };
            // Without a config there is no container. A container of another driver has its directories in that driver's
            // home.
            let is_lost = match container::read(&own, &id) {
                Ok(container) => container.driver == driver,
                Err(ContainerFault::Missing) => false,
                Err(_) => true,
            };
            if is_lost {
                self.lost = Some(id);
                break;
            }
        }
        Ok(())
    }

    /// Claims the directories of an entry of `layerdb/mounts`.
    pub(super) fn mount(&mut self, mount: &MountRecord) {
        if mount.is_empty() {
            return;
        }
        if let Some(id) = &mount.mount_id {
            self.add(id.as_str(), Claim::Mount(mount.name.clone()));
            // If `init-id` is missing, `<mount-id>-init` still belongs to this mount.
            let init = mount.init_id.as_ref().map_or_else(|| format!("{id}-init"), ToString::to_string);
            self.add(&init, Claim::Init(mount.name.clone()));
        }
        for name in &mount.also_names {
            self.add(name, Claim::Mount(mount.name.clone()));
        }
        let doubt = |cause: &MountDamage| Doubt::Mount { mount: mount.name.clone(), cause: cause.clone() };
        self.doubts.extend([mount.unknown_layer(), mount.unknown_init()].into_iter().flatten().map(doubt));
        let said = |cause: MountDamage| doubt(mount.damage.first().unwrap_or(&cause));
        let Some(writable) = &mount.mount_id else {
            return self.reservations.push(said(MountDamage::mount_id_missing()));
        };
        if mount.parent.is_some() {
            return;
        }
        let doubt = said(MountDamage::parent_missing());
        if mount.unknown_parent().is_some() {
            return self.reservations.push(doubt);
        }
        let init = mount.init_id.as_ref().map_or_else(|| format!("{writable}-init"), ToString::to_string);
        self.without_parent.push(WithoutParent { writable: writable.clone(), init, doubt });
    }

    /// Claims the directories that BuildKit's records name.
    pub(super) fn build_cache(&mut self, snapshots: Result<&Snapshots, &StoreError>) {
        match snapshots {
            Ok(snapshots) => {
                let ids = snapshots.driver_ids().iter().map(CacheId::as_str);
                ids.for_each(|id| self.add(id, Claim::BuildKit(id.to_owned())));
            }
            Err(error) => self.doubts.push(Doubt::BuildCache { cause: with_causes(error) }),
        }
    }

    /// Directories that belong to a layer and to somebody else.
    pub(super) fn shared(&self) -> Vec<Doubt> {
        let owners = |claims: &[Claim]| {
            let is_owner = |claim: &&Claim| matches!(claim, Claim::Layer(_) | Claim::Mount(_) | Claim::Init(_));
            let mut owners: Vec<&Claim> = claims.iter().filter(is_owner).collect();
            owners.sort();
            owners.dedup();
            // Several mounts may share one directory: newer daemons mount images in that way.
            owners.len() > 1 && matches!(owners[0], Claim::Layer(_))
        };
        let mut shared: Vec<Doubt> = self
            .by_name
            .iter()
            .filter(|(_, claims)| owners(claims))
            .map(|(entry, claims)| Doubt::Shared { entry: entry.clone(), claims: claims.clone() })
            .collect();
        shared.sort_by_cached_key(ToString::to_string);
        shared
    }

    /// Claims the directories that may belong to a container which has lost its record: pairs of a writable layer and its
    /// init files that nobody else claims.
    pub(super) fn claim_lost<'n>(&mut self, names: impl Iterator<Item = &'n str> + Clone) {
        let Some(container) = self.lost.take() else { return };
        let names: HashSet<&str> = names.collect();
        let free = |name: &str| names.contains(name) && !self.by_name.contains_key(name);
        let is_drawn = |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let init = |name: &str| format!("{name}-init");
        let pairs: Vec<String> = names
            .iter()
            .filter(|name| is_drawn(name) && free(name) && free(&init(name)))
            .flat_map(|name| [(*name).to_owned(), init(name)])
            .collect();
        pairs.iter().for_each(|name| self.add(name, Claim::Lost(container.clone())));
    }
}
