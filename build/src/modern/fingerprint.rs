//! What is in files that are copied or mounted: everything that a copy has from them but times.

use std::collections::{HashMap, HashSet};
use std::io;

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
    let Some(contents) = from.contents else { return Ok(HashMap::new()) };
    let is_file = |id: NodeId| matches!(from.tree.node(id).kind, NodeKind::File { .. });
    let mut files: Vec<(Vec<u8>, NodeId)> = Vec::new();
    let mut seen = HashSet::new();
    files.extend(is_file(id).then(|| (path.to_vec(), id)));
    let mut walk = from.tree.walk_below(id, path);
    while let Some((found, id)) = walk.next() {
        let below = found[path.len()..].strip_prefix(b"/").unwrap_or(&found[path.len()..]);
        // A file with several names is read once.
        if is_file(id) && takes(below) && (from.tree.node(id).names == 1 || seen.insert(id)) {
            files.push((found.to_vec(), id));
        }
    }
    let digests = contents.learn(&from.tree, &files)?;
    Ok(files.into_iter().map(|(_, id)| id).zip(digests).collect())
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
    text.extend(format!("{} ", name.len()).bytes());
    text.extend_from_slice(name);
    let is_known = node.names > 1 && node.children().is_none();
    let count = first.len();
    if is_known && let Some(known) = first.get(&id) {
        text.extend(format!(" link {known}\n").bytes());
        return Ok(());
    }
    if is_known {
        first.insert(id, count);
    }
    text.extend(format!(" {:o} {} {} ", node.mode & 0o7777, node.uid, node.gid).bytes());
    for (_, value) in node.xattrs.iter().filter(|(name, _)| name == CAPABILITY) {
        text.extend(format!("capability {} ", Digest::hash(value).hex()).bytes());
    }
    let kind = match &node.kind {
        NodeKind::Directory { .. } => "directory".to_owned(),
        NodeKind::Symlink { target } => format!("symlink {}", Digest::hash(target).hex()),
        NodeKind::CharDevice(major, minor) => format!("character {major} {minor}"),
        NodeKind::BlockDevice(major, minor) => format!("block {major} {minor}"),
        NodeKind::Fifo | NodeKind::Whiteout => "fifo".to_owned(),
        NodeKind::File { .. } if let Some(digest) = digests.get(&id) => format!("file {}", digest.hex()),
        NodeKind::File { .. } => {
            let mut reader = HashingReader::new(from.tree.open(from.layers, path, id)?);
            let failed = |source| TreeError::File { path: path.to_vec(), source };
            io::copy(&mut reader, &mut io::sink()).map_err(failed)?;
            format!("file {}", reader.finish().0.hex())
        }
    };
    text.extend(kind.bytes());
    text.push(b'\n');
    Ok(())
}
