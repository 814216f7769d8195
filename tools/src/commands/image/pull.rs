//! `layerfs image pull`: `docker image pull` into a data-root, with docker's own lines.

mod lines;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::anyhow;
use images::load::{
    ImportError, ImportOptions, ImportReport, ImportRequest, import_images, import_images_into_containerd,
};
use images::source::{Platform, Select};
use layerfs::Digest;
use lines::{Form, Lines};
use registry::{BlobListener, PullRequest, RegistryClient, Remote, Resolved};
use serde_json::json;
use snapshot::reference::Reference;
use snapshot::root::{DataRoot, PULLED_BLOBS};
use snapshot::schema::references::References;

use super::change::reference_error;
use super::events::Events;
use crate::commands::layerfs::NAME;
use crate::commands::store::Store;
use crate::exit::{Interrupted, UsageError};
use crate::flags::writable;
use crate::registries::{SourceFlags, cause, in_turn, parse};
use crate::{output, rootless, signals};

/// How long to wait for another command that writes to the data-root: another pull, as a rule.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Where dockerd keeps what does not last, and where blobs are on their way there.
const TMP: &str = PULLED_BLOBS[0];
const BLOBS: &str = PULLED_BLOBS[1];

/// What is said after a request to stop.
const STOPPED: &str = "interrupted, no image was changed";

#[derive(Debug, clap::Args)]
#[command(after_long_help = concat!("What the objects of --json have:\n\n", include_str!("pull/events.txt")))]
pub(crate) struct Args {
    /// Images, as NAME[:TAG|@DIGEST]
    #[arg(required = true, value_name = "NAME[:TAG|@DIGEST]")]
    names: Vec<String>,

    /// Pull all tags of each repository
    #[arg(short, long)]
    all_tags: bool,

    /// Image to take of a name that has several [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<String>,

    /// Print only the full name of each image
    #[arg(short, long)]
    quiet: bool,

    /// Print an object for each thing that happens, a line each
    #[arg(long, conflicts_with = "quiet")]
    json: bool,

    /// Layers that are fetched at once
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent_downloads: u16,

    #[command(flatten)]
    registry: SourceFlags,

    /// Do not check first whether there is room
    #[arg(long)]
    no_preflight: bool,

    /// Do not wait until the data is on the disk
    ///
    /// A power cut soon after may leave layers whose files are empty although the store lists them.
    #[arg(long)]
    no_sync: bool,

    /// Number of threads, which also decode and hash [default: all processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    // With --json, the last object of an image has its name.
    let done = |name: &str| if args.json { Ok(()) } else { Ok(output::say(name)?) };
    pull(args, root, driver, &signals::interrupted()?, done)?;
    Ok(ExitCode::SUCCESS)
}

/// Pulls, and tells `done` the name of each image that was pulled.
fn pull(
    args: &Args,
    root: &Path,
    driver: Option<&str>,
    interrupted: &Arc<AtomicBool>,
    done: impl Fn(&str) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let driver = writable(driver)?;
    let platform = args.platform.as_deref().map(registry::platform_of).transpose();
    let platform = platform.map_err(|error| UsageError(error.to_string()))?;
    let references = args.names.iter().map(|name| parse(name)).collect::<anyhow::Result<Vec<_>>>()?;
    for reference in &references {
        let has_one = reference.tag().is_some() || reference.digest().is_some();
        anyhow::ensure!(!(args.all_tags && has_one), "tag can't be used with --all-tags/-a");
        anyhow::ensure!(reference.familiar_name() != "scratch", "'scratch' is a reserved name");
    }
    rootless::check(root, "")?;
    let mut options = ImportOptions::new(interrupted);
    options.threads = args.threads.map_or(options.threads, Into::into);
    options.sync = !args.no_sync;
    options.preflight = !args.no_preflight;
    options.patience = PATIENCE;
    options.driver = driver;
    for reference in references {
        let clients = args.registry.clients(&reference, interrupted)?;
        done(&in_turn(NAME, clients, |client| {
            let pull = Pull { args, root, driver, platform: platform.as_ref(), client, options: &options };
            if args.all_tags { pull.all(&reference) } else { pull.default(reference.clone()) }
        })?)?;
    }
    Ok(())
}

/// Fetches the image that a Dockerfile names, and makes it durable if `sync` is true.
pub(crate) fn fetch(
    name: &str,
    platform: Option<&Platform>,
    root: &Path,
    driver: Option<&str>,
    registry: &SourceFlags,
    sync: bool,
    interrupted: &Arc<AtomicBool>,
) -> anyhow::Result<()> {
    // dockerd's builder has other words than docker's client for a name that is none.
    Reference::parse(name).map_err(|error| anyhow!(reference_error(&error)))?;
    let name = parse(name)?.with_default_tag().familiar();
    let args = Args {
        names: vec![name],
        all_tags: false,
        platform: platform.map(ToString::to_string),
        quiet: true,
        json: false,
        max_concurrent_downloads: 3,
        registry: registry.clone(),
        no_preflight: false,
        no_sync: !sync,
        threads: None,
    };
    pull(&args, root, driver, interrupted, |_| Ok(()))
}

/// One repository's part of the work.
struct Pull<'p> {
    args: &'p Args,
    root: &'p Path,
    driver: Option<&'static str>,
    platform: Option<&'p Platform>,
    client: &'p Arc<RegistryClient>,
    options: &'p ImportOptions<'p>,
}

impl Pull<'_> {
    /// Pulls an image by the name that the user gave. Returns the name that the client prints at the end.
    fn default(&self, reference: Reference) -> anyhow::Result<String> {
        let complete = reference.clone().with_default_tag();
        if complete != reference {
            self.say(&format!("Using default tag: {}", complete.tag().unwrap_or_default()))?;
        }
        let is_new = self.one(&complete)?;
        self.status(&complete.familiar(), is_new)?;
        Ok(complete.canonical())
    }

    fn all(&self, reference: &Reference) -> anyhow::Result<String> {
        let mut is_new = false;
        for tag in registry::tags(self.client, reference)? {
            let name = format!("{}:{tag}", reference.name());
            let tagged = Reference::parse(&name).map_err(|error| anyhow!("{error}"))?;
            is_new |= self.one(&tagged)?;
        }
        self.status(&reference.familiar(), is_new)?;
        Ok(reference.canonical())
    }

    fn form(&self) -> Form {
        match self.args {
            Args { json: true, .. } => Form::Json,
            Args { quiet: true, .. } => Form::Quiet,
            _ => Form::Lines,
        }
    }

    fn say(&self, line: &str) -> anyhow::Result<()> {
        if self.form() == Form::Lines {
            output::say(line)?;
        }
        Ok(())
    }

    fn status(&self, name: &str, is_new: bool) -> anyhow::Result<()> {
        let what = if is_new { "Downloaded newer image for" } else { "Image is up to date for" };
        self.say(&format!("Status: {what} {name}"))
    }

    /// Pulls one image; returns whether anything changed.
    fn one(&self, reference: &Reference) -> anyhow::Result<bool> {
        let events = Events::new(self.form() == Form::Json);
        events.tell("begin", json!({"name": reference.canonical()}));
        let (digest, changed) = self.fetch(reference)?;
        self.say(&format!("Digest: {digest}"))?;
        events.tell("end", json!({"name": reference.canonical(), "digest": digest, "changed": changed}));
        Ok(changed)
    }

    /// Fetches one image; returns what its name leads to, and whether anything changed.
    fn fetch(&self, reference: &Reference) -> anyhow::Result<(Digest, bool)> {
        let which = reference
            .digest()
            .map_or_else(|| reference.tag().unwrap_or_default().to_owned(), |_| reference.canonical());
        let begun = || self.say(&format!("{which}: Pulling from {}", reference.path()));
        let stored = Stored::read(self.root, self.driver);
        let is_known = stored.as_ref().is_some_and(|stored| stored.references.get(reference).is_some());
        let is_present = |digest| match &stored {
            Some(stored) if self.platform.is_none() => stored.has(&names(reference, digest)),
            _ => false,
        };
        // If nothing may be to be done, the registry is first asked for no more than the digest.
        let known = match reference.digest() {
            Some(digest) if is_known => Some(digest),
            None if is_known => registry::head(self.client, reference)?,
            _ => None,
        };
        if let Some(digest) = known
            && is_present(digest)
        {
            begun()?;
            return Ok((digest, false));
        }
        let resolved = registry::resolve(self.client, reference, self.platform)?;
        begun()?;
        let digest = resolved.digest;
        if is_present(digest) {
            return Ok((digest, false));
        }
        let report = twice(|| self.import(reference, resolved.clone()))?;
        for warning in &report.warnings {
            output::complain(NAME, &format!("warning: {warning}"));
        }
        Ok((digest, true))
    }

    fn import(&self, reference: &Reference, resolved: Resolved) -> Result<ImportReport, (anyhow::Error, bool)> {
        let at_once = self.args.max_concurrent_downloads.into();
        let lines = Arc::new(Lines::new(self.form(), at_once));
        let pull = PullRequest {
            client: Arc::clone(self.client),
            reference: reference.clone(),
            dir: blobs_dir(self.root),
            most: at_once,
            listener: Arc::clone(&lines) as Arc<dyn BlobListener>,
        };
        let name = PathBuf::from(reference.familiar());
        let select = Select::default();
        let request = ImportRequest { archive: &name, select: &select, options: self.options, observer: &*lines };
        import(resolved, (self.root, Store::Overlay2), pull, &request)
    }
}

/// Where the blobs of a pull are on their way.
pub(crate) fn blobs_dir(root: &Path) -> PathBuf {
    root.join(TMP).join(BLOBS)
}

/// The names that an image gets: one with the digest, and the one that the user gave, unless it has the digest already.
fn names(reference: &Reference, digest: Digest) -> Vec<Reference> {
    let tagged = Some(reference.clone()).filter(|reference| reference.digest().is_none());
    std::iter::once(reference.with_digest(digest)).chain(tagged).collect()
}

/// Bytes that an earlier pull has left may be bad. Then the image is fetched once more from the beginning.
pub(crate) fn twice<T>(attempt: impl Fn() -> Result<T, (anyhow::Error, bool)>) -> anyhow::Result<T> {
    let result = match attempt() {
        Err((_, true)) => attempt(),
        result => result,
    };
    result.map_err(|(error, _)| error)
}

/// Imports an image of a registry into one of a root's stores. The second part of an error says whether another attempt may go
/// better.
pub(crate) fn import(
    resolved: Resolved,
    (root, store): (&Path, Store),
    pull: PullRequest,
    request: &ImportRequest<'_>,
) -> Result<ImportReport, (anyhow::Error, bool)> {
    let tmp = root.join(TMP);
    let (is_new, had_root, had_tmp) = (!root.exists(), root.join("image").exists(), tmp.exists());
    let names = match store {
        Store::Overlay2 => names(&pull.reference, resolved.digest),
        // There a name that is a tag has no other beside it: its digest follows from what it leads to.
        Store::Containerd => vec![pull.reference.clone()],
    };
    let remote = Remote::new(resolved, &names, pull);
    let imported = match store {
        Store::Overlay2 => import_images(&remote, root, request),
        Store::Containerd => import_images_into_containerd(&remote, root, request),
    };
    let fault = imported.as_ref().err().and_then(|_| remote.fault());
    // On a full disk, what has arrived would only be in the way.
    let no_room = fault.as_ref().is_some_and(|(error, _)| error.is_no_space())
        || imported.as_ref().is_err_and(ImportError::is_no_space);
    remote.finish(imported.is_err() && had_root && !no_room);
    if !had_tmp {
        let _ = std::fs::remove_dir(&tmp);
    }
    if is_new && imported.is_err() {
        // The import could not remove it while the blobs were in it.
        let _ = std::fs::remove_dir(root);
    }
    imported.map_err(|error| {
        let may_go_better = fault.as_ref().is_some_and(|(_, may_go_better)| *may_go_better);
        match cause(error, fault.map(|(fault, _)| fault)) {
            error if matches!(error.downcast_ref(), Some(ImportError::Interrupted)) => {
                (Interrupted(STOPPED).into(), false)
            }
            error => (error, may_go_better),
        }
    })
}

/// The names of a store and its images, at the beginning of a pull.
struct Stored {
    root: DataRoot,
    references: References,
}

impl Stored {
    /// `None` for a root that cannot be read: that is for the import to complain of.
    fn read(root: &Path, driver: Option<&'static str>) -> Option<Self> {
        let root = DataRoot::find(root, driver).ok()?;
        let references = root.references().ok()?;
        Some(Self { root, references })
    }

    /// Whether these are all names of one image, which is there.
    fn has(&self, names: &[Reference]) -> bool {
        let mut found = names.iter().map(|name| self.references.get(name));
        let Some(Some(first)) = found.next() else { return false };
        let is_there =
            |images: snapshot::schema::image::ImageStore| images.config(first).is_ok_and(|config| config.is_some());
        found.all(|id| id == Some(first)) && self.root.images().is_ok_and(|images| images.is_some_and(is_there))
    }
}
