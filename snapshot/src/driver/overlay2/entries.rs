//! What an overlay2 home holds, and which entries stand on which.
//!
//! A home of 5,000 images has 50,000 entries, each with a `lower` that names all entries below it: a million names. So
//! entries have numbers, files are read with few calls and by several threads, and a name is looked up without being
//! copied.

use std::collections::HashMap;
use std::sync::Arc;

use rustix::fs::FileType;

use super::layout;
use crate::catalog::with_causes;
use crate::dir::Dir;
use crate::dir::quick::{self, Small};
use crate::driver::{EntryKind, HomeEntries, UnknownParents};
use crate::error::StoreError;
use crate::ids::LinkId;
use crate::parallel;

/// Bytes that hold the `lower` of a layer on 128 others, the most that Docker stacks.
const BUFFER: usize = 4096;

/// Where a link leads.
enum Target {
    /// To the entry of this number.
    Entry(u32),
    /// To an entry of this name, which is not there.
    Stale(String),
    /// To no entry.
    Nowhere,
    /// It could not be read.
    Unread(String),
}

/// What an entry stands on.
#[derive(Default)]
struct Below {
    parents: Vec<u32>,
    missing_links: Vec<String>,
    unknown: Option<UnknownParents>,
}

/// Reads the home: all names, all links, and each layer's `lower`.
pub(super) fn read(driver: &str, home: &Dir, links: Option<&Dir>) -> Result<HomeEntries, StoreError> {
    let mut all = HomeEntries::named(driver, home)?;
    let numbers: HashMap<&str, u32> = all.names.iter().map(|name| &**name).zip(0..).collect();
    let names = links.map_or(Ok(Vec::new()), Dir::names)?;
    let targets = match links {
        Some(links) => parallel::map(&names, |link| target(links, link, &numbers)),
        None => Vec::new(),
    };
    let usable = names.iter().map(String::as_str).zip(&targets).filter(|(name, _)| LinkId::is_valid(name));
    let known: HashMap<&str, &Target> = usable.collect();
    let layers: Vec<(&str, EntryKind)> = all.entries.iter().map(|(name, entry)| (&**name, entry.kind)).collect();
    let below = parallel::map(&layers, |(name, kind)| match kind {
        EntryKind::Layer => below(home, name, &known),
        EntryKind::Service => Below::default(),
    });
    for (entry, below) in all.entries.values_mut().zip(below) {
        entry.missing_links = below.missing_links;
        entry.parents = below.unknown.map_or(Ok(below.parents), Err);
    }
    let (entries, stale) = (&all.names, &mut all.stale);
    let leads = names.into_iter().zip(targets).map(|(link, target)| {
        let entry = match target {
            Target::Entry(number) => Some(Arc::clone(&entries[number as usize])),
            Target::Stale(named) => {
                stale.insert(link.clone(), named);
                None
            }
            Target::Nowhere | Target::Unread(_) => None,
        };
        (link, entry)
    });
    all.links = leads.collect();
    Ok(all)
}

/// Where a link leads.
fn target(links: &Dir, link: &str, numbers: &HashMap<&str, u32>) -> Target {
    let target = match links.read_link(link) {
        Ok(target) => target,
        // An entry that is no symlink leads nowhere.
        Err(error) => match links.stat(link) {
            Ok(stat) if stat.is_none_or(|stat| !is(&stat, FileType::Symlink)) => return Target::Nowhere,
            _ => return Target::Unread(with_causes(&error)),
        },
    };
    match target.as_deref().and_then(layout::entry_of) {
        None => Target::Nowhere,
        Some(named) => numbers.get(&*named).copied().map_or(Target::Stale(named), Target::Entry),
    }
}

/// What an entry stands on.
fn below(home: &Dir, name: &str, known: &HashMap<&str, &Target>) -> Below {
    let mut buffer = [0; BUFFER];
    if let Some(layer) = quick::reach(home, name) {
        match quick::read(&layer, layout::LOWER, &mut buffer) {
            Small::Missing => return Below::default(),
            Small::Text(text) => {
                let links = text.split(':').map(layout::link_name);
                let links: Option<Vec<&str>> = links.collect();
                let below = links.map(|links| resolved(links.into_iter(), known));
                // A part that is no link id is left to the slower way below, which reports it.
                if let Some(below) = below.filter(|below| below.missing_links.iter().all(|link| LinkId::is_valid(link)))
                {
                    return below;
                }
            }
            Small::Other => {}
        }
    }
    let links = match home.sub(name) {
        Ok(Some(layer)) => layout::lower(&layer),
        // A layer that was removed since the names were read stands on nothing.
        Ok(None) => return Below::default(),
        // A file or a symlink is no layer.
        Err(_) if home.stat(name).is_ok_and(|stat| !stat.is_some_and(|stat| is(&stat, FileType::Directory))) => {
            return Below::default();
        }
        Err(error) => Err(error),
    };
    match links {
        Ok(links) => resolved(links.iter().map(LinkId::as_str), known),
        Err(error) => {
            let failed = matches!(error, StoreError::Io { .. });
            let unknown = UnknownParents { cause: with_causes(&error), failed };
            Below { unknown: Some(unknown), ..Below::default() }
        }
    }
}

/// The entries to which these links lead.
fn resolved<'n>(links: impl ExactSizeIterator<Item = &'n str>, known: &HashMap<&str, &Target>) -> Below {
    let mut below = Below { parents: Vec::with_capacity(links.len()), ..Below::default() };
    for link in links {
        match known.get(link) {
            Some(Target::Entry(number)) => below.parents.push(*number),
            Some(Target::Unread(cause)) if below.unknown.is_none() => {
                below.unknown = Some(UnknownParents { cause: cause.clone(), failed: true });
                below.missing_links.push(link.to_owned());
            }
            _ => below.missing_links.push(link.to_owned()),
        }
    }
    below
}

fn is(stat: &rustix::fs::Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}
