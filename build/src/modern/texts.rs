//! Texts of a Dockerfile as files.

use std::io::{Cursor, Read};

use images::tree::{Body, Layers, Node, NodeKind, Tree, TreeError};
use tarsplit::pax::PaxTime;

/// The contents of files, by number.
pub(super) struct Texts(pub(super) Vec<Vec<u8>>);

impl Layers for Texts {
    fn len(&self) -> usize {
        1
    }

    fn tree(&self, _layer: usize) -> Result<Tree, TreeError> {
        Ok(Tree::empty())
    }

    fn open(&self, _layer: usize, _path: &[u8], _size: u64, body: &Body) -> Result<Box<dyn Read + '_>, TreeError> {
        let text = usize::try_from(body.offset).ok().and_then(|at| self.0.get(at));
        Ok(Box::new(Cursor::new(text.map_or(&[][..], Vec::as_slice))))
    }
}

impl Texts {
    /// A tree with the files under these names.
    pub(super) fn tree_of(&self, names: &[String], now: i64) -> Tree {
        let mut tree = Tree::empty();
        for (number, (name, text)) in names.iter().zip(&self.0).enumerate() {
            let size = text.len() as u64;
            let body = Body { offset: number as u64, stored: size, sparse: None };
            let node = Node {
                kind: NodeKind::File { size, body },
                mode: 0o644,
                uid: 0,
                gid: 0,
                mtime: PaxTime::from_seconds(now),
                xattrs: Vec::new(),
                layer: 0,
                parent: Tree::ROOT,
                names: 1,
            };
            tree.insert(Tree::ROOT, name.as_bytes(), node);
        }
        tree
    }
}
