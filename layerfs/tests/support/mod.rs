//! Shared by the integration tests of this crate.
#![allow(dead_code)]

use std::path::Path;

use layerfs::apply::{Ownership, Target, WhiteoutMode};
use layerfs::compress::{Compression, Decompressor};
use layerfs::{JournalFile, Source, UnpackError, Unpacked, Unpacking};
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};

pub(crate) fn open_dir(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

/// How to unpack.
#[derive(Clone, Copy)]
pub(crate) struct How {
    pub(crate) threads: usize,
    pub(crate) whiteouts: WhiteoutMode,
    /// Read through the decoder, as from a pipe, and not as a slice or a blob.
    pub(crate) stream: bool,
}

/// Unpacks `archive` into `dir/diff`, with the journal at `dir/tar-split.json.gz`.
pub(crate) fn unpack(archive: &[u8], dir: &Path, how: How) -> Result<Unpacked, UnpackError> {
    let source = match Compression::sniff(archive) {
        _ if how.stream => Source::Stream(Box::new(Decompressor::new(Box::new(archive) as Box<_>).unwrap())),
        Compression::None => Source::Slice(archive),
        _ => Source::Blob(Box::new(archive)),
    };
    unpack_source(source, dir, how)
}

/// Like [`unpack`], from any source.
pub(crate) fn unpack_source(source: Source<'_>, dir: &Path, how: How) -> Result<Unpacked, UnpackError> {
    std::fs::create_dir_all(dir.join("diff")).unwrap();
    let target = Target {
        root: open_dir(&dir.join("diff")),
        scratch: open_dir(dir),
        whiteouts: how.whiteouts,
        ownership: Ownership::Layer,
        defer_directories: false,
    };
    let journal = JournalFile { dir: open_dir(dir), name: "tar-split.json.gz" };
    Unpacking::begin(source, target, Some(journal))?.run(how.threads)
}

/// Rebuilds the tar from what [`unpack`] left.
pub(crate) fn replay(dir: &Path) -> Result<Vec<u8>, tarsplit::JournalError> {
    let journal = std::fs::read(dir.join("tar-split.json.gz")).unwrap();
    let files = layerfs::LayerFiles::new(open_dir(&dir.join("diff")));
    let mut tar = Vec::new();
    tarsplit::assemble::assemble(tarsplit::journal::EntryReader::new(journal.as_slice()), &files, &mut tar)?;
    Ok(tar)
}
