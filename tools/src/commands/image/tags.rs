//! `layerfs image tags`: the tags of a repository at its registry.

use std::process::ExitCode;

use crate::registries::{RegistryFlags, parse};
use crate::{output, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The repository
    #[arg(value_name = "REPOSITORY")]
    repository: String,

    /// Report as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    registry: RegistryFlags,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let reference = parse(&args.repository)?;
    let is_bare = reference.tag().is_none() && reference.digest().is_none();
    anyhow::ensure!(is_bare, "the tags of a repository are asked for by its name alone: {}", reference.familiar_name());
    let interrupted = signals::interrupted()?;
    let tags = registry::tags(&args.registry.client(&reference, &interrupted)?, &reference)?;
    if args.json {
        output::json(&tags)?;
    } else {
        tags.iter().try_for_each(|tag| output::say(&output::name(tag)))?;
    }
    Ok(ExitCode::SUCCESS)
}
