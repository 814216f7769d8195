//! `layerfs image commit`: what `layer-run --keep` has kept, as an image; and what it shares with `container commit`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Error, anyhow, bail};
use images::load::{ImportRequest, NewImage, OnStored, StoredBase, store_image, store_image_in_containerd};
use images::make::{Commit, committed_config};
use images::pipe::{LayerWriter, piped};
use images::source::{Platform, Select};
use images::tree::{Layers, UpperDirectory};
use images::written::Written;
use jiff::Zoned;
use layerfs::DiffId;
use snapshot::catalog::Resolved;
use snapshot::ids::ImageId;
use snapshot::schema::gojson::StrSlice;
use snapshot::schema::runconfig::RunConfig;
use snapshot::view::{Needs, View};

use super::change::new_name;
use super::import::created;
use super::tag::rfc3339_nano;
use super::{no_such_image, stored};
use crate::commands::layer_run::Kept;
use crate::commands::layerfs::NAME;
use crate::flags::writable;
use crate::progress::Progress;
use crate::{output, rootless, signals};

/// The flags of both commands.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Who makes it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    author: String,

    /// Change what containers of it run with: CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, USER, VOLUME or WORKDIR
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,

    /// What to say about it
    #[arg(short, long, default_value = "", hide_default_value = true)]
    message: String,

    /// Do not check first whether there is room
    #[arg(long)]
    no_preflight: bool,

    /// Do not wait until the data is on the disk
    #[arg(long)]
    no_sync: bool,
}

/// What an image is made of.
pub(crate) struct Parts<'p> {
    /// The image that it stands on.
    pub(crate) parent: ImageId,
    /// The container's id; empty if there was none.
    pub(crate) container: &'p str,
    /// What it ran with.
    pub(crate) before: &'p RunConfig,
    /// What containers of the image run with.
    pub(crate) after: &'p RunConfig,
    /// What has been written.
    pub(crate) written: &'p Written,
    /// Where that is.
    pub(crate) layers: &'p dyn Layers,
}

/// Stores an image, and prints its id.
pub(crate) fn commit(
    flags: &Flags,
    name: Option<&str>,
    (view, root, driver): (&View, &Path, Option<&str>),
    parts: &Parts<'_>,
) -> anyhow::Result<ExitCode> {
    let name = name.map(new_name).transpose().map_err(Error::msg)?;
    let Parts { parent, written, layers, .. } = *parts;
    let image =
        view.catalog().images().get(&parent).ok_or_else(|| anyhow!("the image {parent} is not there any more"))?;
    let stored = StoredBase::find(view.catalog(), parent)?;
    let config = match &stored {
        Some(stored) => Some(stored.config.clone()),
        None => view.root().images()?.map_or(Ok(None), |images| images.config(parent))?,
    };
    let parent_config = config.ok_or_else(|| anyhow!("the config of image {parent} cannot be read"))?;
    let interrupted = signals::interrupted()?;
    let progress = Progress::new(NAME, false);
    let mut options = images::load::ImportOptions::new(&interrupted);
    options.sync = !flags.no_sync;
    if stored.is_none() {
        options.driver = writable(driver)?;
    }
    let archive = Path::new("the container's layer");
    let request = ImportRequest { archive, select: &Select::default(), options: &options, observer: &progress };
    let now = Zoned::now();
    let created = created(&now);
    let describe = |layer: Option<DiffId>| {
        let commit = Commit {
            container: parts.container,
            container_config: parts.before,
            config: parts.after,
            author: &flags.author,
            comment: &flags.message,
            created: &created,
        };
        let config = committed_config(&parent_config, layer, &commit, &Platform::host());
        let config = config.expect("a config that dockerd shows is JSON");
        NewImage { config, parent: Some(parent), names: name.clone().map(|name| (vec![name], rfc3339_nano(&now))) }
    };
    let on = stored.as_ref().map(|base| OnStored {
        base: Some((base, base.diff_ids.len())),
        container_config: Some(serde_json::to_vec(parts.before).expect("texts and numbers always serialise")),
    });
    let store = |layer| match &on {
        Some(on) => store_image_in_containerd(root, on, layer, &request, describe),
        None => store_image(root, &image.diff_ids, layer, &request, describe),
    };
    let id = if written.is_nothing() {
        store(None)?
    } else {
        if !flags.no_preflight {
            written.check_room(view.root())?;
        }
        let write = |out: LayerWriter| written.write(layers, out, &interrupted);
        piped(write, |layer| store(Some(layer))).context("starting to write the layer")??
    };
    drop(progress);
    output::say(&id.to_string())?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that was given to `layer-run --keep`
    dir: PathBuf,

    /// The name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,

    /// The image to stand on, which the command ran in [default: what layer-run wrote down]
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,

    #[command(flatten)]
    flags: Flags,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    if !stored::is_in_containerd(root, driver)? {
        writable(driver)?;
    }
    rootless::check(root, "")?;
    let shown = args.dir.display();
    let kept = Kept::read(&args.dir)?;
    if kept.mapped {
        bail!("{shown}: layer-run ran without root, so that the ids of its files are others than in the image");
    }
    let text = args.image.clone().or_else(|| kept.image.map(|id| id.to_string()));
    let text = text.with_context(|| {
        format!("{shown}: layer-run did not run in an image of a store or an archive; --image names one to stand on")
    })?;
    let texts = [text.clone()];
    let view = View::read(root, driver, Needs::only(&texts))?;
    let parent = match view.catalog().resolve(&text) {
        Resolved::Image(id) => id,
        Resolved::Damaged(id) => return Err(crate::damage::damaged_image(view.catalog(), &text, id)),
        Resolved::Nothing if args.image.is_none() => {
            bail!("{shown} stands on image {text}, which {} does not have; load it first", root.display())
        }
        Resolved::Nothing => return Err(no_such_image(&text)),
    };
    let mut after = view.catalog().images()[&parent].config.config.clone().unwrap_or_default();
    let mut before = after.clone();
    if !kept.command.is_empty() {
        before.cmd = StrSlice(Some(kept.command));
    }
    build::apply_changes(&mut after, &args.flags.change)?;
    let layers = UpperDirectory::open(&args.dir.join("diff")).with_context(|| format!("opening {shown}/diff"))?;
    let written = Written::read_upper(&layers)?;
    let parts = Parts { parent, container: "", before: &before, after: &after, written: &written, layers: &layers };
    commit(&args.flags, args.name.as_deref(), (&view, root, driver), &parts)
}
