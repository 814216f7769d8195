//! What docker says has changed between two merged views.
//!
//! Follows moby v20.10.24 `pkg/archive/changes.go: ChangesDirs`, `changes_unix.go`: a name that both have differs if mode, owner,
//! device, size, time or capabilities differ; for directories, size and time do not matter. A directory in which something has
//! changed counts as changed. docker lists the names of a directory in no order; here they are sorted.

use std::collections::BTreeMap;

use super::Tree;
use super::compare::ChangeKind;
use super::node::{Node, NodeId, NodeKind};

/// Says whether what docker takes for unchanged is changed all the same. It is given the path, and the nodes before and after.
pub(crate) type AlsoChanged<'a, E> = dyn FnMut(&[u8], NodeId, NodeId) -> Result<bool, E> + 'a;

/// What is still to be compared: a path, and what it means before and after.
type Pair = (Vec<u8>, Option<NodeId>, Option<NodeId>);

/// Compares a tree with the same tree after layers were put on top of it, of which `first` is the number of the lowest. The
/// changes are in the order of a walk. Of a directory that is gone, only the directory itself is listed.
///
/// # Errors
/// Those of `also`.
pub fn docker_changes<E>(
    before: &Tree,
    after: &Tree,
    first: usize,
    also: &mut AlsoChanged<'_, E>,
) -> Result<Vec<(ChangeKind, Vec<u8>)>, E> {
    let mut changes: BTreeMap<Vec<u8>, ChangeKind> = BTreeMap::new();
    let mut left: Vec<Pair> = vec![(Vec::new(), Some(Tree::ROOT), Some(Tree::ROOT))];
    while let Some((path, old, new)) = left.pop() {
        let kind = match (old, new) {
            // What no new layer has touched is the same file.
            (Some(old), Some(new)) if !path.is_empty() && after.node(new).layer >= first => {
                let changed = is_changed(before.node(old), after.node(new)) || also(&path, old, new)?;
                changed.then_some(ChangeKind::Changed)
            }
            (None, Some(_)) => Some(ChangeKind::Added),
            (Some(_), None) => Some(ChangeKind::Deleted),
            _ => None,
        };
        if let Some(kind) = kind {
            // The directories above it have changed, too.
            let parents = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
            for parent in parents {
                changes.entry(key(parent)).or_insert(ChangeKind::Changed);
            }
            changes.insert(key(&path), kind);
        }
        let Some(children) = new.and_then(|id| after.node(id).children()) else { continue };
        let old_children = old.and_then(|id| before.node(id).children());
        // If a file has become a directory, everything in the directory is new. If a directory has become a file, what was in
        // it is not listed.
        let mut names: Vec<&Vec<u8>> =
            children.keys().chain(old_children.into_iter().flat_map(|all| all.keys())).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let below = if path.is_empty() { name.clone() } else { [path.as_slice(), b"/", name].concat() };
            let (old, new) = (old_children.and_then(|all| all.get(name).copied()), children.get(name).copied());
            left.push((below, old, new));
        }
    }
    Ok(changes.into_iter().map(|(key, kind)| (kind, path_of(&key))).collect())
}

/// A path that sorts like a walk: what is in a directory comes before what is beside it.
fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect()
}

fn path_of(key: &[u8]) -> Vec<u8> {
    key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect()
}

fn is_changed(old: &Node, new: &Node) -> bool {
    let is_dir = |node: &Node| matches!(node.kind, NodeKind::Directory { .. });
    let same_kind = match (&old.kind, &new.kind) {
        (NodeKind::Directory { .. }, NodeKind::Directory { .. })
        | (NodeKind::File { .. }, NodeKind::File { .. })
        | (NodeKind::Symlink { .. }, NodeKind::Symlink { .. }) => true,
        (one, other) => one == other,
    };
    let size = |node: &Node| match &node.kind {
        NodeKind::Symlink { target } => target.len() as u64,
        _ => node.size(),
    };
    let capability = |node: &Node| {
        let found = node.xattrs.iter().find(|(name, _)| name == crate::export::CAPABILITY);
        found.map(|(_, value)| value.clone())
    };
    let same_time = old.mtime == new.mtime
        || old.mtime.seconds == new.mtime.seconds && (old.mtime.nanoseconds == 0 || new.mtime.nanoseconds == 0);
    !same_kind
        || old.mode != new.mode
        || (old.uid, old.gid) != (new.uid, new.gid)
        || capability(old) != capability(new)
        || !(is_dir(old) && is_dir(new)) && (size(old) != size(new) || !same_time)
}
