//! `layerfs image save`: `docker image save`, offline, and what it cannot do: OCI layouts, compression, only what is missing.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use images::save::{
    self, SaveDestination, SaveForm, SaveOptions, SavePlan, SaveReport, SelectError, Selection, select_all,
};
use images::source::Platform;
use layerfs::ChainId;
use layerfs::compress::encode::Encoding;
use snapshot::catalog::Catalog;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

use super::change::reference_error;
use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::progress::Progress;
use crate::{damage, input, output, signals};
use docker_format::size;

mod stored;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images by name or id; a name without a tag means all its tags
    #[arg(value_name = "IMAGE", required_unless_present = "all")]
    images: Vec<String>,

    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE", conflicts_with = "directory")]
    output: Option<PathBuf>,

    /// Write a directory instead of an archive
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,

    /// `docker`: for every tool, an OCI layout with docker's manifest; `oci`: an OCI layout alone
    #[arg(long, value_name = "FORMAT", default_value = "docker", value_parser = parse_form)]
    format: SaveForm,

    /// Compress layers: none, gzip[=LEVEL] or zstd[=LEVEL]; dockerd loads zstd from version 23 on [default: none]
    #[arg(long, value_name = "CODEC")]
    compress: Option<Encoding>,

    /// Save images for this platform alone
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,

    /// Save all images of the data-root
    #[arg(long, conflicts_with = "images")]
    all: bool,

    /// Leave out images whose layers are damaged, and say which, instead of failing
    #[arg(long)]
    skip_damaged: bool,

    /// Leave out layers that the receiver has: those of an archive, a layout, a data-root or an image of this one
    #[arg(long, value_name = "ARCHIVE|LAYOUT|DATA_ROOT|IMAGE")]
    have: Vec<String>,

    /// Leave out the layers in this list, as `image ls --layers` prints it on the other machine
    #[arg(long, value_name = "FILE")]
    have_file: Vec<PathBuf>,

    /// Report which layers would be written and which are left out, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Report as JSON
    #[arg(long)]
    json: bool,

    /// Number of threads [default: all processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

fn parse_form(text: &str) -> Result<SaveForm, String> {
    match text {
        "docker" => Ok(SaveForm::Docker),
        "oci" => Ok(SaveForm::Oci),
        _ => Err("neither docker nor oci".into()),
    }
}

pub(crate) fn run(args: Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let to_stdout = args.output.is_none() && args.directory.is_none() && !args.dry_run;
    if to_stdout && std::io::stdout().is_terminal() {
        bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
    }
    if to_stdout && args.json {
        return Err(
            UsageError("--json needs -o or --directory: the archive itself goes to standard output".into()).into()
        );
    }
    if to_stdout && args.skip_damaged && args.compress.unwrap_or(Encoding::None) == Encoding::None {
        let why = "--skip-damaged needs -o, --directory or --compress: damage is seen at the end of a layer";
        return Err(UsageError(why.into()).into());
    }
    let interrupted = signals::interrupted()?;
    let root = DataRoot::find(root, driver)?;
    root.expect_images()?;
    if root.is_containerd_only() {
        return stored::run(args, root, &interrupted);
    }
    let texts = save::texts_to_read(&args.images, &root.references()?);
    let needs = if args.all { Needs::RECORDS } else { Needs::only(&texts) };
    let view = View::read_root(root, needs)?;
    let selection = if args.all {
        select_all(view.catalog())
    } else {
        save::select(view.catalog(), &args.images).map_err(in_dockers_words)?
    };
    if let Some(platform) = &args.platform {
        expect_platform(view.catalog(), &selection, platform)?;
    }
    let complete = !args.all || report_left_out(&view, &selection);
    let have = receiver_has(&args, view.root())?;
    let plan = SavePlan::new(view.catalog(), &selection, &have);
    if args.dry_run {
        if args.json {
            output::json(&plan)?;
        } else {
            tell(&plan)?;
        };
        return Ok(status(complete));
    }
    let progress = Progress::new(NAME, args.quiet);
    let options = SaveOptions {
        form: args.format,
        encoding: args.compress.unwrap_or(Encoding::None),
        threads: args.threads.map_or_else(|| layerfs::pool::processors().get(), Into::into),
        skip_damaged: args.skip_damaged,
        interrupted: &interrupted,
        observer: &progress,
    };
    let report = match (args.output, args.directory) {
        (Some(file), _) => save::save(view.root(), &plan, SaveDestination::File(file), &options)?,
        (None, Some(directory)) => save::save(view.root(), &plan, SaveDestination::Directory(directory), &options)?,
        (None, None) => {
            let mut stdout = output::binary()?;
            save::save(view.root(), &plan, SaveDestination::Stream(&mut stdout), &options)?
        }
    };
    drop(progress);
    let complete = report_lost(&report) && complete;
    if args.json {
        output::json(&report)?;
    }
    if !args.quiet {
        say_what_is_needed(&report);
    }
    Ok(status(complete))
}

/// Checks that all images are for this platform, since there is no other of them here.
fn expect_platform(catalog: &Catalog, selection: &Selection, platform: &Platform) -> anyhow::Result<()> {
    for id in selection.keys() {
        let Some(image) = catalog.images().get(id) else { continue };
        let own = Platform::new(&image.config.os, &image.config.architecture, Some(&image.config.variant));
        if !platform.is_same(&own) {
            bail!("no suitable export target found for platform {platform}: image {} is for {own}", id.0.short());
        }
    }
    Ok(())
}

/// For a text that is no name, dockerd's message, which is shorter than the library's.
fn in_dockers_words(error: SelectError) -> anyhow::Error {
    match error {
        SelectError::Reference(error) => anyhow::anyhow!(reference_error(&error)),
        error => error.into(),
    }
}

fn status(complete: bool) -> ExitCode {
    if complete { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

/// Says which images of a whole store cannot be saved. Returns whether all can be.
pub(crate) fn report_left_out(view: &View, selection: &Selection) -> bool {
    damage::report(NAME, view);
    let empty = view.catalog().images().keys().filter(|id| !selection.contains_key(id));
    let left_out = empty.map(|id| output::complain(NAME, &format!("left out: image {id} has no layers"))).count();
    left_out == 0 && view.catalog().damaged_images().is_empty()
}

/// Says which layers could not be read, and which images are therefore left out. Returns whether there are none.
pub(crate) fn report_lost(report: &SaveReport) -> bool {
    report.lost_layers.iter().for_each(|lost| output::complain(NAME, &lost.reason));
    for image in &report.lost_images {
        let names = image.names.join(", ");
        let names = if names.is_empty() { String::new() } else { format!(" ({names})") };
        output::complain(NAME, &format!("left out: image {}{names} needs a layer that cannot be read", image.id));
    }
    report.lost_layers.is_empty() && report.lost_images.is_empty()
}

fn say_what_is_needed(report: &SaveReport) {
    let left_out = report.layers.iter().filter(|layer| layer.left_out).count();
    if left_out > 0 {
        let layers = output::counted(left_out as u64, "layer");
        output::complain(NAME, &format!("left out {layers} that the receiver must have"));
    }
}

/// The layers that the receiver has.
fn receiver_has(args: &Args, root: &DataRoot) -> anyhow::Result<BTreeSet<ChainId>> {
    let mut have = BTreeSet::new();
    for file in &args.have_file {
        have.extend(read_list(file)?);
    }
    let mut names = Vec::new();
    for text in &args.have {
        let path = Path::new(text);
        match path.metadata() {
            Err(_) => names.push(text.clone()),
            Ok(found) if found.is_dir() && !is_layout(path) => {
                input::expect_content(path).context("--have")?;
                let other = DataRoot::find(path, None).with_context(|| format!("--have {text}"))?;
                have.extend(usable_layers(&Catalog::read(&other)?));
            }
            Ok(_) => have.extend(save::chains_of(path, None).with_context(|| format!("--have {text}"))?),
        }
    }
    if !names.is_empty() {
        let catalog = Catalog::read_images(root, &save::texts_to_read(&names, &root.references()?))?;
        let images = save::select(&catalog, &names).context(
            "--have takes an archive, a layout, a data-root or an image of this one, and this is none of them",
        )?;
        have.extend(images.keys().flat_map(|id| &catalog.images()[id].chain));
    }
    Ok(have)
}

fn is_layout(path: &Path) -> bool {
    ["index.json", "manifest.json"].iter().any(|name| path.join(name).exists())
}

/// The layers that a daemon would load, which are those that can be used.
fn usable_layers(catalog: &Catalog) -> impl Iterator<Item = ChainId> {
    catalog.layers().values().flatten().map(|layer| layer.chain_id)
}

/// A list of layers: an id on each line; empty lines and what begins with `#` are passed over.
fn read_list(path: &Path) -> anyhow::Result<Vec<ChainId>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("--have-file {}", path.display()))?;
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    let ids = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    ids.map(|(at, line)| line.parse().with_context(|| format!("{}, line {at}", path.display()))).collect()
}

/// Tells a person what would be written.
fn tell(plan: &SavePlan) -> anyhow::Result<()> {
    for image in &plan.images {
        let names = if image.names.is_empty() { "<none>".to_owned() } else { image.names.join(", ") };
        output::say(&format!("image {} {names}", image.id.0.short()))?;
        for needed in &image.needed {
            output::say(&format!("  needs layer {needed} of the receiver"))?;
        }
    }
    let mut written: u64 = 0;
    for layer in &plan.layers {
        let what = if layer.left_out { "leave out" } else { "write    " };
        written += u64::from(!layer.left_out);
        output::say(&format!("{what} {}  {:>8}", layer.diff_id.0.short(), size::size(layer.size)))?;
    }
    let left_out = plan.layers.len() as u64 - written;
    let layers = output::counted(written, "layer");
    output::say(&format!("{layers} to write, {} of files; {left_out} left out", size::size(plan.size())))?;
    Ok(())
}
