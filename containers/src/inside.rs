//! Paths in a container's root file system, which its image has chosen: nothing leads out of it.

use std::os::fd::{AsFd, OwnedFd};

use layerfs::open_in_root;
use rustix::fs::{Mode, OFlags, mkdirat};
use rustix::io::Errno;

/// Opens a directory; symlinks lead to where they would lead inside.
pub(crate) fn open(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    open_at(root, path, OFlags::DIRECTORY)
}

/// Opens whatever is at a path; symlinks lead to where they would lead inside.
pub(crate) fn open_at(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    let relative = if path[start..].is_empty() { b"." } else { &path[start..] };
    open_in_root(root, relative, flags | OFlags::CLOEXEC)
}

/// Makes a directory and those above it, 0755, where they do not exist.
pub(crate) fn make(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let root = root.as_fd();
    let parts: Vec<&[u8]> = path.split(|&byte| byte == b'/').filter(|part| !matches!(*part, b"" | b".")).collect();
    let mut at = open(root, b"/")?;
    for end in 1..=parts.len() {
        let whole = parts[..end].join(&b'/');
        at = match open(root, &whole) {
            Err(Errno::NOENT) => {
                mkdirat(&at, parts[end - 1], Mode::from_raw_mode(0o755))?;
                open(root, &whole)?
            }
            opened => opened?,
        };
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_nowhere_else() {
        let (temp, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(outside.path(), temp.path().join("out")).unwrap();
        std::os::unix::fs::symlink("real", temp.path().join("in")).unwrap();
        std::fs::create_dir(temp.path().join("real")).unwrap();
        let root = std::fs::File::open(temp.path()).unwrap();
        assert!(make(&root, b"/out/a").is_err());
        make(&root, b"/in/a/b").unwrap();
        make(&root, b"/../../c").unwrap();
        assert!(temp.path().join("real/a/b").is_dir() && temp.path().join("c").is_dir());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
