//! The tree of one layer, from the headers of its tar: what dockerd's unpacking leaves in the layer's directory.
//!
//! Follows what `layerfs::apply` does on a disk: names are cleaned, symlinks of the same layer are followed in parents and never
//! lead out, missing parents are made, a later entry replaces an earlier one.

use std::collections::BTreeMap;

use layerfs::path::{LayerPath, MAX_PATH};
use tarsplit::{Member, MemberKind};

use super::Tree;
use super::node::{Body, Node, NodeId, NodeKind};

/// How many symlinks are followed in one path; Linux's limit.
pub(super) const MAX_LINKS: usize = 40;

/// The most nodes in the tree of one layer, to bound the memory that a small archive can ask for.
const MAX_NODES: usize = 16 << 20;

impl Tree {
    /// Adds the next member of a layer's tar; its body begins at `offset`. An error is why dockerd would refuse it.
    pub(super) fn apply(&mut self, member: &Member, offset: u64, layer: usize) -> Result<(), &'static str> {
        let path = |name: &[u8]| match LayerPath::parse(name) {
            Ok(Some(path)) if path.is_too_long() => Err("its name is too long"),
            Ok(path) => Ok(path),
            Err(_) => Err("its name leads out of the layer"),
        };
        if self.nodes.len() >= MAX_NODES {
            return Err("there are too many before it");
        }
        if member.kind == MemberKind::GlobalHeader {
            return Ok(());
        }
        let Some(name) = path(&member.name)? else { return Ok(()) };
        let (dir, base) = name.split();
        let dir = self.make_parents(dir, base.len(), layer)?;
        if let Some(hidden) = base.strip_prefix(b".wh.") {
            self.whiteout(dir, base, hidden, layer);
            return Ok(());
        }
        let kind = match member.kind {
            MemberKind::Directory => {
                if let Some(existing) = self.child(dir, base).filter(|&id| self.nodes[id].children().is_some()) {
                    let node = self.node_of(member, layer, dir, NodeKind::Fifo);
                    let old = &mut self.nodes[existing];
                    (old.mode, old.uid, old.gid, old.mtime, old.xattrs) =
                        (node.mode, node.uid, node.gid, node.mtime, node.xattrs);
                    if let NodeKind::Directory { explicit, .. } = &mut old.kind {
                        *explicit = true;
                    }
                    return Ok(());
                }
                NodeKind::Directory { children: BTreeMap::new(), opaque: false, explicit: true }
            }
            MemberKind::HardLink => {
                let target = path(&member.linkname)?.ok_or("it is a link to the root")?;
                let (to_dir, to_base) = target.split();
                let found = self.find_parent(to_dir).ok().and_then(|dir| self.child(dir, to_base));
                let found = found.filter(|&id| self.nodes[id].children().is_none());
                let id = found.ok_or("the layer has nothing that it could be a link to")?;
                self.nodes[id].names += 1;
                self.put(dir, base, id);
                return Ok(());
            }
            MemberKind::Regular | MemberKind::GnuSparse => {
                let (stored, sparse) = (member.stored, member.sparse.clone());
                NodeKind::File { size: member.size, body: Body { offset, stored, sparse } }
            }
            MemberKind::Symlink => NodeKind::Symlink { target: member.linkname.clone() },
            // In the directory of a layer, that device is what overlayfs takes for a whiteout: it hides what is below.
            MemberKind::CharDevice if member.device == (0, 0) => {
                let node = Node { kind: NodeKind::Whiteout, ..Node::implied(layer, dir) };
                let id = self.add(node);
                self.put(dir, base, id);
                return Ok(());
            }
            MemberKind::CharDevice => NodeKind::CharDevice(member.device.0, member.device.1),
            MemberKind::BlockDevice => NodeKind::BlockDevice(member.device.0, member.device.1),
            MemberKind::Fifo => NodeKind::Fifo,
            MemberKind::GlobalHeader | MemberKind::Other(_) => return Err("its type is unknown"),
        };
        let node = self.node_of(member, layer, dir, kind);
        let id = self.add(node);
        self.put(dir, base, id);
        Ok(())
    }

    fn node_of(&self, member: &Member, layer: usize, parent: NodeId, kind: NodeKind) -> Node {
        let (mode, mtime, xattrs) = (member.mode & 0o7777, member.mtime, member.xattrs.clone());
        Node { kind, mode, uid: member.uid, gid: member.gid, mtime, xattrs, layer, parent, names: 1 }
    }

    /// Applies `.wh.<hidden>`. Of the names that aufs keeps for itself, only the one that makes a directory opaque
    /// counts.
    fn whiteout(&mut self, dir: NodeId, base: &[u8], hidden: &[u8], layer: usize) {
        if base == b".wh..wh..opq" {
            self.set_opaque(dir, true);
        } else if !hidden.starts_with(b".wh.") && !hidden.is_empty() && self.child(dir, hidden).is_none() {
            let node = Node { kind: NodeKind::Whiteout, ..Node::implied(layer, dir) };
            let id = self.add(node);
            self.put(dir, hidden, id);
        }
    }

    /// The directory `path`, made where it is missing, for a name of `length` bytes in it. An error is the reason.
    fn make_parents(&mut self, path: &[u8], length: usize, layer: usize) -> Result<NodeId, &'static str> {
        self.walk(path, length, |tree, dir, name| {
            let node = Node::implied(layer, dir);
            let id = tree.add(node);
            tree.put(dir, name, id);
            Some(id)
        })
    }

    /// The directory `path`, if it is there.
    fn find_parent(&mut self, path: &[u8]) -> Result<NodeId, &'static str> {
        self.walk(path, 0, |_, _, _| None)
    }

    /// Goes to the directory `path`, through symlinks, never above the root. Where a directory is missing, `missing` decides.
    ///
    /// Forty symlinks of a kilobyte lead to directories eighty thousand levels deep. Nobody could name what is there, and their paths
    /// alone would be gigabytes: where a path is longer than a path may be, the walk ends.
    fn walk(
        &mut self,
        path: &[u8],
        length: usize,
        mut missing: impl FnMut(&mut Self, NodeId, &[u8]) -> Option<NodeId>,
    ) -> Result<NodeId, &'static str> {
        let mut left: Vec<Vec<u8>> = path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect();
        let (mut at, mut links) = (Self::ROOT, 0);
        // The lengths of the names on the way, each with its slash.
        let mut way: Vec<usize> = Vec::new();
        let mut whole = length;
        while let Some(name) = left.pop() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    at = self.nodes[at].parent;
                    whole -= way.pop().unwrap_or(0);
                    continue;
                }
                _ => {}
            }
            at = match self.child(at, &name) {
                Some(id) => match &self.nodes[id].kind {
                    NodeKind::Directory { .. } => id,
                    NodeKind::Symlink { target } => {
                        links += 1;
                        if links > MAX_LINKS {
                            return Err("symlinks on its way lead round in circles");
                        }
                        if target.starts_with(b"/") {
                            (at, whole) = (Self::ROOT, length);
                            way.clear();
                        }
                        left.extend(target.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec));
                        continue;
                    }
                    _ => missing(self, at, &name).ok_or("there is no such directory")?,
                },
                None => missing(self, at, &name).ok_or("there is no such directory")?,
            };
            way.push(name.len() + 1);
            whole += name.len() + 1;
            if whole > MAX_PATH {
                return Err("through symlinks it lies deeper than a path can be long");
            }
        }
        Ok(at)
    }
}
