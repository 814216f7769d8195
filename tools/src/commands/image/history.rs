//! `layerfs image history`: `docker image history`, offline.

use std::path::Path;
use std::process::ExitCode;

use anyhow::bail;
use jiff::Timestamp;
use snapshot::catalog::{Catalog, Image, Resolved};
use snapshot::view::{Needs, View};

use super::for_platform::Wanted;
use super::select::seconds_of;
use super::{no_such_image, shown_id};
use crate::commands::layerfs::NAME;
use crate::{damage, output};
use docker_format::listing::Row;
use docker_format::{ago, presets, size};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    image: String,

    /// `table`, `table TEMPLATE`, `json`, or a Go template for each step
    #[arg(long, default_value = "", hide_default_value = true)]
    format: String,

    /// Sizes and times for people
    #[arg(short = 'H', long, default_value = "true", default_missing_value = "true", num_args = 0..=1,
          require_equals = true, action = clap::ArgAction::Set, value_parser = crate::flags::parse_bool)]
    human: bool,

    /// Do not cut ids and commands short
    #[arg(long)]
    no_trunc: bool,

    /// Platform to show of an image that has several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", default_value = "", hide_default_value = true)]
    platform: String,

    /// Only show ids
    #[arg(short, long)]
    quiet: bool,
}

/// Characters of a command that docker shows.
const COMMAND: usize = 45;

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let wanted = Wanted::parse(&args.platform).map_err(|error| anyhow::anyhow!("invalid platform: {error}"))?;
    let view = View::read(root, driver, Needs::only(std::slice::from_ref(&args.image)))?;
    damage::report_two_stores(NAME, &view);
    let catalog = view.catalog();
    let image = match catalog.resolve(&args.image) {
        Resolved::Image(id) => &catalog.images()[&id],
        Resolved::Damaged(id) => return Err(damage::damaged_image(catalog, &args.image, id)),
        Resolved::Nothing => return Err(no_such_image(&args.image)),
    };
    let rows = match (&wanted, catalog.stored_image(image.id)) {
        (Some(wanted), Some(stored)) => rows(catalog, &wanted.to_tell(&args.image, catalog, stored)?, args)?,
        (Some(wanted), None) => {
            wanted.expect(&args.image, image)?;
            rows(catalog, image, args)?
        }
        (None, _) => rows(catalog, image, args)?,
    };
    output::raw(&presets::HISTORY.render(&presets::history(&args.format, args.quiet, args.human), &rows)?)?;
    Ok(ExitCode::SUCCESS)
}

/// The steps, the last one first (moby v20.10.24 `daemon/images/image_history.go`).
fn rows(catalog: &Catalog, image: &Image, args: &Args) -> anyhow::Result<Vec<Row>> {
    let now = Timestamp::now();
    let mut layers = image.chain.iter();
    let mut rows = Vec::new();
    for step in image.history() {
        let bytes = if step.empty_layer {
            0
        } else {
            let Some(chain) = layers.next() else { bail!("too many non-empty layers in History section") };
            catalog.layer(*chain).map_or(0, |layer| layer.size)
        };
        let created = seconds_of(step.created.moment());
        let command = step.created_by.replace('\t', " ");
        let since = if args.human { ago::ago(created, now) } else { ago::created_at_rfc3339(created) };
        rows.push(Row::from([
            ("CreatedAt", ago::created_at_rfc3339(created)),
            ("CreatedSince", since),
            ("CreatedBy", if args.no_trunc { command } else { docker_format::ellipsis(&command, COMMAND) }),
            ("Size", if args.human { size::size(bytes) } else { bytes.to_string() }),
            ("Comment", step.comment.clone()),
            ("ID", "<missing>".to_owned()),
        ]));
    }
    rows.reverse();
    // The image itself, and the images from which it was built, one for each step, as far as the store knows them.
    let known = std::iter::successors(Some(image), |image| catalog.images().get(&image.parent_id()?));
    for (row, image) in rows.iter_mut().zip(known) {
        row.insert("ID", shown_id(image.id, args.no_trunc));
    }
    Ok(rows)
}
