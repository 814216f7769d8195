//! `layerfs container commit`: `docker container commit`, offline.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Error, anyhow};
use images::load::{ImportRequest, NewImage, store_image};
use images::make::{Commit, committed_config, merge};
use images::pipe::{LayerWriter, piped};
use images::source::{Platform, Select};
use images::tree::LayersOfContainer;
use images::written::Written;
use jiff::Zoned;
use layerfs::DiffId;
use snapshot::catalog::Container;
use snapshot::schema::runconfig::RunConfig;
use snapshot::schema::{documents, gojson};
use snapshot::view::View;

use super::content::with_layers;
use crate::commands::image::change::new_name;
use crate::commands::image::import::created;
use crate::commands::image::tag::rfc3339_nano;
use crate::commands::layerfs::NAME;
use crate::flags::writable;
use crate::progress::Progress;
use crate::{output, rootless, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,

    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,

    /// Who makes it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,

    /// Change what containers of it run with: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, USER, VOLUME or WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// What to say about it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,

    /// Accepted for docker's sake: no container runs while the store is written to
    #[arg(short, long, default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = clap::ArgAction::Set, value_parser = crate::flags::parse_bool)]
    pause: bool,

    /// Do not check first whether there is room
    #[arg(long)]
    no_preflight: bool,

    /// Do not wait until the data is on the disk
    #[arg(long)]
    no_sync: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    writable(driver)?;
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
    let name = args.name.as_deref().map(new_name).transpose().map_err(Error::msg)?;
    let parent = container.image.ok_or_else(|| anyhow!("container {} was made from no image", container.id))?;
    let image = view.catalog().images().get(&parent).ok_or_else(|| {
        anyhow!("the image {parent} that container {} was made from is not there any more", container.id)
    })?;
    let config = view.root().images()?.map_or(Ok(None), |images| images.config(parent))?;
    let parent_config = config.ok_or_else(|| anyhow!("the config of image {parent} cannot be read"))?;
    let before = run_config(view, container)?;
    let mut after = before.clone();
    build::apply_changes(&mut after, &args.change)?;
    merge(&mut after, &before);
    let interrupted = signals::interrupted()?;
    let progress = Progress::new(NAME, false);
    let mut options = images::load::ImportOptions::new(&interrupted);
    (options.driver, options.sync) = (writable(driver)?, !args.no_sync);
    let archive = Path::new("the container's layer");
    let request = ImportRequest { archive, select: &Select::default(), options: &options, observer: &progress };
    let now = Zoned::now();
    let created = created(&now);
    let describe = |layer: Option<DiffId>| {
        let commit = Commit {
            container: container.id.as_str(),
            container_config: &before,
            config: &after,
            author: &args.author,
            comment: &args.message,
            created: &created,
        };
        let config = committed_config(&parent_config, layer, &commit, &Platform::host());
        let config = config.expect("a config that dockerd shows is JSON");
        NewImage { config, parent: Some(parent), tag: name.clone().map(|name| (name, rfc3339_nano(&now))) }
    };
    let written = Written::read(layers)?;
    let id = if written.is_nothing() {
        store_image(root, &image.diff_ids, None, &request, describe)?
    } else {
        if !args.no_preflight {
            written.check_room(view.root())?;
        }
        let write = |out: LayerWriter| written.write(layers, out, &interrupted);
        let store = |layer| store_image(root, &image.diff_ids, Some(layer), &request, describe);
        piped(write, store).context("starting to write the layer")??
    };
    drop(progress);
    output::say(&id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

/// What the container runs with, as its config file has it.
fn run_config(view: &View, container: &Container) -> anyhow::Result<RunConfig> {
    let config = documents::read_container(view.root().dir(), &container.id)?.config;
    Ok(gojson::from_slice(&serde_json::to_vec(&config.get("Config"))?)?)
}
