//! A blob that is hashed while it is read, and checked against its descriptor.

use std::io::{self, BufRead, Read};
use std::sync::{Arc, OnceLock};

use layerfs::meter::{self, Stage};
use layerfs::{Digest, Hasher};

use crate::archive::Descriptor;

/// What to do with digest and length of a blob.
pub(crate) enum Check {
    /// They must be the descriptor's.
    Against(Descriptor),
    /// Tell them.
    Measure(Arc<OnceLock<(Digest, u64)>>),
}

/// Passes bytes on; at their end, digest and length are checked.
pub(crate) struct CheckedReader<R> {
    inner: R,
    check: Check,
    hasher: Hasher,
    bytes: u64,
}

impl<R: BufRead> CheckedReader<R> {
    pub(crate) fn new(inner: R, check: Check) -> Self {
        Self { inner, check, hasher: Hasher::default(), bytes: 0 }
    }

    fn check(&self) -> io::Result<()> {
        let found = self.hasher.clone().finish();
        let expected = match &self.check {
            Check::Against(descriptor) => descriptor,
            Check::Measure(slot) => {
                // Told once; the end may be looked at again.
                let _ = slot.set((found, self.bytes));
                return Ok(());
            }
        };
        if (found, self.bytes) == (expected.digest, expected.size) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "the blob is not the one in the manifest: {} bytes with digest {found}, expected {} bytes with digest {}",
                self.bytes, expected.size, expected.digest
            ),
        ))
    }
}

impl<R: BufRead> BufRead for CheckedReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.inner.fill_buf()?.is_empty() {
            self.check()?;
        }
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        // Nothing is read here: the bytes stand in the buffer since `fill_buf`.
        if let Ok(buffer) = self.inner.fill_buf() {
            let _hashing = meter::enter(Stage::Hash);
            meter::count(Stage::Hash, amount);
            self.hasher.update(&buffer[..amount]);
        }
        self.bytes += amount as u64;
        self.inner.consume(amount);
    }
}

impl<R: BufRead> Read for CheckedReader<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let buffer = self.fill_buf()?;
        let read = buffer.len().min(output.len());
        output[..read].copy_from_slice(&buffer[..read]);
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_must_be_the_descriptor_s() {
        let read = |bytes: &[u8], digest, size| {
            let mut out = Vec::new();
            CheckedReader::new(bytes, Check::Against(Descriptor { digest, size, urls: Vec::new() }))
                .read_to_end(&mut out)
                .map(|_| out)
        };
        let digest = layerfs::Digest::of(b"abc");
        assert_eq!(read(b"abc", digest, 3).unwrap(), b"abc");
        assert!(read(b"abd", digest, 3).is_err());
        assert!(read(b"abc", digest, 4).is_err());
    }
}
