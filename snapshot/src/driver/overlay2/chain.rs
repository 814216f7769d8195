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
            Some(id) if home.sub(id.as_str())?.map_or(Ok(None), |layer| layer.stat(layout::DIFF))?.is_some() => {
                Some(id)
            }
            _ => None,
        };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(link.clone(), id.clone());
        Ok(id)
    }
}

/// Why the layer cannot be mounted on top of `parents`; `None` if it can.
pub(super) fn damage(home: &Home, id: &CacheId, parents: &[CacheId]) -> Result<Option<LayerDamage>, StoreError> {
    let missing = |path: PathBuf, part| Ok(Some(LayerDamage::Missing { path, part }));
    let Some(layer) = home.dir.sub(id.as_str())? else {
        return missing(home.dir.join(id.as_str()), LayerPart::Content);
    };
    if layer.sub_unless_file(layout::DIFF)?.is_none() {
        let path = layer.join(layout::DIFF);
        if layer.stat(layout::DIFF)?.is_none() {
            return missing(path, LayerPart::Content);
        }
        let reason = "a file where a directory belongs".to_owned();
        return Ok(Some(LayerDamage::Invalid { path, part: LayerPart::Content, reason }));
    }
    if parents.len() > layout::MAX_LOWER {
        return Ok(Some(LayerDamage::TooDeep { most: layout::MAX_LOWER }));
    }
    let (own, below) = match (layout::link(&layer), layout::lower(&layer)) {
        (Ok(own), Ok(below)) => (own, below),
        (Err(error), _) => return said(error, LayerPart::Link),
        (_, Err(error)) => return said(error, LayerPart::Lower),
    };
    let Some(links) = &home.links else { return missing(home.dir.join(layout::LINKS), LayerPart::Links) };
    if links.read_link(own.as_str())? != Some(layout::link_target(id)) {
        return Ok(Some(LayerDamage::WrongLink { link: links.join(own.as_str()) }));
    }
    let mut found = Vec::with_capacity(below.len());
    for link in below {
        match home.resolved.resolve(&home.dir, links, &link)? {
            Some(layer) => found.push(layer),
            None => {
                let (path, link) = (layer.join(layout::LOWER), format!("{}/{}", layout::LINKS, link.as_str()));
                return Ok(Some(LayerDamage::Dangling { path, link }));
            }
        }
    }
    Ok(compare(id, &found, parents, layer.join(layout::LOWER)))
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
