//! A path of a user in a tree, as a process in the container would find it.

use super::Tree;
use super::apply::MAX_LINKS;
use super::node::{NodeId, NodeKind};

/// A function that is told the names on the way to something, and the names still to come.
pub(super) type Visit<'v> = dyn FnMut(&[&[u8]], &[Vec<u8>]) + 'v;

/// A path that leads to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// There is nothing of this name.
    #[error("No such file or directory")]
    Missing,
    /// Something on the way is no directory.
    #[error("Not a directory")]
    NotADirectory,
    /// Symlinks lead round in circles.
    #[error("Too many levels of symbolic links")]
    Circle,
}

impl Tree {
    /// What a path without symlinks and without a slash in front means.
    #[must_use]
    pub fn at(&self, path: &[u8]) -> Option<NodeId> {
        let names = path.split(|&byte| byte == b'/').filter(|name| !name.is_empty());
        names.into_iter().try_fold(Self::ROOT, |dir, name| self.child(dir, name))
    }

    /// Finds `path`, absolute or from the root, through symlinks, never above the root. A symlink at its end is
    /// followed if `follow` is true, or if a slash comes behind it. Returns the path without links as well.
    ///
    /// # Errors
    /// [`LookupError`]
    pub fn find(&self, path: &[u8], follow: bool) -> Result<(Vec<u8>, NodeId), LookupError> {
        self.find_on_the_way(path, follow, &mut |_, _| {})
    }

    /// Like [`Self::find`]. `visit` is given each path that is looked up, and what is still to be looked up below it, the next name
    /// last.
    pub(super) fn find_on_the_way(
        &self,
        path: &[u8],
        follow: bool,
        visit: &mut Visit<'_>,
    ) -> Result<(Vec<u8>, NodeId), LookupError> {
        let split = |path: &[u8]| path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
        let mut left = split(path);
        // The way from the root: names and what they mean.
        let mut way: Vec<(Vec<u8>, NodeId)> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop() {
            let at = way.last().map_or(Self::ROOT, |(_, id)| *id);
            if self.node(at).children().is_none() {
                return Err(LookupError::NotADirectory);
            }
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    way.pop();
                    continue;
                }
                _ => {}
            }
            let names: Vec<&[u8]> = way.iter().map(|(name, _)| name.as_slice()).chain([name.as_slice()]).collect();
            visit(&names, &left);
            let id = self.child(at, &name).ok_or(LookupError::Missing)?;
            match &self.node(id).kind {
                NodeKind::Symlink { target } if follow || !left.is_empty() => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(LookupError::Circle);
                    }
                    if target.starts_with(b"/") {
                        way.clear();
                    }
                    left.extend(split(target));
                }
                _ => way.push((name, id)),
            }
        }
        let id = way.last().map_or(Self::ROOT, |(_, id)| *id);
        let names: Vec<Vec<u8>> = way.into_iter().map(|(name, _)| name).collect();
        Ok((names.join(&b'/'), id))
    }
}
