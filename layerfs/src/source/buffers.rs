//! Buffers of one piece each, used again once nobody holds them.

use std::io::{self, Read};
use std::sync::Arc;

use super::PIECE;

/// How many buffers are kept for use again. More may be in use; those are freed when their last user drops them.
const REMEMBERED: usize = 32;

/// Fills one piece of a source after the other.
#[derive(Default)]
pub(crate) struct Buffers {
    used: Vec<Arc<Vec<u8>>>,
}

impl Buffers {
    /// Lets `fill` fill the next piece and say how many bytes it has. Only the last piece may be shorter than
    /// [`PIECE`], and even empty.
    pub(crate) fn fill<E>(&mut self, fill: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<Arc<Vec<u8>>, E> {
        // A buffer near the end of the list was used recently, and is likely to be still in the cache.
        let free = self.used.iter_mut().rposition(|buffer| Arc::get_mut(buffer).is_some());
        let mut shared = free.map_or_else(Arc::default, |at| self.used.swap_remove(at));
        let buffer = Arc::get_mut(&mut shared).expect("nobody else holds a new or a free buffer");
        if buffer.capacity() == 0 {
            // Memory that is all zeros as it comes from the system, of which only as much is used as is filled.
            *buffer = vec![0; PIECE];
        } else {
            buffer.resize(PIECE, 0);
        }
        let filled = fill(buffer)?;
        buffer.truncate(filled);
        if self.used.len() < REMEMBERED {
            self.used.push(Arc::clone(&shared));
        }
        Ok(shared)
    }

    /// Reads the next piece.
    pub(super) fn read(&mut self, reader: &mut (impl Read + ?Sized)) -> io::Result<Arc<Vec<u8>>> {
        self.fill(|buffer| {
            let mut filled = 0;
            while filled < PIECE {
                match reader.read(&mut buffer[filled..]) {
                    Ok(0) => break,
                    Ok(read) => filled += read,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(filled)
        })
    }
}
