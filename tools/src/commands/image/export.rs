//! `layerfs image export` and `layerfs container export`: a tree as a tar, as `docker export` writes it.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use images::export::{ExportError, export, export_to_file};
use images::output::NewFile;
use images::tree::Layers;

use super::content::ContentFlags;
use crate::commands::layerfs::NAME;
use crate::progress::Progress;
use crate::{output, signals};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    #[arg(required_unless_present = "archive")]
    image: Option<String>,

    #[command(flatten)]
    to: To,

    #[command(flatten)]
    from: ContentFlags,
}

/// Where the tar goes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct To {
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    args.to.check()?;
    args.from.open(args.image.as_deref(), root, driver, |content| args.to.export(content.layers))
}

impl To {
    /// Refuses, in docker's words and before anything is read, to write to a terminal.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        if self.output.is_none() && std::io::stdout().is_terminal() {
            bail!("cowardly refusing to save to a terminal. Use the -o flag or redirect");
        }
        Ok(())
    }

    /// Writes the tree that the layers make together.
    pub(crate) fn export(&self, layers: &dyn Layers) -> anyhow::Result<ExitCode> {
        let interrupted = signals::interrupted()?;
        let progress = Progress::new(NAME, false);
        match &self.output {
            None => drop(export(layers, output::binary()?, &interrupted, &progress).map_err(lost)?),
            Some(path) => {
                let file = NewFile::create(path.clone())?;
                export_to_file(layers, file.file(), &interrupted, &progress)?;
                file.finish()?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// What was not written to standard output. A reader that hangs up has read enough.
pub(crate) fn lost(error: ExportError) -> anyhow::Error {
    match error {
        ExportError::Write { source } => output::Lost::new(source).into(),
        other => other.into(),
    }
}
