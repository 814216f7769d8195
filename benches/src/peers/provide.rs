//! `peers inputs`: makes the archives that are missing. What is there is left alone: put your own there.

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::measure::find;
use super::scratch::text;

/// Archives that the `corpus` program makes: name, then its arguments but for the file.
const MADE: [(&str, &[&str]); 7] = [
    ("layer.tar", &["one-large", "--format", "layer"]),
    ("layer.tar.gz", &["one-large", "--format", "layer", "--compress", "gzip"]),
    ("layer.tar.zst", &["one-large", "--format", "layer", "--compress", "zstd"]),
    ("small.tar", &["many-small", "--format", "layer"]),
    // These are for memory only.
    ("few-large.tar", &["few-large"]),
    ("deep-and-wide.tar", &["deep-and-wide"]),
    ("hundred-layers.tar", &["hundred-layers"]),
];

/// Where the archives come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The program that makes synthetic archives.
    pub corpus: PathBuf,
    /// The script that builds a real image.
    pub script: PathBuf,
    /// Size of synthetic archives: 1 is the full one.
    pub scale: f64,
}

/// Makes what is missing in a directory.
///
/// # Errors
///
/// If something cannot be made.
pub fn make_missing(directory: &Path, sources: &Sources) -> Result<()> {
    fs::create_dir_all(directory)?;
    for (name, arguments) in MADE {
        missing(&directory.join(name), |to| sources.corpus(arguments, to))?;
    }
    missing(&directory.join("image.tar"), |to| sources.image(to))?;
    missing(&directory.join("image-oci-gzip.tar"), |to| layout(&directory.join("image.tar"), to))
}

impl Sources {
    fn corpus(&self, arguments: &[&str], to: &Path) -> Result<()> {
        let program = text(&self.corpus)?;
        ensure!(self.corpus.is_file(), "{program} is missing: `cargo build --release -p benches` makes it");
        let scale = self.scale.to_string();
        let words = [&[arguments[0], text(to)?], &arguments[1..], &["--scale", &scale]].concat();
        command(program, &words)
    }

    /// A real image, if this machine can build one; else one of the same size and shape.
    fn image(&self, to: &Path) -> Result<()> {
        match command(text(&self.script)?, &[text(to)?]) {
            Ok(()) => Ok(()),
            Err(error) => {
                say(format_args!("{error:#}: taking a synthetic image instead of a real one"));
                self.corpus(&["typical"], to)
            }
        }
    }
}

/// The same image as an OCI layout with gzip layers.
fn layout(image: &Path, to: &Path) -> Result<()> {
    let skopeo = find("skopeo").context("skopeo is not installed: it makes image-oci-gzip.tar")?;
    let parent = image.parent().unwrap_or(Path::new("."));
    let scratch = tempfile::tempdir_in(parent)?;
    let directory = text(scratch.path())?;
    let (from, layout) = (format!("docker-archive:{}", text(image)?), format!("oci:{directory}:latest"));
    command(text(&skopeo)?, &["copy", "--quiet", &from, &layout])?;
    command("tar", &["-cf", text(to)?, "-C", directory, "."])
}

/// Makes one file unless it is there: beside it first, so that what is there is whole.
fn missing(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.is_file() {
        return Ok(());
    }
    say(format_args!("making {}", path.display()));
    let mut partial = path.as_os_str().to_owned();
    partial.push(".making");
    let partial = PathBuf::from(partial);
    let made = make(&partial).and_then(|()| Ok(fs::rename(&partial, path)?));
    if made.is_err() {
        // The first failure is the one to tell.
        let _ = fs::remove_file(&partial);
    }
    made.with_context(|| format!("making {}", path.display()))
}

fn command(program: &str, words: &[&str]) -> Result<()> {
    let status = Command::new(program).args(words).status().with_context(|| format!("starting {program}"))?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

fn say(what: impl Display) {
    // A closed standard error is no reason to stop.
    let _ = writeln!(std::io::stderr(), "{what}");
}
