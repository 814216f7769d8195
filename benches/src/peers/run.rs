//! `peers run`: all rounds of all workloads on all file systems.

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::contender::{Tools, Workplace};
use super::inputs::Staged;
use super::interrupt::Interrupt;
use super::measure::{Job, Measured, measure, messages};
use super::record::{
    Absence, Absent, CommandLines, FORMAT, FileCount, Input, Measurement, MemoryPeak, Results, StageCosts,
};
use super::rows::{On, Peer, Row, Sync, Workload, contenders};
use super::scratch::{Base, text};
use super::{crates, machine, memory};

/// What to measure.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The rows that are wanted.
    pub rows: Vec<Row>,
    /// The file systems.
    pub on: Vec<On>,
    /// Only these peers besides `layer-unpack`; all if empty.
    pub peers: Vec<Peer>,
    /// Rounds that count; one more is run before.
    pub runs: u32,
    /// The program that is measured.
    pub unpack: PathBuf,
    /// Directory of the archives.
    pub inputs: PathBuf,
    /// Length of a disk in bytes.
    pub disk: u64,
    /// Time after which a peer is given up.
    pub limit: Duration,
}

/// A run in progress.
struct Run<'a> {
    options: &'a RunOptions,
    out: &'a Path,
    interrupt: Interrupt,
    base: Base,
    tools: Tools,
    results: Results,
}

/// Measures, and writes the results after each round: an interruption loses only the one it was at.
///
/// # Errors
///
/// If not run as root, an archive is missing, or a file system cannot be made. Peers that fail are in the results.
pub fn run(options: &RunOptions, out: &Path) -> Result<()> {
    ensure!(nix::unistd::geteuid().is_root(), "must run as root: every measurement mounts a fresh file system");
    ensure!(options.unpack.is_file(), "{} is missing: build it, or use --unpack", options.unpack.display());
    let workloads: Vec<Workload> =
        Workload::ALL.into_iter().filter(|workload| !contenders(&options.rows, *workload).is_empty()).collect();
    for workload in &workloads {
        let archive = options.inputs.join(workload.archive());
        ensure!(archive.is_file(), "{} is missing: `peers inputs` makes it", archive.display());
    }
    let interrupt = Interrupt::listen()?;
    let crates = if wants_crates(options) { crates::build() } else { Err("not asked for".to_owned()) };
    let tools = Tools::find(std::path::absolute(&options.unpack)?, crates);
    let results = Results {
        format: FORMAT,
        date: jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M").to_string(),
        commit: machine::commit(&options.unpack),
        machine: machine::describe()?,
        versions: machine::versions(&tools),
        inputs: inputs(&options.inputs)?,
        commands: Vec::new(),
        measurements: Vec::new(),
        absent: Vec::new(),
        stages: Vec::new(),
        memory: Vec::new(),
        counts: Vec::new(),
    };
    let mut run = Run { options, out, interrupt, base: Base::mount()?, tools, results };
    for workload in workloads {
        run.workload(workload)?;
    }
    if options.rows.contains(&Row::Memory) {
        run.memory()?;
    }
    Ok(())
}

fn wants_crates(options: &RunOptions) -> bool {
    let crates = [Peer::OciImage, Peer::TarCrate, Peer::TokioTar];
    let wanted = |peer: &Peer| crates.contains(peer) && (options.peers.is_empty() || options.peers.contains(peer));
    options.rows.iter().any(|row| row.peers().iter().any(wanted))
}

/// The archives in a directory, by name.
fn inputs(directory: &Path) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("reading {}", directory.display()))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if [".tar", ".tar.gz", ".tar.zst"].iter().any(|ending| name.ends_with(ending)) {
            inputs.push(Input { name, bytes: std::fs::metadata(entry.path())?.len() });
        }
    }
    inputs.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(inputs)
}

impl Run<'_> {
    fn workload(&mut self, workload: Workload) -> Result<()> {
        let staged = Staged::copy(workload, &self.options.inputs, self.base.path())?;
        let chosen = |peer: &Peer| peer.is_ours() || self.options.peers.is_empty() || self.options.peers.contains(peer);
        let peers: Vec<Peer> = contenders(&self.options.rows, workload).into_iter().filter(chosen).collect();
        for on in self.options.on.clone() {
            for sync in on.variants() {
                self.rounds(workload, &staged, &peers, on, *sync)?;
            }
        }
        if let Some(on) = self.options.on.first() {
            self.stages(workload, &staged, *on)?;
        }
        self.results.write(self.out)
    }

    /// All rounds. Each begins with another peer, so that nobody is always behind the same one.
    fn rounds(&mut self, workload: Workload, staged: &Staged, peers: &[Peer], on: On, sync: Sync) -> Result<()> {
        let mut peers = peers.to_vec();
        let absent = |peer, kind, reason| Absent { workload, peer, on, sync, kind, reason };
        for peer in peers.clone() {
            if let Some(reason) = self.tools.missing(peer, workload) {
                say(format_args!("skipped {}: {reason}", peer.label()));
                self.results.absent.push(absent(peer, Absence::Skipped, reason));
                peers.retain(|other| *other != peer);
            }
        }
        for round in 0..=self.options.runs {
            let mut order = peers.clone();
            if !order.is_empty() {
                order.rotate_left(round as usize % peers.len());
            }
            for peer in order {
                self.interrupt.check()?;
                match self.once(workload, staged, peer, on, sync, round) {
                    Ok(measurement) => self.results.measurements.push(measurement),
                    Err(error) => {
                        self.interrupt.check()?;
                        let reason = self.placeholders(staged, &format!("{error:#}"));
                        say(format_args!("failed {}: {reason}", peer.label()));
                        self.results.absent.push(absent(peer, Absence::Failed, reason));
                        peers.retain(|other| *other != peer);
                    }
                }
            }
            self.results.write(self.out)?;
        }
        Ok(())
    }

    /// One measurement on a fresh file system.
    fn once(
        &mut self,
        workload: Workload,
        staged: &Staged,
        peer: Peer,
        on: On,
        sync: Sync,
        round: u32,
    ) -> Result<Measurement> {
        let target = self.base.fresh(on, self.options.disk)?;
        let state = self.base.path().join("daemon");
        // podman leaves files there; the next one starts without.
        let _ = std::fs::remove_dir_all(&state);
        let interrupt = self.interrupt.clone();
        let place = Workplace {
            tools: &self.tools,
            workload,
            staged,
            target: target.path(),
            state: &state,
            on,
            sync,
            interrupt: &interrupt,
        };
        let prepared = place.prepare(peer)?;
        if let Some(before) = &prepared.before {
            self.job(before)?;
        }
        let before = prepared.daemon.as_ref().map(super::daemon::Daemon::usage).transpose()?;
        let mut measured = self.job(&prepared.job)?;
        if let (Some(daemon), Some(before)) = (&prepared.daemon, before) {
            let after = daemon.usage()?;
            measured.user += after.user - before.user;
            measured.system += after.system - before.system;
            measured.max_rss = measured.max_rss.max(after.max_rss);
        }
        if round == 0 {
            let counted = if sync == Sync::Unsynced { place.count(peer)? } else { None };
            let lines = prepared.job.lines().iter().map(|line| self.placeholders(staged, line)).collect();
            self.results.counts.extend(counted.map(|files| FileCount { workload, peer, on, files }));
            self.results.commands.push(CommandLines { workload, peer, on, sync, lines });
        }
        let Measured { wall, user, system, max_rss, failure: _ } = measured;
        say(format_args!(
            "{} on {} round {round} of {}: {} {wall:.3} s, CPU {:.2} s",
            workload.archive(),
            super::tables::place((on, sync)),
            self.options.runs,
            peer.label(),
            user + system
        ));
        Ok(Measurement { workload, peer, on, sync, round, wall, user, system, max_rss })
    }

    /// Times a job that has to succeed.
    fn job(&self, job: &Job) -> Result<Measured> {
        let errors = self.base.path().join("errors");
        let measured = measure(job, &errors, self.options.limit, &self.interrupt)?;
        match &measured.failure {
            Some(failure) => anyhow::bail!("{failure}{}", after_colon(&messages(&errors))),
            None => Ok(measured),
        }
    }

    /// What the stages cost, if `layer-unpack` can tell.
    fn stages(&mut self, workload: Workload, staged: &Staged, on: On) -> Result<()> {
        let target = self.base.fresh(on, self.options.disk)?;
        let place = Workplace {
            tools: &self.tools,
            workload,
            staged,
            target: target.path(),
            state: target.path(),
            on,
            sync: Sync::Unsynced,
            interrupt: &self.interrupt,
        };
        let bench = super::stages::measure(&place.unpack(1)?)?;
        if bench.is_none() {
            say("layer-unpack has no --bench: no stage costs");
        }
        self.results.stages.push(StageCosts { workload, on, bench });
        Ok(())
    }

    /// Peaks of memory over every archive of the inputs.
    fn memory(&mut self) -> Result<()> {
        const THREADS: u32 = 2;
        let errors = self.base.path().join("errors");
        for input in self.results.inputs.clone() {
            let target = self.base.fresh(On::Tmpfs, 0)?;
            let to = if input.name.starts_with("image") { "--root" } else { "--layers" };
            let program = self.tools.unpack();
            let archive = std::path::absolute(self.options.inputs.join(&input.name))?;
            let destination = target.path().join("to");
            let threads = THREADS.to_string();
            let words = [text(program)?, text(&archive)?, to, text(&destination)?, "--threads", &threads, "-q"];
            match memory::peak(&words.map(str::to_owned), &errors, &self.interrupt) {
                Ok((rss_anon, samples)) => {
                    say(format_args!("memory {}: {:.1} MB", input.name, rss_anon as f64 / 1e6));
                    self.results.memory.push(MemoryPeak { input: input.name, threads: THREADS, rss_anon, samples });
                }
                Err(error) => {
                    self.interrupt.check()?;
                    say(format_args!("memory {}: {error:#}", input.name));
                }
            }
            self.results.write(self.out)?;
        }
        Ok(())
    }

    /// Text for the results: without paths of this machine.
    fn placeholders(&self, staged: &Staged, line: &str) -> String {
        let own = std::env::current_exe().unwrap_or_default();
        let base = self.base.path();
        let mut replaced = line.to_owned();
        for (path, placeholder) in [
            (staged.directory(), "INPUTS"),
            (&base.join("target"), "TARGET"),
            (&base.join("daemon"), "DAEMON"),
            (base, "BASE"),
            (&own, "peers"),
        ] {
            replaced = replaced.replace(&*path.to_string_lossy(), placeholder);
        }
        for (name, path) in self.tools.programs().chain(self.tools.crates().map(|path| ("rust-peers", path))) {
            replaced = replaced.replace(&*path.to_string_lossy(), name);
        }
        replaced
    }
}

/// What goes behind a message, if there is more to say.
fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// Tells how far it is; standard output stays empty.
fn say(what: impl Display) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{what}");
}
