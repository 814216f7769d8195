//! Where a layer's bytes come from: memory, or something that is read, and perhaps decoded, ahead.

pub(crate) mod buffers;
mod stream;
mod tap;

use std::fmt;
use std::io::{self, BufRead, Read};
use std::sync::Arc;

use crate::bytes::Bytes;
use crate::chain::Chain;
use crate::compress::Decompressor;
use crate::digest::Digest;
use crate::pool::Pool;
use stream::{Input, Stream};
use tap::Tap;

/// Bytes framed, written and hashed at a time: a piece stays in the second-level cache from one of these to the next.
const PIECE: usize = 256 << 10;

/// A compressed or plain stream.
pub(crate) type LayerStream<'a> = Decompressor<Box<dyn BufRead + Send + 'a>>;

/// The tar of a layer.
///
/// A reader is read from the front, in large pieces, and by other threads if some are to spare.
pub enum Source<'a> {
    /// Uncompressed, in memory.
    Slice(&'a [u8]),
    /// Uncompressed.
    Plain(Box<dyn Read + Send + 'a>),
    /// Compressed or not. The digest of all bytes of the reader, as they are before decompression, is made as well.
    Blob(Box<dyn Read + Send + 'a>),
    /// Compressed or not, in a reader that already knows which.
    Stream(Box<LayerStream<'a>>),
}

impl fmt::Debug for Source<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Slice(bytes) => f.debug_tuple("Slice").field(&bytes.len()).finish(),
            Self::Plain(_) => f.write_str("Plain"),
            Self::Blob(_) => f.write_str("Blob"),
            Self::Stream(stream) => f.debug_tuple("Stream").field(stream).finish(),
        }
    }
}

/// A source cut into pieces.
pub(crate) enum Pieces<'a> {
    Slice(&'a [u8]),
    /// A stream, and the chain that makes the digest of a blob, if the source is one.
    Stream(Arc<Stream<'a>>, Option<Arc<Chain<'a>>>),
}

/// What comes next of a source.
pub(crate) enum Next<'a> {
    Piece(Bytes<'a>),
    /// Nothing yet: ask again.
    Later,
    End,
}

impl<'a> Pieces<'a> {
    /// Prepares to read `source`.
    ///
    /// # Errors
    /// Those of the first read of a blob.
    pub(crate) fn new(source: Source<'a>) -> io::Result<Self> {
        let (input, blob) = match source {
            Source::Slice(bytes) => return Ok(Self::Slice(bytes)),
            Source::Plain(inner) => (Input::Plain(inner), None),
            Source::Stream(inner) => (Input::Decoded(inner), None),
            Source::Blob(inner) => {
                let chain = Arc::<Chain<'a>>::default();
                let tap = Tap::new(inner, Arc::clone(&chain));
                let decoder = Decompressor::new(Box::new(tap) as Box<dyn BufRead + Send>)?;
                (Input::Decoded(Box::new(decoder)), Some(chain))
            }
        };
        Ok(Self::Stream(Arc::new(Stream::new(input)), blob))
    }

    /// What comes next.
    pub(crate) fn next(&mut self, pool: &Pool<'a>) -> io::Result<Next<'a>> {
        match self {
            Self::Slice(rest) => {
                let (now, later) = rest.split_at(rest.len().min(PIECE));
                *rest = later;
                Ok(if now.is_empty() { Next::End } else { Next::Piece(Bytes::Borrowed(now)) })
            }
            Self::Stream(stream, blob) => {
                let next = stream.next(pool)?;
                stream.read_ahead(pool);
                if let Some(chain) = blob {
                    chain.offer(pool);
                }
                Ok(match next {
                    None => Next::Later,
                    Some(bytes) if bytes.is_empty() => Next::End,
                    Some(bytes) => Next::Piece(Bytes::whole(bytes)),
                })
            }
        }
    }

    /// Stops reading ahead, and waits until no thread reads. Returns how many bytes behind the compressed stream were
    /// ignored.
    pub(crate) fn close(&mut self, pool: &Pool<'a>) -> u64 {
        match self {
            Self::Slice(_) => 0,
            Self::Stream(stream, _) => stream.close(pool),
        }
    }

    /// The digest of all of a blob; `None` for other sources. To be called after [`Pieces::close`].
    ///
    /// # Errors
    /// Those of reading what the decoder left.
    pub(crate) fn blob_digest(&mut self) -> io::Result<Option<Digest>> {
        let Self::Stream(stream, Some(chain)) = self else { return Ok(None) };
        while stream.skip()? {}
        Ok(Some(chain.finish()))
    }
}
