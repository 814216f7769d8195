//! What an overlay2 home holds, with what stands on what.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::layout;
use crate::catalog::with_causes;
use crate::dir::Dir;
use crate::driver::{Entries, EntryKind};
use crate::error::StoreError;

/// Reads the home: all names, all links, and each layer's `lower`.
pub(super) fn read(driver: &str, home: &Dir, links: Option<&Dir>) -> Result<Entries, StoreError> {
    let mut all = Entries::named(driver, home)?;
    let names: BTreeMap<Arc<str>, ()> = all.entries.keys().map(|name| (Arc::clone(name), ())).collect();
    if let Some(links) = links {
        for link in links.names()? {
            // What is no symlink leads nowhere.
            let target = links.read_link(&link).unwrap_or(None);
            let entry = target.as_deref().and_then(layout::entry_of);
            let entry = entry.and_then(|entry| names.get_key_value(entry.as_str()).map(|(name, ())| Arc::clone(name)));
            all.links.insert(link, entry);
        }
    }
    let known = &all.links;
    for (name, entry) in all.entries.iter_mut().filter(|(_, entry)| entry.kind == EntryKind::Layer) {
        // A file is no layer, and one that has gone since stands on nothing.
        let Ok(Some(layer)) = home.sub(&**name) else { continue };
        let below = layout::lower(&layer).map_err(|error| with_causes(&error));
        entry.parents =
            below.map(|links| links.iter().filter_map(|link| known.get(link.as_str()).cloned().flatten()).collect());
    }
    Ok(all)
}
