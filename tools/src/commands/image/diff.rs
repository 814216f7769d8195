//! `layerfs image diff`: what is different between two images, read from their layers.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use images::tree::{Change, ChangeKind, ImageDifference, NodeId, Tree, difference};
use layerfs::DiffId;
use serde::Serialize;

use super::content::{Content, ContentFlags, JsonPath, short_step, shown};
use crate::output;
use docker_format::size;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The first image, by name or id
    before: String,

    /// The second image, by name or id
    after: String,

    /// Only count what each layer changes
    #[arg(long)]
    stat: bool,

    /// Report as JSON, an object a line
    #[arg(long, conflicts_with = "stat")]
    json: bool,

    #[command(flatten)]
    from: ContentFlags,
}

/// Columns of a step.
const STEP: usize = 40;

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.from.open(Some(&args.before), root, driver, |before| {
        args.from.open(Some(&args.after), root, driver, |after| diff(args, before, after))
    })
}

fn diff(args: &Args, before: &Content<'_>, after: &Content<'_>) -> anyhow::Result<ExitCode> {
    // The layers that both images begin with hold no difference, unless another layer says something about it.
    let common = before.diff_ids.iter().zip(after.diff_ids).take_while(|(one, other)| one == other).count();
    let threads = layerfs::pool::processors().get();
    let ImageDifference { before: old, after: new, changes } =
        difference(before.layers, after.layers, common, threads)?;
    if args.stat {
        return stat(&changes, &old, &new, before, after);
    }
    let mut text = String::new();
    for change in &changes {
        let (letter, kind) = match change.kind {
            ChangeKind::Added => ('A', "added"),
            ChangeKind::Changed => ('C', "changed"),
            ChangeKind::Deleted => ('D', "deleted"),
        };
        let layer = layer_of(change, &old, &new, before, after);
        let sizes = |tree: &Tree, id: Option<NodeId>| id.map(|id| tree.node(id).size());
        let line = if args.json {
            serde_json::to_string(&Line {
                path: JsonPath::new(&change.path),
                kind,
                what: &change.what,
                size_before: sizes(&old, change.before),
                size_after: sizes(&new, change.after),
                layer,
            })?
        } else {
            let what = if change.what.is_empty() { String::new() } else { format!("  ({})", change.what.join(", ")) };
            let layer = layer.map_or_else(|| " ".repeat(12), |layer| layer.0.short());
            format!("{letter} {layer} {}{what}", shown(&change.path))
        };
        text += &line;
        text.push('\n');
    }
    output::page(&text)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Line<'l> {
    #[serde(flatten)]
    path: JsonPath,
    kind: &'static str,
    what: &'l [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    size_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size_after: Option<u64>,
    layer: Option<DiffId>,
}

/// The layer that a changed name is from: of the second image, or, if the name is deleted, of the first.
fn layer_of(change: &Change, old: &Tree, new: &Tree, before: &Content<'_>, after: &Content<'_>) -> Option<DiffId> {
    match (change.after, change.before) {
        (Some(id), _) => after.diff_ids.get(new.node(id).layer).copied(),
        (None, Some(id)) => before.diff_ids.get(old.node(id).layer).copied(),
        (None, None) => None,
    }
}

#[derive(Default)]
struct Count {
    added: u64,
    changed: u64,
    deleted: u64,
    bytes: u64,
}

fn stat(
    changes: &[Change],
    old: &Tree,
    new: &Tree,
    before: &Content<'_>,
    after: &Content<'_>,
) -> anyhow::Result<ExitCode> {
    let mut counts: BTreeMap<(bool, usize), Count> = BTreeMap::new();
    for change in changes {
        let (key, bytes) = match (change.after, change.before) {
            (Some(id), _) => ((true, new.node(id).layer), new.node(id).size()),
            (None, Some(id)) => ((false, old.node(id).layer), 0),
            (None, None) => continue,
        };
        let count = counts.entry(key).or_default();
        match change.kind {
            ChangeKind::Added => count.added += 1,
            ChangeKind::Changed => count.changed += 1,
            ChangeKind::Deleted => count.deleted += 1,
        }
        count.bytes += bytes;
    }
    for ((is_after, layer), count) in counts {
        let content = if is_after { after } else { before };
        let id = content.diff_ids.get(layer).map_or_else(String::new, |id| id.0.short());
        let step = short_step(content.steps.get(layer).and_then(Option::as_ref), STEP);
        let Count { added, changed, deleted, bytes } = count;
        let mark = if is_after { "in" } else { "of" };
        output::say(&format!("{mark} {id}  +{added} ~{changed} -{deleted}  {:>8}  {step}", size::size(bytes)))?;
    }
    Ok(ExitCode::SUCCESS)
}
