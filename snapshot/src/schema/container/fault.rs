//! What keeps dockerd from loading a container, or makes it crash.

use super::CONFIG;
use crate::error::StoreError;
use crate::schema::containerfile::ConfigFile;
use crate::schema::gojson::DecodeError;

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
    /// dockerd cannot decode a file.
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

/// What in a config makes dockerd crash.
pub(super) fn find_crash(file: &ConfigFile) -> Option<Crash> {
    let cause = match () {
        () if file.state.0.is_none() => Some(CrashCause::State),
        () if file.config.is_none() => Some(CrashCause::Config),
        () if file.stream_config.0.is_none() => Some(CrashCause::StreamConfig),
        () if file.mount_points.values().any(Option::is_none) => Some(CrashCause::MountPoint),
        () => None,
    };
    cause.map(|cause| Crash { cause, on_read: false })
}
