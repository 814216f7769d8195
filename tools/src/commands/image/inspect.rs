//! `layerfs image inspect`: `docker image inspect`, offline.

use std::path::Path;
use std::process::ExitCode;

use serde_json::Value;
use snapshot::catalog::Resolved;
use snapshot::view::{Needs, View};

use super::for_platform::Wanted;
use super::{document, no_such_image, remote};
use crate::commands::layerfs::NAME;
use crate::exit::{UsageError, is_interrupted};
use crate::registries::RegistryFlags;
use crate::{damage, output};
use docker_format::inspect;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,

    /// A Go template for each image, or `json`
    #[arg(short, long)]
    format: Option<String>,

    /// Ask the images' registries instead of the data-root; no layer is fetched
    #[arg(long)]
    remote: bool,

    /// Platform to show of an image that has several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,

    #[command(flatten)]
    registry: RegistryFlags,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    if args.remote {
        let platform = args.platform.as_deref().map(registry::platform_of).transpose();
        let platform = platform.map_err(|error| UsageError(error.to_string()))?;
        let inspect = |name: &String| remote::inspect(name, platform.as_ref(), &args.registry);
        return show(args, args.images.iter().map(inspect));
    }
    let wanted = args.platform.as_deref().map_or(Ok(None), Wanted::parse).map_err(anyhow::Error::msg)?;
    let view = View::read(root, driver, Needs::only(&args.images))?;
    damage::report_two_stores(NAME, &view);
    let catalog = view.catalog();
    let found = args.images.iter().map(|text| match catalog.resolve(text) {
        Resolved::Image(id) => match &wanted {
            Some(wanted) => document::inspect_platform(view.root(), catalog, (text, &catalog.images()[&id]), wanted),
            None => document::inspect_image(view.root(), catalog, &catalog.images()[&id]),
        },
        Resolved::Damaged(id) => Err(damage::damaged_image(catalog, text, id)),
        Resolved::Nothing => Err(not_found(text)),
    });
    show(args, found)
}

/// Prints what was found, and then why the rest was not.
fn show(args: &Args, found: impl Iterator<Item = anyhow::Result<Value>>) -> anyhow::Result<ExitCode> {
    let (mut documents, mut errors) = (Vec::new(), Vec::new());
    for found in found {
        match found {
            Ok(document) => documents.push(document),
            Err(error) if is_interrupted(&error) => return Err(error),
            Err(error) => errors.push(crate::hints::with_hint(&error)),
        }
    }
    match args.format.as_deref() {
        None | Some("") => output::document(&inspect::indented(&documents))?,
        Some(format) => {
            let inspection = inspect::inspect_template(&documents, format)?;
            output::raw(&inspection.output)?;
            errors.splice(0..0, inspection.errors.iter().map(ToString::to_string));
        }
    }
    for error in &errors {
        output::complain(NAME, error);
    }
    Ok(if errors.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The message of docker's client, with the text as it was typed.
fn not_found(text: &str) -> anyhow::Error {
    let error = no_such_image(text).to_string();
    match error.strip_prefix("No such image: ") {
        Some(_) => anyhow::anyhow!("No such image: {text}"),
        None if text.is_empty() => anyhow::anyhow!("No such image: "),
        None => anyhow::anyhow!("no such image: {text}: {error}"),
    }
}
