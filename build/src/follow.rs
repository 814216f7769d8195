//! Symlinks, followed as if a directory were the root of everything (moby v20.10.24 `pkg/symlink/fs.go:
//! FollowSymlinkInScope`): what does not exist has its own name, and nothing leads above the root.

/// What is at a path without links.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Nothing,
    Directory,
    Link(Vec<u8>),
    Other,
}

/// A path that cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FollowError {
    #[error("too many links in {}", .0.escape_ascii())]
    Circle(Vec<u8>),
    /// Something on the way is no directory.
    #[error("{}: not a directory", .0.escape_ascii())]
    NotADirectory(Vec<u8>),
}

/// As many links as Docker follows.
const MOST: usize = 255;

/// Where a path leads: names from the root, joined by slashes, none in front. `look` says what is at such a path.
pub(crate) fn follow(path: &[u8], mut look: impl FnMut(&[u8]) -> Seen) -> Result<Vec<u8>, FollowError> {
    let split = |path: &[u8]| path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect::<Vec<_>>();
    // Lexically first: `link/..` is where the link is.
    let mut left = split(&layerfs::path::absolute(path));
    let mut way: Vec<Vec<u8>> = Vec::new();
    let mut links = 0;
    let mut last = Seen::Directory;
    while let Some(name) = left.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                way.pop();
                last = Seen::Directory;
                continue;
            }
            _ => {}
        }
        if last == Seen::Other {
            way.push(name);
            return Err(FollowError::NotADirectory(way.join(&b'/')));
        }
        way.push(name);
        // Below what does not exist there is nothing, either.
        if last == Seen::Nothing {
            continue;
        }
        last = look(&way.join(&b'/'));
        if let Seen::Link(target) = last {
            links += 1;
            if links > MOST {
                return Err(FollowError::Circle(path.to_vec()));
            }
            way.pop();
            if target.starts_with(b"/") {
                way.clear();
            }
            left.extend(split(&target));
            last = Seen::Directory;
        }
    }
    Ok(way.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(path: &[u8]) -> Seen {
        match path {
            b"a" | b"a/b" | b"etc" => Seen::Directory,
            b"abs" => Seen::Link(b"/etc".to_vec()),
            b"a/up" => Seen::Link(b"../../../etc".to_vec()),
            b"dangling" => Seen::Link(b"no/where".to_vec()),
            b"circle" => Seen::Link(b"circle".to_vec()),
            b"etc/file" => Seen::Other,
            _ => Seen::Nothing,
        }
    }

    #[test]
    fn nothing_leads_out() {
        for (path, expected) in [
            ("/abs/x", "etc/x"),
            ("a/up/file", "etc/file"),
            ("../../etc/./file", "etc/file"),
            ("dangling/x", "no/where/x"),
            ("a/b/../new/deep", "a/new/deep"),
            ("abs/../a", "a"),
            ("/", ""),
        ] {
            let found = follow(path.as_bytes(), look).unwrap();
            assert_eq!(String::from_utf8_lossy(&found), expected, "{path}");
        }
        assert_eq!(follow(b"circle", look), Err(FollowError::Circle(b"circle".to_vec())));
        assert_eq!(follow(b"etc/file/x", look), Err(FollowError::NotADirectory(b"etc/file/x".to_vec())));
    }
}
