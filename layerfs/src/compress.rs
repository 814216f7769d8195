//! Which compression a stream has, and one reader for all of them.
//!
//! What is recognised follows moby's `DetectCompression` (`github.com/moby/go-archive/compression`): gzip, bzip2, xz and
//! zstd by magic, anything else is plain. One case is decided the other way: data that starts with a valid tar header is
//! a plain tar, even where its first member's name begins with a magic (docker fails on a tar whose first file is called
//! `BZhfile`).
//!
//! | codec | several streams | after the last stream | checksum |
//! |---|---|---|---|
//! | gzip | members | ignored, with a warning (as `unpigz` and `gzip` do) | CRC-32, length, header CRC |
//! | bzip2 | streams | error (as Go's `compress/bzip2`) | CRC-32 of blocks and stream |
//! | xz | streams, padding | error | what the stream names; unknown ones are refused |
//! | zstd | frames, skippable frames | error | XXH64 where the frame has one |
//!
//! Every stream is decoded to its end: the last read returns zero only after the last checksum was found right. A stream
//! that is cut short gives [`io::ErrorKind::UnexpectedEof`], a damaged one [`io::ErrorKind::InvalidData`]; the message
//! names the codec and how many compressed bytes had been taken.

mod codec;
pub mod encode;
mod gzip;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead, Read};

use tarsplit::block::{BLOCK, looks_like_header};

use crate::meter;
use codec::{Codec, CodecStep, Fault};

/// How a stream is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all, or in no way that we know.
    None,
    /// RFC 1952.
    Gzip,
    /// bzip2, not its predecessor.
    Bzip2,
    /// The .xz format; the older .lzma is not recognised, as in moby.
    Xz,
    /// RFC 8878, also where a skippable frame comes first.
    Zstd,
}

/// As many first bytes as [`Compression::sniff`] wants to see, where the stream has that many.
pub const SNIFF_LEN: usize = BLOCK;

impl Compression {
    /// Tells the compression by the first bytes of a stream: [`SNIFF_LEN`] of them, or all there are.
    #[must_use]
    pub fn sniff(first_bytes: &[u8]) -> Self {
        match first_bytes {
            tar if looks_like_header(tar) => Self::None,
            [b'B', b'Z', b'h', ..] => Self::Bzip2,
            [0x1f, 0x8b, 8, ..] => Self::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [low, 0x2a, 0x4d, 0x18, _, _, _, _, ..] if low & 0xf0 == 0x50 => Self::Zstd,
            _ => Self::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "plain",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        })
    }
}

/// The payload of the [`io::Error`]s that a [`Decompressor`] makes itself; errors of the reader below pass unchanged.
#[derive(Debug, thiserror::Error)]
#[error("{compression}: {reason} (after {consumed} compressed bytes)")]
pub struct DecompressError {
    /// The codec that gave up.
    pub compression: Compression,
    /// What it says.
    pub reason: String,
    /// Compressed bytes it had taken, the damaged ones included or not.
    pub consumed: u64,
}

/// Reads the decompressed bytes of a stream.
///
/// # Examples
///
/// ```
/// use std::io::Read;
///
/// use layerfs::compress::{Compression, Decompressor};
///
/// # let packed = zstd::encode_all(&b"a layer"[..], 3)?;
/// let mut decoder = Decompressor::new(packed.as_slice())?;
/// let mut text = String::new();
/// decoder.read_to_string(&mut text)?;
/// assert_eq!((decoder.compression(), text.as_str()), (Compression::Zstd, "a layer"));
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// Decodes from the buffer of `R` into the caller's buffer with no copy between, so both should be large: a slice in
/// memory or a `BufReader` of 64 KiB and more, and reads of 64 KiB and more.
pub struct Decompressor<R> {
    /// What was taken to tell the compression, then the rest.
    input: io::Chain<io::Cursor<Vec<u8>>, R>,
    compression: Compression,
    engine: Engine,
    consumed: u64,
    state: DecoderState,
}

enum Engine {
    Plain,
    Gzip(gzip::Gzip),
    Bzip2(codec::Bzip2),
    Xz(codec::Xz),
    Zstd(codec::Zstd),
}

#[derive(Clone, Copy, PartialEq)]
enum DecoderState {
    Running,
    Ended,
    Failed,
}

impl<R: BufRead> Decompressor<R> {
    /// Tells the compression of `reader` and decodes it.
    ///
    /// # Errors
    /// Those of `reader`, and of the allocation of a codec.
    pub fn new(mut reader: R) -> io::Result<Self> {
        let mut head = Vec::new();
        let buffered = fill(&mut reader)?;
        let compression = if buffered.len() >= SNIFF_LEN {
            Compression::sniff(buffered)
        } else {
            reader.by_ref().take(SNIFF_LEN as u64).read_to_end(&mut head)?;
            Compression::sniff(&head)
        };
        Self::over(head, reader, compression)
    }

    /// Decodes `reader` with a compression that the caller knows.
    ///
    /// # Errors
    /// The allocation of a codec.
    #[cfg(test)]
    pub(crate) fn with_compression(reader: R, compression: Compression) -> io::Result<Self> {
        Self::over(Vec::new(), reader, compression)
    }

    fn over(head: Vec<u8>, reader: R, compression: Compression) -> io::Result<Self> {
        let engine = match compression {
            Compression::None => Engine::Plain,
            Compression::Gzip => Engine::Gzip(gzip::Gzip::new()),
            Compression::Bzip2 => Engine::Bzip2(codec::Bzip2::new()),
            Compression::Xz => Engine::Xz(codec::Xz::new()?),
            Compression::Zstd => Engine::Zstd(codec::Zstd::new()?),
        };
        let input = io::Cursor::new(head).chain(reader);
        Ok(Self { input, compression, engine, consumed: 0, state: DecoderState::Running })
    }
}

impl<R> Decompressor<R> {
    /// The compression found, or given.
    #[must_use]
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// How many bytes of the compressed stream are decoded.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// After the last byte was read: how many bytes followed the last gzip member and were ignored.
    ///
    /// Worth a warning to the user. docker accepts them too where `unpigz` is installed.
    #[must_use]
    pub(crate) fn trailing_garbage(&self) -> Option<u64> {
        match &self.engine {
            Engine::Gzip(gzip) => gzip.trailing_garbage(),
            _ => None,
        }
    }

    /// The reader below. It does not yield again the bytes that were taken to tell the compression.
    pub(crate) fn get_mut(&mut self) -> &mut R {
        self.input.get_mut().1
    }

    fn failure(&mut self, fault: Fault) -> io::Error {
        self.state = DecoderState::Failed;
        let (kind, reason) = match fault {
            Fault::Truncated => (io::ErrorKind::UnexpectedEof, "unexpected end of compressed data".into()),
            Fault::Damaged(reason) => (io::ErrorKind::InvalidData, reason),
        };
        io::Error::new(kind, DecompressError { compression: self.compression, reason, consumed: self.consumed })
    }
}

impl<R: BufRead> Read for Decompressor<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        if output.is_empty() || self.state == DecoderState::Ended {
            return Ok(0);
        }
        if self.state == DecoderState::Failed {
            return Err(self.failure(Fault::Damaged("read again after an error".into())));
        }
        let codec: &mut dyn Codec = match &mut self.engine {
            Engine::Plain => {
                let read = self.input.read(output)?;
                self.consumed += read as u64;
                return Ok(read);
            }
            Engine::Gzip(codec) => codec,
            Engine::Bzip2(codec) => codec,
            Engine::Xz(codec) => codec,
            Engine::Zstd(codec) => codec,
        };
        loop {
            let input = fill(&mut self.input)?;
            let at_end = input.is_empty();
            let CodecStep { read, written, result } = codec.step(input, output);
            self.input.consume(read);
            self.consumed += read as u64;
            meter::copied(written);
            match result {
                Err(fault) => return Err(self.failure(fault)),
                Ok(codec::Progress::Ended) => {
                    self.state = DecoderState::Ended;
                    return Ok(written);
                }
                Ok(_) if written > 0 => return Ok(written),
                Ok(codec::Progress::Stalled) if at_end => return Err(self.failure(Fault::Truncated)),
                Ok(codec::Progress::Stalled) => return Err(self.failure(Fault::Damaged("no progress".into()))),
                Ok(codec::Progress::Running) => {}
            }
        }
    }
}

/// Calls `fill_buf`, and calls it again where a signal has interrupted it.
fn fill<R: BufRead>(reader: &mut R) -> io::Result<&[u8]> {
    loop {
        match reader.fill_buf() {
            Ok(_) => break,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    // This returns the buffer that the loop saw. The loop cannot return it: that borrow would forbid the next turn.
    reader.fill_buf()
}

impl<R> fmt::Debug for Decompressor<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Decompressor");
        debug.field("compression", &self.compression).field("consumed", &self.consumed).finish_non_exhaustive()
    }
}
