//! What a container has written, as a layer.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::AtomicBool;

use layerfs::path::split;
use snapshot::driver::Driver;
use snapshot::root::DataRoot;
use tarsplit::pax::PaxTime;

use crate::export::{ExportError, ExportForm, Exporter};
use crate::load::{ImportError, check_lengths};
use crate::tree::{
    ChangeKind, Layers, LayersOfContainer, Node, NodeKind, Tree, TreeError, UpperDirectory, docker_changes, read_trees,
};

/// What a container has written.
#[derive(Debug)]
pub struct Written {
    tree: Tree,
    /// Where the container's directory holds everything: how it differs from what it was made from, by docker's
    /// comparison. `None` where the directory holds only what the container has written.
    changes: Option<Vec<(ChangeKind, Vec<u8>)>>,
}

impl Written {
    /// Reads what the container with these layers has written.
    ///
    /// # Errors
    /// [`TreeError`]
    pub fn read(layers: &LayersOfContainer<'_>) -> Result<Self, TreeError> {
        let last = layers.len() - 1;
        let tree = layers.tree(last)?;
        if !layers.are_whole() {
            return Ok(Self { tree, changes: None });
        }
        let before = read_trees(layers, 0..last, None)?;
        let changes = docker_changes::<TreeError>(&before, &tree, last, &mut |_, _, _| Ok(false))?;
        Ok(Self { tree, changes: Some(changes) })
    }

    /// Reads what a directory holds that overlayfs has written to.
    ///
    /// # Errors
    /// [`TreeError`]
    pub fn read_upper(upper: &UpperDirectory) -> Result<Self, TreeError> {
        Ok(Self { tree: upper.tree(0)?, changes: None })
    }

    /// Whether the container has written nothing.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        match &self.changes {
            Some(changes) => changes.is_empty(),
            None => self.tree.node(Tree::ROOT).children().is_none_or(BTreeMap::is_empty),
        }
    }

    /// Checks that the store has room for it. A file takes its whole length there, also where it was mostly holes.
    ///
    /// # Errors
    /// [`ImportError::Space`], [`ImportError::Store`]
    pub fn check_room(&self, root: &DataRoot) -> Result<(), ImportError> {
        let Some(driver) = root.driver() else { return Ok(()) };
        let mut lengths = BTreeMap::new();
        let mut walk = self.tree.walk_below(Tree::ROOT, b"");
        while let Some((_, id)) = walk.next() {
            // A file with several names is there once.
            lengths.insert(id, self.tree.node(id).size());
        }
        check_lengths(lengths.into_values(), driver.home().path(), driver.room()?)
    }

    /// Whether there is an empty directory or an empty file at a path that the container has made.
    #[must_use]
    pub fn is_empty_at(&self, path: &[u8]) -> bool {
        self.tree.at(path).is_some_and(|id| match &self.tree.node(id).kind {
            NodeKind::Directory { children, .. } => children.is_empty(),
            NodeKind::File { size, .. } => *size == 0,
            _ => false,
        })
    }

    /// Leaves out what is at a path.
    pub fn forget(&mut self, path: &[u8]) {
        let (dir, name) = split(path);
        if let Some(dir) = self.tree.at(dir)
            && let NodeKind::Directory { children, .. } = &mut self.tree.node_mut(dir).kind
        {
            children.remove(name);
        }
        if let Some(changes) = &mut self.changes {
            changes.retain(|(_, changed)| changed != path);
        }
    }

    /// Adds a directory of the root, as root's and with this time in seconds, if there is nothing of that name.
    pub fn add_directory(&mut self, name: &[u8], time: i64) {
        if self.tree.at(name).is_none() {
            let node = Node {
                kind: NodeKind::Directory { children: BTreeMap::new(), opaque: false, explicit: true },
                mtime: PaxTime::from_seconds(time),
                ..Node::implied(0, Tree::ROOT)
            };
            self.tree.insert(Tree::ROOT, name, node);
        }
        if let Some(changes) = &mut self.changes
            && !changes.iter().any(|(_, changed)| changed == name)
        {
            let at = changes.partition_point(|(_, changed)| changed.as_slice() < name);
            changes.insert(at, (ChangeKind::Added, name.to_vec()));
        }
    }

    /// Gives everything that is later this time, in seconds.
    pub fn clamp(&mut self, latest: i64) {
        let mut late = Vec::new();
        let mut walk = self.tree.walk_below(Tree::ROOT, b"");
        while let Some((_, id)) = walk.next() {
            if self.tree.node(id).mtime.seconds >= latest {
                late.push(id);
            }
        }
        for id in late {
            self.tree.node_mut(id).mtime = PaxTime::from_seconds(latest);
        }
    }

    /// Writes it as a layer.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn write(&self, layers: &dyn Layers, out: impl Write, stop: &AtomicBool) -> Result<(), ExportError> {
        let mut exporter = Exporter::new(out, ExportForm::Layer, stop);
        match &self.changes {
            Some(changes) => exporter.changes(&self.tree, layers, changes)?,
            None => exporter.all(&self.tree, layers)?,
        }
        exporter.finish().map(drop)
    }
}
