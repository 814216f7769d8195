//! `layer-unpack`: a layer or an image archive into a data-root, overlay directories, or one tree.

mod bench;
mod bottleneck;
mod figures;
mod job;
mod measure;
mod report;
mod scratch;
mod text;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use images::load::{ImportOptions, ImportReport, ImportRequest, dry_run, dry_run_into_containerd};
use images::source::{ArchiveError, Opened, Select, UnusableName};
use images::unpack::UnpackReport;
use snapshot::reference::Reference;

use crate::commands::remote_image::RemoteImage;
use crate::commands::store::Store;
use crate::exit::UsageError;
use crate::flags::{StoreFlags, UnpackFlags, parse_tag};
use crate::generate::Generate;
use crate::manual::Manual;
use crate::progress::Progress;
use crate::registries::SourceFlags;
use crate::storage_options::StorageFlags;
use crate::{input, output, rootless, signals};
use docker_format::size;
use job::{Done, Job, Target};

const NAME: &str = "layer-unpack";

/// Unpack a container image, or one layer, without a daemon
///
/// ARCHIVE is what `docker save` writes, an OCI layout (a tar or a directory), or, for --layers and --rootfs, the tar of
/// one layer; plain or compressed with gzip, zstd, xz or bzip2. `-` is standard input. docker://NAME[:TAG|@DIGEST] is an
/// image of a registry, unpacked while it arrives.
///
/// With --root, a dockerd that is started on DATA_ROOT afterwards lists, runs, saves and deletes the images as if it had
/// loaded them itself. Stop a daemon that uses DATA_ROOT first. A failure, or Ctrl-C, leaves everything as it was.
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100)]
pub(super) struct Cli {
    /// Archive to unpack, or docker://NAME[:TAG|@DIGEST]
    #[arg(value_name = "ARCHIVE", required_unless_present = "generate")]
    archive: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Where to, one of")]
    to: To,

    /// Give this name to the image, which must be the only one
    #[arg(long, help_heading = WHICH, value_name = "NAME[:TAG]", value_parser = parse_tag, conflicts_with_all = ["layers", "rootfs"])]
    tag: Option<Reference>,

    /// Image to take of an archive with several, by name or id [default with --root: all]
    #[arg(long, value_name = "IMAGE", help_heading = WHICH)]
    image: Option<String>,

    /// Run in a user namespace: what is unpacked belongs to your subordinate ids
    #[arg(long)]
    rootless: bool,

    /// Image store of DATA_ROOT to import into: that of the storage driver, or containerd's [default: overlay2]
    #[arg(long = "store", value_enum, value_name = "STORE", requires = "root",
          conflicts_with_all = ["storage_driver", "bench"])]
    image_store: Option<Store>,

    #[command(flatten)]
    store: StoreFlags,

    #[command(flatten)]
    storage: StorageFlags,

    /// Number of threads, which also decode and hash; a list with --bench [default: all processors]
    #[arg(long, value_name = "N[,N...]", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..))]
    threads: Vec<u16>,

    #[command(flatten)]
    unpack: UnpackFlags,

    /// Unpack N times, and report how fast, where the time goes, and how much memory it takes [default: 5]
    ///
    /// DIR must be empty or new. It is as before at the end: each run unpacks to a directory of its own in it, which is
    /// removed, outside the measured time. One run before, which does not count, warms up. With a list of --threads, the
    /// report says how the speed grows with them.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "5", conflicts_with = "dry_run",
          value_parser = clap::value_parser!(u16).range(1..))]
    bench: Option<u16>,

    /// Print what the parser sees of a layer tar, and unpack nothing
    #[arg(long, hide = true, value_name = "frames|members|entries")]
    dump: Option<crate::commands::dump::Level>,

    /// Print the manual page, or a shell's completions
    #[arg(long, value_name = "WHAT")]
    generate: Option<Generate>,

    #[command(flatten, next_help_heading = "The registry of docker://")]
    registry: SourceFlags,
}

/// The place to unpack to.
#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct To {
    /// Docker data-root to import the images into, such as /var/lib/docker
    #[arg(long, value_name = "DATA_ROOT")]
    root: Option<PathBuf>,

    /// New directory for one overlay directory per layer
    #[arg(long, value_name = "DIR")]
    layers: Option<PathBuf>,

    /// New directory for the image's root file system, whiteouts applied
    #[arg(long, value_name = "DIR")]
    rootfs: Option<PathBuf>,
}

/// The heading of the flags that say which image to take, and its name.
const WHICH: &str = "Which image";

const MANUAL: Manual = Manual {
    name: NAME,
    examples: &[
        ("docker save app:1 | ssh host layer-unpack - --root /var/lib/docker", "import an image on another machine"),
        ("layer-unpack app.tar --rootfs ./app", "one tree, as a container sees it"),
        ("layer-unpack layer.tar.gz --layers ./layer", "the overlay directory of one layer"),
        ("layer-unpack docker://alpine:3 --rootfs ./alpine", "straight from a registry"),
        ("layer-unpack app.tar --root ./empty --bench 3 --threads 1,2", "how fast, and where the time goes"),
    ],
    more: ("", &[]),
    statuses: &[(0, "done"), (1, "failed"), (2, "usage, or it could not start"), (130, "interrupted")],
    see_also: &["layerfs", "layer-run", "image-du", "image-gc"],
    report: "",
};

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    match MANUAL.parse(std::env::args_os()) {
        Ok(cli) => crate::run(NAME, || run(cli)),
        Err(code) => code,
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if let Some(what) = cli.generate {
        return what.print::<Cli>(&MANUAL);
    }
    let Some(archive) = cli.archive else { return Err(UsageError("no archive".into()).into()) };
    if let Some(level) = cli.dump {
        return crate::commands::dump::dump(input::open(&archive)?, level);
    }
    cli.storage.choose()?;
    if cli.rootless
        && let Some(code) = rootless::enter()?
    {
        return Ok(code);
    }
    if cli.bench.is_none() && cli.threads.len() > 1 {
        return Err(UsageError("--threads takes several numbers only with --bench".into()).into());
    }
    let interrupted = signals::interrupted()?;
    let mut options = cli.unpack.options(cli.threads.first().copied(), &interrupted);
    cli.store.apply(&mut options)?;
    options.tag = cli.tag;
    let select = Select { image: cli.image, ..cli.unpack.select() };
    let (to, target) = match cli.to {
        To { root: Some(root), .. } if cli.image_store == Some(Store::Containerd) => (root, Target::Containerd),
        To { root: Some(root), .. } => (root, Target::Root),
        To { layers: Some(layers), .. } => (layers, Target::Layers),
        To { rootfs: Some(rootfs), .. } => (rootfs, Target::Rootfs),
        To { .. } => {
            return Err(UsageError("where to? give --root, --layers or --rootfs (--help explains)".into()).into());
        }
    };
    let json = cli.store.json;
    let remote = RemoteImage::named(NAME, &archive, &cli.registry, &interrupted)?;
    if remote.is_some() && (cli.store.dry_run || cli.bench.is_some()) {
        return Err(UsageError("--dry-run and --bench go with an archive, not with a registry".into()).into());
    }
    if cli.store.dry_run {
        let observer = &Progress::new(NAME, cli.unpack.quiet);
        let request = ImportRequest { archive: input::called(&archive), select: &select, options: &options, observer };
        let report = match target {
            Target::Root => dry_run(input::open(&archive)?, &to, &request),
            Target::Containerd => match input::open(&archive)? {
                Opened::Archive(opened) => dry_run_into_containerd(&opened, &to, &request),
                Opened::LayerTar(_) => {
                    Err(ArchiveError::NotAnImageArchive { path: input::called(&archive).into() }.into())
                }
                Opened::Compressed(..) | Opened::Pipe(_) => {
                    let reason = "--dry-run with --store containerd takes an archive in a file that is not compressed as a whole";
                    return Err(UsageError(reason.into()).into());
                }
            },
            Target::Layers | Target::Rootfs => return Err(UsageError("--dry-run goes with --root".into()).into()),
        };
        let report = report.map_err(input::with_name(&archive))?;
        return print_report(&report, json, true);
    }
    if target != Target::Rootfs {
        rootless::check(&to, rootless::ADVICE)?;
    }
    let job = Job { archive: &archive, remote: remote.as_ref(), target, select: &select };
    if let Some(runs) = cli.bench {
        let threads = threads(&cli.threads, &options);
        let plan = bench::BenchPlan { runs, threads, quiet: cli.unpack.quiet };
        return print_bench(&bench::run(&job, &to, &options, &plan)?, json);
    }
    match job.unpack(&to, &options, &Progress::new(NAME, cli.unpack.quiet))? {
        Done::Import(report) => print_report(&report, json, false),
        Done::Directories(report) => print_unpacked(&report, json),
    }
}

/// The numbers of threads to measure with.
fn threads(given: &[u16], options: &ImportOptions<'_>) -> Vec<usize> {
    if given.is_empty() { vec![options.threads] } else { given.iter().copied().map(usize::from).collect() }
}

fn print_bench(report: &report::BenchReport, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(report)?;
    } else {
        text::lines(report).iter().try_for_each(|line| output::say(line))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn print_report(report: &ImportReport, json: bool, dry_run: bool) -> anyhow::Result<ExitCode> {
    warn(&report.skipped, &report.warnings, report.images.iter().flat_map(|image| &image.unusable_names));
    let several = report.images.len() > 1;
    for image in report.images.iter().filter(|image| image.tags.is_empty()) {
        let one = if several { format!("--image {} and ", image.id) } else { String::new() };
        output::complain(NAME, &format!("image {} has no name: {one}--tag NAME[:TAG] gives it one", image.id));
    }
    if json {
        output::json(report)?;
        return Ok(ExitCode::SUCCESS);
    }
    for image in &report.images {
        let names: Vec<&str> = image.tags.iter().filter(|tag| !tag.kept).map(|tag| tag.name.as_str()).collect();
        let name = if names.is_empty() { "<none>".into() } else { names.join(", ") };
        let new = image.layers.iter().filter(|layer| layer.present.is_none()).count();
        let known = image.layers.len() - new;
        output::say(&format!("{name}  {}  {}, {known} present", image.id, output::counted(new as u64, "new layer")))?;
        for tag in &image.tags {
            match tag.moved_from {
                Some(from) => output::complain(NAME, &format!("{} moved here from {from}", tag.name)),
                None if tag.kept => output::complain(NAME, &format!("{} stays with another image", tag.name)),
                None => {}
            }
        }
    }
    if report.images.is_empty() {
        output::complain(NAME, "the archive has no image");
    }
    if dry_run {
        let need = report.need.unwrap_or_default();
        let at_least = if need.lower_bound { "at least " } else { "" };
        let layers = output::counted(report.missing.len() as u64, "layer");
        let (bytes, inodes) = (size::size(need.bytes), output::counted(need.inodes, "inode"));
        output::say(&format!("would store {layers}: {at_least}{bytes}, {inodes}"))?;
    } else if !report.unpacked.is_empty() {
        let size: u64 = report.unpacked.iter().map(|layer| layer.size).sum();
        let members: u64 = report.unpacked.iter().map(|layer| layer.members).sum();
        let layers = output::counted(report.unpacked.len() as u64, "layer");
        output::say(&format!("stored {layers}: {}, {}", size::size(size), output::entries(members)))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Warns of everything that is not taken as the archive has it.
fn warn<'n>(skipped: &[String], warnings: &[String], names: impl Iterator<Item = &'n UnusableName>) {
    skipped.iter().for_each(|skipped| output::complain(NAME, &format!("left out: {skipped}")));
    warnings.iter().for_each(|warning| output::complain(NAME, &format!("warning: {warning}")));
    names.for_each(|name| output::complain(NAME, &format!("warning: {name}: {}", name.problem)));
}

fn print_unpacked(report: &UnpackReport, json: bool) -> anyhow::Result<ExitCode> {
    warn(&report.skipped, &report.warnings, report.unusable_names.iter());
    if json {
        output::json(report)?;
        return Ok(ExitCode::SUCCESS);
    }
    for layer in &report.layers {
        let place = layer.directory.clone().unwrap_or_else(|| layer.diff_id.0.short());
        output::say(&format!("{place}  {}  {}", size::size(layer.size), output::entries(layer.members)))?;
    }
    Ok(ExitCode::SUCCESS)
}
