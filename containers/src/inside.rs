//! Paths in a container's root file system, which its image has chosen: nothing leads out of it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, mkdirat, openat2};
use rustix::io::Errno;

/// Opens a directory; symlinks lead to where they would lead inside.
pub(crate) fn open(root: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    open_at(root, path.as_bytes(), OFlags::DIRECTORY)
}

/// Opens whatever is at a path; symlinks lead to where they would lead inside.
pub(crate) fn open_at(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let start = path.iter().position(|&byte| byte != b'/').unwrap_or(path.len());
    let relative = if path[start..].is_empty() { b"." } else { &path[start..] };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(&root, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            // Something was renamed or mounted elsewhere while a `..` was followed: try again.
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
}

/// Makes a directory and those above it, 0755, where they do not exist.
pub(crate) fn make(root: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    let root = root.as_fd();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    let mut at = open(root, "/")?;
    for end in 1..=parts.len() {
        let whole = parts[..end].join("/");
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
        assert!(make(&root, "/out/a").is_err());
        make(&root, "/in/a/b").unwrap();
        make(&root, "/../../c").unwrap();
        assert!(temp.path().join("real/a/b").is_dir() && temp.path().join("c").is_dir());
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
