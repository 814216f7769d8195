//! The root file system, and what the image says of its command.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context, bail};
use images::load::{ImportOptions, ImportRequest};
use images::source::Select;
use images::unpack::{UnpackForm, UnpackReport, unpack};
use snapshot::catalog::Resolved;
use snapshot::driver::{Access, Driver};
use snapshot::ids::ImageId;
use snapshot::schema::config::ImageConfig;
use snapshot::schema::runconfig::RunConfig;
use snapshot::view::{Needs, View};

use super::{Cli, Place, place};
use crate::commands::remote_image::RemoteImage;
use crate::input;
use crate::progress::Progress;

/// A root file system that is mounted.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) root: PathBuf,
    pub(super) config: RunConfig,
    /// The image; `None` for a plain directory.
    pub(super) image: Option<ImageId>,
}

/// Files in a directory that make it an image.
const MARKS: [&str; 3] = ["manifest.json", "index.json", "oci-layout"];

pub(super) fn find(cli: &Cli, text: &str, place: &Place) -> anyhow::Result<Found> {
    let path = Path::new(text);
    let keep = cli.keep.as_deref();
    if let Some(dir) = keep
        && std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_some())
    {
        bail!("{}: the directory is not empty", dir.display());
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    if let Some(remote) = RemoteImage::named(super::NAME, path, &cli.registry, &interrupted)? {
        return image(cli, path, place, &interrupted, |root, request| remote.unpack(root, UnpackForm::Rootfs, request));
    }
    if text == "-" || path.is_file() || MARKS.iter().any(|mark| path.join(mark).is_file()) {
        let opened = input::open(path)?;
        return image(cli, path, place, &interrupted, |root, request| {
            unpack(opened, root, UnpackForm::Rootfs, request).map_err(input::with_name(path))
        });
    }
    if path.is_dir() {
        let lower = std::fs::canonicalize(path).with_context(|| format!("opening {text}"))?;
        return Ok(Found { root: place.above(&lower, keep)?, config: RunConfig::default(), image: None });
    }
    if text.starts_with(['/', '.']) {
        bail!("{text}: no such file or directory");
    }
    stored(cli, text, place)
}

/// An image of a data-root. Its layers are read where they are.
fn stored(cli: &Cli, text: &str, place: &Place) -> anyhow::Result<Found> {
    let texts = [text.to_owned()];
    let view = View::read(&cli.root, cli.storage_driver.as_deref(), Needs::only(&texts));
    let view = view.with_context(|| format!("{text} is no file, so it is taken for an image"))?;
    let (id, image) = match view.catalog().resolve(text) {
        Resolved::Image(id) => (Some(id), &view.catalog().images()[&id]),
        Resolved::Damaged(id) => return Err(crate::damage::damaged_image(view.catalog(), text, id)),
        Resolved::Nothing if text.is_empty() => bail!("the image's name is empty"),
        Resolved::Nothing => bail!("{text}: no such file, and no such image in {}", cli.root.display()),
    };
    let config = image.config.config.clone().unwrap_or_default();
    let lower = place.dir("image")?;
    if let Some(top) = image.chain.last() {
        let driver = view.root().driver().context("the storage driver of this data-root is not known here")?;
        let layer = view.catalog().layers().get(top).and_then(|layer| layer.as_ref().ok());
        if layer.is_none() && view.root().is_containerd_only() {
            bail!(
                "{text} was never unpacked in containerd's store of {}: run what `layerfs image save` makes of it",
                cli.root.display()
            );
        }
        let layer = layer.with_context(|| format!("{text}: layer {top} is damaged or missing"))?;
        let mounted = driver.mount(&layer.cache_id, Access::ReadOnly)?;
        // A mount that is nowhere gets a path; a directory has one.
        if place::attach(mounted.dir(), &lower).is_err() {
            let root = place.above(mounted.path(), cli.keep.as_deref())?;
            return Ok(Found { root, config, image: id });
        }
    }
    Ok(Found { root: place.above(&lower, cli.keep.as_deref())?, config, image: id })
}

/// An image that `unpack` unpacks into memory.
fn image(
    cli: &Cli,
    path: &Path,
    place: &Place,
    interrupted: &AtomicBool,
    unpack: impl FnOnce(&Path, &ImportRequest<'_>) -> anyhow::Result<UnpackReport>,
) -> anyhow::Result<Found> {
    let select = Select { platform: cli.platform.clone(), image: cli.image.clone(), ..Select::default() };
    let mut options = ImportOptions::new(interrupted);
    options.sync = false;
    let progress = Progress::new(super::NAME, true);
    let request =
        ImportRequest { archive: input::called(path), select: &select, options: &options, observer: &progress };
    let name = if cli.keep.is_some() { "image" } else { "root" };
    let root = place.dir(name)?;
    let report = unpack(&root, &request)?;
    let config = match report.config {
        Some(config) => ImageConfig::parse(&config)?.fields.config.unwrap_or_default(),
        None => RunConfig::default(),
    };
    let root = match &cli.keep {
        Some(keep) => place.above(&root, Some(keep))?,
        None => root,
    };
    Ok(Found { root, config, image: report.image })
}
