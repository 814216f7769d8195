//! How files are copied, as BuildKit does it (tonistiigi/fsutil `copy/copy.go`, as in docker 28.5): owner, permissions and
//! attributes come along, directories get the times of their sources.

use std::collections::HashMap;
use std::io::BufReader;

use images::tree::{Node, NodeId, NodeKind};
use layerfs::path::{join, split};

use super::chmod::Chmod;
use super::pick::Pick;
use crate::copy::is_archive;
use crate::ignore::Patterns;
use crate::parser::Dialect;
use crate::source::SourceTree;
use crate::untar::{Bodies, UntarError, decompressed, untar};
use crate::upper::{Owner, Upper, directory, plain_directory};
use crate::{BuildError, CopyError};

/// How files are copied.
pub(super) struct How {
    /// Who owns the copies; `None` for the owners of the sources.
    pub(super) owner: Option<Owner>,
    pub(super) chmod: Option<Chmod>,
    pub(super) excluded: Patterns,
    /// The time of what is made, in seconds.
    pub(super) now: i64,
}

fn invalid(text: String) -> BuildError {
    BuildError::Invalid(text)
}

/// Copies one source to `dest`, an absolute path that may end with a slash. Archives are unpacked to `bodies`, if there are some.
pub(super) fn apply<'s>(
    pick: &Pick,
    from: &SourceTree<'s>,
    dest: &str,
    how: &How,
    bodies: Option<&'s Bodies>,
    upper: &mut Upper<'s>,
) -> Result<(), BuildError> {
    let target = upper.follow(b"", dest.as_bytes()).map_err(|error| invalid(error.to_string()))?;
    if from.tree.node(pick.id).children().is_some() {
        return copy_directory(pick, from, &target, how, upper);
    }
    if let Some(bodies) = bodies
        && is_archive(from, &pick.path, pick.id, Dialect::Modern).map_err(BuildError::Copy)?
    {
        upper.make_all(&target, how.owner.unwrap_or((0, 0))).map_err(no_directory)?;
        let file = BufReader::new(from.tree.open(from.layers, &pick.path, pick.id)?);
        let path = String::from_utf8_lossy(&pick.path);
        let failed = |source| BuildError::Copy(CopyError::Untar { path: path.clone().into_owned(), source });
        if let Some(reader) = decompressed(file, Dialect::Modern).map_err(UntarError::Read).map_err(failed)? {
            let names = untar(reader, &target, upper, bodies, Some(bodies)).map_err(failed)?;
            if let Some(owner) = how.owner {
                names.keys().for_each(|path| upper.give(path, owner));
            }
        }
        return Ok(());
    }
    // What is excluded is said of files in directories alone.
    if pick.name.is_empty() {
        return Ok(());
    }
    let into = dest.ends_with('/') || upper.is_directory(&target);
    let target = if into { join(&target, &pick.name) } else { target };
    make_all(upper, split(&target).0, how)?;
    let node = copied(from, &pick.path, pick.id, how, upper);
    put(upper, &target, node).map(drop)
}

/// Makes directories that nobody has named. Of the two forms of `--chmod` only a number is for them, too.
fn make_all(upper: &mut Upper<'_>, path: &[u8], how: &How) -> Result<(), BuildError> {
    let mode = match how.chmod {
        Some(Chmod::Number(mode)) => mode,
        _ => 0o755,
    };
    upper.make_all_with(path, how.owner.unwrap_or((0, 0)), mode).map_err(no_directory)
}

fn no_directory(path: Vec<u8>) -> BuildError {
    invalid(format!("mkdir /{}: not a directory", path.escape_ascii()))
}

/// Puts something that is no directory at a path.
fn put(upper: &mut Upper<'_>, path: &[u8], node: Node) -> Result<NodeId, BuildError> {
    if upper.is_directory(path) {
        return Err(invalid(format!("cannot replace to directory /{} with file", path.escape_ascii())));
    }
    Ok(upper.put(path, node))
}

/// Makes the directories above something that is copied although they are not, with what they have in the source.
fn make_above<'s>(
    pick: &Pick,
    from: &SourceTree<'s>,
    target: &[u8],
    above: &[u8],
    how: &How,
    upper: &mut Upper<'s>,
) -> Result<(), BuildError> {
    if upper.is_directory(&join(target, above)) {
        return Ok(());
    }
    let (mut to, mut source) = (target.to_vec(), pick.path.clone());
    for name in above.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
        (to, source) = (join(&to, name), join(&source, name));
        if upper.is_directory(&to) {
            continue;
        }
        let node = match from.tree.at(&source) {
            Some(id) => copied(from, &source, id, how, upper),
            None => plain_directory(how.owner.unwrap_or((0, 0)), tarsplit::pax::PaxTime::from_seconds(how.now)),
        };
        put(upper, &to, node)?;
    }
    Ok(())
}

/// A node as it is in the new layer.
fn copied<'s>(from: &SourceTree<'s>, path: &[u8], id: NodeId, how: &How, upper: &mut Upper<'s>) -> Node {
    let old = from.tree.node(id);
    let is_directory = old.children().is_some();
    let kind = match &old.kind {
        NodeKind::Directory { .. } => directory(),
        kind => upper.picked.pick(from.layers, old.layer, path, kind),
    };
    let mode = old.mode & 0o7777;
    let is_link = matches!(kind, NodeKind::Symlink { .. });
    let mode = how.chmod.as_ref().filter(|_| !is_link).map_or(mode, |chmod| chmod.apply(mode, is_directory));
    let (uid, gid) = how.owner.unwrap_or((old.uid, old.gid));
    let mtime = tarsplit::pax::PaxTime::from_seconds(old.mtime.seconds);
    Node { kind, mode, uid, gid, mtime, xattrs: old.xattrs.clone(), layer: 0, parent: 0, names: 1 }
}

/// Copies what is in a directory into another one.
fn copy_directory<'s>(
    pick: &Pick,
    from: &SourceTree<'s>,
    target: &[u8],
    how: &How,
    upper: &mut Upper<'s>,
) -> Result<(), BuildError> {
    match upper.at(target) {
        None => {
            make_all(upper, target, how)?;
        }
        Some(node) if node.children().is_some() => {}
        Some(_) => return Err(invalid(format!("cannot copy to non-directory: /{}", target.escape_ascii()))),
    }
    let mut links: HashMap<NodeId, NodeId> = HashMap::new();
    // The root of a context has no time of its own.
    let now = tarsplit::pax::PaxTime::from_seconds(how.now);
    let is_own = !(pick.path.is_empty() && from.is_context) && pick.included.is_none();
    let time = if is_own { from.tree.node(pick.id).mtime } else { now };
    let mut times = vec![(target.to_vec(), time)];
    let mut walk = from.tree.walk_below(pick.id, &pick.path);
    while let Some((found, id)) = walk.next() {
        let below = &found[pick.path.len()..];
        let below = below.strip_prefix(b"/").unwrap_or(below);
        if !pick.takes(below, &how.excluded) {
            continue;
        }
        let to = join(target, below);
        make_above(pick, from, target, split(below).0, how, upper)?;
        if let Some(&known) = links.get(&id) {
            upper.link(&to, known);
            continue;
        }
        let node = copied(from, found, id, how, upper);
        if node.children().is_none() {
            let new = put(upper, &to, node)?;
            if from.tree.node(id).names > 1 {
                links.insert(id, new);
            }
            continue;
        }
        times.push((to.clone(), node.mtime));
        match upper.at(&to) {
            None => drop(upper.put(&to, node)),
            Some(there) if there.children().is_some() => {
                let old = upper.directory_mut(&to);
                (old.mode, old.uid, old.gid) = (node.mode, node.uid, node.gid);
            }
            Some(_) => return Err(invalid(format!("cannot copy to non-directory: /{}", to.escape_ascii()))),
        }
    }
    for (path, time) in times {
        upper.directory_mut(&path).mtime = tarsplit::pax::PaxTime::from_seconds(time.seconds);
    }
    Ok(())
}
