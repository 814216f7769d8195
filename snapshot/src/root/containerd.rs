//! containerd's image store in a data-root: where it is, and whether dockerd uses this store or the storage driver's.
//!
//! ```text
//! containerd/daemon/                                   of the containerd that dockerd runs; the system's is elsewhere
//!   io.containerd.content.v1.content/blobs             manifests, configs, layers as they were pulled
//!   io.containerd.metadata.v1.bolt/meta.db             names of images, and who needs what
//!   io.containerd.snapshotter.v1.<name>/snapshots/<n>  layers, and what containers have written
//! rootfs/<name>/<container>                            where the containers that run are mounted
//! ```
//!
//! The root of a containerd that does not belong to a dockerd, usually `/var/lib/containerd`, has these three directories in itself. It
//! can be read as well, in one namespace.
//!
//! dockerd up to version 28 uses containerd's store if `features.containerd-snapshotter` is on (moby v28.5.2
//! `daemon/daemon.go: UsesSnapshotter`). From version 29 on, dockerd uses it unless the root has layers of a storage
//! driver, or the feature is off (moby b985e231 `daemon/daemon.go: determineImageStoreChoice`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::guard::has_entries;
use crate::containerd::{NAMESPACE, metadata};
use crate::dir::Dir;
use crate::error::StoreError;
use crate::schema::paths::{CONTAINERD_CONTENT, CONTAINERD_DAEMON, CONTAINERD_METADATA, SNAPSHOTTER_PREFIX};

/// The usual snapshotter.
const OVERLAYFS: &str = "overlayfs";

/// A daemon's configuration with more bytes than this is not read.
const MAX_CONFIG: u64 = 1 << 20;

/// containerd's image store in a data-root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containerd {
    /// containerd's root; `None` if it is the system's, which is elsewhere.
    pub store: Option<PathBuf>,
    /// Whether the directory that is read is containerd's root itself, and no data-root.
    pub is_root: bool,
    /// The namespace that is read.
    pub namespace: String,
    /// The snapshotter, which has the place of a storage driver.
    pub snapshotter: String,
    /// The daemon's configuration file that says whether dockerd uses this store, and whether it does.
    pub config: Option<(PathBuf, bool)>,
}

impl Containerd {
    /// Looks for containerd's store in `root`; `None` if it was never used here.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(super) fn find(root: &Dir) -> Result<Option<Self>, StoreError> {
        let Some(places) = Places::find(root)? else { return Ok(None) };
        let is_root = places.is_root;
        let config = root.real_path().ok().filter(|_| !is_root).and_then(|root| configured(&root));
        let snapshotter = places.snapshotter.unwrap_or_else(|| OVERLAYFS.to_owned());
        Ok(Some(Self { store: places.store, is_root, namespace: NAMESPACE.to_owned(), snapshotter, config }))
    }

    /// Chooses the namespace: the one that the user named, else dockerd's, or in a containerd's root without images of dockerd's the
    /// only one with images.
    ///
    /// # Errors
    /// [`StoreError::Unreadable`] if the user must choose, or has named one that is not there.
    pub(super) fn choose_namespace(&mut self, root: &Dir, wanted: Option<&str>) -> Result<(), StoreError> {
        if wanted.is_none() && !self.is_root {
            return Ok(());
        }
        let records = self.daemon(root)?.map_or(Ok(None), |daemon| daemon.sub(CONTAINERD_METADATA))?;
        let known = records.as_ref().map_or(Ok(BTreeMap::new()), metadata::namespaces)?;
        let unreadable = |reason: String| StoreError::Unreadable { root: root.path().to_path_buf(), reason };
        let list = |names: Vec<&String>| names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        if let Some(wanted) = wanted {
            if !known.contains_key(wanted) {
                let there = list(known.keys().collect());
                return Err(unreadable(format!("it has no namespace {wanted} of containerd's; it has {there}")));
            }
            wanted.clone_into(&mut self.namespace);
            return Ok(());
        }
        let full: Vec<&String> = known.iter().filter(|(_, images)| **images > 0).map(|(name, _)| name).collect();
        match full.as_slice() {
            [] => {}
            all if all.iter().any(|name| *name == NAMESPACE) => {}
            [only] => self.namespace.clone_from(only),
            _ => {
                let reason =
                    format!("it has images in several of containerd's namespaces: {}; name one of them", list(full));
                return Err(unreadable(reason));
            }
        }
        Ok(())
    }

    /// Whether containerd's store was ever used in `root`.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(super) fn is_used(root: &Dir) -> Result<bool, StoreError> {
        Ok(Places::find(root)?.is_some())
    }

    /// containerd's own root in a data-root; `None` if the system's containerd has it elsewhere.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn daemon(&self, root: &Dir) -> Result<Option<Dir>, StoreError> {
        match self.store {
            None => Ok(None),
            Some(_) if self.is_root => root.duplicate().map(Some),
            Some(_) => root.descend(&CONTAINERD_DAEMON),
        }
    }

    /// The directory of the snapshotter, with its database and snapshots, in a data-root; `None` if the system's
    /// containerd has it elsewhere.
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn snapshots(&self, root: &Dir) -> Result<Option<Dir>, StoreError> {
        let name = format!("{SNAPSHOTTER_PREFIX}{}", self.snapshotter);
        self.daemon(root)?.map_or(Ok(None), |daemon| daemon.sub(&name))
    }
}

/// Where containerd's store is in a data-root in which it was used.
struct Places {
    /// containerd's root; `None` if it is the system's, which is elsewhere.
    store: Option<PathBuf>,
    /// Whether it is the directory that was looked at.
    is_root: bool,
    /// The first snapshotter that has snapshots.
    snapshotter: Option<String>,
}

impl Places {
    fn find(root: &Dir) -> Result<Option<Self>, StoreError> {
        let is_root = root.sub(CONTAINERD_METADATA)?.is_some();
        let mut store = is_root.then(|| root.path().to_path_buf());
        let mut snapshotter = None;
        let daemon = if is_root { Some(root.duplicate()?) } else { root.descend(&CONTAINERD_DAEMON)? };
        if let Some(daemon) = daemon {
            // Images that were never unpacked. The manifests of what dockerd has pulled for a storage driver are there, too.
            if has_entries(&daemon, &[CONTAINERD_CONTENT, "blobs", "sha256"])? && has_images(&daemon)? {
                store = Some(daemon.path().to_path_buf());
            }
            let mut names = daemon.names()?;
            names.sort();
            for name in names.iter().filter_map(|name| name.strip_prefix(SNAPSHOTTER_PREFIX)) {
                if has_entries(&daemon, &[&format!("{SNAPSHOTTER_PREFIX}{name}"), "snapshots"])? {
                    store = Some(daemon.path().to_path_buf());
                    snapshotter.get_or_insert_with(|| name.to_owned());
                }
            }
        }
        if store.is_none() {
            if !has_entries(root, &["rootfs"])? {
                return Ok(None);
            }
            // Containers have run here, and all that there was may have been removed since.
            if let Some(daemon) = root.descend(&CONTAINERD_DAEMON)?
                && was_used(&daemon)?
            {
                store = Some(daemon.path().to_path_buf());
            }
        }
        Ok(Some(Self { store, is_root, snapshotter }))
    }
}

/// Whether this containerd knows an image. Where its database cannot be read, it knows none.
fn has_images(daemon: &Dir) -> Result<bool, StoreError> {
    let Some(records) = daemon.sub(CONTAINERD_METADATA)? else { return Ok(false) };
    Ok(metadata::namespaces(&records).is_ok_and(|known| known.values().any(|images| *images > 0)))
}

/// Whether dockerd has ever kept anything in the store of this containerd. One that it starts for other images than containerd's
/// knows no namespace of dockerd's.
fn was_used(daemon: &Dir) -> Result<bool, StoreError> {
    let Some(records) = daemon.sub(CONTAINERD_METADATA)? else { return Ok(false) };
    // Where the database is damaged, its damage is what there is to be said.
    Ok(metadata::namespaces(&records).map_or(true, |known| known.contains_key(NAMESPACE)))
}

#[derive(Deserialize)]
struct Config {
    #[serde(rename = "data-root")]
    data_root: Option<PathBuf>,
    #[serde(default)]
    features: Features,
}

#[derive(Deserialize, Default)]
struct Features {
    #[serde(rename = "containerd-snapshotter")]
    snapshotter: Option<bool>,
}

/// Reads from the configuration of the root's daemon whether it uses containerd's store. For a root
/// `/mnt/var/lib/docker`, that is `/mnt/etc/docker/daemon.json`; for a root at any other path, it is this system's
/// configuration if that names the root. `None` if the configuration does not say.
fn configured(root: &Path) -> Option<(PathBuf, bool)> {
    const USUAL: &str = "var/lib/docker";
    const CONFIG: &str = "etc/docker/daemon.json";
    let usual = root.ends_with(USUAL);
    let system = if usual { root.ancestors().nth(3)? } else { Path::new("/") };
    let path = system.join(CONFIG);
    if std::fs::metadata(&path).ok()?.len() > MAX_CONFIG {
        return None;
    }
    let config: Config = serde_json::from_slice(&std::fs::read(&path).ok()?).ok()?;
    let of_this = match &config.data_root {
        None => usual,
        Some(named) => root == named || system.join(named.strip_prefix("/").ok()?) == root,
    };
    Some((path, config.features.snapshotter.filter(|_| of_this)?))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_configuration_of_this_root_is_asked() {
        let system = tempfile::tempdir().unwrap();
        let (root, config) = (system.path().join("var/lib/docker"), system.path().join("etc/docker/daemon.json"));
        fs::create_dir_all(&root).unwrap();
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        assert_eq!(configured(&root), None);
        for (text, says) in [
            (r#"{"features":{"containerd-snapshotter":true}}"#, Some(true)),
            (r#"{"features":{"containerd-snapshotter":false,"buildkit":true}}"#, Some(false)),
            (r#"{"data-root":"/var/lib/docker","features":{"containerd-snapshotter":true}}"#, Some(true)),
            (r#"{"data-root":"/data","features":{"containerd-snapshotter":true}}"#, None),
            ("{}", None),
            ("not JSON", None),
        ] {
            fs::write(&config, text).unwrap();
            assert_eq!(configured(&root), says.map(|says| (config.clone(), says)), "{text}");
        }
    }
}
