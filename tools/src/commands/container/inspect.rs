//! `layerfs container inspect`: `docker container inspect`, offline.

use std::path::Path;
use std::process::ExitCode;

use snapshot::catalog::{Catalog, Container};
use snapshot::view::{Needs, View};

use super::document::document;
use crate::commands::inspect::print;
use crate::commands::layerfs::NAME;
use crate::damage;
use crate::unsupported::unsupported;

unsupported! { struct Unsupported; switches: size -'s'; values: }

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,

    /// A Go template for each container, or `json`
    #[arg(short, long)]
    format: Option<String>,

    #[command(flatten)]
    unsupported: Unsupported,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.unsupported.refuse()?;
    let view = View::read(root, driver, Needs::RECORDS)?;
    damage::report_two_stores(NAME, &view);
    let (root, catalog) = (view.root(), view.catalog());
    let found = args.containers.iter().map(|name| {
        let container = find(catalog, name).ok_or_else(|| anyhow::anyhow!("No such container: {name}"));
        container.and_then(|container| document(root, catalog, container))
    });
    print(found.collect(), args.format.as_deref())
}

/// The container with this id, this name, or the only one whose id begins so: dockerd's order (moby v20.10.24
/// `daemon/container.go: GetContainer`).
pub(crate) fn find<'c>(catalog: &'c Catalog, text: &str) -> Option<&'c Container> {
    let all = || catalog.live_containers();
    let name = text.trim_start_matches('/');
    let exact = all().find(|one| one.id == text).or_else(|| all().find(|one| one.name == name));
    exact.or_else(|| {
        let mut matching = all().filter(|one| !text.is_empty() && one.id.starts_with(text));
        matching.next().filter(|_| matching.next().is_none())
    })
}
