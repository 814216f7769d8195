//! The volume with the key of the cache, in which there is also what is known of contexts: whoever removes it removes both.

use std::path::{Path, PathBuf};

use snapshot::ids::VolumeName;
use snapshot::schema::volume;

/// Its name.
pub(crate) const NAME: &str = "layerfs-build-key";

/// The directory of the volume.
pub(crate) fn key_dir(root: &Path) -> PathBuf {
    let name: VolumeName = NAME.parse().expect("letters are a name");
    volume::content_path(root, &name)
}
