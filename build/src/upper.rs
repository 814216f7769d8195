//! A layer in the making, on top of an image: what overlayfs would have in its upper directory if the same files were written
//! through a mount. Nothing is mounted, and no path of the image is given to the system.

use images::tree::{Node, NodeId, NodeKind, Tree};
use layerfs::path::{join, split};
use tarsplit::pax::PaxTime;

use crate::follow::{FollowError, Seen, follow};
use crate::source::{Picked, seen};

/// The layer, what is below it, and the files that it takes from elsewhere.
pub(crate) struct Upper<'s> {
    base: Tree,
    pub(crate) layer: Tree,
    pub(crate) picked: Picked<'s>,
    now: PaxTime,
}

/// A user and a group, by number.
pub(crate) type Owner = (i64, i64);

/// What is at a path: in the layer, and below it.
#[derive(Debug, Clone, Copy)]
struct Place {
    layer: Option<NodeId>,
    base: Option<NodeId>,
}

impl<'s> Upper<'s> {
    /// An empty layer on an image; `base` is the part of the image that concerns the paths that will be written.
    pub(crate) fn new(base: Tree, now: i64) -> Self {
        Self { base, layer: Tree::empty(), picked: Picked::default(), now: PaxTime::from_seconds(now) }
    }

    /// Whether the layer has nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.layer.node(Tree::ROOT).children().is_none_or(std::collections::BTreeMap::is_empty)
    }

    fn place(&self, path: &[u8]) -> Option<Place> {
        let mut at = Place { layer: Some(Tree::ROOT), base: Some(Tree::ROOT) };
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            let base = at.base.and_then(|dir| self.base.child(dir, name));
            at = match at.layer.and_then(|dir| self.layer.child(dir, name)) {
                None => Place { layer: None, base },
                Some(id) => match &self.layer.node(id).kind {
                    NodeKind::Whiteout => return None,
                    NodeKind::Directory { opaque: false, .. } => {
                        Place { layer: Some(id), base: base.filter(|&base| self.base.node(base).children().is_some()) }
                    }
                    _ => Place { layer: Some(id), base: None },
                },
            };
            if at.layer.is_none() && at.base.is_none() {
                return None;
            }
        }
        Some(at)
    }

    /// What is at a path without links.
    pub(crate) fn at(&self, path: &[u8]) -> Option<&Node> {
        let place = self.place(path)?;
        place.layer.map(|id| self.layer.node(id)).or_else(|| place.base.map(|id| self.base.node(id)))
    }

    /// What the layer itself has at a path without links, if that is no directory.
    pub(crate) fn in_layer(&self, path: &[u8]) -> Option<NodeId> {
        let id = self.place(path)?.layer?;
        self.layer.node(id).children().is_none().then_some(id)
    }

    /// Whether there is a directory at a path without links.
    pub(crate) fn is_directory(&self, path: &[u8]) -> bool {
        self.at(path).is_some_and(|node| node.children().is_some())
    }

    /// Where a path below `scope` leads, which counts as the root. Returns it from the real root.
    pub(crate) fn follow(&self, scope: &[u8], path: &[u8]) -> Result<Vec<u8>, FollowError> {
        let look = |path: &[u8]| self.at(&join(scope, path)).map_or(Seen::Nothing, |node| seen(&node.kind));
        follow(path, look).map(|found| join(scope, &found))
    }

    /// The directory at this path in the layer; where the layer has none yet, it is copied from the image, which must
    /// have it.
    fn copy_up(&mut self, path: &[u8]) -> NodeId {
        let mut at = Tree::ROOT;
        let mut below = Some(Tree::ROOT);
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            below = below.and_then(|dir| self.base.child(dir, name));
            at = match self.layer.child(at, name) {
                Some(id) => id,
                None => {
                    let node = self.base.node(below.expect("what is copied up is there"));
                    let node = Node {
                        kind: directory(),
                        xattrs: node.xattrs.clone(),
                        mode: node.mode,
                        uid: node.uid,
                        gid: node.gid,
                        mtime: node.mtime,
                        layer: 0,
                        parent: at,
                        names: 1,
                    };
                    self.layer.insert(at, name, node)
                }
            };
        }
        at
    }

    /// Puts something at a path, in the place of what is there; its directory exists.
    pub(crate) fn put(&mut self, path: &[u8], mut node: Node) -> NodeId {
        let (dir, name) = split(path);
        let parent = self.touch(dir);
        if let NodeKind::Directory { opaque, .. } = &mut node.kind {
            // What the image has here was removed before, with all that was in it.
            *opaque = self.base.at(path).is_some();
        }
        self.layer.insert(parent, name, node)
    }

    /// Gives something in the layer another name.
    pub(crate) fn link(&mut self, path: &[u8], id: NodeId) {
        let (dir, name) = split(path);
        let parent = self.touch(dir);
        self.layer.link(parent, name, id);
    }

    /// The directory of this path in the layer, with the time at which something in it changes.
    fn touch(&mut self, dir: &[u8]) -> NodeId {
        let parent = self.copy_up(dir);
        self.layer.node_mut(parent).mtime = self.now;
        parent
    }

    /// Makes a directory and those above it, where they do not exist. An error is the path of what is no directory.
    pub(crate) fn make_all(&mut self, path: &[u8], owner: Owner) -> Result<(), Vec<u8>> {
        self.make_all_with(path, owner, 0o755)
    }

    /// Like [`make_all`](Self::make_all), with these permissions for what is made.
    pub(crate) fn make_all_with(&mut self, path: &[u8], owner: Owner, mode: u32) -> Result<(), Vec<u8>> {
        let mut at: Vec<u8> = Vec::new();
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            at = join(&at, name);
            match self.at(&at) {
                Some(node) if node.children().is_some() => {}
                Some(_) => return Err(at),
                None => {
                    self.put(&at, Node { mode, ..plain_directory(owner, self.now) });
                }
            }
        }
        Ok(())
    }

    /// Gives what the layer has at a path another owner.
    pub(crate) fn give(&mut self, path: &[u8], owner: Owner) {
        if let Some(id) = self.layer.at(path) {
            let node = self.layer.node_mut(id);
            (node.uid, node.gid) = owner;
        }
    }

    /// The node of a directory that exists, in the layer, to be changed.
    pub(crate) fn directory_mut(&mut self, path: &[u8]) -> &mut Node {
        let id = self.copy_up(path);
        self.layer.node_mut(id)
    }
}

/// A directory with nothing in it.
pub(crate) fn directory() -> NodeKind {
    NodeKind::Directory { children: std::collections::BTreeMap::new(), opaque: false, explicit: true }
}

/// A directory as dockerd makes it where one is missing.
pub(crate) fn plain_directory(owner: Owner, mtime: PaxTime) -> Node {
    Node {
        kind: directory(),
        mode: 0o755,
        uid: owner.0,
        gid: owner.1,
        mtime,
        xattrs: Vec::new(),
        layer: 0,
        parent: 0,
        names: 1,
    }
}
