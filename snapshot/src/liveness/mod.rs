//! Who owns each directory of the driver's home, and which may be deleted: all code that deletes asks here.
//!
//! An entry is live if anything below claims it. A record that cannot be read is a [`Doubt`]: everything that it might name
//! is unknown, never an orphan.
//!
//! | claim | where it stands |
//! |---|---|
//! | a layer's content | `layerdb/sha256/<chain>/cache-id` |
//! | a container's writable layer, and its init layer | `layerdb/mounts/<id>/{mount-id,init-id}` |
//! | BuildKit's cache | `buildkit/snapshots.db` |
//! | a deletion that was begun | `layerdb/sha256/<chain>-<random>-removing/cache-id` |
//! | below a live entry | what the driver says that entry stands on |
//! | mounted now | the kernel |
//!
//! Reports read [`Liveness`] with the rest of a [view](crate::view::View). Code that writes to a store asks `owners.rs`,
//! which reads only what that needs, by the same rules, and also says who holds each layer. Only code that has a [`Dead`]
//! of a directory deletes it.
//!
//! The directories of deletions that were begun count as live, since dockerd finishes those deletions itself (moby v20.10.24
//! `layer/filestore.go: getOrphan`).

mod claims;
mod dead;
mod doubt;
pub(crate) mod images;
pub mod lookup;
mod mounted;
pub(crate) mod orphan_mounts;
mod owners;
pub mod removal_plan;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use layerfs::ChainId;

pub use dead::{Dead, StillAlive};
pub(crate) use dead::{Departure, OnceGone};
pub use doubt::Doubt;
pub(crate) use owners::{Departing, Directories, Owners};
pub use owners::{Holder, LayerStays};

use crate::catalog::{Catalog, with_causes};
use crate::dir::Dir;
use crate::driver::{EntryKind, HomeEntries, HomeLayout, Parents};
use crate::error::StoreError;
use crate::ids::{ContainerId, MountName};
use crate::root::DataRoot;
use crate::schema::buildkit::Snapshots;
use claims::{Claims, WithoutParent};

/// Why an entry is live.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Claim {
    /// It is the content of a layer.
    Layer(ChainId),
    /// It is the writable layer of a container, or of whatever asked for the mount.
    Mount(MountName),
    /// It holds the init files of the container of this mount.
    Init(MountName),
    /// It is in BuildKit's cache, under this key, which is [plain text](crate::ids#names-that-stay-text).
    BuildKit(String),
    /// It belongs to a layer whose deletion was begun: the name of the record.
    Removing(String),
    /// It may be the writable layer of this container, or its init files, whose entry in `layerdb/mounts` is gone.
    Lost(ContainerId),
    /// It is below a live entry.
    Below(Arc<str>),
    /// It is part of a mount: where that is.
    Mounted(String),
}

/// Whether an entry may go, as a report says it. Whoever deletes asks [`Liveness::dead`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryVerdict<'l> {
    /// Somebody claims it.
    Live(&'l [Claim]),
    /// The driver's own, or left by its probing: not a layer.
    Service,
    /// Nobody claims it, and all who could were asked.
    Orphan,
    /// Nobody claims it, but a record that cannot be read might.
    Unknown(&'l [Doubt]),
}

/// An entry of the driver's home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedEntry {
    /// What the driver takes it for.
    pub kind: EntryKind,
    /// Who claims it, sorted, each once.
    pub claims: Vec<Claim>,
    /// The unfinished registration it seems to be from: `layerdb/tmp/<name>`.
    pub unfinished: Option<String>,
    /// Short names that it stands on and that lead to nothing.
    pub missing_links: Vec<String>,
    /// The entries it stands on.
    parents: Parents,
}

/// Who owns what in a driver's home. See the [module](self).
#[derive(Debug, Default)]
pub struct Liveness {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, u32>,
    entries: Vec<OwnedEntry>,
    /// Claims of directories that are not there.
    absent: HashMap<String, Vec<Claim>>,
    links: BTreeMap<String, Option<Arc<str>>>,
    /// Links that lead nowhere, and the entry that each names.
    stale: BTreeMap<String, String>,
    doubts: Vec<Doubt>,
    /// Doubts that only code that deletes heeds.
    reservations: Vec<Doubt>,
    /// Entries, by number, whose parents are not known, each with the reason.
    unread: Vec<(u32, Doubt)>,
}

impl Liveness {
    /// Asks all owners of what the driver's home holds. Nothing is written. `snapshots` are BuildKit's records, or why they cannot be
    /// read.
    ///
    /// # Errors
    /// [`StoreError::Io`] if a directory cannot be listed.
    pub(crate) fn read(
        root: &DataRoot,
        catalog: &Catalog,
        snapshots: Result<&Snapshots, &StoreError>,
        home: HomeEntries,
    ) -> Result<Self, StoreError> {
        let mut claims = Claims::collect(root, catalog, snapshots)?;
        // A driver that is not implemented may have claims that are not known here, so nothing in its home is called an orphan.
        if root.driver.is_none() && !home.entries.is_empty() {
            claims.doubts.push(Doubt::Driver { name: root.driver_name.clone() });
        }
        Ok(Self::build(root.home.as_ref(), root.home_layout(), home, &mut claims))
    }

    /// Joins the entries of the driver's home with their claims. The first system call that failed is noted in `claims`.
    fn build(home: Option<&Dir>, layout: Option<HomeLayout>, held: HomeEntries, claims: &mut Claims) -> Self {
        let mut liveness = Self::default();
        let HomeEntries { names, entries, links, stale } = held;
        liveness.stale = stale;
        liveness.links = links;
        liveness.names = names;
        if let Some(home) = home {
            let links = layout.and_then(|layout| layout.links).map(|name| (name, &liveness.links));
            match mounted::mounted_entries(home, links) {
                Ok(mounted) => mounted.into_iter().for_each(|(name, at)| claims.add(&name, Claim::Mounted(at))),
                Err(error) => {
                    claims.doubts.push(Doubt::Mounts { cause: with_causes(&error) });
                    claims.note_failure(error);
                }
            }
        }
        claims.reservations.extend(claims.shared());
        claims.claim_lost(entries.iter().filter(|(_, entry)| entry.kind == EntryKind::Layer).map(|(name, _)| &**name));
        liveness.numbers = liveness.names.iter().cloned().zip(0..).collect();
        liveness.entries.reserve_exact(entries.len());
        for (name, entry) in entries {
            let parents = entry.parents.unwrap_or_else(|unknown| {
                if let (true, Some(home)) = (unknown.failed, home) {
                    let failed = StoreError::Invalid { path: home.join(&*name), reason: unknown.cause.clone() };
                    claims.failed.get_or_insert(failed);
                }
                let doubt = Doubt::Parents { entry: name.to_string(), cause: unknown.cause };
                liveness.unread.push((liveness.numbers[&name], doubt));
                Parents::default()
            });
            let unfinished = claims.unfinished.remove(&*name);
            let claims = claims.by_name.remove(&*name).unwrap_or_default();
            let missing_links = entry.missing_links;
            liveness.entries.push(OwnedEntry { kind: entry.kind, claims, unfinished, missing_links, parents });
        }
        liveness.absent = std::mem::take(&mut claims.by_name);
        liveness.doubts = std::mem::take(&mut claims.doubts);
        liveness.reservations = std::mem::take(&mut claims.reservations);
        for mount in std::mem::take(&mut claims.without_parent) {
            if liveness.may_stand_on_layers(&mount) {
                liveness.reservations.push(mount.doubt);
            }
        }
        let below = liveness.below(|_| true);
        for (entry, above) in liveness.entries.iter_mut().zip(below) {
            entry.claims.extend(above.map(|above| Claim::Below(Arc::clone(&liveness.names[above as usize]))));
            entry.claims.sort();
            entry.claims.dedup();
            entry.claims.shrink_to_fit();
        }
        // An entry that nobody needs does not keep what it stands on, so its unreadable parents are a doubt only if it is live.
        let live = |(at, _): &&(u32, Doubt)| !liveness.entries[*at as usize].claims.is_empty();
        liveness.doubts.extend(liveness.unread.iter().filter(live).map(|(_, doubt)| doubt.clone()));
        liveness
    }

    /// Whether a writable layer may stand on layers. It does not if it is there, and stands on nothing but its init layer, and
    /// that on nothing.
    fn may_stand_on_layers(&self, mount: &WithoutParent) -> bool {
        let number = |name: &str| self.numbers.get(name).copied();
        let Some(writable) = number(mount.writable.as_str()) else { return true };
        let own = [Some(writable), number(&mount.init)];
        let stands_on_others = |at: u32| {
            let entry = &self.entries[at as usize];
            !entry.missing_links.is_empty()
                || self.unread.iter().any(|(unread, _)| *unread == at)
                || entry.parents.listed().iter().any(|parent| !own.contains(&Some(*parent)))
        };
        own.into_iter().flatten().any(stands_on_others)
    }

    /// Takes note of one more reason why not all is known.
    pub(crate) fn doubt(&mut self, doubt: Doubt) {
        self.doubts.push(doubt);
    }

    /// For each entry: a live entry that stands on it, if there is one. Only the claims that `stays` accepts make an entry live.
    /// Each entry is visited once.
    fn below(&self, stays: impl Fn(&Claim) -> bool) -> Vec<Option<u32>> {
        let is_own = |claim: &Claim| !matches!(claim, Claim::Below(_)) && stays(claim);
        let own: Vec<bool> = self.entries.iter().map(|entry| entry.claims.iter().any(is_own)).collect();
        let mut below: Vec<Option<u32>> = vec![None; self.entries.len()];
        let mut left: Vec<u32> = (0..).zip(&own).filter(|(_, own)| **own).map(|(at, _)| at).collect();
        while let Some(at) = left.pop() {
            for &parent in self.entries[at as usize].parents.listed() {
                let known = &mut below[parent as usize];
                if parent == at || known.is_some() {
                    continue;
                }
                *known = Some(at);
                if !own[parent as usize] {
                    left.push(parent);
                }
            }
        }
        below
    }

    /// An entry by its name.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&OwnedEntry> {
        self.numbers.get(name).map(|at| &self.entries[*at as usize])
    }

    /// All entries, sorted by name.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&str, &OwnedEntry)> {
        self.names.iter().map(|name| &**name).zip(&self.entries)
    }

    /// Whether an entry may go; `None` if there is no entry of this name.
    #[must_use]
    pub fn verdict(&self, name: &str) -> Option<EntryVerdict<'_>> {
        self.entry(name).map(|entry| self.verdict_on(entry))
    }

    /// Whether an entry of this home may go.
    #[must_use]
    pub fn verdict_on<'l>(&'l self, entry: &'l OwnedEntry) -> EntryVerdict<'l> {
        match () {
            () if !entry.claims.is_empty() => EntryVerdict::Live(&entry.claims),
            () if entry.kind == EntryKind::Service => EntryVerdict::Service,
            () if self.doubts.is_empty() => EntryVerdict::Orphan,
            () => EntryVerdict::Unknown(&self.doubts),
        }
    }

    /// Entries that nobody claims although all who could were asked.
    pub fn orphans(&self) -> impl Iterator<Item = &str> {
        self.entries().filter(|(_, entry)| self.verdict_on(entry) == EntryVerdict::Orphan).map(|(name, _)| name)
    }

    /// The short names of layers, and the entry each leads to; `None` if it leads nowhere.
    #[must_use]
    pub fn links(&self) -> &BTreeMap<String, Option<Arc<str>>> {
        &self.links
    }

    /// The entry that a link names although the link leads nowhere.
    #[must_use]
    pub(crate) fn named_by_stale(&self, link: &str) -> Option<&str> {
        self.stale.get(link).map(String::as_str)
    }

    /// Claims on an entry that is not there.
    #[must_use]
    pub(crate) fn claims_on_absent(&self, name: &str) -> &[Claim] {
        self.absent.get(name).map_or(&[], Vec::as_slice)
    }

    /// The entries that an entry stands on.
    pub(crate) fn below_entry(&self, name: &str) -> impl Iterator<Item = &str> {
        let of = |number: u32| self.entries.get(number as usize).map(|entry| &entry.parents);
        let parents = self.entry(name).map(|entry| entry.parents.all(of)).unwrap_or_default();
        parents.into_iter().map(|parent| &*self.names[parent as usize])
    }

    /// The reasons why it is not known whether some entries are needed.
    #[must_use]
    pub fn doubts(&self) -> &[Doubt] {
        &self.doubts
    }
}
