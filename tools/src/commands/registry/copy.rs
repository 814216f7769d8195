//! `layerfs registry copy`: an image from one registry or layout to another, without a data-root.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use layerfs::Digest;
use registry::{Arrival, CopyListener, CopyOptions, Layout, Place, RegistryClient, RegistryError, Source};
use snapshot::reference::Reference;

use crate::blob_bars::BlobBars;
use crate::exit::UsageError;
use crate::registries::{RegistryFlags, parse};
use crate::{output, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, as NAME[:TAG|@DIGEST] or oci:DIRECTORY[:NAME]
    source: String,

    /// Where it goes, as NAME[:TAG] or oci:DIRECTORY[:NAME]
    target: String,

    /// Copy the images for all platforms, and the index that names them
    #[arg(short, long, conflicts_with = "platform")]
    all: bool,

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
    let from = place(&args.source, |reference| flags.client(reference, &interrupted))?;
    let to = place(&args.target, |reference| flags.client_to_push(reference, &interrupted))?;
    let options = CopyOptions {
        all: args.all,
        platform: platform.as_ref(),
        most: args.max_concurrent.into(),
        interrupted: &interrupted,
    };
    let lines = Lines { bars: BlobBars::new(args.quiet) };
    let copied = registry::copy(Source::Place(&from), &to, options, &lines)?;
    drop(lines);
    if args.quiet {
        output::say(&copied.digest.to_string())?;
    } else {
        output::say(&format!("digest: {} size: {}", copied.digest, copied.size))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What a text names: an image of a registry, or of a layout in a directory.
fn place(text: &str, client: impl Fn(&Reference) -> anyhow::Result<RegistryClient>) -> anyhow::Result<Place> {
    if let Some(layout) = text.strip_prefix("oci:") {
        let (dir, name) = match layout.rsplit_once(':') {
            Some((dir, name)) if !name.contains('/') && !name.is_empty() => (dir, Some(name.to_owned())),
            _ => (layout, None),
        };
        if dir.is_empty() {
            bail!("{text:?} names no directory");
        }
        return Ok(Place::Layout(Layout::new(PathBuf::from(dir), name)));
    }
    let reference = parse(text.strip_prefix("docker://").unwrap_or(text))?.with_default_tag();
    Ok(Place::Registry(Arc::new(client(&reference)?), reference))
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
