//! Several layers at once.

use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use layerfs::apply::Target;
use layerfs::compress::{Compression, Decoder};
use layerfs::pool::{BoxedTask, Pool, Task};
use layerfs::{DiffId, Digest, JournalFile, Source, Step, UnpackError, Unpacked, Unpacking};

use super::error::ImportError;
use super::options::Request;
use crate::source::{Blob, Descriptor};

/// A layer to unpack.
pub(crate) struct Work<'a> {
    /// Its name in the archive.
    pub(crate) name: String,
    /// Its number in the image that needs it.
    pub(crate) index: usize,
    /// What it must be; unknown for a layer that comes before its manifest.
    pub(crate) diff_id: Option<DiffId>,
    pub(crate) content: Content<'a>,
}

/// A layer's bytes, compressed or not.
pub(crate) enum Content<'a> {
    /// All of them in a file, and what the manifest says of them.
    File(&'a Blob, Option<Descriptor>),
    /// All of them in memory, and what the manifest says of them.
    Bytes(&'a [u8], Option<Descriptor>),
    /// From a pipe.
    Stream(Box<dyn BufRead + Send + 'a>),
}

impl<'a> Content<'a> {
    fn len(&self) -> usize {
        match self {
            Self::File(blob, _) => blob.len(),
            Self::Bytes(bytes, _) => bytes.len(),
            Self::Stream(_) => 0,
        }
    }

    fn is_plain(&self) -> bool {
        let compression = match self {
            Self::File(blob, _) => blob.compression(),
            Self::Bytes(bytes, _) => Compression::sniff(bytes),
            Self::Stream(_) => return false,
        };
        compression == Compression::None
    }

    /// The digest that its file must have.
    fn digest(&self) -> Option<Digest> {
        match self {
            Self::File(_, descriptor) | Self::Bytes(_, descriptor) => {
                descriptor.as_ref().map(|descriptor| descriptor.digest)
            }
            Self::Stream(_) => None,
        }
    }

    fn into_source(self, plain: bool) -> std::io::Result<Source<'a>> {
        let checked = self.digest().is_some();
        let reader: Box<dyn Read + Send + 'a> = match self {
            Self::File(blob, _) => Box::new(blob.reader()),
            Self::Bytes(bytes, _) if plain => return Ok(Source::Slice(bytes)),
            Self::Bytes(bytes, _) => Box::new(bytes),
            Self::Stream(stream) => return decoded(stream),
        };
        match (plain, checked) {
            (true, _) => Ok(Source::Plain(reader)),
            (false, true) => Ok(Source::Blob(reader)),
            (false, false) => decoded(Box::new(BufReader::with_capacity(128 << 10, reader))),
        }
    }
}

fn decoded<'a>(stream: Box<dyn BufRead + Send + 'a>) -> std::io::Result<Source<'a>> {
    Ok(Source::Stream(Box::new(Decoder::new(stream)?)))
}

/// What a layer is unpacked into.
pub(crate) struct Place {
    pub(crate) target: Target,
    pub(crate) journal: Option<JournalFile>,
}

/// Unpacks all of `works`, the longest first, into what `place` gives for each number. Results are in order.
///
/// When one fails, the others stop soon and its error is returned.
pub(crate) fn unpack_all<'a>(
    works: Vec<Work<'a>>,
    request: &Request<'_>,
    place: &(dyn Fn(usize) -> Result<Place, ImportError> + Sync),
) -> Result<Vec<Unpacked>, ImportError> {
    let stop = AtomicBool::new(false);
    let results: Vec<Slot> = works.iter().map(|_| Mutex::new(None)).collect();
    let mut numbered: Vec<(usize, Work<'_>)> = works.into_iter().enumerate().collect();
    numbered.sort_by_key(|(_, work)| std::cmp::Reverse(work.content.len()));
    let shared = Shared { request, place, stop: &stop };
    let task = |(number, Work { name, index, diff_id, content }): (usize, Work<'a>)| -> BoxedTask<'_> {
        let plain = content.is_plain();
        let blob_digest = content.digest().filter(|_| !plain);
        let (state, result) = (State::Waiting(content), &results[number]);
        Box::new(LayerTask { number, name, index, diff_id, plain, blob_digest, state, shared, result })
    };
    Pool::run(request.options.threads, numbered.into_iter().map(task).collect(), request.options.meter);
    let mut all = Vec::with_capacity(results.len());
    let mut failure = None;
    for result in results {
        let result = result.into_inner().unwrap_or_else(PoisonError::into_inner);
        match result.unwrap_or(Err(ImportError::Interrupted)) {
            Ok(unpacked) => all.push(unpacked),
            // A layer that stopped because of another one says nothing.
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
    request: &'s Request<'s>,
    place: &'s (dyn Fn(usize) -> Result<Place, ImportError> + Sync),
    /// Becomes true when a layer fails or the user asks to stop.
    stop: &'s AtomicBool,
}

/// One layer on its way.
struct LayerTask<'s> {
    number: usize,
    name: String,
    index: usize,
    diff_id: Option<DiffId>,
    plain: bool,
    /// What the compressed bytes must be, where the manifest says it. A tar is hashed as it is unpacked: its digest is its
    /// diff id.
    blob_digest: Option<Digest>,
    state: State<'s>,
    shared: Shared<'s>,
    result: &'s Slot,
}

enum State<'a> {
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
        // A wrong layer stops nobody: if several are wrong, the message is always about the lowest.
        if !matches!(result, Ok(_) | Err(ImportError::DiffId { .. })) {
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
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => Err(ImportError::Interrupted),
            State::Waiting(_) if stopped => Err(ImportError::Interrupted),
            State::Waiting(content) => {
                let total = self.plain.then(|| content.len() as u64);
                request.observer.begin(self.number, &self.name, total);
                let Place { target, journal } = place(self.number)?;
                let source = content.into_source(self.plain).map_err(|source| failed(UnpackError::Read { source }))?;
                let unpacking = Unpacking::begin(source, target, journal).map_err(failed)?;
                self.state = State::Running(Box::new(unpacking));
                Ok(None)
            }
            State::Running(mut unpacking) if stopped => {
                unpacking.abandon(pool);
                Err(ImportError::Interrupted)
            }
            State::Running(mut unpacking) => match unpacking.step(pool).map_err(failed)? {
                Step::Done(unpacked) => Ok(Some(*unpacked)),
                Step::More(bytes) => {
                    request.observer.advance(self.number, bytes);
                    self.state = State::Running(unpacking);
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
        if let Some(expected) = self.blob_digest
            && unpacked.blob_digest != Some(expected)
        {
            let found = unpacked.blob_digest.map_or_else(|| "unknown".to_owned(), |found| found.to_string());
            let reason = format!("the blob is not the one in the manifest: its digest is {found}, expected {expected}");
            let source = UnpackError::Read { source: std::io::Error::new(std::io::ErrorKind::InvalidData, reason) };
            return Err(ImportError::Layer { layer: self.name.clone(), source });
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
