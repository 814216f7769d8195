//! What an overlay2 home holds, and which entries stand on which.
//!
//! A home of 5,000 images has 50,000 entries, each with a `lower` that names all entries below it: a million names. So
//! entries have numbers, files are read with few calls and by several threads, and a `lower` that is the parent's name and the
//! parent's own `lower` is not looked at any closer. Whoever also asks which layers are sound is told so by what was read here,
//! beside which only each layer's `link` and content are looked at.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;

use rustix::fs::FileType;

use super::super::stacked::down_to_the_base;
use super::{Home, layout, sound};
use crate::catalog::with_causes;
use crate::dir::Dir;
use crate::dir::quick::{self, Small};
use crate::driver::{EntryKind, HomeEntries, Parents, Stacked, UnknownParents};
use crate::error::StoreError;
use crate::ids::LinkId;
use crate::parallel;

/// Bytes that hold the `lower` of a layer on 128 others, the most that Docker stacks.
const BUFFER: usize = 4096;

/// Where a link leads.
enum Target {
    /// To an entry; in dockerd's way, to its content.
    Entry(Leads),
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
    parents: Parents,
    missing_links: Vec<String>,
    unknown: Option<UnknownParents>,
}

/// Where a short name leads: to the entry of this number, and whether in dockerd's way.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Leads {
    number: u32,
    exactly: bool,
}

/// What an entry says.
type Said = sound::Said<Leads>;

/// Reads the home: all names, all links, and each layer's `lower`.
pub(super) fn read(home: &Home) -> Result<HomeEntries, StoreError> {
    read_with(home, &[]).map(|(entries, _)| entries)
}

/// Reads the home, and tells which of these layers can certainly be mounted on those below. `false` says nothing.
pub(super) fn read_with(home: &Home, layers: &[Stacked<'_>]) -> Result<(HomeEntries, Vec<bool>), StoreError> {
    let listed = home.dir.names()?;
    // The home was listed before its links are.
    let links = || home.links.as_ref().map_or(Ok(Vec::new()), Dir::names);
    let (names, mut all) = parallel::beside(links, || HomeEntries::of_names(home.name, listed.clone()));
    let names = names?;
    let numbers: HashMap<&str, u32> = all.names.iter().map(|name| &**name).zip(0..).collect();
    let listed: Vec<u32> = listed.iter().filter_map(|name| numbers.get(name.as_str()).copied()).collect();
    let targets = match &home.links {
        Some(links) => parallel::map_files(&names, |link| target(links, link, &numbers)),
        None => Vec::new(),
    };
    let usable = names.iter().map(String::as_str).zip(&targets).filter(|(name, _)| LinkId::is_valid(name));
    let known: HashMap<&str, &Target> = usable.collect();
    let entries: Vec<(&str, EntryKind)> = all.entries.iter().map(|(name, entry)| (&**name, entry.kind)).collect();
    let said = said_by_each(&home.dir, &entries, &listed, &known, !layers.is_empty());
    let of_layers: Vec<Option<u32>> = layers.iter().map(|layer| numbers.get(layer.id.as_str()).copied()).collect();
    let sound = sound::by_what_is_said(layers, |at| said[(*of_layers.get(at)?)? as usize].as_ref());
    let nearest: Vec<((&str, EntryKind), Option<Parents>)> = entries.into_iter().zip(nearest(said)).collect();
    let below = parallel::map_files(&nearest, |((name, kind), nearest)| match (kind, nearest) {
        (EntryKind::Service, _) => Below::default(),
        (EntryKind::Layer, Some(parents)) => Below { parents: parents.clone(), ..Below::default() },
        (EntryKind::Layer, None) => below(&home.dir, name, &known),
    });
    for (entry, below) in all.entries.values_mut().zip(below) {
        entry.missing_links = below.missing_links;
        entry.parents = below.unknown.map_or(Ok(below.parents), Err);
    }
    let (entries, stale) = (&all.names, &mut all.stale);
    let leads = names.into_iter().zip(targets).map(|(link, target)| {
        let entry = match target {
            Target::Entry(leads) => Some(Arc::clone(&entries[leads.number as usize])),
            Target::Stale(named) => {
                stale.insert(link.clone(), named);
                None
            }
            Target::Nowhere | Target::Unread(_) => None,
        };
        (link, entry)
    });
    all.links = leads.collect();
    Ok((all, sound))
}

/// What each entry says; `None` for one whose files are not as dockerd writes them. `listed` is the order in which they are read: that in
/// which the home lists them, since files that were made one after the other are near each other in the kernel's memory.
fn said_by_each(
    home: &Dir,
    entries: &[(&str, EntryKind)],
    listed: &[u32],
    known: &HashMap<&str, &Target>,
    closely: bool,
) -> Vec<Option<Said>> {
    let keys = RandomState::new();
    let leads = |link: &str| match known.get(link)? {
        Target::Entry(leads) => Some(*leads),
        _ => None,
    };
    let read = parallel::map_files(listed, |number| match entries.get(*number as usize)? {
        (name, EntryKind::Layer) => {
            sound::said(home, name, &keys, closely, leads, |own| *own == Leads { number: *number, exactly: true })
        }
        (_, EntryKind::Service) => None,
    });
    let mut said: Vec<Option<Said>> = entries.iter().map(|_| None).collect();
    for (number, one) in listed.iter().zip(read) {
        said[*number as usize] = one;
    }
    said
}

/// The parents of each entry whose `lower` is the name of an entry and the `lower` of that, down to one that stands on nothing.
/// For any other entry all that it says must be looked at.
fn nearest(said: Vec<Option<Said>>) -> Vec<Option<Parents>> {
    let first = |said: &Option<Said>| Some(said.as_ref()?.first?.0.number as usize);
    let parents: Vec<Option<usize>> = said.iter().map(first).collect();
    let continues = |at: usize| match said[at].as_ref().map(|said| said.first) {
        None => false,
        Some(None) => true,
        Some(Some((first, rest))) => said[first.number as usize].as_ref().is_some_and(|below| below.lower == rest),
    };
    let sound = down_to_the_base(&parents, continues);
    let parents = said.into_iter().zip(sound).map(|(said, sound)| {
        let first = said.filter(|_| sound)?.first;
        Some(first.map_or_else(Parents::default, |(first, _)| Parents::Nearest(first.number)))
    });
    parents.collect()
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
    let Some(target) = target else { return Target::Nowhere };
    match layout::entry_of(&target) {
        None => Target::Nowhere,
        Some(named) => match numbers.get(&*named) {
            Some(number) => Target::Entry(Leads { number: *number, exactly: layout::leads_to(&target, &named) }),
            None => Target::Stale(named),
        },
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
    let mut below = Below::default();
    let mut parents = Vec::with_capacity(links.len());
    for link in links {
        match known.get(link) {
            Some(Target::Entry(leads)) => parents.push(leads.number),
            Some(Target::Unread(cause)) if below.unknown.is_none() => {
                below.unknown = Some(UnknownParents { cause: cause.clone(), failed: true });
                below.missing_links.push(link.to_owned());
            }
            _ => below.missing_links.push(link.to_owned()),
        }
    }
    below.parents = Parents::All(parents);
    below
}

fn is(stat: &rustix::fs::Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}
