//! A reader that also hashes all that is read through it.

use std::io::{self, BufRead, Read};
use std::sync::Arc;

use super::buffers::Buffers;
use crate::bytes::Bytes;
use crate::chain::Chain;

/// Reads in large pieces, and gives each to a chain to be hashed.
pub(super) struct Tap<'a, R> {
    inner: R,
    buffers: Buffers,
    current: Arc<Vec<u8>>,
    /// How many bytes of `current` are consumed.
    at: usize,
    chain: Arc<Chain<'a>>,
}

impl<'a, R: Read> Tap<'a, R> {
    pub(super) fn new(inner: R, chain: Arc<Chain<'a>>) -> Self {
        Self { inner, buffers: Buffers::default(), current: Arc::default(), at: 0, chain }
    }
}

impl<R: Read> BufRead for Tap<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() {
            // The old piece is dropped before the next one is read, so that its buffer can be filled again.
            self.current = Arc::default();
            self.at = 0;
            self.current = self.buffers.read(&mut self.inner)?;
            if !self.current.is_empty() {
                self.chain.keep(Bytes::whole(Arc::clone(&self.current)));
            }
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl<R: Read> Read for Tap<'_, R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(output)?;
        self.consume(read);
        Ok(read)
    }
}
