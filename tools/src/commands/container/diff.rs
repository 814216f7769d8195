//! `layerfs container diff`: `docker container diff`, offline.
//!
//! The two merged views are compared as moby compares them (v20.10.24 `pkg/archive/changes.go: ChangesDirs`,
//! `changes_unix.go`). A name that the container has not touched is the same file in both. Other names differ if mode, owner,
//! device, size, time or capabilities differ; for directories, size and time do not matter. A directory in which something
//! has changed counts as changed. docker prints the names of a directory in no order; here they are sorted.

use std::path::Path;
use std::process::ExitCode;

use images::tree::{Kind, Layers, Node, Tree};

use super::content::with_layers;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    with_layers(&args.container, root, driver, |_, _, layers| {
        let last = layers.len() - 1;
        let mut before = Tree::empty();
        for layer in 0..last {
            before.stack(layers.tree(layer)?, layer, None);
        }
        let mut after = before.clone();
        after.stack(layers.tree(last)?, last, None);
        let mut text = String::new();
        for (letter, path) in changes(&before, &after, last) {
            // A name that is no UTF-8 is shown as docker shows it, which sends names as JSON.
            text += &format!("{letter} /{}\n", String::from_utf8_lossy(&path));
        }
        output::raw(&text)?;
        Ok(ExitCode::SUCCESS)
    })
}

/// What is still to be compared: a path, and what it means before and after.
type Pair = (Vec<u8>, Option<usize>, Option<usize>);

/// The lines, by name.
fn changes(before: &Tree, after: &Tree, last: usize) -> Vec<(char, Vec<u8>)> {
    let mut changes: std::collections::BTreeMap<Vec<u8>, char> = std::collections::BTreeMap::new();
    let mut left: Vec<Pair> = vec![(Vec::new(), Some(Tree::ROOT), Some(Tree::ROOT))];
    while let Some((path, old, new)) = left.pop() {
        let letter = match (old, new) {
            (Some(old), Some(new)) => {
                let (old, new) = (before.node(old), after.node(new));
                (new.layer == last && is_changed(old, new) && !path.is_empty()).then_some('C')
            }
            (None, Some(_)) => Some('A'),
            (Some(_), None) => Some('D'),
            (None, None) => None,
        };
        if let Some(letter) = letter {
            // The directories above it have changed, too.
            let parents = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
            for parent in parents {
                changes.entry(key(parent)).or_insert('C');
            }
            changes.insert(key(&path), letter);
        }
        let Some(children) = new.and_then(|id| after.node(id).children()) else { continue };
        let old_children = old.and_then(|id| before.node(id).children());
        // If a file has become a directory, everything in the directory is new. If a directory has become a file, what was in
        // it is not listed.
        let mut names: Vec<&Vec<u8>> =
            children.keys().chain(old_children.into_iter().flat_map(|all| all.keys())).collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            let below = if path.is_empty() { name.clone() } else { [path.as_slice(), b"/", name].concat() };
            let (old, new) = (old_children.and_then(|all| all.get(name).copied()), children.get(name).copied());
            left.push((below, old, new));
        }
    }
    changes.into_iter().map(|(key, letter)| (letter, path_of(&key))).collect()
}

/// A path that sorts like a walk: what is in a directory comes before what is beside it.
fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect()
}

fn path_of(key: &[u8]) -> Vec<u8> {
    key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect()
}

fn is_changed(old: &Node, new: &Node) -> bool {
    let is_dir = |node: &Node| matches!(node.kind, Kind::Directory { .. });
    let kind = match (&old.kind, &new.kind) {
        (Kind::Directory { .. }, Kind::Directory { .. })
        | (Kind::File { .. }, Kind::File { .. })
        | (Kind::Symlink { .. }, Kind::Symlink { .. }) => true,
        (one, other) => one == other,
    };
    let size = |node: &Node| match &node.kind {
        Kind::Symlink { target } => target.len() as u64,
        _ => node.size(),
    };
    let capability = |node: &Node| {
        let found = node.xattrs.iter().find(|(name, _)| name == b"security.capability");
        found.map(|(_, value)| value.clone())
    };
    let same_time = old.mtime == new.mtime
        || old.mtime.seconds == new.mtime.seconds && (old.mtime.nanoseconds == 0 || new.mtime.nanoseconds == 0);
    !kind
        || old.mode != new.mode
        || (old.uid, old.gid) != (new.uid, new.gid)
        || capability(old) != capability(new)
        || !(is_dir(old) && is_dir(new)) && (size(old) != size(new) || !same_time)
}
