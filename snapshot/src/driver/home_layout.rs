//! The form of a driver's home: where its layers' directories are, and what is where in them.

/// Where a driver keeps layers. Known also for drivers that are not implemented here, as far as one directory is one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeLayout {
    /// The home below the data-root.
    pub home: &'static [&'static str],
    /// The directory of links in the home, if there are such.
    pub links: Option<&'static str>,
    /// Where a layer's own files are below its directory.
    pub content: &'static [&'static str],
    /// Whether these files are the layer's changes alone, with whiteouts as overlayfs has them. Otherwise what they are is
    /// not known here, or they are the whole tree that the layer shows.
    pub changes: bool,
}

const OVERLAY2: &[&str] = &["overlay2"];
const FUSE_OVERLAYFS: &[&str] = &["fuse-overlayfs"];

impl HomeLayout {
    /// The form of the home of the driver of this name; `None` for a driver whose home is just named after it.
    #[must_use]
    pub fn of_driver(driver: &str) -> Option<Self> {
        let overlay =
            |home| Self { home, links: Some(super::overlay2::LINKS), content: &[super::overlay2::DIFF], changes: true };
        let whole = |home| Self { home, links: None, content: &[], changes: false };
        match driver {
            "overlay2" => Some(overlay(OVERLAY2)),
            "fuse-overlayfs" => Some(overlay(FUSE_OVERLAYFS)),
            "vfs" => Some(whole(&["vfs", "dir"])),
            "btrfs" => Some(whole(&["btrfs", "subvolumes"])),
            "zfs" => Some(whole(&["zfs", "graph"])),
            // With whiteouts of its own.
            "aufs" => Some(whole(&["aufs", "diff"])),
            // A file for each layer; its content is on a device.
            "devicemapper" => Some(whole(&["devicemapper", "metadata"])),
            _ => None,
        }
    }

    /// Where the home of the driver of this name is, below the data-root.
    pub(crate) fn home_path(driver: &str) -> Vec<&str> {
        Self::of_driver(driver).map_or_else(|| vec![driver], |layout| layout.home.to_vec())
    }

    /// Whether a directory of the home is a service of this driver and no layer: left by its probing, or its links (moby
    /// `daemon/graphdriver/overlay2`, `pkg/fsutils`).
    pub(crate) fn is_service(driver: &str, name: &str) -> bool {
        const PROBES: [&str; 6] = [
            "backingFsBlockDev",
            "check-overlayfs-support",
            "opaque-bug-check",
            "metacopy-check",
            "fsutils-dummy",
            ".tmp-",
        ];
        const DEVICEMAPPER: [&str; 3] = ["base", "deviceset-metadata", "transaction-metadata"];
        if driver == "devicemapper" && DEVICEMAPPER.contains(&name) {
            return true;
        }
        let links = Self::of_driver(driver).and_then(|layout| layout.links);
        links == Some(name) || PROBES.iter().any(|probe| name.starts_with(probe))
    }
}
