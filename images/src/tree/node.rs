//! What is at a path of an image.

use std::collections::BTreeMap;

use tarsplit::pax::PaxTime;
use tarsplit::sparse::SparseMap;

/// The number of a node in its [`Tree`](super::Tree).
pub type NodeId = usize;

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A directory.
    Directory {
        /// What is in it, by name.
        children: BTreeMap<Vec<u8>, NodeId>,
        /// What the layers below have in it is hidden.
        opaque: bool,
        /// The layer has an entry for it, and not only for something in it.
        explicit: bool,
    },
    /// A regular file.
    File {
        /// Its length in bytes.
        size: u64,
        /// Where its bytes are in the layer's tar.
        body: Body,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
    },
    /// A character device.
    CharDevice(i64, i64),
    /// A block device.
    BlockDevice(i64, i64),
    /// A named pipe.
    Fifo,
    /// In one layer: what the layers below have here is gone.
    Whiteout,
}

/// Where the bytes of a file are in the tar of its layer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body {
    /// From the start of the tar.
    pub offset: u64,
    /// Bytes that are there.
    pub stored: u64,
    /// Where they go, if the file is sparse.
    pub sparse: Option<SparseMap>,
}

/// A file, directory or whatever else, which several names may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: NodeKind,
    /// Permissions, with set-user-id and the like.
    pub mode: u32,
    /// Owner.
    pub uid: i64,
    /// Group.
    pub gid: i64,
    /// When it was modified.
    pub mtime: PaxTime,
    /// Extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// The layer that it is from, base first.
    pub layer: usize,
    /// The directory that it is in; of a node with several names, the first one.
    pub parent: NodeId,
    /// How many names it has.
    pub names: usize,
}

impl Node {
    /// A directory that a layer has only because something is in it: as dockerd makes it, but without a time.
    pub(crate) fn implied(layer: usize, parent: NodeId) -> Self {
        Self {
            kind: NodeKind::Directory { children: BTreeMap::new(), opaque: false, explicit: false },
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: PaxTime::default(),
            xattrs: Vec::new(),
            layer,
            parent,
            names: 1,
        }
    }

    /// What a directory holds; `None` for anything else.
    #[must_use]
    pub fn children(&self) -> Option<&BTreeMap<Vec<u8>, NodeId>> {
        match &self.kind {
            NodeKind::Directory { children, .. } => Some(children),
            _ => None,
        }
    }

    pub(super) fn children_mut(&mut self) -> Option<&mut BTreeMap<Vec<u8>, NodeId>> {
        match &mut self.kind {
            NodeKind::Directory { children, .. } => Some(children),
            _ => None,
        }
    }

    /// A copy of this node, without what a directory holds.
    #[must_use]
    pub(crate) fn clone_without_children(&self) -> Self {
        let kind = match &self.kind {
            NodeKind::Directory { opaque, explicit, .. } => {
                NodeKind::Directory { children: BTreeMap::new(), opaque: *opaque, explicit: *explicit }
            }
            kind => kind.clone(),
        };
        let (mode, uid, gid, mtime) = (self.mode, self.uid, self.gid, self.mtime);
        let (layer, parent, names) = (self.layer, self.parent, self.names);
        Self { kind, mode, uid, gid, mtime, xattrs: self.xattrs.clone(), layer, parent, names }
    }

    /// Bytes of a regular file, else 0.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self.kind {
            NodeKind::File { size, .. } => size,
            _ => 0,
        }
    }
}
