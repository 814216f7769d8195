//! `layerfs`: docker's grammar, offline.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};

use crate::commands::{container, image, system};
use crate::exit::Usage;
use crate::generate::Generate;

pub(crate) const NAME: &str = "layerfs";

/// Docker's image and layer storage, without a daemon
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100, args_override_self = true)]
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

    #[command(hide = true)]
    Images(image::list::Args),
    #[command(hide = true)]
    History(image::history::Args),
    #[command(hide = true)]
    Load(image::load::Args),
    #[command(hide = true)]
    Ps(container::list::Args),

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
    let cli = Cli::parse_from(plain_flags(&Cli::command(), std::env::args_os()));
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
        Command::Image(Image::Ls(args)) | Command::Images(args) => image::list::run(&args, &cli.root, driver),
        Command::Image(Image::Inspect(args)) => image::inspect::run(&args, &cli.root, driver),
        Command::Image(Image::History(args)) | Command::History(args) => image::history::run(&args, &cli.root, driver),
        Command::Image(Image::Load(args)) | Command::Load(args) => image::load::run(args, &cli.root, driver),
        Command::Image(Image::Tree(args)) => image::tree::run(&args, &cli.root, driver),
        Command::Container(Container::Ls(args)) | Command::Ps(args) => container::list::run(&args, &cli.root, driver),
        Command::System(System::Df(args)) => system::df::run(&args, &cli.root, driver),
        Command::System(System::Owner(args)) => system::owner::run(&args, &cli.root, driver),
    }
}

/// Arguments with Go's way to give a flag a value, `--all=false`, turned into `--all` or nothing.
fn plain_flags(command: &clap::Command, arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut flags = Vec::new();
    let mut left = vec![command];
    while let Some(command) = left.pop() {
        left.extend(command.get_subcommands());
        let set = command.get_arguments().filter(|argument| matches!(argument.get_action(), ArgAction::SetTrue));
        flags.extend(
            set.flat_map(|flag| {
                [flag.get_long().map(|name| format!("--{name}")), flag.get_short().map(|name| format!("-{name}"))]
            })
            .flatten(),
        );
    }
    let plain = |argument: OsString| {
        let given = argument.to_str().and_then(|text| text.split_once('='));
        let Some((flag, value)) = given.filter(|(flag, _)| flags.iter().any(|known| known == flag)) else {
            return Some(argument);
        };
        match crate::flags::parse_bool(value) {
            Ok(true) => Some(flag.into()),
            Ok(false) => None,
            Err(_) => Some(argument),
        }
    };
    arguments.filter_map(plain).collect()
}
