//! `layerfs image save` from containerd's store.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::bail;
use images::save::{
    MadeBlobs, SaveDestination, SaveOptions, StoredPlan, recompressed, save_stored, select_all_stored, select_stored,
};
use layerfs::compress::encode::Encoding;
use snapshot::root::DataRoot;
use snapshot::view::{Needs, View};

use super::{Args, in_dockers_words, status};
use crate::commands::layerfs::NAME;
use crate::progress::Progress;
use crate::{damage, output};
use docker_format::size;

pub(super) fn run(args: Args, root: DataRoot, interrupted: &Arc<AtomicBool>) -> anyhow::Result<ExitCode> {
    if !args.have.is_empty() || !args.have_file.is_empty() {
        bail!("--have: an image of containerd's store is saved whole: a receiver finds layers by their blobs there");
    }
    if args.skip_damaged {
        bail!("--skip-damaged: an image of containerd's store is saved whole or not at all");
    }
    let view = View::read_root(root, Needs::RECORDS)?;
    let catalog = view.catalog();
    let selection = match args.all {
        true => select_all_stored(catalog),
        false => select_stored(catalog, &args.images).map_err(in_dockers_words)?,
    };
    if args.all {
        damage::report(NAME, &view);
    }
    let complete = !args.all || catalog.damaged_images().is_empty();
    let plan = StoredPlan::new(catalog, &selection, args.format, args.platform.as_ref())?;
    if args.dry_run {
        if args.json {
            output::json(&plan)?;
        } else {
            tell(&plan)?;
        }
        return Ok(status(complete));
    }
    let progress = Progress::new(NAME, args.quiet);
    let options = SaveOptions {
        form: args.format,
        encoding: args.compress.unwrap_or(Encoding::None),
        threads: args.threads.map_or_else(|| layerfs::pool::processors().get(), Into::into),
        skip_damaged: false,
        interrupted,
        observer: &progress,
    };
    let (plan, made) = match options.encoding {
        Encoding::None => (plan, MadeBlobs::default()),
        Encoding::Gzip(_) | Encoding::Zstd(_) => recompressed(catalog, &plan, &options)?,
    };
    let what = (&plan, &made);
    match (args.output, args.directory) {
        (Some(file), _) => save_stored(catalog, what, SaveDestination::File(file), &options)?,
        (None, Some(directory)) => save_stored(catalog, what, SaveDestination::Directory(directory), &options)?,
        (None, None) => {
            let mut stdout = output::binary()?;
            save_stored(catalog, what, SaveDestination::Stream(&mut stdout), &options)?;
        }
    }
    drop(progress);
    if args.json {
        output::json(&plan)?;
    }
    Ok(status(complete))
}

/// Tells a person what would be written.
fn tell(plan: &StoredPlan) -> anyhow::Result<()> {
    for image in &plan.images {
        output::say(&format!("image {} {}", image.id.0.short(), image.name.as_deref().unwrap_or("<none>")))?;
    }
    for blob in &plan.blobs {
        output::say(&format!("write     {}  {:>8}", blob.digest.short(), size::size(blob.size)))?;
    }
    let blobs = output::counted(plan.blobs.len() as u64, "blob");
    output::say(&format!("{blobs} to write, {}", size::size(plan.size())))?;
    Ok(())
}
