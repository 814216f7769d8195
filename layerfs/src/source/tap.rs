//! A reader that shows others what was read through it.

use std::io::{self, BufRead, Read};
use std::sync::{Arc, Mutex, PoisonError};

use super::buffers::Buffers;

/// What was read and not yet taken.
#[derive(Default)]
pub(super) struct Tapped(Mutex<Vec<Arc<Vec<u8>>>>);

impl Tapped {
    /// Everything that was read since the last time, in order.
    pub(super) fn take(&self) -> Vec<Arc<Vec<u8>>> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Reads in large pieces, and leaves each in a [`Tapped`].
pub(super) struct Tap<R> {
    inner: R,
    buffers: Buffers,
    current: Arc<Vec<u8>>,
    /// How much of it is consumed.
    at: usize,
    read: Arc<Tapped>,
}

impl<R: Read> Tap<R> {
    pub(super) fn new(inner: R) -> (Self, Arc<Tapped>) {
        let read = Arc::<Tapped>::default();
        let tap = Self { inner, buffers: Buffers::default(), current: Arc::default(), at: 0, read: Arc::clone(&read) };
        (tap, read)
    }
}

impl<R: Read> BufRead for Tap<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at == self.current.len() {
            // Given up first, so that it can be filled again.
            self.current = Arc::default();
            self.at = 0;
            self.current = self.buffers.fill(&mut self.inner)?;
            if !self.current.is_empty() {
                self.read.0.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&self.current));
            }
        }
        Ok(&self.current[self.at..])
    }

    fn consume(&mut self, amount: usize) {
        self.at += amount;
    }
}

impl<R: Read> Read for Tap<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(output)?;
        self.consume(read);
        Ok(read)
    }
}
