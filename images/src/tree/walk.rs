//! Everything in a tree: a directory, what is in it by the bytes of the names, then what is beside it.

use std::collections::btree_map::Iter;

use super::Tree;
use super::node::NodeId;

/// Walks a tree. Paths have no slash in front; the directory at which the walk begins is not among them.
#[derive(Debug)]
pub struct Walk<'t> {
    tree: &'t Tree,
    open: Vec<(Iter<'t, Vec<u8>, NodeId>, usize)>,
    path: Vec<u8>,
}

impl Tree {
    /// Everything below a directory, whose own path is `path`.
    #[must_use]
    pub fn walk_below(&self, dir: NodeId, path: &[u8]) -> Walk<'_> {
        let open = self.node(dir).children().map(|children| (children.iter(), path.len()));
        Walk { tree: self, open: open.into_iter().collect(), path: path.to_vec() }
    }
}

impl Walk<'_> {
    /// The next path, and what it means.
    #[allow(clippy::should_implement_trait, reason = "the path is lent, which an iterator cannot do")]
    pub fn next(&mut self) -> Option<(&[u8], NodeId)> {
        loop {
            let (children, length) = self.open.last_mut()?;
            let length = *length;
            let Some((name, &id)) = children.next() else {
                self.open.pop();
                continue;
            };
            self.path.truncate(length);
            if !self.path.is_empty() {
                self.path.push(b'/');
            }
            self.path.extend_from_slice(name);
            if let Some(children) = self.tree.node(id).children() {
                self.open.push((children.iter(), self.path.len()));
            }
            return Some((&self.path, id));
        }
    }
}

/// The rest of a path below a directory; empty if the path is the directory.
pub(crate) fn rest_below<'p>(path: &'p [u8], dir: &[u8]) -> Option<&'p [u8]> {
    if dir.is_empty() {
        return Some(path);
    }
    path.strip_prefix(dir).filter(|rest| rest.is_empty() || rest.starts_with(b"/"))
}
