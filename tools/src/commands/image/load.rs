//! `layerfs image load`: `docker image load` into a data-root, with docker's own lines.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use images::load::{ImportReport, ImportRequest, import, import_into_containerd};

use super::stored;
use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::flags::{UnpackFlags, writable};
use crate::progress::Progress;
use crate::{input, output, rootless, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Read from this archive instead of standard input
    #[arg(short, long, value_name = "FILE")]
    input: Option<PathBuf>,

    /// Leave tags that belong to other images where they are
    #[arg(long)]
    no_retag: bool,

    /// Number of threads, which also decode and hash [default: all processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    #[command(flatten)]
    unpack: UnpackFlags,
}

pub(crate) fn run(args: Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let containerd = stored::goes_to_containerd(root, driver);
    let driver = if containerd { None } else { writable(driver)? };
    if args.input.is_none() && std::io::stdin().is_terminal() {
        return Err(UsageError("requested load from stdin, but stdin is empty".into()).into());
    }
    rootless::check(root, "")?;
    let interrupted = signals::interrupted()?;
    let progress = Progress::new(NAME, args.unpack.quiet);
    let mut options = args.unpack.options(args.threads, &interrupted);
    options.retag = !args.no_retag;
    options.driver = driver;
    let archive = args.input.unwrap_or_else(|| PathBuf::from("-"));
    let select = args.unpack.select();
    let request =
        ImportRequest { archive: input::called(&archive), select: &select, options: &options, observer: &progress };
    let opened = input::open(&archive)?;
    let report =
        if containerd { import_into_containerd(opened, root, &request) } else { import(opened, root, &request) };
    let report = report.map_err(input::with_name(&archive))?;
    for skipped in &report.skipped {
        output::complain(NAME, &format!("left out: {skipped}"));
    }
    for warning in &report.warnings {
        output::complain(NAME, &format!("warning: {warning}"));
    }
    for image in &report.images {
        for name in &image.unusable_names {
            output::complain(NAME, &format!("warning: {name}: {}", name.problem));
        }
        if image.tags.is_empty() && !image.unusable_names.is_empty() {
            output::complain(NAME, &format!("image {} has no name: layerfs image tag gives it one", image.id));
        }
    }
    print(&report)?;
    Ok(ExitCode::SUCCESS)
}

/// What dockerd sends to its client (moby v20.10.24 `image/tarexport/load.go`): a line for each tag, and, only if the
/// last image has none, one for each image.
fn print(report: &ImportReport) -> anyhow::Result<()> {
    for image in &report.images {
        for tag in &image.tags {
            if let Some(from) = tag.moved_from {
                let name = &tag.name;
                output::say(&format!(
                    "The image {name} already exists, renaming the old one with ID {from} to empty string"
                ))?;
            }
            if !tag.kept {
                output::say(&format!("Loaded image: {}", tag.name))?;
            }
        }
    }
    if report.images.last().is_some_and(|image| image.tags.is_empty()) {
        for image in &report.images {
            output::say(&format!("Loaded image ID: {}", image.id))?;
        }
    }
    Ok(())
}
