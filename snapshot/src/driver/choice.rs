//! Which drivers there are, and which of them dockerd starts with: by what a data-root holds (moby v20.10.24
//! `daemon/graphdriver/driver.go: New, scanPriorDrivers`).

/// The driver of a data-root that has none yet, as for dockerd.
pub const DEFAULT: &str = "overlay2";

/// A driver that dockerd takes only if it is told to, whatever the data-root holds.
pub(crate) const NEVER_FOUND: &str = "vfs";

/// The drivers whose homes can be written.
pub const WRITABLE: [&str; 2] = [DEFAULT, NEVER_FOUND];

/// Drivers besides [`DEFAULT`] whose directory in the root makes dockerd use them.
pub(crate) const FOUND_BY_HOME: [&str; 6] = ["btrfs", "zfs", "fuse-overlayfs", "aufs", "overlay", "devicemapper"];

/// Directories that only a driver makes, below the root.
pub(crate) const HOME_MARKS: [&str; 7] = [
    "overlay2/l",
    "fuse-overlayfs/l",
    "vfs/dir",
    "btrfs/subvolumes",
    "zfs/graph",
    "aufs/layers",
    "devicemapper/metadata",
];

/// Files that a Docker before version 1.10 has of a driver.
pub(crate) const OLD_REPOSITORIES: [&str; 3] =
    ["repositories-aufs", "repositories-devicemapper", "repositories-overlay"];

/// What drivers call their directories in the root.
pub(crate) const HOME_NAMES: [&str; 7] =
    ["aufs", "btrfs", "devicemapper", "fuse-overlayfs", "overlay", DEFAULT, NEVER_FOUND];
