//! `layerfs image prune`: `docker image prune`, offline.

use std::path::Path;
use std::process::ExitCode;

use docker_format::filter::Command;
use jiff::Timestamp;
use snapshot::catalog::{Catalog, Image};
use snapshot::edit::RemovedItem;

use super::change::{change, is_gone, removal};
use crate::pruning::{self, is_sure};

const TITLE: &str = "Deleted Images:";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Also images with a name that no container uses
    #[arg(short, long)]
    all: bool,

    /// Only images that: label=KEY[=VALUE], label!=KEY[=VALUE], until=TIME
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut filters = pruning::filters(&args.filter)?;
    filters.add("dangling", if args.all { "false" } else { "true" });
    let what =
        if args.all { "all images without at least one container associated to them" } else { "all dangling images" };
    if !args.force && !is_sure(what)? {
        return pruning::say_removed(TITLE, &[], 0);
    }
    filters.check(Command::ImagePrune)?;
    let all = !filters.dangling_to_prune()?;
    let until = filters.until(Timestamp::now())?;
    let selects = |image: &Image| {
        until.is_none_or(|until| image.created.is_none_or(|created| created <= until))
            && image.labels().is_none_or(|labels| filters.labels_match(&labels))
    };
    change(
        root,
        driver,
        |catalog, snapshots, edits| {
            let mut removal = removal(catalog, snapshots);
            let removed = removal.prune(all, selects);
            edits.extend(removal.into_edits());
            let sizes: Vec<u64> = removed.iter().map(|removed| size_of(catalog, removed)).collect();
            Ok((removed, sizes))
        },
        |(removed, sizes), kept| {
            let gone = removed.iter().zip(sizes).filter(|(removed, _)| is_gone(removed, kept));
            let (lines, sizes): (Vec<String>, Vec<u64>) = gone.map(|(removed, size)| (line(removed), size)).unzip();
            pruning::say_removed(TITLE, &lines, sizes.iter().fold(0, |sum, size| sum.saturating_add(*size)))
        },
    )
}

fn size_of(catalog: &Catalog, removed: &RemovedItem) -> u64 {
    match removed {
        RemovedItem::Layer(chain_id) => catalog.layer(*chain_id).map_or(0, |layer| layer.size),
        RemovedItem::Untagged(_) | RemovedItem::Image(_) => 0,
    }
}

fn line(removed: &RemovedItem) -> String {
    match removed {
        RemovedItem::Untagged(name) => format!("untagged: {name}"),
        RemovedItem::Image(id) => format!("deleted: {id}"),
        RemovedItem::Layer(chain_id) => format!("deleted: {chain_id}"),
    }
}
