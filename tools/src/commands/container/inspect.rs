//! `layerfs container inspect`: `docker container inspect`, offline.

use std::path::Path;
use std::process::ExitCode;

use snapshot::view::{Needs, View};

use super::document::document;
use crate::commands::inspect::print;
use crate::commands::layerfs::NAME;
use crate::damage;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// A Go template for each container, or `json`
    #[arg(short, long)]
    format: Option<String>,

    /// Say how much it has written, and how much it shows in all
    #[arg(short, long)]
    size: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = View::read(root, driver, Needs::RECORDS)?;
    damage::report_two_stores(NAME, &view);
    let found = args.containers.iter().map(|name| document(&view, containers::find(view.catalog(), name)?, args.size));
    print(found.collect(), args.format.as_deref())
}
