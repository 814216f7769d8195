//! Lexical cleaning of member names (Go's `path.Clean`), and the set by which repeats are found.

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

/// `name` with `.`, empty and resolvable `..` components removed; `.` if nothing is left. A leading `/` stays.
///
/// This is the key under which tar-split looks for duplicates (vbatts/tar-split `tar/storage/packer.go`).
#[must_use]
pub fn clean(name: &[u8]) -> Cow<'_, [u8]> {
    // A directory's trailing slash is no part of the clean name.
    let name = if name.len() > 1 { name.strip_suffix(b"/").unwrap_or(name) } else { name };
    if is_clean(name) { Cow::Borrowed(name) } else { Cow::Owned(clean_components(name)) }
}

/// Whether `name` has neither empty components nor `.` or `..`.
#[must_use]
pub fn is_clean(name: &[u8]) -> bool {
    name.split(|&b| b == b'/').all(|part| !matches!(part, b"" | b"." | b".."))
}

/// The most of a name that is shown, and how much of it is its end.
const SHOWN: usize = 400;
const TAIL: usize = 120;

/// A name as messages show it: escaped, and of a very long one its beginning and its end. A name may have a megabyte.
#[must_use]
pub fn shown(name: &[u8]) -> String {
    if name.len() <= SHOWN {
        return name.escape_ascii().to_string();
    }
    let (head, tail) = (&name[..SHOWN - TAIL], &name[name.len() - TAIL..]);
    format!("{}...{} ({} bytes)", head.escape_ascii(), tail.escape_ascii(), name.len())
}

fn clean_components(name: &[u8]) -> Vec<u8> {
    let rooted = name.first() == Some(&b'/');
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in name.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match parts.last() {
                Some(&last) if last != b".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(part),
            },
            _ => parts.push(part),
        }
    }
    let joined = parts.join(&b'/');
    match (rooted, joined.is_empty()) {
        (true, _) => [b"/", joined.as_slice()].concat(),
        (false, true) => b".".to_vec(),
        (false, false) => joined,
    }
}

/// The names seen in one stream, as keyed 64-bit hashes: 16 bytes a name, whatever its length.
///
/// Two names may share a hash by chance, never by design, for the key is random. Callers must be safe with a name
/// that is wrongly reported as seen.
#[derive(Debug, Default)]
pub struct SeenNames {
    hashes: HashSet<u64, BuildHasherDefault<Hashed>>,
    key: RandomState,
}

/// A hasher for values that are hashes already: it passes them on.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("a u64 is hashed as one");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl SeenNames {
    /// Adds a cleaned name. Returns whether it was new.
    pub fn insert(&mut self, cleaned: &[u8]) -> bool {
        self.hashes.insert(self.key.hash_one(cleaned))
    }

    /// Whether a cleaned name was added.
    #[must_use]
    pub fn contains(&self, cleaned: &[u8]) -> bool {
        !self.hashes.is_empty() && self.hashes.contains(&self.key.hash_one(cleaned))
    }

    /// Forgets a cleaned name. Returns whether it was there.
    pub fn remove(&mut self, cleaned: &[u8]) -> bool {
        self.hashes.remove(&self.key.hash_one(cleaned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_as_go_cleans_paths() {
        let cases = [
            ("", "."),
            (".", "."),
            ("./", "."),
            ("a", "a"),
            ("a/", "a"),
            ("./a//b/.", "a/b"),
            ("a/../b", "b"),
            ("a/..", "."),
            ("../a", "../a"),
            ("a/../../b", "../b"),
            ("../../a", "../../a"),
            ("/", "/"),
            ("/a/", "/a"),
            ("/../a", "/a"),
            ("//a", "/a"),
            ("..foo", "..foo"),
            ("//", "/"),
            ("a//", "a"),
            ("../", ".."),
            ("a/./", "a"),
        ];
        for (name, expected) in cases {
            assert_eq!(clean(name.as_bytes()).as_ref(), expected.as_bytes(), "{name}");
        }
    }

    #[test]
    fn a_name_is_shown_with_both_ends_however_long_it_is() {
        assert_eq!(shown(b"etc/a\nb\xff"), "etc/a\\nb\\xff");
        let long = [b"begin".as_slice(), &[b'x'; 1 << 20], b"end"].concat();
        let text = shown(&long);
        assert!(text.starts_with("beginxxx") && text.ends_with("xxxend (1048584 bytes)"), "{text}");
        assert!(text.len() < SHOWN + 30, "{}", text.len());
        assert_eq!(shown(&[b'x'; SHOWN]).len(), SHOWN);
    }
}
