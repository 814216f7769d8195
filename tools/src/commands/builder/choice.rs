//! What `builder prune` takes, by docker's filters and by how much may stay (moby v20.10.24
//! `builder/builder-next/builder.go: toBuildkitPruneInfo`, moby/buildkit `cache/manager.go: prune`, of 28.5 where it knows more).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use docker_format::filter::{Command, Filters};
use docker_format::until::{duration, duration_error};
use jiff::{SignedDuration, Timestamp};
use snapshot::catalog::{Catalog, Image};
use snapshot::ids::{ImageId, VolumeName};
use snapshot::schema::buildkit::CacheRecord;

use super::selector::Selectors;
use crate::own_cache::{Kept, OwnCache};

/// What is asked for.
#[derive(Debug, Default)]
pub(in crate::commands) struct Wanted {
    /// What was used later stays.
    pub(super) until: Option<Timestamp>,
    pub(super) room: Room,
    selectors: Selectors,
}

/// How much is left, in bytes; 0 for no bound.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::commands) struct Room {
    /// So much always stays.
    pub(in crate::commands) reserved: u64,
    /// No more stays than this.
    pub(in crate::commands) most: u64,
    /// So much of the file system shall be free.
    pub(in crate::commands) free: u64,
}

impl Room {
    pub(super) fn is_bounded(self) -> bool {
        self.reserved > 0 || self.most > 0 || self.free > 0
    }

    /// What may stay of a cache with `total` bytes, on a file system with `free` bytes.
    fn keep(self, total: u64, free: u64) -> u64 {
        let mut keep = self.most;
        let excess = self.free.saturating_sub(free);
        if excess > 0 {
            let left = total.saturating_sub(excess);
            keep = if keep == 0 { left } else { keep.min(left) };
        }
        keep.max(self.reserved)
    }
}

/// What goes: records, those first that no other stands on, and volumes.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) records: Vec<ImageId>,
    pub(super) volumes: BTreeSet<VolumeName>,
}

/// Filters of `builder prune` that ask for the value of a field.
const FIELDS: [&str; 7] = ["description", "id", "inuse", "parent", "private", "shared", "type"];

impl Wanted {
    /// Reads `--filter` of `builder prune`. An error is dockerd's message.
    pub(super) fn parse(filters: &Filters, room: Room, now: Timestamp) -> Result<Self, String> {
        filters.check(Command::BuilderPrune).map_err(|error| error.to_string())?;
        let until = until(filters, now)?;
        let names = FIELDS.into_iter().filter(|name| filters.contains(name));
        let selectors = selectors(filters, names).map_err(|(error, text)| match text {
            Some(text) => format!("failed to parse prune filters [{text}]: {error}: invalid argument"),
            None => error,
        })?;
        Ok(Self { until, room, selectors })
    }

    /// Reads `--filter` of `buildx prune` and `buildx du`, which take any field. An error is buildx's message, where the filter itself is
    /// wrong after the words `refused`.
    pub(in crate::commands) fn parse_any(
        filters: &Filters,
        room: Room,
        now: Timestamp,
        refused: &str,
    ) -> Result<Self, String> {
        let until = until(filters, now)?;
        let names = filters.names().filter(|name| !UNTIL.contains(name));
        let selectors = selectors(filters, names).map_err(|(error, text)| match text {
            Some(text) => format!("{refused} [{text}]: {error}: invalid argument"),
            None => error,
        })?;
        Ok(Self { until, room, selectors })
    }

    /// Whether everything that may go is asked for.
    pub(super) fn is_everything(&self) -> bool {
        !self.room.is_bounded() && self.selectors.is_empty()
    }

    /// Whether a record is one of those that the fields ask for.
    pub(in crate::commands) fn selects(&self, record: &CacheRecord) -> bool {
        self.selectors.take(record)
    }

    fn takes(&self, record: &CacheRecord) -> bool {
        let later = |until: Timestamp| record.last_used.or(record.created).is_some_and(|used| used > until);
        !self.until.is_some_and(later) && self.selects(record)
    }

    /// What of the cache goes: what was not used for the longest time first, until no more is there than may stay.
    ///
    /// `free` are the bytes that are free in the file system.
    pub(super) fn choose(&self, catalog: &Catalog, own: &OwnCache, free: u64) -> Choice {
        let mut left: u64 = own.records.iter().filter(|record| !record.shared).map(size).fold(0, u64::saturating_add);
        let keep = self.room.keep(left, free);
        let ids: BTreeMap<ImageId, usize> = own.steps().map(|(place, id)| (id, place)).collect();
        let children = |id: &ImageId| catalog.images().get(id).map_or(0, |image| image.children.len());
        let mut standing: BTreeMap<ImageId, usize> = ids.keys().map(|id| (*id, children(id))).collect();
        let key = |place: usize| Reverse((own.records[place].last_used.or(own.records[place].created), place));
        let mut ready: BinaryHeap<_> = (own.kept_as.iter().enumerate())
            .filter(|(_, kept)| match kept {
                Kept::Image(id) => standing.get(id) == Some(&0),
                Kept::Volume(_) => true,
            })
            .map(|(place, _)| key(place))
            .collect();
        let mut choice = Choice::default();
        while let Some(Reverse((_, place))) = ready.pop() {
            let record = &own.records[place];
            if keep > 0 && left < keep {
                break;
            }
            if !self.takes(record) {
                continue;
            }
            if !record.shared {
                left = left.saturating_sub(size(record));
            }
            match &own.kept_as[place] {
                Kept::Volume(name) => drop(choice.volumes.insert(name.clone())),
                Kept::Image(id) => {
                    choice.records.push(*id);
                    let parent = catalog.images().get(id).and_then(Image::parent_id);
                    let Some((parent, count)) = parent.and_then(|id| Some((id, standing.get_mut(&id)?))) else {
                        continue;
                    };
                    *count = count.saturating_sub(1);
                    if let (0, Some(place)) = (*count, ids.get(&parent)) {
                        ready.push(key(*place));
                    }
                }
            }
        }
        choice
    }
}

/// The filters of an age.
const UNTIL: [&str; 2] = ["until", "unused-for"];

/// The only value of a filter.
fn one(filters: &Filters, name: &str) -> Result<Option<String>, String> {
    match filters.get(name) {
        [] => Ok(None),
        [value] => Ok(Some(value.clone())),
        _ => Err("filters expect only one value".to_owned()),
    }
}

fn until(filters: &Filters, now: Timestamp) -> Result<Option<Timestamp>, String> {
    if UNTIL.iter().all(|name| filters.contains(name)) {
        return Err("conflicting filters: \"until\" and \"unused-for\"".into());
    }
    for name in UNTIL {
        let Some(text) = one(filters, name)? else { continue };
        let expects = |why: &str| format!("{name:?} filter expects a duration (e.g., '24h'): {why}");
        let nanos = duration(&text).ok_or_else(|| expects(&duration_error(&text)))?;
        // BuildKit takes 0 for no limit.
        let age = Some(SignedDuration::from_nanos(nanos)).filter(|age| !age.is_zero());
        return Ok(age.and_then(|age| now.checked_sub(age).ok()));
    }
    Ok(None)
}

/// The filters of these names, in BuildKit's form: an id is an expression, and `type!=x` asks for all others. An error comes with the form
/// that cannot be read.
fn selectors<'n>(
    filters: &Filters,
    names: impl Iterator<Item = &'n str>,
) -> Result<Selectors, (String, Option<String>)> {
    let mut parts = Vec::new();
    for name in names {
        let value = one(filters, name).map_err(|error| (error, None))?.unwrap_or_default();
        let operator = match name {
            "id" => "~=",
            _ if name.ends_with(['!', '~']) => "=",
            _ => "==",
        };
        parts.push(format!("{name}{operator}{value}"));
    }
    let text = parts.join(",");
    Selectors::parse(&text).map_err(|error| (error, Some(text)))
}

pub(in crate::commands) fn size(record: &CacheRecord) -> u64 {
    record.size.known().unwrap_or_default()
}
