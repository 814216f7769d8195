//! `layerfs volume create`, `rm`, `prune`: docker's, offline.

use std::path::Path;
use std::process::ExitCode;

use containers::ContainerError;
use docker_format::filter::{Command, Filters};
use docker_format::size::size4;

use crate::commands::container::create::store;
use crate::commands::container::verbs::is_sure;
use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::{output, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Driver: local
    #[arg(short, long, default_value = "local", hide_default_value = true)]
    driver: String,

    /// The volume's name; without one, it is drawn
    name: Option<String>,
}

pub(crate) fn create(args: &CreateArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    if args.driver != "local" {
        anyhow::bail!("create volume: error looking up volume plugin {0}: plugin {0:?} not found", args.driver);
    }
    let name = store(root, driver)?.create_volume(args.name.as_deref())?;
    output::say(&name)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
pub(crate) struct RmArgs {
    /// No error for a volume that does not exist
    #[arg(short, long)]
    force: bool,

    /// Volumes
    #[arg(required = true, value_name = "VOLUME")]
    volumes: Vec<String>,
}

pub(crate) fn rm(args: &RmArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let store = store(root, driver)?;
    signals::wait_for_the_end()?;
    let mut status = ExitCode::SUCCESS;
    for name in &args.volumes {
        match store.remove_volume(name) {
            Ok(()) => output::say(name)?,
            Err(ContainerError::NoVolume(_)) if args.force => output::say(name)?,
            Err(error) => {
                let text = match error {
                    ContainerError::NoVolume(_) => format!("No such volume: {name}"),
                    error => format!("{:#}", anyhow::Error::from(error)),
                };
                output::complain(NAME, &text);
                status = ExitCode::FAILURE;
            }
        }
    }
    Ok(status)
}

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Only volumes that: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

pub(crate) fn prune(args: &PruneArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let filters = Filters::parse(&args.filter).map_err(|error| UsageError(format!("--filter: {error}")))?;
    if !args.force && !is_sure("all local volumes not used by at least one container")? {
        output::say("Total reclaimed space: 0B")?;
        return Ok(ExitCode::SUCCESS);
    }
    filters.check(Command::VolumePrune)?;
    signals::wait_for_the_end()?;
    let measure = |root: &Path, name: &snapshot::ids::VolumeName| {
        snapshot::dir::Dir::open(&snapshot::schema::volume::content_path(root, name))
            .ok()
            .and_then(|data| layerfs::tree_size(&data).ok())
            .unwrap_or(0)
    };
    let gone = store(root, driver)?.prune_volumes(|volume| filters.labels_match(&volume.labels), measure)?;
    if !gone.is_empty() {
        output::say("Deleted Volumes:")?;
        gone.iter().try_for_each(|(name, _)| output::say(name))?;
        output::say("")?;
    }
    let reclaimed: u64 = gone.iter().map(|(_, size)| *size).sum();
    output::say(&format!("Total reclaimed space: {}", size4(reclaimed)))?;
    Ok(ExitCode::SUCCESS)
}
