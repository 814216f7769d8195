//! What of a driver's home the kernel has mounted, as this process sees it.

use std::collections::BTreeMap;
use std::path::{Component, Path};
use std::sync::Arc;

use crate::dir::Dir;
use crate::error::StoreError;
use crate::root::mounts::{MountInfo, Mounts};

/// The home's directory of links, and where each of them leads.
type Links<'l> = Option<(&'l str, &'l BTreeMap<String, Option<Arc<str>>>)>;

/// Entries of `home` that are part of a mount, each with a mount point.
///
/// # Errors
/// [`StoreError`] if that cannot be found out.
pub(super) fn mounted_entries(home: &Dir, links: Links<'_>) -> Result<Vec<(String, String)>, StoreError> {
    let mounts = Mounts::read()?;
    let real = home.real_path()?;
    let mut found = Vec::new();
    for (place, mount) in mounts.below(home)? {
        found.extend(entry(&place, links).map(|name| (name, shown(mount))));
    }
    for mount in mounts.iter() {
        found.extend(shown_by(mount, &real, links).into_iter().map(|name| (name, shown(mount))));
    }
    Ok(found)
}

fn shown(mount: &MountInfo) -> String {
    mount.point.to_string_lossy().into_owned()
}

/// The entries whose directories an overlay shows.
fn shown_by(mount: &MountInfo, home: &Path, links: Links<'_>) -> Vec<String> {
    let directories = mount.overlay_directories().into_iter();
    // dockerd gives paths relative to the home if the options would be too long otherwise.
    let place = |path: &Path| match path.is_absolute() {
        true => path.strip_prefix(home).ok().map(Path::to_path_buf),
        false => Some(path.to_path_buf()),
    };
    directories.filter_map(|path| entry(&place(&path)?, links)).collect()
}

/// The entry that a path within the home leads to, through a link or by its own name.
fn entry(place: &Path, links: Links<'_>) -> Option<String> {
    let mut parts = place.components().map(|part| match part {
        Component::Normal(name) => name.to_str(),
        _ => None,
    });
    let name = parts.next()??.to_owned();
    match links {
        Some((directory, links)) if name == directory => links.get(parts.next()??)?.as_deref().map(str::to_owned),
        _ => Some(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlays_name_all_their_layers() {
        let links = BTreeMap::from([("AB".to_owned(), Some("base".into())), ("CD".to_owned(), None)]);
        let links = Some(("l", &links));
        let home = Path::new("/r t/overlay2");
        let names = |line: &str| {
            let mounts = Mounts::parse(format!("{line}\n").as_bytes()).unwrap();
            mounts.iter().flat_map(|mount| shown_by(mount, home, links)).collect::<Vec<_>>()
        };
        let line = "36 25 0:30 / /r\\040t/overlay2/top/merged rw - overlay overlay rw,lowerdir=/r\\040t/overlay2/l/AB:l/CD,\
                    upperdir=/r\\040t/overlay2/top/diff,workdir=/elsewhere/x";
        assert_eq!(names(line), ["base", "top"]);
        assert!(names("36 25 0:30 / /proc rw - proc proc rw").is_empty());
        assert_eq!(entry(Path::new("top/merged"), links).as_deref(), Some("top"));
        assert_eq!(entry(Path::new("../top"), links), None);
    }
}
