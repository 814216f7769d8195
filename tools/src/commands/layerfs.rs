//! `layerfs`: docker's grammar, offline.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::image_load;
use crate::exit::Usage;
use crate::generate::Generate;

pub(crate) const NAME: &str = "layerfs";

/// Docker's image and layer storage, without a daemon
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100)]
struct Cli {
    /// Docker data-root
    #[arg(long, global = true, value_name = "DATA_ROOT", default_value = "/var/lib/docker")]
    root: PathBuf,

    /// Print the man page, or a shell's completions
    #[arg(long, hide = true, value_name = "WHAT")]
    generate: Option<Generate>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Manage images
    #[command(subcommand)]
    Image(Image),
}

#[derive(Debug, Subcommand)]
enum Image {
    /// Load images from a tar archive or standard input
    Load(image_load::Args),
}

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::run(NAME, || run(cli))
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(what) = cli.generate {
        return what.print(Cli::command());
    }
    match cli.command {
        Some(Command::Image(Image::Load(args))) => image_load::run(args, &cli.root),
        None => Err(Usage("no command (--help lists them)".into()).into()),
    }
}
