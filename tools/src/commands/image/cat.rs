//! `layerfs image cat`: files of an image to standard output.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, anyhow};
use images::tree::read_for;

use super::content::{Content, ContentFlags};
use crate::commands::layerfs::NAME;
use crate::exit::UsageError;
use crate::output;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The image, by name or id
    image: OsString,

    /// Files of the image; symlinks are followed within it
    #[arg(value_name = "PATH", required_unless_present = "archive")]
    paths: Vec<OsString>,

    #[command(flatten)]
    from: ContentFlags,
}

pub(crate) fn run(args: &Args, root: &Path, driver: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut paths: Vec<&OsStr> = args.paths.iter().map(OsString::as_os_str).collect();
    let image = if args.from.is_path(&args.image) {
        paths.insert(0, &args.image);
        None
    } else {
        Some(args.image.to_str().ok_or_else(|| anyhow!("invalid reference format"))?)
    };
    if paths.is_empty() {
        return Err(UsageError("which file? give its path, from / on".into()).into());
    }
    args.from.open(image, root, driver, |content| cat(&paths, content))
}

/// Like `cat`: shows every file that it can, and complains about the others.
fn cat(paths: &[&OsStr], content: &Content<'_>) -> anyhow::Result<ExitCode> {
    let names: Vec<&[u8]> = paths.iter().map(|path| path.as_bytes()).collect();
    let tree = read_for(content.layers, &names)?;
    let mut out = output::binary()?;
    let mut code = ExitCode::SUCCESS;
    for path in paths {
        let opened = tree.find(path.as_bytes(), true).map_err(anyhow::Error::from).and_then(|(path, id)| {
            anyhow::ensure!(tree.node(id).children().is_none(), "Is a directory");
            Ok(tree.open(content.layers, &path, id)?)
        });
        match opened {
            Ok(mut file) => copy(&mut file, &mut out)?,
            Err(error) => {
                output::complain(NAME, &format!("{}: {error:#}", path.to_string_lossy()));
                code = ExitCode::from(1);
            }
        }
    }
    Ok(code)
}

/// Copies a file to standard output. A reader that hangs up has read enough, so that is no error.
fn copy(file: &mut dyn Read, out: &mut impl Write) -> anyhow::Result<()> {
    let mut piece = vec![0; 128 << 10];
    loop {
        let read = file.read(&mut piece).context("reading")?;
        if read == 0 {
            return Ok(());
        }
        out.write_all(&piece[..read]).map_err(output::Lost::new)?;
    }
}
