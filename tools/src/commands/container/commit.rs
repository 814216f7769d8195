//! `layerfs container commit`: `docker container commit`, offline.

use std::path::Path;
use std::process::ExitCode;

use anyhow::anyhow;
use containers::Store;
use images::make::merge;
use images::tree::LayersOfContainer;
use images::written::Written;
use snapshot::catalog::{Container, ContainerStatus};
use snapshot::schema::runconfig::RunConfig;
use snapshot::schema::{documents, gojson};
use snapshot::view::View;

use super::content::with_layers;
use crate::commands::image;
use crate::commands::image::commit::{Flags, Parts};
use crate::commands::layerfs::NAME;
use crate::flags::writable;
use crate::{output, rootless};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,

    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,

    /// Let a container that runs stand still meanwhile
    #[arg(short, long, default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = clap::ArgAction::Set, value_parser = crate::flags::parse_bool)]
    pause: bool,

    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    if !image::stored::is_in_containerd(root, driver)? {
        writable(driver)?;
    }
    rootless::check(root, "")?;
    with_layers(&args.container, root, driver, |view, container, layers| {
        commit(args, root, driver, (view, container), layers)
    })
}

fn commit(
    args: &Args,
    root: &Path,
    driver: Option<&str>,
    (view, container): (&View, &Container),
    layers: &LayersOfContainer<'_>,
) -> anyhow::Result<ExitCode> {
    let parent = container.image.ok_or_else(|| anyhow!("container {} was made from no image", container.id))?;
    let before = run_config(view, container)?;
    let mut after = before.clone();
    build::apply_changes(&mut after, &args.flags.change)?;
    merge(&mut after, &before);
    let _paused = pause(args, root, driver, container)?;
    let written = Written::read(layers)?;
    let container = container.id.as_str();
    let parts = Parts { parent, container, before: &before, after: &after, written: &written, layers };
    image::commit::commit(&args.flags, args.name.as_deref(), (view, root, driver), &parts)
}

/// Lets the processes of a container stand still while the result is there. Where that is not possible, the files are taken as
/// they are, which is said.
fn pause(
    args: &Args,
    root: &Path,
    driver: Option<&str>,
    container: &Container,
) -> anyhow::Result<Option<containers::Paused>> {
    if !args.pause || container.status() != ContainerStatus::Running {
        return Ok(None);
    }
    // A container of containerd's store runs under a daemon alone, beside which nothing is written.
    let Ok(driver) = writable(driver) else { return Ok(None) };
    let store = Store { root: root.to_path_buf(), driver };
    let paused = store.pause(&container.id);
    let paused = paused.map_err(|error| {
        output::complain(NAME, &format!("warning: container {} does not stand still: {error}", container.id));
    });
    Ok(paused.ok())
}

/// What the container runs with, as its config file has it.
fn run_config(view: &View, container: &Container) -> anyhow::Result<RunConfig> {
    let config = documents::read_container(view.root().dir(), &container.id)?.config;
    Ok(gojson::from_slice(&serde_json::to_vec(&config.get("Config"))?)?)
}
