//! Waiting for devices that nobody has open any more.

use std::time::{Duration, Instant};

use dm::{MapperError, Problem};

/// How long a device may stay busy, or may take to go, after nobody has it open any more: udev's probes, or the
/// kernel's own work, end in that time.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait between two attempts.
pub(super) const PAUSE: Duration = Duration::from_millis(20);

/// Tries again as long as the device is busy, with [`PATIENCE`].
pub(super) fn while_busy<T>(mut attempt: impl FnMut() -> Result<T, MapperError>) -> Result<T, MapperError> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(MapperError { problem: Problem::Busy, .. }) if start.elapsed() < PATIENCE => std::thread::sleep(PAUSE),
            ended => return ended,
        }
    }
}
