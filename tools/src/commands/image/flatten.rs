//! `layerfs image flatten`: what `docker build --squash` does at its end, offline and for any image.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Error, anyhow, bail};
use images::flatten::write_layer;
use images::load::{ImportRequest, NewImage, OnStored, StoredBase, store_image, store_image_in_containerd};
use images::make::{Onto, flattened_config};
use images::pipe::{LayerWriter, piped};
use images::source::Select;
use images::tree::LayersOfStore;
use jiff::Zoned;
use layerfs::DiffId;
use snapshot::catalog::{Catalog, Image, Resolved};
use snapshot::view::{Needs, View};

use super::change::new_name;
use super::import::created;
use super::tag::rfc3339_nano;
use super::{no_such_image, stored};
use crate::commands::layerfs::NAME;
use crate::flags::writable;
use crate::progress::Progress;
use crate::{output, rootless, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    image: String,

    /// The layer that stays, with all below it: an image that this one was made from, or a diff id or chain id [default: none stays]
    #[arg(long, value_name = "LAYER")]
    from: Option<String>,

    /// A name of the new image, which may have several
    #[arg(short, long = "tag", value_name = "REPOSITORY[:TAG]")]
    tags: Vec<String>,

    /// Do not wait until the data is on the disk
    #[arg(long)]
    no_sync: bool,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let in_containerd = stored::is_in_containerd(root, driver)?;
    let writable = if in_containerd { None } else { writable(driver)? };
    let mut names = Vec::new();
    for tag in &args.tags {
        let name = new_name(tag).map_err(Error::msg)?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    rootless::check(root, "")?;
    let view = View::read(root, driver, Needs::RECORDS)?;
    let image = find(view.catalog(), &args.image)?;
    let onto = args.from.as_deref().map_or_else(
        || Ok(Onto { name: None, layers: &image.diff_ids[..0], steps: 0 }),
        |text| onto(view.catalog(), image, text),
    )?;
    let stored = if in_containerd { StoredBase::find(view.catalog(), image.id)? } else { None };
    let config = match &stored {
        Some(stored) => Some(stored.config.clone()),
        None => view.root().images()?.map_or(Ok(None), |images| images.config(image.id))?,
    };
    let config = config.ok_or_else(|| anyhow!("the config of image {} cannot be read", image.id))?;
    let layers = LayersOfStore::new(view.root(), view.catalog(), image)?;
    let interrupted = signals::interrupted()?;
    let progress = Progress::new(NAME, false);
    let mut options = images::load::ImportOptions::new(&interrupted);
    (options.driver, options.sync) = (writable, !args.no_sync);
    let archive = Path::new("the flattened layer");
    let request = ImportRequest { archive, select: &Select::default(), options: &options, observer: &progress };
    let now = Zoned::now();
    let describe = |layer: Option<DiffId>| {
        let layer = layer.expect("a layer is always written");
        let config = flattened_config(image.id, &config, image.parent_id(), &onto, layer, &created(&now));
        let config = config.expect("the catalog has the images whose configs can be read");
        NewImage { config, parent: None, names: (!names.is_empty()).then(|| (names, rfc3339_nano(&now))) }
    };
    let first = onto.layers.len();
    let write = |out: LayerWriter| write_layer(&layers, first, out, &interrupted).map(drop);
    let store = |layer| match &stored {
        Some(base) => {
            let on = OnStored { base: Some((base, first)), container_config: None };
            store_image_in_containerd(root, &on, Some(layer), &request, describe)
        }
        None => store_image(root, onto.layers, Some(layer), &request, describe),
    };
    let id = piped(write, store).context("starting to write the layer")??;
    drop(progress);
    output::say(&id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

fn find<'c>(catalog: &'c Catalog, text: &str) -> anyhow::Result<&'c Image> {
    match catalog.resolve(text) {
        Resolved::Image(id) => Ok(&catalog.images()[&id]),
        Resolved::Damaged(id) => Err(crate::damage::damaged_image(catalog, text, id)),
        Resolved::Nothing => Err(no_such_image(text)),
    }
}

/// What `--from` means: a layer of the image, by its diff id or chain id or the beginning of one, or an image whose
/// layers are the lowest of this one.
fn onto<'i>(catalog: &Catalog, image: &'i Image, text: &str) -> anyhow::Result<Onto<'i>> {
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let starts = |digest: layerfs::Digest| digest.hex().starts_with(hex);
    let layers = image.diff_ids.iter().zip(&image.chain).enumerate();
    let layers: Vec<usize> =
        layers.filter(|(_, (diff_id, chain))| starts(diff_id.0) || starts(chain.0)).map(|(number, _)| number).collect();
    let (name, count, steps) = match (catalog.resolve(text), layers.as_slice()) {
        (Resolved::Image(id), _) => {
            let base = &catalog.images()[&id];
            if !image.diff_ids.starts_with(&base.diff_ids) {
                bail!("{text}: the layers of that image are not the lowest layers of {}", image.id);
            }
            (id.to_string(), base.diff_ids.len(), base.history().len())
        }
        (_, [number]) => (image.diff_ids[*number].to_string(), number + 1, steps_of(image, number + 1)),
        (_, []) => bail!("{text}: neither an image nor a layer of {}", image.id),
        _ => bail!("{text}: {} layers of {} begin so; more of the digest chooses one", layers.len(), image.id),
    };
    if count >= image.diff_ids.len() {
        bail!("{text}: there is no layer of {} above it", image.id);
    }
    Ok(Onto { name: Some(name), layers: &image.diff_ids[..count], steps })
}

/// How many steps of the history made the lowest `layers` layers.
fn steps_of(image: &Image, layers: usize) -> usize {
    let made = |(at, step): (usize, &snapshot::catalog::History)| (!step.empty_layer).then_some(at + 1);
    let ends: Vec<usize> = image.history().iter().enumerate().filter_map(made).collect();
    ends.get(layers - 1).copied().unwrap_or(image.history().len())
}
