//! `layerfs builder prune`: `docker builder prune` for the cache of `image build`, offline (docker/cli v20.10.24
//! `cli/command/builder/prune.go`).
//!
//! The records of the cache are images and volumes, which are removed as any others are; dockerd's own build cache stays.

mod choice;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use jiff::Timestamp;
use snapshot::catalog::Catalog;
use snapshot::edit::RemovedItem;
use snapshot::root::DataRoot;

use super::container::create::store;
use super::image::change::{change, is_gone, removal};
use crate::exit::UsageError;
use crate::own_cache::{OwnCache, measure};
use crate::pruning;
use choice::Wanted;

const TITLE: &str = "Deleted build cache objects:";

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Accepted, as docker has it; what images stand on stays in any case
    #[arg(short, long)]
    all: bool,

    /// Only what was not used for so long (until=DURATION), or has this: id, parent, type, description, private
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Leave so much, and take what was not used for the longest time first
    #[arg(long, value_name = "BYTES")]
    keep_storage: Option<String>,
}

pub(crate) fn prune(args: &PruneArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let keep = args.keep_storage.as_deref().map_or(Ok(0), bytes)?;
    let filters = pruning::filters(&args.filter)?;
    let what = if args.all { "all build cache" } else { "all dangling build cache" };
    if !args.force && !pruning::confirms(&format!("WARNING! This will remove {what}. "))? {
        return pruning::say_removed(TITLE, &[], 0);
    }
    let wanted = Wanted::parse(&filters, keep, Timestamp::now());
    let wanted = wanted.map_err(|reason| anyhow::anyhow!("failed to prune build cache: {reason}"))?;
    let choice = {
        let data_root = DataRoot::find(root, driver)?;
        let catalog = Catalog::read(&data_root)?;
        let own = OwnCache::read(&catalog, |name| measure(&data_root, name));
        wanted.choose(&catalog, &own)
    };
    let (mut lines, mut reclaimed) = (Vec::new(), 0_u64);
    if !choice.volumes.is_empty() {
        let selects = |volume: &snapshot::catalog::Volume| {
            choice.volumes.contains(&volume.name) && !build::is_cache_in_use(root, &volume.name)
        };
        for (name, size) in store(root, driver)?.prune_volumes(selects)? {
            lines.push(build::digits_of_cache(&name).unwrap_or(&name).to_owned());
            reclaimed = reclaimed.saturating_add(size);
        }
    }
    if wanted.is_everything() {
        let forgotten = build::forget_contexts(root, wanted.until.map(Into::into));
        reclaimed = reclaimed.saturating_add(forgotten.context("forgetting the files of contexts")?);
    }
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
            let mut lines = lines.clone();
            let mut reclaimed = reclaimed;
            for (removed, size) in removed.iter().zip(sizes).filter(|(removed, _)| is_gone(removed, kept)) {
                reclaimed = reclaimed.saturating_add(size);
                if let RemovedItem::Image(id) = removed {
                    lines.push(id.0.hex());
                }
            }
            pruning::say_removed(TITLE, &lines, reclaimed)
        },
    )
}

fn bytes(text: &str) -> Result<u64, UsageError> {
    let bytes = docker_format::size::ram_in_bytes(text).and_then(|bytes| u64::try_from(bytes).ok());
    let quoted = docker_format::quoted(text);
    bytes.ok_or_else(|| {
        UsageError(format!("invalid argument {quoted} for \"--keep-storage\" flag: invalid size: '{text}'"))
    })
}

fn size_of(catalog: &Catalog, removed: &RemovedItem) -> u64 {
    match removed {
        RemovedItem::Layer(chain_id) => catalog.layer(*chain_id).map_or(0, |layer| layer.size),
        RemovedItem::Untagged(_) | RemovedItem::Image(_) => 0,
    }
}
