//! `layerfs system migrate`: the store of overlay2 into containerd's, with a way back.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

mod back;
mod from;

use anyhow::Context;
use docker_format::size;
use images::migrate::{KeptDigests, MigrateOptions, MigrationPlan, MigrationReport, Way, migrate};
use layerfs::delete::Deletion;
use serde::Serialize;
use snapshot::containerd::migration::{Migration, Obstacle, Return};
use snapshot::containerd::writer::{self, StoreWriter};
use snapshot::edit::{Transaction, WriteOptions};
use snapshot::root::{DataRoot, LockedRoot};
use snapshot::view::{Needs, View};

use from::Sources;

use crate::commands::layerfs::NAME;
use crate::commands::store::Store;
use crate::progress::Progress;
use crate::registries::SourceFlags;
use crate::{output, rootless, signals};

/// The driver that is migrated from.
const FROM: &str = "overlay2";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Images, by name or id, to migrate with their containers [default: everything]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// Image store to make, or to fill: containerd's, or that of overlay2
    #[arg(long, value_enum, value_name = "STORE", required_unless_present_any = ["undo", "give_up"])]
    to: Option<Store>,

    /// Make it in this data-root, which keeps nothing of containerd's store yet; containers stay where they are [default: the same]
    #[arg(long, value_name = "DATA_ROOT")]
    into: Option<PathBuf>,

    /// Keep the digests by which registries know images, with the manifests and compressed layers that this archive or image has, or, with
    /// docker:// alone, that the images' own registries have; may be given several times
    #[arg(long, value_name = "ARCHIVE|LAYOUT|docker://NAME", conflicts_with_all = ["undo", "give_up"])]
    from: Vec<PathBuf>,

    /// Say what would be done and what cannot be kept, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Give both stores the same files of layers, where the file system can do that; this is the default
    #[arg(long)]
    link: bool,

    /// Copy the files of layers
    #[arg(long, conflicts_with = "link")]
    copy: bool,

    /// Remove the old store when the new one is there: no way back
    #[arg(long = "move", conflicts_with_all = ["copy", "into", "images", "undo"])]
    remove_old: bool,

    /// Let the containers belong to the old store again, and remove the new one
    #[arg(long, conflicts_with_all = ["to", "into", "dry_run", "give_up", "images"])]
    undo: bool,

    /// Remove the old store of a migration that is done: no way back
    #[arg(long, conflicts_with_all = ["to", "into", "dry_run", "images"])]
    give_up: bool,

    /// With --undo or --give-up, also if something is lost that way
    #[arg(long)]
    force: bool,

    /// Threads [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Do not wait until the data is on the disk
    #[arg(long)]
    no_sync: bool,

    /// Report as JSON
    #[arg(long)]
    json: bool,

    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,

    #[command(flatten, next_help_heading = "The registries of docker://")]
    registry: SourceFlags,
}

/// The report for a program.
#[derive(Debug, Serialize)]
struct Report<'r> {
    #[serde(flatten)]
    done: &'r MigrationReport,
    /// What was not kept, in sentences.
    lost: &'r [String],
}

pub(crate) fn run(args: &Args, root: &Path) -> anyhow::Result<ExitCode> {
    if !args.dry_run {
        rootless::check(root, "")?;
    }
    if args.undo || args.give_up {
        return go_back_or_on(args, root);
    }
    if args.to == Some(Store::Overlay2) {
        return back::run(args, root);
    }
    let same_root = args.into.is_none();
    let interrupted = signals::interrupted()?;
    if args.dry_run {
        let view = View::read_root(DataRoot::find(root, Some(FROM))?, Needs::RECORDS)?;
        let mut plan = MigrationPlan::new(view.catalog(), &args.images, same_root)?;
        let sources = Sources::open(args, view.catalog(), &plan, root, &interrupted)?;
        KeptDigests::find(view.catalog(), &mut plan, &sources.all())?;
        return tell(&plan, args.json);
    }
    let sync = !args.no_sync;
    // What an earlier change has left unfinished is finished or taken back first.
    drop(Transaction::begin(root, WriteOptions { driver: Some(FROM), sync })?);
    let locked = LockedRoot::open(root)?;
    if let Some(migration) = Migration::find(&locked, sync)? {
        return finish(args, root, &migration);
    }
    let view = View::read_root(locked.overlay2()?, Needs::RECORDS)?;
    let mut plan = MigrationPlan::new(view.catalog(), &args.images, same_root)?;
    if plan.save.images.is_empty() && plan.containers.is_empty() {
        plan.lost.iter().for_each(|lost| output::complain(NAME, &format!("not kept: {lost}")));
        anyhow::bail!("{}: its store of {FROM} has no images that could go over", root.display());
    }
    let sources = Sources::open(args, view.catalog(), &plan, args.into.as_deref().unwrap_or(root), &interrupted)?;
    let kept = KeptDigests::find(view.catalog(), &mut plan, &sources.all())?;
    let (store, _held) = match &args.into {
        None => (StoreWriter::begin(locked, sync)?, None),
        Some(into) => (writer::begin(into, sync).context("--into")?, Some(locked)),
    };
    let progress = Progress::new(NAME, args.quiet);
    let options = MigrateOptions {
        way: if args.copy { Way::Copy } else { Way::Link },
        threads: args.threads.map_or_else(|| layerfs::pool::processors().get(), Into::into),
        sync,
        interrupted: &interrupted,
        observer: &progress,
    };
    let migrated = migrate(view.root(), view.catalog(), &plan, &kept, store, &options);
    drop(progress);
    let (report, locked) = migrated.map_err(|error| sources.cause(error))?;
    sources.finish();
    if args.remove_old
        && let Some(mut migration) = Migration::find(&locked, sync)?
    {
        migration.give_up_old(&Deletion::default())?;
    }
    print(args, &report, &plan)?;
    Ok(ExitCode::SUCCESS)
}

/// Does what is left to be done of an earlier migration.
fn finish(args: &Args, root: &Path, migration: &Migration<'_>) -> anyhow::Result<ExitCode> {
    let written = migration.finish()?;
    if written == 0 {
        anyhow::bail!("{}: it was migrated already: --undo goes back, --give-up removes the old store", root.display());
    }
    if !args.json {
        output::say(&format!("finished the migration: {}", output::counted(written as u64, "container")))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn go_back_or_on(args: &Args, root: &Path) -> anyhow::Result<ExitCode> {
    let sync = !args.no_sync;
    let locked = LockedRoot::open(root)?;
    if let Some(returned) = Return::find(locked.dir(), sync)? {
        return back::go_back_or_on(args, root, locked, returned);
    }
    let Some(mut migration) = Migration::find(&locked, sync)? else {
        anyhow::bail!("{}: no migration has made containerd's store in it, or it is final", root.display());
    };
    let obstacle = if args.undo { migration.undo_loses()? } else { migration.giving_up_loses() };
    expect_no_loss(args, root, obstacle)?;
    if args.undo {
        migration.undo()?;
    } else {
        migration.give_up_old(&Deletion::default())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Refuses what would lose something, unless that is wanted.
fn expect_no_loss(args: &Args, root: &Path, obstacle: Option<Obstacle>) -> anyhow::Result<()> {
    let root = root.display();
    match obstacle {
        Some(Obstacle::GivenUp) => anyhow::bail!("{root}: {}: --give-up goes on with that", Obstacle::GivenUp),
        Some(obstacle) if !args.force => anyhow::bail!("{root}: {obstacle}: --force does it all the same"),
        _ => Ok(()),
    }
}

/// Says what would be done.
fn tell(plan: &MigrationPlan, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    for image in &plan.save.images {
        output::say(&format!("image {}  {}", image.id.0.short(), names(&image.names)))?;
    }
    for container in &plan.containers {
        output::say(&format!("container {}", container.name))?;
    }
    for digest in &plan.digests {
        output::say(&format!("digest {}  {}", digest.image.0.short(), names(&digest.names)))?;
    }
    plan.lost.iter().try_for_each(|lost| output::say(&format!("not kept: {lost}")))?;
    let (images, layers) = (plan.save.images.len() as u64, plan.snapshots.len() as u64);
    let containers = output::counted(plan.containers.len() as u64, "container");
    output::say(&format!(
        "would migrate {}, {}, {containers}; blobs take up about {}",
        output::counted(images, "image"),
        output::counted(layers, "layer"),
        size::size(plan.save.size() + plan.packed_bytes)
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn names(names: &[String]) -> String {
    if names.is_empty() { "<none>".to_owned() } else { names.join(", ") }
}

fn print(args: &Args, report: &MigrationReport, plan: &MigrationPlan) -> anyhow::Result<()> {
    if args.json {
        return output::json(&Report { done: report, lost: &plan.lost });
    }
    plan.lost.iter().for_each(|lost| output::complain(NAME, &format!("not kept: {lost}")));
    for image in &report.images {
        let (old, new) = (image.id.0.short(), image.new_id.0.short());
        output::say(&format!("image {old} is {new}  {}", names(&image.names)))?;
    }
    let containers = output::counted(report.containers.len() as u64, "container");
    output::say(&format!(
        "migrated {}, {}, {containers}; blobs take up {}",
        output::counted(report.images.len() as u64, "image"),
        output::counted(report.snapshots as u64, "layer"),
        size::size(report.blob_bytes)
    ))?;
    if !args.quiet {
        output::complain(
            NAME,
            "dockerd uses this store if its configuration has \"features\": {\"containerd-snapshotter\": true}",
        );
        if args.into.is_none() && !args.remove_old {
            output::complain(NAME, "the old store is still there: --undo goes back to it, --give-up removes it");
        }
    }
    Ok(())
}
