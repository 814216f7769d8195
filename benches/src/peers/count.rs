//! A sanity check of what was unpacked: as many files for one program as for another.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// A marker that overlay directories have as an attribute instead of a file.
const OPAQUE: &str = ".wh..wh..opq";

/// Counts names below a directory that are neither directories nor opaque markers. Whiteouts count: a `.wh.` file for
/// tar, a device for an overlay directory.
///
/// # Errors
///
/// If a directory cannot be read.
pub fn files(path: &Path) -> Result<u64> {
    let mut files = 0;
    let mut directories = vec![path.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).with_context(|| format!("reading {}", directory.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if entry.file_name() != OPAQUE {
                files += 1;
            }
        }
    }
    Ok(files)
}

/// Counts files in the `diff` directories two levels below: `overlay2/*/diff` of a data-root, `*/diff` of `--layers`.
///
/// # Errors
///
/// If a directory cannot be read.
pub fn files_in_layers(layers: &Path) -> Result<u64> {
    let mut all = 0;
    for entry in fs::read_dir(layers).with_context(|| format!("reading {}", layers.display()))? {
        let diff = entry?.path().join("diff");
        if diff.is_dir() {
            all += files(&diff)?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_names_but_directories_and_opaque_markers() {
        let scratch = tempfile::tempdir().expect("a scratch directory");
        let diff = scratch.path().join("layer/diff/etc");
        fs::create_dir_all(&diff).expect("directories");
        for name in ["hosts", ".wh.passwd", OPAQUE] {
            fs::write(diff.join(name), "").expect("a file");
        }
        fs::write(scratch.path().join("layers.json"), "").expect("a file");
        assert_eq!(files(&diff).expect("a count"), 2);
        assert_eq!(files_in_layers(scratch.path()).expect("a count"), 2);
    }
}
