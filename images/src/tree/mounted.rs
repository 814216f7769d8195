//! What is mounted over the layers of a container: volumes, files and directories of the host. None of it is mounted here: its files are
//! put into the tree, and of a directory only those that are asked about.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use layerfs::LayerFiles;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};

use super::content::FileBytes;
use super::directory::{Holds, read_node, read_part};
use super::node::{Body, Node, NodeId, NodeKind};
use super::walk::rest_below;
use super::wanted::WantedPaths;
use super::{Layers, LookupError, Tree, TreeError, read_tree};

/// A file or directory of the host, and where a container sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// Its path in the container, in which symlinks lead to where they lead there.
    pub at: Vec<u8>,
    /// Its path on the host, or why it is not to be had.
    pub source: Result<PathBuf, String>,
}

/// Layers, with what is mounted over them. Each mount counts as one more layer.
#[derive(Debug)]
pub struct Mounted<'l, L> {
    below: &'l L,
    mounts: Vec<Mount>,
}

#[derive(Debug)]
struct Mount {
    /// Its path in the container, cleaned.
    at: Vec<u8>,
    /// Its path on the host, where that is known.
    path: PathBuf,
    /// The file or directory, only as a place, or why there is none.
    source: Result<OwnedFd, String>,
    wanted: WantedPaths,
    /// Where it is in the tree, without symlinks and without a slash in front; `None` where nothing can be mounted.
    point: Option<Vec<u8>>,
}

impl<'l, L: Layers> Mounted<'l, L> {
    /// Layers with mounts over them. Those with fewer names in their paths are mounted first, as docker does (moby v20.10.24
    /// `daemon/volumes.go: mounts`), so that none is hidden by what it is mounted in.
    #[must_use]
    pub fn new(below: &'l L, mut binds: Vec<Bind>) -> Self {
        binds.sort_by_key(|bind| names(&bind.at).count());
        let mount = |bind: Bind| {
            let path = bind.source.clone().unwrap_or_default();
            let source = bind.source.and_then(|path| {
                let opened = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
                opened.map_err(|errno| io::Error::from(errno).to_string())
            });
            let at = layerfs::path::absolute(&bind.at);
            Mount { at, path, source, wanted: WantedPaths::default(), point: None }
        };
        Self { below, mounts: binds.into_iter().map(mount).collect() }
    }

    /// The tree with as much of the mounts in it as it takes to [find](Tree::find) `path`, and everything that is below what it means.
    ///
    /// # Errors
    /// [`TreeError`]; [`TreeError::Mounted`] where something that it takes cannot be read.
    pub(crate) fn read(&mut self, path: &[u8], follow: bool) -> Result<Tree, TreeError> {
        let mut tree = read_tree(self.below, None)?;
        // What a symlink leads to is known only when it was read. Each round but the last knows more names than the one before, or
        // follows one more symlink, of which there are at most 40.
        loop {
            let mut more = self.put_into(&mut tree)?;
            let found = tree.find_on_the_way(path, follow, &mut |names, left| {
                more |= want(&mut self.mounts, names, left);
            });
            if more {
                continue;
            }
            if let Ok((found, _)) = found {
                self.want_all_below(&found);
                self.put_into(&mut tree)?;
            }
            return Ok(tree);
        }
    }

    /// Puts what is wanted of each mount into the tree. Returns whether more is wanted now.
    fn put_into(&mut self, tree: &mut Tree) -> Result<bool, TreeError> {
        let mut more = false;
        for number in 0..self.mounts.len() {
            let (before, mount) = self.mounts.split_at_mut(number);
            let mount = &mut mount[0];
            let layer = self.below.len() + number;
            let part = mount.part(layer)?;
            let is_dir = mount.source.as_ref().ok().map(|_| part.as_ref().is_some_and(|part| part.is_dir(Tree::ROOT)));
            let place = tree.place(&mount.at, is_dir, layer, &mut |names, left| more |= want(before, names, left));
            mount.point = match (place, part) {
                (Some(point), Some(part)) => {
                    tree.graft(&point, part);
                    Some(point)
                }
                (Some(point), None) => {
                    tree.hide(&point);
                    None
                }
                (None, _) => None,
            };
        }
        Ok(more)
    }

    /// Of each mount that something in a tree is in, or that is below it, everything that concerns it.
    fn want_all_below(&mut self, path: &[u8]) {
        let inner = innermost(&self.mounts, &names(path).collect::<Vec<_>>()).map(|(number, _)| number);
        for (number, mount) in self.mounts.iter_mut().enumerate() {
            let Some(point) = &mount.point else { continue };
            if let Some(rest) = rest_below(path, point) {
                if Some(number) == inner {
                    mount.wanted.add_all(rest);
                }
            } else if rest_below(point, path).is_some() {
                mount.wanted.add_all(b"");
            }
        }
    }
}

/// Wants a path of the mount that it is in, if it is in one. Returns whether it is new there.
fn want(mounts: &mut [Mount], names: &[&[u8]], left: &[Vec<u8>]) -> bool {
    let Some((number, depth)) = innermost(mounts, names) else { return false };
    depth < names.len() && mounts[number].wanted.add_on_the_way(&names[depth..], left)
}

/// The mount that a path is in, and how many names its own path has. Of several at one place it is the last.
fn innermost(mounts: &[Mount], path: &[&[u8]]) -> Option<(usize, usize)> {
    let depths = mounts.iter().enumerate().filter_map(|(number, mount)| {
        let point: Vec<&[u8]> = names(mount.point.as_ref()?).collect();
        path.starts_with(&point).then_some((number, point.len()))
    });
    depths.max_by_key(|&(number, depth)| (depth, number))
}

fn names(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
}

impl Mount {
    fn failed(&self) -> impl FnOnce(io::Error) -> TreeError {
        let (at, source_path) = (self.at.clone(), self.path.clone());
        move |source| TreeError::Mounted { at, source_path, source }
    }

    /// What is wanted of it, with itself as the root; `None` for a socket, which nobody copies. What cannot be opened is an empty
    /// directory as long as nothing of it is wanted.
    fn part(&self, layer: usize) -> Result<Option<Tree>, TreeError> {
        let mut tree = Tree::empty();
        let source = match &self.source {
            Ok(source) => source,
            Err(_) if self.wanted.is_root_alone() => return Ok(Some(tree)),
            Err(reason) => return Err(self.failed()(io::Error::other(reason.clone()))),
        };
        let node = rustix::fs::statx(source, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)
            .map_err(io::Error::from)
            .and_then(|stat| read_node(source, b"", &stat, Holds::Files))
            .map_err(self.failed())?;
        let Some(Node { kind, mode, uid, gid, mtime, xattrs, .. }) = node else { return Ok(None) };
        let is_dir = matches!(kind, NodeKind::Directory { .. });
        if is_dir && !self.wanted.is_root_alone() {
            tree = read_part(source, layer, &self.wanted, Holds::Files).map_err(|error| match error {
                TreeError::File { path, source } => {
                    let source_path = self.path.join(String::from_utf8_lossy(&path).as_ref());
                    TreeError::Mounted { at: self.at.clone(), source_path, source }
                }
                other => other,
            })?;
        }
        let root = tree.node_mut(Tree::ROOT);
        (root.mode, root.uid, root.gid, root.mtime, root.xattrs, root.layer) = (mode, uid, gid, mtime, xattrs, layer);
        if !is_dir {
            root.kind = kind;
        }
        Ok(Some(tree))
    }

    /// Opens a file of it by its path in the tree.
    fn open(&self, path: &[u8]) -> io::Result<File> {
        let source = self.source.as_ref().map_err(|reason| io::Error::other(reason.clone()))?;
        let rest = self.point.as_ref().and_then(|point| rest_below(path, point)).unwrap_or_default();
        let again = |flags: OFlags| {
            let path = format!("/proc/self/fd/{}", source.as_raw_fd());
            rustix::fs::openat(CWD, path, flags | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        };
        if rest.is_empty() {
            // It was a regular file when it was opened as a place, and that cannot change.
            return Ok(again(OFlags::NONBLOCK)?.into());
        }
        let files = LayerFiles::new(again(OFlags::DIRECTORY)?);
        files.open_sized(rest.strip_prefix(b"/").unwrap_or(rest)).map(|(file, _)| file)
    }
}

impl<L: Layers> Layers for Mounted<'_, L> {
    fn len(&self) -> usize {
        self.below.len() + self.mounts.len()
    }

    /// A mount says nothing as a layer: it is put in its place in the tree.
    fn tree(&self, layer: usize) -> Result<Tree, TreeError> {
        if layer < self.below.len() { self.below.tree(layer) } else { Ok(Tree::empty()) }
    }

    fn open(&self, layer: usize, path: &[u8], size: u64, body: &Body) -> Result<FileBytes<'_>, TreeError> {
        let Some(number) = layer.checked_sub(self.below.len()) else {
            return self.below.open(layer, path, size, body);
        };
        let failed = |source| TreeError::File { path: path.to_vec(), source };
        Ok(Box::new(self.mounts[number].open(path).map_err(failed)?))
    }
}

impl Tree {
    /// Where something is mounted at `at`: what is missing on the way is made, as docker makes it. `None` where it cannot be mounted:
    /// the path leads through what is no directory, or round in circles, or a symlink in it leads to nothing, or what is there is a
    /// directory and what is mounted is none, or the other way round.
    fn place(
        &mut self,
        at: &[u8],
        is_dir: Option<bool>,
        layer: usize,
        visit: &mut super::lookup::Visit<'_>,
    ) -> Option<Vec<u8>> {
        let (mut path, mut id) = (Vec::new(), Self::ROOT);
        let mut left = names(at).peekable();
        while let Some(name) = left.next() {
            let next = [path.as_slice(), b"/", name].concat();
            match self.find_on_the_way(&next, true, visit) {
                Ok(found) => (path, id) = found,
                Err(LookupError::Missing) if self.is_dir(id) && self.child(id, name).is_none() => {
                    let mut node = Node { layer, ..Node::implied(layer, id) };
                    if left.peek().is_none() && is_dir == Some(false) {
                        node.kind = NodeKind::File { size: 0, body: Body::default() };
                    }
                    id = self.insert(id, name, node);
                    path = if path.is_empty() { name.to_vec() } else { next };
                }
                Err(_) => return None,
            }
        }
        is_dir.is_none_or(|is_dir| self.is_dir(id) == is_dir).then_some(path)
    }

    fn is_dir(&self, id: NodeId) -> bool {
        self.node(id).children().is_some()
    }

    /// Takes the name at a path without symlinks away.
    fn hide(&mut self, path: &[u8]) {
        let (dir, name) = layerfs::path::split(path);
        if let Some(children) = self.at(dir).and_then(|dir| self.nodes[dir].children_mut()) {
            children.remove(name);
        }
    }

    /// Puts a tree at a path without symlinks, and hides what is there with everything below it.
    fn graft(&mut self, path: &[u8], part: Self) {
        let (dir, name) = layerfs::path::split(path);
        let shift = self.nodes.len();
        self.nodes.extend(part.nodes);
        for node in &mut self.nodes[shift..] {
            node.parent += shift;
            if let Some(children) = node.children_mut() {
                children.values_mut().for_each(|id| *id += shift);
            }
        }
        match self.at(dir) {
            Some(dir) if !name.is_empty() => {
                self.nodes[shift].parent = dir;
                self.put(dir, name, shift);
            }
            // A mount at the root, to which a symlink has led.
            _ => {
                let root = Node { parent: Self::ROOT, ..self.nodes[shift].clone() };
                let children: Vec<NodeId> = root.children().into_iter().flatten().map(|(_, id)| *id).collect();
                children.into_iter().for_each(|id| self.nodes[id].parent = Self::ROOT);
                self.nodes[Self::ROOT] = root;
            }
        }
    }
}
