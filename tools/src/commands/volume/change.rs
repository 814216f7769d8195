//! `layerfs volume create`, `rm`, `prune`: docker's, offline.

use std::path::Path;
use std::process::ExitCode;

use containers::ContainerError;
use docker_format::filter::Command;

use crate::commands::container::create::store;
use crate::commands::container::pairs;
use crate::commands::layerfs::NAME;
use crate::pruning::{self, is_sure};
use crate::unsupported::unsupported;
use crate::{output, signals};

const TITLE: &str = "Deleted Volumes:";

unsupported! {
    struct Unsupported;
    switches: ;
    values: availability group limit_bytes required_bytes scope secret sharing topology_preferred topology_required type_
}

#[derive(Debug, clap::Args)]
pub(crate) struct CreateArgs {
    /// Driver: local
    #[arg(short, long, default_value = "local", hide_default_value = true)]
    driver: String,

    /// Set a label: KEY=VALUE
    #[arg(long, value_name = "LABEL")]
    label: Vec<String>,

    /// Set an option: type=TYPE, device=DEVICE, o=OPTIONS of the mount
    #[arg(short, long, value_name = "OPTION")]
    opt: Vec<String>,

    #[command(flatten)]
    unsupported: Unsupported,

    /// The volume's name; without one, it is drawn
    name: Option<String>,
}

pub(crate) fn create(args: &CreateArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.unsupported.refuse()?;
    if args.driver != "local" {
        anyhow::bail!("create volume: error looking up volume plugin {0}: plugin {0:?} not found", args.driver);
    }
    let name = store(root, driver)?.create_volume(args.name.as_deref(), pairs(&args.label), pairs(&args.opt))?;
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

unsupported! { struct UnsupportedByPrune; switches: all -'a'; values: }

#[derive(Debug, clap::Args)]
pub(crate) struct PruneArgs {
    /// Only volumes that: label=KEY[=VALUE], label!=KEY[=VALUE]
    #[arg(long, value_name = "FILTER")]
    filter: Vec<String>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    #[command(flatten)]
    unsupported: UnsupportedByPrune,
}

pub(crate) fn prune(args: &PruneArgs, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.unsupported.refuse()?;
    let filters = pruning::filters(&args.filter)?;
    if !args.force && !is_sure("all local volumes not used by at least one container")? {
        return pruning::say_removed(TITLE, &[], 0);
    }
    filters.check(Command::VolumePrune)?;
    signals::wait_for_the_end()?;
    let gone = store(root, driver)?.prune_volumes(|volume| filters.labels_match(&volume.labels))?;
    let reclaimed: u64 = gone.iter().map(|(_, size)| *size).sum();
    let lines: Vec<String> = gone.iter().map(|(name, _)| name.to_string()).collect();
    pruning::say_removed(TITLE, &lines, reclaimed)
}
