//! Several layers at once.

use std::io::BufRead;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use layerfs::apply::Target;
use layerfs::compress::{Compression, Decoder};
use layerfs::pool::{BoxedTask, Pool, Task};
use layerfs::{DiffId, Digest, JournalFile, Source, Step, UnpackError, Unpacked, Unpacking};

use super::error::ImportError;
use super::options::Request;
use crate::archive::{Access, Blob, Descriptor};

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
    Mapped(&'a Blob, Option<Descriptor>),
    /// All of them in memory, and what the manifest says of them.
    Bytes(&'a [u8], Option<Descriptor>),
    /// From a pipe.
    Stream(Box<dyn BufRead + Send + 'a>),
}

impl<'a> Content<'a> {
    fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Mapped(blob, _) => Some(blob.as_slice()),
            Self::Bytes(bytes, _) => Some(bytes),
            Self::Stream(_) => None,
        }
    }

    fn len(&self) -> usize {
        self.bytes().map_or(0, <[u8]>::len)
    }

    fn is_plain(&self) -> bool {
        self.bytes().is_some_and(|bytes| Compression::sniff(bytes) == Compression::None)
    }

    /// The length of the tar, where it is known.
    fn total(&self) -> Option<u64> {
        self.is_plain().then(|| self.len() as u64)
    }

    fn mapped(&self) -> Option<&'a Blob> {
        match self {
            Self::Mapped(blob, _) => Some(blob),
            Self::Bytes(..) | Self::Stream(_) => None,
        }
    }

    /// The digest that the compressed bytes must have. A tar is hashed as it is unpacked: its digest is its diff id.
    fn blob_digest(&self) -> Option<Digest> {
        match self {
            Self::Mapped(_, descriptor) | Self::Bytes(_, descriptor) if !self.is_plain() => {
                descriptor.as_ref().map(|descriptor| descriptor.digest)
            }
            _ => None,
        }
    }

    fn into_source(self) -> std::io::Result<Source<'a>> {
        let (plain, checked) = (self.is_plain(), self.blob_digest().is_some());
        let bytes = match self {
            Self::Mapped(blob, _) => blob.as_slice(),
            Self::Bytes(bytes, _) => bytes,
            Self::Stream(stream) => return decoded(stream),
        };
        match (plain, checked) {
            (true, _) => Ok(Source::Slice(bytes)),
            (false, true) => Ok(Source::Blob(bytes)),
            (false, false) => decoded(Box::new(bytes)),
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
        let blob_digest = content.blob_digest();
        let behind = content.mapped().map(|blob| Behind { blob, released: 0 });
        let (state, result) = (State::Waiting(content), &results[number]);
        Box::new(LayerTask { number, name, index, diff_id, blob_digest, behind, state, shared, result })
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
    /// What the compressed bytes must be, where the manifest says it.
    blob_digest: Option<Digest>,
    behind: Option<Behind<'s>>,
    state: State<'s>,
    shared: Shared<'s>,
    result: &'s Slot,
}

enum State<'a> {
    Waiting(Content<'a>),
    Running(Box<Unpacking<'a>>),
    Ended,
}

/// What of a mapped layer is done with, and need not stay in the page table: taking all of it out at the end would be one
/// thread's work, while the others have none.
struct Behind<'a> {
    blob: &'a Blob,
    released: usize,
}

impl Behind<'_> {
    /// Released at a time.
    const STRIDE: usize = 8 << 20;
    /// What may still be read by other threads. Nothing is lost if it was more: the page comes back when it is touched.
    const MARGIN: usize = 4 << 20;

    /// The first `consumed` bytes were handed out.
    fn advance(&mut self, consumed: u64) {
        let done = usize::try_from(consumed).unwrap_or(usize::MAX).saturating_sub(Self::MARGIN);
        if done >= self.released + Self::STRIDE {
            self.release(done);
        }
    }

    fn release(&mut self, end: usize) {
        if let Some(part) = self.blob.slice(self.released..end.min(self.blob.len())) {
            part.advise(Access::Done);
        }
        self.released = end;
    }
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
                request.observer.begin(self.number, &self.name, content.total());
                let Place { target, journal } = place(self.number)?;
                let source = content.into_source().map_err(|source| failed(UnpackError::Read { source }))?;
                let unpacking = Unpacking::begin(source, target, journal).map_err(failed)?;
                self.state = State::Running(Box::new(unpacking));
                Ok(None)
            }
            State::Running(mut unpacking) if stopped => {
                unpacking.abandon(pool);
                Err(ImportError::Interrupted)
            }
            State::Running(mut unpacking) => match unpacking.step(pool).map_err(failed)? {
                Step::Done(unpacked) => {
                    if let Some(behind) = &mut self.behind {
                        behind.release(behind.blob.len());
                    }
                    Ok(Some(*unpacked))
                }
                Step::More { bytes, consumed } => {
                    if let Some(behind) = &mut self.behind {
                        behind.advance(consumed);
                    }
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
