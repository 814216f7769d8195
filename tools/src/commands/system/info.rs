//! `layerfs info`: what `docker info` says of a data-root, as far as the disk knows it.

use std::path::Path;
use std::process::ExitCode;

use docker_format::inspect;
use serde_json::json;
use snapshot::catalog::ContainerStatus;
use snapshot::view::{Needs, View};

use crate::commands::layerfs::NAME;
use crate::{damage, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A Go template, or `json`
    #[arg(short, long)]
    format: Option<String>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = View::read(root, driver, Needs::LISTING)?;
    let (root, catalog) = (view.root(), view.catalog());
    let count = |wanted: ContainerStatus| catalog.live_containers().filter(|one| one.status() == wanted).count();
    let (all, running, paused) =
        (catalog.live_containers().count(), count(ContainerStatus::Running), count(ContainerStatus::Paused));
    let (stopped, images) = (all - running - paused, (!catalog.images_elsewhere()).then_some(catalog.images().len()));
    let place = std::path::absolute(root.dir().path())?.display().to_string();
    match args.format.as_deref() {
        None | Some("") => {
            for line in [
                "Server:".to_owned(),
                format!(" Containers: {all}"),
                format!("  Running: {running}"),
                format!("  Paused: {paused}"),
                format!("  Stopped: {stopped}"),
                format!(" Images: {}", images.map_or_else(|| "unknown".to_owned(), |images| images.to_string())),
                format!(" Storage Driver: {}", catalog.driver()),
                format!(" Docker Root Dir: {place}"),
            ] {
                output::say(&line)?;
            }
        }
        Some(format) => {
            let info = json!({
                "Containers": all,
                "ContainersRunning": running,
                "ContainersPaused": paused,
                "ContainersStopped": stopped,
                "Images": images,
                "Driver": catalog.driver(),
                "DockerRootDir": place,
            });
            print(&info, format)?;
        }
    }
    damage::report(NAME, &view);
    damage::report_elsewhere(NAME, &view);
    Ok(ExitCode::SUCCESS)
}

/// One document through a template; `json` is all of it.
pub(crate) fn print(document: &serde_json::Value, format: &str) -> anyhow::Result<()> {
    let format = if format == "json" { "{{json .}}" } else { format };
    let inspection = inspect::inspect_raw(std::slice::from_ref(document), format)?;
    match inspection.errors.into_iter().next() {
        None => Ok(output::raw(&inspection.output)?),
        Some(error) => Err(error.into()),
    }
}
