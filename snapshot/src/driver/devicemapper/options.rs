//! How a pool and its base device are made.

/// How a pool and its base device are made, with dockerd's defaults (moby v20.10.24
/// `daemon/graphdriver/devmapper/deviceset.go: defaultDataLoopbackSize` and the lines after it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PoolOptions {
    /// Bytes of the file that holds the data; it takes up room only as it is written to.
    pub(super) data_size: u64,
    /// Bytes of the file that holds the pool's metadata.
    pub(super) metadata_size: u64,
    /// Bytes of the base device, which every layer begins with.
    pub(super) base_size: u64,
    /// Sectors of a block of the data. A pool keeps the size that it was made with.
    pub(super) block: u64,
    /// Percent of the pool's blocks that must be free for a new device.
    pub(super) min_free: u64,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self { data_size: 100 << 30, metadata_size: 2 << 30, base_size: 10 << 30, block: 128, min_free: 10 }
    }
}
