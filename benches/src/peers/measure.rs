//! One job, timed: programs one after the other, some of them connected by pipes.
//!
//! The job is run by a process of its own, `peers measured`, which starts the programs and reports on itself with
//! `getrusage(RUSAGE_CHILDREN)`: exact CPU times and the largest resident set of this job's processes and nobody
//! else's. The clock runs in there, from before the first start until after the last end.

use std::fs::File;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, killpg};
use nix::sys::time::TimeValLike;
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use super::interrupt::Interrupt;

/// A program with its arguments.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Program {
    /// Path and arguments.
    pub words: Vec<String>,
    /// Variables it gets on top.
    pub variables: Vec<(String, String)>,
}

/// Programs that run at the same time, each reading what the one before it writes.
pub type Pipeline = Vec<Program>;

/// What is timed.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Job {
    /// One after the other.
    pub steps: Vec<Pipeline>,
}

/// What a job took.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measured {
    /// Seconds on the clock.
    pub wall: f64,
    /// CPU seconds in user mode.
    pub user: f64,
    /// CPU seconds in the kernel.
    pub system: f64,
    /// Largest resident set of one process, in KiB.
    pub max_rss: u64,
    /// Which program failed, and how.
    pub failure: Option<String>,
}

impl Job {
    /// A job of one program.
    pub fn program(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self::default().then(words)
    }

    /// The job, with one more program after all others.
    #[must_use]
    pub fn then(mut self, words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.steps.push(vec![Program::new(words)]);
        self
    }

    /// The job as lines to read.
    pub fn lines(&self) -> Vec<String> {
        let line = |step: &Pipeline| step.iter().map(|program| program.words.join(" ")).collect::<Vec<_>>().join(" | ");
        self.steps.iter().map(line).collect()
    }
}

impl Program {
    /// A program that gets no variables.
    pub fn new(words: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), variables: Vec::new() }
    }

    fn command(&self) -> Result<Command> {
        let (name, arguments) = self.words.split_first().context("a program without a name")?;
        let mut command = Command::new(name);
        command.args(arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        Ok(command)
    }
}

/// Runs a job in a process of its own. What the programs write to standard error goes to the file `errors`.
///
/// # Errors
///
/// If the process cannot be started or the run is interrupted. A job that fails is not an error here.
pub fn measure(job: &Job, errors: &Path, limit: Duration, interrupt: &Interrupt) -> Result<Measured> {
    let mut child = Command::new(std::env::current_exe()?)
        .arg("measured")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(File::create(errors).context("making the file for messages")?)
        // A group of its own, so that all of it can be ended.
        .process_group(0)
        .spawn()
        .context("starting the measuring process")?;
    let group = Pid::from_raw(i32::try_from(child.id())?);
    let mut input = child.stdin.take().context("the process has a standard input")?;
    input.write_all(&serde_json::to_vec(job)?)?;
    drop(input);
    let started = Instant::now();
    let mut failure = None;
    while child.try_wait()?.is_none() {
        if interrupt.raised() || started.elapsed() > limit {
            failure = Some(format!("ended after {} s", started.elapsed().as_secs()));
            // Nothing to be done if it has gone in between.
            let _ = killpg(group, Signal::SIGKILL);
            child.wait()?;
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    interrupt.check()?;
    let output = child.wait_with_output()?;
    if let Some(failure) = failure {
        return Ok(Measured { wall: 0.0, user: 0.0, system: 0.0, max_rss: 0, failure: Some(failure) });
    }
    ensure!(output.status.success(), "the measuring process: {}", std::fs::read_to_string(errors).unwrap_or_default());
    serde_json::from_slice(&output.stdout).context("reading what the measuring process reports")
}

/// The measuring process: a job on standard input, its [`Measured`] on standard output.
///
/// # Errors
///
/// If standard input holds no job.
pub fn measured() -> Result<()> {
    let job: Job = serde_json::from_reader(std::io::stdin().lock()).context("reading the job")?;
    let started = Instant::now();
    let failure = job.steps.iter().find_map(|step| run(step).err()).map(|error| format!("{error:#}"));
    let wall = started.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let seconds =
        |time: nix::sys::time::TimeVal| Duration::from_micros(time.num_microseconds().unsigned_abs()).as_secs_f64();
    let measured = Measured {
        wall,
        user: seconds(usage.user_time()),
        system: seconds(usage.system_time()),
        max_rss: usage.max_rss().unsigned_abs(),
        failure,
    };
    serde_json::to_writer(std::io::stdout().lock(), &measured)?;
    Ok(())
}

/// Starts the programs of a pipeline, and waits for all of them.
fn run(step: &Pipeline) -> Result<()> {
    let mut children = Vec::new();
    let mut input = Stdio::null();
    for (number, program) in step.iter().enumerate() {
        let last = number + 1 == step.len();
        let mut child = program
            .command()?
            .stdin(input)
            .stdout(if last { Stdio::null() } else { Stdio::piped() })
            .spawn()
            .with_context(|| format!("starting {}", program.words.join(" ")))?;
        input = child.stdout.take().map_or_else(Stdio::null, Stdio::from);
        children.push((program, child));
    }
    let mut failed = Vec::new();
    for (program, mut child) in children {
        let status = child.wait()?;
        if !status.success() {
            failed.push(format!("{}: {status}", program.words.first().map_or("", String::as_str)));
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.join("; "));
    }
    Ok(())
}

/// The end of what the programs wrote to standard error, on one line.
pub fn messages(errors: &Path) -> String {
    let text = std::fs::read(errors).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(3)..].join("; ")
}

/// The absolute path of a program: as given if it has a slash, else from `PATH` and where system programs are.
pub fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return std::path::absolute(name).ok().filter(|path| path.is_file());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into(), "/usr/bin".into()])
        .map(|directory| directory.join(name))
        .find(|path| path.is_file())
}
