//! `containers/`: what each container's directory says of it.
//!
//! ```text
//! containers/<id>/config.v2.json    the container, state included
//! containers/<id>/hostconfig.json   mounts, ports, limits: what it uses of the host; may be missing
//! ```
//!
//! dockerd decodes the first JSON value of each file into its structs; a container whose files it cannot decode is not
//! loaded. Follows moby v20.10.24 `container/container.go: FromDisk`, `container/state.go`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::containerfile::{ConfigFile, HostConfig, HostConfigFile};
use super::gojson::{self, DecodeError};
use super::time::Time;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::{ContainerId, ImageId};

/// The directory of containers in a data-root.
pub(crate) const CONTAINERS: &str = "containers";
/// The file that holds a container's config and state.
pub(crate) const CONFIG: &str = "config.v2.json";
/// The file that holds a container's host config: mounts, ports, limits.
pub(crate) const HOST_CONFIG: &str = "hostconfig.json";

/// The type of a mount point that shows an image (Docker 28 and later).
const IMAGE: &str = "image";

/// Bytes of the largest file that is read. Docker has no limit of its own.
const MAX_FILE: usize = 16 << 20;

/// Why dockerd would not load a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerFault {
    /// The container has no config.
    #[error("{CONFIG} is missing")]
    Missing,
    /// A file cannot be read.
    #[error("{}", crate::catalog::with_causes(.0))]
    Unreadable(StoreError),
    /// dockerd would crash over it.
    #[error("{0}")]
    Crash(Crash),
    /// A file is not what dockerd decodes.
    #[error("{file}: {error}")]
    Decode {
        /// The file's name.
        file: &'static str,
        /// What is wrong.
        error: DecodeError,
    },
}

/// Something in a container's files that makes dockerd crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crash {
    /// What it is.
    pub cause: CrashCause,
    /// Whether dockerd crashes while it reads the files: then it crashes whatever else is wrong with the container.
    /// Otherwise it crashes only after it has found the container's writable layer.
    pub on_read: bool,
}

/// A part of a container's files without which dockerd crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrashCause {
    /// `State` is `null`.
    State,
    /// `StreamConfig` is `null`.
    StreamConfig,
    /// `Config` is `null` or missing.
    Config,
    /// A mount point is `null`.
    MountPoint,
    /// `hostconfig.json` is `null`.
    HostConfig,
}

impl std::fmt::Display for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = match self.cause {
            CrashCause::State => "State is null in config.v2.json",
            CrashCause::StreamConfig => "StreamConfig is null in config.v2.json",
            CrashCause::Config => "Config is null or missing in config.v2.json",
            CrashCause::MountPoint => "a mount point is null in config.v2.json",
            CrashCause::HostConfig => "hostconfig.json is null",
        };
        write!(f, "{what}: dockerd crashes at its start")
    }
}

/// What a container's config says of it.
#[derive(Debug, Clone)]
pub struct ContainerRecord {
    /// Its id: the name of its directory.
    pub id: ContainerId,
    /// The id in its config, where that is another one. dockerd does not load such a container.
    pub other_id: Option<String>,
    /// Its name, without the slash in front.
    pub name: String,
    /// The image it was made from.
    pub image: Option<ImageId>,
    /// The same as it is written, which may be no id.
    pub image_text: String,
    /// The image as the user typed it.
    pub image_name: String,
    /// What it runs.
    pub command: Vec<String>,
    /// When it was made.
    pub created: Time,
    /// The storage driver it was made with.
    pub driver: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its state as the disk has it.
    pub state: ContainerState,
    /// Volumes and directories it has mounted.
    pub mount_points: Vec<MountPoint>,
    /// Its networks, by name.
    pub networks: Vec<String>,
    /// Its ports, as they were when it was started last.
    pub ports: Vec<Port>,
    /// The operating system it was made for.
    pub os: String,
    /// What in its files makes dockerd crash at its start, if anything does.
    pub crash: Option<Crash>,
}

/// A port of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// In the container: `80/tcp`.
    pub port: String,
    /// On the host, if it is published: `0.0.0.0:8080`.
    pub host: Option<String>,
}

/// What a container has mounted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MountPoint {
    /// `volume`, `bind`, `tmpfs` or `image`.
    pub kind: String,
    /// The volume's name; empty for others.
    pub name: String,
    /// The volume's driver; empty for others.
    pub driver: String,
    /// Where it is on the host.
    pub source: String,
    /// Where it is in the container.
    pub destination: String,
    /// For an image: the entry of `layerdb/mounts` that shows it (moby v28.5.2 `daemon/volumes_unix.go`).
    pub mount: String,
}

/// A container's state as it was written last: it is true only while the daemon lives that wrote it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerState {
    /// The process was started and has not ended.
    pub running: bool,
    /// It is frozen.
    pub paused: bool,
    /// It waits to be started again.
    pub restarting: bool,
    /// It is being removed.
    pub removing: bool,
    /// It could not be removed.
    pub dead: bool,
    /// Its process, 0 for none.
    pub pid: u32,
    /// How it ended.
    pub exit_code: i64,
    /// When it was started; Go's zero time for never.
    pub started: Time,
    /// When it ended; Go's zero time for never.
    pub finished: Time,
    /// What its health check says: `starting`, `healthy`, `unhealthy`; empty for none.
    pub health: String,
}

/// What can be said of a container without asking a daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ContainerStatus {
    /// Never started.
    Created,
    /// Its process exists.
    Running,
    /// Its process exists and is frozen.
    Paused,
    /// It waits to be started again.
    Restarting,
    /// The disk says that it runs, but its process does not exist: the daemon or the machine has stopped since.
    Interrupted,
    /// It ended.
    Exited,
    /// It is being removed.
    Removing,
    /// It could not be removed.
    Dead,
}

impl ContainerStatus {
    /// Whether docker lists it without `-a`: its process is there, or will be again.
    #[must_use]
    pub fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }
}

impl ContainerState {
    /// The state as the disk says, checked with `alive` where it says that the process runs.
    #[must_use]
    pub(crate) fn status(&self, alive: bool) -> ContainerStatus {
        if self.running {
            return match () {
                () if !alive && self.restarting => ContainerStatus::Restarting,
                () if !alive => ContainerStatus::Interrupted,
                () if self.paused => ContainerStatus::Paused,
                () if self.restarting => ContainerStatus::Restarting,
                () => ContainerStatus::Running,
            };
        }
        match () {
            () if self.removing => ContainerStatus::Removing,
            () if self.dead => ContainerStatus::Dead,
            () if self.started.is_zero() => ContainerStatus::Created,
            () => ContainerStatus::Exited,
        }
    }
}

/// Opens the directory of containers; `None` if there is none.
///
/// # Errors
/// [`StoreError::Io`]
pub(crate) fn open(root: &Dir) -> Result<Option<Dir>, StoreError> {
    root.sub(CONTAINERS)
}

/// Opens a container's own directory; `None` if there is none.
///
/// # Errors
/// [`StoreError::Io`]
pub fn open_own(root: &Dir, id: &ContainerId) -> Result<Option<Dir>, StoreError> {
    root.descend(&[CONTAINERS, id.as_str()])
}

/// The path of a container's own directory in the data-root at `root`, whether it exists or not.
#[must_use]
pub fn own_path(root: &Path, id: &ContainerId) -> PathBuf {
    root.join(CONTAINERS).join(id.as_str())
}

/// A container's config, byte for byte; `None` if it has none.
///
/// # Errors
/// [`StoreError`]
pub(crate) fn raw_config(own: &Dir) -> Result<Option<Vec<u8>>, StoreError> {
    own.read(CONFIG, MAX_FILE)
}

/// Which volumes the containers of a root use.
#[derive(Debug, Default)]
pub(crate) struct UsedVolumes {
    names: std::collections::HashSet<String>,
    /// Configs that dockerd would not decode: they may name any volume.
    unread: Vec<Vec<u8>>,
    /// Whether a config could not even be read.
    unknown: bool,
}

impl UsedVolumes {
    /// Whether a container uses the volume, or may use it.
    pub(crate) fn is_used(&self, name: &str) -> bool {
        let named = |bytes: &Vec<u8>| bytes.windows(name.len()).any(|part| part == name.as_bytes());
        self.unknown || self.names.contains(name) || self.unread.iter().any(named)
    }
}

/// Reads which volumes are used. A container without a config is none.
pub(crate) fn used_volumes(root: &Dir) -> Result<UsedVolumes, StoreError> {
    let mut used = UsedVolumes::default();
    let Some(containers) = open(root)? else { return Ok(used) };
    for id in containers.all_names()? {
        match containers.sub(&id).and_then(|own| own.map_or(Ok(None), |own| raw_config(&own))) {
            Ok(Some(bytes)) => match gojson::first_value::<ConfigFile>(&bytes) {
                Ok(config) => used.names.extend(config.mount_points.into_values().flatten().map(|point| point.name)),
                Err(_) => used.unread.push(bytes),
            },
            Ok(None) => {}
            Err(_) => used.unknown = true,
        }
    }
    Ok(used)
}

/// Whether a file of a container's directory is its log: `<id>-json.log*` of json-file, `local-logs` of local,
/// `container-cached.log*` of drivers that cannot be read back.
pub(crate) fn is_log(id: &ContainerId, name: &[u8]) -> bool {
    let json = name.strip_prefix(id.as_bytes()).is_some_and(|rest| rest.starts_with(b"-json.log"));
    json || name == b"local-logs" || name.starts_with(b"container-cached.log")
}

/// Bytes of the files that [`read`] reads.
pub(crate) fn length(own: &Dir) -> u64 {
    let of_file = |name| own.stat(name).ok().flatten().map_or(0, |stat| stat.st_size.unsigned_abs());
    of_file(CONFIG).saturating_add(of_file(HOST_CONFIG))
}

/// The fault of a container whose files are not read.
pub(crate) fn not_read(own: &Dir, reason: String) -> ContainerFault {
    ContainerFault::Unreadable(StoreError::Invalid { path: own.join(CONFIG), reason })
}

/// Reads the container `id` from its directory.
///
/// # Errors
/// [`ContainerFault`] where dockerd would not load it.
pub fn read(own: &Dir, id: &ContainerId) -> Result<ContainerRecord, ContainerFault> {
    let file = |name| own.read(name, MAX_FILE).map_err(ContainerFault::Unreadable);
    let decode = |file| move |error| ContainerFault::Decode { file, error };
    let bytes = file(CONFIG)?.ok_or(ContainerFault::Missing)?;
    let mut config: ConfigFile = gojson::first_value(&bytes).map_err(decode(CONFIG))?;
    drop(bytes);
    let other_id = config.id.0.take().filter(|found| id != found.as_str());
    let mut record = ContainerRecord { other_id, ..ContainerRecord::new(id.clone(), config) };
    if let Some(bytes) = file(HOST_CONFIG)? {
        let host: HostConfigFile = gojson::first_value(&bytes).map_err(decode(HOST_CONFIG))?;
        // If hostconfig.json exists, dockerd locks `State` and reads fields of the host config, and crashes if either is null.
        let cause = match (host.0, record.crash) {
            (_, Some(Crash { cause: CrashCause::State, .. })) => Some(CrashCause::State),
            (None, _) => Some(CrashCause::HostConfig),
            (Some(_), _) => None,
        };
        record.crash = cause.map(|cause| Crash { cause, on_read: true }).or(record.crash);
    }
    Ok(record)
}

/// Both files of a container, with all that they say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContainerFiles {
    /// `config.v2.json`
    pub config: ConfigFile,
    /// `hostconfig.json`
    pub host: HostConfig,
}

impl ContainerFiles {
    /// Reads both files of a container's directory.
    ///
    /// # Errors
    /// [`ContainerFault`] where dockerd would not load the container, or would crash over it.
    pub fn read(own: &Dir) -> Result<Self, ContainerFault> {
        let file = |name| own.read(name, MAX_FILE).map_err(ContainerFault::Unreadable);
        let decode = |file| move |error| ContainerFault::Decode { file, error };
        let bytes = file(CONFIG)?.ok_or(ContainerFault::Missing)?;
        let config: ConfigFile = gojson::first_value(&bytes).map_err(decode(CONFIG))?;
        let host: HostConfigFile = match file(HOST_CONFIG)? {
            Some(bytes) => gojson::first_value(&bytes).map_err(decode(HOST_CONFIG))?,
            None => HostConfigFile::default(),
        };
        if let Some(crash) = find_crash(&config) {
            return Err(ContainerFault::Crash(crash));
        }
        let Some(host) = host.0 else {
            return Err(ContainerFault::Crash(Crash { cause: CrashCause::HostConfig, on_read: true }));
        };
        Ok(Self { config, host })
    }

    /// Writes both files in the order in which dockerd writes them: `hostconfig.json` first, `config.v2.json` last, each
    /// in one step (moby v20.10.24 `container/container.go: toDisk`).
    ///
    /// # Errors
    /// [`StoreError::Io`]
    pub(crate) fn write(&self, own: &Dir, sync: bool) -> Result<(), StoreError> {
        own.remove_temporaries()?;
        own.replace(HOST_CONFIG, gojson::to_line(&self.host).as_bytes(), 0o644, sync)?;
        own.replace(CONFIG, gojson::to_line(&self.config).as_bytes(), 0o600, sync)
    }

    /// The state; dockerd has one for every container that it loads.
    pub fn state(&mut self) -> &mut super::containerfile::StateFile {
        self.config.state.0.get_or_insert_default()
    }
}

/// What in a config makes dockerd crash.
fn find_crash(file: &ConfigFile) -> Option<Crash> {
    let cause = match () {
        () if file.state.0.is_none() => Some(CrashCause::State),
        () if file.config.is_none() => Some(CrashCause::Config),
        () if file.stream_config.0.is_none() => Some(CrashCause::StreamConfig),
        () if file.mount_points.values().any(Option::is_none) => Some(CrashCause::MountPoint),
        () => None,
    };
    cause.map(|cause| Crash { cause, on_read: false })
}

impl ContainerRecord {
    /// The record of a container whose config cannot be read: only its id is known.
    pub(crate) fn unread(id: ContainerId) -> Self {
        Self { crash: None, ..Self::new(id, ConfigFile::default()) }
    }

    fn new(id: ContainerId, file: ConfigFile) -> Self {
        let crash = find_crash(&file);
        let config = file.config.unwrap_or_default();
        let settings = file.network_settings.unwrap_or_default();
        let points = file.mount_points.into_iter().filter_map(|(destination, point)| {
            let point = point?;
            Some(MountPoint {
                name: point.name,
                driver: point.driver,
                source: point.source,
                mount: if point.kind == IMAGE { point.id } else { String::new() },
                destination,
                kind: point.kind,
            })
        });
        let path = Some(file.path).filter(|path| !path.is_empty());
        Self {
            id,
            other_id: None,
            name: file.name.strip_prefix('/').unwrap_or(&file.name).to_owned(),
            image: file.image.parse().ok().map(ImageId),
            image_text: file.image,
            image_name: config.image,
            command: path.into_iter().chain(file.args).collect(),
            created: file.created,
            driver: file.driver,
            labels: config.labels.unwrap_or_default(),
            state: file.state.0.map(ContainerState::from).unwrap_or_default(),
            mount_points: points.collect(),
            networks: settings.networks.unwrap_or_default().into_keys().collect(),
            ports: settings
                .ports
                .unwrap_or_default()
                .into_iter()
                .flat_map(|(port, hosts)| ports(&port, hosts.unwrap_or_default()))
                .collect(),
            os: if file.os.is_empty() { "linux".into() } else { file.os },
            crash,
        }
    }
}

/// One [`Port`] for each address at which the port is published, or a single one without an address.
fn ports(port: &str, hosts: Vec<super::containerfile::PortBinding>) -> Vec<Port> {
    if hosts.is_empty() {
        return vec![Port { port: port.to_owned(), host: None }];
    }
    let host = |host: super::containerfile::PortBinding| format!("{}:{}", host.ip, host.port);
    hosts.into_iter().map(|one| Port { port: port.to_owned(), host: Some(host(one)) }).collect()
}

impl From<super::containerfile::StateFile> for ContainerState {
    fn from(file: super::containerfile::StateFile) -> Self {
        let health = file.health.unwrap_or_default().status;
        Self {
            running: file.running,
            paused: file.paused,
            restarting: file.restarting,
            removing: file.removing,
            dead: file.dead,
            pid: u32::try_from(file.pid).unwrap_or_default(),
            exit_code: file.exit_code,
            started: file.started,
            finished: file.finished,
            health: if health == "none" { String::new() } else { health },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(config: &str, host: Option<&str>) -> Result<ContainerRecord, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(CONFIG), config).unwrap();
        if let Some(host) = host {
            std::fs::write(dir.path().join(HOST_CONFIG), host).unwrap();
        }
        read(&Dir::open(dir.path()).unwrap(), &"c1".parse().unwrap()).map_err(|fault| fault.to_string())
    }

    #[test]
    fn what_dockerd_does_not_decode_is_said() {
        for (config, host, reason) in [
            ("", None, "config.v2.json: unexpected end of JSON input (byte 0)"),
            (
                r#"{"State":{"ExitCode":"3"}}"#,
                None,
                "config.v2.json: State.ExitCode must be a whole number of 64 bits, not a string (byte 24)",
            ),
            (
                r#"{"Created":"x"}"#,
                None,
                "config.v2.json: Created must be a time such as \"2006-01-02T15:04:05Z\", not \"x\" (byte 14)",
            ),
            (r#"{"Config":{}}"#, Some(""), "hostconfig.json: unexpected end of JSON input (byte 0)"),
            (
                r#"{"Config":{}}"#,
                Some(r#"{"Memory":1.5}"#),
                "hostconfig.json: Memory must be a whole number of 64 bits, not number 1.5 (byte 13)",
            ),
        ] {
            assert_eq!(record(config, host).unwrap_err(), reason);
        }
    }

    #[test]
    fn what_crashes_dockerd_is_said() {
        for (config, host, cause, on_read) in [
            (r#"{"State":null,"Config":{}}"#, None, CrashCause::State, false),
            (r#"{"State":null,"Config":{}}"#, Some("{}"), CrashCause::State, true),
            (r#"{"State":{}}"#, Some("{}"), CrashCause::Config, false),
            (r#"{"Config":null}"#, None, CrashCause::Config, false),
            (r#"{"Config":{},"StreamConfig":null}"#, None, CrashCause::StreamConfig, false),
            (r#"{"Config":{},"MountPoints":{"/x":null}}"#, None, CrashCause::MountPoint, false),
            (r#"{"Config":{}}"#, Some("null"), CrashCause::HostConfig, true),
        ] {
            assert_eq!(record(config, host).unwrap().crash, Some(Crash { cause, on_read }), "{config}");
        }
        assert_eq!(record(r#"{"Config":{}} junk"#, Some("{}")).unwrap().crash, None);
    }
}
