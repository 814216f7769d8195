//! Tests that need something of the machine, and what happens where it is missing.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engines::Engine;

/// Whether this tier can run. Skips with a printed reason, or fails where the tier is required.
pub fn tier(name: &str, available: bool, need: &str) -> bool {
    let required = std::env::var("LAYERFS_REQUIRE").is_ok_and(|tiers| tiers.split(',').any(|tier| tier == name));
    assert!(available || !required, "tier {name} is required: {need}");
    if !available {
        eprintln!("skipped: tier {name}: {need}");
    }
    available
}

/// Whether the tier of tests that need root can run.
pub fn is_root() -> bool {
    tier("root", rustix::process::geteuid().is_root(), "run as root")
}

/// Whether this machine has the control groups that say which devices may be used (version 1), and lets us make some.
pub fn has_device_groups() -> bool {
    let made = Path::new("/sys/fs/cgroup/devices").join(format!("layerfs-test-{}", std::process::id()));
    std::fs::create_dir(&made).and_then(|()| std::fs::remove_dir(&made)).is_ok()
}

/// The turn of one test: daemons are heavy, so that the tests of a binary run one after the other.
pub type Turn = MutexGuard<'static, ()>;

/// Waits for the turn of this test, or says why there is no dockerd to test with.
pub fn docker() -> Option<Turn> {
    static TURN: Mutex<()> = Mutex::new(());
    let found = rustix::process::geteuid().is_root() && Engine::system().installed();
    let need = "run as root, with /usr/sbin/dockerd and /usr/bin/docker (Debian: docker.io)";
    tier("docker", found, need).then(|| TURN.lock().unwrap_or_else(PoisonError::into_inner))
}
