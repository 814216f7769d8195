//! What is in files that are copied or mounted: everything that a copy has from them but times.

use std::collections::{HashMap, HashSet};
use std::fmt::Arguments;
use std::io::{self, Write};

use images::tree::{NodeId, NodeKind, TreeError};
use layerfs::{Digest, HashingReader};

use crate::source::{CAPABILITY, SourceTree};

/// The digest of what is at a path, and of what `takes` takes below it.
pub(crate) fn fingerprint(
    from: &SourceTree<'_>,
    path: &[u8],
    id: NodeId,
    takes: &dyn Fn(&[u8]) -> bool,
) -> Result<String, TreeError> {
    let digests = digests(from, path, id, takes)?;
    let mut text = Vec::new();
    let mut first: HashMap<NodeId, usize> = HashMap::new();
    entry(from, path, id, b"", &mut text, &mut first, &digests)?;
    let mut walk = from.tree.walk_below(id, path);
    while let Some((found, id)) = walk.next() {
        let below = found[path.len()..].strip_prefix(b"/").unwrap_or(&found[path.len()..]);
        if takes(below) {
            entry(from, found, id, below, &mut text, &mut first, &digests)?;
        }
    }
    Ok(Digest::hash(&text).hex())
}

/// The digests of all files at a path and below it, where that can be told without reading them, or with several processors.
fn digests(
    from: &SourceTree<'_>,
    path: &[u8],
    id: NodeId,
    takes: &dyn Fn(&[u8]) -> bool,
) -> Result<HashMap<NodeId, Digest>, TreeError> {
    let mut all = HashMap::new();
    let Some(contents) = from.contents else { return Ok(all) };
    let is_file = |id: NodeId| matches!(from.tree.node(id).kind, NodeKind::File { .. });
    let mut files: Vec<(Vec<u8>, NodeId)> = Vec::new();
    let mut seen = HashSet::new();
    let mut take = |path: &[u8], id| match contents.known(id) {
        Some(digest) => drop(all.insert(id, digest)),
        None => files.push((path.to_vec(), id)),
    };
    if is_file(id) {
        take(path, id);
    }
    let mut walk = from.tree.walk_below(id, path);
    while let Some((found, id)) = walk.next() {
        let below = found[path.len()..].strip_prefix(b"/").unwrap_or(&found[path.len()..]);
        // A file with several names is read once.
        if is_file(id) && takes(below) && (from.tree.node(id).names == 1 || seen.insert(id)) {
            take(found, id);
        }
    }
    let digests = contents.learn(&from.tree, &files)?;
    all.extend(files.into_iter().map(|(_, id)| id).zip(digests));
    Ok(all)
}

fn entry(
    from: &SourceTree<'_>,
    path: &[u8],
    id: NodeId,
    name: &[u8],
    text: &mut Vec<u8>,
    first: &mut HashMap<NodeId, usize>,
    digests: &HashMap<NodeId, Digest>,
) -> Result<(), TreeError> {
    let node = from.tree.node(id);
    // A length before each name, so that no two lists of entries have one text.
    put(text, format_args!("{} ", name.len()));
    text.extend_from_slice(name);
    let is_known = node.names > 1 && node.children().is_none();
    let count = first.len();
    if is_known && let Some(known) = first.get(&id) {
        put(text, format_args!(" link {known}\n"));
        return Ok(());
    }
    if is_known {
        first.insert(id, count);
    }
    put(text, format_args!(" {:o} {} {} ", node.mode & 0o7777, node.uid, node.gid));
    for (_, value) in node.xattrs.iter().filter(|(name, _)| name == CAPABILITY) {
        put(text, format_args!("capability {} ", Digest::hash(value).hex()));
    }
    match &node.kind {
        NodeKind::Directory { .. } => text.extend_from_slice(b"directory"),
        NodeKind::Symlink { target } => put(text, format_args!("symlink {}", Digest::hash(target).hex())),
        NodeKind::CharDevice(major, minor) => put(text, format_args!("character {major} {minor}")),
        NodeKind::BlockDevice(major, minor) => put(text, format_args!("block {major} {minor}")),
        NodeKind::Fifo | NodeKind::Whiteout => text.extend_from_slice(b"fifo"),
        NodeKind::File { .. } if let Some(digest) = digests.get(&id) => {
            text.extend_from_slice(b"file ");
            text.extend_from_slice(digest.hex().as_bytes());
        }
        NodeKind::File { .. } => {
            let failed = |source| TreeError::File { path: path.to_vec(), source };
            let mut reader = HashingReader::new(from.tree.open(from.layers, path, id)?);
            io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
            put(text, format_args!("file {}", reader.finish().0.hex()));
        }
    }
    text.push(b'\n');
    Ok(())
}

/// Adds a text, without making another one for it.
fn put(text: &mut Vec<u8>, what: Arguments<'_>) {
    text.write_fmt(what).expect("memory takes every text");
}
