//! What may be deleted: only [`Liveness`] can say so, and it gives its word as a value.
//!
//! Besides, a process may take back what it has made itself and has not registered yet.

use std::collections::HashSet;

use layerfs::ChainId;

use crate::driver::EntryKind;
use crate::ids::{CacheId, MountName};
use crate::schema::layer::WriteSet;

use super::removal_plan::RemovalPlan;
use super::{Claim, Doubt, Liveness};

/// A thing that nobody needs. Only code that asks [`Liveness`] gets one, or code that made the thing and has not registered
/// it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is deleted by asking"]
pub struct Dead<T>(T);

impl<T> Dead<T> {
    /// What it is.
    pub fn get(&self) -> &T {
        &self.0
    }
}

impl Dead<CacheId> {
    /// The directory of a layer that this process has begun and not registered: nobody else has ever heard of it.
    pub(crate) fn never_registered(set: &WriteSet) -> Self {
        Self(set.cache_id.clone())
    }
}

/// Why something must stay.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StillAlive {
    /// Somebody claims it.
    #[error("it is in use: {}", list(.0))]
    Claimed(Vec<Claim>),
    /// It is the driver's own.
    #[error("it belongs to the storage driver itself")]
    Service,
    /// Not all who could claim it can be asked.
    #[error("it may be in use: {}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Unknown(Vec<Doubt>),
}

fn list(claims: &[Claim]) -> String {
    claims.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layer(chain) => write!(f, "it is the content of layer {chain}"),
            Self::Mount(id) => write!(f, "it is the writable layer of {id}"),
            Self::Init(id) => write!(f, "it holds the init files of {id}"),
            Self::BuildKit(id) => write!(f, "BuildKit has it in its cache as {id}"),
            Self::Removing(record) => write!(f, "dockerd removes it when it stops: layerdb/sha256/{record}"),
            Self::Lost(id) => {
                write!(f, "it may be what the container {id} has written: its entry in layerdb/mounts is gone")
            }
            Self::Below(name) => write!(f, "it is below {name}"),
            Self::Mounted(at) => write!(f, "it is mounted at {at}"),
        }
    }
}

impl Liveness {
    /// Whether nobody needs a directory of the driver's home. The directory need not be there.
    ///
    /// # Errors
    /// [`StillAlive`] where it must stay.
    pub fn dead(&self, id: &CacheId) -> Result<Dead<CacheId>, StillAlive> {
        self.dead_after(id, &RemovalPlan::default())
    }

    /// As [`dead`](Self::dead), but as if `removal` were done: what it takes away no longer claims anything.
    ///
    /// # Errors
    /// [`StillAlive`] where it must stay.
    pub fn dead_after(&self, id: &CacheId, removal: &RemovalPlan) -> Result<Dead<CacheId>, StillAlive> {
        let stays = |claim: &Claim| match claim {
            Claim::Layer(chain) => !removal.layers.contains(chain),
            Claim::Mount(name) | Claim::Init(name) => !removal.takes_mount(name),
            Claim::Below(_) | Claim::BuildKit(_) | Claim::Removing(_) | Claim::Lost(_) | Claim::Mounted(_) => true,
        };
        self.after(stays).dead(id, stays)
    }

    /// What nobody needs once `departure` is gone. Computed once, for many questions.
    #[must_use]
    pub(crate) fn once_gone<'l>(&'l self, departure: &'l Departure) -> OnceGone<'l> {
        OnceGone { after: self.after(|claim| departure.leaves(claim)), departure }
    }

    /// What is live by the claims that `stays` accepts. Computed once, for many questions.
    pub(super) fn after(&self, stays: impl Fn(&Claim) -> bool) -> After<'_> {
        let below = self.below(&stays);
        let live = |at: u32| {
            let own = |claim: &Claim| !matches!(claim, Claim::Below(_)) && stays(claim);
            below[at as usize].is_some() || self.entries[at as usize].claims.iter().any(own)
        };
        let parents = |doubt: &&Doubt| !matches!(doubt, Doubt::Parents { .. });
        let mut doubts: Vec<&Doubt> = self.doubts.iter().filter(parents).chain(&self.reservations).collect();
        doubts.extend(self.unread.iter().filter(|(at, _)| live(*at)).map(|(_, doubt)| doubt));
        After { liveness: self, below, doubts }
    }
}

/// What is about to go, and claims nothing any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Departure {
    /// Layers.
    pub layers: HashSet<ChainId>,
    /// Entries of `layerdb/mounts`.
    pub mounts: HashSet<MountName>,
    /// Records of layers whose removal was begun.
    pub removals: HashSet<String>,
}

impl Departure {
    /// Whether a claim is still there.
    fn leaves(&self, claim: &Claim) -> bool {
        match claim {
            Claim::Layer(chain) => !self.layers.contains(chain),
            Claim::Mount(name) | Claim::Init(name) => !self.mounts.contains(name),
            Claim::Removing(record) => !self.removals.contains(record),
            Claim::Below(_) | Claim::BuildKit(_) | Claim::Lost(_) | Claim::Mounted(_) => true,
        }
    }
}

/// What nobody needs once a [`Departure`] has taken place.
#[derive(Debug)]
pub(crate) struct OnceGone<'l> {
    after: After<'l>,
    departure: &'l Departure,
}

impl OnceGone<'_> {
    /// Whether nobody needs a directory then.
    ///
    /// # Errors
    /// [`StillAlive`] where it must stay.
    pub(crate) fn dead(&self, id: &CacheId) -> Result<Dead<CacheId>, StillAlive> {
        self.after.dead(id, |claim| self.departure.leaves(claim))
    }

    /// Whether anything claims an entry then. Asked of every entry of a home, so it collects nothing.
    pub(crate) fn is_claimed(&self, name: &str) -> bool {
        let Liveness { numbers, entries, .. } = self.after.liveness;
        numbers.get(name).is_some_and(|number| {
            let own = |claim: &Claim| !matches!(claim, Claim::Below(_)) && self.departure.leaves(claim);
            self.after.below[*number as usize].is_some() || entries[*number as usize].claims.iter().any(own)
        })
    }

    /// Why not all is known: while there is a doubt, nothing is dead.
    #[must_use]
    pub(crate) fn doubts(&self) -> Vec<Doubt> {
        self.after.doubts().iter().copied().cloned().collect()
    }
}

/// What is live once some claims are gone.
#[derive(Debug)]
pub(crate) struct After<'l> {
    liveness: &'l Liveness,
    /// For each entry: a live entry that stands on it.
    below: Vec<Option<u32>>,
    doubts: Vec<&'l Doubt>,
}

impl<'l> After<'l> {
    /// Why not all is known.
    pub(super) fn doubts(&self) -> &[&'l Doubt] {
        &self.doubts
    }

    /// The claims on a directory itself, and a live entry that stands on it.
    pub(super) fn claims(&self, id: &CacheId, stays: impl Fn(&Claim) -> bool) -> Vec<Claim> {
        let liveness = self.liveness;
        let number = liveness.numbers.get(id.as_str());
        let direct = match number {
            Some(number) => Some(&liveness.entries[*number as usize].claims),
            None => liveness.absent.get(id.as_str()),
        };
        let own = |claim: &&Claim| !matches!(claim, Claim::Below(_)) && stays(claim);
        let mut claims: Vec<Claim> = direct.into_iter().flatten().filter(own).cloned().collect();
        let above = number.and_then(|number| self.below[*number as usize]);
        claims.extend(above.map(|above| Claim::Below(std::sync::Arc::clone(&liveness.names[above as usize]))));
        claims
    }

    /// Whether nobody needs a directory. Of the claims on the directory itself, only those count that `stays` accepts.
    pub(super) fn dead(&self, id: &CacheId, stays: impl Fn(&Claim) -> bool) -> Result<Dead<CacheId>, StillAlive> {
        let claims = self.claims(id, stays);
        let entry = self.liveness.entry(id.as_str());
        match () {
            () if !claims.is_empty() => Err(StillAlive::Claimed(claims)),
            () if entry.is_some_and(|entry| entry.kind == EntryKind::Service) => Err(StillAlive::Service),
            () if !self.doubts.is_empty() => Err(StillAlive::Unknown(self.doubts.iter().copied().cloned().collect())),
            () => Ok(Dead(id.clone())),
        }
    }
}
