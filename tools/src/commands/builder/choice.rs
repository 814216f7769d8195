//! What `builder prune` takes, by docker's filters and by how much may stay (moby v20.10.24
//! `builder/builder-next/builder.go: toBuildkitPruneInfo`, moby/buildkit `cache/manager.go: prune`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use docker_format::filter::{Command, Filters};
use docker_format::until::{duration, duration_error};
use jiff::{SignedDuration, Timestamp};
use regex::Regex;
use snapshot::catalog::{Catalog, Image};
use snapshot::ids::{ImageId, VolumeName};
use snapshot::schema::buildkit::CacheRecord;

use crate::own_cache::{Kept, OwnCache};

/// What is asked for.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// What was used later stays.
    pub(super) until: Option<Timestamp>,
    /// So many bytes stay, if it is any.
    pub(super) keep: u64,
    id: Option<Regex>,
    fields: BTreeMap<&'static str, String>,
}

/// What goes: records, those first that no other stands on, and volumes.
#[derive(Debug, Default)]
pub(super) struct Choice {
    pub(super) records: Vec<ImageId>,
    pub(super) volumes: BTreeSet<VolumeName>,
}

/// Filters that ask for the value of a field. The last three have none.
const FIELDS: [&str; 6] = ["parent", "type", "description", "inuse", "shared", "private"];

impl Wanted {
    /// Reads `--filter`. An error is dockerd's message.
    pub(super) fn parse(filters: &Filters, keep: u64, now: Timestamp) -> Result<Self, String> {
        filters.check(Command::BuilderPrune).map_err(|error| error.to_string())?;
        let one = |name: &str| match filters.get(name) {
            [] => Ok(None),
            [value] => Ok(Some(value.clone())),
            _ => Err("filters expect only one value".to_owned()),
        };
        if filters.contains("until") && filters.contains("unused-for") {
            return Err("conflicting filters: \"until\" and \"unused-for\"".into());
        }
        let mut wanted = Self { keep, ..Self::default() };
        for name in ["until", "unused-for"] {
            let Some(text) = one(name)? else { continue };
            let expects = |why: &str| format!("{name:?} filter expects a duration (e.g., '24h'): {why}");
            let nanos = duration(&text).ok_or_else(|| expects(&duration_error(&text)))?;
            // BuildKit takes 0 for no limit.
            let age = Some(SignedDuration::from_nanos(nanos)).filter(|age| !age.is_zero());
            wanted.until = age.and_then(|age| now.checked_sub(age).ok());
        }
        wanted.id = match one("id")? {
            Some(text) => Some(Regex::new(&text).map_err(|error| error.to_string())?),
            None => None,
        };
        for name in FIELDS {
            if let Some(value) = one(name)? {
                wanted.fields.insert(name, value);
            }
        }
        Ok(wanted)
    }

    /// Whether everything that may go is asked for.
    pub(super) fn is_everything(&self) -> bool {
        self.keep == 0 && self.id.is_none() && self.fields.is_empty()
    }

    fn takes(&self, record: &CacheRecord) -> bool {
        let later = |until: Timestamp| record.last_used.or(record.created).is_some_and(|used| used > until);
        if self.until.is_some_and(later) || self.id.as_ref().is_some_and(|id| !id.is_match(&record.id)) {
            return false;
        }
        self.fields.iter().all(|(name, value)| match *name {
            "parent" => record.parent.as_deref().unwrap_or_default() == value,
            "type" => record.kind == *value,
            "description" => record.description == *value,
            "shared" => record.shared,
            "private" => !record.shared,
            // Nothing that may go is in use.
            _ => false,
        })
    }

    /// What of the cache goes: what was not used for the longest time first, until no more is there than may stay.
    pub(super) fn choose(&self, catalog: &Catalog, own: &OwnCache) -> Choice {
        let mut left: u64 = own.records.iter().filter(|record| !record.shared).map(size).fold(0, u64::saturating_add);
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
            if self.keep > 0 && left <= self.keep {
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

fn size(record: &CacheRecord) -> u64 {
    record.size.known().unwrap_or_default()
}
