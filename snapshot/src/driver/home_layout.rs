//! The form of a driver's home: where its layers' directories are, and what is where in them.

use crate::schema::devicemapper;

/// Where a driver keeps layers. It is known for some drivers that are not implemented here as well: those that keep
/// each layer in one directory or file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HomeLayout {
    /// The home below the data-root.
    pub home: &'static [&'static str],
    /// The directory of links in the home, if the driver has one.
    pub links: Option<&'static str>,
    /// Where a layer's own files are below its directory.
    pub content: &'static [&'static str],
    /// Whether these files are the layer's changes alone, with whiteouts in the form of overlayfs. If not, they are the
    /// whole tree that the layer shows, or have a form that is not known here.
    pub changes: bool,
}

const OVERLAY2: &[&str] = &["overlay2"];
const FUSE_OVERLAYFS: &[&str] = &["fuse-overlayfs"];

/// Directories below the root that only a driver makes: any of them shows a data-root.
pub(crate) const HOME_MARKS: [&str; 7] = [
    "overlay2/l",
    "fuse-overlayfs/l",
    "vfs/dir",
    "btrfs/subvolumes",
    "zfs/graph",
    "aufs/layers",
    "devicemapper/metadata",
];

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
            // aufs has a form of whiteouts of its own, so its files do not count as `changes`.
            "aufs" => Some(whole(&["aufs", "diff"])),
            // devicemapper has a file for each layer here; the layer's content is on a device.
            "devicemapper" => Some(whole(&["devicemapper", "metadata"])),
            _ => None,
        }
    }

    /// Where the home of the driver of this name is, below the data-root.
    pub(crate) fn home_path(driver: &str) -> Vec<&str> {
        Self::of_driver(driver).map_or_else(|| vec![driver], |layout| layout.home.to_vec())
    }

    /// Whether an entry of this driver's home is not a layer, but its directory of links or something that its probing
    /// left behind (moby `daemon/graphdriver/overlay2`, `pkg/fsutils`).
    pub(crate) fn is_service(driver: &str, name: &str) -> bool {
        const PROBES: [&str; 6] = [
            "backingFsBlockDev",
            "check-overlayfs-support",
            "opaque-bug-check",
            "metacopy-check",
            "fsutils-dummy",
            ".tmp-",
        ];
        const DEVICEMAPPER: [&str; 3] = [devicemapper::BASE, devicemapper::DEVICE_SET, devicemapper::TRANSACTION];
        if driver == "devicemapper" && DEVICEMAPPER.contains(&name) {
            return true;
        }
        let links = Self::of_driver(driver).and_then(|layout| layout.links);
        links == Some(name) || PROBES.iter().any(|probe| name.starts_with(probe))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::HOME_NAMES;

    /// Each driver with a known form of home has its directory of layers, or of links, among the marks, so that the
    /// guard recognises every such data-root.
    #[test]
    fn marks_are_the_homes_of_the_forms() {
        for driver in HOME_NAMES {
            let marks: Vec<&str> =
                HOME_MARKS.into_iter().filter(|mark| mark.starts_with(&format!("{driver}/"))).collect();
            let expected = HomeLayout::of_driver(driver).map(|layout| {
                // aufs keeps what its layers stand on beside their content, and makes both directories.
                let parts = if driver == "aufs" {
                    vec!["aufs", "layers"]
                } else {
                    [layout.home, layout.links.as_slice()].concat()
                };
                parts.join("/")
            });
            assert_eq!(marks, expected.as_deref().into_iter().collect::<Vec<&str>>(), "{driver}");
        }
    }
}
