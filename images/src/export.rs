//! A tree as a tar: what `docker export` writes of a container, or the change that one layer makes.
//!
//! Members come directory by directory, by the bytes of their names, without a `./` and without the root; a file of
//! several names is written under the first one, and the others are links to it. Owners are numbers. As dockerd does,
//! this writes times in whole seconds, and of the extended attributes only `security.capability`; [`ExportForm::Exact`]
//! keeps all. The bytes depend on nothing but the tree and the form.

mod file;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tarsplit::names::shown;
use tarsplit::pax::PaxTime;
use tarsplit::write::{END, NewMember, padding};

use crate::blocks::written_beside;
use crate::load::{Announced, Observer};
use crate::output::OutputError;
use crate::tree::{ChangeKind, Layers, Node, NodeId, NodeKind, Tree, TreeError, read_tree};

pub use file::export_to_file;

/// Why a tree was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The content cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A file is longer or shorter than it was.
    #[error("file {}: {found} bytes, expected {expected}", shown(.path))]
    Size {
        /// Its path.
        path: Vec<u8>,
        /// The length that its header says.
        expected: u64,
        /// The length that was found.
        found: u64,
    },
    /// The tar cannot be written.
    #[error("writing")]
    Write {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The output cannot be made.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// The user asked to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Which form a tree is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportForm {
    /// Everything that a container sees.
    Seen,
    /// A layer, as docker commits one: a deleted name is a whiteout, and an opaque directory has its mark.
    Layer,
    /// A layer that holds what other layers hold: with all extended attributes, and times as exact as theirs.
    Exact,
}

/// Writes trees to `out`.
pub struct Exporter<'e, W> {
    out: W,
    form: ExportForm,
    interrupted: &'e AtomicBool,
    piece: Vec<u8>,
    /// For a file of several names, the name under which it was written.
    written: HashMap<NodeId, Vec<u8>>,
    header: Vec<u8>,
    members: u64,
    observer: Option<&'e dyn Observer>,
}

impl<W> std::fmt::Debug for Exporter<'_, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exporter").field("form", &self.form).field("members", &self.members).finish_non_exhaustive()
    }
}

/// The attribute that docker keeps.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// Turns a capability of version 3 into one of version 2: version 3 adds a user namespace, which means nothing elsewhere
/// (moby v20.10.24 `pkg/archive/archive.go: ReadSecurityXattrToTarHeader`).
pub(crate) fn without_namespace(value: &[u8]) -> Vec<u8> {
    const VERSION: usize = 3;
    const SECOND: usize = 20;
    let mut value = value.to_vec();
    if value.len() > SECOND && value[VERSION] == 3 {
        value.truncate(SECOND);
        value[VERSION] = 2;
    }
    value
}

/// Writes everything that a container of these layers sees to `out`, on a thread of its own while this one reads the
/// files. `observer` sees it as one layer. Returns the number of members.
///
/// # Errors
/// [`ExportError`]
pub fn export(
    layers: &dyn Layers,
    out: impl Write + Send,
    interrupted: &AtomicBool,
    observer: &dyn Observer,
) -> Result<u64, ExportError> {
    let tree = read_announced(layers, observer)?;
    let write = |out: &mut dyn Write| {
        let mut exporter = Exporter::new(out, ExportForm::Seen, interrupted).observed(observer);
        exporter.all(&tree, layers)?;
        exporter.finish().map(|(members, _)| members)
    };
    let members = written_beside(out, write, |source| ExportError::Write { source })?;
    observer.end(0);
    Ok(members)
}

/// Reads everything that a container of these layers sees, and tells `observer` how much it is.
fn read_announced(layers: &dyn Layers, observer: &dyn Observer) -> Result<Tree, TreeError> {
    let tree = read_tree(layers, None)?;
    let total = Some(content_length(&tree));
    observer.begin(0, &Announced { name: "files", diff_id: None, step: None, total });
    Ok(tree)
}

/// The lengths of all files together, each counted once however many names it has.
fn content_length(tree: &Tree) -> u64 {
    let mut walk = tree.walk_below(Tree::ROOT, b"");
    let (mut seen, mut total) = (HashSet::new(), 0_u64);
    while let Some((_, id)) = walk.next() {
        let node = tree.node(id);
        if let NodeKind::File { size, .. } = node.kind
            && (node.names < 2 || seen.insert(id))
        {
            total = total.saturating_add(size);
        }
    }
    total
}

impl<'e, W: Write> Exporter<'e, W> {
    /// Writes to `out`.
    pub fn new(out: W, form: ExportForm, interrupted: &'e AtomicBool) -> Self {
        let (piece, header) = (vec![0; 256 << 10], Vec::new());
        Self { out, form, interrupted, piece, written: HashMap::new(), header, members: 0, observer: None }
    }

    /// Tells `observer` of the bytes of files that are written, as of a layer with the number zero.
    #[must_use]
    pub fn observed(self, observer: &'e dyn Observer) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Writes everything below the root.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn all(&mut self, tree: &Tree, layers: &dyn Layers) -> Result<(), ExportError> {
        self.below(tree, layers, Tree::ROOT, b"", b"")
    }

    /// Writes everything below a directory, whose path is `path`; in the tar, names begin with `shown` instead of that path.
    ///
    /// # Errors
    /// [`ExportError`]
    pub(crate) fn below(
        &mut self,
        tree: &Tree,
        layers: &dyn Layers,
        dir: NodeId,
        path: &[u8],
        shown: &[u8],
    ) -> Result<(), ExportError> {
        let mut walk = tree.walk_below(dir, path);
        while let Some((found, id)) = walk.next() {
            let rest = &found[path.len()..];
            let name = [shown, if shown.is_empty() { rest.strip_prefix(b"/").unwrap_or(rest) } else { rest }].concat();
            self.one(tree, layers, found, id, &name)?;
        }
        Ok(())
    }

    /// Writes what is at `path`, and nothing below it, under the name `name`.
    ///
    /// # Errors
    /// [`ExportError`]
    pub(crate) fn one(
        &mut self,
        tree: &Tree,
        layers: &dyn Layers,
        path: &[u8],
        id: NodeId,
        name: &[u8],
    ) -> Result<(), ExportError> {
        let node = tree.node(id);
        let body = match node.kind {
            NodeKind::File { size, .. } if !self.written.contains_key(&id) => {
                Some((tree.open(layers, path, id)?, size))
            }
            _ => None,
        };
        self.head(tree, id, name)?;
        match body {
            Some((mut body, size)) => self.body(&mut body, path, size),
            None => Ok(()),
        }
    }

    /// Writes the header of what is called `name`. Returns how many bytes of a body have to follow, if it has one.
    fn head(&mut self, tree: &Tree, id: NodeId, name: &[u8]) -> Result<Option<u64>, ExportError> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(ExportError::Interrupted);
        }
        let node = tree.node(id);
        if let Some(first) = self.written.get(&id).cloned() {
            return self.member(node, b'1', name, &first, 0, (0, 0)).map(|()| None);
        }
        if node.names > 1 && node.children().is_none() {
            self.written.insert(id, name.to_vec());
        }
        match &node.kind {
            NodeKind::Directory { opaque, .. } => {
                let name = [name, b"/"].concat();
                self.member(node, b'5', &name, b"", 0, (0, 0))?;
                if *opaque && self.form == ExportForm::Layer {
                    let mark = Node { mtime: PaxTime::default(), xattrs: Vec::new(), ..node.clone_without_children() };
                    self.member(&mark, b'0', &[&name, &b".wh..wh..opq"[..]].concat(), b"", 0, (0, 0))?;
                }
            }
            NodeKind::File { size, .. } => {
                self.member(node, b'0', name, b"", *size, (0, 0))?;
                return Ok(Some(*size));
            }
            NodeKind::Symlink { target } => self.member(node, b'2', name, target, 0, (0, 0))?,
            NodeKind::CharDevice(major, minor) => self.member(node, b'3', name, b"", 0, (*major, *minor))?,
            NodeKind::BlockDevice(major, minor) => self.member(node, b'4', name, b"", 0, (*major, *minor))?,
            NodeKind::Fifo => self.member(node, b'6', name, b"", 0, (0, 0))?,
            NodeKind::Whiteout if self.form == ExportForm::Seen => {}
            NodeKind::Whiteout => self.whiteout(&Node { mode: 0o600, ..node.clone() }, name)?,
        }
        Ok(None)
    }

    /// Writes what has changed, as a layer: `changes` are paths of `tree`, in the order of a walk, and paths that it no
    /// longer has.
    ///
    /// # Errors
    /// [`ExportError`]
    pub fn changes(
        &mut self,
        tree: &Tree,
        layers: &dyn Layers,
        changes: &[(ChangeKind, Vec<u8>)],
    ) -> Result<(), ExportError> {
        for (kind, path) in changes {
            match tree.at(path).filter(|_| *kind != ChangeKind::Deleted) {
                Some(id) => self.one(tree, layers, path, id, path)?,
                None => self.whiteout(&Node { mode: 0o600, ..Node::implied(0, Tree::ROOT) }, path)?,
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, mark: &Node, name: &[u8]) -> Result<(), ExportError> {
        let at = name.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
        let name = [&name[..at], b".wh.", &name[at..]].concat();
        self.member(mark, b'0', &name, b"", 0, (0, 0))
    }

    fn member(
        &mut self,
        node: &Node,
        typeflag: u8,
        name: &[u8],
        linkname: &[u8],
        size: u64,
        device: (i64, i64),
    ) -> Result<(), ExportError> {
        let exact = self.form == ExportForm::Exact;
        let attributes = node.xattrs.iter().filter(|(name, _)| exact || name == CAPABILITY);
        let value = |value: &[u8]| if exact { value.to_vec() } else { without_namespace(value) };
        let kept: Vec<(Vec<u8>, Vec<u8>)> = attributes.map(|(name, old)| (name.clone(), value(old))).collect();
        // A hard link has the attributes of the file that it links to.
        let xattrs = if typeflag == b'1' { &[][..] } else { &kept };
        let nanoseconds = if exact { node.mtime.nanoseconds } else { 0 };
        let mtime = PaxTime { seconds: node.mtime.seconds, nanoseconds };
        let (mode, uid, gid) = (node.mode, node.uid, node.gid);
        self.header.clear();
        NewMember { typeflag, name, linkname, mode, uid, gid, size, mtime, device, xattrs }.write(&mut self.header);
        self.members += 1;
        let header = std::mem::take(&mut self.header);
        self.write(&header)?;
        self.header = header;
        Ok(())
    }

    fn body(&mut self, body: &mut dyn Read, path: &[u8], expected: u64) -> Result<(), ExportError> {
        let mut found = 0;
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                return Err(ExportError::Interrupted);
            }
            let failed = |source| TreeError::File { path: path.to_vec(), source };
            let read = body.read(&mut self.piece).map_err(failed)?;
            found += read as u64;
            if read == 0 || found > expected {
                break;
            }
            self.out.write_all(&self.piece[..read]).map_err(|source| ExportError::Write { source })?;
            if let Some(observer) = self.observer {
                observer.advance(0, read as u64);
            }
        }
        if found != expected {
            return Err(ExportError::Size { path: path.to_vec(), expected, found });
        }
        self.write(padding(expected))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        self.out.write_all(bytes).map_err(|source| ExportError::Write { source })
    }

    /// Ends the tar. Returns the number of its members, and where it was written to.
    ///
    /// # Errors
    /// [`ExportError::Write`]
    pub fn finish(mut self) -> Result<(u64, W), ExportError> {
        self.end()?;
        self.out.flush().map_err(|source| ExportError::Write { source })?;
        Ok((self.members, self.out))
    }

    /// Writes what ends a tar.
    fn end(&mut self) -> Result<(), ExportError> {
        self.write(&END)
    }
}
