//! The archive that the user names, or standard input.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use images::source::{Archive, Opened};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Opens the archive at `path`; `-` is standard input, which is read by offset like any file where it is one.
pub(crate) fn open(path: &Path) -> anyhow::Result<Opened> {
    allow_descriptors();
    if path.as_os_str() != "-" {
        return Ok(Archive::open(path)?);
    }
    let stdin = std::io::stdin();
    let file = File::from(stdin.as_fd().try_clone_to_owned().context("standard input")?);
    Ok(Archive::from_file(file, path)?)
}

/// Allows as many open files as the system lets us have: of a layout in a directory, each missing layer is one.
fn allow_descriptors() {
    // Where it is refused, what there is may do.
    let _ = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
}
