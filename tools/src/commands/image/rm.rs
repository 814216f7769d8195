//! `layerfs image rm`: `docker image rm`, offline.

use std::path::Path;
use std::process::ExitCode;

use snapshot::edit::{RemovalError, RemovedItem};

use super::change::{change, is_gone, removal, removal_error};
use crate::commands::layerfs::NAME;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images, by name or id; if an image has several names, giving one of them removes only that name
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// Also images with several names, and those that stopped containers use
    #[arg(short, long)]
    force: bool,

    /// Keep images without a name that the image was built from
    #[arg(long)]
    no_prune: bool,
}

/// Docker's lines and exit status (docker/cli v20.10.24 `cli/command/image/remove.go`).
pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    change(
        root,
        driver,
        |catalog, snapshots, edits| {
            let mut removal = removal(catalog, snapshots);
            let removed: Vec<Result<Vec<RemovedItem>, (String, bool)>> = args
                .images
                .iter()
                .map(|text| {
                    let removed = removal.remove(text, args.force, !args.no_prune);
                    removed
                        .map_err(|error| (removal_error(text, &error), matches!(error, RemovalError::NotFound { .. })))
                })
                .collect();
            edits.extend(removal.into_edits());
            Ok(removed)
        },
        |removed, kept| {
            for removed in removed.iter().flatten().flatten().filter(|removed| is_gone(removed, kept)) {
                match removed {
                    RemovedItem::Untagged(name) => output::say(&format!("Untagged: {name}"))?,
                    RemovedItem::Image(id) => output::say(&format!("Deleted: {id}"))?,
                    RemovedItem::Layer(chain_id) => output::say(&format!("Deleted: {chain_id}"))?,
                }
            }
            let errors: Vec<&(String, bool)> = removed.iter().filter_map(|removed| removed.as_ref().err()).collect();
            for (error, _) in &errors {
                output::complain(NAME, error);
            }
            let fatal = errors.iter().any(|(_, not_found)| !args.force || !not_found);
            Ok(if fatal { ExitCode::FAILURE } else { ExitCode::SUCCESS })
        },
    )
}
