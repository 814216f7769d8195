//! `layerfs container diff`: `docker container diff`, offline.

use std::path::Path;
use std::process::ExitCode;

use images::tree::{ChangeKind, Layers, TreeError, docker_changes, read_trees};
use serde::Serialize;

use super::content::with_layers;
use crate::commands::image::JsonPath;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The container, by name or id
    container: String,

    /// Report as JSON, an object a line
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    with_layers(&args.container, root, driver, |_, _, layers| {
        let last = layers.len() - 1;
        let before = read_trees(layers, 0..last, None)?;
        let mut after = before.clone();
        after.stack_layers(layers, last..layers.len(), None)?;
        let mut text = String::new();
        for (kind, path) in docker_changes::<TreeError>(&before, &after, last, &mut |_, _, _| Ok(false))? {
            let (letter, kind) = match kind {
                ChangeKind::Added => ('A', "added"),
                ChangeKind::Changed => ('C', "changed"),
                ChangeKind::Deleted => ('D', "deleted"),
            };
            if args.json {
                text += &serde_json::to_string(&Line { path: JsonPath::new(&path), kind })?;
                text.push('\n');
                continue;
            }
            // A name that is no UTF-8 is shown as docker shows it, which sends names as JSON.
            text += &format!("{letter} /{}\n", String::from_utf8_lossy(&path));
        }
        output::raw(&text)?;
        Ok(ExitCode::SUCCESS)
    })
}
