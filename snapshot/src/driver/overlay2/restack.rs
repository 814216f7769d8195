//! Finds what is missing or wrong of `link`, `l/`, `lower` and `work`, and says what belongs there.
//!
//! The short name of a layer is chosen in this order: the name in its `link`, if no other layer has that name; a name
//! in `l/` that leads to the layer; the name that its children's `lower` have at its place, if that leads to no other
//! layer; a new name. So as little as possible changes, and a directory that stands on the layer without having a
//! record, as BuildKit's snapshots do, still finds it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;

use super::{Home, layout};
use crate::driver::restack::{Restacking, Stack, Wanted};
use crate::error::StoreError;
use crate::ids::{CacheId, LinkId};

/// What a layer's directory has beside its content.
struct Found<'s> {
    stack: &'s Stack,
    /// What its `link` says; `None` if it is missing or no name.
    link: Option<LinkId>,
    has_link: bool,
    has_lower: bool,
    is_committed: bool,
    /// Whether it needs a `work` and has none.
    lacks_work: bool,
}

/// What a layer's `lower` has; `None` if it is not as it must be.
type Lower = Option<Vec<LinkId>>;

/// What the home says of short names.
#[derive(Default)]
struct Said<'s> {
    /// The targets of `l/`.
    links: BTreeMap<String, PathBuf>,
    /// The short names in `l/` that lead to each layer.
    leading: HashMap<CacheId, Vec<LinkId>>,
    /// What each layer's `lower` has.
    lowers: HashMap<&'s CacheId, Lower>,
    /// All layers.
    known: HashSet<&'s CacheId>,
}

/// Which short name is, or will be, whose.
#[derive(Default)]
struct Names<'s> {
    /// The short name of each layer.
    chosen: HashMap<&'s CacheId, LinkId>,
    /// The layer of each short name.
    taken: HashMap<LinkId, &'s CacheId>,
}

/// The short names that the layers above each layer have for it in their `lower`; the same one often only once.
type Used<'s> = HashMap<&'s CacheId, Vec<&'s LinkId>>;

/// What has to be written so that each of `stacks` can be mounted. Left out are layers without content, and layers
/// above them whose `lower` cannot be known without them: they are for a later plan, when the content is there.
///
/// The work is that of going through all stacks a few times, whatever is damaged, and no directory is kept open.
pub(super) fn plan(home: &Home, stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError> {
    let mut said = Said { known: stacks.iter().map(|stack| &stack.id).collect(), ..Said::default() };
    if let Some(links) = &home.links {
        for name in links.names()? {
            // An entry that is no symlink leads nowhere.
            let Ok(Some(target)) = links.read_link(&name) else { continue };
            if let (Some(id), Ok(link)) = (layout::layer_of(&target), name.parse()) {
                said.leading.entry(id).or_default().push(link);
            }
            said.links.insert(name, target);
        }
    }
    said.leading.values_mut().for_each(|names| names.sort_by(|a, b| a.as_str().cmp(b.as_str())));
    let mut there = Vec::new();
    for stack in stacks {
        if let Some((found, lower)) = look(home, stack)? {
            said.lowers.insert(&stack.id, lower);
            there.push(found);
        }
    }
    let used = used(stacks, &said);
    let mut names = Names::default();
    let mut fixes = Vec::new();
    for Found { stack, link, .. } in &there {
        let name = names.choose(stack, link.as_ref(), &said, &used).unwrap_or_else(LinkId::random);
        names.take(stack, &name);
        if link.as_ref() != Some(&name) {
            let wanted = Wanted::File(name.as_str().to_owned());
            fixes.push(fix(&stack.id, &[stack.id.as_str()], layout::LINK, wanted));
        }
        let target = layout::link_target(&stack.id);
        if said.links.get(name.as_str()) != Some(&target) {
            let target = target.display().to_string();
            fixes.push(fix(&stack.id, &[layout::LINKS], name.as_str(), Wanted::Symlink(target)));
        }
    }
    for stack in stacks {
        if !said.lowers.contains_key(&stack.id)
            && let Some(name) = names.choose(stack, None, &said, &used)
        {
            names.take(stack, &name);
        }
    }
    let parents: HashSet<&CacheId> = stacks.iter().filter_map(|above| above.below.first()).collect();
    for found in &there {
        let stack = found.stack;
        fixes.extend(names.lower(stack, found.has_lower, &said));
        // Only a directory that was made again gets the mark `committed`. Old versions of Docker did not write that
        // mark, so a layer of theirs is left as it is.
        if !found.has_link && parents.contains(&stack.id) && !found.is_committed {
            fixes.push(fix(&stack.id, &[stack.id.as_str()], layout::COMMITTED, Wanted::Mark));
        }
        if found.lacks_work {
            fixes.push(fix(&stack.id, &[stack.id.as_str()], layout::WORK, Wanted::Directory(0o700)));
        }
    }
    Ok(fixes)
}

/// What a layer's directory has, and what its `lower` says; `None` for a layer without content.
fn look<'s>(home: &Home, stack: &'s Stack) -> Result<Option<(Found<'s>, Lower)>, StoreError> {
    let Some(layer) = home.dir.sub_unless_file(stack.id.as_str())? else { return Ok(None) };
    if layer.sub_unless_file(layout::DIFF)?.is_none() {
        return Ok(None);
    }
    let lower = unless_invalid(layout::lower(&layer))?;
    let is_committed = layout::is_committed(&layer)?;
    let needs_work = !stack.below.is_empty() && (stack.writable || !is_committed);
    let found = Found {
        stack,
        link: unless_invalid(layout::link(&layer))?,
        has_link: layer.stat(layout::LINK)?.is_some(),
        has_lower: layer.stat(layout::LOWER)?.is_some(),
        is_committed,
        lacks_work: needs_work && !layout::has_work(&layer)?,
    };
    Ok(Some((found, lower)))
}

/// What was read; `None` if it is not as it must be.
fn unless_invalid<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Invalid { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The short names that each layer has in the `lower` of those above it, in the order of `stacks`.
fn used<'s>(stacks: &'s [Stack], said: &'s Said<'s>) -> Used<'s> {
    let mut used = Used::new();
    for above in stacks {
        let Some(Some(lower)) = said.lowers.get(&above.id) else { continue };
        if lower.len() != above.below.len() {
            continue;
        }
        for (id, name) in above.below.iter().zip(lower) {
            let names = used.entry(id).or_default();
            if names.last() != Some(&name) {
                names.push(name);
            }
        }
    }
    used
}

fn fix(id: &CacheId, dirs: &[&str], name: &str, wanted: Wanted) -> Restacking {
    let reason = match wanted {
        Wanted::File(_) if name == layout::LOWER => "it does not name the layers below",
        Wanted::File(_) => "it is missing, or no name, or another layer's",
        Wanted::Symlink(_) => "it is missing, or leads elsewhere",
        Wanted::Directory(_) | Wanted::Mark => "it is missing",
        Wanted::Nothing => "it is there although nothing is below the layer",
    };
    let dirs = dirs.iter().map(|dir| (*dir).to_owned()).collect();
    Restacking { id: id.clone(), dirs, name: name.to_owned(), wanted, reason }
}

impl<'s> Names<'s> {
    fn take(&mut self, stack: &'s Stack, name: &LinkId) {
        self.taken.insert(name.clone(), &stack.id);
        self.chosen.insert(&stack.id, name.clone());
    }

    /// Whether a name can be this layer's: nobody else has it, and it leads to no other layer that is known.
    fn is_free(&self, name: &LinkId, id: &CacheId, said: &Said<'_>) -> bool {
        let leads_to = said.links.get(name.as_str()).and_then(|target| layout::layer_of(target));
        !self.taken.contains_key(name) && leads_to.is_none_or(|other| other == *id || !said.known.contains(&other))
    }

    /// The short name of a layer, by the order that the module states; `None` if it needs a new one.
    fn choose(&self, stack: &Stack, own: Option<&LinkId>, said: &Said<'_>, used: &Used<'_>) -> Option<LinkId> {
        let is_free = |name: &&LinkId| self.is_free(name, &stack.id, said);
        if let Some(own) = own.filter(is_free) {
            return Some(own.clone());
        }
        let leading = said.leading.get(&stack.id).map(Vec::as_slice).unwrap_or_default();
        let leading: Vec<&LinkId> = leading.iter().filter(is_free).collect();
        let used = used.get(&stack.id).map(Vec::as_slice).unwrap_or_default();
        let named = used.iter().find(|name| leading.contains(name)).or(leading.first());
        named.or_else(|| used.iter().find(|name| is_free(name))).map(|name| (*name).clone())
    }

    /// What a layer's `lower` has to become; `None` if it is right.
    fn lower(&self, stack: &Stack, exists: bool, said: &Said<'_>) -> Option<Restacking> {
        let says = said.lowers.get(&stack.id)?;
        let leads_to = |(name, id): (&LinkId, &CacheId)| match self.taken.get(name) {
            Some(taken) => *taken == id,
            None => said.links.get(name.as_str()).is_some_and(|target| layout::layer_of(target).as_ref() == Some(id)),
        };
        let own = [stack.id.as_str()];
        if stack.below.is_empty() {
            return exists.then(|| fix(&stack.id, &own, layout::LOWER, Wanted::Nothing));
        }
        let below = &stack.below;
        if says.as_ref().is_some_and(|names| names.len() == below.len() && names.iter().zip(below).all(leads_to)) {
            return None;
        }
        let names: Option<Vec<&LinkId>> = below.iter().map(|id| self.chosen.get(id)).collect();
        let parts: Vec<String> = names?.iter().map(|name| format!("{}/{}", layout::LINKS, name.as_str())).collect();
        Some(fix(&stack.id, &own, layout::LOWER, Wanted::File(parts.join(":"))))
    }
}
