//! The archive that the user names, or standard input.

use std::error::Error;
use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::Context;
use images::load::ImportError;
use images::source::{Archive, ArchiveError, Opened};

/// Opens the archive at `path`. `-` is standard input; if that is a file, it is read by offset like any other file.
pub(crate) fn open(path: &Path) -> anyhow::Result<Opened> {
    if path.as_os_str() != "-" {
        return Archive::open(path).map_err(inside(path));
    }
    let stdin = std::io::stdin();
    let file = File::from(stdin.as_fd().try_clone_to_owned().context("standard input")?);
    Archive::from_file(file, called(path)).map_err(inside(path))
}

/// Puts the archive's name before an error of an import that only tells what is wrong inside it.
pub(crate) fn with_name(path: &Path) -> impl FnOnce(ImportError) -> anyhow::Error + use<> {
    named(path, ImportError::is_inside)
}

/// Does the same as [`with_name`] for an error of an archive that is only looked into.
pub(crate) fn inside(path: &Path) -> impl FnOnce(ArchiveError) -> anyhow::Error + use<> {
    named(path, ArchiveError::is_inside)
}

fn named<E: Error + Send + Sync + 'static>(
    path: &Path,
    is_inside: fn(&E, &Path) -> bool,
) -> impl FnOnce(E) -> anyhow::Error + use<E> {
    let path = called(path).to_path_buf();
    move |error| {
        let is_inside = is_inside(&error, &path);
        let error = anyhow::Error::new(error);
        if is_inside { error.context(path.display().to_string()) } else { error }
    }
}

/// A directory that holds nothing can be taken for a data-root in which nothing is yet. Where something is to be taken from
/// it, that is a mistake, and an error.
pub(crate) fn expect_content(path: &Path) -> anyhow::Result<()> {
    let is_empty = std::fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_none());
    anyhow::ensure!(
        !is_empty,
        "{}: an empty directory, and so neither an archive nor a layout nor a data-root",
        path.display()
    );
    Ok(())
}

/// How an archive is called in messages.
pub(crate) fn called(path: &Path) -> &Path {
    if path.as_os_str() == "-" { Path::new("standard input") } else { path }
}
