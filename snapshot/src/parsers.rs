//! Makes this crate's private parsers reachable for the fuzz targets (`fuzz/targets`). No part of the interface.

use bolt::Bolt;
use jiff::Timestamp;

use crate::containerd::gc::{Kept, Records};
use crate::containerd::metadata::Metadata;
use crate::containerd::snapshots::Snapshots;
use crate::gc::{Excludes, Pattern};
use crate::ids::ImageId;
use crate::schema::container::ContainerFiles;
use crate::schema::gojson::to_line;

/// Reads a record of intent, and writes it anew; `None` if it cannot be read.
#[must_use]
pub fn intent_record(bytes: &[u8]) -> Option<Vec<u8>> {
    crate::edit::reread_record(bytes)
}

/// The lines that are written into the two files of a container.
#[must_use]
pub fn container_lines(files: &ContainerFiles) -> [String; 2] {
    [to_line(&files.config), to_line(&files.host)]
}

/// Whether `excludes` match an image with this id and these names, and whether `pattern` does.
#[must_use]
pub fn keeps(excludes: &Excludes, pattern: &Pattern, id: ImageId, names: &[&str]) -> (bool, bool) {
    (excludes.matches(id, names), pattern.matches(id, names))
}

/// Reads the kernel's table of mounts and counts them; `None` if a line is not understood.
#[must_use]
pub fn mount_table(bytes: &[u8]) -> Option<usize> {
    crate::root::mounts::Mounts::parse(bytes).ok().map(|mounts| mounts.iter().count())
}

/// Reads a database as each of containerd's two, and lets its collector look at what there is: of how many images, blobs and
/// snapshots the records are, and how many of them the collector keeps; `None` if a page cannot be read.
#[must_use]
pub fn containerd(bytes: &[u8]) -> Option<(usize, usize)> {
    let bolt = || Bolt::parse(bytes).ok();
    let metadata = Metadata::of_database(&bolt()?, "moby", "overlayfs").ok()?;
    let snapshots = Snapshots::of_database(&bolt()?).ok()?;
    let records = Records::of_database(&bolt()?).ok()?;
    let found = metadata.images.len() + metadata.blobs.len() + metadata.snapshots.len() + snapshots.by_name.len();
    let mut kept = 0;
    for namespace in records.0.values() {
        let reasons = Kept::of(namespace, Timestamp::UNIX_EPOCH);
        kept += reasons.nodes().filter(|node| !reasons.path(node).is_empty()).count();
    }
    Some((found, kept))
}
