//! `layerfs container ls`: `docker container ls` from disk, honest about what only a daemon knows.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use snapshot::catalog::Container;
use snapshot::usage::sizes;
use snapshot::view::{Needs, View};

use super::row::{self, Sizes, Style};
use super::selection;
use crate::commands::layerfs::NAME;
use crate::exit::{UsageError, until_the_end};
use crate::{damage, output};
use docker_format::filter::{self, Filters};
use docker_format::listing::Row;
use docker_format::presets;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Show all containers, not only those that run
    #[arg(short, long)]
    all: bool,

    /// Only containers that: ancestor=IMAGE, before=, since=, exited=CODE, health=, id=, is-task=, label=KEY[=VALUE], name=, network=, status=, volume=
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,

    /// `table`, `table TEMPLATE`, `raw`, `json`, or a Go template for each row
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,

    /// Show the N containers made last, whatever their state
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value = "-1",
        hide_default_value = true,
        allow_negative_numbers = true
    )]
    last: i64,

    /// Show the container made last, whatever its state
    #[arg(short, long)]
    latest: bool,

    /// Do not cut ids, commands and names of mounts short
    #[arg(long)]
    no_trunc: bool,

    /// Only show ids
    #[arg(short, long)]
    quiet: bool,

    /// Show sizes
    #[arg(short, long)]
    size: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter).map_err(|error| UsageError(format!("--filter: {error}")))?;
    filters.check(filter::Command::ContainerList)?;
    selection::check(&filters)?;
    let view = until_the_end(View::read(root, driver, Needs::LISTING)?);
    let last = if args.latest { 1 } else { args.last };
    let all = args.all || last > 0 || filters.contains("status");
    let mut known: Vec<&Container> = view.catalog().live_containers().collect();
    known.sort_by_key(|container| {
        std::cmp::Reverse((container.created.moment().unwrap_or(Timestamp::MIN), container.id.clone()))
    });
    let mut shown = selection::select(&view, &filters, known)?;
    shown.retain(|container| all || container.status().is_up());
    if let Ok(last) = usize::try_from(last)
        && last > 0
    {
        shown.truncate(last);
    }
    let format = presets::containers(&args.format, args.quiet, args.size);
    let sizes = args.size || format.contains(".Size");
    let style = Style { whole: args.no_trunc, now: Timestamp::now() };
    let rows: Vec<Row> = shown
        .into_iter()
        .map(|container| {
            let sizes = if sizes { measure(&view, container) } else { Sizes::default() };
            row::row(view.catalog(), container, sizes, style)
        })
        .collect();
    output::raw(&presets::CONTAINERS.render(&format, &rows)?)?;
    damage::report(NAME, &view);
    Ok(ExitCode::SUCCESS)
}

/// How much a container has written, and how much that is with its image: -1 where it cannot be told, as in docker.
pub(crate) fn measure(view: &View, container: &Container) -> Sizes {
    let size = sizes::measure_container(view, container);
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let written = size.written.map_or(-1, signed);
    Sizes { written, with_image: size.image.map_or(0, |image| signed(image).saturating_add(written.max(0))) }
}
