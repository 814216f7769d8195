//! The report on disk usage: each image, layer, container and volume, the rest, and the sum.

use std::collections::BTreeMap;

use layerfs::ChainId;
use serde::Serialize;

use super::account::{Account, parts_of, parts_of_container};
use super::parts::Part;
use super::steps::{KeptCache, StepUsage, steps};
use super::walk::Usage;
use crate::catalog::{ContainerDamage, ImageDamage, RecordDamage};
use crate::ids::{CacheId, ContainerId, ImageId, VolumeName};
use crate::liveness::removal_plan::{Certainty, Holders, RemovalRequest};
use crate::parallel;

/// What a thing takes up, and how much of that would be freed with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Sizes {
    /// All of it.
    #[serde(flatten)]
    pub usage: Usage,
    /// Bytes of it that stay if only this thing is removed.
    pub shared: u64,
    /// Bytes that are freed if only this thing is removed.
    pub unique: u64,
}

/// An image, or what is left of one.
#[derive(Debug, Clone, Serialize)]
pub struct ImageUsage {
    /// Its id.
    pub id: ImageId,
    /// Its names.
    pub names: Vec<String>,
    /// Whether it has no name and other images were built from it.
    pub intermediate: bool,
    /// Config, metadata and layers.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Config and metadata alone.
    pub records: u64,
    /// Its layers, base first.
    pub layers: Vec<ChainId>,
    /// Why dockerd would not show it.
    pub damage: Option<String>,
    /// The same as a word for programs.
    pub damage_code: Option<&'static str>,
    /// Why dockerd would not remove it.
    pub kept: Option<String>,
}

/// A layer.
#[derive(Debug, Clone, Serialize)]
pub struct LayerUsage {
    /// Its id.
    pub id: ChainId,
    /// Its directory in the driver's home.
    pub cache_id: Option<CacheId>,
    /// Directory, link and record.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Images that have it, without the records of steps.
    pub images: usize,
    /// Their names.
    pub names: Vec<String>,
    /// The step that made it.
    pub created_by: String,
    /// Whether the build cache has it, too; of layers that no image has, only whether the record of a step does.
    pub build_cache: bool,
    /// Why dockerd would not load it.
    pub damage: Option<String>,
    /// The same as a word for programs.
    pub damage_code: Option<&'static str>,
}

/// A container, or what is left of one.
#[derive(Debug, Clone, Serialize)]
pub struct ContainerUsage {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// The image as the user named it.
    pub image: String,
    /// Everything of it, logs included.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Bytes allocated by what it has written.
    pub writable: u64,
    /// Bytes allocated by its logs.
    pub logs: u64,
    /// Why dockerd would not show it.
    pub damage: Option<String>,
    /// The same as a word for programs.
    pub damage_code: Option<&'static str>,
}

/// A local volume.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeUsage {
    /// Its name.
    pub name: VolumeName,
    /// Its directory.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Containers that have it.
    pub containers: usize,
}

/// Kinds of things that the report lists beside images, layers, containers and volumes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum RestKind {
    /// The build cache: databases, content, and directories that are in no layer.
    BuildCache,
    /// Logs of containers.
    Logs,
    /// Layers whose removal was begun.
    Removing,
    /// Layers that are being registered, or that a crash has left unfinished.
    Unfinished,
    /// Directories of layers that nobody claims.
    Orphans,
    /// Writable layers without a container.
    Mounts,
    /// Directories without a record that others stand on, or that are mounted.
    Referred,
    /// Links that lead nowhere.
    StaleLinks,
    /// What cannot be recognised.
    Unknown,
    /// What the stores keep for themselves.
    Store,
    /// Something else in the root, by its path.
    Other(Vec<u8>),
}

impl RestKind {
    /// What it is, in words.
    #[must_use]
    pub fn title(&self) -> String {
        match self {
            Self::BuildCache => "build cache".into(),
            Self::Logs => "container logs".into(),
            Self::Removing => "unfinished removals".into(),
            Self::Unfinished => "unfinished registrations".into(),
            Self::Orphans => "orphaned layer directories".into(),
            Self::Mounts => "writable layers without a container".into(),
            Self::Referred => "directories without a record, in use".into(),
            Self::StaleLinks => "links that lead nowhere".into(),
            Self::Unknown => "unknown".into(),
            Self::Store => "the store's own records".into(),
            Self::Other(path) => String::from_utf8_lossy(path).into_owned(),
        }
    }
}

/// What the things of one kind take up, beside images, layers, containers and volumes.
#[derive(Debug, Clone)]
pub struct RestLine {
    /// What kind of thing it is.
    pub kind: RestKind,
    /// What all things of this kind take up.
    pub usage: Usage,
    /// How many such things there are.
    pub count: usize,
}

/// The whole report.
#[derive(Debug, Clone)]
pub struct DiskReport {
    /// Images, damaged ones last.
    pub images: Vec<ImageUsage>,
    /// Steps of builds that the store keeps as images without names.
    pub steps: Vec<StepUsage>,
    /// All layers with a record.
    pub layers: Vec<LayerUsage>,
    /// Containers.
    pub containers: Vec<ContainerUsage>,
    /// Local volumes.
    pub volumes: Vec<VolumeUsage>,
    /// Volumes that are caches of the commands of builds.
    pub cache_mounts: Vec<VolumeUsage>,
    /// The rest.
    pub lines: Vec<RestLine>,
    /// The sum of everything, which is what `du -x` says.
    pub total: Usage,
    /// The difference between the total and what images, layers, containers, volumes and lines take up. Always 0.
    pub unaccounted: u64,
}

impl DiskReport {
    /// Makes the report. The images and volumes of `cache` are listed apart.
    #[must_use]
    pub fn new(account: &Account<'_>, cache: &KeptCache) -> Self {
        let holders = account.view.holders();
        let images = images(account, &holders, cache);
        let steps = steps(account, &holders, cache);
        let layers = layers(account, cache);
        let containers = containers(account, &holders);
        let (cache_mounts, volumes): (Vec<_>, Vec<_>) =
            volumes(account).into_iter().partition(|volume| cache.volumes.contains(&volume.name));
        let lines = lines(account);
        let total = account.total();
        // Count bytes once that the report lists twice: an image's layers with the layers, a container's logs with the lines.
        let listed: u64 = images.iter().map(|image| image.records).sum::<u64>()
            + steps.iter().map(|step| step.records).sum::<u64>()
            + layers.iter().map(|layer| layer.sizes.usage.allocated).sum::<u64>()
            + containers.iter().map(|container| container.sizes.usage.allocated - container.logs).sum::<u64>()
            + volumes.iter().chain(&cache_mounts).map(|volume| volume.sizes.usage.allocated).sum::<u64>()
            + lines.iter().map(|line| line.usage.allocated).sum::<u64>();
        let unaccounted = total.allocated.abs_diff(listed);
        Self { images, steps, layers, containers, volumes, cache_mounts, lines, total, unaccounted }
    }
}

/// The ids of all parts of one kind, including those that the catalog does not know, in their order.
fn of_kind<T>(account: &Account<'_>, select: impl Fn(&Part) -> Option<T>) -> Vec<T> {
    account.parts().filter_map(|(part, _)| select(part)).collect()
}

fn images(account: &Account<'_>, holders: &Holders<'_>, cache: &KeptCache) -> Vec<ImageUsage> {
    let catalog = &account.view.catalog;
    let mut ids = of_kind(account, |part| if let Part::Image(id) = part { Some(*id) } else { None });
    ids.retain(|id| !cache.images.contains(id));
    let usage_of = |id: &ImageId| {
        let id = *id;
        let image = catalog.images.get(&id);
        let layers = image.map(|image| image.chain.clone()).unwrap_or_default();
        let records = account.usage(&Part::Image(id));
        let own: Vec<Part> =
            std::iter::once(Part::Image(id)).chain(layers.iter().map(|chain| Part::Layer(*chain))).collect();
        let usage: Usage = own.iter().map(|part| account.usage(part)).sum();
        let removal = holders.if_removed(&RemovalRequest {
            images: vec![id],
            containers: Vec::new(),
            certainty: Certainty::AsDockerd,
        });
        let kept = removal.kept.first().map(|(_, reason)| reason.to_string());
        let going = parts_of(&removal);
        // A damaged image frees only its own records: its layers are not known.
        let unique = if image.is_some() { account.freed_with(&going) } else { records.allocated };
        let stays = own.iter().filter(|part| image.is_some() && !going.contains(part));
        let shared = stays.map(|part| account.usage(part).allocated).sum();
        let damage = catalog.damaged_images.get(&id).map(ToString::to_string);
        let damage_code = catalog.damaged_images.get(&id).map(ImageDamage::code);
        let lost = || (image.is_none()).then(|| "metadata without a config".to_owned());
        ImageUsage {
            id,
            names: catalog.names_of(id).into_iter().map(str::to_owned).collect(),
            intermediate: image.is_some_and(|image| catalog.is_intermediate(image)),
            sizes: Sizes { usage, shared, unique },
            records: records.allocated,
            layers,
            damage: damage.or_else(lost),
            damage_code: damage_code.or_else(|| image.is_none().then_some("image-config-missing")),
            kept: if image.is_some() { kept } else { None },
        }
    };
    let mut images = Vec::with_capacity(ids.len());
    parallel::each(&ids, usage_of, |image| images.push(image));
    images.sort_by_key(|image| (image.damage.is_some(), std::cmp::Reverse(image.sizes.usage.allocated), image.id));
    images
}

fn layers(account: &Account<'_>, cache: &KeptCache) -> Vec<LayerUsage> {
    let catalog = &account.view.catalog;
    let ids = of_kind(account, |part| if let Part::Layer(id) = part { Some(*id) } else { None });
    let usage_of = |id: &ChainId| {
        let id = *id;
        let all = catalog.uses(id);
        let part = Part::Layer(id);
        let usage = account.usage(&part);
        let unique = if all.len() > 1 { 0 } else { account.freed_with([&part]) };
        let step = all.clone().find_map(|user| user.command()).map(str::to_owned);
        let record = catalog.layers.get(&id);
        let users = all.clone().filter(|user| !cache.images.contains(&user.image.id));
        let count = users.clone().count();
        let build_cache = all.len() > count || account.view.held_by_build_cache(id) && count > 0;
        LayerUsage {
            id,
            cache_id: record.and_then(|record| Some(record.as_ref().ok()?.cache_id.clone())),
            sizes: Sizes { usage, shared: usage.allocated - unique, unique },
            images: count,
            names: users.flat_map(|user| catalog.names_of(user.image.id)).map(str::to_owned).collect(),
            created_by: step.unwrap_or_default(),
            build_cache,
            damage: record.and_then(|record| record.as_ref().err()).map(ToString::to_string),
            damage_code: record.and_then(|record| record.as_ref().err()).map(RecordDamage::code),
        }
    };
    let mut layers = Vec::with_capacity(ids.len());
    parallel::each(&ids, usage_of, |layer| layers.push(layer));
    layers.sort_by_key(|layer| (std::cmp::Reverse(layer.sizes.usage.allocated), layer.id));
    layers
}

/// The removal of a container as `docker rm` does it.
fn removing(container: &ContainerId) -> RemovalRequest {
    RemovalRequest { images: Vec::new(), containers: vec![container.clone()], certainty: Certainty::AsDockerd }
}

fn containers(account: &Account<'_>, holders: &Holders<'_>) -> Vec<ContainerUsage> {
    let mut containers: Vec<ContainerUsage> = account
        .view
        .catalog
        .containers
        .iter()
        .map(|container| {
            let id = &container.id;
            let parts = parts_of_container(id);
            let usage: Usage = parts.iter().map(|part| account.usage(part)).sum();
            let unique = account.freed(holders.if_removed(&removing(id))).allocated;
            let stays = usage.allocated - account.freed_with(&parts);
            ContainerUsage {
                id: id.clone(),
                name: container.name.clone(),
                image: container.image_name.clone(),
                sizes: Sizes { usage, shared: stays, unique },
                writable: account.usage(&Part::Writable(id.clone())).allocated,
                logs: account.usage(&Part::Log(id.clone())).allocated,
                damage: container.damage.as_ref().map(ToString::to_string),
                damage_code: container.damage.as_ref().map(ContainerDamage::code),
            }
        })
        .collect();
    containers.sort_by_key(|container| (std::cmp::Reverse(container.sizes.usage.allocated), container.id.clone()));
    containers
}

fn volumes(account: &Account<'_>) -> Vec<VolumeUsage> {
    let links = super::df::volume_links(&account.view.catalog);
    let mut volumes: Vec<VolumeUsage> = account
        .view
        .catalog
        .volumes
        .iter()
        .map(|volume| {
            let parts = [Part::Volume(volume.name.clone()), Part::VolumeData(volume.name.clone())];
            let usage: Usage = parts.iter().map(|part| account.usage(part)).sum();
            let unique = account.freed_with(&parts);
            VolumeUsage {
                name: volume.name.clone(),
                sizes: Sizes { usage, shared: usage.allocated - unique, unique },
                containers: links.get(volume.name.as_str()).copied().unwrap_or_default(),
            }
        })
        .collect();
    volumes.sort_by_key(|volume| (std::cmp::Reverse(volume.sizes.usage.allocated), volume.name.clone()));
    volumes
}

fn lines(account: &Account<'_>) -> Vec<RestLine> {
    let mut lines: BTreeMap<RestKind, (Usage, usize)> = BTreeMap::new();
    for (part, usage) in account.parts() {
        let kind = match part {
            Part::Image(_)
            | Part::Layer(_)
            | Part::Container(_)
            | Part::Writable(_)
            | Part::Volume(_)
            | Part::VolumeData(_) => continue,
            Part::Store => RestKind::Store,
            Part::Log(_) => RestKind::Logs,
            Part::Mount(_) => RestKind::Mounts,
            Part::BuildKit | Part::Cache(_) | Part::CacheData(_) => RestKind::BuildCache,
            Part::Removing(_) => RestKind::Removing,
            Part::Unfinished(_) => RestKind::Unfinished,
            Part::Orphan(_) => RestKind::Orphans,
            Part::Referred(_) => RestKind::Referred,
            Part::StaleLinks => RestKind::StaleLinks,
            Part::Unknown(_) => RestKind::Unknown,
            Part::Other(path) => RestKind::Other(path.clone()),
        };
        if usage == Usage::default() {
            continue;
        }
        let line = lines.entry(kind).or_default();
        line.0 += usage;
        line.1 += usize::from(!matches!(part, Part::CacheData(_)));
    }
    lines.into_iter().map(|(kind, (usage, count))| RestLine { kind, usage, count }).collect()
}
