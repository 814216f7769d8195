//! The archive that the user names, or standard input.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use images::load::ImportError;
use images::source::{Archive, Opened};

/// Opens the archive at `path`. `-` is standard input; if that is a file, it is read by offset like any other file.
pub(crate) fn open(path: &Path) -> anyhow::Result<Opened> {
    if path.as_os_str() != "-" {
        return Ok(Archive::open(path)?);
    }
    let stdin = std::io::stdin();
    let file = File::from(stdin.as_fd().try_clone_to_owned().context("standard input")?);
    Ok(Archive::from_file(file, path)?)
}

/// Puts the archive's name before an error that only tells what is wrong inside it.
pub(crate) fn with_name(path: &Path) -> impl FnOnce(ImportError) -> anyhow::Error + use<> {
    let path = path.to_path_buf();
    let name = if path.as_os_str() == "-" { "standard input".to_owned() } else { path.display().to_string() };
    move |error| if error.is_inside(&path) { anyhow::Error::new(error).context(name) } else { error.into() }
}
