//! Compression in blocks that do not need each other's result, so that several threads can make one stream.
//!
//! The bytes depend on the input, the codec and the level alone, never on how many threads there were: blocks have a fixed
//! length. A gzip stream is one member, as pigz makes it: each block ends on a byte, and has the 32 KiB before it as
//! its dictionary. A zstd stream is a frame for each block (RFC 8878, 3: frames follow each other).

use std::fmt;
use std::io;
use std::str::FromStr;

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    None,
    /// RFC 1952, at a level from 1 to 9.
    Gzip(u32),
    /// RFC 8878, at a level from 1 to 19.
    Zstd(i32),
}

impl Encoding {
    /// What a decoder finds in the bytes.
    #[must_use]
    pub fn compression(self) -> super::Compression {
        match self {
            Self::None => super::Compression::None,
            Self::Gzip(_) => super::Compression::Gzip,
            Self::Zstd(_) => super::Compression::Zstd,
        }
    }
}

/// A text that names no [`Encoding`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not none, gzip, gzip=1 to gzip=9, zstd, or zstd=1 to zstd=19")]
pub struct InvalidEncoding {
    found: String,
}

/// How far deflate looks back, in bytes.
const WINDOW: usize = 32 << 10;

/// Identification, deflate, no flags, no time, no hints, no system: as Go's `compress/gzip` writes it.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The last block of a deflate stream: empty, with the fixed code.
const DEFLATE_END: [u8; 2] = [3, 0];

impl FromStr for Encoding {
    type Err = InvalidEncoding;

    fn from_str(text: &str) -> Result<Self, InvalidEncoding> {
        let invalid = || InvalidEncoding { found: text.chars().take(100).collect() };
        let (codec, level) = match text.split_once('=') {
            Some((codec, level)) => (codec, Some(level.parse::<u8>().map_err(|_| invalid())?)),
            None => (text, None),
        };
        match (codec, level) {
            ("none", None) => Ok(Self::None),
            ("gzip", None) => Ok(Self::Gzip(6)),
            ("gzip", Some(level @ 1..=9)) => Ok(Self::Gzip(level.into())),
            ("zstd", None) => Ok(Self::Zstd(3)),
            ("zstd", Some(level @ 1..=19)) => Ok(Self::Zstd(level.into())),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Gzip(level) => write!(f, "gzip={level}"),
            Self::Zstd(level) => write!(f, "zstd={level}"),
        }
    }
}

impl Encoding {
    /// Bytes of a block, all but the last one, which may be shorter.
    #[must_use]
    pub fn block_len(self) -> usize {
        match self {
            Self::None => 256 << 10,
            Self::Gzip(_) => 512 << 10,
            // Each block is compressed on its own, and small blocks compress badly.
            Self::Zstd(_) => 4 << 20,
        }
    }

    /// What the stream begins with.
    #[must_use]
    pub fn header(self) -> &'static [u8] {
        match self {
            Self::Gzip(_) => &GZIP_HEADER,
            Self::None | Self::Zstd(_) => &[],
        }
    }

    /// What the stream ends with, given the [`Sum`] of everything in it.
    #[must_use]
    pub fn trailer(self, sum: &Sum) -> Vec<u8> {
        match self {
            Self::Gzip(_) => {
                // RFC 1952: the length modulo 2^32.
                let length = sum.0.amount().to_le_bytes();
                [&DEFLATE_END[..], &sum.0.sum().to_le_bytes(), &length].concat()
            }
            Self::None | Self::Zstd(_) => Vec::new(),
        }
    }

    /// Compresses one block; `before` is the block before it, if there is one. A stream of no bytes has no block with gzip, and
    /// one empty block with zstd.
    ///
    /// # Errors
    /// Those of the codec.
    pub fn block(self, before: Option<&[u8]>, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(block.to_vec()),
            Self::Gzip(level) => deflate(level, before.unwrap_or_default(), block),
            Self::Zstd(level) => zstd::bulk::Compressor::new(level)?.compress(block),
        }
    }

    /// Whether a stream without bytes needs a block all the same.
    #[must_use]
    pub fn needs_a_block(self) -> bool {
        matches!(self, Self::Zstd(_))
    }
}

fn deflate(level: u32, before: &[u8], block: &[u8]) -> io::Result<Vec<u8>> {
    let mut deflate = Compress::new(Compression::new(level), false);
    if !before.is_empty() {
        deflate.set_dictionary(&before[before.len().saturating_sub(WINDOW)..]).map_err(io::Error::other)?;
    }
    let mut out = Vec::with_capacity(block.len() / 2 + 64);
    loop {
        let taken = usize::try_from(deflate.total_in()).map_err(io::Error::other)?;
        // The block ends on a whole byte, so that the next block can follow it.
        let status = deflate.compress_vec(&block[taken..], &mut out, FlushCompress::Sync).map_err(io::Error::other)?;
        // If the output has room left, the encoder has written everything.
        if status != Status::BufError && out.len() < out.capacity() {
            return Ok(out);
        }
        out.reserve(block.len() / 4 + 64);
    }
}

/// Checksum and length of what a stream holds.
#[derive(Debug, Default)]
pub struct Sum(Crc);

impl Sum {
    /// The sum of one block.
    #[must_use]
    pub fn of_block(block: &[u8]) -> Self {
        let mut sum = Self::default();
        sum.0.update(block);
        sum
    }

    /// Adds the sum of what comes next in the stream.
    pub fn append(&mut self, next: &Self) {
        self.0.combine(&next.0);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn encoded(encoding: Encoding, data: &[u8], block: usize) -> Vec<u8> {
        let mut out = encoding.header().to_vec();
        let (mut before, mut sum) = (None, Sum::default());
        for block in data.chunks(block) {
            out.extend(encoding.block(before, block).unwrap());
            sum.append(&Sum::of_block(block));
            before = Some(block);
        }
        if data.is_empty() && encoding.needs_a_block() {
            out.extend(encoding.block(None, &[]).unwrap());
        }
        out.extend(encoding.trailer(&sum));
        out
    }

    /// The decoders are those of `flate2` and `zstd`; the tests of whole archives ask Go's and gzip's.
    #[test]
    fn blocks_make_a_stream() {
        let mut data: Vec<u8> =
            (0..300_000_u32).flat_map(|at| (at / 7).wrapping_mul(2_654_435_761).to_le_bytes()).collect();
        data.extend(vec![0; 200_000]);
        for length in [0, 1, 511, 70_000, data.len()] {
            let data = &data[..length];
            for block in [1_000, 65_536, 1 << 22] {
                let mut plain = Vec::new();
                let gzip = encoded(Encoding::Gzip(6), data, block);
                flate2::read::GzDecoder::new(gzip.as_slice()).read_to_end(&mut plain).unwrap();
                assert!(plain == data, "gzip, {length} bytes in blocks of {block}");
                let plain = zstd::decode_all(encoded(Encoding::Zstd(3), data, block).as_slice()).unwrap();
                assert!(plain == data, "zstd, {length} bytes in blocks of {block}");
            }
        }
    }

    #[test]
    fn levels_are_read() {
        for (text, encoding) in [
            ("none", Encoding::None),
            ("gzip", Encoding::Gzip(6)),
            ("gzip=9", Encoding::Gzip(9)),
            ("zstd", Encoding::Zstd(3)),
            ("zstd=19", Encoding::Zstd(19)),
        ] {
            assert_eq!(text.parse(), Ok(encoding));
            assert!(encoding.to_string().starts_with(text));
        }
        for bad in ["", "gzip=0", "gzip=10", "zstd=20", "zstd=-1", "none=1", "xz", "gzip=", "GZIP"] {
            assert!(bad.parse::<Encoding>().is_err(), "{bad}");
        }
    }
}
