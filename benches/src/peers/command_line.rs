//! The command line of `peers`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use super::record::Results;
use super::rows::{On, Peer, Row};
use super::{markdown, measure, plots, provide, run, sha, splice};

/// Measures `layer-unpack` against other programs in turn, and reports it.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the archives that are missing
    Inputs {
        /// Directory to put them in; about 12 GB
        directory: PathBuf,
        /// The program that makes synthetic archives [default: corpus, beside this program]
        #[arg(long)]
        corpus: Option<PathBuf>,
        /// The script that builds a real image
        #[arg(long, default_value = "testdata/make-big-image.sh")]
        script: PathBuf,
        /// Size of synthetic archives: less than 1 to try things out
        #[arg(long, default_value_t = 1.0)]
        scale: f64,
    },
    /// Measure; needs root, and memory for the archives and what is unpacked from them
    Run {
        /// Directory with the archives, as `peers inputs` makes it
        inputs: PathBuf,
        /// JSON file to write
        #[arg(long)]
        out: PathBuf,
        /// Rows to measure [default: all]
        #[arg(long, value_delimiter = ',')]
        rows: Vec<Row>,
        /// File systems to measure on
        #[arg(long, value_delimiter = ',', default_value = "tmpfs,ext4,xfs")]
        on: Vec<On>,
        /// Only these peers besides layer-unpack [default: all]
        #[arg(long, value_delimiter = ',')]
        peers: Vec<Peer>,
        /// Rounds that count; a warm-up comes before them
        #[arg(long, default_value_t = 7)]
        runs: u32,
        /// The layer-unpack to measure
        #[arg(long, default_value = "target/release/layer-unpack")]
        unpack: PathBuf,
        /// Size of the ext4 and xfs file systems in GiB; only what is written takes memory
        #[arg(long, default_value_t = 12)]
        disk: u64,
        /// Seconds after which a peer is given up
        #[arg(long, default_value_t = 600)]
        limit: u64,
    },
    /// Write tables and plots from what was measured
    Render {
        /// Files of `peers run`
        #[arg(required = true)]
        results: Vec<PathBuf>,
        /// File with the markers between which the tables go
        #[arg(long, default_value = "BENCHMARKS.md")]
        into: PathBuf,
        /// Directory for the plots
        #[arg(long, default_value = "benches/results")]
        plots: PathBuf,
    },
    /// Print the SHA-256 of files, with the sha2 crate: a peer of its own
    Sha256 {
        /// Files to hash
        files: Vec<PathBuf>,
    },
    /// Run the job on standard input, and report what it took
    #[command(hide = true)]
    Measured,
}

/// Runs the program: exit status 0 done, 1 failed, 2 usage.
pub fn main() -> ExitCode {
    match carry_out(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody may be listening; the status tells as well.
            let _ = writeln!(std::io::stderr(), "peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn carry_out(command: Command) -> Result<()> {
    match command {
        Command::Inputs { directory, corpus, script, scale } => {
            let beside = std::env::current_exe()?.with_file_name("corpus");
            let sources = provide::Sources { corpus: corpus.unwrap_or(beside), script, scale };
            provide::make_missing(&directory, &sources)
        }
        Command::Run { inputs, out, rows, on, peers, runs, unpack, disk, limit } => {
            let rows = if rows.is_empty() { Row::value_variants().to_vec() } else { rows };
            let (disk, limit) = (disk << 30, Duration::from_secs(limit));
            run::run(&run::RunOptions { rows, on, peers, runs, unpack, inputs, disk, limit }, &out)
        }
        Command::Render { results, into, plots } => render(&results, &into, &plots),
        Command::Sha256 { files } => sha::sums(&files),
        Command::Measured => measure::measured(),
    }
}

/// Reads results, writes plots, and replaces what stands between the markers.
fn render(files: &[PathBuf], into: &Path, plots: &Path) -> Result<()> {
    let results = files.iter().map(|file| Results::read(file)).collect::<Result<Vec<_>>>()?;
    let before = std::fs::read_to_string(into)?;
    let pictures = plots::draw(&results)?;
    std::fs::create_dir_all(plots)?;
    for picture in &pictures {
        std::fs::write(plots.join(&picture.file), &picture.svg)?;
    }
    let text = markdown::report(&results, files, into, plots, &pictures);
    std::fs::write(into, splice::replace(&before, &text)?)?;
    Ok(())
}
