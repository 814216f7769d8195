//! `layerfs image ls`: `docker image ls`, offline.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use layerfs::ChainId;
use snapshot::catalog::{Catalog, Damage, Resolved};
use snapshot::reference::Reference;
use snapshot::view::{Needs, View};

use super::select::{Selection, Shown, seconds, tag};
use super::{no_such_image, shown_id};
use crate::commands::layerfs::NAME;
use crate::exit::{UsageError, until_the_end};
use crate::{damage, output};
use docker_format::filter::Filters;
use docker_format::listing::Row;
use docker_format::{ago, pattern, presets, size};

mod tree;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only images of this repository, or with this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    reference: Option<String>,

    /// Show images that others were built from, too
    #[arg(short, long)]
    all: bool,

    /// Show digests
    #[arg(long)]
    digests: bool,

    /// Only images that: dangling=BOOL, label=KEY[=VALUE], before=IMAGE, since=IMAGE, until=TIME, reference=PATTERN
    #[arg(short, long, value_name = "FILTER")]
    filter: Vec<String>,

    /// `table`, `table TEMPLATE`, `raw`, `json`, or a Go template for each row
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,

    /// List layers instead, one id a line: for `image save --have-file` on another machine
    #[arg(long, conflicts_with_all = ["reference", "all", "digests", "filter", "format", "no_trunc", "quiet"])]
    layers: bool,

    /// Do not cut ids short
    #[arg(long)]
    no_trunc: bool,

    /// Show the platforms of each image, what they take up and which are in use
    #[arg(long, conflicts_with_all = ["digests", "format", "layers", "no_trunc", "quiet"])]
    tree: bool,

    /// Only show ids
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut filters = Filters::parse(&args.filter).map_err(|error| UsageError(format!("--filter: {error}")))?;
    if let Some(reference) = args.reference.as_ref().filter(|reference| !reference.is_empty()) {
        filters.add("reference", reference);
    }
    // dockerd has this filter from version 25 on.
    filters.check_with(docker_format::filter::Command::ImageList, &["until"])?;
    let view = until_the_end(View::read(root, driver, Needs::LISTING)?);
    view.root().expect_images()?;
    if args.layers {
        return list_layers(&view);
    }
    let catalog = view.catalog();
    let selection = selection(catalog, &filters, args.all)?;
    for pattern in &selection.references {
        pattern::matches(pattern, "")?;
    }
    let matches = |pattern: &str, name: &Reference| {
        pattern::familiar(pattern, &name.familiar(), &name.familiar_name()).unwrap_or_default()
    };
    let images = selection.images(catalog, matches);
    if args.tree {
        output::page(&tree::text(catalog, &images, args.all))?;
        damage::report(NAME, &view);
        return Ok(ExitCode::SUCCESS);
    }
    let format = presets::images(&args.format, args.quiet, args.digests);
    let digests = Digests { rows: args.digests, shown: args.digests || format.contains("{{.Digest}}") };
    let now = Timestamp::now();
    let rows = snapshot::parallel::map(&images, |shown| {
        let row = row(catalog, shown, args.no_trunc, now);
        let named = names(shown, digests).into_iter().map(|name| with_name(row.clone(), name));
        named.collect::<Vec<Row>>()
    });
    let rows: Vec<Row> = rows.into_iter().flatten().collect();
    output::raw(&presets::IMAGES.render(&format, &rows)?)?;
    damage::report(NAME, &view);
    Ok(ExitCode::SUCCESS)
}

/// Prints the chain ids of all layers that can be used, with all layers below them. Of containerd's store, these are the
/// layers that are unpacked.
fn list_layers(view: &View) -> anyhow::Result<ExitCode> {
    let faulty = |damage: &Damage| match damage {
        Damage::LayerFault { layer, .. } => Some(*layer),
        _ => None,
    };
    let faulty: BTreeSet<ChainId> = view.damage().iter().filter_map(faulty).collect();
    // A layer that stands on an unusable layer cannot be used either.
    let is_whole = |layer: ChainId| view.catalog().chain(layer).all(|below| !faulty.contains(&below.chain_id));
    for layer in view.catalog().layers().values().flatten().map(|layer| layer.chain_id).filter(|layer| is_whole(*layer))
    {
        output::say(&layer.to_string())?;
    }
    damage::report(NAME, view);
    Ok(ExitCode::SUCCESS)
}

/// What the filters say, with the images they name looked up.
fn selection<'f>(catalog: &Catalog, filters: &'f Filters, all: bool) -> anyhow::Result<Selection<'f>> {
    let times = |name: &str| -> anyhow::Result<Vec<Timestamp>> {
        let time = |text: &String| match catalog.resolve(text) {
            Resolved::Image(id) if catalog.stored_image(id).is_some() => {
                Ok(catalog.images()[&id].config.created.moment())
            }
            Resolved::Image(id) => Ok(Some(catalog.images()[&id].created.unwrap_or(Timestamp::MIN))),
            _ => Err(no_such_image(text)),
        };
        // An image of containerd's store without a time filters nothing.
        let times = filters.get(name).iter().map(time).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(times.into_iter().flatten().collect())
    };
    Ok(Selection {
        all,
        dangling: filters.dangling()?,
        before: times("before")?,
        since: times("since")?,
        until: filters.until(Timestamp::now())?,
        labels: filters
            .get("label")
            .iter()
            .map(|label| label.split_once('=').map_or((label.as_str(), None), |(key, value)| (key, Some(value))))
            .collect(),
        references: filters.get("reference").iter().map(String::as_str).collect(),
    })
}

/// Repository, tag and digest of a row.
type Name<'c> = [&'c str; 3];

const NONE: &str = "<none>";

/// How digests are shown.
#[derive(Debug, Clone, Copy)]
struct Digests {
    /// Whether each has a row of its own.
    rows: bool,
    /// Whether they are shown beside tags.
    shown: bool,
}

/// The rows of an image: one for each tag, or for each tag with each digest of the same repository; then one for each
/// repository that only has digests (docker/cli v20.10.24 `cli/command/formatter/image.go`).
fn names<'s>(shown: &'s Shown<'_>, digests: Digests) -> Vec<Name<'s>> {
    let mut tags: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut of: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (repository, tag) in shown.tags.iter().filter_map(|name| tag(name)) {
        tags.entry(repository).or_default().push(tag);
    }
    for (named, digest) in shown.digests.iter().filter_map(|name| name.split_once('@')) {
        let repository = tag(named).map_or(named, |(repository, _)| repository);
        of.entry(repository).or_default().push(digest);
    }
    let mut rows = Vec::new();
    for (repository, tags) in tags {
        let here = of.remove(repository).filter(|_| digests.shown).unwrap_or_default();
        for tag in tags {
            if here.is_empty() {
                rows.push([repository, tag, NONE]);
            }
            rows.extend(here.iter().map(|digest| [repository, tag, digest]));
        }
    }
    for (repository, only) in of {
        if digests.rows {
            rows.extend(only.into_iter().map(|digest| [repository, NONE, digest]));
        } else {
            rows.push([repository, NONE, ""]);
        }
    }
    if rows.is_empty() && !shown.has_other_names { vec![[NONE; 3]] } else { rows }
}

fn with_name(mut row: Row, [repository, tag, digest]: Name<'_>) -> Row {
    row.extend(
        [("Repository", repository), ("Tag", tag), ("Digest", digest)].map(|(key, text)| (key, text.to_owned())),
    );
    row
}

/// All fields of an image but its names.
fn row(catalog: &Catalog, shown: &Shown<'_>, whole_ids: bool, now: Timestamp) -> Row {
    let image = shown.image;
    let (bytes, created) = (catalog.image_size(image), seconds(image));
    Row::from([
        ("ID", shown_id(image.id, whole_ids)),
        ("CreatedSince", ago::ago_or_nothing(created, now)),
        ("CreatedAt", ago::created_at(created)),
        ("Size", size::size(bytes)),
        ("Containers", "N/A".to_owned()),
        ("VirtualSize", size::size4(bytes)),
        ("SharedSize", "N/A".to_owned()),
        ("UniqueSize", "N/A".to_owned()),
    ])
}
