//! What builds made here have left, as rows of the build cache: records of steps, which the store has as images without names, and
//! caches of commands, which are volumes.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use build::{cache_of_volume, is_record};
use jiff::Timestamp;
use layerfs::ChainId;
use snapshot::catalog::{Catalog, Image};
use snapshot::ids::{ImageId, VolumeName};
use snapshot::root::DataRoot;
use snapshot::schema::buildkit::{BuildCache, CacheRecord, CacheSize};
use snapshot::usage::df::{UsageRow, volume_links};
use snapshot::usage::sizes::measure_volume;
use snapshot::usage::steps::KeptCache;

/// The steps that records stand for, by the records' ids.
pub(crate) fn steps(catalog: &Catalog) -> BTreeMap<ImageId, String> {
    let own = catalog.images().values().filter(|image| is_record(&image.config.container_config));
    own.map(|image| (image.id, step(image).to_owned())).collect()
}

/// The step that a record stands for.
fn step(image: &Image) -> &str {
    let command = image.config.container_config.cmd.0.as_deref().unwrap_or_default();
    command.last().map(String::as_str).unwrap_or_default()
}

/// As what a store keeps a part of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kept {
    /// An image without a name: the record of a step.
    Image(ImageId),
    /// A volume: a cache of commands.
    Volume(VolumeName),
}

/// What is known of a volume: what it holds, and when it was last used.
pub(crate) type VolumeFacts = (u64, Option<Timestamp>);

/// Looks at a volume.
pub(crate) fn measure(root: &DataRoot, name: &VolumeName) -> VolumeFacts {
    (measure_volume(root.dir(), name), last_used(root, name))
}

/// When a command last took the cache that a volume is.
pub(crate) fn last_used(root: &DataRoot, name: &VolumeName) -> Option<Timestamp> {
    build::cache_last_used(root.dir().path(), name).and_then(|time| time.try_into().ok())
}

/// The build cache that a store has as images and volumes.
pub(crate) struct OwnCache {
    /// As docker shows them: steps, the oldest first, and caches of commands.
    pub(crate) records: Vec<CacheRecord>,
    /// As what the store keeps each of these.
    pub(crate) kept_as: Vec<Kept>,
    /// The images and volumes.
    pub(crate) kept: KeptCache,
    /// Those that docker would list as images, since nothing stands on them.
    listed: BTreeSet<ImageId>,
    /// Bytes of the layers that only these have.
    bytes: i64,
    /// Bytes in the volumes.
    in_volumes: i64,
}

impl OwnCache {
    /// Finds them. `measure` says what a volume holds.
    pub(crate) fn read(catalog: &Catalog, measure: impl Fn(&VolumeName) -> VolumeFacts) -> Self {
        let is_own =
            |image: &&Image| is_record(&image.config.container_config) && catalog.names_of(image.id).is_empty();
        let all = catalog.images().values();
        let (own, others): (Vec<&Image>, Vec<&Image>) = all.partition(is_own);
        // What images have is theirs, and what two records have is the first one's.
        let mut known: HashSet<ChainId> = others.iter().flat_map(|image| image.chain.iter().copied()).collect();
        let size = |chain: ChainId| catalog.layer(chain).map_or(0, |layer| layer.size);
        let listed: Vec<&&Image> = own.iter().filter(|image| !catalog.is_intermediate(image)).collect();
        let only: BTreeSet<ChainId> = listed
            .iter()
            .flat_map(|image| image.chain.iter().copied())
            .filter(|chain| !known.contains(chain))
            .collect();
        let bytes = only.into_iter().map(size).fold(0, u64::saturating_add);
        let mut ordered: Vec<&&Image> = own.iter().filter(|image| !image.chain.is_empty()).collect();
        ordered.sort_by_key(|image| (image.created, image.chain.len(), image.id));
        let ids: HashSet<ImageId> = own.iter().map(|image| image.id).collect();
        let (mut records, mut kept_as) = (Vec::new(), Vec::new());
        for image in ordered {
            let Some(&top) = image.chain.last() else { continue };
            kept_as.push(Kept::Image(image.id));
            let parent = image.parent_id().filter(|parent| ids.contains(parent));
            records.push(CacheRecord {
                id: image.id.0.hex(),
                parent: parent.map(|parent| parent.0.hex()),
                kind: "regular".into(),
                description: step(image).to_owned(),
                size: CacheSize::Known(size(top)),
                created: image.created,
                last_used: None,
                usage_count: 0,
                shared: !known.insert(top),
                mutable: false,
            });
        }
        // What a container has is in use as a volume.
        let links = volume_links(catalog);
        let (mut volumes, mut in_volumes) = (BTreeSet::new(), 0_u64);
        for volume in catalog.volumes().iter().filter(|volume| !links.contains_key(volume.name.as_str())) {
            let Some((digits, id)) = cache_of_volume(volume) else { continue };
            let (bytes, last_used) = measure(&volume.name);
            kept_as.push(Kept::Volume(volume.name.clone()));
            records.push(CacheRecord {
                id: digits.to_owned(),
                parent: None,
                kind: "exec.cachemount".into(),
                description: format!("cached mount with id \"{id}\""),
                size: CacheSize::Known(bytes),
                created: None,
                last_used,
                usage_count: 0,
                shared: false,
                mutable: true,
            });
            volumes.insert(volume.name.clone());
            in_volumes = in_volumes.saturating_add(bytes);
        }
        Self {
            records,
            kept_as,
            kept: KeptCache { images: ids.into_iter().collect(), volumes },
            listed: listed.iter().map(|image| image.id).collect(),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
            in_volumes: i64::try_from(in_volumes).unwrap_or(i64::MAX),
        }
    }

    /// The records of steps, by their places among all.
    pub(crate) fn steps(&self) -> impl Iterator<Item = (usize, ImageId)> {
        let image = |kept: &Kept| if let Kept::Image(id) = kept { Some(*id) } else { None };
        self.kept_as.iter().enumerate().filter_map(move |(place, kept)| Some((place, image(kept)?)))
    }

    /// Whether an image is a record that docker would list.
    pub(crate) fn lists(&self, image: ImageId) -> bool {
        self.listed.contains(&image)
    }

    /// The row of images without those that are records.
    pub(crate) fn taken_out(&self, row: UsageRow) -> UsageRow {
        UsageRow {
            total: row.total.saturating_sub(self.listed.len()),
            size: row.size.saturating_sub(self.bytes),
            reclaimable: row.reclaimable.saturating_sub(self.bytes),
            ..row
        }
    }

    /// The row of volumes without those that are caches of commands.
    pub(crate) fn taken_out_of_volumes(&self, row: UsageRow) -> UsageRow {
        UsageRow {
            total: row.total.saturating_sub(self.kept.volumes.len()),
            size: row.size.saturating_sub(self.in_volumes),
            reclaimable: row.reclaimable.saturating_sub(self.in_volumes),
            ..row
        }
    }

    /// The row of dockerd's build cache, with this one.
    pub(crate) fn added_to(&self, row: UsageRow) -> UsageRow {
        let own = BuildCache { records: self.records.clone() }.summary();
        let bytes = i64::try_from(own.size).unwrap_or(i64::MAX);
        UsageRow {
            total: row.total + own.total,
            active: row.active + own.active,
            size: row.size.saturating_add(bytes),
            reclaimable: row.reclaimable.saturating_add(bytes),
        }
    }
}
