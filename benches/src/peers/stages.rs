//! Stage costs, as `layer-unpack --bench N --json` reports them, and the bound that follows from them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Repetitions that `--bench` is asked for.
const REPETITIONS: &str = "3";

/// Runs `layer-unpack` with `--bench`; nothing if it does not know the option or fails.
///
/// # Errors
///
/// If it cannot be started.
pub fn measure(unpack: &[String]) -> Result<Option<BenchOutput>> {
    let (name, arguments) = unpack.split_first().context("a command without a name")?;
    let output = Command::new(name)
        .args(arguments)
        .args(["--bench", REPETITIONS, "--json"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {name}"))?;
    Ok(output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten())
}

/// What `--bench --json` prints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchOutput {
    /// One for each number of threads.
    pub runs: Vec<BenchRun>,
}

/// One number of threads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BenchRun {
    /// Threads.
    pub threads: u32,
    /// Time of the whole, over the repetitions.
    pub wall_seconds: Wall,
    /// The stages.
    pub stages: Vec<StageRow>,
}

/// A time over several repetitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wall {
    /// The median.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

/// What one stage took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageRow {
    /// Its name.
    pub stage: String,
    /// Seconds on the clock, of all threads that were in it.
    pub wall_seconds: f64,
    /// CPU seconds.
    pub cpu_seconds: f64,
    /// Bytes that went through it.
    #[serde(default)]
    pub bytes: u64,
}

impl BenchOutput {
    /// The run with one thread: there, stages do not get in each other's way.
    pub fn one_thread(&self) -> Option<&BenchRun> {
        self.runs.iter().find(|run| run.threads == 1)
    }
}

impl BenchRun {
    /// CPU seconds of all stages.
    pub fn cpu(&self) -> f64 {
        self.stages.iter().map(|stage| stage.cpu_seconds).sum()
    }

    /// The least time with so many threads: all stages, spread evenly, and nothing besides.
    pub fn bound(&self, threads: u32) -> f64 {
        self.cpu() / f64::from(threads)
    }
}
