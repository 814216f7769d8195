//! What may be deleted: only [`Liveness`] can say so, and it gives its word as a value.

use crate::driver::EntryKind;
use crate::ids::CacheId;

use super::removal::Removal;
use super::{Claim, Doubt, Liveness};

/// A thing that nobody needs. It can only be had by asking [`Liveness::dead`] or [`Liveness::dead_after`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "nothing is deleted by asking"]
pub struct Dead<T>(T);

impl<T> Dead<T> {
    /// What it is.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// What it is.
    pub fn into_inner(self) -> T {
        self.0
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
            Self::Below(name) => write!(f, "it is below {name}"),
            Self::Mounted(at) => write!(f, "it is mounted at {at}"),
        }
    }
}

impl Liveness {
    /// Whether nobody needs a directory of the driver's home. One that is not there is dead, unless somebody claims it.
    ///
    /// # Errors
    /// [`StillAlive`] where it must stay.
    pub fn dead(&self, id: &CacheId) -> Result<Dead<CacheId>, StillAlive> {
        self.dead_after(id, &Removal::default())
    }

    /// The same, once `removal` is done: what it takes away claims nothing any more.
    ///
    /// # Errors
    /// [`StillAlive`] where it must stay.
    pub fn dead_after(&self, id: &CacheId, removal: &Removal) -> Result<Dead<CacheId>, StillAlive> {
        let stays = |claim: &&Claim| match claim {
            Claim::Layer(chain) => !removal.layers.contains(chain),
            Claim::Mount(name) | Claim::Init(name) => !removal.containers.contains(name),
            // Only the first of those above is noted; all are looked at below.
            Claim::Below(_) => false,
            Claim::BuildKit(_) | Claim::Removing(_) | Claim::Mounted(_) => true,
        };
        let claims_on = |claims: &[Claim]| claims.iter().filter(stays).cloned().collect::<Vec<_>>();
        let Some(&number) = self.numbers.get(id.as_str()) else {
            let claims = self.absent.get(id.as_str()).map(|claims| claims_on(claims)).unwrap_or_default();
            return if claims.is_empty() { Ok(Dead(id.clone())) } else { Err(StillAlive::Claimed(claims)) };
        };
        let entry = &self.entries[number as usize];
        let mut claims = claims_on(&entry.claims);
        let on_it = |above: &super::OwnedEntry| above.parents.contains(&number);
        let mut above = self.names.iter().zip(&self.entries).filter(|(_, above)| on_it(above));
        let live = above.find(|(_, above)| above.claims.iter().any(|claim| stays(&claim)));
        claims.extend(live.map(|(name, _)| Claim::Below(name.clone())));
        match () {
            () if !claims.is_empty() => Err(StillAlive::Claimed(claims)),
            () if entry.kind == EntryKind::Service => Err(StillAlive::Service),
            () if !self.doubts.is_empty() => Err(StillAlive::Unknown(self.doubts.clone())),
            () => Ok(Dead(id.clone())),
        }
    }
}
