//! The names in a data-root, and what has come and gone.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Every name below Docker's image store and below the layers' home, contents of the layers included, as far as a path
/// can name them.
pub fn listing(root: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut left = vec![root.join("image"), root.join("overlay2")];
    while let Some(dir) = left.pop() {
        let entries = match std::fs::read_dir(&dir) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::NAMETOOLONG.raw_os_error()) => continue,
            entries => entries.unwrap(),
        };
        for entry in entries {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
            found.insert(entry.path().strip_prefix(root).unwrap().to_owned());
        }
    }
    found
}

/// What two sets of names do not have in common.
pub fn changes(before: &BTreeSet<PathBuf>, after: &BTreeSet<PathBuf>) -> Vec<String> {
    let gone = before.difference(after).map(|path| format!("gone: {}", path.display()));
    gone.chain(after.difference(before).map(|path| format!("new: {}", path.display()))).collect()
}
