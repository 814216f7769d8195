//! What a driver's home holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::HomeLayout;
use crate::dir::Dir;
use crate::error::StoreError;

/// What an entry of a driver's home is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A layer, or what could be one by its name.
    Layer,
    /// Not a layer: the driver keeps it for itself, or its probing left it behind.
    Service,
}

/// An entry of a driver's home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HomeEntry {
    /// What it is.
    pub kind: EntryKind,
    /// The existing entries that it stands on, or why they cannot be read.
    pub parents: Result<Parents, UnknownParents>,
    /// Short names that it stands on although they lead to no entry.
    pub missing_links: Vec<String>,
}

/// The existing entries that an entry stands on, by their places in [`HomeEntries::names`].
///
/// The list of a layer is the layer below and that one's own list, so it is kept only where it is another: the lists of 50,000
/// layers have a million places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parents {
    /// This one, and all that it stands on itself. What is below it ends.
    Nearest(u32),
    /// These, the nearest first.
    All(Vec<u32>),
}

impl Default for Parents {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

impl Parents {
    /// The entries from which all are found: the nearest one, or all.
    pub(crate) fn listed(&self) -> &[u32] {
        match self {
            Self::Nearest(nearest) => std::slice::from_ref(nearest),
            Self::All(all) => all,
        }
    }

    /// All of them, the nearest first; `of` returns the parents of another entry.
    pub(crate) fn all<'p>(&'p self, of: impl Fn(u32) -> Option<&'p Self>) -> Vec<u32> {
        let (mut all, mut next) = (Vec::new(), Some(self));
        while let Some(parents) = next.take() {
            all.extend(parents.listed());
            if let Self::Nearest(nearest) = parents {
                next = of(*nearest);
            }
        }
        all
    }
}

/// Why it is not known what an entry stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownParents {
    /// The cause in words.
    pub cause: String,
    /// Whether a system call failed, so that another try may succeed.
    pub failed: bool,
}

/// Everything that a driver's home holds, by names that are [plain text](crate::ids#names-that-stay-text).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HomeEntries {
    /// The names of all entries, sorted.
    pub names: Vec<Arc<str>>,
    /// All entries by name.
    pub entries: BTreeMap<Arc<str>, HomeEntry>,
    /// The short names of layers, and the entry each leads to; `None` if it leads to none. Empty for drivers without.
    pub links: BTreeMap<String, Option<Arc<str>>>,
    /// The short names that lead to no entry, and the entry that each names.
    pub stale: BTreeMap<String, String>,
}

impl HomeEntries {
    /// Reads the names alone; no entry stands on another then. For vfs and devicemapper this is true. For a driver that
    /// is not implemented here it only means that nothing is known.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn named(driver: &str, home: &Dir) -> Result<Self, StoreError> {
        Ok(Self::of_names(driver, home.names()?))
    }

    /// The entries of these names; none stands on another.
    pub(crate) fn of_names(driver: &str, names: Vec<String>) -> Self {
        let entry = |name: String| {
            let kind = if HomeLayout::is_service(driver, &name) { EntryKind::Service } else { EntryKind::Layer };
            (Arc::from(name), HomeEntry { kind, parents: Ok(Parents::default()), missing_links: Vec::new() })
        };
        let entries: BTreeMap<Arc<str>, HomeEntry> = names.into_iter().map(entry).collect();
        Self { names: entries.keys().cloned().collect(), entries, ..Self::default() }
    }

    /// The entry that an entry stands on directly, where that is known.
    pub(crate) fn nearest_below(&self, name: &str) -> Option<&Arc<str>> {
        let parents = self.entries.get(name)?.parents.as_ref().ok()?;
        self.names.get(*parents.listed().first()? as usize)
    }

    /// The names of all entries that an entry stands on, the nearest first, as far as they are known.
    #[must_use]
    pub fn names_below(&self, name: &str) -> Vec<&str> {
        let of = |name: &str| self.entries.get(name)?.parents.as_ref().ok();
        let all = of(name).map(|parents| parents.all(|number| of(&self.names[number as usize])));
        all.unwrap_or_default().into_iter().map(|number| &*self.names[number as usize]).collect()
    }
}
