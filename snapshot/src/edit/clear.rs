//! Clears remains away. Each is looked at once more, and stays if somebody has come to need it.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};

use layerfs::DiffId;

use super::disposal::Disposal;
use super::finish::is_anothers;
use super::held::held_mounts;
use super::remains::Remains;
use crate::catalog::with_causes;
use crate::driver::Driver;
use crate::error::StoreError;
use crate::ids::{CacheId, MountName};
use crate::liveness::{Departing, Directories, Doubt, Owners, StillAlive, orphan_mounts};
use crate::root::WritableRoot;
use crate::schema::buildkit::Snapshots;
use crate::schema::distribution;
use crate::schema::mount::{self, MountRecord};

/// Remains that were to be cleared away and stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptRemains {
    /// What stays.
    pub remains: Remains,
    /// Why it stays.
    pub reason: RemainsStay,
}

/// Why remains stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemainsStay {
    /// Somebody needs one of its directories, or may need it.
    #[error(transparent)]
    Directory(#[from] StillAlive),
    /// Somebody uses it again.
    #[error("it is in use")]
    InUse,
    /// It cannot be found out whether somebody uses it.
    #[error("it may be in use: {0}")]
    Unknown(String),
}

/// Splits the mounts in `remains`: first those that nobody uses, then those that stay, with the reason.
pub(super) fn orphan_mounts(
    root: &WritableRoot,
    remains: &[Remains],
) -> Result<(HashSet<MountName>, Vec<KeptRemains>), StoreError> {
    let names: Vec<&MountName> = remains.iter().filter_map(mount_name).collect();
    if names.is_empty() {
        return Ok((HashSet::new(), Vec::new()));
    }
    let snapshots = Snapshots::read(root.dir());
    let held = held_mounts(Some(&root.layers))?;
    let mut found = orphan_mounts::find(root.dir(), names.iter().copied(), snapshots.as_ref(), &held)?;
    let incomplete = incomplete_records(root)?;
    found.names.retain(|name| !incomplete.contains_key(name));
    let stays = |name: &&MountName| !found.names.contains(*name);
    let kept = names.into_iter().filter(stays).map(|name| KeptRemains {
        remains: Remains::Mount(name.clone()),
        reason: match (incomplete.get(name), &found.doubt) {
            (Some(cause), _) => RemainsStay::Unknown(cause.clone()),
            (None, Some(doubt)) => RemainsStay::Unknown(doubt.to_string()),
            (None, None) => RemainsStay::InUse,
        },
    });
    let kept = kept.collect();
    Ok((found.names, kept))
}

/// The mounts that do not tell all of their directories, and why. They stay, since nothing else says which are their own, and keep the
/// layers that they may stand on.
fn incomplete_records(root: &WritableRoot) -> Result<HashMap<MountName, String>, StoreError> {
    let unknown = |record: MountRecord| {
        let cause = record.unknown_layer().or(record.unknown_init())?.clone();
        Some((record.name.clone(), Doubt::Mount { mount: record.name, cause }.to_string()))
    };
    Ok(mount::list(root.layers.mounts())?.into_iter().filter_map(unknown).collect())
}

fn mount_name(remains: &Remains) -> Option<&MountName> {
    match remains {
        Remains::Mount(name) => Some(name),
        _ => None,
    }
}

/// Clears mounts away. This comes before the removal of layers, since a mount may be the last to need a layer.
pub(super) fn clear_mounts(
    root: &WritableRoot,
    remains: &[Remains],
    disposal: &Disposal,
) -> Result<Vec<KeptRemains>, StoreError> {
    let (mounts, kept) = orphan_mounts(root, remains)?;
    if mounts.is_empty() {
        return Ok(kept);
    }
    let going: Vec<Remains> =
        remains.iter().filter(|one| mount_name(one).is_some_and(|name| mounts.contains(name))).cloned().collect();
    let owners = Owners::read(root, &Departing { mounts, ..Departing::default() })?;
    Clearing::new(root, &owners, disposal).all(&going, kept)
}

/// Clears everything but mounts away. This comes after the removal of layers.
pub(super) fn clear_rest(
    root: &WritableRoot,
    remains: &[Remains],
    disposal: &Disposal,
) -> Result<Vec<KeptRemains>, StoreError> {
    let rest: Vec<Remains> = remains.iter().filter(|one| mount_name(one).is_none()).cloned().collect();
    if rest.is_empty() {
        return Ok(Vec::new());
    }
    let owners = Owners::read(root, &Departing::default())?;
    Clearing::new(root, &owners, disposal).all(&rest, Vec::new())
}

/// Clears remains away, and keeps the answers to questions that many of them ask.
struct Clearing<'r> {
    root: &'r WritableRoot,
    disposal: &'r Disposal,
    directories: Directories<'r>,
    /// The mounts as they were before the first of them was cleared away.
    mounts: OnceCell<HashMap<MountName, MountRecord>>,
    /// Short names that lead to no layer although something in the home stands on them.
    wanted_links: OnceCell<HashSet<String>>,
    /// The diff ids of all layers, or why they are not known.
    layers: OnceCell<Result<HashSet<DiffId>, String>>,
}

impl<'r> Clearing<'r> {
    fn new(root: &'r WritableRoot, owners: &'r Owners, disposal: &'r Disposal) -> Self {
        Self {
            root,
            disposal,
            directories: owners.directories(),
            mounts: OnceCell::new(),
            wanted_links: OnceCell::new(),
            layers: OnceCell::new(),
        }
    }

    /// Clears all of `remains` away. If one cannot be removed, goes on with the others and returns the first error at
    /// the end.
    fn all(&self, remains: &[Remains], mut kept: Vec<KeptRemains>) -> Result<Vec<KeptRemains>, StoreError> {
        let mut failed = None;
        for one in remains {
            match self.clear(one) {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => kept.push(KeptRemains { remains: one.clone(), reason }),
                Err(error) => drop(failed.get_or_insert(error)),
            }
        }
        failed.map_or(Ok(kept), Err)
    }

    fn clear(&self, remains: &Remains) -> Result<Result<(), RemainsStay>, StoreError> {
        let root = self.root;
        match remains {
            Remains::Mount(name) => return self.clear_mount(name),
            Remains::Removal(name) => {
                // A record that cannot be read stays, since nothing else says which directory was the layer's.
                let id = match root.layers.removing_cache_id(name) {
                    Err(error @ StoreError::Invalid { .. }) => {
                        return Ok(Err(RemainsStay::Unknown(with_causes(&error))));
                    }
                    id => id?,
                };
                if let Some(id) = id
                    && let Err(reason) = self.clear_directory(&id, Some(name), false)?
                {
                    return Ok(Err(reason));
                }
            }
            Remains::Registration(name) => {
                let id = match root.layers.leftover_cache_id(name) {
                    // The registration was cut short before the directory was made.
                    Err(StoreError::Invalid { .. }) => None,
                    id => id?,
                };
                if let Some(id) = id
                    && let Err(reason) = self.clear_directory(&id, None, false)?
                {
                    return Ok(Err(reason));
                }
            }
            Remains::Directory(id) => return self.clear_directory(id, None, true),
            Remains::Link(link) => {
                if self.wanted_links()?.contains(link) {
                    return Ok(Err(RemainsStay::InUse));
                }
                if !root.driver.is_stale_link(link)? {
                    return Ok(Err(RemainsStay::InUse));
                }
            }
            Remains::Metadata(id) => {
                if root.images.written(*id)?.is_some() {
                    return Ok(Err(RemainsStay::InUse));
                }
            }
            Remains::Sources(id) => {
                if let Some(reason) = self.has_layer(*id)? {
                    return Ok(Err(reason));
                }
            }
            Remains::Blob(digest) => {
                if let Some(id) = distribution::diff_id_of(&root.images_dir, *digest)?
                    && let Some(reason) = self.has_layer(id)?
                {
                    return Ok(Err(reason));
                }
            }
            Remains::Temporary { .. } => {}
        }
        self.disposal.remove(root, &remains.place(root.driver.name())).map(Ok)
    }

    /// Removes a directory. With `is_all`, the directory is all that is cleared away, and it stays if anybody needs it.
    /// Without, the record that names it is cleared away too: if somebody else owns the directory, only the record
    /// goes.
    fn clear_directory(
        &self,
        id: &CacheId,
        removing: Option<&str>,
        is_all: bool,
    ) -> Result<Result<(), RemainsStay>, StoreError> {
        match self.directories.dead(id, removing) {
            Ok(dead) => self.disposal.remove_directory(self.root, &dead).map(Ok),
            Err(reason) if !is_all && is_anothers(&reason) => Ok(Ok(())),
            Err(reason) => Ok(Err(reason.into())),
        }
    }

    /// Clears a mount away in the order in which dockerd releases one: its directory, the directory of its init files,
    /// its record.
    fn clear_mount(&self, name: &MountName) -> Result<Result<(), RemainsStay>, StoreError> {
        let mounts = self.root.layers.mounts();
        let Some(record) = self.mounts()?.get(name) else { return Ok(Ok(())) };
        for id in mount::named_directories(record) {
            if let Err(reason) = self.clear_directory(&id, None, false)? {
                return Ok(Err(reason));
            }
        }
        match (self.disposal, mounts) {
            // `mount::remove` also removes the directories above a name with slashes that are empty then.
            (Disposal::Delete, Some(mounts)) => mount::remove(mounts, name)?,
            _ => self.disposal.remove(self.root, &Remains::Mount(name.clone()).place(self.root.driver.name()))?,
        }
        Ok(Ok(()))
    }

    fn mounts(&self) -> Result<&HashMap<MountName, MountRecord>, StoreError> {
        if let Some(known) = self.mounts.get() {
            return Ok(known);
        }
        let records = mount::list(self.root.layers.mounts())?;
        Ok(self.mounts.get_or_init(|| records.into_iter().map(|record| (record.name.clone(), record)).collect()))
    }

    fn wanted_links(&self) -> Result<&HashSet<String>, StoreError> {
        if let Some(known) = self.wanted_links.get() {
            return Ok(known);
        }
        let entries = self.root.driver.entries()?.entries;
        let wanted = entries.into_values().flat_map(|entry| entry.missing_links).collect();
        Ok(self.wanted_links.get_or_init(|| wanted))
    }

    /// Why the cached facts about a layer stay; `None` if no such layer exists.
    fn has_layer(&self, id: DiffId) -> Result<Option<RemainsStay>, StoreError> {
        if self.layers.get().is_none() {
            let layers = self.root.layers.diff_ids();
            let layers = match layers {
                Err(error @ StoreError::Io { .. }) => return Err(error),
                layers => layers.map_err(|error| with_causes(&error)),
            };
            let _ = self.layers.set(layers);
        }
        Ok(match self.layers.get() {
            Some(Ok(layers)) => layers.contains(&id).then_some(RemainsStay::InUse),
            Some(Err(cause)) => Some(RemainsStay::Unknown(cause.clone())),
            None => Some(RemainsStay::InUse),
        })
    }
}
