//! What a user may choose of a pool and its devices.

use std::path::PathBuf;
use std::sync::OnceLock;

/// A file system that dockerd makes on its devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum FileSystem {
    /// ext4
    Ext4,
    /// xfs
    Xfs,
}

/// A block device that LVM is to be given whole, and what it makes there: dockerd's options `dm.directlvm_*` and `dm.thinp_*`. A
/// number that is 0 has dockerd's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LvmOptions {
    /// The block device.
    pub device: PathBuf,
    /// Whether what is on the device may be lost.
    pub force: bool,
    /// Percent of the volume group for data.
    pub data_percent: u64,
    /// Percent of the volume group for metadata.
    pub metadata_percent: u64,
    /// Percent in use at which LVM makes the pool larger by itself.
    pub extend_threshold: u64,
    /// By how many percent it does.
    pub extend_percent: u64,
}

/// What a user may choose of a pool and its devices: dockerd's options `dm.*` (moby v20.10.24
/// `daemon/graphdriver/devmapper/deviceset.go: NewDeviceSet`). What is `None` or empty has dockerd's default.
///
/// The names and the text of these options are the command line's business.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PoolOptions {
    /// Bytes of the base device, which new chains of layers begin with. One that is smaller is grown; none is shrunk.
    pub base_size: Option<u64>,
    /// Bytes of the file that holds the data. One that is smaller is grown when the pool is made active.
    pub data_size: Option<u64>,
    /// Bytes of the file that holds the metadata. One that is smaller is grown when the pool is made active.
    pub metadata_size: Option<u64>,
    /// The file system of a new base device.
    pub file_system: Option<FileSystem>,
    /// More arguments for the program that makes it.
    pub make_arguments: Vec<String>,
    /// Options with which the file systems of layers are mounted: `NAME` or `NAME=VALUE`.
    pub mount_options: Vec<String>,
    /// The name of a pool that is there already, as the device mapper knows it.
    pub thin_pool: Option<String>,
    /// The block devices for a pool that is not in files: data, and metadata.
    pub devices: Option<(PathBuf, PathBuf)>,
    /// A block device for LVM.
    pub lvm: Option<LvmOptions>,
    /// Bytes of a block of a new pool's data.
    pub block: Option<u64>,
    /// Whether the content of a device is given back before the device is deleted.
    pub discard: Option<bool>,
    /// Percent of the pool's blocks that must be free for a new device.
    pub min_free: Option<u64>,
    /// How often xfs tries again to write its own structures to a pool that is full.
    pub xfs_retries: Option<String>,
}

/// What was chosen, once.
static CHOSEN: OnceLock<PoolOptions> = OnceLock::new();

impl PoolOptions {
    /// Has this process open all stores with these options. A data-root does not record them, as it does not for dockerd,
    /// and each place that opens one would have to pass them on. The first call counts.
    pub fn choose(self) {
        let _ = CHOSEN.set(self);
    }

    /// The options of this process.
    #[must_use]
    pub fn chosen() -> &'static Self {
        CHOSEN.get_or_init(Self::default)
    }
}
