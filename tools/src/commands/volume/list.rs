//! `layerfs volume ls`: `docker volume ls`, offline, for the volumes that are directories of the data-root.

use std::path::Path;
use std::process::ExitCode;

use docker_format::filter::{self, Filters};
use docker_format::listing::Row;
use docker_format::{natural, presets};
use snapshot::catalog::{Catalog, Volume};
use snapshot::usage::df;
use snapshot::view::{Needs, View};

use super::mountpoint;
use crate::commands::container::row::joined;
use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::output;
use crate::unsupported::unsupported;

unsupported! { struct Unsupported; switches: cluster; values: }

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only volumes that: name=, label=KEY[=VALUE], driver=, dangling=true|false
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,

    /// `table`, `table TEMPLATE`, `raw`, `json`, or a Go template for each row
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,

    /// Only show names
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten)]
    unsupported: Unsupported,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.unsupported.refuse()?;
    let filters = Filters::parse(&args.filter).map_err(|error| UsageError(format!("--filter: {error}")))?;
    filters.check(filter::Command::VolumeList)?;
    let dangling = dangling(&filters)?;
    let view = View::read(root, driver, Needs::RECORDS)?;
    let catalog = view.catalog();
    let links = df::volume_links(catalog);
    let mut volumes: Vec<&Volume> = catalog.volumes().iter().collect();
    volumes.sort_by(|one, other| natural::compare(&one.name, &other.name));
    let shown = volumes
        .into_iter()
        .filter(|volume| passes(&filters, volume))
        .filter(|volume| dangling.is_none_or(|dangling| dangling != links.contains_key(volume.name.as_str())));
    let rows: Vec<Row> = shown.map(|volume| row(catalog, volume)).collect();
    output::raw(&presets::VOLUMES.render(&presets::volumes(&args.format, args.quiet), &rows)?)?;
    crate::damage::report_two_stores(NAME, &view);
    Ok(ExitCode::SUCCESS)
}

/// The value of the `dangling` filter: `true` or `1`, `false` or `0` (moby v20.10.24 `volume/service/service.go`).
fn dangling(filters: &Filters) -> Result<Option<bool>, filter::FilterError> {
    let values = filters.get("dangling");
    let one_of = |words: [&str; 2]| values.iter().any(|value| words.contains(&value.as_str()));
    match () {
        () if values.is_empty() => Ok(None),
        () if one_of(["true", "1"]) => Ok(Some(true)),
        () if one_of(["false", "0"]) => Ok(Some(false)),
        () => Err(filter::FilterError::Value { name: "dangling", values: values.to_vec() }),
    }
}

fn passes(filters: &Filters, volume: &Volume) -> bool {
    let any = |name: &str, matches: &dyn Fn(&str) -> bool| {
        !filters.contains(name) || filters.get(name).iter().any(|value| matches(value))
    };
    any("name", &|value| volume.name.contains(value))
        && any("driver", &|value| value == "local")
        && filters.labels_match(&volume.labels)
}

fn row(catalog: &Catalog, volume: &Volume) -> Row {
    Row::from([
        ("Name", output::name(&volume.name).into_owned()),
        ("Driver", "local".to_owned()),
        ("Scope", "local".to_owned()),
        ("Mountpoint", output::name(&mountpoint(catalog, volume)).into_owned()),
        ("Labels", joined(&volume.labels)),
        // docker's listing does not count links either.
        ("Links", "N/A".to_owned()),
        ("Size", "N/A".to_owned()),
    ])
}
