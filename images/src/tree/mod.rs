//! What is in an image, without unpacking it: the headers of its layers, stacked as overlayfs would show them.
//!
//! ```text
//! journal in the store | tar in an archive -> members -> tree of a layer -> stacked -> tree of the image
//! ```
//!
//! A tree holds names and metadata, and says where the bytes of a file are: they are read from the layer's directory,
//! or from its tar, when they are wanted. A symlink of a layer is followed in the tree, never by the system.

mod apply;
mod blob;
mod changes;
mod compare;
mod content;
mod difference;
mod directory;
mod lookup;
mod members;
mod mounted;
mod node;
mod read;
mod stack;
mod upper;
mod walk;
mod wanted;

use std::io;
use std::path::{Path, PathBuf};

use layerfs::{DiffId, InvalidDigest};
use tarsplit::names::shown;
use tarsplit::{JournalError, TarError};

pub use changes::docker_changes;
pub use compare::{Change, ChangeKind, same_bytes};
pub use content::{Layers, LayersOfArchive, LayersOfContainer, LayersOfStore};
pub use difference::{ImageDifference, difference};
pub(crate) use directory::read_directory;
pub use lookup::LookupError;
pub use mounted::{Bind, Mounted};
pub use node::{Body, Node, NodeId, NodeKind};
pub use read::{read_for, read_tree, read_trees};
pub use stack::HiddenName;
pub use upper::UpperDirectory;
pub use walk::Walk;
pub(crate) use walk::rest_below;
pub use wanted::WantedPaths;

use crate::source::ArchiveError;
use snapshot::StoreError;

/// Names and what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    nodes: Vec<Node>,
}

/// Why the content of an image cannot be told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// A layer's journal cannot be read.
    #[error("layer {diff_id}")]
    Journal {
        /// The layer.
        diff_id: DiffId,
        /// What is wrong.
        #[source]
        source: JournalError,
    },
    /// A layer's tar is damaged.
    #[error("layer {layer}")]
    Tar {
        /// The layer.
        layer: String,
        /// What is wrong.
        #[source]
        source: TarError,
    },
    /// A layer's tar cannot be read.
    #[error("reading layer {layer}")]
    Read {
        /// The layer.
        layer: String,
        /// What is wrong.
        #[source]
        source: io::Error,
    },
    /// The layer has no journal, or no directory.
    #[error("layer {diff_id}: {what} is missing")]
    Missing {
        /// The layer.
        diff_id: DiffId,
        /// What is not there.
        what: &'static str,
    },
    /// A member that dockerd would refuse as well.
    #[error("layer {layer}: member {}: {reason}", shown(.name))]
    Member {
        /// The layer.
        layer: String,
        /// Its name.
        name: Vec<u8>,
        /// What is wrong.
        reason: &'static str,
    },
    /// The bytes of a file cannot be read.
    #[error("file {}", shown(.path))]
    File {
        /// Its path.
        path: Vec<u8>,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// What is mounted somewhere cannot be read.
    #[error("{}: what is mounted there{} cannot be read", shown(.at), from(.source_path))]
    Mounted {
        /// Where it is mounted.
        at: Vec<u8>,
        /// What is mounted.
        source_path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// The config names a digest that is none.
    #[error(transparent)]
    Digest(#[from] InvalidDigest),
}

/// Where a mount is from, if that has a path.
fn from(path: &Path) -> String {
    if path.as_os_str().is_empty() { String::new() } else { format!(", {},", path.display()) }
}

impl Tree {
    /// The root directory.
    pub const ROOT: NodeId = 0;

    /// A root with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self { nodes: vec![Node::implied(0, Self::ROOT)] }
    }

    /// A root with nothing in it, which hides everything below.
    pub(crate) fn opaque() -> Self {
        let mut tree = Self::empty();
        tree.set_opaque(Self::ROOT, true);
        tree
    }

    /// The node with this number.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// What is in a directory under a name.
    #[must_use]
    pub fn child(&self, dir: NodeId, name: &[u8]) -> Option<NodeId> {
        self.nodes[dir].children()?.get(name).copied()
    }

    /// The node with this number, to be changed.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id]
    }

    /// Puts something new into a directory, in the place of what has the name.
    pub fn insert(&mut self, dir: NodeId, name: &[u8], node: Node) -> NodeId {
        let id = self.add(Node { parent: dir, names: 1, ..node });
        self.put(dir, name, id);
        id
    }

    /// Gives something that is there another name, in the place of what has it.
    pub fn link(&mut self, dir: NodeId, name: &[u8], id: NodeId) {
        self.nodes[id].names += 1;
        self.put(dir, name, id);
    }

    /// Sets whether a directory hides what the layers below have in it.
    fn set_opaque(&mut self, dir: NodeId, hides: bool) {
        if let NodeKind::Directory { opaque, .. } = &mut self.nodes[dir].kind {
            *opaque = hides;
        }
    }

    fn add(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn put(&mut self, dir: NodeId, name: &[u8], id: NodeId) {
        let children = self.nodes[dir].children_mut().expect("names are put into directories");
        if let Some(old) = children.insert(name.to_vec(), id) {
            self.nodes[old].names -= 1;
        }
    }
}
