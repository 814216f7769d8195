//! Where a layer's bytes come from: a slice of a mapped archive, or a stream that is read, and perhaps decoded, ahead.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bytes::Bytes;
use crate::compress::Decoder;
use crate::meter::{self, Stage};
use crate::pool::{Outstanding, Pool};

/// Bytes framed, written and hashed at a time: a piece stays in the second-level cache from one to the next.
const PIECE: usize = 256 << 10;

/// Pieces that may be read ahead.
const AHEAD: usize = 8;

/// A compressed or plain stream.
pub type LayerStream<'a> = Decoder<Box<dyn BufRead + Send + 'a>>;

/// The tar of a layer.
#[derive(Debug)]
pub enum Source<'a> {
    /// All of it, uncompressed, in memory or mapped.
    Slice(&'a [u8]),
    /// Read from the front; by other threads where some are to spare.
    Stream(Box<LayerStream<'a>>),
}

/// A source cut into pieces.
pub(crate) enum Pieces<'a> {
    Slice(&'a [u8]),
    Stream(Arc<Stream<'a>>),
}

/// A stream that several threads read in turn.
pub(crate) struct Stream<'a> {
    reader: Mutex<Reader<'a>>,
    /// Locked after `reader` where both are.
    ahead: Mutex<Ahead>,
    /// Counts the reading that other threads do.
    reading: Arc<Outstanding>,
}

#[derive(Default)]
struct Ahead {
    pieces: VecDeque<io::Result<Arc<Vec<u8>>>>,
    /// A thread will read, or does.
    queued: bool,
    /// The reader was at its end, or nobody wants more.
    ended: bool,
}

impl<'a> Pieces<'a> {
    pub(crate) fn new(source: Source<'a>) -> Self {
        match source {
            Source::Slice(bytes) => Self::Slice(bytes),
            Source::Stream(inner) => Self::Stream(Arc::new(Stream {
                reader: Mutex::new(Reader { inner, spare: Vec::new(), ended: false }),
                ahead: Mutex::default(),
                reading: Arc::default(),
            })),
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self, pool: &Pool<'a>) -> io::Result<Option<Bytes<'a>>> {
        match self {
            Self::Slice(rest) => {
                let (now, later) = rest.split_at(rest.len().min(PIECE));
                *rest = later;
                Ok((!now.is_empty()).then_some(Bytes::Borrowed(now)))
            }
            Self::Stream(stream) => {
                let piece = stream.next()?;
                stream.read_ahead(pool);
                Ok((!piece.is_empty()).then(|| Bytes::whole(piece)))
            }
        }
    }

    /// Stops reading ahead, and waits until no thread reads. Returns how many bytes behind the compressed stream were
    /// ignored.
    pub(crate) fn close(&mut self, pool: &Pool<'a>) -> u64 {
        let Self::Stream(stream) = self else { return 0 };
        stream.ahead().ended = true;
        stream.reading.wait(pool);
        stream.reader().inner.trailing_garbage().unwrap_or(0)
    }
}

impl<'a> Stream<'a> {
    fn reader(&self) -> MutexGuard<'_, Reader<'a>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self) -> io::Result<Arc<Vec<u8>>> {
        let read = self.ahead().pieces.pop_front();
        if let Some(piece) = read {
            return piece;
        }
        let waiting = meter::enter(Stage::Input);
        let mut reader = self.reader();
        drop(waiting);
        // Whoever had the reader has read.
        let read = self.ahead().pieces.pop_front();
        read.unwrap_or_else(|| reader.piece())
    }

    /// Lets another thread read the next piece, if one is to spare and there is room.
    fn read_ahead(self: &Arc<Self>, pool: &Pool<'a>) {
        if !pool.has_spare_threads() {
            return;
        }
        let mut ahead = self.ahead();
        if ahead.ended || ahead.queued || ahead.pieces.len() >= AHEAD {
            return;
        }
        ahead.queued = true;
        drop(ahead);
        let (stream, counted) = (Arc::clone(self), self.reading.add());
        pool.submit_read(Box::new(move |pool| {
            let _counted = counted;
            stream.read_one();
            stream.read_ahead(pool);
        }));
    }

    fn read_one(&self) {
        let mut reader = self.reader();
        let wanted = !self.ahead().ended;
        let piece = wanted.then(|| reader.piece());
        let mut ahead = self.ahead();
        ahead.queued = false;
        if let Some(piece) = piece {
            ahead.ended |= piece.as_ref().map_or(true, |piece| piece.len() < PIECE);
            ahead.pieces.push_back(piece);
        }
    }
}

/// Reads whole pieces into buffers that are used again once nobody holds them.
struct Reader<'a> {
    inner: Box<LayerStream<'a>>,
    spare: Vec<Arc<Vec<u8>>>,
    ended: bool,
}

impl Reader<'_> {
    /// The next piece: shorter than [`PIECE`] at the end only.
    fn piece(&mut self) -> io::Result<Arc<Vec<u8>>> {
        let _decoding = meter::enter(Stage::Decode);
        if self.ended {
            return Ok(Arc::default());
        }
        let free = self.spare.iter().rposition(|buffer| Arc::strong_count(buffer) == 1);
        let mut shared = free.map_or_else(Arc::default, |at| self.spare.swap_remove(at));
        let Some(buffer) = Arc::get_mut(&mut shared) else { return Ok(shared) };
        buffer.resize(PIECE, 0);
        let mut filled = 0;
        while filled < PIECE {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        meter::count(Stage::Decode, filled);
        if self.spare.len() < 2 * AHEAD {
            self.spare.push(Arc::clone(&shared));
        }
        Ok(shared)
    }
}
