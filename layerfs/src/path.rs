//! Where in a layer a member belongs.

use tarsplit::names::{clean, shown};

/// The longest path of a member or of a hard link's target, in bytes, cleaned and without a leading slash.
///
/// It is what dockerd 20.10 can name: there the path, with a slash in front and a NUL behind, must fit into the kernel's
/// `PATH_MAX` of 4,096 bytes. moby HEAD and this crate could reach further, component by component, but then a kilobyte of
/// gzip makes half a million directories.
pub const MAX_PATH: usize = 4096 - 2;

/// A path below a layer's root: relative, cleaned, not empty, never above the root. Bytes, not text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LayerPath(Vec<u8>);

/// A name that leads out of the layer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid entry name \"{}\": it leads out of the layer", shown(.name))]
pub struct InvalidName {
    name: Vec<u8>,
}

impl LayerPath {
    /// Reads a member's name: leading slashes are dropped, the rest is cleaned lexically. `None` is the root itself.
    ///
    /// # Errors
    /// [`InvalidName`] if `..` components lead above the root, as go-archive 0.3.3 (`archive.go: Untar`) refuses them.
    pub fn parse(name: &[u8]) -> Result<Option<Self>, InvalidName> {
        let start = name.iter().position(|&b| b != b'/').unwrap_or(name.len());
        match clean(&name[start..]) {
            root if *root == *b"." => Ok(None),
            path if *path == *b".." || path.starts_with(b"../") => Err(InvalidName { name: name.to_vec() }),
            path => Ok(Some(Self(path.into_owned()))),
        }
    }

    /// Whether the path is longer than [`MAX_PATH`].
    #[must_use]
    pub fn is_too_long(&self) -> bool {
        self.0.len() > MAX_PATH
    }

    /// The path's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The directory part, empty for the root, and the last component.
    #[must_use]
    pub fn split(&self) -> (&[u8], &[u8]) {
        split(&self.0)
    }
}

/// A path as an absolute one, cleaned by its text alone, as Go's `filepath.Clean` does it: `..` stops at the root.
#[must_use]
pub fn absolute(path: &[u8]) -> Vec<u8> {
    clean(&[b"/", path].concat()).into_owned()
}

/// The directory part of a path without a leading slash, empty for the root, and the last component.
#[must_use]
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&b| b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// `base` below `dir`, where an empty `dir` is the root, and an empty `base` is `dir` itself.
#[must_use]
pub fn join(dir: &[u8], base: &[u8]) -> Vec<u8> {
    match (dir.is_empty(), base.is_empty()) {
        (true, _) => base.to_vec(),
        (_, true) => dir.to_vec(),
        _ => [dir, b"/", base].concat(),
    }
}

/// Appends `base` to `path`, where an empty `path` is the root.
pub(crate) fn push(path: &mut Vec<u8>, base: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(base);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_stop_at_the_root() {
        for (given, expected) in [
            ("", "/"),
            (".", "/"),
            ("//", "/"),
            ("a", "/a"),
            ("/a//b/./c/", "/a/b/c"),
            ("../../a", "/a"),
            ("/a/../../b/..", "/"),
            ("a/..b", "/a/..b"),
        ] {
            assert_eq!(absolute(given.as_bytes()), expected.as_bytes(), "{given}");
        }
    }

    #[test]
    fn paths_are_split_and_joined() {
        for (path, dir, base) in [("", "", ""), ("a", "", "a"), ("a/b", "a", "b"), ("a/b/c", "a/b", "c")] {
            assert_eq!(split(path.as_bytes()), (dir.as_bytes(), base.as_bytes()));
            assert_eq!(join(dir.as_bytes(), base.as_bytes()), path.as_bytes());
        }
        assert_eq!(join(b"a/b", b""), b"a/b");
    }

    #[test]
    fn names_stay_below_the_root() {
        let parse = |name: &str| LayerPath::parse(name.as_bytes()).map(|path| path.map(|path| path.0));
        for root in ["", ".", "./", "/", "//", "a/..", "/."] {
            assert_eq!(parse(root), Ok(None), "{root}");
        }
        for (name, path) in [("a", "a"), ("//abs//f", "abs/f"), ("a/../b", "b"), ("..foo", "..foo"), ("x/./y/", "x/y")]
        {
            assert_eq!(parse(name), Ok(Some(path.into())), "{name}");
        }
        for bad in ["..", "../", "../evil", "/../evil", "x/../../evil"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
