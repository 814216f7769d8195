//! The order of the entries, and how many are shown.

use snapshot::usage::report::{DiskReport, Sizes};

/// What to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Sort {
    /// Bytes allocated.
    Allocated,
    /// Bytes long.
    Apparent,
    /// Bytes that would stay.
    Shared,
    /// Bytes that would be freed.
    Unique,
    /// Number of files.
    Files,
    /// Number of inodes.
    Inodes,
    /// Name, then id, in their order.
    Name,
}

impl Sort {
    /// The key by which an entry is sorted: the largest value first, or the name.
    fn key(self, sizes: &Sizes, name: &str, id: &str) -> (std::cmp::Reverse<u64>, String) {
        let value = match self {
            Self::Allocated => sizes.usage.allocated,
            Self::Apparent => sizes.usage.apparent,
            Self::Shared => sizes.shared,
            Self::Unique => sizes.unique,
            Self::Files => sizes.usage.files,
            Self::Inodes => sizes.usage.inodes,
            // Entries without a name come last.
            Self::Name => u64::from(!name.is_empty()),
        };
        (std::cmp::Reverse(value), format!("{name}\0{id}"))
    }
}

/// Sorts every list of the report and cuts it to `top` entries. The list of what nobody owns is always whole.
pub(super) fn sort(report: &mut DiskReport, by: Sort, top: Option<usize>) {
    let first = |names: &[String]| names.first().cloned().unwrap_or_default();
    report.images.sort_by_cached_key(|image| {
        (image.damage.is_some(), by.key(&image.sizes, &first(&image.names), &image.id.to_string()))
    });
    report.steps.sort_by_cached_key(|step| by.key(&step.sizes, &step.created_by, &step.id.to_string()));
    report.layers.sort_by_cached_key(|layer| by.key(&layer.sizes, &first(&layer.names), &layer.id.to_string()));
    report.containers.sort_by_cached_key(|container| by.key(&container.sizes, &container.name, &container.id));
    for volumes in [&mut report.volumes, &mut report.cache_mounts] {
        volumes.sort_by_cached_key(|volume| by.key(&volume.sizes, &volume.name, ""));
    }
    let top = top.unwrap_or(usize::MAX);
    report.images.truncate(top);
    report.layers.truncate(top);
    report.containers.truncate(top);
    report.volumes.truncate(top);
    report.steps.truncate(top);
    report.cache_mounts.truncate(top);
}
