//! Several layers at once, the longest first.

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use layerfs::apply::Target;
use layerfs::compress::{Compression, Decompressor};
use layerfs::pool::{BoxedTask, Pool, Task};
use layerfs::{DiffId, Digest, JournalFile, Source, Step, UnpackError, Unpacked, Unpacking};

use super::error::ImportError;
use super::options::{Announced, ImportRequest};
use crate::source::{ArchiveError, Blob, Fetch};
use snapshot::driver::LayerOrder;

/// A layer to unpack.
pub(crate) struct Work<'a> {
    /// Its name in the archive.
    pub(crate) name: String,
    /// Its number in the image that needs it.
    pub(crate) index: usize,
    /// The diff id that its tar must have; unknown for a layer that comes before its manifest.
    pub(crate) diff_id: Option<DiffId>,
    /// The digest that its file must have, where a manifest says it.
    pub(crate) digest: Option<Digest>,
    /// The build step that made it, for messages.
    pub(crate) step: Option<String>,
    pub(crate) content: Content<'a>,
}

/// A layer's bytes, compressed or not.
pub(crate) enum Content<'a> {
    /// All of them in a file.
    File(&'a Blob),
    /// All of them in memory.
    Memory(&'a [u8]),
    /// On its way from elsewhere.
    Fetched(&'a dyn Fetch),
    /// From a pipe.
    Stream(Box<dyn BufRead + Send + 'a>),
}

impl<'a> Content<'a> {
    fn len(&self) -> usize {
        match self {
            Self::File(blob) => blob.len(),
            Self::Memory(bytes) => bytes.len(),
            // The length is not used for these: they are begun in the order in which they arrive.
            Self::Fetched(_) | Self::Stream(_) => 0,
        }
    }

    /// The length of its file, where it is known.
    fn total(&self) -> Option<u64> {
        match self {
            Self::File(_) | Self::Memory(_) => Some(self.len() as u64),
            Self::Fetched(fetched) => Some(fetched.size()),
            Self::Stream(_) => None,
        }
    }

    fn is_plain(&self) -> bool {
        let compression = match self {
            Self::File(blob) => blob.compression(),
            Self::Memory(bytes) => Compression::sniff(bytes),
            // These bytes have not arrived yet, so their compression is not known here. The decoder takes plain bytes as well.
            Self::Fetched(_) | Self::Stream(_) => return false,
        };
        compression == Compression::None
    }

    /// The layer as the unpacker reads it. If `checked`, the digest of a compressed file is computed while it is read.
    fn into_source(self, plain: bool, checked: bool, read: &Arc<AtomicU64>) -> std::io::Result<Source<'a>> {
        let reader: Box<dyn Read + Send + 'a> = match self {
            Self::File(blob) if plain => Box::new(blob.reader()),
            Self::File(blob) => Box::new(Counted { reader: blob.reader(), read: Arc::clone(read) }),
            Self::Memory(bytes) if plain => return Ok(Source::Slice(bytes)),
            Self::Memory(bytes) => Box::new(bytes),
            Self::Fetched(fetched) => Box::new(Counted { reader: fetched.reader(), read: Arc::clone(read) }),
            Self::Stream(stream) => return decoded(stream),
        };
        match (plain, checked) {
            (true, _) => Ok(Source::Plain(reader)),
            (false, true) => Ok(Source::Blob(reader)),
            (false, false) => decoded(Box::new(BufReader::with_capacity(128 << 10, reader))),
        }
    }
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, output: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(output)?;
        self.read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

fn decoded<'a>(stream: Box<dyn BufRead + Send + 'a>) -> std::io::Result<Source<'a>> {
    Ok(Source::Stream(Box::new(Decompressor::new(stream)?)))
}

/// What a layer is unpacked into.
pub(crate) struct LayerTarget {
    pub(crate) target: Target,
    pub(crate) journal: Option<JournalFile>,
}

/// Unpacks all of `works` in the order that a driver wants; parents are before their children in `works`. If the driver wants
/// a layer to begin as a copy of its complete parent, layers are unpacked one after the other, else all at once. Results are
/// in the order of `works`.
pub(crate) fn unpack_ordered<'a>(
    works: Vec<Work<'a>>,
    order: LayerOrder,
    request: &ImportRequest<'_>,
    place: &LayerTargets<'_>,
) -> Result<Vec<Unpacked>, ImportError> {
    match order {
        LayerOrder::Independent => unpack_all(works, request, place),
        LayerOrder::ParentFirst => {
            let mut all = Vec::with_capacity(works.len());
            for (number, work) in works.into_iter().enumerate() {
                all.extend(unpack_together(vec![work], number, request, place)?);
            }
            Ok(all)
        }
    }
}

/// Makes the place into which the layer with this number is unpacked.
type LayerTargets<'p> = dyn Fn(usize) -> Result<LayerTarget, ImportError> + Sync + 'p;

/// Unpacks all of `works` at once, the longest first, into the place that `place` makes for each number. Results are in the
/// order of `works`.
///
/// When one fails, the others stop soon and its error is returned.
pub(crate) fn unpack_all<'a>(
    works: Vec<Work<'a>>,
    request: &ImportRequest<'_>,
    place: &LayerTargets<'_>,
) -> Result<Vec<Unpacked>, ImportError> {
    unpack_together(works, 0, request, place)
}

/// Like [`unpack_all`], but the first layer has the number `first`.
fn unpack_together<'a>(
    works: Vec<Work<'a>>,
    first: usize,
    request: &ImportRequest<'_>,
    place: &LayerTargets<'_>,
) -> Result<Vec<Unpacked>, ImportError> {
    let stop = AtomicBool::new(false);
    let results: Vec<Slot> = works.iter().map(|_| Mutex::new(None)).collect();
    let mut numbered: Vec<(usize, Work<'_>)> = works.into_iter().enumerate().collect();
    numbered.sort_by_key(|(_, work)| std::cmp::Reverse(work.content.len()));
    let shared = Shared { request, place, stop: &stop };
    let task = |(at, Work { name, index, diff_id, digest, step, content }): (usize, Work<'a>)| -> BoxedTask<'_> {
        let (plain, total) = (content.is_plain(), content.total());
        let stored = Stored { total, ..Stored::default() };
        let (state, result, number) = (LayerProgress::Waiting(content), &results[at], first + at);
        Box::new(LayerTask { number, name, index, diff_id, step, plain, digest, stored, state, shared, result })
    };
    Pool::run(request.options.threads, numbered.into_iter().map(task).collect(), request.options.meter);
    let mut all = Vec::with_capacity(results.len());
    let mut failure = None;
    for result in results {
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        match result.unwrap_or(Err(ImportError::Interrupted)) {
            Ok(unpacked) => all.push(unpacked),
            // `Interrupted` may only mean that the layer stopped because another one failed: report the other error.
            Err(error) => match failure {
                None | Some(ImportError::Interrupted) => failure = Some(error),
                Some(_) => {}
            },
        }
    }
    failure.map_or(Ok(all), Err)
}

/// Where a layer's result goes.
type Slot = Mutex<Option<Result<Unpacked, ImportError>>>;

/// What all layers share.
#[derive(Clone, Copy)]
struct Shared<'s> {
    request: &'s ImportRequest<'s>,
    place: &'s LayerTargets<'s>,
    /// Becomes true when a layer fails or the user asks to stop.
    stop: &'s AtomicBool,
}

/// How far a layer's file is read.
#[derive(Default)]
struct Stored {
    /// Its length, where it is known.
    total: Option<u64>,
    /// Bytes that were read of it, if it is compressed.
    read: Arc<AtomicU64>,
    /// Bytes that the observer was told of.
    told: u64,
}

/// The task of unpacking one layer.
struct LayerTask<'s> {
    number: usize,
    name: String,
    index: usize,
    diff_id: Option<DiffId>,
    step: Option<String>,
    plain: bool,
    /// The digest that its file must have, where a manifest says it.
    digest: Option<Digest>,
    stored: Stored,
    state: LayerProgress<'s>,
    shared: Shared<'s>,
    result: &'s Slot,
}

enum LayerProgress<'a> {
    Waiting(Content<'a>),
    Running(Box<Unpacking<'a>>),
    Ended,
}

impl<'s> Task<'s> for LayerTask<'s> {
    fn step(&mut self, pool: &Pool<'s>) -> ControlFlow<()> {
        let result = match self.advance(pool) {
            Ok(None) => return ControlFlow::Continue(()),
            Ok(Some(unpacked)) => self.check(unpacked),
            Err(error) => Err(error),
        };
        // A wrong layer does not stop the others: so, if several are wrong, the message is always about the lowest one.
        let wrong = |error: &ImportError| {
            matches!(error, ImportError::DiffId { .. } | ImportError::Archive(ArchiveError::Digest { .. }))
        };
        if !result.as_ref().err().is_none_or(wrong) {
            self.shared.stop.store(true, Ordering::Relaxed);
        }
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        ControlFlow::Break(())
    }
}

impl<'s> LayerTask<'s> {
    fn advance(&mut self, pool: &Pool<'s>) -> Result<Option<Unpacked>, ImportError> {
        let Shared { request, place, stop } = self.shared;
        if request.is_interrupted() {
            stop.store(true, Ordering::Relaxed);
        }
        let stopped = stop.load(Ordering::Relaxed);
        let failed = |source| ImportError::Layer { layer: self.name.clone(), source };
        match std::mem::replace(&mut self.state, LayerProgress::Ended) {
            LayerProgress::Ended => Err(ImportError::Interrupted),
            LayerProgress::Waiting(_) if stopped => Err(ImportError::Interrupted),
            LayerProgress::Waiting(content) => {
                let (name, step, total) = (self.name.as_str(), self.step.as_deref(), self.stored.total);
                request.observer.begin(self.number, &Announced { name, diff_id: self.diff_id, step, total });
                let LayerTarget { target, journal } = place(self.number)?;
                let source = content.into_source(self.plain, self.digest.is_some(), &self.stored.read);
                let source = source.map_err(|source| failed(UnpackError::Read { source }))?;
                let unpacking = Unpacking::begin(source, target, journal).map_err(failed)?;
                self.state = LayerProgress::Running(Box::new(unpacking));
                Ok(None)
            }
            LayerProgress::Running(mut unpacking) if stopped => {
                unpacking.abandon(pool);
                Err(ImportError::Interrupted)
            }
            LayerProgress::Running(mut unpacking) => match unpacking.step(pool).map_err(failed)? {
                Step::Done(unpacked) => Ok(Some(*unpacked)),
                Step::More(bytes) => {
                    // For a compressed file, report how much of the file was read: only the file's length is known in
                    // advance.
                    let advanced = if self.plain || self.stored.total.is_none() {
                        bytes
                    } else {
                        let read = self.stored.read.load(Ordering::Relaxed);
                        read - std::mem::replace(&mut self.stored.told, read)
                    };
                    request.observer.advance(self.number, advanced);
                    self.state = LayerProgress::Running(unpacking);
                    Ok(None)
                }
            },
        }
    }

    fn check(&self, unpacked: Unpacked) -> Result<Unpacked, ImportError> {
        let observer = self.shared.request.observer;
        for (member, warning) in unpacked.warnings.first() {
            observer.warn(&self.name, member, warning);
        }
        // The digest of a plain tar is its diff id.
        let blob_digest = unpacked.blob_digest.or(self.plain.then_some(unpacked.diff_id.0));
        if let (Some(expected), Some(found)) = (self.digest, blob_digest)
            && found != expected
        {
            return Err(ArchiveError::Digest { file: self.name.clone(), expected, found }.into());
        }
        if let Some(expected) = self.diff_id
            && unpacked.diff_id != expected
        {
            let (layer, index, found) = (self.name.clone(), self.index, unpacked.diff_id);
            return Err(ImportError::DiffId { layer, index, expected, found });
        }
        observer.end(self.number);
        Ok(unpacked)
    }
}
