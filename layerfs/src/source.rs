//! Where a layer's bytes come from: a slice of a mapped archive, or a stream that is read, and perhaps decoded, ahead.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Receiver, bounded};

use crate::bytes::Bytes;
use crate::compress::Decoder;
use crate::pool::{Outstanding, Pool};

/// Bytes hashed, framed and handed out at a time: a piece stays in the second-level cache from one to the next.
const PIECE: usize = 256 << 10;

/// Pieces that a reader may be ahead.
const AHEAD: usize = 8;

/// A compressed or plain stream.
pub type LayerStream<'a> = Decoder<Box<dyn BufRead + Send + 'a>>;

/// The tar of a layer.
#[derive(Debug)]
pub enum Source<'a> {
    /// All of it, uncompressed, in memory or mapped.
    Slice(&'a [u8]),
    /// Read from the front; decoded on another thread where one is idle.
    Stream(Box<LayerStream<'a>>),
}

/// A source cut into pieces.
pub(crate) enum Pieces<'a> {
    Slice(&'a [u8]),
    /// Read on this thread.
    Here(Reader<'a>),
    /// Read on another one.
    Ahead(Receiver<io::Result<Arc<Vec<u8>>>>),
}

impl<'a> Pieces<'a> {
    /// `ignored` will hold the number of bytes behind the compressed stream.
    pub(crate) fn new(source: Source<'a>, ignored: &Arc<AtomicU64>) -> Self {
        match source {
            Source::Slice(bytes) => Self::Slice(bytes),
            Source::Stream(inner) => Self::Here(Reader { inner, spare: Vec::new(), ignored: Arc::clone(ignored) }),
        }
    }

    /// The next piece; `None` at the end.
    pub(crate) fn next(&mut self, pool: &Pool<'a>, reading: &Arc<Outstanding>) -> io::Result<Option<Bytes<'a>>> {
        match self {
            Self::Slice(rest) => {
                let (now, later) = rest.split_at(rest.len().min(PIECE));
                *rest = later;
                Ok((!now.is_empty()).then_some(Bytes::Borrowed(now)))
            }
            Self::Here(reader) => {
                let piece = reader.piece()?;
                if piece.len() == PIECE {
                    self.move_ahead(pool, reading);
                }
                Ok((!piece.is_empty()).then(|| Bytes::whole(piece)))
            }
            Self::Ahead(pieces) => {
                while pieces.is_empty() && pool.help() {}
                pieces.recv().ok().transpose().map(|piece| piece.map(Bytes::whole))
            }
        }
    }

    /// Lets an idle thread do the reading from here on.
    fn move_ahead(&mut self, pool: &Pool<'a>, reading: &Arc<Outstanding>) {
        if !pool.has_idle() {
            return;
        }
        let (sender, receiver) = bounded(AHEAD);
        let Self::Here(mut reader) = std::mem::replace(self, Self::Ahead(receiver)) else { return };
        let counted = reading.add();
        pool.submit_long(Box::new(move || {
            let _counted = counted;
            loop {
                let piece = reader.piece();
                let last = piece.as_ref().map_or(true, |piece| piece.len() < PIECE);
                let empty = piece.as_ref().is_ok_and(|piece| piece.is_empty());
                if empty || sender.send(piece).is_err() || last {
                    return;
                }
            }
        }));
    }
}

/// Reads whole pieces into buffers that are used again once nobody holds them.
pub(crate) struct Reader<'a> {
    inner: Box<LayerStream<'a>>,
    spare: Vec<Arc<Vec<u8>>>,
    ignored: Arc<AtomicU64>,
}

impl Reader<'_> {
    /// The next piece: shorter than [`PIECE`] at the end only.
    fn piece(&mut self) -> io::Result<Arc<Vec<u8>>> {
        let free = self.spare.iter().position(|buffer| Arc::strong_count(buffer) == 1);
        let mut shared = free.map_or_else(Arc::default, |at| self.spare.swap_remove(at));
        let Some(buffer) = Arc::get_mut(&mut shared) else { return Ok(shared) };
        buffer.resize(PIECE, 0);
        let mut filled = 0;
        while filled < PIECE {
            match self.inner.read(&mut buffer[filled..]) {
                Ok(0) => {
                    self.ignored.store(self.inner.trailing_garbage().unwrap_or(0), Ordering::Relaxed);
                    break;
                }
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        if self.spare.len() < 2 * AHEAD {
            self.spare.push(Arc::clone(&shared));
        }
        Ok(shared)
    }
}
