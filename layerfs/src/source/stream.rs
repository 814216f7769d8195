//! A source that several threads read in turn, some pieces ahead of the pass.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::buffers::Buffers;
use super::{LayerStream, PIECE};
use crate::meter::{self, UnpackStage};
use crate::pool::{Outstanding, Pool};

/// How many pieces may be read ahead. More would leave the cache before they are wanted; with fewer, threads would wait.
const AHEAD: usize = 8;

/// What pieces are read from.
pub(super) enum Input<'a> {
    Plain(Box<dyn Read + Send + 'a>),
    Decoded(Box<LayerStream<'a>>),
}

/// A piece, empty at the end.
type Piece = Arc<Vec<u8>>;

/// A stream of pieces.
pub(crate) struct Stream<'a> {
    /// Only the thread that reads locks this, so no thread waits for it.
    reader: Mutex<Reader<'a>>,
    ahead: Mutex<Ahead>,
    /// A piece was read.
    arrived: Condvar,
    /// Counts the reading that other threads do.
    reading: Arc<Outstanding>,
}

#[derive(Default)]
struct Ahead {
    pieces: VecDeque<io::Result<Piece>>,
    /// A job that reads is in the pool's queue.
    queued: bool,
    /// A thread reads.
    reading: bool,
    /// The reader was at its end or has failed, or nobody wants more.
    ended: bool,
}

impl<'a> Stream<'a> {
    pub(super) fn new(input: Input<'a>) -> Self {
        let reader = Mutex::new(Reader { input, buffers: Buffers::default(), ended: false });
        Self { reader, ahead: Mutex::default(), arrived: Condvar::new(), reading: Arc::default() }
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> MutexGuard<'_, Reader<'a>> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next piece, if it was read already. If not, this thread reads it, or does other work of the pool and returns
    /// nothing.
    pub(super) fn next(&self, pool: &Pool<'a>) -> io::Result<Option<Piece>> {
        let mut ahead = self.ahead();
        if let Some(piece) = ahead.pieces.pop_front() {
            return piece.map(Some);
        }
        if !ahead.reading {
            let piece = self.read(ahead);
            // With threads to spare, this one goes on reading, and a free one unpacks the piece.
            if pool.has_spare_threads() {
                self.keep(piece);
                return Ok(None);
            }
            self.ahead().reading = false;
            return piece.map(Some);
        }
        drop(ahead);
        if !pool.help_beside_reading() {
            let _waiting = meter::enter(UnpackStage::Input);
            let ahead = self.ahead();
            let read = self.arrived.wait_while(ahead, |ahead| ahead.reading && ahead.pieces.is_empty());
            drop(read.unwrap_or_else(PoisonError::into_inner));
        }
        Ok(None)
    }

    /// Lets another thread read the next piece, if one is to spare and there is room.
    pub(super) fn read_ahead(self: &Arc<Self>, pool: &Pool<'a>) {
        if !pool.has_spare_threads() {
            return;
        }
        // The lock is held until the job is handed out: `close` either keeps the job from being queued, or finds it
        // counted.
        let mut ahead = self.ahead();
        if ahead.ended || ahead.queued || ahead.reading || ahead.pieces.len() >= AHEAD {
            return;
        }
        ahead.queued = true;
        let (stream, counted) = (Arc::clone(self), self.reading.add());
        pool.submit_read(Box::new(move |pool| {
            let _counted = counted;
            let mut ahead = stream.ahead();
            ahead.queued = false;
            // The thread that is reading asks for the next piece itself.
            if ahead.ended || ahead.reading {
                return;
            }
            let piece = stream.read(ahead);
            stream.keep(piece);
            stream.read_ahead(pool);
        }));
    }

    /// Reads the next piece. Nobody else reads until `reading` is false again.
    fn read(&self, mut ahead: MutexGuard<'_, Ahead>) -> io::Result<Piece> {
        ahead.reading = true;
        drop(ahead);
        let _panic = OnPanic(self);
        self.reader().piece()
    }

    fn keep(&self, piece: io::Result<Piece>) {
        let mut ahead = self.ahead();
        ahead.reading = false;
        ahead.ended |= piece.as_ref().map_or(true, |piece| piece.len() < PIECE);
        ahead.pieces.push_back(piece);
        drop(ahead);
        self.arrived.notify_one();
    }

    /// Stops reading ahead, and waits until no thread reads. Returns how many bytes behind the compressed stream were
    /// ignored.
    pub(super) fn close(&self, pool: &Pool<'a>) -> u64 {
        self.ahead().ended = true;
        self.reading.wait(pool);
        match &self.reader().input {
            Input::Plain(_) => 0,
            Input::Decoded(stream) => stream.trailing_garbage().unwrap_or(0),
        }
    }

    /// Passes over some of what the decoder left. Returns whether there was anything.
    pub(super) fn skip(&self) -> io::Result<bool> {
        let mut reader = self.reader();
        let Input::Decoded(stream) = &mut reader.input else { return Ok(false) };
        let left = stream.get_mut();
        let skipped = left.fill_buf()?.len();
        left.consume(skipped);
        Ok(skipped > 0)
    }
}

/// Lets the thread that waits for a piece go on when reading it panics.
struct OnPanic<'s, 'a>(&'s Stream<'a>);

impl Drop for OnPanic<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.ahead().reading = false;
            self.0.arrived.notify_one();
        }
    }
}

/// Reads whole pieces.
struct Reader<'a> {
    input: Input<'a>,
    buffers: Buffers,
    /// The input was at its end, and is not read again: a pipe may get another writer.
    ended: bool,
}

impl Reader<'_> {
    /// The next piece: shorter than [`PIECE`] at the end only.
    fn piece(&mut self) -> io::Result<Piece> {
        if self.ended {
            return Ok(Piece::default());
        }
        let _decoding = meter::enter(UnpackStage::Decode);
        let piece = match &mut self.input {
            Input::Plain(reader) => self.buffers.read(reader)?,
            Input::Decoded(stream) => self.buffers.read(stream)?,
        };
        meter::count(UnpackStage::Decode, piece.len());
        self.ended = piece.len() < PIECE;
        Ok(piece)
    }
}
