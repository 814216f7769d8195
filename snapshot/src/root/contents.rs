//! Recognises the directory that somebody wants to write images to: it is empty, a data-root, or something else.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::guard::is_remapped;
use super::refusal::Foreign;
use super::{IMAGE, id_pair};
use crate::dir::Dir;
use crate::driver::{HOME_MARKS, HOME_NAMES, OLD_REPOSITORIES};
use crate::error::StoreError;
use crate::schema::paths::{DATA_ROOT_MARKS, IMAGE_STORE_MARKS, PULLED_BLOBS, TOP_DIRECTORIES};
use crate::schema::volume::{DATA, VOLUMES};

/// What a directory is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Recognized {
    /// It holds nothing that anybody could miss. A fresh ext4 is empty, although it has `lost+found`.
    Empty,
    /// dockerd or we have made it; it may have lost parts since.
    DataRoot,
    /// Something else.
    Foreign(Foreign),
}

const DIRECTORY: FileType = FileType::Directory;

/// How deep a tree of empty directories may be to count as empty.
const MAX_DEPTH: usize = 8;

/// How many names a message shows.
const SHOWN: usize = 3;

/// Looks at what `dir` holds.
///
/// # Errors
/// [`StoreError::Io`] if that cannot be found out.
pub(super) fn recognize(dir: &Dir) -> Result<Recognized, StoreError> {
    let mut names = dir.all_names()?;
    names.sort();
    let made_by_mkfs = |name: &OsString| Ok::<_, StoreError>(name == "lost+found" && is(dir, name, DIRECTORY)?);
    let mut kept = Vec::with_capacity(names.len());
    for name in names {
        if !made_by_mkfs(&name)? {
            kept.push(name);
        }
    }
    let names: Vec<OsString> = kept;
    if names.is_empty() {
        return Ok(Recognized::Empty);
    }
    let kind = kind(&names);
    if kind.is_none() && has_marks(dir)? {
        return Ok(Recognized::DataRoot);
    }
    if names.iter().all(|name| TOP_DIRECTORIES.iter().chain(&HOME_NAMES).any(|known| name == known))
        && only_directories(dir, MAX_DEPTH)?
    {
        return Ok(Recognized::Empty);
    }
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).map(|name| name.to_string_lossy().into_owned()).collect();
    Ok(Recognized::Foreign(Foreign { kind, names: shown, more, meant: meant(dir, &names) }))
}

/// The data-root that `path` lies in, `path` itself excepted. A directory in a volume does not count: a volume belongs
/// to its user, who may run a daemon in a container and keep that daemon's data-root there.
///
/// # Errors
/// [`StoreError::Io`] if that cannot be found out.
pub(super) fn enclosing(path: &Path) -> Result<Option<PathBuf>, StoreError> {
    for above in path.ancestors().skip(1) {
        if is_data_root(above)? && !in_volume(path.strip_prefix(above).unwrap_or(path)) {
            return Ok(Some(above.to_path_buf()));
        }
    }
    Ok(None)
}

/// Whether a directory is a data-root. A directory that this user may not read counts as none: root's daemon lets no other
/// user write inside its data-root.
fn is_data_root(path: &Path) -> Result<bool, StoreError> {
    let look = || {
        let dir = Dir::open(path)?;
        // `/` of a system is no data-root, even if images were imported into it.
        Ok(kind(&dir.all_names()?).is_none() && has_marks(&dir)?)
    };
    match look() {
        Err(StoreError::Io { source, .. }) if source.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
        looked => looked,
    }
}

/// Whether a path below a data-root is `volumes/<name>/_data` or lies below that.
fn in_volume(inside: &Path) -> bool {
    let mut parts = inside.iter();
    parts.next().is_some_and(|part| part == VOLUMES) && parts.nth(1).is_some_and(|part| part == DATA)
}

/// What a directory is by the names in it; `None` unless they are known to belong to something other than a data-root.
fn kind(names: &[OsString]) -> Option<&'static str> {
    let has = |name: &str| names.iter().any(|other| other == name);
    let some = |test: &dyn Fn(&str) -> bool| names.iter().filter_map(|name| name.to_str()).any(test);
    if has("storage.lock") || has("libpod") || some(&|name| name.ends_with("-images")) {
        return Some("the storage of Podman, Buildah or CRI-O");
    }
    if some(&|name| name.starts_with("io.containerd.")) {
        return Some("the root of containerd");
    }
    if has("etc") && has("usr") {
        return Some("the root of a system");
    }
    if has("oci-layout") {
        return Some("an OCI image layout");
    }
    (has("layerdb") || has("imagedb")).then_some("a part of a data-root")
}

/// Whether `dir` has an entry that only a data-root has.
fn has_marks(dir: &Dir) -> Result<bool, StoreError> {
    for (path, kind) in DATA_ROOT_MARKS {
        if is(dir, path.iter().collect::<PathBuf>(), kind)? {
            return Ok(true);
        }
    }
    for (marks, kind) in [(&HOME_MARKS[..], DIRECTORY), (&OLD_REPOSITORIES, FileType::RegularFile)] {
        for mark in marks {
            if is(dir, mark, kind)? {
                return Ok(true);
            }
        }
    }
    if is(dir, IMAGE, DIRECTORY)? {
        for driver in Dir::open(&dir.join(IMAGE))?.all_names()? {
            for (name, kind) in IMAGE_STORE_MARKS {
                if is(dir, Path::new(IMAGE).join(&driver).join(name), kind)? {
                    return Ok(true);
                }
            }
        }
    }
    // A daemon that maps users keeps all of its things in such a directory.
    for name in dir.names()?.into_iter().filter(|name| id_pair(name).is_some()) {
        if is_remapped(dir, &name)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether `path` leads to something of this kind.
fn is(dir: &Dir, path: impl AsRef<Path>, kind: FileType) -> Result<bool, StoreError> {
    Ok(dir.kind_behind(path.as_ref())? == Some(kind))
}

/// Whether there is nothing in `dir` but directories, at most `depth` deep. What is in a `lost+found` does not count, nor do
/// blobs on their way: a pull that waits for another one brings them even if that one takes the root away again.
fn only_directories(dir: &Dir, depth: usize) -> Result<bool, StoreError> {
    for name in dir.all_names()? {
        let directory = dir.stat(&name)?.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == DIRECTORY);
        if !directory || depth == 0 {
            return Ok(false);
        }
        if let Some(sub) = dir.sub(&name)?
            && name != "lost+found"
            && name != PULLED_BLOBS[1]
            && !only_directories(&sub, depth - 1)?
        {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The data-root that the user may have meant: the one that `dir` lies in, or the only one in it. It is only shown as a
/// hint, so a failure to read counts as "none".
fn meant(dir: &Dir, names: &[OsString]) -> Option<PathBuf> {
    const MOST: usize = 1000;
    if let Some(outer) = dir.real_path().ok().and_then(|path| enclosing(&path).ok().flatten()) {
        return Some(outer);
    }
    let is_root =
        |name: &&OsString| dir.sub(name).is_ok_and(|sub| sub.is_some_and(|sub| has_marks(&sub).unwrap_or(false)));
    let mut roots = names.iter().take(MOST).filter(is_root);
    let only = roots.next()?;
    roots.next().is_none().then(|| dir.join(only))
}
