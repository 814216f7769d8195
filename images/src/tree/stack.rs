//! Layers on top of each other, as overlayfs shows them.

use super::Tree;
use super::node::{NodeId, NodeKind};

/// A name that a layer took away, or gave to something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenName {
    /// Its path, without a slash in front.
    pub path: Vec<u8>,
    /// The layer that it was from.
    pub from: usize,
    /// The layer that took it away.
    pub by: usize,
    /// Its bytes, those of everything in a directory together.
    pub size: u64,
}

impl Tree {
    /// Puts the tree of the next layer on top. Names that it takes away are added to `removed`, if that is given.
    pub(crate) fn stack(&mut self, layer: Self, number: usize, mut removed: Option<&mut Vec<HiddenName>>) {
        let shift = self.nodes.len();
        self.nodes.extend(layer.nodes);
        for node in &mut self.nodes[shift..] {
            node.parent += shift;
            if let Some(children) = node.children_mut() {
                children.values_mut().for_each(|id| *id += shift);
            }
        }
        // Directories that both have, and directories of the layer alone, in which whiteouts hide nothing.
        let (mut both, mut alone) = (vec![(Self::ROOT, shift, None)], Vec::new());
        // The names of directories, each with the place of the one that it is in, for the paths of what is taken away.
        let mut names: Vec<(Option<usize>, Vec<u8>)> = Vec::new();
        while let Some((below, above, place)) = both.pop() {
            let opaque = matches!(self.nodes[above].kind, NodeKind::Directory { opaque: true, .. });
            if opaque {
                let hidden = std::mem::take(self.nodes[below].children_mut().expect("a directory"));
                for (name, id) in hidden {
                    self.take_away(|| path(&names, place, &name), id, number, removed.as_deref_mut());
                }
            }
            // A layer has no say about the root: dockerd passes over an entry for it.
            if below != Self::ROOT {
                let (from, to) = (self.nodes[above].clone_metadata(), &mut self.nodes[below]);
                (to.mode, to.uid, to.gid, to.mtime, to.xattrs, to.layer) = from;
            }
            let children = std::mem::take(self.nodes[above].children_mut().expect("a directory"));
            for (name, id) in children {
                let old = self.child(below, &name);
                let is_dir = |id: NodeId| self.nodes[id].children().is_some();
                match old {
                    Some(old) if is_dir(old) && is_dir(id) => {
                        names.push((place, name));
                        both.push((old, id, Some(names.len() - 1)));
                        continue;
                    }
                    Some(old) => {
                        self.nodes[below].children_mut().expect("a directory").remove(&name);
                        self.take_away(|| path(&names, place, &name), old, number, removed.as_deref_mut());
                    }
                    None => {}
                }
                if self.nodes[id].kind == NodeKind::Whiteout {
                    continue;
                }
                if is_dir_kind(&self.nodes[id].kind) {
                    alone.push(id);
                }
                self.nodes[id].parent = below;
                self.put(below, &name, id);
            }
        }
        while let Some(dir) = alone.pop() {
            let children: Vec<(Vec<u8>, NodeId)> =
                self.nodes[dir].children().into_iter().flatten().map(|(name, id)| (name.clone(), *id)).collect();
            for (name, id) in children {
                match &self.nodes[id].kind {
                    NodeKind::Whiteout => {
                        self.nodes[dir].children_mut().expect("a directory").remove(&name);
                    }
                    NodeKind::Directory { .. } => alone.push(id),
                    _ => {}
                }
            }
        }
    }

    fn take_away(
        &mut self,
        path: impl FnOnce() -> Vec<u8>,
        id: NodeId,
        by: usize,
        removed: Option<&mut Vec<HiddenName>>,
    ) {
        if let Some(removed) = removed {
            removed.push(HiddenName { path: path(), from: self.nodes[id].layer, by, size: self.size_of(id) });
        }
        // What is below a directory has one name less, too.
        let mut left = vec![id];
        while let Some(id) = left.pop() {
            self.nodes[id].names = self.nodes[id].names.saturating_sub(1);
            left.extend(self.nodes[id].children().into_iter().flatten().map(|(_, id)| *id));
        }
    }

    /// Bytes of a file, or of all files in a directory, each name counted.
    fn size_of(&self, id: NodeId) -> u64 {
        let (mut size, mut left) = (0_u64, vec![id]);
        while let Some(id) = left.pop() {
            size = size.saturating_add(self.nodes[id].size());
            left.extend(self.nodes[id].children().into_iter().flatten().map(|(_, id)| *id));
        }
        size
    }
}

/// The path of something in a directory, without a slash in front.
fn path(names: &[(Option<usize>, Vec<u8>)], mut place: Option<usize>, name: &[u8]) -> Vec<u8> {
    let mut parts = vec![name];
    while let Some(at) = place {
        let (above, name) = &names[at];
        parts.push(name);
        place = *above;
    }
    parts.reverse();
    parts.join(&b'/')
}

fn is_dir_kind(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Directory { .. })
}

type Metadata = (u32, i64, i64, tarsplit::pax::PaxTime, Vec<(Vec<u8>, Vec<u8>)>, usize);

impl super::node::Node {
    fn clone_metadata(&self) -> Metadata {
        (self.mode, self.uid, self.gid, self.mtime, self.xattrs.clone(), self.layer)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::node::Node;
    use super::*;

    /// `wide` directories in `top`, each with a file or a whiteout of the name `x`.
    fn layer(wide: usize, kind: &NodeKind) -> Tree {
        let mut tree = Tree::empty();
        let dir = || NodeKind::Directory { children: BTreeMap::new(), opaque: false, explicit: true };
        let mut put = |parent: NodeId, name: String, kind: NodeKind| {
            let id = tree.add(Node { kind, ..Node::implied(0, parent) });
            tree.put(parent, name.as_bytes(), id);
            id
        };
        let top = put(Tree::ROOT, "top".into(), dir());
        for number in 0..wide {
            let id = put(top, format!("d{number:06}"), dir());
            put(id, "x".into(), kind.clone());
        }
        tree
    }

    /// The time that it takes to take away a name of each directory, and the paths.
    fn taken_away(wide: usize) -> (std::time::Duration, Vec<HiddenName>) {
        let (mut below, above) = (layer(wide, &NodeKind::Fifo), layer(wide, &NodeKind::Whiteout));
        let (mut removed, begin) = (Vec::new(), rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime));
        below.stack(above, 1, Some(&mut removed));
        let end = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        let spent = std::time::Duration::try_from(end).unwrap() - std::time::Duration::try_from(begin).unwrap();
        (spent, removed)
    }

    #[test]
    fn what_is_taken_away_of_a_wide_directory_is_found_at_once() {
        let (spent, removed) = taken_away(2_000);
        let mut paths: Vec<Vec<u8>> = removed.into_iter().map(|hidden| hidden.path).collect();
        paths.sort();
        assert_eq!(paths.len(), 2_000);
        assert_eq!(paths[1_999], b"top/d001999/x");
        // Sixteen times as many: linear work takes a little more than 16 times as long, and quadratic work 256 times.
        let (many, removed) = taken_away(32_000);
        assert_eq!(removed.len(), 32_000);
        assert!(many < spent * 80, "{spent:?} for 2,000, {many:?} for 32,000");
    }
}
