//! The records of builds made here, which the store has as images without names, as rows of the build cache.

use std::collections::{BTreeSet, HashSet};

use build::is_record;
use layerfs::ChainId;
use snapshot::catalog::{Catalog, Image};
use snapshot::ids::ImageId;
use snapshot::schema::buildkit::{CacheRecord, CacheSize};
use snapshot::usage::df::UsageRow;

/// The records of a store.
pub(super) struct OwnCache {
    /// As docker shows them, the oldest first.
    pub(super) records: Vec<CacheRecord>,
    /// Those that docker would list as images, since nothing stands on them.
    listed: BTreeSet<ImageId>,
    /// Bytes of the layers that only these have.
    bytes: i64,
}

impl OwnCache {
    pub(super) fn read(catalog: &Catalog) -> Self {
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
        let mut records = Vec::new();
        for image in ordered {
            let Some(&top) = image.chain.last() else { continue };
            let parent = image.parent_id().filter(|parent| ids.contains(parent));
            let command = image.config.container_config.cmd.0.as_deref().unwrap_or_default();
            records.push(CacheRecord {
                id: image.id.0.hex(),
                parent: parent.map(|parent| parent.0.hex()),
                kind: "regular".into(),
                description: command.last().cloned().unwrap_or_default(),
                size: CacheSize::Known(size(top)),
                created: image.created,
                last_used: None,
                usage_count: 0,
                shared: !known.insert(top),
                mutable: false,
            });
        }
        Self {
            records,
            listed: listed.iter().map(|image| image.id).collect(),
            bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
        }
    }

    /// Whether an image is a record that docker would list.
    pub(super) fn lists(&self, image: ImageId) -> bool {
        self.listed.contains(&image)
    }

    /// The row of images without those that are records.
    pub(super) fn taken_out(&self, row: UsageRow) -> UsageRow {
        UsageRow {
            total: row.total.saturating_sub(self.listed.len()),
            size: row.size.saturating_sub(self.bytes),
            reclaimable: row.reclaimable.saturating_sub(self.bytes),
            ..row
        }
    }
}
