//! SHA-256 digests in Docker's text form, and the two ids that layers have.

use std::fmt;
use std::str::FromStr;

mod blocks;
mod hasher;

pub use hasher::Hasher;

use crate::meter::{self, UnpackStage};

/// How many streams are worth hashing together on this processor.
pub(crate) fn lanes() -> usize {
    if blocks::together_pays() { blocks::LANES } else { 1 }
}

/// A SHA-256 digest, written `sha256:` and 64 lower-case hex digits.
///
/// # Examples
///
/// ```
/// use layerfs::Digest;
///
/// let digest = Digest::hash(b"");
/// assert_eq!(digest.to_string(), "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/// assert_eq!(digest.to_string().parse(), Ok(digest));
/// assert_eq!(digest.short(), "e3b0c44298fc");
/// assert!("e3b0c44298fc".parse::<Digest>().is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// A text that is not `sha256:` and 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is not a digest of the form sha256:<64 lower-case hex digits>")]
pub struct InvalidDigest {
    found: String,
}

const ALGORITHM: &str = "sha256:";
const HEX: &[u8; 16] = b"0123456789abcdef";

/// The value of each byte as a hex digit in lower case; [`NO_DIGIT`] for all others.
const VALUES: [u8; 256] = {
    let mut values = [NO_DIGIT; 256];
    let mut at = 0;
    while at < HEX.len() {
        values[HEX[at] as usize] = at as u8;
        at += 1;
    }
    values
};
const NO_DIGIT: u8 = 0xff;

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn hash(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// The digest that these bytes are.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes themselves.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The 64 hex digits, without the algorithm: how Docker names files and directories.
    #[must_use]
    pub fn hex(&self) -> String {
        self.with_hex(str::to_owned)
    }

    /// Hands out the hex digits without an allocation.
    fn with_hex<T>(&self, use_them: impl FnOnce(&str) -> T) -> T {
        let mut digits = [[0; 2]; 32];
        for (pair, byte) in digits.iter_mut().zip(self.0) {
            *pair = [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]];
        }
        use_them(std::str::from_utf8(digits.as_flattened()).expect("hex digits are text"))
    }

    /// The first twelve hex digits, as Docker abbreviates ids.
    #[must_use]
    pub fn short(&self) -> String {
        let mut hex = self.hex();
        hex.truncate(12);
        hex
    }

    /// Reads 64 lower-case hex digits.
    ///
    /// # Errors
    /// [`InvalidDigest`] for anything else.
    pub fn from_hex(hex: &str) -> Result<Self, InvalidDigest> {
        let invalid = || InvalidDigest { found: hex.chars().take(100).collect() };
        // Digits are looked up in a table, because a store of 5,000 images has more than 100,000 digests.
        let (pairs, rest) = hex.as_bytes().as_chunks::<2>();
        let mut bytes = [0; 32];
        if pairs.len() != bytes.len() || !rest.is_empty() {
            return Err(invalid());
        }
        for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
            let (high, low) = (VALUES[usize::from(high)], VALUES[usize::from(low)]);
            if high == NO_DIGIT || low == NO_DIGIT {
                return Err(invalid());
            }
            *byte = high << 4 | low;
        }
        Ok(Self(bytes))
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let hex = text.strip_prefix(ALGORITHM);
        hex.and_then(|hex| Self::from_hex(hex).ok())
            .ok_or_else(|| InvalidDigest { found: text.chars().take(100).collect() })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHM)?;
        self.with_hex(|hex| f.write_str(hex))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <std::borrow::Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Hashes what is read through it.
#[derive(Debug)]
pub struct HashingReader<R> {
    inner: R,
    hasher: Hasher,
    bytes: u64,
}

impl<R: std::io::Read> HashingReader<R> {
    /// Hashes what is read from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, hasher: Hasher::default(), bytes: 0 }
    }

    /// The digest and the number of the bytes read so far.
    #[must_use]
    pub fn finish(self) -> (Digest, u64) {
        (self.hasher.finish(), self.bytes)
    }
}

impl<R: std::io::Read> std::io::Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let _hashing = meter::enter(UnpackStage::Hash);
        meter::count(UnpackStage::Hash, read);
        self.hasher.update(&buffer[..read]);
        self.bytes += read as u64;
        Ok(read)
    }
}

macro_rules! layer_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Digest);

        impl FromStr for $name {
            type Err = InvalidDigest;
            fn from_str(text: &str) -> Result<Self, InvalidDigest> {
                text.parse().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

layer_id!(
    /// The digest of a layer's uncompressed tar, all bytes of it.
    DiffId
);
layer_id!(
    /// The digest of a layer together with all layers below it (OCI image-spec `config.md`, "Layer ChainID").
    ChainId
);

impl ChainId {
    /// The id of `diff_id` on top of `parent`: the digest of both texts with a space between.
    #[must_use]
    pub fn next(parent: Option<Self>, diff_id: DiffId) -> Self {
        match parent {
            None => Self(diff_id.0),
            Some(parent) => {
                // This makes no allocation, because a listing computes a chain id for each layer of each image.
                let mut texts = [0; 2 * (ALGORITHM.len() + 64) + 1];
                let (below, rest) = texts.split_at_mut(ALGORITHM.len() + 64);
                rest[0] = b' ';
                for (text, id) in [(below, parent.0), (&mut rest[1..], diff_id.0)] {
                    let (algorithm, digits) = text.split_at_mut(ALGORITHM.len());
                    algorithm.copy_from_slice(ALGORITHM.as_bytes());
                    id.with_hex(|hex| digits.copy_from_slice(hex.as_bytes()));
                }
                Self(Digest::hash(&texts))
            }
        }
    }

    /// The chain ids of a whole image, base first.
    #[must_use]
    pub fn chain(diff_ids: &[DiffId]) -> Vec<Self> {
        let mut chain = Vec::with_capacity(diff_ids.len());
        for diff_id in diff_ids {
            chain.push(Self::next(chain.last().copied(), *diff_id));
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_hashed_and_counted() {
        let mut reader = HashingReader::new(&b"abc"[..]);
        let mut text = String::new();
        std::io::Read::read_to_string(&mut reader, &mut text).unwrap();
        let (digest, bytes) = reader.finish();
        // FIPS 180-4's example.
        assert_eq!(digest.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!((text.as_str(), bytes), ("abc", 3));
    }

    #[test]
    fn digests_are_parsed_strictly() {
        let text = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
        let digest: Digest = text.parse().unwrap();
        assert_eq!(digest, Digest::hash(&[0; 1024]));
        assert_eq!(digest.to_string(), text);
        assert_eq!(digest.short(), "5f70bf18a086");
        for bad in ["", "sha256:", &text[7..], &text[..70], &text.to_uppercase(), "md5:00", "sha256:../../x"] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }

    /// The rule is that of OCI image-spec `config.md`, "Layer ChainID".
    #[test]
    fn a_chain_id_hashes_the_texts_of_parent_and_diff_id() {
        let diff_id = DiffId(Digest::hash(&[0; 1024]));
        let chain = ChainId::chain(&[diff_id, diff_id]);
        assert_eq!(chain[0].0, diff_id.0);
        assert_eq!(chain[1].0, Digest::hash(format!("{diff_id} {diff_id}").as_bytes()));
    }
}
