//! `layerfs system rescue`: everything that can be read of a store, into a directory.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context as _, bail};
use images::export::export_to_file;
use images::output::NewFile;
use images::rescue::{RescueOptions, rescue_container, rescue_images};
use images::save::{SaveDestination, SaveError, SaveForm, SaveOptions, SavePlan, SaveReport, save, select_all};
use layerfs::compress::encode::Encoding;
use serde::Serialize;
use snapshot::catalog::Container;
use snapshot::driver::{AnyDriver, InactivePool};
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

use super::pool::Place;
use crate::commands::container::content::layers_of;
use crate::commands::container::document::document;
use crate::commands::image::save::{report_left_out, report_lost};
use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::progress::Progress;
use crate::{output, rootless, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The new directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// What DIR becomes: an OCI layout with docker's manifest, and the files of containers beside it; or a data-root, with the
    /// containers as containers
    #[arg(long, value_enum, value_name = "FORM", default_value_t = Form::Layout)]
    to: Form,

    #[command(flatten)]
    place: Place,

    /// Compress layers of images: none, gzip[=LEVEL] or zstd[=LEVEL]; dockerd loads zstd from version 23 on [default: none]
    #[arg(long, value_name = "CODEC")]
    compress: Option<Encoding>,

    /// With --to overlay2, do not wait until the data is on the disk
    #[arg(long)]
    no_sync: bool,

    /// Report as JSON
    #[arg(long)]
    json: bool,

    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

/// What is made of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    Layout,
    Overlay2,
}

/// What was rescued.
#[derive(Debug, Serialize)]
struct Report {
    images: SaveReport,
    containers: Vec<RescuedContainer>,
}

/// A container, and the file that has its files.
#[derive(Debug, Serialize)]
struct RescuedContainer {
    id: String,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    /// Why there is no file.
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<String>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let interrupted = signals::interrupted()?;
    if args.to == Form::Overlay2 {
        if args.compress.is_some() {
            return Err(UsageError("--compress is for layers in a layout: --to overlay2 unpacks them".into()).into());
        }
        rootless::check(&args.dir, "")?;
        // Before any directory is opened. Whoever may not do this may not mount either, and then making a container says so.
        let _ = containers::own_mounts();
    } else if args.no_sync {
        return Err(UsageError("--no-sync goes with --to overlay2: for a layout nothing is waited for".into()).into());
    }
    let root = DataRoot::find(root, driver)?;
    root.expect_storage_driver()?;
    let view = View::read_root(root, Needs::RECORDS)?;
    if let Some((metadata, data)) = args.place.both()? {
        let Some(AnyDriver::DeviceMapper(mapper)) = view.root().driver() else {
            bail!("{} has no thin pool, for it is not of devicemapper", view.root().dir().path().display());
        };
        mapper.read_from(InactivePool::open(metadata, data)?);
    }
    let view = Arc::new(view);
    let shown = || args.dir.display().to_string();
    std::fs::create_dir(&args.dir).with_context(shown)?;
    let progress = Progress::new(NAME, args.quiet);
    let rescue = RescueOptions {
        threads: layerfs::pool::processors().get(),
        sync: !args.no_sync,
        interrupted: &interrupted,
        observer: &progress,
    };

    let selection = select_all(view.catalog());
    let mut complete = report_left_out(&view, &selection);
    let plan = SavePlan::new(view.catalog(), &selection, &std::collections::BTreeSet::new());
    let images = match args.to {
        Form::Layout => save_images(args, &view, &plan, &rescue)?,
        Form::Overlay2 => rescue_images(&view, &plan, &args.dir, &rescue)?,
    };
    complete &= report_lost(&images);

    let dir = args.dir.join("containers");
    if args.to == Form::Layout {
        std::fs::create_dir(&dir).with_context(shown)?;
    }
    let mut containers = Vec::new();
    for container in view.catalog().containers() {
        let rescued = match args.to {
            Form::Layout => save_container(&view, container, &dir, &interrupted, &progress).map(Some),
            Form::Overlay2 => rescue_container(&view, container, &args.dir, &rescue).map(|()| None).map_err(Into::into),
        };
        if interrupted.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        let (file, lost) = match rescued {
            Ok(file) => (file, None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        if let Some(why) = &lost {
            complete = false;
            output::complain(NAME, &format!("left out: container {}: {why}", called(container)));
        }
        containers.push(RescuedContainer { id: container.id.to_string(), name: container.name.clone(), file, lost });
    }
    drop(progress);
    let report = Report { images, containers };
    if args.json {
        output::json(&report)?;
    } else {
        let images = output::counted(report.images.images.len() as u64, "image");
        let whole = report.containers.iter().filter(|container| container.lost.is_none()).count();
        let containers = output::counted(whole as u64, "container");
        let dir = args.dir.display();
        output::say(&match args.to {
            Form::Layout => format!("{dir}: {images} in images, {containers} in containers"),
            Form::Overlay2 => format!("{dir}: a data-root of overlay2 with {images} and {containers}"),
        })?;
    }
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Writes the images of `plan` that can be read as a layout.
fn save_images(args: &Args, view: &View, plan: &SavePlan, rescue: &RescueOptions<'_>) -> Result<SaveReport, SaveError> {
    let options = SaveOptions {
        form: SaveForm::Docker,
        encoding: args.compress.unwrap_or(Encoding::None),
        threads: rescue.threads,
        skip_damaged: true,
        interrupted: rescue.interrupted,
        observer: rescue.observer,
    };
    save(view.root(), plan, SaveDestination::Directory(args.dir.join("images")), &options)
}

fn called(container: &Container) -> &str {
    if container.name.is_empty() { container.id.as_str() } else { &container.name }
}

/// Writes the files of a container as a tar, and beside it what `inspect` says of it.
fn save_container(
    view: &View,
    container: &Container,
    dir: &Path,
    interrupted: &AtomicBool,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    // A name that docker gives is a plain one. What the disk says may be anything.
    let is_plain = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name.len() < 200
            && name.chars().all(|one| one.is_ascii_alphanumeric() || "_.-".contains(one))
    };
    let name = Some(container.name.as_str()).filter(|name| is_plain(name)).unwrap_or(container.id.as_str());
    let file = dir.join(format!("{name}.tar"));
    let layers = layers_of(view, container)?;
    let new = NewFile::create(file.clone())?;
    export_to_file(&layers, new.file(), interrupted, progress)?;
    new.finish_new()?;
    let said = document(view, container, false)?;
    let path = dir.join(format!("{name}.json"));
    let bytes = serde_json::to_vec_pretty(&[said])?;
    std::fs::write(&path, bytes).with_context(|| path.display().to_string())?;
    Ok(file)
}
