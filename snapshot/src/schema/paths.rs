//! Where things are in a data-root: the paths that more than one module has to know, spelled once.
//!
//! A driver's home is spelled by the driver ([`crate::driver::HomeLayout`]).

use rustix::fs::FileType;

use super::buildkit::{BUILDKIT, CACHE_DATABASE, CONTENT_DATABASE, METADATA_DATABASE, SNAPSHOTS_DATABASE};
use super::container::CONTAINERS;
use super::references;
use super::volume::{DATABASE, VOLUMES};

/// The directory of the records of images and layers. It has one directory for each driver.
pub(crate) const IMAGE: &str = "image";

const LAYERDB: &str = "layerdb";
const IMAGEDB: &str = "imagedb";

/// The directory of layer records. This path and the four that follow are below `image/<driver>`.
pub(crate) const LAYER_RECORDS: [&str; 2] = [LAYERDB, "sha256"];
/// The directory of layers that are being registered, and of records of intent.
pub(crate) const WRITE_SETS: [&str; 2] = [LAYERDB, "tmp"];
/// Layers that containers and builds write to.
pub(crate) const MOUNTS: [&str; 2] = [LAYERDB, "mounts"];
/// Configs of images.
pub(crate) const CONFIGS: [&str; 3] = [IMAGEDB, "content", "sha256"];
/// What Docker adds to images.
pub(crate) const METADATA: [&str; 3] = [IMAGEDB, "metadata", "sha256"];

/// The directory of dockerd's containerd.
pub(crate) const CONTAINERD: &str = "containerd";
/// containerd's own root in a data-root.
pub(crate) const CONTAINERD_DAEMON: [&str; 2] = [CONTAINERD, "daemon"];
/// The directory of the blobs, `blobs/sha256/<hex>`. This directory and the two that follow are in containerd's root.
pub(crate) const CONTAINERD_CONTENT: &str = "io.containerd.content.v1.content";
/// The directory of the database of records.
pub(crate) const CONTAINERD_METADATA: &str = "io.containerd.metadata.v1.bolt";
/// The prefix of the directories of snapshotters.
pub(crate) const SNAPSHOTTER_PREFIX: &str = "io.containerd.snapshotter.v1.";
/// The directory of the usual snapshotter.
pub(crate) const OVERLAYFS_SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.overlayfs";

/// The suffix of the name of a layer's record once the layer's removal was begun.
pub(crate) const REMOVING: &str = "-removing";
/// The prefix of the names of files that are about to replace another file.
pub(crate) const TEMPORARY: &str = ".tmp-";

/// Entries that tell `image/<driver>` from any other directory.
pub(crate) const IMAGE_STORE_MARKS: [(&str, FileType); 3] =
    [(LAYERDB, FileType::Directory), (IMAGEDB, FileType::Directory), (references::FILE, FileType::RegularFile)];

/// Entries that only a data-root has; those in drivers' homes are [elsewhere](crate::driver). dockerd makes the first
/// two at each start; the others still tell a root from which somebody has removed parts, or one of a version that
/// never made the first two.
pub(crate) const DATA_ROOT_MARKS: [(&[&str], FileType); 10] = [
    (&[VOLUMES, DATABASE], FileType::RegularFile),
    (&["network", "files", "local-kv.db"], FileType::RegularFile),
    (&["engine-id"], FileType::RegularFile),
    (&[BUILDKIT, CACHE_DATABASE], FileType::RegularFile),
    (&[BUILDKIT, SNAPSHOTS_DATABASE], FileType::RegularFile),
    (&[BUILDKIT, CONTENT_DATABASE], FileType::RegularFile),
    (&[CONTAINERD_DAEMON[0], CONTAINERD_DAEMON[1], CONTAINERD_METADATA], FileType::Directory),
    (&[CONTAINERD_DAEMON[0], CONTAINERD_DAEMON[1], OVERLAYFS_SNAPSHOTTER], FileType::Directory),
    (&["rootfs", "overlayfs"], FileType::Directory),
    // Before version 1.10.
    (&["linkgraph.db"], FileType::RegularFile),
];

/// The names that dockerd gives to directories of a data-root, without the drivers' homes.
pub(crate) const TOP_DIRECTORIES: [&str; 12] = [
    BUILDKIT, CONTAINERD, CONTAINERS, IMAGE, "network", "plugins", "rootfs", "runtimes", "swarm", "tmp", "trust",
    VOLUMES,
];

/// Where the blobs of a pull are on their way, each in a file named by its digest. dockerd empties the directory above at each
/// start.
pub const PULLED_BLOBS: [&str; 2] = ["tmp", "layerfs-blobs"];

/// Databases that a running dockerd holds locked with `flock(2)` (bbolt).
pub(crate) const DAEMON_DATABASES: [&[&str]; 4] = [
    &[VOLUMES, DATABASE],
    &["network", "files", "local-kv.db"],
    &[BUILDKIT, SNAPSHOTS_DATABASE],
    &[BUILDKIT, CACHE_DATABASE],
];

/// More databases without which dockerd does not start. Their locks say nothing that those of [`DAEMON_DATABASES`] do not.
pub(crate) const MORE_DATABASES: [&[&str]; 2] = [&[BUILDKIT, METADATA_DATABASE], &[BUILDKIT, CONTENT_DATABASE]];

/// The database of the containerd that dockerd starts. Where the system has one that dockerd uses instead, this one is left over.
pub(crate) const CONTAINERD_DATABASE: [&str; 4] =
    [CONTAINERD_DAEMON[0], CONTAINERD_DAEMON[1], CONTAINERD_METADATA, "meta.db"];

/// What dockerd remembers of registries, below `image/<driver>`.
pub(crate) const DISTRIBUTION: &str = "distribution";

/// Directories below the root that dockerd makes at its start: something else in the place of one keeps dockerd from starting.
pub(crate) const NEEDED_DIRECTORIES: [&str; 10] = [
    "trust",
    "plugins",
    "plugins/storage",
    "swarm",
    "network",
    "network/files",
    "runtimes",
    BUILDKIT,
    "buildkit/content",
    "buildkit/executor",
];

/// Whether a database of the daemon's is one of BuildKit's.
pub(crate) fn is_of_build_cache(database: &str) -> bool {
    database.split('/').next() == Some(BUILDKIT)
}

/// A path below `image/<driver>`, as one below the root.
pub(crate) fn of_driver<'a>(driver: &'a str, below: &[&'a str]) -> Vec<&'a str> {
    [&[IMAGE, driver], below].concat()
}

/// What a path below the root belongs to, told by its names alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootPath<'p> {
    /// The root, or a directory of it in which things of several owners are.
    Directory,
    /// In `image/<driver>`.
    Images {
        /// The driver.
        driver: &'p [u8],
        /// What it belongs to.
        of: ImagesPath<'p>,
    },
    /// In a container's directory.
    Container {
        /// Its name.
        id: &'p [u8],
        /// The names below that directory.
        below: &'p [&'p [u8]],
    },
    /// In a volume's directory.
    Volume {
        /// Its name.
        name: &'p [u8],
        /// The names below that directory.
        below: &'p [&'p [u8]],
    },
    /// BuildKit's.
    BuildCache,
    /// Anything else.
    Other,
}

/// What a path below `image/<driver>` belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImagesPath<'p> {
    /// A directory in which things of several owners are.
    Directory,
    /// The record of a layer, or of a layer whose removal was begun: the record's name.
    LayerRecord(&'p [u8]),
    /// A mount: the first component of its name.
    Mount(&'p [u8]),
    /// A layer that is being registered, or a record of intent: its name.
    WriteSet(&'p [u8]),
    /// The config or the metadata of an image: its name.
    Image(&'p [u8]),
    /// Anything else: names of images, what `distribution` remembers.
    Other,
}

/// Says what a path below the root belongs to.
pub(crate) fn whose<'p>(names: &'p [&'p [u8]]) -> RootPath<'p> {
    let is = |name: &[u8], known: &str| name == known.as_bytes();
    match names {
        [] => RootPath::Directory,
        [only] if [IMAGE, CONTAINERS, VOLUMES].iter().any(|known| is(only, known)) => RootPath::Directory,
        [image, driver, below @ ..] if is(image, IMAGE) => RootPath::Images { driver, of: whose_of_images(below) },
        [containers, id, below @ ..] if is(containers, CONTAINERS) => RootPath::Container { id, below },
        [volumes, name, below @ ..] if is(volumes, VOLUMES) => RootPath::Volume { name, below },
        [buildkit, ..] if is(buildkit, BUILDKIT) => RootPath::BuildCache,
        _ => RootPath::Other,
    }
}

/// Turns a name found in a directory into what it stands for.
type Named<'p> = fn(&'p [u8]) -> ImagesPath<'p>;

fn whose_of_images<'p>(names: &'p [&'p [u8]]) -> ImagesPath<'p> {
    let after = |known: &[&str]| {
        let (head, tail) = names.split_at_checked(known.len())?;
        head.iter().zip(known).all(|(name, known)| *name == known.as_bytes()).then_some(tail)
    };
    let places: [(&[&str], Named<'p>); 5] = [
        (&LAYER_RECORDS, ImagesPath::LayerRecord),
        (&MOUNTS, ImagesPath::Mount),
        (&WRITE_SETS, ImagesPath::WriteSet),
        (&CONFIGS, ImagesPath::Image),
        (&METADATA, ImagesPath::Image),
    ];
    for (place, named) in places {
        let is_above = names.len() <= place.len() && names.iter().zip(place).all(|(a, b)| *a == b.as_bytes());
        match after(place) {
            _ if is_above => return ImagesPath::Directory,
            Some([name, ..]) => return named(name),
            _ => {}
        }
    }
    ImagesPath::Other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Vec<&[u8]> {
        path.split('/').filter(|name| !name.is_empty()).map(str::as_bytes).collect()
    }

    #[test]
    fn paths_are_told_apart() {
        for (path, expected) in [
            ("", ImagesPath::Directory),
            ("layerdb", ImagesPath::Directory),
            ("layerdb/mounts", ImagesPath::Directory),
            ("imagedb/content/sha256", ImagesPath::Directory),
            ("layerdb/sha256/ab/diff", ImagesPath::LayerRecord(b"ab")),
            ("layerdb/mounts/c/parent", ImagesPath::Mount(b"c")),
            ("layerdb/tmp/write-set-1", ImagesPath::WriteSet(b"write-set-1")),
            ("imagedb/metadata/sha256/ab/parent", ImagesPath::Image(b"ab")),
            ("imagedb/metadata/md5", ImagesPath::Other),
            ("repositories.json", ImagesPath::Other),
            ("layerdb/other/x", ImagesPath::Other),
        ] {
            assert_eq!(whose_of_images(&names(path)), expected, "{path}");
        }
        for (path, expected) in [
            ("", RootPath::Directory),
            ("image", RootPath::Directory),
            ("volumes", RootPath::Directory),
            ("volumes/metadata.db", RootPath::Volume { name: b"metadata.db", below: &[] }),
            ("image/vfs", RootPath::Images { driver: b"vfs", of: ImagesPath::Directory }),
            ("containers/c/hostname", RootPath::Container { id: b"c", below: &[b"hostname"] }),
            ("buildkit", RootPath::BuildCache),
            ("plugins/x", RootPath::Other),
        ] {
            assert_eq!(whose(&names(path)), expected, "{path}");
        }
    }
}
