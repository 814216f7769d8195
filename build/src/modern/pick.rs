//! Which files the sources of a `COPY` mean (moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go: dispatchCopy`,
//! `solver/llbsolver/file/backend.go: docopy`).

use images::tree::{NodeId, Tree};
use layerfs::path::split;

use crate::BuildError;
use crate::copy::has_wildcards;
use crate::source::SourceTree;

/// One source, found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pick {
    /// Where it is, links followed.
    pub(super) path: Vec<u8>,
    pub(super) id: NodeId,
    /// What its copy in a directory is called.
    pub(super) name: Vec<u8>,
    /// The directories above the copy that are copied, too.
    pub(super) parents: Vec<u8>,
    /// Where these are in the source.
    pub(super) above: Vec<u8>,
}

/// Finds what the sources mean. A glob may match nothing.
pub(super) fn pick(sources: &[String], from: &SourceTree<'_>, parents: bool) -> Result<Vec<Pick>, BuildError> {
    let mut picks = Vec::new();
    for source in sources {
        let (above, rest) = match source.split_once("/./") {
            Some((above, rest)) if parents => (cleaned(above), rest),
            _ => (Vec::new(), source.as_str()),
        };
        let path = layerfs::path::join(&above, &cleaned(rest));
        if !has_wildcards(source) {
            picks.push(one(&path, &above, from, parents)?);
            continue;
        }
        let pattern = String::from_utf8_lossy(&path).into_owned();
        let mut walk = from.tree.walk_below(Tree::ROOT, b"");
        while let Some((found, _)) = walk.next() {
            let text = String::from_utf8_lossy(found);
            if docker_format::pattern::matches(&pattern, &text).unwrap_or(false) {
                picks.push(one(found, &above, from, parents)?);
            }
        }
    }
    Ok(picks)
}

/// A path from the root of the source; nothing leads above it.
fn cleaned(path: &str) -> Vec<u8> {
    let path = layerfs::path::absolute(format!("/{path}").as_bytes());
    path.strip_prefix(b"/").unwrap_or(&path).to_vec()
}

fn one(path: &[u8], above: &[u8], from: &SourceTree<'_>, parents: bool) -> Result<Pick, BuildError> {
    let not_found = || {
        let path = String::from_utf8_lossy(path);
        let path = docker_format::quoted(&format!("/{path}"));
        BuildError::Invalid(format!("failed to compute cache key: failed to calculate checksum: {path}: not found"))
    };
    let found = from.follow(path).map_err(|_| not_found())?;
    let id = from.tree.at(&found).ok_or_else(not_found)?;
    let (dir, name) = split(path);
    let kept = dir.strip_prefix(above).unwrap_or(dir);
    let kept = kept.strip_prefix(b"/").unwrap_or(kept);
    let parents = if parents { kept.to_vec() } else { Vec::new() };
    Ok(Pick { path: found, id, name: name.to_vec(), parents, above: above.to_vec() })
}
