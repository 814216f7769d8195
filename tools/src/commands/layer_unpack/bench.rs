//! `--bench`: the same unpacking again and again, each time into an empty place.
//!
//! For each number of threads one run warms up, and shows how much memory it takes; then come the runs that count; then one
//! with clocks in it, which says where the time goes. What a run made is removed before the next, outside the measured
//! time. A run is what the command does without `--bench`, from opening the archive on.

use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::Ordering;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use images::load::{ImportError, ImportOptions, Observer, Silent};
use images::source::{Format, Opened};
use layerfs::meter::Meter;

use super::bottleneck::Metered;
use super::figures::Costs;
use super::measure::{timed, with_peak_memory};
use super::report::{BenchReport, Content, Run};
use super::scratch::Scratch;
use super::{Job, NAME};
use crate::exit::UsageError;
use crate::progress::Progress;
use crate::{input, output};
use bench_figures::Machine;
use bench_figures::file_system;

/// How to measure.
#[derive(Debug)]
pub(super) struct BenchPlan {
    /// How many runs count, with each number of threads.
    pub(super) runs: u16,
    /// Numbers of threads.
    pub(super) threads: Vec<usize>,
    /// Report no progress.
    pub(super) quiet: bool,
}

/// Measures `job` in the directory `to`, which must not exist or be empty, and is left as it was.
pub(super) fn run(
    job: &Job<'_>,
    to: &Path,
    options: &ImportOptions<'_>,
    plan: &BenchPlan,
) -> anyhow::Result<BenchReport> {
    let archive_bytes = readable_again(job.archive)?;
    // Report an archive that cannot be read, or is empty, before a directory is made.
    let compression = match input::open(job.archive)? {
        Opened::Compressed(_, compression) => Some(compression.to_string()),
        Opened::Archive(_) | Opened::LayerTar(_) | Opened::Pipe(_) => None,
    };
    let machine = Machine::read()?;
    let scratch = Scratch::new(to)?;
    let bench = Bench { job, options, plan, scratch: &scratch, one_stream: compression.is_some() };
    let mut found = None;
    let runs = plan.threads.iter().map(|&threads| bench.measure(threads, &mut found));
    let runs = runs.collect::<anyhow::Result<Vec<Run>>>()?;
    let (format, content) = found.expect("there is a number of threads to measure with");
    let file_system = file_system(scratch.base())?;
    scratch.remove()?;
    Ok(BenchReport {
        archive: job.archive.display().to_string(),
        archive_raw: job.archive.to_str().is_none().then(|| BASE64_STANDARD.encode(job.archive.as_os_str().as_bytes())),
        archive_bytes,
        format: match format {
            Some(Format::DockerArchive) => "docker-archive",
            Some(Format::Oci) => "oci",
            Some(Format::SkopeoDir) => "skopeo-dir",
            None => "layer",
        },
        compression,
        target: job.target.name(),
        file_system,
        synced: options.sync,
        content,
        machine,
        runs,
    })
}

/// The length of an archive that can be read again and again; a pipe is refused.
fn readable_again(archive: &Path) -> anyhow::Result<u64> {
    let refused = || {
        UsageError(format!(
            "--bench reads the archive several times: {} is not a file",
            input::called(archive).display()
        ))
    };
    if archive.as_os_str() == "-" {
        return Err(refused().into());
    }
    // Whoever opens the archive reports that it is missing, so the message is the same as without `--bench`.
    let Ok(metadata) = std::fs::metadata(archive) else { return Ok(0) };
    if metadata.is_dir() {
        return Ok(length_of_files(archive)?);
    }
    if metadata.is_file() { Ok(metadata.len()) } else { Err(refused().into()) }
}

/// Bytes of all files below a directory.
fn length_of_files(dir: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    let mut left = vec![dir.to_path_buf()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                left.push(entry.path());
            } else if metadata.is_file() {
                sum += metadata.len();
            }
        }
    }
    Ok(sum)
}

/// What each run unpacked; the same each time.
type Found = (Option<Format>, Content);

struct Bench<'b> {
    job: &'b Job<'b>,
    options: &'b ImportOptions<'b>,
    plan: &'b BenchPlan,
    scratch: &'b Scratch,
    one_stream: bool,
}

impl Bench<'_> {
    /// All runs with one number of threads.
    fn measure(&self, threads: usize, found: &mut Option<Found>) -> anyhow::Result<Run> {
        let options = ImportOptions { threads, ..self.options.clone() };
        let counted = if threads == 1 { "1 thread".into() } else { format!("{threads} threads") };
        let runs = self.plan.runs;
        self.tell(&format!("{counted}: warming up"));
        // Each run has the same warnings, so only the first run prints them.
        let observer: &dyn Observer = if found.is_none() { &Progress::new(NAME, true) } else { &Silent };
        let (first, peak) = with_peak_memory(|| self.once(&options, observer));
        let first = *found.get_or_insert(first?);
        let mut samples = Vec::new();
        for run in 1..=runs {
            self.tell(&format!("{counted}: run {run} of {runs}"));
            self.next()?;
            let (again, sample) = timed(|| self.once(&options, &Silent))?;
            same(first, again)?;
            samples.push(sample);
        }
        self.tell(&format!("{counted}: looking where the time goes"));
        self.next()?;
        let meter = Meter::default();
        let (again, metered) = timed(|| {
            let _attached = meter.attach();
            self.once(&ImportOptions { meter: Some(&meter), ..options.clone() }, &Silent)
        })?;
        same(first, again)?;
        self.next()?;
        let content = first.1;
        let metered = Metered {
            threads,
            processors: layerfs::pool::processors().get(),
            wall: metered.wall,
            costs: &Costs(meter.costs()),
            one_stream: self.one_stream,
            tar_bytes: content.tar_bytes,
            longest: content.longest_layer_bytes,
        };
        Ok(Run::new(&samples, content, peak, &metered))
    }

    /// Makes one run.
    fn once(&self, options: &ImportOptions<'_>, observer: &dyn Observer) -> anyhow::Result<Found> {
        let done = self.job.unpack(&self.scratch.run(), options, observer)?;
        Ok((done.format(), Content::of_layers(done.layers().into_iter())))
    }

    /// Removes what the last run made, and ends with an error if the user has asked to stop meanwhile.
    fn next(&self) -> anyhow::Result<()> {
        self.scratch.clear()?;
        if self.options.interrupted.load(Ordering::Relaxed) {
            return Err(ImportError::Interrupted.into());
        }
        Ok(())
    }

    /// Tells a person how the measurement goes. Nothing is drawn while a run is measured.
    fn tell(&self, what: &str) {
        if !self.plan.quiet && std::io::stderr().is_terminal() {
            output::complain(NAME, what);
        }
    }
}

fn same(first: Found, again: Found) -> anyhow::Result<()> {
    anyhow::ensure!(first == again, "the archive changed between two runs");
    Ok(())
}
