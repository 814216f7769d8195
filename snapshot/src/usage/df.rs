//! The rows of `docker system df`, by docker's own formulas.
//!
//! Follows moby v20.10.24 `daemon/disk_usage.go`, `daemon/images/images.go: Images`, and the client's
//! `cli/command/formatter/disk_usage.go`. Sizes are docker's: the `size` of layers, the length of files.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::account::Account;
use super::cache::measured;
use super::parts::Part;
use crate::catalog::{Catalog, Container, Image};
use crate::driver::Driver;
use crate::error::StoreError;
use crate::ids::{CacheId, ContainerId, ImageId, VolumeName};
use crate::view::View;

/// One of the four rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct UsageRow {
    /// How many there are.
    pub total: usize,
    /// How many of them are in use.
    pub active: usize,
    /// Bytes. It is below zero, as it is in docker, where containers cannot be measured: each counts as -1.
    pub size: i64,
    /// Bytes of those that are not in use. It can be below zero, as it can in docker.
    pub reclaimable: i64,
}

impl UsageRow {
    /// The share that can be reclaimed in percent, rounded down as the client does; `None` if the size is zero.
    #[must_use]
    pub fn percent(&self) -> Option<i64> {
        (self.size > 0).then(|| (self.reclaimable as f64 * 100.0 / self.size as f64) as i64)
    }
}

/// What docker says about one image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct ImageSize {
    /// The column SIZE.
    pub size: u64,
    /// The column SHARED SIZE: its layers that are in another listed image too.
    pub shared: u64,
    /// The column CONTAINERS.
    pub containers: usize,
}

impl ImageSize {
    /// The column UNIQUE SIZE. It is below zero, in docker too, where a layer without its `parent` file hides the
    /// layers below it.
    #[must_use]
    pub fn unique(&self) -> i64 {
        signed(self.size) - signed(self.shared)
    }
}

/// The images that docker lists: all but those without a name that other images were built from.
fn listed(catalog: &Catalog) -> impl Iterator<Item = &Image> {
    catalog.images.values().filter(|image| !catalog.is_intermediate(image))
}

/// The layers that dockerd loads, by their numbers.
struct Layers {
    /// The size that each record says; `None` for a layer that dockerd would not load.
    sizes: Vec<Option<u64>>,
    /// How many listed images have each.
    uses: Vec<u32>,
}

impl Layers {
    fn new(catalog: &Catalog) -> Self {
        let sizes = catalog.layers.values().map(|layer| layer.as_ref().ok().map(|layer| layer.size)).collect();
        let mut uses = vec![0; catalog.graph().len()];
        for number in listed(catalog).flat_map(|image| numbers(catalog, image)) {
            uses[number] += 1;
        }
        Self { sizes, uses }
    }
}

/// The numbers of an image's layers, by the chain ids that its config gives.
fn numbers<'c>(catalog: &'c Catalog, image: &'c Image) -> impl Iterator<Item = usize> + 'c {
    image.chain.iter().filter_map(|chain| catalog.graph().number(*chain)).map(|number| number as usize)
}

/// What docker says about each listed image.
#[must_use]
pub fn image_sizes(catalog: &Catalog) -> BTreeMap<ImageId, ImageSize> {
    sizes_by(catalog, &Layers::new(catalog))
}

fn sizes_by(catalog: &Catalog, layers: &Layers) -> BTreeMap<ImageId, ImageSize> {
    let size = |image: &Image| {
        let shared = numbers(catalog, image).filter(|number| layers.uses[*number] > 1);
        let shared = shared.filter_map(|number| layers.sizes[number]);
        // The record of a layer may name any size.
        let shared = shared.fold(0, u64::saturating_add);
        let containers = catalog.containers_of(image.id).filter(|container| container.damage.is_none()).count();
        (image.id, ImageSize { size: catalog.image_size(image), shared, containers })
    };
    listed(catalog).map(size).collect()
}

/// The row of images. `known` is what containers have written, as far as it was measured; the rest of what it takes is
/// measured here.
#[must_use]
pub fn images(view: &View, known: &BTreeMap<ContainerId, u64>) -> UsageRow {
    let catalog = &view.catalog;
    // Each layer once, by the chain ids that configs give: a `parent` file that is missing takes nothing away.
    let layers = Layers::new(catalog);
    let used = layers.sizes.iter().zip(&layers.uses).filter(|(_, uses)| **uses > 0);
    let sizes_of_layers = used.filter_map(|(size, _)| *size);
    let size = match catalog.in_containerd() {
        None => sizes_of_layers.fold(0, u64::saturating_add),
        // All snapshots, whoever has them, and each blob of an image once (moby v28.5.2 `daemon/containerd/service.go`).
        Some(store) => {
            let own_directory = |id| catalog.container(id)?.mount.as_ref()?.mount_id.as_ref();
            let known = known.iter().filter_map(|(id, size)| Some((own_directory(id)?, *size)));
            let known: HashMap<&CacheId, u64> = known.collect();
            let measured = |id: &CacheId| view.root.driver.as_ref()?.written(id, None).ok();
            let measure = |id: &CacheId| known.get(id).copied().or_else(|| measured(id));
            store.images.content.saturating_add(catalog.size_of_snapshots(measure))
        }
    };
    let sizes = sizes_by(catalog, &layers);
    let active = sizes.values().filter(|image| image.containers > 0);
    let used = active.clone().map(ImageSize::unique).fold(0, i64::saturating_add);
    UsageRow {
        total: sizes.len(),
        active: active.count(),
        size: signed(size),
        reclaimable: signed(size).saturating_sub(used),
    }
}

/// The row of containers: `written` says what one has written. Where that cannot be told it counts as -1, as in docker.
#[must_use]
pub fn containers(catalog: &Catalog, written: impl Fn(&Container) -> Option<u64>) -> UsageRow {
    let mut row = UsageRow::default();
    for container in catalog.live_containers() {
        let active = container.status().is_up();
        let size = written(container).map_or(-1, signed);
        row.total += 1;
        row.active += usize::from(active);
        row.size = row.size.saturating_add(size);
        row.reclaimable = row.reclaimable.saturating_add(if active { 0 } else { size });
    }
    row
}

/// The row of local volumes: `size` says what one holds. Volumes with options are not counted (moby v20.10.24
/// `volume/service/service.go: LocalVolumesSize`).
#[must_use]
pub fn volumes(catalog: &Catalog, size: impl Fn(&VolumeName) -> u64) -> UsageRow {
    let mut row = UsageRow::default();
    let links = volume_links(catalog);
    for volume in catalog.volumes.iter().filter(|volume| !volume.has_options) {
        let used = links.contains_key(volume.name.as_str());
        let size = signed(size(&volume.name));
        row.total += 1;
        row.active += usize::from(used);
        row.size += size;
        row.reclaimable += if used { 0 } else { size };
    }
    row
}

/// For each volume that is in use, how many containers have it. dockerd counts every mount that names a volume driver,
/// whatever kind the mount has (moby v20.10.24 `daemon/volumes.go: lazyInitializeVolume`), except for a mounted image.
#[must_use]
pub fn volume_links(catalog: &Catalog) -> HashMap<&str, usize> {
    let mut links: HashMap<&str, usize> = HashMap::new();
    for container in catalog.live_containers() {
        let volumes = container.mount_points.iter().filter(|point| !point.driver.is_empty() && point.kind != "image");
        let volumes: BTreeSet<&str> = volumes.map(|point| point.name.as_str()).collect();
        for volume in volumes {
            *links.entry(volume).or_default() += 1;
        }
    }
    links
}

/// What a container has written, as `docker ps -s` says it; `None` where that cannot be found out.
#[must_use]
pub(super) fn written(view: &View, container: &Container) -> Option<u64> {
    let mount = container.mount.as_ref()?;
    let parent = || Some(view.catalog.layer(mount.parent?)?.cache_id.clone());
    let below = mount.init_id.clone().or_else(parent);
    view.root.driver.as_ref()?.written(mount.mount_id.as_ref()?, below.as_ref()).ok()
}

impl Account<'_> {
    /// What a container has written, as `docker ps -s` says it.
    #[must_use]
    pub(crate) fn written(&self, container: &Container) -> u64 {
        let counted = || self.usage(&Part::Writable(container.id.clone())).apparent;
        self.written.get(&container.id).copied().unwrap_or_else(counted)
    }

    /// The rows of images, containers and local volumes.
    #[must_use]
    pub fn rows(&self) -> [UsageRow; 3] {
        let data = |name: &VolumeName| self.usage(&Part::VolumeData(name.clone())).apparent;
        let catalog = &self.view.catalog;
        [images(self.view, &self.written), containers(catalog, |one| Some(self.written(one))), volumes(catalog, data)]
    }

    /// The row of the build cache.
    ///
    /// # Errors
    /// Those of [`BuildCache::read`](crate::schema::buildkit::BuildCache::read).
    pub fn cache_row(&self) -> Result<UsageRow, StoreError> {
        let content = |id: &CacheId| Some(self.usage(&Part::CacheData(id.to_string())).apparent);
        let summary = measured(self.view, content)?.summary();
        let reclaimable = signed(summary.size);
        Ok(UsageRow { total: summary.total, active: summary.active, size: signed(summary.size), reclaimable })
    }
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
