//! `layerfs builder prune`: `docker builder prune` for the cache of `image build`, offline (docker/cli v20.10.24
//! `cli/command/builder/prune.go`).
//!
//! The records of the cache are images and volumes, which are removed as any others are; dockerd's own build cache stays.

mod choice;
mod selector;

use std::collections::HashMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use snapshot::catalog::Catalog;
use snapshot::edit::RemovedItem;
use snapshot::root::DataRoot;
use snapshot::schema::buildkit::CacheRecord;

use super::container::create::store;
use super::image::change::{change, is_gone, removal};
use crate::exit::UsageError;
use crate::own_cache::{Kept, OwnCache, measure};
use crate::pruning;
pub(super) use choice::{Room, Wanted, size};

const TITLE: &str = "Deleted build cache objects:";

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Accepted, as docker has it; what images stand on stays in any case
    #[arg(short, long)]
    pub(super) all: bool,

    /// Only what was not used for so long (until=DURATION), or has this: id=REGEX, type=TYPE, description=TEXT
    #[arg(long, value_name = "FILTER")]
    pub(super) filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    pub(super) force: bool,

    #[command(flatten)]
    pub(super) room: RoomArgs,
}

/// How much is left.
#[derive(Debug, clap::Args)]
pub(super) struct RoomArgs {
    /// Leave so much, and take what was not used for the longest time first
    #[arg(long, value_name = "BYTES")]
    reserved_space: Option<String>,

    /// The older word for --reserved-space
    #[arg(long, value_name = "BYTES", conflicts_with = "reserved_space")]
    keep_storage: Option<String>,

    /// Leave no more than this
    #[arg(long, value_name = "BYTES")]
    max_used_space: Option<String>,

    /// Go on until so much is free on the disk
    #[arg(long, value_name = "BYTES")]
    min_free_space: Option<String>,
}

impl RoomArgs {
    pub(super) fn room(&self) -> Result<Room, UsageError> {
        let bytes = |flag: &str, text: &Option<String>| text.as_deref().map_or(Ok(0), |text| bytes(flag, text));
        Ok(Room {
            reserved: bytes("reserved-space", &self.reserved_space)?.max(bytes("keep-storage", &self.keep_storage)?),
            most: bytes("max-used-space", &self.max_used_space)?,
            free: bytes("min-free-space", &self.min_free_space)?,
        })
    }
}

/// What is asked before anything is removed.
pub(super) fn warning(all: bool) -> &'static str {
    if all {
        "WARNING! This will remove all build cache. "
    } else {
        "WARNING! This will remove all dangling build cache. "
    }
}

pub(crate) fn prune(args: &PruneArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let room = args.room.room()?;
    let filters = pruning::filters(&args.filter)?;
    if !args.force && !pruning::confirms(warning(args.all))? {
        return pruning::say_removed(TITLE, &[], 0);
    }
    let wanted = Wanted::parse(&filters, room, Timestamp::now());
    let wanted = wanted.map_err(|reason| anyhow::anyhow!("failed to prune build cache: {reason}"))?;
    remove(&wanted, root, driver, |removed, reclaimed| {
        let lines: Vec<String> = removed.iter().map(|record| record.id.clone()).collect();
        pruning::say_removed(TITLE, &lines, reclaimed)
    })
}

/// Removes what is wanted. `say` gets what has gone, in this order, and how many bytes that gave back.
pub(super) fn remove(
    wanted: &Wanted,
    root: &Path,
    driver: Option<&str>,
    say: impl FnOnce(&[CacheRecord], u64) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let (choice, records) = {
        let data_root = DataRoot::find(root, driver)?;
        let catalog = Catalog::read(&data_root)?;
        let own = OwnCache::read(&catalog, |name| measure(&data_root, name));
        let disk = rustix::fs::statvfs(root).with_context(|| root.display().to_string())?;
        let choice = wanted.choose(&catalog, &own, disk.f_bfree.saturating_mul(disk.f_frsize));
        (choice, own.kept_as.into_iter().zip(own.records).collect::<Vec<(Kept, CacheRecord)>>())
    };
    let (mut gone, mut reclaimed) = (Vec::new(), 0_u64);
    if !choice.volumes.is_empty() {
        let selects = |volume: &snapshot::catalog::Volume| {
            choice.volumes.contains(&volume.name) && !build::is_cache_in_use(root, &volume.name)
        };
        for (name, size) in store(root, driver)?.prune_volumes(selects)? {
            let is_it = |kept: &Kept| matches!(kept, Kept::Volume(volume) if *volume == name);
            gone.extend(records.iter().find(|(kept, _)| is_it(kept)).map(|(_, record)| record.clone()));
            reclaimed = reclaimed.saturating_add(size);
        }
    }
    if wanted.is_everything() {
        let forgotten = build::forget_contexts(root, wanted.until.map(Into::into));
        reclaimed = reclaimed.saturating_add(forgotten.context("forgetting the files of contexts")?);
    }
    let steps: HashMap<_, _> = records
        .iter()
        .filter_map(|(kept, record)| if let Kept::Image(id) = kept { Some((*id, record)) } else { None })
        .collect();
    change(
        root,
        driver,
        |catalog, snapshots, edits| {
            let mut removal = removal(catalog, snapshots);
            // What another command has begun to use meanwhile is refused, and stays.
            let removed = choice.records.iter().filter_map(|id| removal.remove(&id.0.hex(), false, false).ok());
            let removed: Vec<RemovedItem> = removed.flatten().collect();
            edits.extend(removal.into_edits());
            let sizes: Vec<u64> = removed.iter().map(|removed| size_of(catalog, removed)).collect();
            Ok((removed, sizes))
        },
        |(removed, sizes), kept| {
            for (removed, size) in removed.iter().zip(sizes).filter(|(removed, _)| is_gone(removed, kept)) {
                reclaimed = reclaimed.saturating_add(size);
                if let RemovedItem::Image(id) = removed {
                    gone.extend(steps.get(id).map(|record| (*record).clone()));
                }
            }
            say(&gone, reclaimed)
        },
    )
}

fn bytes(flag: &str, text: &str) -> Result<u64, UsageError> {
    let bytes = docker_format::size::ram_in_bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
    let quoted = docker_format::quoted(text);
    bytes.ok_or_else(|| UsageError(format!("invalid argument {quoted} for \"--{flag}\" flag: invalid size: '{text}'")))
}

fn size_of(catalog: &Catalog, removed: &RemovedItem) -> u64 {
    match removed {
        RemovedItem::Layer(chain_id) => catalog.layer(*chain_id).map_or(0, |layer| layer.size),
        RemovedItem::Untagged(_) | RemovedItem::Image(_) => 0,
    }
}
