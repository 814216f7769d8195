//! `layerfs container export`: `docker container export`, offline and without a mount.

use std::path::Path;
use std::process::ExitCode;

use super::content::with_layers;
use crate::commands::image::export::To;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,

    #[command(flatten)]
    to: To,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.to.check()?;
    with_layers(&args.container, root, driver, |_, _, layers| args.to.export(layers))
}
