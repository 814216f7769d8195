//! `layerfs inspect`: `docker inspect`, offline: whatever has the name or id.

use std::path::Path;
use std::process::ExitCode;

use containers::ContainerError;
use docker_format::inspect;
use serde_json::Value;
use snapshot::catalog::Resolved;
use snapshot::view::{Needs, View};

use super::layerfs::NAME;
use super::{container, image, volume};
use crate::{damage, output};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Containers, images and volumes, by name or id
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,

    /// A Go template for each, or `json`
    #[arg(short, long)]
    format: Option<String>,

    /// Of containers, say how much they have written, and how much they show in all
    #[arg(short, long)]
    size: bool,

    /// Only look for this kind of thing
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<Kind>,
}

/// What can be inspected, in the order in which docker looks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    /// A container
    Container,
    /// An image
    Image,
    /// A volume
    Volume,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let view = View::read(root, driver, Needs::RECORDS)?;
    damage::report_two_stores(NAME, &view);
    let kinds = args.kind.map_or_else(|| vec![Kind::Container, Kind::Image, Kind::Volume], |kind| vec![kind]);
    let found = args.names.iter().map(|name| {
        let found = kinds.iter().find_map(|kind| find(&view, *kind, name, args.size));
        found.unwrap_or_else(|| {
            let what = match args.kind {
                None => "object",
                Some(Kind::Container) => "container",
                Some(Kind::Image) => "image",
                Some(Kind::Volume) => "volume",
            };
            if kinds.contains(&Kind::Container)
                && let Err(damaged @ ContainerError::Damaged { .. }) = containers::find(view.catalog(), name)
            {
                return Err(damaged.into());
            }
            if !matches!(args.kind, Some(Kind::Container | Kind::Volume)) {
                view.root().expect_images()?;
            }
            Err(anyhow::anyhow!("No such {what}: {name}"))
        })
    });
    print(found.collect(), args.format.as_deref())
}

fn find(view: &View, kind: Kind, name: &str, sized: bool) -> Option<anyhow::Result<Value>> {
    let (root, catalog) = (view.root(), view.catalog());
    match kind {
        Kind::Container => match containers::find(catalog, name) {
            Ok(found) => Some(container::document::document(view, found, sized)),
            // Something else may have the name of a container that dockerd would not show.
            Err(ContainerError::NoContainer(_) | ContainerError::Damaged { .. }) => None,
            Err(error) => Some(Err(error.into())),
        },
        Kind::Image => match catalog.resolve(name) {
            Resolved::Image(id) => Some(image::inspect_image(root, catalog, &catalog.images()[&id])),
            Resolved::Damaged(id) => Some(Err(crate::damage::damaged_image(catalog, name, id))),
            Resolved::Nothing => None,
        },
        Kind::Volume => {
            volume::inspect::find(catalog, name).map(|found| Ok(volume::inspect::document(root, catalog, found)))
        }
    }
}

/// Prints documents as docker does, and reports those that could not be made.
pub(crate) fn print(found: Vec<anyhow::Result<Value>>, format: Option<&str>) -> anyhow::Result<ExitCode> {
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    for one in found {
        match one {
            Ok(document) => documents.push(document),
            Err(error) => errors.push(crate::hints::with_hint(&error)),
        }
    }
    match format {
        None | Some("") => output::document(&inspect::indented(&documents))?,
        Some(format) => {
            let inspection = inspect::inspect_raw(&documents, format)?;
            output::raw(&inspection.output)?;
            errors.splice(0..0, inspection.errors.iter().map(ToString::to_string));
        }
    }
    for error in &errors {
        output::complain(NAME, error);
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
