//! `image-gc`: what may go from a data-root and why, and, if asked to, its removal.

mod apply;
mod json;
mod policy;
mod restore;
mod stored;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use snapshot::StoreError;
use snapshot::gc::GcPlan;
use snapshot::ids::ImageId;
use snapshot::root::{DataRoot, Guard};
use snapshot::view::{Needs, View};

use crate::exit::until_the_end;
use crate::flags::writable;
use crate::generate::Generate;
use crate::manual::Manual;
use crate::storage_options::StorageFlags;
use crate::{output, own_cache, rootless};
use policy::PolicyFlags;

const NAME: &str = "image-gc";

/// How many reasons why nothing goes are named; if there are more, they are only counted.
const DOUBTS: usize = 5;

/// Say what may go from a Docker data-root and why, and remove it
///
/// A plan comes first: images that nobody uses, layers that no image needs, directories that nobody claims, and what else is
/// left of things that are gone, each with the reason and the bytes that the file system gets back. Without --apply nothing is
/// changed.
///
/// Of containerd's store, the plan is what containerd itself will delete, and what it never will although nobody needs it; only
/// containerd carries it out.
///
/// No daemon is asked. While one runs on the data-root, the plan is shown and nothing is removed. What cannot be proven to be
/// needed by nobody stays.
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

    #[command(flatten, next_help_heading = "What goes")]
    policy: PolicyFlags,

    /// Remove what the plan says
    #[arg(long)]
    apply: bool,

    /// With --apply, move what goes into a new directory in DIR and delete nothing; DIR is on the same file system and mount
    #[arg(long, value_name = "DIR", requires = "apply")]
    quarantine: Option<PathBuf>,

    /// Put back what is in DIR, a directory that --quarantine has made
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["apply", "json", "verbose", "all", "until", "unused_for", "keep", "keep_label", "keep_last",
            "exclude_from", "target_free", "target_size", "high_threshold", "low_threshold"]
    )]
    restore: Option<PathBuf>,

    /// Do not wait until what is written is on the disk
    #[arg(long)]
    no_sync: bool,

    /// Name everything that goes, and everything that stays
    #[arg(short, long)]
    verbose: bool,

    /// Report as JSON
    #[arg(long)]
    json: bool,

    /// Print the manual page, or a shell's completions
    #[arg(long, value_name = "WHAT")]
    generate: Option<Generate>,
}

const MANUAL: Manual = Manual {
    name: NAME,
    examples: &[
        ("image-gc", "what may go: images without a name, and what is left of things that are gone"),
        ("image-gc --apply", "remove it"),
        ("image-gc --all --until 720h --keep 'registry.example/*'", "also images made more than 30 days ago"),
        ("image-gc --keep-last 3 --apply", "leave the three newest images of each repository"),
        ("image-gc --target-free 20% --apply", "as many unused images as it takes, the least recently used first"),
        ("image-gc --all --apply --quarantine /var/lib/docker/kept", "move it away, and delete nothing"),
        ("image-gc --restore /var/lib/docker/kept/quarantine-0123456789ab", "put it back"),
        ("image-gc --high-threshold 85 --low-threshold 80 --apply", "the same as kubelet does it"),
    ],
    more: (
        "What is found",
        &[
            ("image", "without a name, or, with --all, one that no container uses"),
            ("layer", "that no image, container or build has"),
            ("directory, link", "of the storage driver, that nobody claims, or that leads to no layer"),
            ("removal, registration", "of a layer, that was begun and not finished"),
            ("mount", "without a container, with its directories"),
            ("metadata, sources, blob", "notes on images and layers that are gone"),
            ("temporary-file, change", "of a write that was interrupted"),
        ],
    ),
    statuses: &[
        (0, "done"),
        (1, "something stays that should go, less is freed than was wanted, or removing failed"),
        (2, "usage"),
        (130, "interrupted"),
    ],
    see_also: &["image-du", "layerfs", "layer-unpack"],
    report: include_str!("image_gc/json.txt"),
};

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    match MANUAL.parse::<Cli>(std::env::args_os()) {
        Ok(cli) => crate::run(NAME, || run(&cli)),
        Err(code) => code,
    }
}

/// Everything that is printed.
struct Shown<'a> {
    root: PathBuf,
    driver: String,
    plan: &'a GcPlan,
    /// The steps of builds made here that images are records of.
    steps: BTreeMap<ImageId, String>,
    now: jiff::Timestamp,
    /// Whether the plan was carried out, and not just made.
    applied: bool,
    /// The directory into which everything was moved that is gone.
    quarantine: Option<PathBuf>,
    /// Why the plan cannot be carried out now.
    refusal: Option<String>,
    verbose: bool,
}

fn run(cli: &Cli) -> anyhow::Result<ExitCode> {
    if let Some(what) = cli.generate {
        return what.print::<Cli>(&MANUAL);
    }
    cli.storage.choose()?;
    if let Some(quarantine) = &cli.restore {
        return restore::restore(cli, quarantine);
    }
    let policy = cli.policy.policy()?;
    let driver = cli.storage_driver.as_deref();
    let view = View::read_root(DataRoot::find(&cli.root, driver)?, Needs::REMOVAL)?;
    view.root().expect_images()?;
    if view.root().is_containerd_only() {
        return stored::run(cli, &view, &policy);
    }
    let mut plan = until_the_end(GcPlan::make(&view, &policy)?);
    let steps = own_cache::steps(view.catalog());
    let root = view.root().dir().path().to_path_buf();
    let name = view.root().driver_name().to_owned();
    let (mut refusal, mut kept, mut quarantine) = (None, false, None);
    if cli.apply {
        rootless::check(&cli.root, "")?;
        (kept, quarantine) = apply::apply(cli, view, &policy, &mut plan)?;
    } else {
        refusal = why_not(&cli.root, driver)?;
        let _ = until_the_end(view);
    }
    let shown = Shown {
        root,
        driver: name,
        plan: &plan,
        steps,
        now: policy.now,
        applied: cli.apply,
        quarantine,
        refusal,
        verbose: cli.verbose,
    };
    if cli.json {
        json::print(&shown)?;
    } else {
        text::print(&shown)?;
    }
    let missed = plan.goal().is_some_and(|goal| !goal.is_reached());
    complain(&shown);
    Ok(ExitCode::from(u8::from(kept || missed || !plan.doubts().is_empty() || plan.unread() > 0)))
}

/// Why the plan cannot be carried out now, or `None` if it can.
fn why_not(root: &std::path::Path, driver: Option<&str>) -> anyhow::Result<Option<String>> {
    let Ok(driver) = writable(driver) else { return Ok(Some("this storage driver cannot be written".into())) };
    match (Guard { driver }).ask(root) {
        Ok(_) => Ok(None),
        Err(error @ StoreError::Refused { .. }) => Ok(Some(error.to_string())),
        Err(error) => Ok(Some(format!("{:#}", anyhow::Error::from(error)))),
    }
}

fn complain(shown: &Shown<'_>) {
    let plan = shown.plan;
    let doubts = if shown.verbose { plan.doubts().len() } else { DOUBTS };
    for doubt in plan.doubts().iter().take(doubts) {
        output::complain(NAME, &format!("nothing is removed, since it is not known who needs what: {doubt}"));
    }
    if let Some(more) = plan.doubts().len().checked_sub(doubts).filter(|more| *more > 0) {
        output::complain(NAME, &format!("and {}; --verbose names them", output::counted(more as u64, "more reason")));
    }
    if !plan.doubts().is_empty() {
        output::complain(NAME, "layerfs system check says whom this affects, and what mends it");
    }
    for pattern in plan.unused_patterns() {
        output::complain(NAME, &format!("--keep {pattern}: no image has such a name"));
    }
    for label in plan.unused_labels() {
        output::complain(NAME, &format!("--keep-label {label}: no image has this label"));
    }
    if plan.unread() > 0 {
        let entries = output::entries(plan.unread());
        output::complain(NAME, &format!("{entries} could not be read: the bytes do not include this"));
    }
    if plan.may_share_blocks() {
        output::complain(NAME, "files may share blocks on this file system: less may be freed than is said");
    }
    if let Some(refusal) = &shown.refusal {
        output::complain(NAME, &format!("this plan could not be carried out now: {refusal}"));
    }
}
