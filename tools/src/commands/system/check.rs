//! `layerfs system check`: what is wrong with a store, whom it affects, and what would mend it.

mod json;
mod text;

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;

use snapshot::StoreError;
use snapshot::catalog::Resolved;
use snapshot::check::{CheckReport, Reading, Severity};
use snapshot::ids::ImageId;
use snapshot::view::{Needs, View};

use super::watch::Watch;
use crate::commands::layerfs::NAME;
use crate::{hints, output, signals};

/// The exit status if something could not be looked at.
const NOT_CHECKED: u8 = 2;

/// The exit status of every command that the user has asked to stop.
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
#[command(after_long_help = concat!("What --json prints, one object:\n\n", include_str!("check/json.txt")))]
pub(crate) struct Args {
    /// Images to check, with their layers and containers [default: the whole store]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// Look at records, chains, links and owners only, which is the default
    #[arg(long, conflicts_with = "deep")]
    quick: bool,

    /// Read each file of each layer as well, and compare it with the layer's diff id
    #[arg(long)]
    deep: bool,

    /// Layers to read at once [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Report as JSON
    #[arg(long)]
    json: bool,

    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    match check(args, root, driver) {
        Ok(code) => Ok(code),
        // If the root does not exist or cannot be read, the error is the same for every command.
        Err(error) if error.is::<output::Lost>() || error.downcast_ref().is_some_and(is_no_root) => Err(error),
        // Nothing was looked at, so this is no finding.
        Err(error) => {
            output::complain(NAME, &hints::with_hint(&error));
            Ok(ExitCode::from(NOT_CHECKED))
        }
    }
}

fn is_no_root(error: &StoreError) -> bool {
    matches!(error, StoreError::NoRoot { .. } | StoreError::SeveralDrivers { .. } | StoreError::InContainerd { .. })
}

fn check(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    // Progress names the layer that is read by the command that made it.
    let needs = if args.deep { Needs::ACCOUNT } else { Needs::CHECK };
    let view = View::read(root, driver, needs)?;
    view.root().expect_images()?;
    let wanted = wanted(args, &view)?;
    let mut report = snapshot::check::records(&view)?;
    let mut read = None;
    if args.deep {
        let interrupted = signals::interrupted()?;
        let watch = Watch::new(Some(&view), args.quiet);
        let processors = layerfs::pool::processors();
        let threads = args.threads.and_then(|count| NonZeroUsize::new(count.into())).unwrap_or(processors);
        let reading = Reading { threads, observer: &watch, interrupted: &interrupted };
        read = snapshot::check::contents(&view, &mut report, wanted.as_deref(), &reading)?;
        drop(watch);
        if read.is_none() {
            output::complain(NAME, "interrupted");
            return Ok(ExitCode::from(INTERRUPTED));
        }
    }
    if let Some(wanted) = &wanted {
        report.findings.retain(|finding| finding.affected.images.iter().any(|id| wanted.contains(id)));
    }
    if args.json {
        output::json(&json::value(&view, &report, read))?;
    } else {
        text::print(&view, &report, read)?;
    }
    Ok(status(&report))
}

/// The images that the user named; `None` for all.
fn wanted(args: &Args, view: &View) -> anyhow::Result<Option<Vec<ImageId>>> {
    if args.images.is_empty() {
        return Ok(None);
    }
    let resolve = |text: &String| match view.catalog().resolve(text) {
        Resolved::Image(id) | Resolved::Damaged(id) => Ok(id),
        Resolved::Nothing => Err(anyhow::anyhow!("No such image: {text}")),
    };
    args.images.iter().map(resolve).collect::<anyhow::Result<_>>().map(Some)
}

fn status(report: &CheckReport) -> ExitCode {
    match report.severity() {
        Some(Severity::Damage) => ExitCode::FAILURE,
        Some(Severity::Unknown) => ExitCode::from(NOT_CHECKED),
        Some(Severity::Note) | None => ExitCode::SUCCESS,
    }
}
