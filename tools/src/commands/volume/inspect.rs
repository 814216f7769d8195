//! `layerfs volume inspect`: `docker volume inspect`, offline.

use std::path::Path;
use std::process::ExitCode;

use docker_format::ago;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};
use snapshot::catalog::{Catalog, Volume};
use snapshot::root::DataRoot;
use snapshot::schema::documents;
use snapshot::view::{Needs, View};

use super::mountpoint;
use crate::commands::inspect::print;
use crate::commands::layerfs::NAME;
use crate::damage;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Volumes, by name
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,

    /// A Go template for each volume, or `json`
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = View::read(root, driver, Needs::RECORDS)?;
    damage::report_two_stores(NAME, &view);
    let (root, catalog) = (view.root(), view.catalog());
    let found = args.volumes.iter().map(|name| {
        let volume = find(catalog, name).ok_or_else(|| anyhow::anyhow!("No such volume: {name}"));
        volume.map(|volume| document(root, catalog, volume))
    });
    print(found.collect(), args.format.as_deref())
}

pub(crate) fn find<'c>(catalog: &'c Catalog, name: &str) -> Option<&'c Volume> {
    catalog.volumes().iter().find(|volume| volume.name == name)
}

/// A volume as dockerd describes it (moby v20.10.24 `volume/service/convert.go: volumeToAPIType`).
pub(crate) fn document(root: &DataRoot, catalog: &Catalog, volume: &Volume) -> Value {
    let record = documents::read_volume(root.dir(), &volume.name).unwrap_or_default();
    let path = mountpoint(catalog, volume);
    // docker calls the last change of the directory its creation.
    let changed = std::fs::symlink_metadata(&path)
        .ok()
        .and_then(|stat| Timestamp::from_second(std::os::unix::fs::MetadataExt::ctime(&stat)).ok());
    let own = |key: &str| record.get(key).cloned().unwrap_or(Value::Null);
    json!({
        "CreatedAt": changed.map_or_else(String::new, |time| ago::rfc3339(time, &TimeZone::system())),
        "Driver": "local",
        "Labels": own("Labels"),
        "Mountpoint": path,
        "Name": volume.name,
        "Options": own("Options"),
        "Scope": "local",
    })
}
