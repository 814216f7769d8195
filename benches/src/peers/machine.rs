//! What the figures depend on: the machine, and the versions of the programs.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::contender::Tools;
use super::record::MachineRecord;

/// Describes this machine.
///
/// # Errors
///
/// If `/proc` cannot be read.
pub fn describe() -> Result<MachineRecord> {
    let machine = bench_figures::Machine::read()?;
    let model = machine.family_and_model.map(|(family, model)| format!(", family {family} model {model}"));
    Ok(MachineRecord {
        cpu: machine.cpu + &model.unwrap_or_default(),
        cores: std::thread::available_parallelism()?.get(),
        sha_instructions: machine.sha_instructions,
        memory: machine.memory_bytes,
        kernel: machine.kernel,
        virtualisation: virtualisation(machine.hypervisor),
    })
}

/// What systemd's detector says; without it, what the processor says.
fn virtualisation(hypervisor: bool) -> String {
    let mut command = Command::new("systemd-detect-virt");
    // Of a container in a virtual machine, the machine is what costs.
    command.arg("--vm");
    first_line(command).unwrap_or_else(|| if hypervisor { "a virtual machine" } else { "none" }.to_owned())
}

/// The first line of `--version` of every program that is here.
pub fn versions(tools: &Tools) -> BTreeMap<String, String> {
    let mut versions: BTreeMap<String, String> = tools
        .programs()
        .filter_map(|(name, path)| {
            let mut command = Command::new(path);
            command.arg("--version");
            Some((name.to_owned(), first_line(command)?))
        })
        .collect();
    versions.extend(super::crates::versions());
    versions
}

/// The commit of the tree that a program was built in, with `-dirty` where tracked files differ, but for those that
/// measuring writes.
pub fn commit(program: &Path) -> String {
    let tree = program.parent().unwrap_or(Path::new("."));
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(tree).args(arguments);
        first_line(command)
    };
    let written = [":(top,exclude)benches/results", ":(top,exclude)BENCHMARKS.md"];
    let status = [&["status", "--porcelain", "--untracked-files=no", "--", ":(top)"], &written[..]].concat();
    match git(&["rev-parse", "HEAD"]) {
        Some(commit) if git(&status).is_some() => format!("{commit}-dirty"),
        Some(commit) => commit,
        None => "unknown".to_owned(),
    }
}

/// The first line with text that a command prints, to either output; nothing if it does not start.
fn first_line(mut command: Command) -> Option<String> {
    let output = command.output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}
