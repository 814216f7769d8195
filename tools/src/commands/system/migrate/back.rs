//! `layerfs system migrate --to overlay2`: images of containerd's store are unpacked as `image load` does it, and containers come over
//! with what they have written.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use images::load::{ImportOptions, ImportReport, ImportRequest, import_images};
use images::migrate::{ReturnOptions, ReturnPlan, return_containers};
use images::source::{ContainerdImages, Select};
use layerfs::delete::Deletion;
use serde::Serialize;
use snapshot::catalog::{Catalog, Resolved};
use snapshot::containerd::migration::{Migration, Return, ReturnRecord};
use snapshot::edit::{Transaction, WriteOptions};
use snapshot::ids::ImageId;
use snapshot::root::{DataRoot, LockedRoot};
use snapshot::view::{Needs, View};

use super::{Args, FROM as OVERLAY2, expect_no_loss, names};
use crate::commands::layerfs::NAME;
use crate::commands::store::Store;
use crate::exit::UsageError;
use crate::progress::Progress;
use crate::{output, signals};

/// The report for a program.
#[derive(Debug, Serialize)]
struct Report<'r> {
    #[serde(flatten)]
    images: &'r ImportReport,
    containers: &'r [String],
    /// What was not kept, in sentences.
    lost: &'r [String],
}

pub(super) fn run(args: &Args, root: &Path) -> anyhow::Result<ExitCode> {
    if args.remove_old || args.link || args.copy || !args.from.is_empty() {
        let reason =
            "--to overlay2 unpacks images as `image load` does: --link, --copy, --move and --from do not go with it";
        return Err(UsageError(reason.into()).into());
    }
    let interrupted = signals::interrupted()?;
    let same_root = args.into.is_none();
    let into = args.into.as_deref().unwrap_or(root);
    let view = View::read_root(DataRoot::find(root, Some(Store::Containerd.driver()))?, Needs::RECORDS)?;
    let catalog = view.catalog();
    let wanted = wanted(catalog, &args.images)?;
    let source = ContainerdImages::new(catalog, |id| wanted.is_empty() || wanted.contains(&id));
    let source = source.with_context(|| format!("{}: it has no images in containerd's store", root.display()))?;
    let plan = ReturnPlan::new(catalog, &wanted, same_root);
    if args.dry_run {
        return tell(catalog, &wanted, &plan, args.json);
    }
    let sync = !args.no_sync;
    let made_store = !root.join("image").join(OVERLAY2).exists() && !root.join(OVERLAY2).exists();
    if same_root {
        let locked = LockedRoot::open(root)?;
        if Migration::find(&locked, sync)?.is_some() {
            bail!(
                "{}: its store of {OVERLAY2} is the one that was migrated: --undo goes back to it, --give-up removes it",
                root.display()
            );
        }
        // Before there is anything to undo.
        let record = ReturnRecord { made_store, images: plan.images.clone(), ..ReturnRecord::default() };
        Return::note(locked.dir(), record, &[], sync)?;
    }
    let progress = Progress::new(NAME, args.quiet);
    let mut options = ImportOptions::new(&interrupted);
    options.threads = args.threads.map_or(options.threads, Into::into);
    (options.sync, options.driver) = (sync, Some(OVERLAY2));
    let request = ImportRequest { archive: root, select: &Select::default(), options: &options, observer: &progress };
    let report = import_images(&source, into, &request)?;
    drop(progress);
    let mut lost: Vec<String> = report.skipped.iter().chain(&plan.lost).cloned().collect();
    let mut containers = Vec::new();
    if same_root {
        let mut transaction = Transaction::begin(root, WriteOptions { driver: Some(OVERLAY2), sync })?;
        let complete = wanted.is_empty() && lost.is_empty();
        let options = ReturnOptions { made_store, complete, sync, interrupted: &interrupted };
        let (came, stayed) = return_containers(view.root(), catalog, &plan, &mut transaction, &options)?;
        containers = came;
        lost.extend(stayed);
    }
    if args.json {
        output::json(&Report { images: &report, containers: &containers, lost: &lost })?;
        return Ok(ExitCode::SUCCESS);
    }
    lost.iter().for_each(|lost| output::complain(NAME, &format!("not kept: {lost}")));
    for image in &report.images {
        let tags: Vec<String> = image.tags.iter().map(|tag| tag.name.clone()).collect();
        output::say(&format!("image {}  {}", image.id.0.short(), names(&tags)))?;
    }
    containers.iter().try_for_each(|container| output::say(&format!("container {container}")))?;
    if same_root && !args.quiet {
        output::complain(
            NAME,
            "dockerd uses this store if its configuration has \"features\": {\"containerd-snapshotter\": false}; the old store is \
             still there: --undo goes back to it, --give-up removes it",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The images that the arguments mean.
fn wanted(catalog: &Catalog, texts: &[String]) -> anyhow::Result<Vec<ImageId>> {
    let found = texts.iter().map(|text| match catalog.resolve(text) {
        Resolved::Image(id) => Ok(id),
        Resolved::Damaged(_) | Resolved::Nothing => bail!("No such image: {text}"),
    });
    found.collect()
}

/// Says what would be done.
fn tell(catalog: &Catalog, wanted: &[ImageId], plan: &ReturnPlan, json: bool) -> anyhow::Result<ExitCode> {
    if json {
        output::json(plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    let images = catalog.images().keys().filter(|id| wanted.is_empty() || wanted.contains(id));
    let mut count: u64 = 0;
    for id in images {
        count += 1;
        let tags: Vec<String> =
            catalog.names_of(*id).into_iter().filter(|name| !name.contains('@')).map(str::to_owned).collect();
        output::say(&format!("image {}  {}", id.0.short(), names(&tags)))?;
    }
    plan.containers.iter().try_for_each(|container| output::say(&format!("container {}", container.name)))?;
    plan.lost.iter().try_for_each(|lost| output::say(&format!("not kept: {lost}")))?;
    let containers = output::counted(plan.containers.len() as u64, "container");
    output::say(&format!("would migrate {}, {containers}", output::counted(count, "image")))?;
    Ok(ExitCode::SUCCESS)
}

/// Undoes a migration back, or makes it final.
pub(super) fn go_back_or_on(
    args: &Args,
    root: &Path,
    locked: LockedRoot,
    mut returned: Return,
) -> anyhow::Result<ExitCode> {
    if !args.undo {
        expect_no_loss(args, root, returned.giving_up_loses())?;
        returned.give_up_old(&locked)?;
        return Ok(ExitCode::SUCCESS);
    }
    drop(locked);
    let sync = !args.no_sync;
    let mut transaction = Transaction::begin(root, WriteOptions { driver: Some(OVERLAY2), sync })?;
    let images = transaction.root().images().list()?;
    expect_no_loss(args, root, returned.undo_loses(transaction.root().dir(), &images)?)?;
    returned.take_containers_back(&mut transaction)?;
    drop(transaction);
    returned.undo(&LockedRoot::open(root)?, &Deletion::default())?;
    Ok(ExitCode::SUCCESS)
}
