//! Finds the data-root in a directory, and its driver, for reading.

use rustix::io::Errno;

use super::contents::enclosing;
use super::guard::{self, has_entries};
use super::{Containerd, IMAGE};
use crate::dir::Dir;
use crate::driver::{DEFAULT, WRITABLE};
use crate::error::StoreError;
use crate::schema::container::CONTAINERS;
use crate::schema::paths::{CONFIGS, LAYER_RECORDS, of_driver};
use crate::schema::volume::VOLUMES;

/// The directory and the driver to read.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) dir: Dir,
    pub(super) driver: String,
    pub(super) containerd: Option<Containerd>,
}

/// Finds the directory and the driver to read. `wanted` is the driver that the user named, if any; a snapshotter may be named with
/// a namespace of containerd's, as `moby/overlayfs`.
pub(super) fn locate(root: Dir, wanted: Option<&str>) -> Result<Located, StoreError> {
    let root = mapped(root)?;
    let unreadable = |reason: String| StoreError::Unreadable { root: root.path().to_path_buf(), reason };
    let drivers = drivers(&root)?;
    if drivers.is_empty()
        && root.sub(IMAGE)?.is_none()
        && let Some(name) = guard::old_name(&root)?
    {
        return Err(unreadable(format!(
            "it has the images of a Docker before version 1.10 ({name}), which no Docker of today reads; Docker 1.10 converted such a root \
             when it started on it"
        )));
    }
    let mut containerd = Containerd::find(&root)?;
    let (namespace, wanted) = match wanted.and_then(|wanted| wanted.split_once('/')) {
        Some((namespace, snapshotter)) => (Some(namespace), Some(snapshotter)),
        None => (None, wanted),
    };
    match &mut containerd {
        Some(containerd) => containerd.choose_namespace(&root, namespace)?,
        None if namespace.is_some() => {
            return Err(unreadable("it has no store of containerd's, and so no namespaces".into()));
        }
        None => {}
    }
    if let Some(wanted) = wanted {
        let known = drivers.iter().any(|driver| driver == wanted) || root.descend(&[IMAGE, wanted])?.is_some();
        let snapshotter = containerd.as_ref().is_some_and(|containerd| containerd.snapshotter == wanted);
        if !known && !snapshotter && !has_entries(&root, &[wanted])? {
            return Err(unreadable(format!("it holds nothing of the storage driver {wanted}{}", instead(&drivers))));
        }
        return Ok(Located { driver: wanted.to_owned(), dir: root, containerd });
    }
    // Where dockerd is told to use containerd's store, that is what it shows.
    if let Some(used) = &containerd
        && used.store.is_some()
        && used.config.as_ref().is_some_and(|(_, uses)| *uses)
    {
        return Ok(Located { driver: used.snapshotter.clone(), dir: root, containerd });
    }
    let driver = match drivers.as_slice() {
        [driver] => driver.clone(),
        [] => match &containerd {
            Some(containerd) => containerd.snapshotter.clone(),
            None => {
                // `image` has directories named after drivers, as an empty data-root has.
                if let Some(above) = enclosing(root.path())?.filter(|above| root.path().parent() == Some(above)) {
                    return Err(unreadable(format!(
                        "it is a part of the data-root {}, and none itself",
                        above.display()
                    )));
                }
                let reason = "it does not look like a Docker data-root";
                empty(&root)?.ok_or_else(|| StoreError::NoRoot { path: root.path().to_path_buf(), reason })?
            }
        },
        several => {
            return Err(StoreError::SeveralDrivers { root: root.path().to_path_buf(), drivers: several.to_vec() });
        }
    };
    Ok(Located { dir: root, driver, containerd })
}

/// Turns the error of opening the root into the reason why there is no directory to read.
pub(super) fn missing(error: StoreError) -> StoreError {
    let StoreError::Io { path, source, .. } = &error else { return error };
    let reason = match Errno::from_io_error(source) {
        Some(Errno::NOENT) if path.is_symlink() => "it is a symlink to something that does not exist",
        Some(Errno::NOENT) => "there is no such directory",
        Some(Errno::NOTDIR) => "it is not a directory",
        Some(Errno::LOOP) => "it is a symlink that leads back to itself",
        _ => return error,
    };
    StoreError::NoRoot { path: path.clone(), reason }
}

fn instead(drivers: &[String]) -> String {
    if drivers.is_empty() { String::new() } else { format!("; it has {}", drivers.join(", ")) }
}

/// Enters the directory for a mapping of users, if the images are there.
fn mapped(root: Dir) -> Result<Dir, StoreError> {
    if root.sub(IMAGE)?.is_some() {
        return Ok(root);
    }
    let mut pairs = Vec::new();
    for name in root.names()? {
        if guard::is_remapped(&root, &name)? {
            pairs.push(name);
        }
    }
    pairs.sort();
    match pairs.as_slice() {
        [] => Ok(root),
        [only] => Ok(root.sub(only)?.unwrap_or(root)),
        several => {
            let list = several.join(", ");
            let reason = format!("it holds a root for each of several mappings of users: {list}; name one of them");
            Err(StoreError::Unreadable { root: root.path().to_path_buf(), reason })
        }
    }
}

/// The drivers that have images or layers in `root`, sorted. If none has any, and `image` has the directory of only one
/// driver, that driver.
pub(super) fn drivers(root: &Dir) -> Result<Vec<String>, StoreError> {
    let Some(image) = root.sub(IMAGE)? else { return Ok(Vec::new()) };
    let mut names: Vec<String> = image.names()?;
    names.retain(|name| image.sub(name).is_ok_and(|dir| dir.is_some()));
    names.sort();
    let mut full = Vec::new();
    for name in &names {
        let images = has_entries(root, &of_driver(name, &CONFIGS))?;
        if images || has_entries(root, &of_driver(name, &LAYER_RECORDS))? {
            full.push(name.clone());
        }
    }
    Ok(if full.is_empty() && names.len() == 1 { names } else { full })
}

/// The driver to write for if the user names none: the default, unless it has neither layers nor images here and another
/// driver that can be written has images.
pub(super) fn writable(root: &Dir) -> Result<&'static str, StoreError> {
    if has_entries(root, &[DEFAULT])? || has_entries(root, &of_driver(DEFAULT, &CONFIGS))? {
        return Ok(DEFAULT);
    }
    for name in WRITABLE {
        if has_entries(root, &of_driver(name, &CONFIGS))? {
            return Ok(name);
        }
    }
    Ok(DEFAULT)
}

/// The driver of a data-root that has no images yet; `None` if the directory is no data-root.
fn empty(root: &Dir) -> Result<Option<String>, StoreError> {
    let names = root.names()?;
    let known = |name: &str| names.iter().any(|other| other == name);
    let image = root.descend(&[IMAGE, DEFAULT])?.is_some() || known(DEFAULT);
    let plausible = image || known(CONTAINERS) && known(VOLUMES) || names.is_empty();
    Ok(plausible.then(|| DEFAULT.to_owned()))
}
