//! Which drivers there are, and which of them dockerd chooses at its start by what a data-root holds (moby v20.10.24
//! `daemon/graphdriver/driver.go: New, scanPriorDrivers`).

/// The driver for a data-root that has none yet; it is dockerd's default too.
pub(crate) const DEFAULT: &str = "overlay2";

/// The driver that dockerd never chooses by what the data-root holds, but only if it is configured to.
pub(crate) const NEVER_FOUND: &str = "vfs";

/// The drivers whose homes can be written.
pub const WRITABLE: [&str; 3] = [DEFAULT, NEVER_FOUND, "devicemapper"];

/// Drivers besides [`DEFAULT`] whose directory in the root makes dockerd use them.
pub(crate) const FOUND_BY_HOME: [&str; 6] = ["btrfs", "zfs", "fuse-overlayfs", "aufs", "overlay", "devicemapper"];

/// The files in which Docker before version 1.10 kept the names of a driver's images.
pub(crate) const OLD_REPOSITORIES: [&str; 3] =
    ["repositories-aufs", "repositories-devicemapper", "repositories-overlay"];

/// The names of the drivers' homes in the root.
pub(crate) const HOME_NAMES: [&str; 7] =
    ["aufs", "btrfs", "devicemapper", "fuse-overlayfs", "overlay", DEFAULT, NEVER_FOUND];
