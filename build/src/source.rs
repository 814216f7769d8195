//! Trees that files are copied from: the context, another stage or an image; and docker's checksums of what is in them
//! (moby v20.10.24 `builder/remotecontext`, `pkg/tarsum/versioning.go`).

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{self, Cursor, Read};

use images::tree::{Body, Layers, NodeId, NodeKind, Tree, TreeError};
use layerfs::HashingReader;

use crate::context::Contents;
use crate::follow::{FollowError, Seen, follow};

/// A tree, and where the bytes of its files are.
pub(crate) struct SourceTree<'s> {
    pub(crate) tree: Cow<'s, Tree>,
    pub(crate) layers: &'s dyn Layers,
    /// How members of a tar were written, where the context was one: their modes have no type then.
    pub(crate) written: Option<HashMap<Vec<u8>, Vec<u8>>>,
    /// The name under which a file of several names comes first in a tar. Other stages have no such links.
    first: HashMap<NodeId, Vec<u8>>,
    pub(crate) is_context: bool,
    /// What is known of the files, if they are in a directory that may have been read for an earlier build.
    pub(crate) contents: Option<Contents<'s>>,
    /// Users and groups of this machine by number, in the form of their files: dockerd has their names in the checksums of what is
    /// in an image, and none in those of a context.
    accounts: [String; 2],
}

impl<'s> SourceTree<'s> {
    /// The tree of a context.
    pub(crate) fn context(
        tree: &'s Tree,
        layers: &'s dyn Layers,
        written: Option<HashMap<Vec<u8>, Vec<u8>>>,
        contents: Option<Contents<'s>>,
    ) -> Self {
        let mut first = HashMap::new();
        let mut walk = tree.walk_below(Tree::ROOT, b"");
        while let Some((path, id)) = walk.next() {
            if tree.node(id).names > 1 && tree.node(id).children().is_none() {
                first.entry(id).or_insert_with(|| path.to_vec());
            }
        }
        let tree = Cow::Borrowed(tree);
        Self { tree, layers, written, first, is_context: true, contents, accounts: Default::default() }
    }

    /// The tree of an image.
    pub(crate) fn image(tree: Tree, layers: &'s dyn Layers) -> Self {
        // What cannot be read has no entries.
        let accounts = ["/etc/passwd", "/etc/group"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
        let tree = Cow::Owned(tree);
        Self { tree, layers, written: None, first: HashMap::new(), is_context: false, contents: None, accounts }
    }

    /// Where a path leads.
    pub(crate) fn follow(&self, path: &[u8]) -> Result<Vec<u8>, FollowError> {
        follow(path, |path| self.tree.at(path).map_or(Seen::Nothing, |id| seen(&self.tree.node(id).kind)))
    }

    /// The checksum of what a path leads to; where that is not in the tar, the path itself.
    ///
    /// # Errors
    /// [`TreeError`] where a file cannot be read.
    pub(crate) fn checksum(&self, path: &[u8]) -> Result<String, TreeError> {
        let text = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
        let Ok(found) = self.follow(path) else { return Ok(text(path)) };
        let missing = if self.is_context { path } else { &found };
        let Some(id) = self.tree.at(&found).filter(|_| !found.is_empty()) else { return Ok(text(missing)) };
        let node = self.tree.node(id);
        if self.is_context && matches!(node.kind, NodeKind::Directory { explicit: false, .. }) {
            return Ok(text(path));
        }
        let (file_type, mut flag, link) = match &node.kind {
            NodeKind::Directory { .. } => (0o040_000, b'5', &b""[..]),
            NodeKind::File { .. } => (0o100_000, b'0', &b""[..]),
            NodeKind::Symlink { target } => (0o120_000, b'2', target.as_slice()),
            NodeKind::CharDevice(..) => (0o020_000, b'3', &b""[..]),
            NodeKind::BlockDevice(..) => (0o060_000, b'4', &b""[..]),
            NodeKind::Fifo | NodeKind::Whiteout => (0o010_000, b'6', &b""[..]),
        };
        let link = match self.first.get(&id) {
            Some(first) if *first != found => {
                flag = b'1';
                first.as_slice()
            }
            _ => link,
        };
        let mut name = match self.written.as_ref().and_then(|written| written.get(&found)) {
            Some(name) => name.clone(),
            None => found.clone(),
        };
        if flag == b'5' && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let mode = if self.written.is_some() { node.mode } else { node.mode & 0o7777 | file_type };
        let size = if flag == b'0' { node.size() } else { 0 };
        let device = match node.kind {
            NodeKind::CharDevice(major, minor) | NodeKind::BlockDevice(major, minor) => (major, minor),
            _ => (0, 0),
        };
        let mut header = Vec::new();
        let mut field = |key: &str, value: &[u8]| header.extend([key.as_bytes(), value].concat());
        field("name", &name);
        field("mode", mode.to_string().as_bytes());
        field("uid", node.uid.to_string().as_bytes());
        field("gid", node.gid.to_string().as_bytes());
        field("size", size.to_string().as_bytes());
        field("typeflag", &[flag]);
        field("linkname", link);
        field("uname", name_of(&self.accounts[0], node.uid));
        field("gname", name_of(&self.accounts[1], node.gid));
        field("devmajor", device.0.to_string().as_bytes());
        field("devminor", device.1.to_string().as_bytes());
        if flag != b'1' {
            // The client's tar has no other attribute.
            for (name, value) in node.xattrs.iter().filter(|(name, _)| name == CAPABILITY) {
                field(&String::from_utf8_lossy(name), value);
            }
        }
        let body = if flag == b'0' { self.tree.open(self.layers, &found, id)? } else { Box::new(io::empty()) };
        let mut reader = HashingReader::new(Cursor::new(header).chain(body));
        io::copy(&mut reader, &mut io::sink()).map_err(|source| TreeError::File { path: found.clone(), source })?;
        Ok(reader.finish().0.hex())
    }
}

/// The name in front of a line of a file like `/etc/passwd` that has a number; nothing if there is none.
fn name_of(file: &str, number: i64) -> &[u8] {
    let number = number.to_string();
    let line = file.lines().find(|line| line.split(':').nth(2) == Some(&number));
    line.and_then(|line| line.split(':').next()).unwrap_or_default().as_bytes()
}

/// The attribute that docker keeps.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// What a node is to whoever follows links.
pub(crate) fn seen(kind: &NodeKind) -> Seen {
    match kind {
        NodeKind::Directory { .. } => Seen::Directory,
        NodeKind::Symlink { target } => Seen::Link(target.clone()),
        NodeKind::Whiteout => Seen::Nothing,
        _ => Seen::Other,
    }
}

/// Files of several trees, picked for one layer; a file's number stands in the place of its offset.
#[derive(Default)]
pub(crate) struct Picked<'s>(Vec<PickedFile<'s>>);

struct PickedFile<'s> {
    layers: &'s dyn Layers,
    layer: usize,
    path: Vec<u8>,
    size: u64,
    body: Body,
}

impl<'s> Picked<'s> {
    /// Picks a file, which is at `path` in its own tree. Returns what it is in the new one.
    pub(crate) fn pick(&mut self, layers: &'s dyn Layers, layer: usize, path: &[u8], kind: &NodeKind) -> NodeKind {
        let NodeKind::File { size, body } = kind else { return kind.clone() };
        self.0.push(PickedFile { layers, layer, path: path.to_vec(), size: *size, body: body.clone() });
        NodeKind::File { size: *size, body: Body { offset: self.0.len() as u64 - 1, stored: *size, sparse: None } }
    }
}

impl Layers for Picked<'_> {
    fn len(&self) -> usize {
        1
    }

    fn tree(&self, _layer: usize) -> Result<Tree, TreeError> {
        Ok(Tree::empty())
    }

    fn open(&self, _layer: usize, _path: &[u8], _size: u64, body: &Body) -> Result<Box<dyn Read + '_>, TreeError> {
        let file =
            usize::try_from(body.offset).ok().and_then(|at| self.0.get(at)).expect("only what was picked is opened");
        file.layers.open(file.layer, &file.path, file.size, &file.body)
    }
}
