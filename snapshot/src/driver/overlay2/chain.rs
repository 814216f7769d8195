//! Whether a layer's `link` and `lower` agree with the chain of its records.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use super::{Home, layout};
use crate::dir::Dir;
use crate::driver::{LayerDamage, LayerPart};
use crate::error::StoreError;
use crate::ids::{CacheId, LinkId};

/// Remembers where links lead, since a deep chain asks for the same links again and again.
#[derive(Debug, Default)]
pub(super) struct LinkCache(Mutex<HashMap<LinkId, Option<CacheId>>>);

impl LinkCache {
    /// Forgets all answers. To be called before links change.
    pub(super) fn forget(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The layer that a link leads to; `None` if it leads to none.
    fn resolve(&self, home: &Dir, links: &Dir, link: &LinkId) -> Result<Option<CacheId>, StoreError> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(link) {
            return Ok(known.clone());
        }
        let id = links.read_link(link.as_str())?.and_then(|target| layout::layer_of(&target));
        let id = match id {
            Some(id)
                if home.sub_unless_file(id.as_str())?.map_or(Ok(None), |layer| layer.stat(layout::DIFF))?.is_some() =>
            {
                Some(id)
            }
            _ => None,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(link.clone(), id.clone());
        Ok(id)
    }
}

/// Opens a directory that must be there; else says what is wrong with it.
pub(super) fn directory(parent: &Dir, name: &str, part: LayerPart) -> Result<Result<Dir, LayerDamage>, StoreError> {
    if let Some(found) = parent.sub_unless_file(name)? {
        return Ok(Ok(found));
    }
    let path = parent.join(name);
    Ok(Err(match parent.stat(name)? {
        None => LayerDamage::Missing { path, part },
        Some(_) => LayerDamage::Invalid { path, part, reason: "a file where a directory belongs".to_owned() },
    }))
}

/// Why the layer cannot be mounted on top of `parents`; `None` if it can.
pub(super) fn damage(home: &Home, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
    let layer = match directory(&home.dir, id.as_str(), LayerPart::Content)? {
        Ok(layer) => layer,
        Err(damage) => return Ok(Some(damage)),
    };
    if let Err(damage) = directory(&layer, layout::DIFF, LayerPart::Content)? {
        return Ok(Some(damage));
    }
    if parents.len() > layout::MAX_LOWER {
        return Ok(Some(LayerDamage::TooDeep { most: layout::MAX_LOWER }));
    }
    let (own, below) = match (layout::link(&layer), layout::lower(&layer)) {
        (Ok(own), Ok(below)) => (own, below),
        (Err(error), _) => return said(error, LayerPart::Link),
        (_, Err(error)) => return said(error, LayerPart::Lower),
    };
    let Some(links) = &home.links else {
        return Ok(Some(LayerDamage::Missing { path: home.dir.join(layout::LINKS), part: LayerPart::Links }));
    };
    if links.read_link(own.as_str())? != Some(layout::link_target(id)) {
        return Ok(Some(LayerDamage::WrongLink { link: links.join(own.as_str()) }));
    }
    let path = layer.join(layout::LOWER);
    let shown = |link: &LinkId| format!("{}/{}", layout::LINKS, link.as_str());
    let mut found = Vec::with_capacity(below.len());
    for link in &below {
        match home.resolved.resolve(&home.dir, links, link)? {
            Some(layer) => found.push(layer),
            None => return Ok(Some(LayerDamage::Dangling { path, link: shown(link) })),
        }
    }
    if found == parents {
        return Ok(None);
    }
    // A link that leads elsewhere is damage of the layer whose short name it is: what stands on it names the right one.
    let mut named = found.clone();
    for parent in parents {
        let own = home.dir.sub_unless_file(parent.as_str())?.and_then(|parent| layout::link(&parent).ok());
        if let Some(at) = own.and_then(|own| below.iter().position(|link| *link == own)) {
            named[at] = parent.clone();
        }
    }
    if named != parents {
        return Ok(compare(id, &named, parents, path));
    }
    let misled = below.iter().zip(&found).zip(parents).find(|((_, found), parent)| found != parent);
    Ok(misled.map(|((link, _), layer)| LayerDamage::Misled { path, link: shown(link), layer: layer.clone() }))
}

/// Tells damage from errors: a file with wrong content is damage, a file that cannot be read is an error.
fn said(error: StoreError, part: LayerPart) -> Result<Option<LayerDamage>, StoreError> {
    match error {
        StoreError::Invalid { path, reason } => Ok(Some(LayerDamage::Invalid { path, part, reason })),
        other => Err(other),
    }
}

/// Compares what the file at `path` names with what it must name.
fn compare(id: &CacheId, found: &[CacheId], expected: &[CacheId], path: PathBuf) -> Option<LayerDamage> {
    if found == expected {
        return None;
    }
    if found.is_empty() {
        return Some(LayerDamage::Missing { path, part: LayerPart::Lower });
    }
    if found.contains(id) {
        return Some(LayerDamage::OnItself { path });
    }
    let mut seen = HashSet::new();
    if let Some(layer) = found.iter().find(|layer| !seen.insert(*layer)) {
        return Some(LayerDamage::Doubled { path, layer: layer.clone() });
    }
    let known: HashSet<&CacheId> = expected.iter().collect();
    if let Some(at) = found.iter().position(|layer| !known.contains(layer)) {
        let expected = expected.get(at).map_or_else(|| "none".to_owned(), ToString::to_string);
        return Some(LayerDamage::OnAnother { path, expected, found: found[at].clone() });
    }
    if found.len() < expected.len() {
        return Some(LayerDamage::Short { path, expected: expected.len(), found: found.len() });
    }
    Some(LayerDamage::Reordered { path })
}
