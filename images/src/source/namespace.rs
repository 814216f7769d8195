//! The names of an archive, and what they lead to without ever leaving it.
//!
//! dockerd unpacks an archive to a temporary directory and opens the files of `manifest.json` with
//! `symlink.FollowSymlinkInScope` (moby `image/tarexport/load.go`, `safePath`). We follow the links in memory instead, so
//! the host's files are never in reach: a path is cleaned lexically and must then stay inside; the root of an absolute
//! symlink is the root of the archive. Where moby stops at the root on `..` inside a symlink, we refuse: no tool
//! writes such a link, and it leads nowhere useful.

use std::collections::HashMap;

/// Links followed for one name; moby's limit.
const MAX_LINKS: usize = 255;

/// Path components walked for one name, those of links included.
const MAX_STEPS: usize = 10_000;

/// The longest name or link target that Linux would unpack.
const MAX_PATH: usize = 4096;

/// The longest name of one file on Linux.
const MAX_COMPONENT: usize = 255;

/// What stands under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ArchiveEntry<T> {
    /// A regular file; `T` tells where its bytes are.
    File(T),
    /// A directory.
    Directory,
    /// A symlink and its target.
    Symlink(Vec<u8>),
    /// A hard link to an earlier name.
    HardLink(Vec<u8>),
    /// Anything else, in words.
    Other(&'static str),
}

/// A name that leads to no regular file in the archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// Nothing has this name.
    #[error("{file}: not in the archive")]
    Missing {
        /// The name.
        file: String,
    },
    /// The name, or that of a member, has more `..` than directories to leave.
    #[error("{file}: name leaves the archive")]
    Escapes {
        /// The name.
        file: String,
    },
    /// A symlink on the way has more `..` than directories to leave.
    #[error("{file}: symbolic link {link} leaves the archive")]
    LinkEscapes {
        /// The name.
        file: String,
        /// The name of the link.
        link: String,
    },
    /// Links lead to each other, or there are too many.
    #[error("{file}: symbolic links lead to each other, or there are too many")]
    Loop {
        /// The name.
        file: String,
    },
    /// Too long for any file system.
    #[error("{file}...: name or link target longer than {MAX_PATH} bytes, or a part of it longer than {MAX_COMPONENT}")]
    TooLong {
        /// Its beginning.
        file: String,
    },
    /// A NUL byte, which ends a name for every system.
    #[error("{file:?}: a name cannot have a NUL byte")]
    Nul {
        /// The name.
        file: String,
    },
    /// It is there, but it is no regular file.
    #[error("{file}: is a {kind}, not a file")]
    NotAFile {
        /// The name.
        file: String,
        /// What it is.
        kind: &'static str,
    },
}

/// The members of an archive by name. Members may be added as they arrive; of equal names the last one counts.
#[derive(Debug, Clone)]
pub(crate) struct Namespace<T> {
    /// By cleaned name: no empty component, no `.`, no `..`, no slash at either end.
    entries: HashMap<Vec<u8>, ArchiveEntry<T>>,
}

impl<T> Default for Namespace<T> {
    fn default() -> Self {
        Self { entries: HashMap::new() }
    }
}

impl<T: Clone> Namespace<T> {
    /// Adds a member under its name in the archive: `./x`, `/x` and `a//../x` are `x`.
    ///
    /// A hard link to a name that is not there yet leads nowhere, as it does when it is unpacked.
    ///
    /// # Errors
    /// [`NameError::Escapes`] or [`NameError::TooLong`]; nothing is added then.
    pub(crate) fn add(&mut self, name: &[u8], entry: ArchiveEntry<T>) -> Result<(), NameError> {
        let target = match &entry {
            ArchiveEntry::Symlink(target) | ArchiveEntry::HardLink(target) => target.len(),
            _ => 0,
        };
        if name.len().max(target) > MAX_PATH {
            return Err(NameError::TooLong { file: text(&name[..name.len().min(100)]) });
        }
        let name = clean(name).ok_or_else(|| NameError::Escapes { file: text(name) })?;
        let entry = match entry {
            ArchiveEntry::HardLink(target) => {
                let found = clean(&target).and_then(|target| self.entries.get(&target).cloned());
                found.unwrap_or(ArchiveEntry::HardLink(target))
            }
            entry => entry,
        };
        self.entries.insert(name, entry);
        Ok(())
    }
}

impl<T> Namespace<T> {
    /// The regular file that `name` leads to.
    ///
    /// # Errors
    /// A [`NameError`] that names `name`; [`NameError::Missing`] if it, or the target of a link, does not exist.
    pub(crate) fn resolve(&self, name: &str) -> Result<&T, NameError> {
        let file = || name.to_owned();
        let cleaned = clean_name(name)?;
        let mut pending = reversed(cleaned.as_bytes());
        let mut path: Vec<u8> = Vec::new();
        let (mut links, mut steps) = (0, 0);
        let mut found = None;
        // The link whose target is being walked, for the message: that of the innermost one.
        let mut last_link: Vec<u8> = Vec::new();
        while let Some(component) = pending.pop() {
            steps += 1;
            if steps > MAX_STEPS {
                return Err(NameError::Loop { file: file() });
            }
            if component == b".." {
                if path.is_empty() {
                    return Err(NameError::LinkEscapes { file: file(), link: text(&last_link) });
                }
                path.truncate(path.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                found = None;
                continue;
            }
            let parent = path.len();
            if parent > 0 {
                path.push(b'/');
            }
            path.extend_from_slice(&component);
            found = self.entries.get(&path);
            let target = match found {
                Some(ArchiveEntry::Symlink(target)) => target,
                Some(ArchiveEntry::HardLink(_)) => return Err(NameError::Missing { file: file() }),
                Some(ArchiveEntry::File(_) | ArchiveEntry::Other(_)) if !pending.is_empty() => {
                    return Err(NameError::Missing { file: file() });
                }
                _ => continue,
            };
            links += 1;
            if links > MAX_LINKS {
                return Err(NameError::Loop { file: file() });
            }
            last_link.clone_from(&path);
            path.truncate(if target.starts_with(b"/") { 0 } else { parent });
            pending.append(&mut reversed(target));
            found = None;
        }
        match found {
            Some(ArchiveEntry::File(file)) => Ok(file),
            Some(ArchiveEntry::Other(kind)) => Err(NameError::NotAFile { file: file(), kind }),
            Some(ArchiveEntry::Directory) => Err(NameError::NotAFile { file: file(), kind: "directory" }),
            // A `..` at the end of a link, or nothing at all: the root and other directories without an entry.
            _ => Err(NameError::Missing { file: file() }),
        }
    }

    /// Whether `name` leads to a regular file.
    ///
    /// # Errors
    /// [`NameError::Loop`] if that cannot be told, because links lead round in circles.
    pub(crate) fn has(&self, name: &str) -> Result<bool, NameError> {
        match self.resolve(name) {
            Err(error @ NameError::Loop { .. }) => Err(error),
            found => Ok(found.is_ok()),
        }
    }
}

/// Cleans the name of a file that a manifest names.
///
/// # Errors
/// [`NameError::Escapes`], or [`NameError::NotAFile`] for the archive itself.
pub(super) fn clean_name(name: &str) -> Result<String, NameError> {
    let cleaned = clean(name.as_bytes()).ok_or_else(|| NameError::Escapes { file: name.to_owned() })?;
    if cleaned.is_empty() {
        return Err(NameError::NotAFile { file: format!("{name:?}"), kind: "directory" });
    }
    Ok(String::from_utf8(cleaned).expect("whole components of a text are text"))
}

/// Checks a name that a manifest gives a layer's file. It may be that of nothing: the store may have the layer. But dockerd goes
/// where it leads before it asks for that, so that a name which no file can have is refused for every layer.
///
/// # Errors
/// [`NameError::Escapes`], [`NameError::Nul`], [`NameError::TooLong`]
pub(super) fn check_layer_name(name: &str) -> Result<(), NameError> {
    let file = || name.to_owned();
    if name.contains('\0') {
        return Err(NameError::Nul { file: file() });
    }
    if name.len() > MAX_PATH || name.split('/').any(|component| component.len() > MAX_COMPONENT) {
        return Err(NameError::TooLong { file: name.chars().take(100).collect() });
    }
    clean(name.as_bytes()).map(drop).ok_or_else(|| NameError::Escapes { file: file() })
}

/// Go's `filepath.Clean`, relative to the root. `None` if the name leaves it.
fn clean(name: &[u8]) -> Option<Vec<u8>> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for component in name.split(|&byte| byte == b'/') {
        match component {
            b"" | b"." => {}
            b".." => drop(kept.pop()?),
            component => kept.push(component),
        }
    }
    Some(kept.join(&b'/'))
}

/// The components of a path that mean something, last one first.
fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let components = path.split(|&byte| byte == b'/').filter(|component| !matches!(*component, b"" | b"."));
    components.rev().map(<[u8]>::to_vec).collect()
}

fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(entries: &[(&str, ArchiveEntry<u32>)]) -> Namespace<u32> {
        let mut namespace = Namespace::default();
        for (name, entry) in entries {
            namespace.add(name.as_bytes(), entry.clone()).unwrap();
        }
        namespace
    }

    fn symlink(target: &str) -> ArchiveEntry<u32> {
        ArchiveEntry::Symlink(target.into())
    }

    fn hard_link(target: &str) -> ArchiveEntry<u32> {
        ArchiveEntry::HardLink(target.into())
    }

    #[test]
    fn names_are_cleaned_and_the_last_one_counts() {
        let names = namespace(&[
            ("./", ArchiveEntry::Directory),
            ("./a//b", ArchiveEntry::File(1)),
            ("/c", ArchiveEntry::File(2)),
            ("d/../c", ArchiveEntry::File(3)),
            ("dir/", ArchiveEntry::Directory),
        ]);
        for (name, file) in [("a/b", 1), ("./a/./b", 1), ("/a/b", 1), ("x/../a/b", 1), ("c", 3)] {
            assert_eq!(names.resolve(name), Ok(&file), "{name}");
        }
        assert_eq!(names.resolve("dir").unwrap_err().to_string(), "dir: is a directory, not a file");
        for name in ["a", "b", "c/d"] {
            assert_eq!(names.resolve(name).unwrap_err().to_string(), format!("{name}: not in the archive"));
        }
        for name in ["", ".", "/", "a/.."] {
            assert!(matches!(names.resolve(name), Err(NameError::NotAFile { .. })), "{name}");
        }
        for name in ["..", "../c", "a/../../c", "/../c"] {
            assert_eq!(names.resolve(name).unwrap_err().to_string(), format!("{name}: name leaves the archive"));
            assert!(Namespace::default().add(name.as_bytes(), ArchiveEntry::File(1)).is_err());
        }
    }

    #[test]
    fn links_are_followed_inside() {
        let names = namespace(&[
            ("old/layer.tar", symlink("../new/layer.tar")),
            ("new", symlink("/real/")),
            ("real/layer.tar", ArchiveEntry::File(1)),
            ("hard", hard_link("./real/layer.tar")),
            ("real/to-link", hard_link("old/layer.tar")),
            ("early", hard_link("late")),
            ("late", ArchiveEntry::File(2)),
            ("dangling", symlink("nowhere")),
            ("implied", symlink("real/x/../layer.tar")),
            ("through-file", symlink("late/../late")),
        ]);
        for name in ["old/layer.tar", "new/layer.tar", "hard", "implied", "real/to-link"] {
            assert_eq!(names.resolve(name), Ok(&1), "{name}");
        }
        for name in ["early", "dangling", "through-file"] {
            assert_eq!(names.resolve(name).unwrap_err().to_string(), format!("{name}: not in the archive"));
        }
    }

    #[test]
    fn a_hard_link_keeps_the_file_that_it_linked() {
        let names = namespace(&[("a", ArchiveEntry::File(1)), ("b", hard_link("a")), ("a", ArchiveEntry::File(2))]);
        assert_eq!((names.resolve("a"), names.resolve("b")), (Ok(&2), Ok(&1)));
    }

    #[test]
    fn links_that_leave_or_loop_are_refused() {
        let names = namespace(&[
            ("a/layer.tar", symlink("../../../etc/shadow")),
            ("etc/shadow", ArchiveEntry::File(1)),
            ("self", symlink("self")),
            ("one", symlink("two")),
            ("two", symlink("./one")),
            ("grow", symlink("grow/grow/grow")),
            ("wide", symlink(&"etc/../".repeat(500))),
            ("wide/x", symlink("/wide/x")),
            ("pipe", ArchiveEntry::Other("named pipe")),
        ]);
        let error = names.resolve("a/layer.tar").unwrap_err();
        assert_eq!(error.to_string(), "a/layer.tar: symbolic link a/layer.tar leaves the archive");
        for name in ["self", "one", "grow", "wide/x"] {
            let result = names.resolve(name);
            assert!(matches!(result, Err(NameError::Loop { .. } | NameError::Missing { .. })), "{name}: {result:?}");
        }
        assert_eq!(names.resolve("pipe").unwrap_err().to_string(), "pipe: is a named pipe, not a file");
        let long = vec![b'x'; MAX_PATH + 1];
        assert!(matches!(Namespace::default().add(&long, ArchiveEntry::File(1)), Err(NameError::TooLong { .. })));
        assert!(Namespace::<u32>::default().add(b"x", ArchiveEntry::Symlink(long)).is_err());
    }
}
