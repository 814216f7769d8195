//! `COPY` and `ADD`: which files, with docker's checksum of them, and where they go (moby v20.10.24
//! `builder/dockerfile/copy.go`, `copy_unix.go`).

use std::collections::HashMap;
use std::io::BufReader;

use images::tree::{Node, NodeId, NodeKind, Tree, TreeError};
use layerfs::Digest;
use layerfs::path::{join, split};

use crate::parser::Dialect;
use crate::source::SourceTree;
use crate::untar::{Bodies, UntarError, decompressed, is_tar, untar};
use crate::upper::{Owner, Upper, directory};

/// Files that cannot be picked, or cannot be put where they should go. Where docker has words for it, these are the words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// A source of `COPY` is a URL.
    #[error("source can't be a URL for COPY")]
    Url,
    /// A source of `ADD` is a git repository.
    #[error("{0} is a git repository, which is not fetched here; clone it and copy its directory")]
    Git(String),
    /// A source of `ADD` is a URL, and nothing is fetched.
    #[error("{0} is not fetched here; download it and use the file")]
    Fetch(String),
    /// No glob matches anything.
    #[error("no source files were specified")]
    NoSources,
    /// A source is outside of the context.
    #[error("forbidden path outside the build context: {0} ()")]
    Outside(String),
    /// A source of the context does not exist.
    #[error("file not found in build context or excluded by .dockerignore: stat {0}: file does not exist")]
    NotInContext(String),
    /// A source of another stage or image does not exist.
    #[error("stat {0}: file does not exist")]
    NotFound(String),
    /// A path leads nowhere.
    #[error("stat {path}: {reason}")]
    Path {
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// Something that is no directory is in the way.
    #[error("{}: not a directory", .0.escape_ascii())]
    NotADirectory(Vec<u8>),
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] TreeError),
    /// An archive cannot be unpacked.
    #[error("{path}: {source}")]
    Untar {
        /// Its path.
        path: String,
        /// Why.
        #[source]
        source: UntarError,
    },
}

/// One source of a `COPY`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its path, as it was written or found.
    pub(crate) path: String,
    /// `file:` or `dir:` and the checksum.
    hash: String,
}

/// Picks what the sources mean.
///
/// # Errors
/// [`CopyError`]
pub(crate) fn pick(sources: &[String], name: &str, from: &SourceTree<'_>) -> Result<Vec<Item>, CopyError> {
    let mut items = Vec::new();
    for source in sources {
        if source.starts_with("http://") || source.starts_with("https://") {
            return Err(if name == "COPY" { CopyError::Url } else { CopyError::Fetch(source.clone()) });
        }
        let path = source.strip_prefix('/').unwrap_or(source);
        let path = path.strip_prefix("./").unwrap_or(path);
        if !has_wildcards(path) {
            items.push(item(path, from)?);
            continue;
        }
        let mut walk = from.tree.walk_below(Tree::ROOT, b"");
        while let Some((found, _)) = walk.next() {
            let found = String::from_utf8_lossy(found);
            if docker_format::pattern::matches(path, &found).unwrap_or(false) {
                items.push(item(&found, from)?);
            }
        }
    }
    if items.is_empty() { Err(CopyError::NoSources) } else { Ok(items) }
}

pub(crate) fn has_wildcards(path: &str) -> bool {
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => drop(bytes.next()),
            b'*' | b'?' | b'[' => return true,
            _ => {}
        }
    }
    false
}

/// What all sources together are called in the history.
pub(crate) fn hash_of(items: &[Item]) -> String {
    match items {
        [one] => one.hash.clone(),
        _ => hashed("multi", &items.iter().map(|item| item.hash.as_str()).collect::<Vec<_>>()),
    }
}

fn hashed(kind: &str, parts: &[&str]) -> String {
    format!("{kind}:{}", Digest::hash(parts.join(",").as_bytes()).hex())
}

fn item(path: &str, from: &SourceTree<'_>) -> Result<Item, CopyError> {
    let clean = tarsplit::names::clean(path.as_bytes());
    if *clean == *b".." || clean.starts_with(b"../") {
        return Err(CopyError::Outside(path.to_owned()));
    }
    let found = from
        .follow(path.as_bytes())
        .map_err(|error| CopyError::Path { path: path.to_owned(), reason: error.to_string() })?;
    let Some(id) = from.tree.at(&found) else {
        let path = path.to_owned();
        return Err(if from.is_context { CopyError::NotInContext(path) } else { CopyError::NotFound(path) });
    };
    if from.tree.node(id).children().is_none() {
        return Ok(Item { path: path.to_owned(), hash: format!("file:{}", from.checksum(path.as_bytes())?) });
    }
    let mut hashes = Vec::new();
    if !found.is_empty() {
        hashes.push(from.checksum(&found)?);
    }
    let mut walk = from.tree.walk_below(id, &found);
    while let Some((below, _)) = walk.next() {
        hashes.push(from.checksum(below)?);
    }
    hashes.sort();
    let hash = hashed("dir", &hashes.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(Item { path: path.to_owned(), hash })
}

/// How files are copied.
#[derive(Debug, Clone, Copy)]
pub(crate) struct How {
    /// Who owns the copies; `None` for the owners of the sources.
    pub(crate) owner: Option<Owner>,
    /// Whether archives are unpacked.
    pub(crate) unpack: bool,
}

/// Whether an item is a directory, or an archive that is unpacked: what brings more than one name.
pub(crate) fn brings_names(item: &Item, from: &SourceTree<'_>, how: How) -> Result<bool, CopyError> {
    let Some((found, id)) = locate(item, from)? else { return Ok(false) };
    Ok(from.tree.node(id).children().is_some() || how.unpack && is_archive(from, &found, id, Dialect::Classic)?)
}

fn locate(item: &Item, from: &SourceTree<'_>) -> Result<Option<(Vec<u8>, NodeId)>, CopyError> {
    let found = from
        .follow(item.path.as_bytes())
        .map_err(|error| CopyError::Path { path: item.path.clone(), reason: error.to_string() })?;
    let id = from.tree.at(&found);
    Ok(id.map(|id| (found, id)))
}

pub(crate) fn is_archive(from: &SourceTree<'_>, path: &[u8], id: NodeId, dialect: Dialect) -> Result<bool, CopyError> {
    if !matches!(from.tree.node(id).kind, NodeKind::File { .. }) {
        return Ok(false);
    }
    Ok(is_tar(BufReader::new(from.tree.open(from.layers, path, id)?), dialect))
}

/// Copies one item to `dest`, an absolute path that may end with a slash.
///
/// # Errors
/// [`CopyError`]
pub(crate) fn copy<'s>(
    item: &Item,
    from: &SourceTree<'s>,
    dest: &str,
    how: How,
    upper: &mut Upper<'s>,
    bodies: Option<&'s Bodies>,
) -> Result<(), CopyError> {
    let Some((found, id)) = locate(item, from)? else { return Err(CopyError::NotFound(item.path.clone())) };
    let target = upper
        .follow(b"", dest.as_bytes())
        .map_err(|error| CopyError::Path { path: dest.to_owned(), reason: error.to_string() })?;
    if from.tree.node(id).children().is_some() {
        return copy_directory(from, &found, id, &target, how.owner, upper);
    }
    if how.unpack && is_archive(from, &found, id, Dialect::Classic)? {
        upper.make_all(&target, (0, 0)).map_err(CopyError::NotADirectory)?;
        let file = BufReader::new(from.tree.open(from.layers, &found, id)?);
        let failed = |source| CopyError::Untar { path: item.path.clone(), source };
        let reader = decompressed(file, Dialect::Classic).map_err(UntarError::Read).map_err(failed)?;
        if let (Some(reader), Some(bodies)) = (reader, bodies) {
            untar(reader, &target, upper, bodies, Some(bodies)).map_err(failed)?;
        }
        return Ok(());
    }
    let base = item.path.trim_end_matches('/');
    let name = split(base.as_bytes()).1;
    let is_dir = upper.is_directory(&target);
    let target = if dest.ends_with('/') || is_dir { join(&target, name) } else { target };
    let (parent, _) = split(&target);
    upper.make_all(parent, how.owner.unwrap_or((0, 0))).map_err(CopyError::NotADirectory)?;
    let mut node = copied(from, &found, id, how.owner, upper);
    // The tar for a single file has no attributes.
    node.xattrs.clear();
    upper.put(&target, node);
    Ok(())
}

/// A node as it is in the new layer.
fn copied<'s>(from: &SourceTree<'s>, path: &[u8], id: NodeId, owner: Option<Owner>, upper: &mut Upper<'s>) -> Node {
    let old = from.tree.node(id);
    let kind = match &old.kind {
        NodeKind::Directory { .. } => directory(),
        kind => upper.picked.pick(from.layers, old.layer, path, kind),
    };
    let mut node = Node {
        mode: old.mode & 0o7777,
        uid: old.uid,
        gid: old.gid,
        mtime: tarsplit::pax::PaxTime::from_seconds(old.mtime.seconds),
        xattrs: old.xattrs.clone(),
        layer: 0,
        parent: 0,
        names: 1,
        kind,
    };
    if let Some((uid, gid)) = owner {
        (node.uid, node.gid) = (uid, gid);
        if !matches!(node.kind, NodeKind::Directory { .. } | NodeKind::Symlink { .. }) {
            // The kernel takes these bits and the attributes away when a file changes its owner.
            let group_executes = node.mode & 0o010 != 0;
            node.mode &= if group_executes { !0o6000 } else { !0o4000 };
            node.xattrs.clear();
        }
    }
    node
}

/// Copies what is in a directory into another one.
fn copy_directory<'s>(
    from: &SourceTree<'s>,
    path: &[u8],
    id: NodeId,
    target: &[u8],
    owner: Option<Owner>,
    upper: &mut Upper<'s>,
) -> Result<(), CopyError> {
    let is_new = !upper.is_directory(target);
    upper.make_all(target, (0, 0)).map_err(CopyError::NotADirectory)?;
    if let Some((uid, gid)) = owner
        && is_new
        && !target.is_empty()
    {
        let node = upper.directory_mut(target);
        (node.uid, node.gid) = (uid, gid);
    }
    let mut links: HashMap<NodeId, NodeId> = HashMap::new();
    let mut times = Vec::new();
    let mut walk = from.tree.walk_below(id, path);
    while let Some((found, id)) = walk.next() {
        let below = found[path.len()..].strip_prefix(b"/").unwrap_or(&found[path.len()..]);
        let to = join(target, below);
        if let Some(&known) = links.get(&id) {
            upper.link(&to, known);
            continue;
        }
        let node = copied(from, found, id, owner, upper);
        let is_dir = matches!(node.kind, NodeKind::Directory { .. });
        if is_dir {
            times.push((to.clone(), node.mtime));
        }
        if is_dir && upper.is_directory(&to) {
            let old = upper.directory_mut(&to);
            (old.mode, old.uid, old.gid) = (node.mode, node.uid, node.gid);
            continue;
        }
        let new = upper.put(&to, node);
        if !is_dir && from.tree.node(id).names > 1 {
            links.insert(id, new);
        }
    }
    for (path, time) in times {
        upper.directory_mut(&path).mtime = time;
    }
    Ok(())
}
