//! The paths that a caller asks about, so that only what concerns them is read of a layer.

use std::collections::BTreeMap;

use super::Tree;
use super::node::{NodeId, NodeKind};

/// A set of paths. Each stands for itself and for the directories on the way to it; some stand for all that is below them, too.
///
/// The paths are those of the tree: no symlink is on the way.
#[derive(Debug)]
pub struct WantedPaths {
    /// The root comes first. Nodes refer to each other by number, because paths may be too deep for recursion.
    nodes: Vec<Names>,
}

/// What is wanted in a directory.
#[derive(Debug, Default)]
struct Names {
    below: BTreeMap<Vec<u8>, usize>,
    all: bool,
}

/// What is wanted of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything below it.
    All,
    /// Some names: those of the node with this number.
    Some(usize),
}

impl Default for WantedPaths {
    fn default() -> Self {
        Self { nodes: vec![Names::default()] }
    }
}

impl WantedPaths {
    /// What is wanted of the root.
    pub(super) fn root(&self) -> Part {
        self.part(0)
    }

    /// Adds a path. Returns whether it is new.
    pub(super) fn add(&mut self, path: &[u8]) -> bool {
        let (mut at, mut new) = (0, false);
        for name in path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
            (at, new) = self.enter(at, name);
        }
        new
    }

    /// Adds a path that a lookup has come to, by its names, and as much of the way as is known of what is `left` to look up below it,
    /// the next name last. Returns whether the path is new.
    pub(super) fn add_on_the_way(&mut self, names: &[&[u8]], left: &[Vec<u8>]) -> bool {
        if !self.add(&names.join(&b'/')) {
            return false;
        }
        let ahead = left.iter().rev().map(Vec::as_slice).take_while(|name| *name != b"..");
        self.add(&names.iter().copied().chain(ahead).collect::<Vec<_>>().join(&b'/'));
        true
    }

    /// Adds a path with everything below it.
    pub(super) fn add_all(&mut self, path: &[u8]) {
        let names = path.split(|&byte| byte == b'/').filter(|name| !matches!(*name, b"" | b"."));
        let at = names.fold(0, |at, name| self.enter(at, name).0);
        self.nodes[at].all = true;
    }

    /// Whether nothing but the root is wanted.
    pub(super) fn is_root_alone(&self) -> bool {
        !self.nodes[0].all && self.nodes[0].below.is_empty()
    }

    /// The node of a name in a directory, and whether it is new.
    fn enter(&mut self, at: usize, name: &[u8]) -> (usize, bool) {
        if let Some(&known) = self.nodes[at].below.get(name) {
            return (known, false);
        }
        let id = self.nodes.len();
        self.nodes[at].below.insert(name.to_vec(), id);
        self.nodes.push(Names::default());
        (id, true)
    }

    /// Adds all that the tree of a layer says something about. What it takes away, or gives to something else, is
    /// wanted with everything below it, because a comparison lists that.
    pub fn add_layer(&mut self, layer: &Tree) {
        let mut left: Vec<(NodeId, usize)> = vec![(Tree::ROOT, 0)];
        while let Some((id, at)) = left.pop() {
            match &layer.node(id).kind {
                NodeKind::Directory { children, opaque: false, .. } => {
                    for (name, &child) in children {
                        left.push((child, self.enter(at, name).0));
                    }
                }
                _ => self.nodes[at].all = true,
            }
        }
    }

    /// What is wanted of a directory, as its node says.
    fn part(&self, at: usize) -> Part {
        if self.nodes[at].all { Part::All } else { Part::Some(at) }
    }

    /// What is wanted of something in a directory; `None` for nothing.
    pub(super) fn below(&self, part: Part, name: &[u8]) -> Option<Part> {
        match part {
            Part::All => Some(Part::All),
            Part::Some(at) => self.nodes[at].below.get(name).map(|&id| self.part(id)),
        }
    }

    /// The names that are wanted in a directory; `None` if all are.
    pub(super) fn names(&self, part: Part) -> Option<impl Iterator<Item = &Vec<u8>>> {
        match part {
            Part::All => None,
            Part::Some(at) => Some(self.nodes[at].below.keys()),
        }
    }

    /// Whether a layer decides about all paths: each ends in something that is no directory, or in a directory that
    /// hides those below. Layers below it then have no say. A directory that is wanted with everything below it is
    /// decided only if it hides those below.
    pub(super) fn is_settled_by(&self, tree: &Tree) -> bool {
        let mut left = vec![(Tree::ROOT, 0)];
        while let Some((id, at)) = left.pop() {
            let names = &self.nodes[at];
            let NodeKind::Directory { children, opaque, .. } = &tree.node(id).kind else { continue };
            if *opaque {
                continue;
            }
            if names.all || names.below.is_empty() {
                return false;
            }
            for (name, &below) in &names.below {
                let Some(&child) = children.get(name) else { return false };
                left.push((child, below));
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::Node;
    use super::*;

    fn tree(paths: &[(&[u8], bool)]) -> Tree {
        let mut tree = Tree::empty();
        for (path, is_dir) in paths {
            let mut at = Tree::ROOT;
            let names: Vec<&[u8]> = path.split(|&byte| byte == b'/').collect();
            for (number, name) in names.iter().enumerate() {
                let kind = (number + 1 == names.len() && !is_dir).then_some(NodeKind::Fifo);
                at = tree.child(at, name).unwrap_or_else(|| {
                    let implied = Node::implied(0, at);
                    let id = tree.add(Node { kind: kind.unwrap_or(implied.kind.clone()), ..implied });
                    tree.put(at, name, id);
                    id
                });
            }
        }
        tree
    }

    #[test]
    fn a_path_is_wanted_with_its_directories() {
        let mut wanted = WantedPaths::default();
        assert!(wanted.add(b"/usr/./lib//file"));
        assert!(!wanted.add(b"usr/lib") && !wanted.add(b"/"));
        let usr = wanted.below(wanted.root(), b"usr").unwrap();
        assert_eq!(wanted.names(usr).unwrap().collect::<Vec<_>>(), [b"lib"]);
        assert_eq!(wanted.below(usr, b"bin"), None);
    }

    #[test]
    fn what_a_layer_replaces_is_wanted_whole() {
        let mut wanted = WantedPaths::default();
        wanted.add_layer(&tree(&[(b"a/b", false), (b"c", true)]));
        let a = wanted.below(wanted.root(), b"a").unwrap();
        assert_eq!(wanted.below(a, b"b"), Some(Part::All));
        assert_eq!(wanted.below(Part::All, b"whatever"), Some(Part::All));
        let c = wanted.below(wanted.root(), b"c").unwrap();
        assert_eq!(wanted.below(c, b"d"), None);
    }

    #[test]
    fn a_layer_settles_what_it_ends() {
        let mut wanted = WantedPaths::default();
        wanted.add(b"a/b/c");
        assert!(!wanted.is_settled_by(&tree(&[(b"a/b", true)])));
        assert!(!wanted.is_settled_by(&tree(&[(b"a/b/c", true)])), "directories are merged");
        assert!(wanted.is_settled_by(&tree(&[(b"a/b", false)])));
        assert!(wanted.is_settled_by(&tree(&[(b"a/b/c", false)])));
        wanted.add(b"d");
        assert!(!wanted.is_settled_by(&tree(&[(b"a/b/c", false)])));
        let mut opaque = tree(&[(b"a/b", true), (b"d", false)]);
        opaque.set_opaque(opaque.at(b"a").unwrap(), true);
        assert!(wanted.is_settled_by(&opaque));
    }
}
