//! `layerfs builder prune`: `docker builder prune` for the cache of `image build`, offline.
//!
//! The records of the cache are images, so that this is an `image prune` which takes nothing else; dockerd's own build cache stays.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use docker_format::filter::Command;
use jiff::Timestamp;
use snapshot::catalog::{Catalog, Image};
use snapshot::edit::RemovedItem;

use super::container::create::store;
use super::image::change::{change, is_gone, removal};
use crate::pruning::{self, is_sure};

const TITLE: &str = "Deleted build cache objects:";

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Also the directories that `RUN --mount=type=cache` keeps
    #[arg(short, long)]
    all: bool,

    /// Only what is older: until=TIME
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn prune(args: &PruneArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let filters = pruning::filters(&args.filter)?;
    let what = if args.all { "all build cache that no image stands on" } else { "all dangling build cache" };
    if !args.force && !is_sure(what)? {
        return pruning::say_removed(TITLE, &[], 0);
    }
    filters.check(Command::ImagePrune)?;
    let until = filters.until(Timestamp::now())?;
    let (mut lines, mut reclaimed) = (Vec::new(), 0_u64);
    if args.all {
        let measure = |root: &Path, name: &snapshot::ids::VolumeName| {
            let data = snapshot::dir::Dir::open(&snapshot::schema::volume::content_path(root, name)).ok();
            data.and_then(|data| layerfs::tree_size(&data).ok()).unwrap_or(0)
        };
        let gone = store(root, driver)?.prune_volumes(|volume| build::is_cache_volume(&volume.name), measure)?;
        for (name, size) in gone {
            lines.push(name.to_string());
            reclaimed = reclaimed.saturating_add(size);
        }
    }
    let forgotten = build::forget_contexts(root, until.map(Into::into));
    reclaimed = reclaimed.saturating_add(forgotten.context("forgetting the files of contexts")?);
    let selects = |image: &Image| {
        build::is_record(&image.config.container_config)
            && until.is_none_or(|until| image.created.is_none_or(|created| created <= until))
    };
    change(
        root,
        driver,
        |catalog, snapshots, edits| {
            let mut removal = removal(catalog, snapshots);
            let removed = removal.prune(false, selects);
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
                    lines.push(id.to_string());
                }
            }
            pruning::say_removed(TITLE, &lines, reclaimed)
        },
    )
}

fn size_of(catalog: &Catalog, removed: &RemovedItem) -> u64 {
    match removed {
        RemovedItem::Layer(chain_id) => catalog.layer(*chain_id).map_or(0, |layer| layer.size),
        RemovedItem::Untagged(_) | RemovedItem::Image(_) => 0,
    }
}
