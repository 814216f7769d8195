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
//! | below a live one | `<live>/lower` -> `l/<link id>` |
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
    /// What `l/` holds: link ids, and the entry each leads to; `None` if it leads nowhere.
    pub links: BTreeMap<String, Option<String>>,
    /// Records that could not be read, each with the reason.
    pub unreadable: Vec<String>,
}

/// Entries of the home that are no layers, by how they begin (moby `daemon/graphdriver/overlay2`, `pkg/fsutils`).
const SERVICE: [&str; 6] =
    ["backingFsBlockDev", "check-overlayfs-support", "opaque-bug-check", "metacopy-check", "fsutils-dummy", ".tmp-"];

impl Ownership {
    /// Asks all owners. Nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the home cannot be listed.
    pub fn read(root: &DataRoot, catalog: &Catalog) -> Result<Self, StoreError> {
        let mut ownership = Self::default();
        let Some(home) = layers_home(root)? else { return Ok(ownership) };
        let names = home.names()?;
        let mut claims: BTreeMap<String, Vec<Claim>> = names.iter().map(|name| (name.clone(), Vec::new())).collect();
        let mut unfinished = BTreeMap::new();
        claims::collect(root, catalog, &mut ownership.unreadable, &mut unfinished, &mut |name, claim| {
            if let Some(of) = claims.get_mut(name) {
                of.push(claim);
            }
        })?;
        ownership.links = links(&home)?;
        for (name, at) in mounted::entries(home.path(), &ownership.links) {
            if let Some(of) = claims.get_mut(&name) {
                of.push(Claim::Mounted(at));
            }
        }
        below(&home, &ownership.links, &mut claims, &mut ownership.unreadable);
        let known = ownership.unreadable.is_empty();
        for (name, mut claims) in claims {
            claims.sort();
            claims.dedup();
            let verdict = match () {
                () if !claims.is_empty() => Verdict::Live,
                () if name == LINKS || SERVICE.iter().any(|service| name.starts_with(service)) => Verdict::Service,
                () if known => Verdict::Orphan,
                () => Verdict::Unknown,
            };
            let unfinished = unfinished.remove(&name);
            ownership.entries.insert(name, Entry { verdict, claims, unfinished });
        }
        Ok(ownership)
    }
}

const LINKS: &str = "l";
const LOWER: &str = "lower";
/// More than any `lower` may have.
const MAX_LOWER: usize = 64 << 10;

/// Where the driver has a directory for each layer.
///
/// # Errors
/// [`StoreError::Io`]
pub fn layers_home(root: &DataRoot) -> Result<Option<Dir>, StoreError> {
    let below: &[&str] = match root.driver_name.as_str() {
        "vfs" => &["vfs", "dir"],
        "btrfs" => &["btrfs", "subvolumes"],
        name => return root.dir.sub(name),
    };
    root.dir.descend(below)
}

fn links(home: &Dir) -> Result<BTreeMap<String, Option<String>>, StoreError> {
    let Some(dir) = home.sub(LINKS).unwrap_or(None) else { return Ok(BTreeMap::new()) };
    let mut links = BTreeMap::new();
    for link in dir.names()? {
        let target = dir.read_link(&link).unwrap_or(None);
        let entry = target.as_deref().and_then(|target| {
            let mut parts = target.strip_prefix("..").ok()?.components();
            Some(parts.next()?.as_os_str().to_str()?.to_owned())
        });
        let entry = entry.filter(|entry| home.stat(entry).is_ok_and(|stat| stat.is_some()));
        links.insert(link, entry);
    }
    Ok(links)
}

/// Claims what is below live entries, as their `lower` files say.
fn below(
    home: &Dir,
    links: &BTreeMap<String, Option<String>>,
    claims: &mut BTreeMap<String, Vec<Claim>>,
    unreadable: &mut Vec<String>,
) {
    let mut left: Vec<String> =
        claims.iter().filter(|(_, claims)| !claims.is_empty()).map(|(name, _)| name.clone()).collect();
    while let Some(live) = left.pop() {
        let read = match home.sub(&live) {
            Ok(Some(dir)) => dir.read(LOWER, MAX_LOWER),
            // A file, or gone since.
            Ok(None) | Err(_) => continue,
        };
        let text = match read.map(|bytes| bytes.map(String::from_utf8)) {
            Ok(None) => continue,
            Ok(Some(Ok(text))) => text,
            Ok(Some(Err(_))) => {
                unreadable.push(format!("{}: not text", home.join(&live).join(LOWER).display()));
                continue;
            }
            Err(error) => {
                unreadable.push(crate::catalog::with_causes(&error));
                continue;
            }
        };
        for link in text.trim().split(':').filter_map(|part| part.strip_prefix("l/")) {
            let Some(Some(name)) = links.get(link) else { continue };
            let Some(of) = claims.get_mut(name) else { continue };
            let new = of.is_empty();
            if !of.iter().any(|claim| matches!(claim, Claim::Below(_))) {
                of.push(Claim::Below(live.clone()));
            }
            if new {
                left.push(name.clone());
            }
        }
    }
}
