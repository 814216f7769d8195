//! `layerfs image push`: `docker image push` out of a data-root, with docker's own lines.

mod lines;
mod stored;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{anyhow, bail};
use images::save::texts_to_read;
use layerfs::compress::encode::Encoding;
use lines::Lines;
use registry::{ManifestForm, Push, PushOptions, PushedImage, RegistryClient};
use serde_json::json;
use snapshot::catalog::Catalog;
use snapshot::edit::{Edit, Transaction, WriteOptions};
use snapshot::ids::ImageId;
use snapshot::reference::Reference;
use snapshot::root::DataRoot;
use snapshot::schema::distribution::{BlobSource, source_hmac};

use super::events::Events;
use super::for_platform::Wanted;
use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::flags::writable;
use crate::registries::{RegistryFlags, parse};
use crate::{output, signals};

/// What docker's client says of `--platform` (docker/cli v28.5.2 `cli/command/image/push.go`).
const ALONE: [&str; 5] = [
    "",
    " Info -> Using --platform pushes only the specified platform manifest of a multi-platform image index.",
    "         Other components, like attestations, will not be included.",
    "         To push the complete multi-platform image, remove the --platform flag.",
    "         ",
];

/// How long to wait for another process of ours that writes to the store.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
#[command(after_long_help = concat!("What the objects of --json have:\n\n", include_str!("push/events.txt")))]
pub(crate) struct Args {
    /// The image, as NAME[:TAG]; its name says which registry
    #[arg(value_name = "NAME[:TAG]")]
    name: String,

    /// Push all tags of the repository
    #[arg(short, long)]
    all_tags: bool,

    /// Print only the full name of the image
    #[arg(short, long)]
    quiet: bool,

    /// Print an object for each thing that happens, a line each
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// `docker`: the manifest that docker makes; `oci`: that of the OCI image specification
    #[arg(long, value_name = "FORMAT", default_value = "docker", value_parser = parse_form)]
    format: ManifestForm,

    /// Compress layers: none, gzip[=LEVEL] or, with --format oci, zstd[=LEVEL] [default: gzip=2, or as the registry has them]
    #[arg(long, value_name = "CODEC")]
    compress: Option<Encoding>,

    /// Push the manifest of this platform alone of an image that has several, without the index
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", default_value = "", hide_default_value = true)]
    platform: String,

    /// Layers that are sent at once
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent_uploads: u16,

    #[command(flatten)]
    registry: RegistryFlags,

    /// Number of threads that compress [default: all processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

fn parse_form(text: &str) -> Result<ManifestForm, String> {
    match text {
        "docker" => Ok(ManifestForm::Docker),
        "oci" => Ok(ManifestForm::Oci),
        _ => Err("neither docker nor oci".into()),
    }
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    if args.format == ManifestForm::Docker && matches!(args.compress, Some(Encoding::Zstd(_))) {
        return Err(UsageError("docker's manifest has no name for zstd; --format oci has".into()).into());
    }
    let reference = parse(&args.name)?;
    if reference.digest().is_some() {
        bail!("cannot push a digest reference");
    }
    if args.all_tags && reference.tag().is_some() {
        bail!("tag can't be used with --all-tags/-a");
    }
    let wanted =
        Wanted::parse(&args.platform).map_err(|error| anyhow!("Invalid platform {}: {error}", args.platform))?;
    if wanted.is_some() && !args.json {
        ALONE.iter().try_for_each(|line| output::say(line))?;
    }
    let interrupted = signals::interrupted()?;
    let data_root = DataRoot::find(root, driver)?;
    data_root.expect_images()?;
    let complete = reference.clone().with_default_tag();
    let events = Events::new(args.json);
    let say = |line: &str| if args.quiet || args.json { Ok(()) } else { output::say(line) };
    if !args.all_tags && complete != reference {
        say(&format!("Using default tag: {}", complete.tag().unwrap_or_default()))?;
    }
    events.tell("begin", json!({"name": reference.name()}));
    say(&format!("The push refers to repository [{}]", reference.name()))?;
    if data_root.is_containerd_only() {
        return stored::run(args, data_root, &reference, wanted.as_ref(), &interrupted);
    }
    let writable = writable(driver)?;
    let asked = if args.all_tags { &reference } else { &complete };
    let texts = texts_to_read(&[asked.familiar()], &data_root.references()?);
    let catalog = Catalog::read_images(&data_root, &texts)?;
    let wanted_names = if args.all_tags { tags_of(&catalog, &reference) } else { vec![complete] };
    let images = wanted_names.iter().map(|name| find(&catalog, name)).collect::<anyhow::Result<Vec<_>>>()?;
    if images.is_empty() {
        bail!("An image does not exist locally with the tag: {}", reference.familiar_name());
    }
    if let Some(wanted) = &wanted {
        let mut images = wanted_names.iter().zip(&images);
        images.try_for_each(|(name, image)| wanted.expect(&name.familiar(), &catalog.images()[image]))?;
    }
    let client = Arc::new(args.registry.client_to_push(&reference, &interrupted)?);
    let lines = Lines::new(args.quiet, args.json, args.max_concurrent_uploads.into());
    let options = PushOptions {
        form: args.format,
        encoding: args.compress,
        threads: args.threads.map_or_else(|| layerfs::pool::processors().get(), Into::into),
        most: args.max_concurrent_uploads.into(),
        interrupted: &interrupted,
    };
    let push = Push::new(Arc::clone(&client), &data_root, &reference, options, &lines);
    let mut edits = Vec::new();
    let mut pushed: anyhow::Result<()> = Ok(());
    for (name, image) in wanted_names.iter().zip(images) {
        let tag = name.tag().unwrap_or_default();
        pushed = push.image(&catalog, &catalog.images()[&image], tag).map_err(Into::into).and_then(|done| {
            events.tell("end", json!({"name": name.canonical(), "digest": done.digest, "size": done.size}));
            edits.extend(notes(&client, &reference, image, &done));
            Ok(say(&format!("{tag}: digest: {} size: {}", done.digest, done.size))?)
        });
        if pushed.is_err() {
            break;
        }
    }
    drop(lines);
    // What was pushed is noted also if something else was not, or if nobody reads any more what is said.
    if let Err(error) = note(root, writable, edits) {
        // The push itself is done, and a store that somebody else holds can be pushed from.
        output::complain(NAME, &format!("warning: what was pushed is not noted in the data-root: {error:#}"));
    }
    pushed?;
    if args.quiet {
        output::say(&if args.all_tags { reference.canonical() } else { wanted_names[0].canonical() })?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The names with a tag that a repository has in the store, in docker's order.
fn tags_of(catalog: &Catalog, repository: &Reference) -> Vec<Reference> {
    let names = catalog.references().of_repository(repository).map(|(name, _)| name);
    let mut names: Vec<Reference> = names.filter(|name| name.tag().is_some() && name.digest().is_none()).collect();
    names.sort_by_key(Reference::canonical);
    names
}

/// The image that has this name, in dockerd's words if there is none.
fn find(catalog: &Catalog, name: &Reference) -> anyhow::Result<ImageId> {
    let found = catalog.references().get(name);
    let id = found.ok_or_else(|| {
        if tags_of(catalog, name).is_empty() {
            anyhow!("An image does not exist locally with the tag: {}", name.familiar_name())
        } else {
            anyhow!("tag does not exist: {}", name.familiar())
        }
    })?;
    match catalog.damaged_images().get(&id) {
        _ if catalog.images().contains_key(&id) => Ok(id),
        Some(damage) => bail!("{}: damaged image {id}: {damage}", name.familiar()),
        None => bail!("{}: image {id} is not in the store", name.familiar()),
    }
}

/// What dockerd writes down after a push: the name with the digest, and where the layers are.
fn notes(client: &RegistryClient, reference: &Reference, image: ImageId, pushed: &PushedImage) -> Vec<Edit> {
    let by_digest = reference.with_digest(pushed.digest);
    let layers = pushed.layers.iter().map(|layer| {
        let source = BlobSource { digest: layer.digest, repository: reference.name() };
        let hmac = source_hmac(&client.credentials_as_json(), &source);
        Edit::NoteSource { source, diff_id: layer.diff_id, hmac }
    });
    std::iter::once(Edit::SetTag { reference: by_digest, image }).chain(layers).collect()
}

fn note(root: &Path, driver: Option<&'static str>, edits: Vec<Edit>) -> anyhow::Result<()> {
    if edits.is_empty() {
        return Ok(());
    }
    let options = WriteOptions { driver, ..WriteOptions::default() };
    let mut transaction = Transaction::begin_waiting(root, options, PATIENCE)?;
    edits.into_iter().for_each(|edit| transaction.add(edit));
    transaction.commit()?;
    Ok(())
}
