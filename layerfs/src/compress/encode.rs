//! Compression in blocks that do not need each other's result, so that several threads can make one stream.
//!
//! The bytes depend on the input, the codec and the level alone, never on how many threads there were: blocks have a fixed
//! length. A gzip stream is a member for each block (RFC 1952, 2.2: members follow each other), a zstd stream a frame for each
//! block (RFC 8878, 3).

use std::fmt;
use std::io;
use std::str::FromStr;

use libdeflater::{CompressionLvl, Compressor};

/// How to compress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    None,
    /// RFC 1952, at a level from 1 to 9.
    Gzip(u32),
    /// RFC 8878, at a level from 1 to 19, or, faster and larger, from -1 to -50.
    Zstd(i32),
}

impl Encoding {
    /// gzip at the level that is used where none is given.
    pub const GZIP: Self = Self::Gzip(DEFAULT_GZIP);

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
#[error("{found:?} is not none, gzip, gzip=1 to gzip=9, zstd, zstd=1 to zstd=19, or zstd=-1 to zstd=-50")]
pub struct InvalidEncoding {
    found: String,
}

/// The level of gzip where none is given. With the encoder used here it gives as many bytes as level 6 of zlib, within a
/// hundredth (`BENCHMARKS.md`, "Registries").
const DEFAULT_GZIP: u32 = 3;

impl FromStr for Encoding {
    type Err = InvalidEncoding;

    fn from_str(text: &str) -> Result<Self, InvalidEncoding> {
        let invalid = || InvalidEncoding { found: text.chars().take(100).collect() };
        let (codec, level) = match text.split_once('=') {
            Some((codec, level)) => (codec, Some(level.parse::<i8>().map_err(|_| invalid())?)),
            None => (text, None),
        };
        match (codec, level) {
            ("none", None) => Ok(Self::None),
            ("gzip", None) => Ok(Self::GZIP),
            ("gzip", Some(level @ 1..=9)) => Ok(Self::Gzip(level.unsigned_abs().into())),
            ("zstd", None) => Ok(Self::Zstd(3)),
            ("zstd", Some(level @ (1..=19 | -50..=-1))) => Ok(Self::Zstd(level.into())),
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
            Self::Gzip(_) => 1 << 20,
            // Each block is compressed on its own, and small blocks compress badly.
            Self::Zstd(_) => 4 << 20,
        }
    }

    /// Compresses one block. A stream without bytes has one empty block, but none without compression.
    ///
    /// # Errors
    /// Those of the codec.
    pub fn block(self, block: &[u8]) -> io::Result<Vec<u8>> {
        match self {
            Self::None => Ok(block.to_vec()),
            Self::Gzip(level) => member(level, block),
            Self::Zstd(level) => zstd::bulk::Compressor::new(level)?.compress(block),
        }
    }
}

fn member(level: u32, block: &[u8]) -> io::Result<Vec<u8>> {
    let level = i32::try_from(level).ok().and_then(|level| CompressionLvl::new(level).ok());
    let mut encoder = Compressor::new(level.ok_or(io::ErrorKind::InvalidInput)?);
    let mut out = vec![0; encoder.gzip_compress_bound(block.len())];
    let written = encoder.gzip_compress(block, &mut out).map_err(io::Error::other)?;
    out.truncate(written);
    // A block waits for its turn to be written, without the room that was not needed.
    out.shrink_to_fit();
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn encoded(encoding: Encoding, data: &[u8], block: usize) -> Vec<u8> {
        if data.is_empty() {
            return encoding.block(&[]).unwrap();
        }
        data.chunks(block).flat_map(|block| encoding.block(block).unwrap()).collect()
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
                flate2::read::MultiGzDecoder::new(gzip.as_slice()).read_to_end(&mut plain).unwrap();
                assert!(plain == data, "gzip, {length} bytes in blocks of {block}");
                for level in [3, -5] {
                    let plain = zstd::decode_all(encoded(Encoding::Zstd(level), data, block).as_slice()).unwrap();
                    assert!(plain == data, "zstd {level}, {length} bytes in blocks of {block}");
                }
            }
        }
    }

    #[test]
    fn levels_are_read() {
        for (text, encoding) in [
            ("none", Encoding::None),
            ("gzip", Encoding::Gzip(3)),
            ("gzip=9", Encoding::Gzip(9)),
            ("zstd", Encoding::Zstd(3)),
            ("zstd=19", Encoding::Zstd(19)),
            ("zstd=-5", Encoding::Zstd(-5)),
        ] {
            assert_eq!(text.parse(), Ok(encoding));
            assert!(encoding.to_string().starts_with(text));
        }
        for bad in [
            "", "gzip=0", "gzip=10", "gzip=-1", "zstd=0", "zstd=20", "zstd=-51", "zstd=256", "none=1", "xz", "gzip=",
            "GZIP",
        ] {
            assert!(bad.parse::<Encoding>().is_err(), "{bad}");
        }
    }
}
