//! `containers/`: what each container's directory says of it.
//!
//! ```text
//! containers/<id>/config.v2.json    the container, state included
//! containers/<id>/hostconfig.json   mounts, ports, limits: what it uses of the host; may be missing
//! ```
//!
//! dockerd decodes the first JSON value of each file into its structs; a container whose files it cannot decode is not
//! loaded. Follows moby v20.10.24 `container/container.go: FromDisk`, `container/state.go`.

mod fault;
mod record;
mod state;
mod volumes;

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::containerfile::{ConfigFile, HostConfig, HostConfigFile};
use super::gojson;
use crate::dir::Dir;
use crate::error::StoreError;
use crate::ids::ContainerId;
use fault::find_crash;
pub use fault::{ContainerFault, Crash, CrashCause};
pub use record::{ContainerRecord, MountPoint, Port};
pub use state::{ContainerState, ContainerStatus};
pub(crate) use volumes::used_volumes;

/// The directory of containers in a data-root.
pub(crate) const CONTAINERS: &str = "containers";
/// The file that holds a container's config and state.
pub(crate) const CONFIG: &str = "config.v2.json";
/// The file that holds a container's host config: mounts, ports, limits.
pub(crate) const HOST_CONFIG: &str = "hostconfig.json";

/// The driver that the config of a container of containerd's store names.
pub const OVERLAYFS: &str = "overlayfs";

/// Bytes of the largest file that is read. Docker has no limit of its own.
pub(crate) const MAX_FILE: usize = 16 << 20;

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
pub fn raw_config(own: &Dir) -> Result<Option<Vec<u8>>, StoreError> {
    own.read(CONFIG, MAX_FILE)
}

/// Replaces a container's config, byte for byte.
///
/// # Errors
/// [`StoreError::Io`]
pub(crate) fn write_raw_config(own: &Dir, config: &[u8], sync: bool) -> Result<(), StoreError> {
    own.replace(CONFIG, config, 0o600, sync)
}

/// Whether a container's config gives it to containerd's store. One that cannot be decoded does not.
pub(crate) fn is_of_containerd(own: &Dir) -> bool {
    ContainerFiles::read(own).is_ok_and(|files| files.config.driver == OVERLAYFS)
}

/// Whether a file of a container's directory is its log: `<id>-json.log*` of json-file, `local-logs` of local,
/// `container-cached.log*` of drivers that cannot be read back.
pub(crate) fn is_log(id: &ContainerId, name: &[u8]) -> bool {
    let json = name.strip_prefix(id.as_bytes()).is_some_and(|rest| rest.starts_with(b"-json.log"));
    json || name == b"local-logs" || name.starts_with(b"container-cached.log")
}

/// Copies the other files of a container's directory, its logs among them, into its directory in the data-root `to`.
///
/// # Errors
/// [`StoreError`]
pub fn copy_rest(own: &Dir, to: &Dir, id: &ContainerId) -> Result<(), StoreError> {
    let Some(new) = open_own(to, id)? else { return Ok(()) };
    for name in own.names()? {
        let stat = own.stat(&name)?;
        let is_file = stat.as_ref().is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
        if !is_file || name == CONFIG || name == HOST_CONFIG || new.stat(&name)?.is_some() {
            continue;
        }
        let (Some(mut file), Some(stat)) = (own.open_file(&name)?, stat) else { continue };
        let mut copy = new.write_new(&name, b"", stat.st_mode & 0o777)?;
        std::io::copy(&mut file, &mut copy).map_err(StoreError::io(new.join(&name), "copying"))?;
    }
    Ok(())
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
