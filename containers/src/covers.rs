//! What docker mounts over a container's layers, also while it copies: volumes, files and directories of the host, and the files that a
//! start has written for `/etc` (moby v20.10.24 `daemon/volumes_unix.go: setupMounts`, `container/container_unix.go: NetworkMounts`).
//! What is in memory alone is not there.

use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, statx};
use snapshot::catalog::Container;
use snapshot::dir::Dir;
use snapshot::ids::{ContainerId, VolumeName};
use snapshot::root::DataRoot;
use snapshot::schema::container::{ContainerFiles, own_path};
use snapshot::schema::volume;

use crate::ContainerError;
use crate::create::read;
use crate::mounts::source;
use crate::namespace::own_mounts;
use crate::volume_options::{Mounted, mount_volume};

/// The files of `/etc` that a start writes into a container's own directory.
pub(crate) const NETWORK_FILES: [(&str, &str); 3] =
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")];

/// A file or directory of the host that covers what a container's layers have at a path.
#[derive(Debug)]
pub(crate) struct Cover {
    pub(crate) at: String,
    pub(crate) source: PathBuf,
    pub(crate) writable: bool,
    /// The volume that it is.
    pub(crate) volume: Option<VolumeName>,
}

/// All of them, in no order.
pub(crate) fn list(root: &Path, id: &ContainerId, files: &ContainerFiles) -> Vec<Cover> {
    let config = &files.config;
    let in_memory = |at: &str| files.host.tmpfs.as_ref().is_some_and(|all| all.contains_key(at));
    let points = config.mount_points.values().flatten();
    let mut all: Vec<Cover> = points
        .filter(|point| point.kind != "tmpfs" && !in_memory(&point.destination))
        .map(|point| Cover {
            at: point.destination.clone(),
            source: source(root, point),
            writable: point.rw,
            volume: point.name.parse().ok().filter(|_| point.kind != "bind"),
        })
        .collect();
    // One that the user has mounted is the only one there.
    let own = own_path(root, id);
    let paths = [&config.resolv_conf_path, &config.hostname_path, &config.hosts_path];
    for ((name, at), path) in NETWORK_FILES.into_iter().zip(paths) {
        let file = own.join(name);
        if !path.is_empty() && all.iter().all(|cover| cover.at != at) && file.exists() {
            all.push(Cover { at: at.into(), source: file, writable: !files.host.readonly_rootfs, volume: None });
        }
    }
    all
}

/// What covers the layers of a container for whoever copies out of it. Volumes that are mounted by their options are mounted for this
/// thread, as long as this value lives.
#[derive(Debug)]
pub struct Covers {
    all: Vec<(String, Result<PathBuf, String>)>,
    _mounted: Vec<Mounted>,
}

impl Covers {
    /// Those of a container. Unless it has a volume that is mounted by its options, nothing is mounted.
    ///
    /// # Errors
    /// [`ContainerError`] where the container's files or a volume's options cannot be read.
    pub fn find(root: &DataRoot, container: &Container) -> Result<Self, ContainerError> {
        let files = read(root.dir(), &container.id)?;
        let path = root.dir().path();
        let (mut all, mut mounted) = (Vec::new(), Vec::new());
        for cover in list(path, &container.id, &files) {
            let source = match &cover.volume {
                Some(name) => match mount(path, name, container, mounted.is_empty())? {
                    Ok(guard) => {
                        mounted.extend(guard);
                        Ok(cover.source)
                    }
                    Err(reason) => Err(reason),
                },
                None => Ok(cover.source),
            };
            all.push((cover.at, source));
        }
        Ok(Self { all, _mounted: mounted })
    }

    /// Where each is in the container, and the file or directory of the host, or why its files are not to be had.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Result<&Path, &str>)> {
        self.all.iter().map(|(at, source)| (at.as_str(), source.as_deref().map_err(String::as_str)))
    }
}

/// Mounts a volume if that is how it is used, and if nobody has done so where this process sees it. The inner error is why its files
/// are not to be had.
fn mount(
    root: &Path,
    name: &VolumeName,
    container: &Container,
    is_first: bool,
) -> Result<Result<Option<Mounted>, String>, ContainerError> {
    let Some(mounting) = volume::mounting(&Dir::open(root)?, name)? else { return Ok(Ok(None)) };
    let data = volume::content_path(root, name);
    let found = statx(CWD, &data, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS);
    if found.is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)) {
        return Ok(Ok(None));
    }
    if mounting.kind == "tmpfs" && container.status().is_up() {
        return Ok(Err(format!(
            "the volume {name} is in memory, for the running container alone: only what is run in it can read it"
        )));
    }
    if !rustix::process::geteuid().is_root() {
        return Ok(Err(format!("only root can mount the volume {name}")));
    }
    if is_first {
        own_mounts().map_err(ContainerError::io("making a mount namespace for", root))?;
    }
    Ok(mount_volume(root, name).map_err(|error| error.to_string()))
}
