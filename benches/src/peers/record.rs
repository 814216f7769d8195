//! The JSON that `peers run` writes: everything measured, and what has to be known to read it.
//!
//! Paths are written with placeholders: `INPUTS` for the directory of the inputs on tmpfs, `TARGET` for the fresh
//! file system, `DAEMON` for a private daemon's socket and state. A file tells nothing about where it was made but the
//! machine.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::rows::{On, Peer, Sync, Workload};
use super::stages::BenchOutput;

/// One run of `peers run`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// Version of this format: [`FORMAT`].
    pub format: u32,
    /// Day and time of the start, UTC.
    pub date: String,
    /// Commit that `layer-unpack` was built from, with `-dirty` where the tree had changes.
    pub commit: String,
    /// Where it ran.
    pub machine: MachineRecord,
    /// First line of what each program says to `--version`.
    pub versions: BTreeMap<String, String>,
    /// The archives.
    pub inputs: Vec<Input>,
    /// The command lines that were timed, once for each peer, file system and variant.
    pub commands: Vec<CommandLines>,
    /// Every measurement, the warm-up (round 0) included.
    pub measurements: Vec<Measurement>,
    /// Peers without figures, and why.
    pub absent: Vec<Absent>,
    /// What `layer-unpack --bench` says of the cost of each stage.
    pub stages: Vec<StageCosts>,
    /// Peaks of anonymous memory, from runs of their own.
    pub memory: Vec<MemoryPeak>,
    /// Files that a peer left behind in its first run.
    pub counts: Vec<FileCount>,
}

/// The version of the format that is written.
pub const FORMAT: u32 = 1;

/// The machine, as far as it matters for the figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MachineRecord {
    /// Model name of the processor.
    pub cpu: String,
    /// Processors that can be used.
    pub cores: usize,
    /// Whether the processor has SHA instructions.
    pub sha_instructions: bool,
    /// Memory in bytes.
    pub memory: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Kind of virtual machine, or `none`.
    pub virtualisation: String,
}

/// An archive of the inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Name of the file.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}

/// What was run for one peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CommandLines {
    /// What it was given.
    pub workload: Workload,
    /// Who.
    pub peer: Peer,
    /// Where to.
    pub on: On,
    /// Whether the data had to be on the disk.
    pub sync: Sync,
    /// One line for each step, pipelines with `|`.
    pub lines: Vec<String>,
}

/// One timed run of one program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was unpacked or imported.
    pub workload: Workload,
    /// By whom.
    pub peer: Peer,
    /// Onto which kind of file system.
    pub on: On,
    /// Whether the data had to be on the disk.
    pub sync: Sync,
    /// The round; 0 is the warm-up, which counts for nothing. Equal rounds of one file make a pair.
    pub round: u32,
    /// Seconds on the clock.
    pub wall: f64,
    /// CPU seconds in user mode, of all processes, a daemon's included.
    pub user: f64,
    /// CPU seconds in the kernel, likewise.
    pub system: f64,
    /// Largest resident set of one of the processes in KiB, a daemon's included. Pages of mapped files count.
    pub max_rss: u64,
}

impl Measurement {
    /// CPU seconds, user and kernel.
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// A peer that has no figures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Absent {
    /// What it would have been given.
    pub workload: Workload,
    /// Who.
    pub peer: Peer,
    /// Where to.
    pub on: On,
    /// Whether the data had to be on the disk.
    pub sync: Sync,
    /// What kind of absence.
    pub kind: Absence,
    /// Why: the missing program, or what the peer wrote to standard error.
    pub reason: String,
}

/// Kinds of absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Absence {
    /// It is not here.
    Skipped,
    /// It was run, and failed.
    Failed,
}

/// Stage costs of one workload: `layer-unpack --bench --threads 1 --json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StageCosts {
    /// What was unpacked.
    pub workload: Workload,
    /// Onto which kind of file system.
    pub on: On,
    /// What it printed; nothing if the program has no `--bench`.
    pub bench: Option<BenchOutput>,
}

/// Peak of anonymous memory while one input was unpacked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemoryPeak {
    /// Name of the archive.
    pub input: String,
    /// Threads.
    pub threads: u32,
    /// Largest `RssAnon` that was seen, in bytes.
    pub rss_anon: u64,
    /// How often it was looked at.
    pub samples: u64,
}

/// What was counted after the first run of a peer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FileCount {
    /// What was unpacked.
    pub workload: Workload,
    /// By whom.
    pub peer: Peer,
    /// Onto which kind of file system.
    pub on: On,
    /// Names that are not directories; opaque markers do not count.
    pub files: u64,
}

impl Results {
    /// Reads a file that `peers run` has written.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or is not such a file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        let results: Self = serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
        anyhow::ensure!(results.format == FORMAT, "{} has format {}", path.display(), results.format);
        Ok(results)
    }

    /// Writes the file: all of it or nothing.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        let partial = path.with_extension("part");
        std::fs::write(&partial, text)
            .and_then(|()| std::fs::rename(&partial, path))
            .with_context(|| format!("writing {}", path.display()))
    }
}
