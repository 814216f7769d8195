//! What a container has mounted: from the texts of `-v`, `--mount` and the image's volumes to the entries of `MountPoints`.
//!
//! Follows moby v20.10.24 `volume/mounts/linux_parser.go`, `daemon/volumes.go: registerMountPoints`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use snapshot::catalog::Catalog;
use snapshot::edit::NewVolume;
use snapshot::ids::{CacheId, VolumeName};
use snapshot::root::propagation_at;
use snapshot::schema::containerfile::{BindOptions, HostConfig, MountPointFile, ServiceMount, VolumeOptions};
use snapshot::schema::runconfig::RunConfig;
use snapshot::schema::volume;

use crate::ContainerError;
use crate::names;
use crate::volume_options::mounting;

/// The mount points of a new container, and the volumes that it needs and that do not exist.
#[derive(Debug, Default)]
pub(crate) struct MountPoints {
    pub(crate) points: BTreeMap<String, Option<MountPointFile>>,
    pub(crate) new: Vec<NewVolume>,
    /// Destinations of volumes that are filled from the image where they are empty.
    pub(crate) filled: Vec<(String, VolumeName)>,
}

fn invalid<T>(message: String) -> Result<T, ContainerError> {
    Err(ContainerError::Invalid(message))
}

impl MountPoints {
    /// Puts together what the config, the host config and containers named by `--volumes-from` ask for.
    pub(crate) fn collect(
        root: &Path,
        catalog: &Catalog,
        config: &RunConfig,
        host: &HostConfig,
        from: Vec<(MountPointFile, bool)>,
    ) -> Result<Self, ContainerError> {
        let mut all = Self::default();
        for (mut point, writable) in from {
            point.rw &= writable;
            all.points.insert(point.destination.clone(), Some(point));
        }
        let mut explicit: HashSet<String> = HashSet::new();
        let mut take = |all: &mut Self, point: MountPointFile| {
            if !explicit.insert(point.destination.clone()) {
                return invalid(format!("Duplicate mount point: {}", point.destination));
            }
            all.points.insert(point.destination.clone(), Some(point));
            Ok(())
        };
        let driver = Some(&host.volume_driver).filter(|driver| !driver.is_empty());
        for text in host.binds.iter().flatten() {
            let mut point = beside_the_root(parse_bind(text)?, root)?;
            if let Some(driver) = driver.filter(|_| point.kind == "volume") {
                point.driver.clone_from(driver);
            }
            if host.tmpfs.iter().flatten().any(|(at, _)| *at == point.destination) {
                return invalid(format!("Duplicate mount point: {}", point.destination));
            }
            take(&mut all, point)?;
        }
        for mount in host.mounts.iter().flatten() {
            let point = beside_the_root(of_mount(mount)?, root)?;
            take(&mut all, point)?;
        }
        for at in host.tmpfs.iter().flatten().map(|(at, _)| at) {
            checked_destination(at).map_err(ContainerError::Invalid)?;
        }
        for destination in config.volumes.iter().flatten().map(|(at, _)| clean(at)) {
            // dockerd takes one that is not absolute for one below the root.
            if let Err(why) = checked_destination(&format!("/{destination}")) {
                return invalid(format!("invalid volume specification: '{destination}': {why}"));
            }
            let tmpfs = host.tmpfs.iter().flatten().any(|(at, _)| *at == destination);
            if all.points.contains_key(&destination) || tmpfs {
                continue;
            }
            let mut point = MountPointFile { destination: destination.clone(), rw: true, ..volume_point("") };
            if let Some(driver) = driver {
                point.driver.clone_from(driver);
            }
            all.points.insert(destination, Some(point));
        }
        all.resolve(root, catalog)?;
        Ok(all)
    }

    /// Names the volumes, and refuses binds whose sources do not exist and are not to be made.
    fn resolve(&mut self, root: &Path, catalog: &Catalog) -> Result<(), ContainerError> {
        // A set, because a config may name a hundred thousand volumes.
        let mut known: HashSet<VolumeName> = catalog.volumes().iter().map(|volume| volume.name.clone()).collect();
        for point in self.points.values_mut().flatten() {
            match point.kind.as_str() {
                "bind" => {
                    let there = Path::new(&point.source).exists();
                    if !there && point.skip_mountpoint_creation {
                        let source = &point.source;
                        return invalid(format!(
                            "invalid mount config for type \"bind\": bind source path does not exist: {source}"
                        ));
                    }
                }
                "volume" => {
                    if point.name.is_empty() {
                        point.name = CacheId::random().to_string();
                    }
                    let name: VolumeName =
                        point.name.parse().map_err(|_| ContainerError::NoVolume(point.name.clone()))?;
                    if known.insert(name.clone()) {
                        self.new.push(new_volume(&name, point)?);
                    }
                    if point.id.is_empty() {
                        point.id = CacheId::random().to_string();
                    }
                    let no_copy = point.spec.volume_options.as_ref().is_some_and(|options| options.no_copy);
                    if !no_copy {
                        self.filled.push((point.destination.clone(), name.clone()));
                    }
                    debug_assert!(volume::content_path(root, &name).is_absolute() || root.is_relative());
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// A bind that shows the data-root, or is in it, must not keep mounts there that dockerd has taken away: it follows the host
/// (moby v20.10.24 `daemon/volumes_linux.go: validateBindDaemonRoot`, which compares the texts).
fn beside_the_root(mut point: MountPointFile, root: &Path) -> Result<MountPointFile, ContainerError> {
    let source = &point.spec.source;
    if point.kind != "bind" || !is_beside_root(source, root) {
        return Ok(point);
    }
    let root = root.display();
    let given = point.spec.bind_options.as_ref().map_or("", |options| options.propagation.as_str());
    match given {
        "" => point.propagation = "rslave".into(),
        "rslave" | "rshared" => {}
        given => {
            return invalid(format!(
                "invalid mount config: must use either propagation mode \"rslave\" or \"rshared\" when mount source is \
                 within the daemon root, daemon root: \"{root}\", bind mount source: \"{source}\", propagation: {given}"
            ));
        }
    }
    Ok(point)
}

fn is_beside_root(source: &str, root: &Path) -> bool {
    let root = root.to_string_lossy();
    source.starts_with(&*root) || root.starts_with(source)
}

/// A volume that does not exist yet, with the labels and options that `--mount` gives it.
fn new_volume(name: &VolumeName, point: &MountPointFile) -> Result<NewVolume, ContainerError> {
    if point.driver != "local" {
        let driver = &point.driver;
        return invalid(format!("error looking up volume plugin {driver}: plugin {driver:?} not found"));
    }
    let given = point.spec.volume_options.clone().unwrap_or_default();
    let options = given.driver_config.and_then(|driver| driver.options).unwrap_or_default();
    let mounting = mounting(&options).map_err(|why| ContainerError::Invalid(format!("create {name}: {why}")))?;
    Ok(NewVolume { name: name.clone(), labels: given.labels.unwrap_or_default(), options, mounting })
}

fn volume_point(name: &str) -> MountPointFile {
    MountPointFile { name: name.to_owned(), driver: "local".into(), kind: "volume".into(), ..MountPointFile::default() }
}

/// A path without empty components and dots.
pub(crate) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let absolute = path.starts_with('/');
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    let joined = parts.join("/");
    if absolute { format!("/{joined}") } else { joined }
}

/// Where in the container something may be mounted (`linux_parser.go: linuxValidateNotRoot, linuxValidateAbsolute`).
fn checked_destination(path: &str) -> Result<String, String> {
    let cleaned = clean(path);
    match cleaned.as_str() {
        "/" => Err("invalid specification: destination can't be '/'".into()),
        absolute if absolute.starts_with('/') => Ok(cleaned),
        _ => Err(format!("invalid mount path: '{path}' mount path must be absolute")),
    }
}

fn of_kind(kind: &str, why: &str) -> String {
    format!("invalid mount config for type \"{kind}\": {why}")
}

const PROPAGATIONS: [&str; 6] = ["private", "rprivate", "slave", "rslave", "shared", "rshared"];

/// `source:destination[:mode]`
pub(crate) fn parse_bind(text: &str) -> Result<MountPointFile, ContainerError> {
    let fail = |why: String| invalid(format!("invalid volume specification: '{text}': {why}"));
    let parts: Vec<&str> = text.split(':').collect();
    let (source, destination, mode) = match parts[..] {
        [source, destination] => (source, destination, ""),
        [source, destination, mode] => (source, destination, mode),
        _ => return invalid(format!("invalid volume specification: '{text}'")),
    };
    if source.is_empty() || destination.is_empty() {
        return invalid(format!("invalid volume specification: '{text}'"));
    }
    let is_bind = source.starts_with('/');
    let mut seen: Vec<&str> = Vec::new();
    for option in mode.split(',').filter(|_| !mode.is_empty()) {
        let class = match option {
            "ro" | "rw" => "access",
            "z" | "Z" => "label",
            "nocopy" => "copy",
            "consistent" | "cached" | "delegated" | "default" => "consistency",
            option if PROPAGATIONS.contains(&option) => "propagation",
            _ => return invalid(format!("invalid mode: {mode}")),
        };
        if seen.contains(&class) {
            return invalid(format!("invalid mode: {mode}"));
        }
        seen.push(class);
    }
    let options: Vec<&str> = mode.split(',').collect();
    let writable = !options.contains(&"ro");
    let kind = if is_bind { "bind" } else { "volume" };
    let cleaned = match checked_destination(destination) {
        Ok(cleaned) => cleaned,
        Err(why) => return fail(of_kind(kind, &why)),
    };
    let (stray, options_of) = if is_bind { ("copy", "VolumeOptions") } else { ("propagation", "BindOptions") };
    if seen.contains(&stray) {
        return fail(of_kind(kind, &format!("field {options_of} must not be specified")));
    }
    if is_bind {
        let named = options.iter().find(|option| PROPAGATIONS.contains(option));
        let given = named.map_or_else(String::new, |name| (*name).to_owned());
        let propagation = if given.is_empty() { "rprivate".to_owned() } else { given.clone() };
        let source = clean(source);
        let spec = ServiceMount {
            kind: "bind".into(),
            source: source.clone(),
            target: cleaned.clone(),
            read_only: !writable,
            bind_options: (!given.is_empty()).then_some(BindOptions { propagation: given, non_recursive: false }),
            ..ServiceMount::default()
        };
        return Ok(MountPointFile {
            source,
            destination: cleaned,
            rw: writable,
            kind: "bind".into(),
            mode: mode.to_owned(),
            propagation,
            spec,
            ..MountPointFile::default()
        });
    }
    names::check_volume(source)?;
    let no_copy = options.contains(&"nocopy");
    let spec = ServiceMount {
        kind: "volume".into(),
        source: source.to_owned(),
        target: cleaned.clone(),
        read_only: !writable,
        volume_options: no_copy.then(|| VolumeOptions { no_copy: true, ..VolumeOptions::default() }),
        ..ServiceMount::default()
    };
    let mode = if mode.is_empty() { "z".to_owned() } else { mode.to_owned() };
    Ok(MountPointFile { destination: cleaned, rw: writable, mode, spec, ..volume_point(source) })
}

/// A mount of `--mount`.
fn of_mount(mount: &ServiceMount) -> Result<MountPointFile, ContainerError> {
    let kind = mount.kind.as_str();
    let fail = |why: String| invalid(of_kind(kind, &why));
    if mount.target.is_empty() {
        return fail("field Target must not be empty".into());
    }
    let destination = checked_destination(&mount.target).map_err(|why| ContainerError::Invalid(of_kind(kind, &why)))?;
    let point = MountPointFile {
        destination,
        rw: !mount.read_only,
        kind: kind.to_owned(),
        spec: mount.clone(),
        ..MountPointFile::default()
    };
    match kind {
        "bind" => {
            if mount.source.is_empty() {
                return fail("field Source must not be empty".into());
            }
            if !mount.source.starts_with('/') {
                return fail(format!("invalid mount path: '{}' mount path must be absolute", mount.source));
            }
            let given = mount.bind_options.as_ref().map(|options| options.propagation.clone()).unwrap_or_default();
            if !given.is_empty() && !PROPAGATIONS.contains(&given.as_str()) {
                return fail(format!("invalid propagation mode: {given}"));
            }
            let propagation = if given.is_empty() { "rprivate".to_owned() } else { given };
            Ok(MountPointFile { source: clean(&mount.source), propagation, skip_mountpoint_creation: true, ..point })
        }
        "volume" => {
            if !mount.source.is_empty() {
                names::check_volume(&mount.source)?;
            }
            let driver = mount.volume_options.as_ref().and_then(|options| options.driver_config.as_ref());
            let driver = driver.map(|config| config.name.clone()).filter(|name| !name.is_empty());
            let mode = if mount.source.is_empty() { String::new() } else { "z".to_owned() };
            Ok(MountPointFile {
                name: mount.source.clone(),
                driver: driver.unwrap_or_else(|| "local".into()),
                mode,
                ..point
            })
        }
        "tmpfs" if !mount.source.is_empty() => fail("field Source must not be specified".into()),
        "tmpfs" => Ok(point),
        _ => fail("mount type unknown".into()),
    }
}

/// Where a mount point's content is on the host.
pub(crate) fn source(root: &Path, point: &MountPointFile) -> PathBuf {
    match point.name.parse::<VolumeName>() {
        Ok(name) if point.kind != "bind" => volume::content_path(root, &name),
        _ => PathBuf::from(&point.source),
    }
}

/// A bind can only follow the host's mounts where the host passes them on (moby v20.10.24 `daemon/oci_linux.go: ensureShared,
/// ensureSharedOrSlave`). To be asked before this process has mounts of its own.
pub(crate) fn check_propagation<'p>(
    root: &Path,
    points: impl Iterator<Item = &'p MountPointFile>,
) -> Result<(), ContainerError> {
    for point in points.filter(|point| point.kind == "bind") {
        // Nobody has asked for it: then it follows the host if it can.
        if point.spec.bind_options.is_none() && is_beside_root(&point.spec.source, root) {
            continue;
        }
        let wanted = match point.propagation.as_str() {
            "shared" | "rshared" => "shared",
            "slave" | "rslave" => "shared or slave",
            _ => continue,
        };
        // A source that is not there is another error.
        let Some(held) = propagation_at(Path::new(&point.source))? else { continue };
        if !(held.shared || held.slave && wanted != "shared") {
            let (source, at) = (&point.source, held.point.display());
            return invalid(format!("path {source} is mounted on {at} but it is not a {wanted} mount"));
        }
    }
    Ok(())
}
