//! A stream that is hashed while it is read.

use std::io::{self, BufRead, Read};
use std::sync::{Arc, OnceLock};

use layerfs::meter::{self, Stage};
use layerfs::{Digest, Hasher};

/// Passes bytes on; at their end, tells their digest and length.
pub(crate) struct MeasuredReader<R> {
    inner: R,
    measured: Arc<OnceLock<(Digest, u64)>>,
    hasher: Hasher,
    bytes: u64,
}

impl<R: BufRead> MeasuredReader<R> {
    pub(crate) fn new(inner: R, measured: Arc<OnceLock<(Digest, u64)>>) -> Self {
        Self { inner, measured, hasher: Hasher::default(), bytes: 0 }
    }
}

impl<R: BufRead> BufRead for MeasuredReader<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let buffer = self.inner.fill_buf()?;
        if buffer.is_empty() {
            // The end may be looked at again.
            self.measured.get_or_init(|| (self.hasher.clone().finish(), self.bytes));
        }
        Ok(buffer)
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

impl<R: BufRead> Read for MeasuredReader<R> {
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
    fn what_was_read_is_measured_at_its_end() {
        let measured = Arc::default();
        let mut reader = MeasuredReader::new(&b"abcd"[..], Arc::clone(&measured));
        reader.read_exact(&mut [0; 4]).unwrap();
        assert_eq!(measured.get(), None);
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        assert_eq!(measured.get(), Some(&(layerfs::Digest::of(b"abcd"), 4)));
    }
}
