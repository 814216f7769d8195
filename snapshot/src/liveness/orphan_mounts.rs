//! Which entries of `layerdb/mounts` nobody uses.
//!
//! An entry is used by the container of its name. Newer daemons mount images into containers, under names that begin with the
//! container's id or that its config lists; so an entry counts as used where any container's config has its name anywhere.
//! BuildKit and the builder before it make entries that live as long as a step of a build: without a daemon nobody uses them. A build
//! of ours [holds](crate::edit::HeldLayer) those of its steps.

use std::collections::HashSet;

use crate::catalog::with_causes;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::MountName;
use crate::liveness::Doubt;
use crate::schema::buildkit::Snapshots;
use crate::schema::container;

/// The mounts among `names` that nobody uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OrphanMounts {
    /// Their names.
    pub(crate) names: HashSet<MountName>,
    /// Whose records cannot be read. They may use any mount, so `names` is empty then.
    pub(crate) doubt: Option<Doubt>,
}

/// Finds those of `names` that nobody uses. `snapshots` are BuildKit's records, and `held` are the mounts that builds of ours hold.
///
/// # Errors
/// [`StoreError`] if the containers cannot be listed.
pub(crate) fn find<'n>(
    root: &Dir,
    names: impl IntoIterator<Item = &'n MountName>,
    snapshots: Result<&Snapshots, &StoreError>,
    held: &HashSet<MountName>,
) -> Result<OrphanMounts, StoreError> {
    let mut found = OrphanMounts::default();
    let in_doubt = |doubt| Ok(OrphanMounts { names: HashSet::new(), doubt: Some(doubt) });
    let snapshots = match snapshots {
        Ok(snapshots) => snapshots,
        Err(error) => return in_doubt(Doubt::BuildCache { cause: with_causes(error) }),
    };
    let containers = container::open(root)?;
    let ids = containers.as_ref().map_or(Ok(Vec::new()), Dir::all_names)?;
    let ids: Vec<String> = ids.iter().map(|id| id.to_string_lossy().into_owned()).collect();
    let known: HashSet<&str> = ids.iter().map(String::as_str).collect();
    for name in names.into_iter().filter(|name| !held.contains(*name)) {
        let first = name.split('/').next().unwrap_or_default();
        let owner = first.split_once("-src=").map_or(first, |(id, _)| id);
        let cached = snapshots.driver_ids().iter().any(|id| id.as_str() == name.as_str());
        if !known.contains(owner) && !known.contains(name.as_str()) && !cached {
            found.names.insert(name.clone());
        }
    }
    if found.names.is_empty() {
        return Ok(found);
    }
    for id in &ids {
        let Some(containers) = &containers else { break };
        match containers.sub(id).and_then(|own| own.map_or(Ok(None), |own| container::raw_config(&own))) {
            Ok(Some(config)) => found.names.retain(|name| !contains(&config, name.as_bytes())),
            // Without a config there is no container.
            Ok(None) => {}
            Err(error) => return in_doubt(Doubt::Container { container: id.clone(), cause: with_causes(&error) }),
        }
    }
    Ok(found)
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mount may be the build cache's, so with records that cannot be read none is known to be unused.
    #[test]
    fn unreadable_records_of_the_build_cache_keep_all_mounts() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open(temp.path()).unwrap();
        let name: MountName = "a".repeat(64).parse().unwrap();
        let records = temp.path().join("buildkit");
        let read = || Snapshots::read(&root);
        let none = HashSet::new();
        let found = find(&root, [&name], read().as_ref(), &none).unwrap();
        assert_eq!((found.names.len(), found.doubt), (1, None));
        std::fs::create_dir(&records).unwrap();
        std::fs::write(records.join("snapshots.db"), "no database").unwrap();
        let found = find(&root, [&name], read().as_ref(), &none).unwrap();
        assert!(found.names.is_empty() && matches!(found.doubt, Some(Doubt::BuildCache { .. })), "{found:?}");
    }
}
