//! Whether a container runs: what the disk says, and what can be said of it without asking a daemon.

use crate::schema::containerfile::StateFile;
use crate::schema::time::Time;

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

impl From<StateFile> for ContainerState {
    fn from(file: StateFile) -> Self {
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
