//! `layerfs`: docker's grammar, offline.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::commands::{container, image, system};
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

    /// Storage driver of the data-root; for writing, naming it insists on it [default: what the root holds]
    #[arg(long, global = true, value_name = "DRIVER")]
    storage_driver: Option<String>,

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

    /// Manage containers
    #[command(subcommand)]
    Container(Container),

    /// Look after the data-root
    #[command(subcommand)]
    System(System),
}

#[derive(Debug, Subcommand)]
enum Image {
    /// List images
    #[command(visible_alias = "list")]
    Ls(image::list::Args),
    /// Show everything about images
    Inspect(image::inspect::Args),
    /// Show the steps by which an image was made
    History(image::history::Args),
    /// Load images from a tar archive or standard input
    Load(image::load::Args),
    /// Show the layers as they stand on each other, with their images and containers
    Tree(image::tree::Args),
}

#[derive(Debug, Subcommand)]
enum Container {
    /// List containers, as far as the disk tells of them
    #[command(visible_aliases = ["ps", "list"])]
    Ls(container::list::Args),
}

#[derive(Debug, Subcommand)]
enum System {
    /// Show what images, containers, volumes and the build cache take up
    Df(system::df::Args),
    /// Say whose a directory, a file, a link or an id is, and why it is kept
    Owner(system::owner::Args),
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
    let driver = cli.storage_driver.as_deref();
    let Some(command) = cli.command else {
        return Err(Usage("no command (--help lists them)".into()).into());
    };
    match command {
        Command::Image(Image::Ls(args)) => image::list::run(&args, &cli.root, driver),
        Command::Image(Image::Inspect(args)) => image::inspect::run(&args, &cli.root, driver),
        Command::Image(Image::History(args)) => image::history::run(&args, &cli.root, driver),
        Command::Image(Image::Load(args)) => image::load::run(args, &cli.root, driver),
        Command::Image(Image::Tree(args)) => image::tree::run(&args, &cli.root, driver),
        Command::Container(Container::Ls(args)) => container::list::run(&args, &cli.root, driver),
        Command::System(System::Df(args)) => system::df::run(&args, &cli.root, driver),
        Command::System(System::Owner(args)) => system::owner::run(&args, &cli.root, driver),
    }
}
