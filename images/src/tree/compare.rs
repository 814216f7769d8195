//! What is different between two trees.

use std::io::{self, Read};

use super::Tree;
use super::node::{NodeId, NodeKind};

/// What happened to a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It means something else, or the same with other metadata.
    Changed,
    /// It is gone, with all that is below it.
    Deleted,
}

/// A name that means something else in two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its path, without a slash in front.
    pub path: Vec<u8>,
    /// What happened.
    pub kind: ChangeKind,
    /// What it means in the first tree.
    pub before: Option<NodeId>,
    /// What it means in the second one.
    pub after: Option<NodeId>,
    /// What differs, of a name that both have: `type`, `content`, `size`, `mode`, `owner`, `mtime`, `xattrs`, `target`, `device`.
    pub what: Vec<&'static str>,
}

/// A path that means a file in both trees, and the two files, which have the same length.
pub(crate) type Pair = (Vec<u8>, NodeId, NodeId);

/// Says of each pair whether the files have the same bytes.
pub(crate) type SameContent<'s, E> = dyn FnMut(&[Pair]) -> Result<Vec<bool>, E> + 's;

/// Compares two trees, in the order of a walk. Every added name is listed; of a deleted directory, only the directory itself.
///
/// # Errors
/// Those of `same`.
pub(super) fn compare<E>(before: &Tree, after: &Tree, same: &mut SameContent<'_, E>) -> Result<Vec<Change>, E> {
    let (mut changes, mut pairs) = (Vec::new(), Vec::new());
    // What is still to be compared, the next one last.
    let mut left: Vec<(Vec<u8>, Option<NodeId>, Option<NodeId>)> =
        vec![(Vec::new(), Some(Tree::ROOT), Some(Tree::ROOT))];
    while let Some((path, old, new)) = left.pop() {
        match (old, new) {
            (Some(old_id), Some(new_id)) => {
                if !path.is_empty() {
                    let (what, is_pair) = differences(before, after, (old_id, new_id));
                    if is_pair {
                        pairs.push((changes.len(), (path.clone(), old_id, new_id)));
                    }
                    if is_pair || !what.is_empty() {
                        changes.push(Change {
                            path: path.clone(),
                            kind: ChangeKind::Changed,
                            before: old,
                            after: new,
                            what,
                        });
                    }
                }
            }
            (None, Some(_)) => {
                changes.push(Change {
                    path: path.clone(),
                    kind: ChangeKind::Added,
                    before: None,
                    after: new,
                    what: vec![],
                });
            }
            (Some(_), None) => {
                changes.push(Change { path, kind: ChangeKind::Deleted, before: old, after: None, what: vec![] });
                continue;
            }
            (None, None) => continue,
        }
        let Some(new_children) = new.and_then(|id| after.node(id).children()) else { continue };
        let old_children = old.and_then(|id| before.node(id).children());
        let mut names: Vec<&Vec<u8>> =
            new_children.keys().chain(old_children.into_iter().flat_map(|all| all.keys())).collect();
        names.sort_unstable();
        names.dedup();
        for name in names.into_iter().rev() {
            let below = if path.is_empty() { name.clone() } else { [path.as_slice(), b"/", name].concat() };
            left.push((below, old_children.and_then(|all| all.get(name).copied()), new_children.get(name).copied()));
        }
    }
    let (numbers, pairs): (Vec<usize>, Vec<Pair>) = pairs.into_iter().unzip();
    for (number, is_same) in numbers.into_iter().zip(same(&pairs)?) {
        if !is_same {
            changes[number].what.insert(0, "content");
        }
    }
    // Leave out the files that were compared and are the same.
    changes.retain(|change| change.kind != ChangeKind::Changed || !change.what.is_empty());
    Ok(changes)
}

/// What differs, and whether the bytes have to be compared, too.
fn differences(before: &Tree, after: &Tree, (old_id, new_id): (NodeId, NodeId)) -> (Vec<&'static str>, bool) {
    let (old, new) = (before.node(old_id), after.node(new_id));
    let (mut what, mut is_pair) = (Vec::new(), false);
    match (&old.kind, &new.kind) {
        (NodeKind::Directory { .. }, NodeKind::Directory { .. }) | (NodeKind::Fifo, NodeKind::Fifo) => {}
        (NodeKind::File { size: one, .. }, NodeKind::File { size: other, .. }) => {
            if one != other {
                what.extend(["content", "size"]);
            } else {
                is_pair = *one > 0;
            }
        }
        (NodeKind::Symlink { target: one }, NodeKind::Symlink { target: other }) if one == other => {}
        (NodeKind::Symlink { .. }, NodeKind::Symlink { .. }) => what.push("target"),
        (NodeKind::CharDevice(..), NodeKind::CharDevice(..))
        | (NodeKind::BlockDevice(..), NodeKind::BlockDevice(..)) => {
            if old.kind != new.kind {
                what.push("device");
            }
        }
        _ => what.push("type"),
    }
    if old.mode != new.mode {
        what.push("mode");
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        what.push("owner");
    }
    if old.mtime != new.mtime {
        what.push("mtime");
    }
    let sorted = |xattrs: &[(Vec<u8>, Vec<u8>)]| {
        let mut xattrs = xattrs.to_vec();
        xattrs.sort();
        xattrs
    };
    if old.xattrs != new.xattrs && sorted(&old.xattrs) != sorted(&new.xattrs) {
        what.push("xattrs");
    }
    (what, is_pair)
}

/// Whether two readers have the same bytes.
///
/// # Errors
/// Where one of them cannot be read.
pub fn same_bytes(mut one: impl Read, mut other: impl Read) -> io::Result<bool> {
    let (mut here, mut there) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    loop {
        let (a, b) = (fill(&mut one, &mut here)?, fill(&mut other, &mut there)?);
        if here[..a] != there[..b] {
            return Ok(false);
        }
        if a == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}
