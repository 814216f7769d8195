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
    /// Puts the tree of the next layer on top. What it takes away is told to `removed`, if somebody wants to know.
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
        let (mut both, mut alone) = (vec![(Self::ROOT, shift)], Vec::new());
        while let Some((below, above)) = both.pop() {
            let opaque = matches!(self.nodes[above].kind, NodeKind::Directory { opaque: true, .. });
            if opaque {
                let hidden = std::mem::take(self.nodes[below].children_mut().expect("a directory"));
                for (name, id) in hidden {
                    self.take_away(below, &name, id, number, removed.as_deref_mut());
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
                        both.push((old, id));
                        continue;
                    }
                    Some(old) => {
                        self.nodes[below].children_mut().expect("a directory").remove(&name);
                        self.take_away(below, &name, old, number, removed.as_deref_mut());
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

    fn take_away(&mut self, dir: NodeId, name: &[u8], id: NodeId, by: usize, removed: Option<&mut Vec<HiddenName>>) {
        if let Some(removed) = removed {
            let path = self.path_of(dir, name);
            removed.push(HiddenName { path, from: self.nodes[id].layer, by, size: self.size_of(id) });
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

fn is_dir_kind(kind: &NodeKind) -> bool {
    matches!(kind, NodeKind::Directory { .. })
}

type Metadata = (u32, i64, i64, tarsplit::pax::PaxTime, Vec<(Vec<u8>, Vec<u8>)>, usize);

impl super::node::Node {
    fn clone_metadata(&self) -> Metadata {
        (self.mode, self.uid, self.gid, self.mtime, self.xattrs.clone(), self.layer)
    }
}
