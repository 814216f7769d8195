//! `layerfs registry copy`: an image from one registry, layout or archive to another, without a data-root.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use layerfs::Digest;
use registry::{
    ArchiveName, Arrival, CopyListener, CopyOptions, Layout, LayoutSource, ManifestForm, NewArchive, Packed,
    RegistryError, Source, Target,
};
use snapshot::reference::Reference;

use crate::blob_bars::BlobBars;
use crate::exit::UsageError;
use crate::registries::{RegistryFlags, parse};
use crate::{output, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, as NAME[:TAG|@DIGEST], oci:DIRECTORY[:NAME], oci-archive:FILE[:NAME] or docker-archive:FILE[:NAME[:TAG]]
    source: String,

    /// Where it goes, in the same forms, without a digest
    target: String,

    /// Copy the images for all platforms, and the index that names them
    #[arg(short, long, conflicts_with = "platform")]
    all: bool,

    /// Copy what is said of the image, too: signatures, attestations and other documents that refer to it
    #[arg(long)]
    referrers: bool,

    /// Image to take of a name that has several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,

    /// Print only the digest of what the target leads to
    #[arg(short, long)]
    quiet: bool,

    /// Blobs that are copied at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent: u16,

    #[command(flatten)]
    registry: RegistryFlags,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let platform = args.platform.as_deref().map(registry::platform_of).transpose();
    let platform = platform.map_err(|error| UsageError(error.to_string()))?;
    let interrupted = signals::interrupted()?;
    let flags = &args.registry;
    let target = Place::parse(&args.target)?;
    let from = match Place::parse(&args.source)? {
        Place::Registry(name) => Source::Registry(Arc::new(flags.client(&name, &interrupted)?), name),
        Place::Layout(dir, name) => Source::Layout(LayoutSource::directory(dir, name)),
        Place::OciArchive(file, name) => Source::Layout(LayoutSource::archive(file, name)?),
        Place::DockerArchive(file, name) => {
            let is_layout = matches!(target, Place::Layout(..) | Place::OciArchive(..));
            let form = if is_layout { ManifestForm::Oci } else { ManifestForm::Docker };
            Source::Packed(Packed::open(file, name.as_deref(), form, &interrupted)?)
        }
    };
    let to = match target {
        Place::Registry(name) => Target::Registry(Arc::new(flags.client_to_push(&name, &interrupted)?), name),
        Place::Layout(dir, name) => Target::Layout(Layout::new(dir, name)),
        Place::OciArchive(file, name) => Target::Archive(NewArchive::create(file, ArchiveName::Layout(name))?),
        Place::DockerArchive(file, name) => {
            let name = name.map(|name| parse(&name).map(Reference::with_default_tag)).transpose()?;
            Target::Archive(NewArchive::create(file, ArchiveName::Docker(name))?)
        }
    };
    let options = CopyOptions {
        all: args.all,
        referrers: args.referrers,
        platform: platform.as_ref(),
        most: args.max_concurrent.into(),
        interrupted: &interrupted,
    };
    let lines = Lines { bars: BlobBars::new(args.quiet) };
    let copied = registry::copy(&from, &to, options, &lines)?;
    drop(lines);
    if args.quiet {
        output::say(&copied.digest.to_string())?;
    } else {
        output::say(&format!("digest: {} size: {}", copied.digest, copied.size))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a text names, as skopeo spells it.
enum Place {
    /// An image of a registry.
    Registry(Reference),
    /// One of a layout in a directory.
    Layout(PathBuf, Option<String>),
    /// One of a layout in an archive.
    OciArchive(PathBuf, Option<String>),
    /// One of an archive as `docker save` makes it.
    DockerArchive(PathBuf, Option<String>),
}

impl Place {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let transport = |name: &str| text.strip_prefix(name).and_then(|rest| rest.strip_prefix(':'));
        let file = |path: &str| match path {
            "" => bail!("{text:?} names no file and no directory"),
            path => Ok(PathBuf::from(path)),
        };
        if let Some(layout) = transport("oci") {
            let (dir, name) = of_layout(layout);
            return Ok(Self::Layout(file(dir)?, name));
        }
        if let Some(archive) = transport("oci-archive") {
            let (path, name) = of_layout(archive);
            return Ok(Self::OciArchive(file(path)?, name));
        }
        if let Some(archive) = transport("docker-archive") {
            // The name may have colons.
            let (path, name) = archive.split_once(':').map_or((archive, None), |(path, name)| (path, Some(name)));
            let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
            return Ok(Self::DockerArchive(file(path)?, name));
        }
        Ok(Self::Registry(parse(text.strip_prefix("docker://").unwrap_or(text))?.with_default_tag()))
    }
}

/// A path and the name of an image.
fn of_layout(text: &str) -> (&str, Option<String>) {
    match text.rsplit_once(':') {
        Some((path, name)) if !name.contains('/') && !name.is_empty() => (path, Some(name.to_owned())),
        _ => (text, None),
    }
}

/// A line for each blob that is at the target, and bars on a terminal.
struct Lines {
    bars: BlobBars,
}

impl CopyListener for Lines {
    fn begin(&self, blob: Digest, size: u64) {
        self.bars.begin(blob, size);
    }

    fn advance(&self, blob: Digest, bytes: u64) {
        self.bars.advance(blob, bytes);
    }

    fn retry(&self, blob: Digest, pause: Duration, error: &RegistryError) {
        self.bars.retry(blob, pause, error);
    }

    fn end(&self, blob: Digest, arrival: &Arrival) {
        self.bars.end(blob);
        let what = match arrival {
            Arrival::Existed => "Already exists".to_owned(),
            Arrival::Mounted { from } => format!("Mounted from {from}"),
            Arrival::Sent => "Copied".to_owned(),
        };
        self.bars.say(&format!("{}: {what}", blob.short()));
    }
}
