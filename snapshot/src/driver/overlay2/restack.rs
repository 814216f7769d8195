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

/// What the home says of short names.
#[derive(Default)]
struct Names {
    /// The targets of `l/`.
    links: BTreeMap<String, PathBuf>,
    /// What each layer's `lower` has.
    lowers: HashMap<CacheId, Option<Vec<LinkId>>>,
    /// The short name that each layer has, or will have.
    chosen: HashMap<CacheId, LinkId>,
    /// The layer that has, or will have, each short name.
    taken: HashMap<LinkId, CacheId>,
    /// All layers.
    known: HashSet<CacheId>,
}

/// What has to be written so that each of `stacks` can be mounted. Left out are layers without content, and layers
/// above them whose `lower` cannot be known without them: they are for a later plan, when the content is there.
pub(super) fn plan(home: &Home, stacks: &[Stack]) -> Result<Vec<Restacking>, StoreError> {
    let known = stacks.iter().map(|stack| stack.id.clone()).collect();
    let mut names = Names { known, ..Names::default() };
    if let Some(links) = &home.links {
        for name in links.names()? {
            // An entry that is no symlink leads nowhere.
            if let Ok(Some(target)) = links.read_link(&name) {
                names.links.insert(name, target);
            }
        }
    }
    let mut there = Vec::new();
    for stack in stacks {
        match home.dir.sub_unless_file(stack.id.as_str())? {
            Some(layer) if layer.sub_unless_file(layout::DIFF)?.is_some() => {
                let lower = match layout::lower(&layer) {
                    Ok(lower) => Some(lower),
                    Err(StoreError::Invalid { .. }) => None,
                    Err(error) => return Err(error),
                };
                names.lowers.insert(stack.id.clone(), lower);
                there.push((stack, layer));
            }
            _ => {}
        }
    }
    let mut fixes = Vec::new();
    for (stack, layer) in &there {
        let own = match layout::link(layer) {
            Ok(link) => Some(link),
            Err(StoreError::Invalid { .. }) => None,
            Err(error) => return Err(error),
        };
        let name = names.choose(stack, own.as_ref(), stacks).unwrap_or_else(LinkId::random);
        names.take(stack, &name);
        if own.as_ref() != Some(&name) {
            let wanted = Wanted::File(name.as_str().to_owned());
            fixes.push(fix(&stack.id, &[stack.id.as_str()], layout::LINK, wanted));
        }
        let target = layout::link_target(&stack.id);
        if names.links.get(name.as_str()) != Some(&target) {
            let target = target.display().to_string();
            fixes.push(fix(&stack.id, &[layout::LINKS], name.as_str(), Wanted::Symlink(target)));
        }
    }
    for stack in stacks {
        if !names.lowers.contains_key(&stack.id)
            && let Some(name) = names.choose(stack, None, stacks)
        {
            names.take(stack, &name);
        }
    }
    for (stack, layer) in &there {
        fixes.extend(names.lower(stack, layer.stat(layout::LOWER)?.is_some()));
        // Only a directory that was made again gets the mark `committed`. Old versions of Docker did not write that
        // mark, so a layer of theirs is left as it is.
        let is_new = layer.stat(layout::LINK)?.is_none();
        if is_new && stacks.iter().any(|above| above.below.first() == Some(&stack.id)) && !layout::is_committed(layer)?
        {
            fixes.push(fix(&stack.id, &[stack.id.as_str()], layout::COMMITTED, Wanted::Mark));
        }
        let needed = stack.writable || !layout::is_committed(layer)?;
        if !stack.below.is_empty() && needed && !layout::has_work(layer)? {
            fixes.push(fix(&stack.id, &[stack.id.as_str()], layout::WORK, Wanted::Directory(0o700)));
        }
    }
    Ok(fixes)
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

impl Names {
    fn take(&mut self, stack: &Stack, name: &LinkId) {
        self.taken.insert(name.clone(), stack.id.clone());
        self.chosen.insert(stack.id.clone(), name.clone());
    }

    /// Whether a name can be this layer's: nobody else has it, and it leads to no other layer that is known.
    fn is_free(&self, name: &LinkId, id: &CacheId) -> bool {
        let leads_to = self.links.get(name.as_str()).and_then(|target| layout::layer_of(target));
        !self.taken.contains_key(name) && leads_to.is_none_or(|other| other == *id || !self.known.contains(&other))
    }

    /// The short name of a layer, by the order that the module states; `None` if it needs a new one.
    fn choose(&self, stack: &Stack, own: Option<&LinkId>, stacks: &[Stack]) -> Option<LinkId> {
        if let Some(own) = own.filter(|own| self.is_free(own, &stack.id)) {
            return Some(own.clone());
        }
        let target = layout::link_target(&stack.id);
        let leading = self.links.iter().filter(|(_, to)| **to == target).filter_map(|(name, _)| name.parse().ok());
        let leading: Vec<LinkId> = leading.filter(|name| self.is_free(name, &stack.id)).collect();
        let mut used = stacks.iter().filter_map(|above| self.place_in(above, stack));
        let named = used.find(|name| leading.contains(name)).or_else(|| leading.first().cloned());
        named.or_else(|| {
            let mut used = stacks.iter().filter_map(|above| self.place_in(above, stack));
            used.find(|name| self.is_free(name, &stack.id))
        })
    }

    /// The short name that the `lower` of the layer `above` has at the place of this layer.
    fn place_in(&self, above: &Stack, stack: &Stack) -> Option<LinkId> {
        let at = above.below.iter().position(|id| *id == stack.id)?;
        let lower = self.lowers.get(&above.id)?.as_ref()?;
        (lower.len() == above.below.len()).then(|| lower[at].clone())
    }

    /// What a layer's `lower` has to become; `None` if it is right.
    fn lower(&self, stack: &Stack, exists: bool) -> Option<Restacking> {
        let says = self.lowers.get(&stack.id)?;
        let will_lead_to = |name: &LinkId| {
            self.taken
                .get(name)
                .cloned()
                .or_else(|| self.links.get(name.as_str()).and_then(|target| layout::layer_of(target)))
        };
        let leads_to = |names: &Vec<LinkId>| names.iter().map(will_lead_to).collect::<Option<Vec<CacheId>>>();
        let own = [stack.id.as_str()];
        if stack.below.is_empty() {
            return exists.then(|| fix(&stack.id, &own, layout::LOWER, Wanted::Nothing));
        }
        if says.as_ref().and_then(leads_to).as_ref() == Some(&stack.below) {
            return None;
        }
        let names: Option<Vec<&LinkId>> = stack.below.iter().map(|id| self.chosen.get(id)).collect();
        let parts: Vec<String> = names?.iter().map(|name| format!("{}/{}", layout::LINKS, name.as_str())).collect();
        Some(fix(&stack.id, &own, layout::LOWER, Wanted::File(parts.join(":"))))
    }
}
