//! An archive from a pipe: layers are unpacked as they arrive, and placed when the manifest has come.
//!
//! A member is a layer if it starts with a tar header or the magic of a compression. Any other member is kept if it is small,
//! and is no part of an image if it is not. Which layers an image has, and in which order, is known only at the end.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use layerfs::compress::{Compression, Decompressor};
use layerfs::meter;
use layerfs::{Digest, HashingReader, Unpacked};
use rustix::event::{PollFd, PollFlags, Timespec};
use tarsplit::frame::{Frame, Framer};
use tarsplit::{Member, MemberKind};

use super::error::ImportError;
use super::options::ImportRequest;
use super::schedule::{Content, LayerTarget, Work, unpack_all};
use crate::source::{
    ArchiveEntry, ArchiveError, ImageSource, LayerBytes, LayerRef, MAX_JSON, NameError, Namespace, Select,
    SourceContents, contents,
};

/// Bytes of small files kept in memory, all together.
const MAX_KEPT: u64 = 64 << 20;

/// Enough of a member to tell what it is.
const HEAD: usize = 512;

/// What a member of the stream turned out to be.
#[derive(Debug, Clone)]
enum Arrived {
    /// A small file.
    Kept(Arc<Vec<u8>>),
    /// A layer, unpacked in the place of this number; digest and length of its file, compressed as it came.
    Layer { number: usize, digest: Digest, size: u64 },
    /// A layer that a dry run passed over without unpacking it; its length in bytes.
    PassedOver(u64),
    /// No layer, and too long to be anything else of an image; its length in bytes.
    Foreign(u64),
}

/// An archive that was read from the front, to its end.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The archive's path, for messages.
    path: PathBuf,
    names: Namespace<Arrived>,
}

/// The layers that were unpacked before anybody knew which digest they must have, by their number.
pub(crate) type Arrivals = HashMap<usize, Unpacked>;

impl ImageSource for Stream {
    fn images(&self, select: &Select) -> Result<SourceContents, ArchiveError> {
        let mut read = |name: &str| match self.names.resolve(name) {
            Ok(Arrived::Kept(bytes)) => Ok(Some(bytes.to_vec())),
            Ok(Arrived::Layer { .. } | Arrived::PassedOver(_)) => {
                let reason = "not JSON, but a tar or a compressed file".to_owned();
                Err(ArchiveError::Json { file: name.to_owned(), reason })
            }
            Ok(&Arrived::Foreign(size)) => Err(ArchiveError::TooLarge { file: name.to_owned(), size, limit: MAX_JSON }),
            Err(NameError::Missing { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        };
        let contents = contents(select, &mut read)?;
        contents.ok_or_else(|| ArchiveError::NotAnImageArchive { path: self.path.clone() })
    }

    fn layer(&self, layer: &LayerRef) -> Result<LayerBytes, ArchiveError> {
        match self.names.resolve(&layer.name).map_err(|error| layer.or_foreign(error))? {
            Arrived::Kept(bytes) => {
                layer.check_size(bytes.len() as u64)?;
                layer.check_digest(Digest::hash(bytes))?;
                Ok(LayerBytes::Memory(Arc::clone(bytes)))
            }
            &Arrived::Layer { number, digest, size } => {
                layer.check_size(size)?;
                layer.check_digest(digest)?;
                Ok(LayerBytes::Unpacked(number))
            }
            &Arrived::PassedOver(size) => {
                layer.check_size(size)?;
                Ok(LayerBytes::PassedOver(size))
            }
            Arrived::Foreign(_) => Err(ArchiveError::NotALayer { file: layer.name.clone() }),
        }
    }
}

/// What was read of a stream so far.
#[derive(Debug, Default)]
struct Collected {
    names: Namespace<Arrived>,
    layers: Arrivals,
    /// Bytes of small files in memory.
    kept: u64,
}

/// The uncompressed bytes of an archive that is read from the front.
///
/// # Errors
/// [`ArchiveError::Empty`] if there are none, [`ArchiveError::Read`].
pub(crate) fn decoded<'o>(
    file: File,
    request: &ImportRequest<'o>,
) -> Result<Box<dyn BufRead + Send + 'o>, ArchiveError> {
    let read = |source| ArchiveError::Read { file: request.archive.display().to_string(), source };
    let file = Patient { file, interrupted: request.options.interrupted };
    let decoder = Decompressor::new(BufReader::with_capacity(128 << 10, file)).map_err(read)?;
    // A small buffer is enough: a layer is read in larger pieces, which are not copied through this buffer.
    let mut decoded = BufReader::with_capacity(32 << 10, decoder);
    if decoded.fill_buf().map_err(read)?.is_empty() {
        return Err(ArchiveError::Empty { path: request.archive.to_path_buf() });
    }
    Ok(Box::new(decoded))
}

/// How long a read from a pipe waits before it looks whether the user has asked to stop.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// A pipe that is read so that an interrupt is noticed even while the pipe's writer sends nothing.
struct Patient<'o> {
    file: File,
    interrupted: &'o AtomicBool,
}

impl Read for Patient<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.interrupted.load(Ordering::Relaxed) {
                // Not `ErrorKind::Interrupted`, which means: try again.
                return Err(io::Error::other("interrupted"));
            }
            let mut ready = [PollFd::new(&self.file, PollFlags::IN)];
            match rustix::event::poll(&mut ready, Some(&PATIENCE)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return self.file.read(buffer).inspect(|&read| meter::copied(read)),
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// Reads the whole stream. `slot` is asked for a place for each layer, and returns `None` in a dry run.
pub(crate) fn collect(
    input: impl BufRead + Send,
    request: &ImportRequest<'_>,
    mut slot: impl FnMut() -> Result<Option<(usize, LayerTarget)>, ImportError>,
) -> Result<(Stream, Arrivals), ImportError> {
    let mut outer = OuterTar::new(input, request.archive);
    let mut collected = Collected::default();
    while let Some(member) = outer.next()? {
        let entry = match member.kind {
            MemberKind::Regular => {
                let name = String::from_utf8_lossy(&member.name).into_owned();
                ArchiveEntry::File(arrived(&mut outer, &name, &member, request, &mut slot, &mut collected)?)
            }
            MemberKind::Symlink => ArchiveEntry::Symlink(member.linkname),
            MemberKind::HardLink => ArchiveEntry::HardLink(member.linkname),
            MemberKind::Directory => ArchiveEntry::Directory,
            MemberKind::GlobalHeader => continue,
            _ => ArchiveEntry::Other("neither file, directory nor link"),
        };
        collected.names.add(&member.name, entry).map_err(ArchiveError::Name)?;
    }
    Ok((Stream { path: request.archive.to_path_buf(), names: collected.names }, collected.layers))
}

fn arrived<R: BufRead + Send>(
    outer: &mut OuterTar<'_, R>,
    name: &str,
    member: &Member,
    request: &ImportRequest<'_>,
    slot: &mut impl FnMut() -> Result<Option<(usize, LayerTarget)>, ImportError>,
    collected: &mut Collected,
) -> Result<Arrived, ImportError> {
    let read = |source| ArchiveError::Read { file: name.to_owned(), source };
    let mut head = Vec::new();
    outer.by_ref().take(HEAD as u64).read_to_end(&mut head).map_err(read)?;
    let is_layer = tarsplit::block::looks_like_header(&head) || Compression::sniff(&head) != Compression::None;
    if is_layer {
        let Some((number, place)) = slot()? else { return Ok(Arrived::PassedOver(member.size)) };
        let place = std::sync::Mutex::new(Some(place));
        let plain = Compression::sniff(&head) == Compression::None;
        let rest = io::Cursor::new(head).chain(outer);
        let mut hashed = None;
        let read: Box<dyn Read + Send + '_> = if plain {
            // The digest of an uncompressed file is its diff id, which is computed anyway.
            Box::new(rest)
        } else {
            Box::new(hashed.insert(HashingReader::new(rest)))
        };
        let content = Content::Stream(Box::new(BufReader::with_capacity(128 << 10, read)));
        let work = Work { name: name.to_owned(), index: 0, diff_id: None, digest: None, step: None, content };
        let give = |_| {
            let place = place.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
            Ok(place.expect("one layer asks once"))
        };
        let unpacked = unpack_all(vec![work], request, &give)?.pop();
        let unpacked = unpacked.expect("one layer, one result");
        let (digest, size) = hashed.map_or((unpacked.diff_id.0, unpacked.tar_bytes), HashingReader::finish);
        collected.layers.insert(number, unpacked);
        return Ok(Arrived::Layer { number, digest, size });
    }
    if member.size > MAX_JSON || collected.kept + member.size > MAX_KEPT {
        return Ok(Arrived::Foreign(member.size));
    }
    collected.kept += member.size;
    outer.read_to_end(&mut head).map_err(read)?;
    Ok(Arrived::Kept(Arc::new(head)))
}

/// The archive's own tar, read from the front. Its `Read` gives the content of the current member.
struct OuterTar<'p, R> {
    input: R,
    /// The archive's path, for messages.
    path: &'p Path,
    framer: Framer,
    /// Bytes of the current member's content still to come.
    left: u64,
    ended: bool,
}

impl<'p, R: BufRead> OuterTar<'p, R> {
    fn new(input: R, path: &'p Path) -> Self {
        Self { input, path, framer: Framer::new(), left: 0, ended: false }
    }

    /// Goes to the next member, past the unread rest of this one. Returns `None` at the end, when all of the input is
    /// read.
    fn next(&mut self) -> Result<Option<Box<Member>>, ArchiveError> {
        let path = self.path;
        let read = |source| ArchiveError::Read { file: path.display().to_string(), source };
        let at_start = self.framer.position() == 0;
        let damaged = |source| match at_start {
            true => ArchiveError::NotATar { path: path.into(), source },
            false => ArchiveError::Tar { path: path.into(), source },
        };
        while !self.ended {
            let buffer = self.input.fill_buf().map_err(read)?;
            let at_end = buffer.is_empty();
            let (taken, frame) = self.framer.next(buffer).map_err(damaged)?;
            let member = match frame {
                Some(Frame::Member(member)) => Some(member),
                Some(Frame::End) => {
                    self.ended = true;
                    None
                }
                None if at_end => {
                    self.framer.finish().map_err(damaged)?;
                    self.ended = true;
                    None
                }
                _ => None,
            };
            self.input.consume(taken);
            if let Some(member) = member {
                self.left = member.stored;
                return Ok(Some(member));
            }
        }
        // A pipe's writer expects to be read to the end, and a damaged tail of a compressed archive shows only there.
        io::copy(&mut self.input, &mut io::sink()).map_err(read)?;
        Ok(None)
    }
}

/// What came through a pipe ended inside a file of the archive.
#[derive(Debug, thiserror::Error)]
#[error("the archive ends inside this file")]
pub struct EndsInside;

impl<R: BufRead> Read for OuterTar<'_, R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || output.is_empty() {
            return Ok(0);
        }
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, EndsInside));
            }
            let most = buffer.len().min(output.len());
            let (taken, frame) = self.framer.next(&buffer[..most]).map_err(io::Error::other)?;
            let copied = match frame {
                Some(Frame::Body(data)) => {
                    output[..data.len()].copy_from_slice(data);
                    data.len()
                }
                _ => 0,
            };
            self.input.consume(taken);
            self.left -= copied as u64;
            if copied > 0 {
                meter::copied(copied);
                return Ok(copied);
            }
        }
    }
}
