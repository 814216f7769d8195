//! Several layers at once.

use std::io::BufRead;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use layerfs::apply::Target;
use layerfs::compress::{Compression, Decoder};
use layerfs::pool::{Pool, Task};
use layerfs::{Context, DiffId, JournalFile, Source, UnpackError, Unpacked};

use super::error::ImportError;
use super::options::Request;
use super::verify::{Check, CheckedReader};
use crate::archive::Descriptor;

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
    /// All of them, and what the manifest says of them.
    Bytes(&'a [u8], Option<Descriptor>),
    /// From a pipe.
    Stream(Box<dyn BufRead + Send + 'a>),
}

impl<'a> Content<'a> {
    fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes, _) => bytes.len(),
            Self::Stream(_) => 0,
        }
    }

    /// The length of the tar, where it is known.
    fn total(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes, _) if Compression::sniff(bytes) == Compression::None => Some(bytes.len() as u64),
            _ => None,
        }
    }

    fn into_source(self) -> std::io::Result<Source<'a>> {
        let stream: Box<dyn BufRead + Send + 'a> = match self {
            // Hashed as it is unpacked: its digest is its diff id.
            Self::Bytes(bytes, _) if Compression::sniff(bytes) == Compression::None => return Ok(Source::Slice(bytes)),
            Self::Bytes(bytes, Some(descriptor)) => Box::new(CheckedReader::new(bytes, Check::Against(descriptor))),
            Self::Bytes(bytes, None) => Box::new(bytes),
            Self::Stream(stream) => stream,
        };
        Ok(Source::Stream(Box::new(Decoder::new(stream)?)))
    }
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
    let results: Vec<Mutex<Option<Result<Unpacked, ImportError>>>> = works.iter().map(|_| Mutex::new(None)).collect();
    let mut numbered: Vec<(usize, Work<'_>)> = works.into_iter().enumerate().collect();
    numbered.sort_by_key(|(_, work)| std::cmp::Reverse(work.content.len()));
    let (stop_ref, results_ref) = (&stop, &results);
    let task = |(number, work): (usize, Work<'a>)| -> Task<'_> {
        Box::new(move |pool: &Pool<'_>| {
            let result = if stop_ref.load(Ordering::Relaxed) {
                Err(ImportError::Interrupted)
            } else {
                unpack_one(number, work, request, place, stop_ref, pool)
            };
            // A wrong layer stops nobody: if several are wrong, the message is always about the lowest.
            if !matches!(result, Ok(_) | Err(ImportError::DiffId { .. })) {
                stop_ref.store(true, Ordering::Relaxed);
            }
            *results_ref[number].lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        })
    };
    Pool::run(request.options.threads, numbered.into_iter().map(task).collect());
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

fn unpack_one<'a>(
    number: usize,
    work: Work<'a>,
    request: &Request<'_>,
    place: &(dyn Fn(usize) -> Result<Place, ImportError> + Sync),
    stop: &AtomicBool,
    pool: &Pool<'a>,
) -> Result<Unpacked, ImportError> {
    let Work { name, index, diff_id, content } = work;
    let observer = request.observer;
    let failed = |source| match source {
        UnpackError::Interrupted => ImportError::Interrupted,
        source => ImportError::Layer { layer: name.clone(), source },
    };
    observer.begin(number, &name, content.total());
    let Place { target, journal } = place(number)?;
    let source = content.into_source().map_err(|source| failed(UnpackError::Read { source }))?;
    let progress = |bytes| {
        observer.advance(number, bytes);
        if request.is_interrupted() {
            stop.store(true, Ordering::Relaxed);
        }
    };
    let context = Context { interrupted: stop, progress: &progress };
    let unpacked = layerfs::unpack(source, target, journal.as_ref(), context, pool).map_err(failed)?;
    for (member, warning) in unpacked.warnings.first() {
        observer.warn(&name, member, warning);
    }
    if let Some(expected) = diff_id
        && unpacked.diff_id != expected
    {
        return Err(ImportError::DiffId { layer: name, index, expected, found: unpacked.diff_id });
    }
    observer.end(number);
    Ok(unpacked)
}
