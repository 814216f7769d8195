//! Trees before and after: what is at a path, with all that can be seen of it.

use std::path::Path;

use crate::cases::TreeEntry;
use crate::tree;

/// What is at a path: nothing, or a tree with all that can be seen of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeState(Option<Vec<TreeEntry>>);

impl TreeState {
    /// Reads what is at `path` now.
    pub fn read(path: &Path) -> Self {
        Self(path.symlink_metadata().is_ok().then(|| tree::walk(path)))
    }

    /// The same without the times of directories, which change when something is made in them and removed again.
    pub fn without_directory_times(mut self) -> Self {
        for entry in self.0.iter_mut().flatten().filter(|entry| entry.kind == 'd') {
            entry.mtime = None;
        }
        self
    }

    /// What is different now.
    pub fn changes(&self, now: &Self) -> Vec<String> {
        match (&self.0, &now.0) {
            (None, None) => Vec::new(),
            (None, Some(_)) => vec!["it exists now".into()],
            (Some(_), None) => vec!["it is gone".into()],
            (Some(before), Some(now)) => tree_changes(before, now),
        }
    }
}

/// A full walk without the times that are not from an archive but from after `since`.
pub fn lasting_walk(root: &Path, since: i64) -> Vec<TreeEntry> {
    let mut tree = tree::walk(root);
    for entry in &mut tree {
        entry.mtime = entry.mtime.filter(|mtime| mtime.0 < since);
    }
    tree
}

/// What two trees do not have in common.
pub fn tree_changes(before: &[TreeEntry], now: &[TreeEntry]) -> Vec<String> {
    let missing = |these: &[TreeEntry], those: &[TreeEntry], mark: &str| -> Vec<String> {
        let there: std::collections::BTreeMap<_, _> = those.iter().map(|entry| (&entry.path, entry)).collect();
        let only = these.iter().filter(|entry| there.get(&entry.path) != Some(entry));
        only.map(|entry| format!("{mark} {}", describe(entry))).collect()
    };
    let mut changes = missing(before, now, "-");
    changes.extend(missing(now, before, "+"));
    changes
}

/// An entry on one line, its content only where it is short.
fn describe(entry: &TreeEntry) -> String {
    let mut entry = entry.clone();
    entry.data = entry.data.map(|data| data.into_iter().take(40).collect());
    let (path, data) = (entry.path.escape_ascii().to_string(), entry.data.as_deref().unwrap_or_default());
    format!(
        "{} {path} {:04o} {:?} size {} links {} mtime {:?} target {:?} device {:?} xattrs {:?} data {}",
        entry.kind,
        entry.mode,
        entry.owner,
        entry.size,
        entry.links,
        entry.mtime,
        entry.target.map(|target| target.escape_ascii().to_string()),
        entry.device,
        entry.xattrs,
        data.escape_ascii(),
    )
}
