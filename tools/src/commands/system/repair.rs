//! `layerfs system repair`: what can be mended of a damaged store, and mending it.
//!
//! The report for a program is one JSON object. Fields may be added, none changes its meaning; codes do not change.
//!
#![doc = concat!("```text\n", include_str!("repair.json.txt"), "```")]

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use images::load::ImportError;
use images::mend;
use serde::Serialize;
use snapshot::catalog::Subject;
use snapshot::check::Reading;
use snapshot::edit::WriteOptions;
use snapshot::repair::{
    Advice, Donors, Mending, RepairError, RepairOptions, RepairStep, Scope, Unmended, plan, repair,
};

use super::watch::Watch;
use crate::flags::writable;
use crate::{input, output, rootless, signals};

#[derive(Debug, clap::Args)]
#[command(after_long_help = concat!("What --json prints, one object:\n\n", include_str!("repair.json.txt")))]
pub(crate) struct Args {
    /// Images, by name or id, to mend alone, with their layers [default: everything]
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,

    /// Do it; without, only say what would be done
    #[arg(long)]
    apply: bool,

    /// An image archive, an OCI layout or another data-root that has what is lost; may be given several times
    #[arg(long, value_name = "ARCHIVE|LAYOUT|ROOT")]
    from: Vec<PathBuf>,

    /// Read the content of every layer, and not only of those that --from has
    #[arg(long)]
    deep: bool,

    /// Layers to read at once, and threads that unpack one [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,

    /// Report as JSON
    #[arg(long)]
    json: bool,

    /// Do not show progress
    #[arg(short, long)]
    quiet: bool,
}

/// The report for a program.
#[derive(Debug, Serialize)]
struct Report<'r> {
    /// Whether `steps` were done, or only would be.
    applied: bool,
    steps: Vec<StepReport<'r>>,
    /// What is damaged and cannot be mended by this program.
    unmended: Vec<UnmendedReport<'r>>,
}

#[derive(Debug, Serialize)]
struct StepReport<'r> {
    /// The stable name of the repair.
    repair: &'static str,
    #[serde(flatten)]
    subject: SubjectReport,
    /// What is wrong, in words.
    cause: &'r str,
    /// What is done, in words.
    what: String,
    /// Names that are written again, and where each comes from.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    names: Vec<NameReport>,
}

#[derive(Debug, Serialize)]
struct NameReport {
    name: String,
    image: String,
    from: &'static str,
}

#[derive(Debug, Serialize)]
struct UnmendedReport<'r> {
    #[serde(flatten)]
    subject: SubjectReport,
    /// What is wrong, in words.
    reason: &'r str,
    /// The stable name of what would help.
    advice: &'static str,
}

#[derive(Debug, Serialize)]
struct SubjectReport {
    /// The kind of thing: `references`, `image`, `layer`, `container`, `mount`, `volume`, `build_cache`.
    subject: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// The exit status is 0 if nothing is wrong, or all of it was mended, and 1 if anything is left.
pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let driver = writable(driver)?;
    if args.apply {
        rootless::check(root, "")?;
    }
    let mut donors = Vec::new();
    for path in &args.from {
        input::expect_content(path).context("--from")?;
        donors.push(mend::open(path).with_context(|| format!("--from {}", path.display()))?);
    }
    let donors = Donors::new(donors);
    let interrupted = signals::interrupted()?;
    let watch = Watch::new(None, args.quiet);
    let processors = layerfs::pool::processors();
    let threads = args.threads.and_then(|count| NonZeroUsize::new(count.into())).unwrap_or(processors);
    let reading = Reading { threads, observer: &watch, interrupted: &interrupted };
    let scope = Scope { images: &args.images, deep: args.deep, reading };
    if !args.apply {
        let plan = plan(root, &donors, scope, driver).map_err(ended)?;
        if !args.json {
            plan.steps.iter().try_for_each(|step| output::say(&sentence(step)))?;
        }
        end(args, &plan.steps, &plan.unmended)?;
        return Ok(status(plan.is_empty()));
    }
    let write = WriteOptions { driver, ..WriteOptions::default() };
    let options = RepairOptions { write, threads: threads.get() };
    let mut lost = None;
    let repaired = repair(root, &donors, scope, options, &mut |step| {
        if !args.json && lost.is_none() {
            lost = output::say(&sentence(step)).err();
        }
    });
    let repaired = repaired.map_err(ended)?;
    if let Some(lost) = lost {
        return Err(lost.into());
    }
    end(args, &repaired.done, &repaired.unmended)?;
    Ok(status(repaired.unmended.is_empty()))
}

fn ended(error: RepairError) -> anyhow::Error {
    match error {
        RepairError::Interrupted => ImportError::Interrupted.into(),
        error => error.into(),
    }
}

fn status(good: bool) -> ExitCode {
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints the whole report for a program, or, for a person, what comes after the steps.
fn end(args: &Args, steps: &[RepairStep], unmended: &[Unmended]) -> anyhow::Result<()> {
    if args.json {
        let steps = steps.iter().map(StepReport::new).collect();
        let unmended = unmended.iter().map(UnmendedReport::new).collect();
        return output::json(&Report { applied: args.apply, steps, unmended });
    }
    for left in unmended {
        output::say(&format!("not mended: {}: {}; {}", subject(&left.subject), left.reason, advice(left.advice)))?;
    }
    match (steps.len() as u64, args.apply) {
        (0, _) if unmended.is_empty() => output::say("Nothing is damaged.")?,
        (0, _) => {}
        (done, true) => output::say(&format!("{} done.", output::counted(done, "repair")))?,
        (planned, false) => {
            output::say(&format!(
                "{} planned, nothing was changed; --apply does it.",
                output::counted(planned, "repair")
            ))?;
        }
    }
    Ok(())
}

fn sentence(step: &RepairStep) -> String {
    format!("{}: {}: {}", subject(&step.subject), step.cause, step.mending)
}

fn subject(subject: &Subject) -> String {
    let SubjectReport { subject, id } = SubjectReport::new(subject);
    match (subject, id) {
        ("references", _) => "names of images".into(),
        ("build_cache", _) => "build cache".into(),
        (kind, id) => format!("{kind} {}", short(&id.unwrap_or_default())),
    }
}

/// An id as docker shortens it; a name as it is.
fn short(id: &str) -> &str {
    let hex = id.strip_prefix("sha256:").unwrap_or(id);
    let is_id = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { &hex[..12] } else { id }
}

fn advice(advice: Advice) -> &'static str {
    match advice {
        Advice::NameSource => "name a source that has it with --from, or load the image again",
        Advice::LoadAgain => "name a source that has it with --from, or remove the image and load it again",
        Advice::RemoveImage => "remove the image: layerfs image rm",
        Advice::RemoveContainer => "make the container again; docker rm removes what is left of it",
        Advice::PruneBuildCache => "have dockerd remove the build cache: docker builder prune -a",
        Advice::MoveBuildCache => {
            "move the directory buildkit of the data-root away: dockerd begins a new build cache, and image-gc removes what the old one leaves"
        }
        Advice::LookAtFile => "look at it, and mend it or move it away",
        Advice::CollectLater => "image-gc removes it when nobody can need it any more",
        _ => "look at it",
    }
}

impl SubjectReport {
    fn new(subject: &Subject) -> Self {
        let (subject, id) = match subject {
            Subject::References => ("references", None),
            Subject::Image(id) => ("image", Some(id.to_string())),
            Subject::Layer(id) => ("layer", Some(id.to_string())),
            Subject::Container(id) => ("container", Some(id.to_string())),
            Subject::Mount(name) => ("mount", Some(name.to_string())),
            Subject::Volume(name) => ("volume", Some(name.to_string())),
            Subject::BuildCache => ("build_cache", None),
            Subject::Database(path) => ("database", Some(path.clone())),
            Subject::Directory(path) => ("directory", Some(path.clone())),
        };
        Self { subject, id }
    }
}

impl<'r> StepReport<'r> {
    fn new(step: &'r RepairStep) -> Self {
        let names = match &step.mending {
            Mending::RewriteNames { names } => names.as_slice(),
            _ => &[],
        };
        let names = names.iter().map(|(name, image, from)| NameReport {
            name: name.familiar(),
            image: image.to_string(),
            from: from.code(),
        });
        Self {
            repair: step.mending.code(),
            subject: SubjectReport::new(&step.subject),
            cause: &step.cause,
            what: step.mending.to_string(),
            names: names.collect(),
        }
    }
}

impl<'r> UnmendedReport<'r> {
    fn new(left: &'r Unmended) -> Self {
        Self { subject: SubjectReport::new(&left.subject), reason: &left.reason, advice: left.advice.code() }
    }
}
