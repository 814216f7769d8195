//! The small files of a layer: `link`, `lower`, `committed`.

use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::{CacheId, LinkId};

pub(in crate::driver) const LINKS: &str = "l";
pub(in crate::driver) const DIFF: &str = "diff";
pub(in crate::driver) const WORK: &str = "work";
pub(super) const MERGED: &str = "merged";
pub(in crate::driver) const LOWER: &str = "lower";
pub(super) const LINK: &str = "link";
pub(in crate::driver) const COMMITTED: &str = "committed";

/// The most layers below one layer that Docker allows (`overlay.go`, `maxDepth`).
pub(super) const MAX_LOWER: usize = 128;

/// Bytes of the largest `link` or `lower` that is read: more than any valid one has.
const SMALL_FILE: usize = 64 << 10;

/// What `l/<link id>` must point to.
pub(super) fn link_target(id: &CacheId) -> PathBuf {
    PathBuf::from(format!("../{id}/{DIFF}"))
}

/// Whether a link with this target leads to the content of this entry, byte for byte as dockerd writes it.
pub(super) fn leads_to(target: &Path, entry: &str) -> bool {
    let rest = target.as_os_str().as_bytes().strip_prefix(b"../").and_then(|rest| rest.strip_prefix(entry.as_bytes()));
    rest.and_then(|rest| rest.strip_prefix(b"/")) == Some(DIFF.as_bytes())
}

/// The entry of the home that a link with this target leads to, whether it exists or not.
pub(super) fn entry_of(target: &Path) -> Option<String> {
    let first = target.strip_prefix("..").ok()?.components().next()?;
    Some(first.as_os_str().to_str()?.to_owned())
}

/// The layer to whose content a link with this target leads.
pub(super) fn layer_of(target: &Path) -> Option<CacheId> {
    let id: CacheId = entry_of(target)?.parse().ok()?;
    (target == link_target(&id)).then_some(id)
}

/// Draws a link id and writes it to `link` and to `l/`.
pub(super) fn create_link(layer: &Dir, links: &Dir, id: &CacheId) -> Result<LinkId, StoreError> {
    let link = LinkId::random();
    // The file `link` is written first: it tells a removal which entry of `l/` belongs to the layer.
    layer.write_new(LINK, link.as_str().as_bytes(), 0o644)?;
    links.symlink(link.as_str(), &format!("../{id}/{DIFF}"))?;
    Ok(link)
}

/// The layer's link id.
pub(super) fn link(layer: &Dir) -> Result<LinkId, StoreError> {
    let invalid = |reason| StoreError::Invalid { path: layer.join(LINK), reason };
    let bytes = layer.read(LINK, SMALL_FILE)?.ok_or_else(|| invalid("missing".into()))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| invalid(error.to_string()))?;
    text.parse().map_err(|error: crate::ids::InvalidId| invalid(error.to_string()))
}

/// The link ids below the layer, topmost first; none for a base layer.
pub(super) fn lower(layer: &Dir) -> Result<Vec<LinkId>, StoreError> {
    let invalid = |reason| StoreError::Invalid { path: layer.join(LOWER), reason };
    let Some(bytes) = layer.read(LOWER, SMALL_FILE)? else { return Ok(Vec::new()) };
    let text = std::str::from_utf8(&bytes).map_err(|error| invalid(error.to_string()))?;
    let id = |part: &str| {
        let link = link_name(part).ok_or_else(|| invalid(format!("{part:?} is not l/<link id>")))?;
        link.parse().map_err(|error: crate::ids::InvalidId| invalid(error.to_string()))
    };
    // dockerd takes nothing away from the text, not even a newline at its end.
    text.split(':').map(id).collect()
}

/// What stands for a link id in a part of `lower`; `None` if the part has another form.
pub(super) fn link_name(part: &str) -> Option<&str> {
    part.strip_prefix("l/")
}

/// The `lower` of a layer on top of `parent`.
pub(super) fn lower_on(parent: &Dir) -> Result<String, StoreError> {
    let mut links = vec![link(parent)?];
    links.extend(lower(parent)?);
    if links.len() > MAX_LOWER {
        return Err(StoreError::Invalid { path: parent.join(LOWER), reason: "max depth exceeded".into() });
    }
    let parts: Vec<String> = links.iter().map(|link| format!("{LINKS}/{}", link.as_str())).collect();
    Ok(parts.join(":"))
}

/// Marks a layer as one that others stand on: from then on it is mounted read-only.
pub(super) fn touch_committed(parent: &Dir) -> Result<(), StoreError> {
    if parent.stat(COMMITTED)?.is_some() {
        return Ok(());
    }
    match parent.write_new(COMMITTED, b"", 0o600) {
        // Another layer was put on this one at the same time.
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::AlreadyExists => Ok(()),
        written => written.map(drop),
    }
}

/// Whether the layer has the directory `work`; a file in its place is none.
pub(super) fn has_work(layer: &Dir) -> Result<bool, StoreError> {
    let is_directory = |stat: Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(layer.stat(WORK)?.is_some_and(is_directory))
}

/// Whether others stand on the layer.
pub(super) fn is_committed(layer: &Dir) -> Result<bool, StoreError> {
    Ok(layer.stat(COMMITTED)?.is_some())
}

/// When something was last made on top of the layer, in seconds since 1970; `None` if nothing ever was.
pub(super) fn committed(layer: &Dir) -> Result<Option<i64>, StoreError> {
    Ok(layer.stat(COMMITTED)?.map(|stat| crate::dir::modified(&stat).0))
}

/// `GraphDriver.Data` as Docker shows it: paths, whether they exist or not; `LowerDir` only for a layer with layers
/// below it.
pub(super) fn metadata(home: &Dir, layer: &Dir) -> Result<Vec<(&'static str, String)>, StoreError> {
    let path = |name: &str| layer.join(name).display().to_string();
    let mut data = Vec::new();
    let mut lower_dirs = Vec::new();
    for link in lower(layer)? {
        let link_path = home.join(LINKS).join(link.as_str());
        let invalid = || StoreError::Invalid { path: link_path.clone(), reason: "missing".into() };
        let target = home.sub(LINKS)?.map_or(Ok(None), |links| links.read_link(link.as_str()))?.ok_or_else(invalid)?;
        let relative = target.strip_prefix("..").unwrap_or(&target);
        lower_dirs.push(home.path().join(relative).display().to_string());
    }
    if !lower_dirs.is_empty() {
        data.push(("LowerDir", lower_dirs.join(":")));
    }
    data.extend([("MergedDir", path(MERGED)), ("UpperDir", path(DIFF)), ("WorkDir", path(WORK))]);
    Ok(data)
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn layers_are_put_on_one_at_the_same_time() {
        let root = tempfile::tempdir().unwrap();
        let barrier = Barrier::new(4);
        for round in 0..200 {
            let path = root.path().join(round.to_string());
            std::fs::create_dir(&path).unwrap();
            let parent = &Dir::open(&path).unwrap();
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| {
                        barrier.wait();
                        touch_committed(parent).unwrap();
                    });
                }
            });
            assert!(is_committed(parent).unwrap());
        }
    }
}
