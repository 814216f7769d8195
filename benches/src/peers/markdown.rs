//! The report as Markdown: how to read it, where it was measured, the goals, and a section for each workload.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::plots::Picture;
use super::record::{MachineRecord, Results};
use super::rows::Workload;
use super::tables;

/// What a reader has to know before any figure.
const CAVEATS: &str = "\
How to read this:

- All programs take turns within a round, and each round begins with another one. The first round warms up and is
  dropped. Every run has a file system of its own, made for it and removed afterwards; the archives are on tmpfs.
- A ratio is the median of the ratios round by round, not the ratio of the medians; behind it, the least and the most.
- `layer-unpack` hashes every layer, checks it against the image, and writes the journal that gives its tar back. **GNU
  tar, bsdtar and the crates do none of that**: they only unpack. Of them, `oci-image` writes overlay whiteouts; for the
  others a whiteout is a file like any other. astral-tokio-tar does not restore owners.
- **dockerd**, containerd and podman do more or less what we do, and copy the archive, or its layers, to the disk before
  they unpack. Their daemons are started before the clock, and the CPU time of the daemon counts. dockerd syncs its own
  records, also where nobody asks for it, but not the files of layers. containerd keeps the layers as they came besides,
  and no journal. umoci flattens the image into one tree and writes an mtree manifest of it.
- On tmpfs nothing has to wait for a disk. ext4 and xfs are in a loop device on a file on tmpfs: they show what the file
  system costs, not a disk. *Synced* is `layer-unpack` as it comes against each peer with `sync -f` in its time;
  otherwise it runs with `--no-sync`, and the peers as they are.
- CPU is user and kernel time of all processes. \"Largest process\" is a resident set, in which mapped files
  count, as a program's own.
- Before each run 4 GiB of memory are used and freed: a virtual machine gives free memory back to its host, and the next
  program to use it would wait for the host. A program that runs for long, as dockerd, still meets some of that.
- It is one machine, with two processors and no fast disk. With more processors, programs that use one fall behind.
";

/// The whole report, for between the markers.
pub fn report(results: &[Results], files: &[PathBuf], into: &Path, plots: &Path, pictures: &[Picture]) -> String {
    let here = into.parent().unwrap_or(Path::new(""));
    let link = |path: &Path| path.strip_prefix(here).unwrap_or(path).display().to_string();
    let picture = |name: &str| {
        let picture = pictures.iter().find(|picture| picture.file == name);
        picture.map_or_else(String::new, |it| format!("![{}]({})\n\n", it.title, link(&plots.join(&it.file))))
    };
    let mut text = format!("{CAVEATS}\n{}\n", whereabouts(results, files, link));
    text += "### Goals\n\n";
    text += &tables::goals(results);
    text += &picture("goals.svg");
    for workload in Workload::ALL {
        if let Some(tables) = tables::workload(results, workload) {
            let _ = write!(text, "### {}\n\n", workload.title());
            text += &picture(&format!("{}.svg", tables::id(workload)));
            text += &tables;
        }
    }
    text += &picture("stages.svg");
    text += &tables::memory(results);
    text
}

/// Machines, dates, raw files, inputs and versions.
fn whereabouts(results: &[Results], files: &[PathBuf], link: impl Fn(&Path) -> String) -> String {
    let mut text = String::new();
    let mut machines: Vec<&MachineRecord> = Vec::new();
    for (results, file) in results.iter().zip(files) {
        let commit = results.commit.get(..12).unwrap_or(&results.commit);
        let dirty = if results.commit.ends_with("-dirty") { " with changes" } else { "" };
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let _ = writeln!(
            text,
            "Measured {} UTC, `layer-unpack` of commit `{commit}`{dirty}, {} rounds that count; raw: [{name}]({}).",
            results.date,
            results.measurements.iter().map(|measurement| measurement.round).max().unwrap_or(0),
            link(file)
        );
        if !machines.contains(&&results.machine) {
            machines.push(&results.machine);
        }
    }
    for machine in machines {
        let sha = if machine.sha_instructions { "with" } else { "without" };
        let _ = writeln!(
            text,
            "Machine: {} cores of {}, {sha} SHA instructions, {:.0} GB of memory, Linux {}, virtualisation: {}.",
            machine.cores,
            machine.cpu,
            machine.memory as f64 / 1e9,
            machine.kernel,
            machine.virtualisation
        );
    }
    let inputs: BTreeMap<&str, u64> =
        results.iter().flat_map(|results| &results.inputs).map(|input| (input.name.as_str(), input.bytes)).collect();
    let inputs: Vec<String> =
        inputs.iter().map(|(name, bytes)| format!("`{name}` {}", tables::bytes(*bytes))).collect();
    let _ = write!(text, "\nInputs: {}.\n\n", inputs.join(", "));
    let versions: BTreeMap<&String, &String> = results.iter().flat_map(|results| &results.versions).collect();
    text += "| program | version |\n|---|---|\n";
    for (name, version) in versions {
        let _ = writeln!(text, "| {name} | {} |", tables::escaped(version));
    }
    text
}
