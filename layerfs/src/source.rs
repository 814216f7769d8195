//! Where a layer's bytes come from: a slice of a mapped archive, or a stream that is read, and perhaps decoded, ahead.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::bytes::Bytes;
use crate::chain::Chain;
use crate::compress::Decoder;
use crate::digest::Digest;
use crate::meter::{self, Stage};
use crate::pool::{Outstanding, Pool};

/// Bytes framed, written and hashed at a time: a piece stays in the second-level cache from one to the next.
const PIECE: usize = 256 << 10;

/// Pieces that may be read ahead.
const AHEAD: usize = 16;

/// A compressed or plain stream.
pub type LayerStream<'a> = Decoder<Box<dyn BufRead + Send + 'a>>;

/// The tar of a layer.
#[derive(Debug)]
pub enum Source<'a> {
    /// All of it, uncompressed, in memory or mapped.
    Slice(&'a [u8]),
    /// All of it, compressed, in memory or mapped. Its digest is made besides.
    Blob(&'a [u8]),
    /// Read from the front; by other threads where some are to spare.
    Stream(Box<LayerStream<'a>>),
}

/// A source cut into pieces.
pub(crate) enum Pieces<'a> {
    Slice { rest: &'a [u8], consumed: u64 },
    Stream(Arc<Stream<'a>>, Option<Blob<'a>>),
}

/// A compressed source that is hashed while it is decoded.
pub(crate) struct Blob<'a> {
    rest: &'a [u8],
    /// Bytes handed to the chain.
    hashed: u64,
    chain: Arc<Chain<'a>>,
}

/// What comes next of a source.
pub(crate) struct Piece<'a> {
    pub(crate) bytes: Bytes<'a>,
    /// How much of the source the pieces up to here were made of.
    pub(crate) consumed: u64,
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
    pieces: VecDeque<io::Result<Decoded>>,
    /// A thread will read, or does.
    queued: bool,
    /// The reader was at its end, or nobody wants more.
    ended: bool,
}

/// A piece that was read, empty at the end.
struct Decoded {
    bytes: Arc<Vec<u8>>,
    consumed: u64,
}

impl<'a> Pieces<'a> {
    /// # Errors
    /// Those of the first read of a blob.
    pub(crate) fn new(source: Source<'a>) -> io::Result<Self> {
        let (inner, blob) = match source {
            Source::Slice(bytes) => return Ok(Self::Slice { rest: bytes, consumed: 0 }),
            Source::Stream(inner) => (inner, None),
            Source::Blob(rest) => {
                let decoder = Decoder::new(Box::new(rest) as Box<dyn BufRead + Send>)?;
                (Box::new(decoder), Some(Blob { rest, hashed: 0, chain: Arc::default() }))
            }
        };
        let reader = Mutex::new(Reader { inner, spare: Vec::new(), ended: false });
        Ok(Self::Stream(Arc::new(Stream { reader, ahead: Mutex::default(), reading: Arc::default() }), blob))
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self, pool: &Pool<'a>) -> io::Result<Option<Piece<'a>>> {
        match self {
            Self::Slice { rest, consumed } => {
                let (now, later) = rest.split_at(rest.len().min(PIECE));
                *rest = later;
                *consumed += now.len() as u64;
                Ok((!now.is_empty()).then_some(Piece { bytes: Bytes::Borrowed(now), consumed: *consumed }))
            }
            Self::Stream(stream, blob) => {
                let Decoded { bytes, consumed } = stream.next(pool)?;
                stream.read_ahead(pool);
                if let Some(blob) = blob {
                    blob.hash_to(consumed, pool);
                }
                Ok((!bytes.is_empty()).then(|| Piece { bytes: Bytes::whole(bytes), consumed }))
            }
        }
    }

    /// Stops reading ahead, and waits until no thread reads. Returns how many bytes behind the compressed stream were
    /// ignored.
    pub(crate) fn close(&mut self, pool: &Pool<'a>) -> u64 {
        let Self::Stream(stream, _) = self else { return 0 };
        stream.ahead().ended = true;
        stream.reading.wait(pool);
        stream.reader().inner.trailing_garbage().unwrap_or(0)
    }

    /// The digest of a blob, all of it.
    pub(crate) fn blob_digest(&mut self, pool: &Pool<'a>) -> Option<Digest> {
        let Self::Stream(_, Some(blob)) = self else { return None };
        blob.chain.add(Bytes::Borrowed(std::mem::take(&mut blob.rest)), pool);
        Some(blob.chain.finish())
    }
}

impl<'a> Blob<'a> {
    /// Hands out what was decoded up to `consumed`, in pieces of about the same length as other chains have.
    fn hash_to(&mut self, consumed: u64, pool: &Pool<'a>) {
        while consumed - self.hashed >= PIECE as u64 {
            let (now, later) = self.rest.split_at(PIECE);
            self.rest = later;
            self.hashed += PIECE as u64;
            self.chain.add(Bytes::Borrowed(now), pool);
        }
    }
}

impl<'a> Stream<'a> {
    fn reader(&self) -> MutexGuard<'_, Reader<'a>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next(&self, pool: &Pool<'a>) -> io::Result<Decoded> {
        loop {
            let read = self.ahead().pieces.pop_front();
            if let Some(piece) = read {
                return piece;
            }
            let another_reads = self.reader.try_lock().is_err();
            if !another_reads || !pool.help_beside_reading() {
                break;
            }
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
            ahead.ended |= piece.as_ref().map_or(true, |piece| piece.bytes.len() < PIECE);
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
    fn piece(&mut self) -> io::Result<Decoded> {
        let _decoding = meter::enter(Stage::Decode);
        if self.ended {
            return Ok(Decoded { bytes: Arc::default(), consumed: self.inner.consumed() });
        }
        let free = self.spare.iter_mut().rposition(|buffer| Arc::get_mut(buffer).is_some());
        let mut shared = free.map_or_else(Arc::default, |at| self.spare.swap_remove(at));
        let buffer = Arc::get_mut(&mut shared).expect("nobody else holds a new or a free buffer");
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
        Ok(Decoded { bytes: shared, consumed: self.inner.consumed() })
    }
}
