//! Which files the sources of a `COPY` mean (moby/buildkit `frontend/dockerfile/dockerfile2llb/convert.go: dispatchCopy`,
//! `solver/llbsolver/file/backend.go: docopy`).

use images::tree::{NodeId, Tree};
use layerfs::path::split;

use crate::BuildError;
use crate::copy::has_wildcards;
use crate::ignore::{IgnoreError, Patterns};
use crate::source::SourceTree;

/// One source, found.
#[derive(Debug, Clone)]
pub(super) struct Pick {
    /// Where it is, links followed.
    pub(super) path: Vec<u8>,
    pub(super) id: NodeId,
    /// What its copy in a directory is called.
    pub(super) name: Vec<u8>,
    /// What in it is copied, with the directories above that: those of `--parents`. `None`: all of it.
    pub(super) included: Option<Included>,
}

/// What is copied with the directories above it.
#[derive(Debug, Clone)]
pub(super) struct Included {
    /// As it was written.
    pub(super) text: String,
    /// Matches what is copied. What is in a directory that it matches is copied with it.
    pub(super) pattern: Patterns,
}

impl Pick {
    /// Whether something below it, by its path from there, is copied.
    pub(super) fn takes(&self, below: &[u8], excluded: &Patterns) -> bool {
        self.included.as_ref().is_none_or(|included| included.pattern.exclude(below)) && !excluded.exclude(below)
    }
}

/// Finds what the sources mean. A glob may match nothing.
pub(super) fn pick(sources: &[String], from: &SourceTree<'_>, parents: bool) -> Result<Vec<Pick>, BuildError> {
    let mut picks = Vec::new();
    for source in sources {
        let (place, included) = if parents { with_parents(source)? } else { (cleaned(source), None) };
        if let Some(included) = &included
            && !has_wildcards(source)
        {
            // It must be there.
            one(&layerfs::path::join(&place, &cleaned(&included.text)), from, None)?;
        }
        let text = String::from_utf8_lossy(&place).into_owned();
        if !has_wildcards(&text) {
            picks.push(one(&place, from, included)?);
            continue;
        }
        let mut walk = from.tree.walk_below(Tree::ROOT, b"");
        while let Some((found, _)) = walk.next() {
            if docker_format::pattern::matches(&text, &String::from_utf8_lossy(found)).unwrap_or(false) {
                picks.push(one(found, from, included.clone())?);
            }
        }
    }
    Ok(picks)
}

/// A source of `--parents`: the directory that its copies are named from, which `/./` ends, and what in it is copied.
fn with_parents(source: &str) -> Result<(Vec<u8>, Option<Included>), BuildError> {
    let (above, rest) = source.split_once("/./").unwrap_or(("", source));
    let text = String::from_utf8_lossy(&cleaned(rest)).into_owned();
    if text.is_empty() {
        return Ok((cleaned(above), None));
    }
    let pattern = Patterns::of_flags(std::slice::from_ref(&text));
    let pattern = pattern.map_err(|error: IgnoreError| BuildError::Invalid(error.to_string()))?;
    Ok((cleaned(above), Some(Included { text, pattern })))
}

/// A path from the root of the source; nothing leads above it.
fn cleaned(path: &str) -> Vec<u8> {
    let path = layerfs::path::absolute(format!("/{path}").as_bytes());
    path.strip_prefix(b"/").unwrap_or(&path).to_vec()
}

fn one(path: &[u8], from: &SourceTree<'_>, included: Option<Included>) -> Result<Pick, BuildError> {
    let not_found = || {
        let path = String::from_utf8_lossy(path);
        let path = docker_format::quoted(&format!("/{path}"));
        BuildError::Invalid(format!("failed to compute cache key: failed to calculate checksum: {path}: not found"))
    };
    let found = from.follow(path).map_err(|_| not_found())?;
    let id = from.tree.at(&found).ok_or_else(not_found)?;
    Ok(Pick { path: found, id, name: split(path).1.to_vec(), included })
}
