//! Whose a directory of the driver's home is, and whether it may be deleted: whatever deletes asks here.
//!
//! An entry is live if anything below claims it. If the records of an owner cannot be read, what nobody claims is not an
//! orphan but unknown.
//!
//! | claim | where it stands |
//! |---|---|
//! | a layer's content | `layerdb/sha256/<chain>/cache-id` |
//! | a container's writable layer, and its init layer | `layerdb/mounts/<id>/{mount-id,init-id}` |
//! | BuildKit's cache | `buildkit/snapshots.db` |
//! | a deletion that was begun | `layerdb/sha256/<chain>-<random>-removing/cache-id` |
//! | below a live one | what the driver says it stands on |
//! | mounted now | the kernel |
//!
//! Deletions that were begun count as live since dockerd ends them itself (moby v20.10.24 `layer/filestore.go: getOrphan`).

mod claims;
mod mounted;
pub mod removal;
mod subject;

use std::collections::BTreeMap;

use layerfs::ChainId;

pub use subject::{Subject, Use, find, uses};

use crate::catalog::Catalog;
use crate::dir::Dir;
use crate::driver::{Entries, EntryKind};
use crate::error::StoreError;
use crate::root::DataRoot;

/// Why an entry is live.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// It is the content of a layer.
    Layer(ChainId),
    /// It is the writable layer of a container, or of whatever asked for the mount.
    Mount(String),
    /// It holds the init files of that one.
    Init(String),
    /// It is in BuildKit's cache, under this key.
    BuildKit(String),
    /// It belongs to a layer whose deletion was begun: the name of the record.
    Removing(String),
    /// It is below a live entry.
    Below(String),
    /// It is part of a mount: where that is.
    Mounted(String),
}

/// Whether an entry may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Somebody claims it.
    Live,
    /// The driver's own, or left by its probing: not a layer.
    Service,
    /// Nobody claims it, and all who could were asked.
    Orphan,
    /// Nobody claims it, but not all records could be read.
    Unknown,
}

/// An entry of the driver's home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Whether it may go.
    pub verdict: Verdict,
    /// Who claims it, sorted, each once.
    pub claims: Vec<Claim>,
    /// The unfinished registration it seems to be from: `layerdb/tmp/<name>`.
    pub unfinished: Option<String>,
}

/// Who owns what in a driver's home. See the [module](self).
#[derive(Debug, Default)]
pub struct Ownership {
    /// All entries by name.
    pub entries: BTreeMap<String, Entry>,
    /// The short names of layers, and the entry each leads to; `None` if it leads nowhere.
    pub links: BTreeMap<String, Option<String>>,
    /// Records that could not be read, each with the reason.
    pub unreadable: Vec<String>,
}

impl Ownership {
    /// Asks all owners. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the home cannot be listed.
    pub fn read(root: &DataRoot, catalog: &Catalog) -> Result<Self, StoreError> {
        let mut ownership = Self::default();
        let Some(home) = &root.home else { return Ok(ownership) };
        let held = root.entries()?;
        let mut claims: BTreeMap<String, Vec<Claim>> =
            held.entries.keys().map(|name| (name.to_string(), Vec::new())).collect();
        let mut unfinished = BTreeMap::new();
        claims::collect(root, catalog, &mut ownership.unreadable, &mut unfinished, &mut |name, claim| {
            if let Some(of) = claims.get_mut(name) {
                of.push(claim);
            }
        })?;
        ownership.links =
            held.links.iter().map(|(link, to)| (link.clone(), to.as_deref().map(str::to_owned))).collect();
        let links = root.form().and_then(|form| form.links).map(|name| (name, &ownership.links));
        for (name, at) in mounted::entries(home.path(), links) {
            if let Some(of) = claims.get_mut(&name) {
                of.push(Claim::Mounted(at));
            }
        }
        below(&held, &mut claims, &mut ownership.unreadable);
        let known = ownership.unreadable.is_empty();
        for (name, mut claims) in claims {
            claims.sort();
            claims.dedup();
            let service = held.entries.get(name.as_str()).is_some_and(|entry| entry.kind == EntryKind::Service);
            let verdict = match () {
                () if !claims.is_empty() => Verdict::Live,
                () if service => Verdict::Service,
                () if known => Verdict::Orphan,
                () => Verdict::Unknown,
            };
            let unfinished = unfinished.remove(&name);
            ownership.entries.insert(name, Entry { verdict, claims, unfinished });
        }
        Ok(ownership)
    }
}

/// Where the driver has a directory for each layer.
///
/// # Errors
/// [`StoreError::Io`]
pub fn layers_home(root: &DataRoot) -> Result<Option<Dir>, StoreError> {
    root.home.as_ref().map(Dir::duplicate).transpose()
}

/// Claims what is below live entries.
fn below(held: &Entries, claims: &mut BTreeMap<String, Vec<Claim>>, unreadable: &mut Vec<String>) {
    let mut left: Vec<String> =
        claims.iter().filter(|(_, claims)| !claims.is_empty()).map(|(name, _)| name.clone()).collect();
    while let Some(live) = left.pop() {
        let parents = match held.entries.get(live.as_str()).map(|entry| &entry.parents) {
            Some(Ok(parents)) => parents,
            Some(Err(reason)) => {
                unreadable.push(reason.clone());
                continue;
            }
            None => continue,
        };
        for name in parents {
            let Some(of) = claims.get_mut(&**name) else { continue };
            let new = of.is_empty();
            if !of.iter().any(|claim| matches!(claim, Claim::Below(_))) {
                of.push(Claim::Below(live.clone()));
            }
            if new {
                left.push(name.to_string());
            }
        }
    }
}
