//! A layer as a tar, plain or compressed, that can be read by offset.

use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::compress::{Compression, Decompressor};

use super::content::FileBytes;
use super::members::MemberReader;
use super::node::Body;
use super::wanted::WantedPaths;
use super::{Tree, TreeError};
use crate::source::Blob;

/// What is in the layer; `name` is for messages, and `layer` its place in the image.
pub(super) fn tree(blob: &Blob, name: &str, layer: usize) -> Result<Tree, TreeError> {
    let failed = |source| TreeError::Read { layer: name.to_owned(), source };
    let mut tree = Tree::empty();
    let mut members = MemberReader::new(name.to_owned(), layer);
    if blob.compression() == Compression::None {
        // From one header to the next: no body is read.
        let mut reader = BufReader::with_capacity(4096, blob.reader());
        members.read(&mut reader, &mut tree, |reader, bytes| {
            let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
            reader.seek_relative(bytes)
        })
    } else {
        let decoder = Decompressor::new(BufReader::with_capacity(128 << 10, blob.reader())).map_err(failed)?;
        let mut reader = BufReader::with_capacity(128 << 10, decoder);
        members
            .read(&mut reader, &mut tree, |reader, bytes| io::copy(&mut reader.take(bytes), &mut io::sink()).map(drop))
    }?;
    Ok(tree)
}

/// What is in the layer, at least as far as it concerns the paths that are wanted.
pub(super) fn part(
    blob: &Blob,
    name: &str,
    layer: usize,
    wanted: &WantedPaths,
    stop: &AtomicBool,
) -> Result<Tree, TreeError> {
    if blob.compression() == Compression::None {
        let members = MemberReader::new(name.to_owned(), layer);
        let part = members.read_part(blob, wanted, stop)?;
        if let Some(part) = part.or_else(|| stop.load(Ordering::Relaxed).then(Tree::empty)) {
            return Ok(part);
        }
    }
    tree(blob, name, layer)
}

/// The bytes of a regular file of the layer.
pub(super) fn open<'l>(blob: Blob, path: &[u8], size: u64, body: &Body) -> Result<FileBytes<'l>, TreeError> {
    let failed = |source| TreeError::File { path: path.to_vec(), source };
    let stored: FileBytes<'l> = if blob.compression() == Compression::None {
        let range = || {
            let (start, length) = (usize::try_from(body.offset).ok()?, usize::try_from(body.stored).ok()?);
            blob.slice(start..start.checked_add(length)?)
        };
        let blob = range().ok_or_else(|| failed(io::ErrorKind::UnexpectedEof.into()))?;
        Box::new(OwnedReader { blob, at: 0 })
    } else {
        let source = BufReader::with_capacity(128 << 10, OwnedReader { blob, at: 0 });
        let mut decoder = Decompressor::new(source).map_err(failed)?;
        io::copy(&mut decoder.by_ref().take(body.offset), &mut io::sink()).map_err(failed)?;
        Box::new(decoder.take(body.stored))
    };
    Ok(match &body.sparse {
        None => stored,
        Some(map) => expand(stored, map.runs().iter().map(|run| (run.offset, run.length)), size),
    })
}

/// The bytes of a sparse file: zeros, and what is stored, in turn.
fn expand<'l>(stored: FileBytes<'l>, runs: impl Iterator<Item = (u64, u64)>, size: u64) -> FileBytes<'l> {
    struct Sparse<'l> {
        stored: FileBytes<'l>,
        /// Zeros and bytes that are still to come, the next ones last.
        left: Vec<(bool, u64)>,
    }
    impl Read for Sparse<'_> {
        fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
            while let Some((zeros, left)) = self.left.last_mut() {
                if *left == 0 {
                    self.left.pop();
                    continue;
                }
                let most = output.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let read = if *zeros {
                    output[..most].fill(0);
                    most
                } else {
                    self.stored.read(&mut output[..most])?
                };
                if read == 0 && most > 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= read as u64;
                return Ok(read);
            }
            Ok(0)
        }
    }
    let (mut left, mut at) = (Vec::new(), 0);
    for (offset, length) in runs {
        left.push((true, offset.saturating_sub(at)));
        left.push((false, length));
        at = offset.saturating_add(length);
    }
    left.push((true, size.saturating_sub(at)));
    left.reverse();
    Box::new(Sparse { stored, left })
}

/// Reads a blob that it owns.
struct OwnedReader {
    blob: Blob,
    at: u64,
}

impl Read for OwnedReader {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let mut reader = self.blob.reader();
        reader.seek(SeekFrom::Start(self.at))?;
        let read = reader.read(output)?;
        self.at += read as u64;
        Ok(read)
    }
}
