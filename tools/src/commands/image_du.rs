//! `image-du`: where the bytes of a data-root are.

mod archive;
mod csv;
mod files;
mod freed;
mod image;
mod json;
mod map;
mod order;
mod rules;
mod text;
mod text_files;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use snapshot::catalog::Resolved;
use snapshot::ids::{ImageId, VolumeName};
use snapshot::liveness::removal_plan::{Certainty, RemovalRequest};
use snapshot::root::DataRoot;
use snapshot::usage::files::Collector;
use snapshot::usage::report::{DiskReport, ImageUsage, LayerUsage};
use snapshot::usage::steps::KeptCache;
use snapshot::usage::{Account, Freed, Part, StayingLayer, df, find_staying_layers};
use snapshot::view::{Needs, View};

use crate::exit::{UsageError, until_the_end};
use crate::generate::Generate;
use crate::manual::Manual;
use crate::own_cache::{self, OwnCache};
use crate::storage_options::StorageFlags;
use crate::{damage, output};
use files::FileReport;
use order::Sort;
use rules::RuleFlags;

const NAME: &str = "image-du";

/// More threads than this only wait for each other.
const MOST_THREADS: usize = 16;

/// Say where the bytes of a Docker data-root are
///
/// First what `docker system df` says; then each image, layer, container and volume, with what it takes up and what would be
/// freed if exactly that went; the build cache of `layerfs build`; then what nobody
/// owns: logs, leftovers, records. All of it adds up to what `du -x` says.
///
/// No daemon is asked, a running one is no hindrance, and nothing is written.
#[derive(Debug, Parser)]
#[command(name = NAME, version, max_term_width = 100)]
pub(super) struct Cli {
    /// Docker data-root
    #[arg(long, value_name = "DATA_ROOT", default_value = "/var/lib/docker")]
    root: PathBuf,

    /// Storage driver of the data-root [default: what the root holds]
    #[arg(long, value_name = "DRIVER")]
    storage_driver: Option<String>,

    #[command(flatten)]
    storage: StorageFlags,

    /// What to sort by, largest first
    #[arg(long, value_name = "FIELD", default_value = "allocated")]
    sort: Sort,

    /// Show only the first N of each kind
    #[arg(long, value_name = "N")]
    top: Option<usize>,

    /// Say what `docker rmi -f` of these images together would free, and for whom the rest stays
    #[arg(long, value_name = "IMAGE", num_args = 1..)]
    freed_by: Vec<String>,

    /// Say which directories and files are the largest, what upper layers hide, and what several layers have; nothing else
    #[arg(long)]
    files: bool,

    /// Images to tell more about, or one archive
    ///
    /// Of an image: what each layer takes up, what would be freed, and for whom the rest stays. With --files or a threshold, the images that
    /// are looked at; all that docker lists if none is named. Of an archive of `docker save` or an OCI layout, for which no store is needed:
    /// how large each layer is, and with --files or a threshold its files. An archive is a path (./app, app.tar) or - for standard input; one
    /// that is compressed or comes through a pipe is kept in a file without a name in TMPDIR meanwhile.
    #[arg(value_name = "IMAGE|ARCHIVE")]
    images: Vec<String>,

    /// Write a page with a map of it to FILE, for a browser, and say no more than the sums
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Report as JSON
    #[arg(long, conflicts_with = "csv")]
    json: bool,

    /// Report as comma-separated values, a line for each thing
    #[arg(long)]
    csv: bool,

    /// Threads that read directories [default: all processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Print the manual page, or a shell's completions
    #[arg(long, value_name = "WHAT")]
    generate: Option<Generate>,

    // The last, since the heading is that of all that follow.
    #[command(flatten, next_help_heading = "Thresholds, as dive has them")]
    rules: RuleFlags,
}

const MANUAL: Manual = Manual {
    name: NAME,
    examples: &[
        ("image-du --sort unique --top 10", "what would free the most"),
        ("image-du app:1", "which part of the store that image is, what would be freed, and for whom the rest stays"),
        ("image-du app.tar --files", "how large the layers of an archive are, or here their files; no store is needed"),
        ("image-du --freed-by app:1 app:2", "what `docker rmi -f` of both would free"),
        ("image-du --files", "largest files, files that upper layers hide, identical ones"),
        ("image-du app:1 --ci-config .dive-ci", "status 1 if the image wastes more than dive would allow"),
        ("image-du --html usage.html", "a page with a map to click through"),
    ],
    more: (
        "Columns",
        &[
            ("ALLOCATED", "bytes that the file system has given it"),
            ("APPARENT", "bytes that its files and symlinks are long"),
            ("SHARED", "bytes of it that would stay if exactly this went"),
            ("UNIQUE", "bytes that would be freed if exactly this went: of an image, by `docker rmi -f`"),
        ],
    ),
    statuses: &[(0, "done"), (1, "something could not be read, or a threshold is not kept"), (2, "usage")],
    see_also: &["layerfs", "layer-unpack", "image-gc"],
    report: "",
};

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    match MANUAL.parse::<Cli>(std::env::args_os()) {
        Ok(cli) => crate::run(NAME, || run(&cli)),
        Err(code) => code,
    }
}

const BUILD_CACHE: &str = "Build Cache";

/// What a person is told. A program is always told everything.
enum Question {
    Everything,
    /// These images, and what would be freed without them.
    Images(Vec<ImageId>),
    /// What would be freed without some images.
    Freed,
    Files,
    /// The page, which is written to this path; only the sums are printed.
    Page(PathBuf),
}

/// Everything that is printed.
struct Shown<'a> {
    account: &'a Account<'a>,
    report: DiskReport,
    rows: [(&'static str, df::UsageRow); 4],
    /// Which images and volumes are the cache of builds made here.
    kept: KeptCache,
    question: Question,
    freed: Option<(Freed, Vec<StayingLayer>)>,
    files: Option<FileReport>,
    /// All layers, also those that are cut from `report`.
    layers: Vec<LayerUsage>,
    /// The images that were asked about.
    asked: Vec<ImageUsage>,
    /// How many entries of each list are shown.
    top: usize,
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Some(what) = cli.generate {
        return what.print::<Cli>(&MANUAL);
    }
    cli.storage.choose()?;
    if let Some(path) = cli.images.iter().find(|argument| archive::is_archive(argument)) {
        return about_archive(cli, path);
    }
    let root = DataRoot::find(&cli.root, cli.storage_driver.as_deref())?;
    let view = until_the_end(View::read_root(root, Needs::ACCOUNT)?);
    let processors = layerfs::pool::processors().get().min(MOST_THREADS);
    let threads = cli.threads.map_or(processors, usize::from);
    let rules = cli.rules.rules()?;
    let top = cli.top.unwrap_or(files::SHOWN);
    let asked = find_images(&view, &cli.images)?;
    let going = if cli.freed_by.is_empty() { asked.clone() } else { find_images(&view, &cli.freed_by)? };
    let (account, files) = if cli.files || cli.rules.any() {
        let collector = || Collector::new(&cli.root, &view, top);
        let (account, found) = Account::count_and_visit(&cli.root, &view, threads, collector)?;
        let files = FileReport::new(&account, found, (&asked, &rules), (top, threads))?;
        (account, Some(files))
    } else {
        (Account::count(&cli.root, &view, threads)?, None)
    };
    let account = until_the_end(account);
    let question = match &cli.html {
        // With a threshold, the verdict is about files.
        _ if cli.rules.any() => Question::Files,
        Some(path) => Question::Page(std::path::absolute(path)?),
        None if cli.files => Question::Files,
        None if !asked.is_empty() => Question::Images(asked.clone()),
        None if !going.is_empty() => Question::Freed,
        None => Question::Everything,
    };
    // If the user asks about files, what would be freed is told only if --freed-by asks for it.
    let going = if files.is_some() && cli.freed_by.is_empty() { Vec::new() } else { going };
    let freed = freed_by(&account, going);
    let content = |name: &VolumeName| {
        let bytes = account.usage(&Part::VolumeData(name.clone())).apparent;
        (bytes, own_cache::last_used(view.root(), name))
    };
    let own = OwnCache::read(view.catalog(), content);
    let mut report = DiskReport::new(&account, &own.kept);
    let [images, containers, volumes] = account.rows();
    // If the build cache cannot be read, show zeros: the reason is printed with the doubts about owners.
    let cache = own.added_to(account.cache_row().unwrap_or_default());
    let (images, volumes) = (own.taken_out(images), own.taken_out_of_volumes(volumes));
    let rows = [("Images", images), ("Containers", containers), ("Local Volumes", volumes), (BUILD_CACHE, cache)];
    if let Some(path) = &cli.html {
        map::write(path, &account, &report, &rows, files.as_ref())?;
    }
    let asked: Vec<ImageUsage> = report.images.iter().filter(|image| asked.contains(&image.id)).cloned().collect();
    let layers = if asked.is_empty() { Vec::new() } else { report.layers.clone() };
    order::sort(&mut report, cli.sort, cli.top);
    let shown = Shown { account: &account, report, rows, kept: own.kept, question, freed, files, layers, asked, top };
    let shown = until_the_end(shown);
    match () {
        () if cli.json => json::print(&shown)?,
        () if cli.csv => csv::print(&shown)?,
        () => text::print(&shown)?,
    }
    let failed = shown.files.as_ref().is_some_and(FileReport::failed);
    let findings = complain(&account) || failed;
    damage::report(NAME, &view);
    damage::report_elsewhere(NAME, &view);
    damage::report_leftovers(NAME, &view)?;
    Ok(ExitCode::from(u8::from(findings)))
}

/// Tells what an archive holds. Flags that ask about a store are refused.
fn about_archive(cli: &Cli, path: &str) -> anyhow::Result<ExitCode> {
    let refused = [
        (cli.images.len() > 1, "anything besides"),
        (cli.html.is_some(), "--html"),
        (!cli.freed_by.is_empty(), "--freed-by"),
        (cli.csv, "--csv"),
    ];
    if let Some((_, what)) = refused.iter().find(|(given, _)| *given) {
        return Err(UsageError(format!("{path} is an archive, which does not go with {what}")).into());
    }
    let (files, rules) = (cli.files || cli.rules.any(), cli.rules.rules()?);
    let wanted = archive::Wanted { files, rules: &rules, top: cli.top.unwrap_or(files::SHOWN), json: cli.json };
    archive::run(path, &wanted)
}

/// The images that `names` mean, each once.
fn find_images(view: &View, names: &[String]) -> Result<Vec<ImageId>, UsageError> {
    let mut ids = Vec::new();
    for name in names {
        match view.catalog().resolve(name) {
            Resolved::Image(id) | Resolved::Damaged(id) if ids.contains(&id) => {}
            Resolved::Image(id) | Resolved::Damaged(id) => ids.push(id),
            Resolved::Nothing if Path::new(name).is_file() => {
                return Err(UsageError(format!("no such image: {name}; for the file write ./{name}")));
            }
            Resolved::Nothing => return Err(UsageError(format!("no such image: {name}"))),
        }
    }
    Ok(ids)
}

fn freed_by(account: &Account<'_>, images: Vec<ImageId>) -> Option<(Freed, Vec<StayingLayer>)> {
    if images.is_empty() {
        return None;
    }
    let request = RemovalRequest { images, containers: Vec::new(), certainty: Certainty::AsDockerd };
    let removal = account.view.holders().if_removed(&request);
    let stays = find_staying_layers(account, &removal, &request.images);
    Some((account.freed(removal), stays))
}

/// Reports what could not be read. Returns whether there is anything, since that changes the exit status.
fn complain(account: &Account<'_>) -> bool {
    for error in &account.errors {
        output::complain(NAME, &format!("{}: {}", String::from_utf8_lossy(&error.path), error.errno));
    }
    let more = account.error_count.saturating_sub(account.errors.len() as u64);
    if more > 0 {
        output::complain(NAME, &format!("{more} more could not be read"));
    }
    for doubt in account.view.liveness().doubts() {
        output::complain(
            NAME,
            &format!("not all owners of directories are known, so no directory is called an orphan: {doubt}"),
        );
    }
    account.error_count > 0 || !account.view.liveness().doubts().is_empty()
}
