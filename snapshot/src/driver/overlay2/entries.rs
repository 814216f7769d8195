//! What an overlay2 home holds, and which entries stand on which.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustix::fs::FileType;

use super::layout;
use crate::catalog::with_causes;
use crate::dir::Dir;
use crate::driver::{EntryKind, HomeEntries, UnknownParents};
use crate::error::StoreError;

/// Reads the home: all names, all links, and each layer's `lower`.
pub(super) fn read(driver: &str, home: &Dir, links: Option<&Dir>) -> Result<HomeEntries, StoreError> {
    let mut all = HomeEntries::named(driver, home)?;
    let names: BTreeMap<Arc<str>, ()> = all.entries.keys().map(|name| (Arc::clone(name), ())).collect();
    let mut unread: BTreeMap<String, String> = BTreeMap::new();
    if let Some(links) = links {
        for link in links.names()? {
            let target = links.read_link(&link).unwrap_or_else(|error| {
                // An entry that is no symlink leads nowhere.
                if !links.stat(&link).is_ok_and(|stat| stat.is_none_or(|stat| !is(&stat, FileType::Symlink))) {
                    unread.insert(link.clone(), with_causes(&error));
                }
                None
            });
            let named = target.as_deref().and_then(layout::entry_of);
            let known = named.as_ref().and_then(|named| names.get_key_value(named.as_str()));
            let entry = known.map(|(name, ())| Arc::clone(name));
            if let (None, Some(named)) = (&entry, named) {
                all.stale.insert(link.clone(), named);
            }
            all.links.insert(link, entry);
        }
    }
    let known = &all.links;
    for (name, entry) in all.entries.iter_mut().filter(|(_, entry)| entry.kind == EntryKind::Layer) {
        let below = match home.sub(&**name) {
            Ok(Some(layer)) => layout::lower(&layer),
            // A layer that was removed since the names were read stands on nothing.
            Ok(None) => continue,
            // A file or a symlink is no layer.
            Err(_) if home.stat(&**name).is_ok_and(|stat| !stat.is_some_and(|stat| is(&stat, FileType::Directory))) => {
                continue;
            }
            Err(error) => Err(error),
        };
        let unknown = |error: StoreError| UnknownParents {
            cause: with_causes(&error),
            failed: matches!(error, StoreError::Io { .. }),
        };
        if let Ok(links) = &below {
            let missing = links.iter().filter(|link| known.get(link.as_str()).is_none_or(Option::is_none));
            entry.missing_links = missing.map(|link| link.as_str().to_owned()).collect();
        }
        entry.parents =
            below.map_err(unknown).and_then(|links| match links.iter().find_map(|link| unread.get(link.as_str())) {
                Some(cause) => Err(UnknownParents { cause: cause.clone(), failed: true }),
                None => Ok(links.iter().filter_map(|link| known.get(link.as_str()).cloned().flatten()).collect()),
            });
    }
    Ok(all)
}

fn is(stat: &rustix::fs::Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}
